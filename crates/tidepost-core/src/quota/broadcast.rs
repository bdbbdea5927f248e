//! Broadcasts: one unit for each campaign and day, however many people it reaches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, QuotaRule, Unit};
use crate::ids::CampaignId;
use crate::quota::Quota;
use crate::time::{Calendar, calendar_period};

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
    /// Takes a campaign's unit of the day around `at` in every rule that counts broadcasts, unless it has them; `None` when
    /// there is nothing to take.
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
        let ends_at = calendar_period(Calendar::Day, &zone, at).closes_at.as_second();
        let mut next = self.clone();
        next.broadcasts.retain(|one| one.ends_at + FORGOTTEN_SECONDS > at.as_second());
        for rule in broadcast_rules(channel).filter(|rule| !self.has_broadcast(rule, campaign, ends_at)) {
            let window = rule.window.around(&zone, at);
            let taken = next.taken_mut(&rule.id, window);
            if taken.units >= rule.limit {
                return Err(window.closes_at);
            }
            taken.units += 1;
            next.broadcasts.push(Broadcast { rule: rule.id.clone(), campaign: campaign.short(), ends_at });
        }
        Ok((next.broadcasts.len() > self.broadcasts.len() || next.windows != self.windows).then_some(next))
    }

    /// Whether a campaign may send on the day around `at`, as far as broadcasts are counted.
    #[must_use]
    pub fn holds_broadcast(&self, channel: &Channel, campaign: CampaignId, at: Timestamp) -> bool {
        let ends_at = calendar_period(Calendar::Day, &channel.zone(), at).closes_at.as_second();
        broadcast_rules(channel).all(|rule| self.has_broadcast(rule, campaign, ends_at))
    }

    fn has_broadcast(&self, rule: &QuotaRule, campaign: CampaignId, ends_at: i64) -> bool {
        let is_it = |one: &Broadcast| one.rule == rule.id && one.campaign == campaign.short() && one.ends_at == ends_at;
        self.broadcasts.iter().any(is_it)
    }
}

/// How long a unit is remembered after its day, in seconds.
const FORGOTTEN_SECONDS: i64 = 3_600;

fn broadcast_rules(channel: &Channel) -> impl Iterator<Item = &QuotaRule> {
    channel.quota_rules.iter().filter(|rule| rule.unit == Unit::Broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Window;
    use crate::channel::tests::shop;

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
        let quota = quota.take_broadcast(&channel, campaign("c"), tomorrow).unwrap().unwrap();
        assert_eq!(holds(&quota, tomorrow), [false, false, true]);
        channel.quota_rules.clear();
        assert!(quota.holds_broadcast(&channel, campaign("d"), today), "nobody counts");
    }
}
