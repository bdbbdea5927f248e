//! Broadcasts: one unit for each campaign and day, however many people it reaches.

use jiff::Timestamp;
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
        let mut next = self.clone();
        next.broadcasts.retain(|one| one.ends_at + FORGOTTEN_SECONDS > at.as_second());
        for span in spans(channel, at).filter(|span| !self.has_broadcast(span, campaign)) {
            let taken = next.taken_mut(&span.rule.id, span.window);
            if taken.units >= span.rule.limit {
                return Err(span.window.closes_at);
            }
            taken.units += 1;
            let (rule, ends_at) = (span.rule.id.clone(), span.ends_at.as_second());
            next.broadcasts.push(Broadcast { rule, campaign: campaign.short(), ends_at });
        }
        Ok((next.broadcasts.len() > self.broadcasts.len() || next.windows != self.windows).then_some(next))
    }

    /// Whether a campaign may send at `at`, as far as broadcasts are counted.
    #[must_use]
    pub fn holds_broadcast(&self, channel: &Channel, campaign: CampaignId, at: Timestamp) -> bool {
        spans(channel, at).all(|span| self.has_broadcast(&span, campaign))
    }

    /// From when after `at` on a campaign may have a broadcast; `None` where it has one, or there is one left.
    #[must_use]
    pub fn barred_until(&self, channel: &Channel, campaign: CampaignId, at: Timestamp) -> Option<Timestamp> {
        self.take_broadcast(channel, campaign, at).err().filter(|until| *until > at)
    }

    fn has_broadcast(&self, span: &Span<'_>, campaign: CampaignId) -> bool {
        let ends_at = span.ends_at.as_second();
        let is_it =
            |one: &Broadcast| one.rule == span.rule.id && one.campaign == campaign.short() && one.ends_at == ends_at;
        self.broadcasts.iter().any(is_it)
    }
}

impl Channel {
    /// Whether it counts broadcasts, and those of windows that close at `edge` are worth nothing afterwards.
    #[must_use]
    pub fn broadcasts_end_at(&self, edge: Timestamp) -> bool {
        let (zone, before) = (self.zone(), plus_milliseconds(edge, -1));
        let mut rules = broadcast_rules(self).peekable();
        rules.peek().is_some() && rules.all(|rule| rule.window.around(&zone, before).closes_at == edge)
    }

    /// Whether it counts broadcasts.
    #[must_use]
    pub fn counts_broadcasts(&self) -> bool {
        broadcast_rules(self).next().is_some()
    }
}

/// What one unit of a rule pays for: a day of a campaign, as far as it is in one window.
struct Span<'a> {
    rule: &'a QuotaRule,
    window: Period,
    /// Tells spans of a rule apart.
    ends_at: Timestamp,
}

/// The spans that a call starting at `at` may be counted in, by the platform's clock.
fn spans(channel: &Channel, at: Timestamp) -> impl Iterator<Item = Span<'_>> {
    let zone = channel.zone();
    let first = plus_milliseconds(at, -i64::from(channel.skew_milliseconds));
    let last = plus_milliseconds(at, channel.closing_band_milliseconds());
    broadcast_rules(channel).flat_map(move |rule| {
        let span = |time: Timestamp| {
            let window = rule.window.around(&zone, time);
            let day = calendar_period(Calendar::Day, &zone, time);
            Span { rule, window, ends_at: day.closes_at.min(window.closes_at) }
        };
        // None is shorter than a minute: no call is counted in a third.
        let (first, last) = (span(first), span(last));
        let is_same = first.ends_at == last.ends_at;
        std::iter::once(first).chain((!is_same).then_some(last))
    })
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

    /// Windows of 24 hours from the epoch on open at 08:00 there: each pays for its part of the day.
    #[test]
    fn a_unit_pays_for_one_window_only() {
        let window = Window::Seconds(86_400);
        let rule = QuotaRule { id: "b".into(), unit: Unit::Broadcast, limit: 1, window, basic_share: 0.0 };
        let channel = Channel { quota_rules: vec![rule], ..shop() };
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let campaign = |name: &str| CampaignId::derive("shop", "k", name, Timestamp::UNIX_EPOCH);
        let early = at("2026-11-21T07:00:00+08:00");
        let quota = Quota::default().take_broadcast(&channel, campaign("a"), early).unwrap().unwrap();
        assert!(!quota.holds_broadcast(&channel, campaign("a"), at("2026-11-21T09:00:00+08:00")));
        let quota = quota.take_broadcast(&channel, campaign("b"), at("2026-11-21T09:00:00+08:00")).unwrap().unwrap();
        let noon = at("2026-11-21T12:00:00+08:00");
        assert_eq!(quota.barred_until(&channel, campaign("a"), noon), Some(at("2026-11-22T08:00:00+08:00")));
        assert_eq!(quota.barred_until(&channel, campaign("b"), noon), None);
    }

    #[test]
    fn the_days_of_a_campaign_add_up_over_a_week() {
        let window = Window::Calendar(Calendar::Week);
        let rule = QuotaRule { id: "b".into(), unit: Unit::Broadcast, limit: 2, window, basic_share: 0.0 };
        let channel = Channel { quota_rules: vec![rule], ..shop() };
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let campaign = CampaignId::derive("shop", "k", "tea", Timestamp::UNIX_EPOCH);
        let take = |quota: &Quota, time: &str| quota.take_broadcast(&channel, campaign, at(time)).map(Option::unwrap);
        let tuesday = take(&Quota::default(), "2026-11-24T12:00:00+08:00").unwrap();
        let wednesday = take(&tuesday, "2026-11-25T12:00:00+08:00").unwrap();
        assert_eq!(take(&wednesday, "2026-11-26T12:00:00+08:00"), Err(at("2026-11-30T00:00:00+08:00")));
        let edges = ["2026-11-26T00:00:00+08:00", "2026-11-30T00:00:00+08:00"];
        assert_eq!(edges.map(|edge| channel.broadcasts_end_at(at(edge))), [false, true]);
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
