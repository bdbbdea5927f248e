//! Broadcasts: one unit for each campaign and day, however many people it reaches.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, QuotaRule, Unit};
use crate::ids::CampaignId;
use crate::quota::Quota;
use crate::time::{Calendar, Period, calendar_period, plus_milliseconds};

/// A campaign's unit of one day.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Broadcast {
    #[serde(rename = "r")]
    rule: String,
    #[serde(rename = "c")]
    campaign: [u8; 4],
    /// When its day ends, in seconds of the epoch.
    #[serde(rename = "e")]
    ends_at: i64,
}

impl Quota {
    /// Takes a campaign's unit of each day that a call starting at `at` may be counted in, in every rule that counts
    /// broadcasts, unless it has them; `None` when there is nothing to take. At midnight these are two days, each paid.
    ///
    /// # Errors
    /// When a window has none left: the time at which the next opens.
    pub fn take_broadcast(
        &self,
        channel: &Channel,
        campaign: CampaignId,
        at: Timestamp,
    ) -> Result<Option<Self>, Timestamp> {
        let zone = channel.zone();
        let mut next = self.clone();
        next.broadcasts.retain(|one| one.ends_at + FORGOTTEN_SECONDS > at.as_second());
        for day in days(channel, &zone, at) {
            let ends_at = day.closes_at.as_second();
            for rule in broadcast_rules(channel).filter(|rule| !self.has_broadcast(rule, campaign, ends_at)) {
                let window = rule.window.around(&zone, at.clamp(day.opens_at, plus_milliseconds(day.closes_at, -1)));
                let taken = next.taken_mut(&rule.id, window);
                if taken.units >= rule.limit {
                    return Err(window.closes_at);
                }
                taken.units += 1;
                next.broadcasts.push(Broadcast { rule: rule.id.clone(), campaign: campaign.short(), ends_at });
            }
        }
        Ok((next.broadcasts.len() > self.broadcasts.len() || next.windows != self.windows).then_some(next))
    }

    /// Whether a campaign may send at `at`, as far as broadcasts are counted.
    #[must_use]
    pub fn holds_broadcast(&self, channel: &Channel, campaign: CampaignId, at: Timestamp) -> bool {
        let holds = |day: Period| {
            broadcast_rules(channel).all(|rule| self.has_broadcast(rule, campaign, day.closes_at.as_second()))
        };
        days(channel, &channel.zone(), at).all(holds)
    }

    fn has_broadcast(&self, rule: &QuotaRule, campaign: CampaignId, ends_at: i64) -> bool {
        let is_it = |one: &Broadcast| one.rule == rule.id && one.campaign == campaign.short() && one.ends_at == ends_at;
        self.broadcasts.iter().any(is_it)
    }
}

/// The days that a call starting at `at` may be counted in, by the platform's clock.
fn days(channel: &Channel, zone: &TimeZone, at: Timestamp) -> impl Iterator<Item = Period> {
    let first = plus_milliseconds(at, -i64::from(channel.skew_milliseconds));
    let last = plus_milliseconds(at, channel.closing_band_milliseconds());
    let day = |time: Timestamp| calendar_period(Calendar::Day, zone, time);
    let (first, last) = (day(first), day(last));
    std::iter::once(first).chain((last != first).then_some(last))
}

/// How long a unit is remembered after its day, in seconds.
const FORGOTTEN_SECONDS: i64 = 3_600;

fn broadcast_rules(channel: &Channel) -> impl Iterator<Item = &QuotaRule> {
    channel.quota_rules.iter().filter(|rule| rule.unit == Unit::Broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::shop;
    use crate::channel::{Platform, Window};

    #[test]
    fn a_campaign_takes_one_unit_a_day_however_often_it_asks() {
        let mut channel = shop();
        let rule = QuotaRule {
            id: "broadcasts".into(),
            unit: Unit::Broadcast,
            limit: 2,
            window: Window::Calendar(Calendar::Day),
            basic_share: 0.0,
        };
        channel.quota_rules = vec![rule];
        let today: Timestamp = "2026-11-21T12:00:00+08:00".parse().unwrap();
        let tomorrow: Timestamp = "2026-11-22T00:00:00+08:00".parse().unwrap();
        let campaign = |name: &str| CampaignId::derive("shop", "k", name, today);
        let quota = Quota::default().take_broadcast(&channel, campaign("a"), today).unwrap().unwrap();
        assert_eq!(quota.take_broadcast(&channel, campaign("a"), today), Ok(None));
        let quota = quota.take_broadcast(&channel, campaign("b"), today).unwrap().unwrap();
        assert_eq!(quota.take_broadcast(&channel, campaign("c"), today), Err(tomorrow));
        let holds = |quota: &Quota, at| ["a", "b", "c"].map(|name| quota.holds_broadcast(&channel, campaign(name), at));
        assert_eq!(holds(&quota, today), [true, true, false]);
        assert_eq!(quota.views(&channel, today)[0].used, 2);
        assert_eq!(quota.take_broadcast(&channel, campaign("c"), tomorrow), Err(tomorrow), "may be counted today");
        let clear = plus_milliseconds(tomorrow, 2_000);
        let quota = quota.take_broadcast(&channel, campaign("c"), clear).unwrap().unwrap();
        assert_eq!(holds(&quota, clear), [false, false, true]);
        channel.quota_rules.clear();
        assert!(quota.holds_broadcast(&channel, campaign("d"), today), "nobody counts");
    }

    #[test]
    fn near_midnight_both_days_are_paid() {
        let channel = Channel { platform: Platform::Douyin, quota_rules: Vec::new(), ..shop() }.with_default_rule();
        let midnight: Timestamp = "2026-11-22T00:00:00+08:00".parse().unwrap();
        let campaign = CampaignId::derive("shop", "k", "tea", midnight);
        let days = |milliseconds: i64| {
            let at = plus_milliseconds(midnight, milliseconds);
            let quota = Quota::default().take_broadcast(&channel, campaign, at).unwrap().unwrap();
            let used = |at: Timestamp| quota.views(&channel, at)[0].used;
            (used(plus_milliseconds(midnight, -1)), used(midnight), quota.holds_broadcast(&channel, campaign, midnight))
        };
        // A call takes up to three seconds, and clocks are two apart.
        assert_eq!([-5_001, 2_000].map(days), [(1, 0, false), (0, 1, false)]);
        assert_eq!([-5_000, 0, 1_999].map(days), [(1, 1, true); 3]);
    }
}
