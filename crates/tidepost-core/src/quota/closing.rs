//! Windows that closed: what was taken beyond their limits, and what nobody used although somebody wanted it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::channel::{Channel, QuotaRule, Unit};
use crate::quota::{KEPT_BACK, Quota};
use crate::time::{Period, plus_milliseconds};

/// How long a window that closed is remembered, in milliseconds: until its last calls are through and a tick of release has
/// looked at it, with time to spare for a late one.
pub(super) const CLOSED_KEPT_MILLISECONDS: i64 = 240_000;

/// What became of the windows that closed at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// When they closed.
    pub at: Timestamp,
    /// Units taken beyond the limits, in all of them.
    pub overshoot: u32,
    /// Each window, and how many of its units calls could still have taken.
    rooms: Vec<(Period, u32)>,
    rate_per_second: f64,
}

/// People who were still waiting for one campaign when windows closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// How many.
    pub people: u64,
    /// For how much of the window the campaign might reach them, in seconds.
    pub open_seconds: i64,
}

impl Quota {
    /// The windows that closed after `from` and not after `until`, as one entry for each moment. Windows shorter than a
    /// minute are rates, which nobody counts.
    #[must_use]
    pub fn closings(&self, channel: &Channel, from: Timestamp, until: Timestamp) -> Vec<Closing> {
        let zone = channel.zone();
        let mut moments: Vec<Timestamp> = counted(channel).flat_map(|rule| edges(rule, &zone, from, until)).collect();
        moments.sort();
        moments.dedup();
        moments.into_iter().map(|at| self.closing(channel, &zone, at)).collect()
    }

    fn closing(&self, channel: &Channel, zone: &TimeZone, at: Timestamp) -> Closing {
        let before = plus_milliseconds(at, -1);
        let windows: Vec<(&QuotaRule, Period)> =
            counted(channel).map(|rule| (rule, rule.window.around(zone, before))).collect();
        let closed = windows.iter().filter(|(_, window)| window.closes_at == at);
        let is_closed_by_platform = self.closed_until(channel, before).is_some();
        let room = |(rule, window): &(&QuotaRule, Period)| {
            let usable = rule.limit.saturating_sub(rule.limit / KEPT_BACK);
            if is_closed_by_platform { 0 } else { usable.saturating_sub(self.units(rule, *window)) }
        };
        // What a longer window does not hold any more, a shorter one cannot spend.
        let room_within = |window: &Period| {
            let longer = windows.iter().filter(|(rule, other)| {
                rule.unit != Unit::Broadcast && other.length_seconds() >= window.length_seconds()
            });
            longer.map(room).min().unwrap_or(0)
        };
        let spendable = closed.clone().filter(|(rule, _)| rule.unit != Unit::Broadcast);
        Closing {
            at,
            overshoot: closed.map(|(rule, window)| self.units(rule, *window).saturating_sub(rule.limit)).sum(),
            rooms: spendable.map(|(_, window)| (*window, room_within(window))).collect(),
            rate_per_second: self.rate_per_second(channel),
        }
    }

    fn units(&self, rule: &QuotaRule, window: Period) -> u32 {
        self.taken(&rule.id, window).map_or(0, |taken| taken.units)
    }
}

impl Closing {
    /// Units that nobody used, of those that people were waiting for; `waiting` tells who was at the end of a window. Of
    /// windows of several rules the same units count once.
    #[must_use]
    pub fn unused(&self, waiting: impl Fn(Period) -> Vec<Waiting>) -> u64 {
        let unused = |(window, room): &(Period, u32)| {
            let wanted =
                waiting(*window).iter().map(|one| one.people.min(self.calls_in(one.open_seconds))).sum::<u64>();
            u64::from(*room).min(wanted).min(self.calls_in(window.length_seconds()))
        };
        self.rooms.iter().map(unused).max().unwrap_or(0)
    }

    /// Whether units are left at all.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.rooms.iter().any(|(_, room)| *room > 0)
    }

    fn calls_in(&self, seconds: i64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate times a few days is far below the limits of either type"
        )]
        let calls = (self.rate_per_second.max(0.0) * seconds.max(0) as f64) as u64;
        calls
    }
}

/// The rules whose windows are counted.
fn counted(channel: &Channel) -> impl Iterator<Item = &QuotaRule> {
    channel
        .quota_rules
        .iter()
        .filter(|rule| rule.window.around(&TimeZone::UTC, Timestamp::UNIX_EPOCH).length_seconds() >= 60)
}

/// When windows of a rule closed, latest first.
fn edges(rule: &QuotaRule, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let current = rule.window.around(zone, until);
    let earlier = |window: &Period| Some(rule.window.around(zone, plus_milliseconds(window.opens_at, -1)));
    let opened = std::iter::successors(Some(current), earlier).map(|window| window.opens_at);
    opened.take_while(|edge| *edge > from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;
    use crate::channel::Window;
    use crate::channel::tests::shop;
    use crate::ids::CampaignId;
    use crate::quota::Need;
    use crate::reply::QuotaPeriod;
    use crate::time::{Calendar, plus_seconds};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn rule(id: &str, limit: u32, window: Window) -> QuotaRule {
        QuotaRule { id: id.to_owned(), unit: Unit::Call, limit, window, basic_share: 0.0 }
    }

    fn channel(rules: Vec<QuotaRule>) -> Channel {
        Channel { quota_rules: rules, rate_limit_per_second: 50, ..shop() }
    }

    fn taking(quota: &Quota, channel: &Channel, units: u32, now: Timestamp) -> Quota {
        let need = Need { id: "a", units, category: Category::Basic, use_by: plus_seconds(now, 60) };
        let (next, leased) = quota.lease(channel, need, now).unwrap();
        assert_eq!(leased.units, units);
        next
    }

    fn waiting(people: u64, open_seconds: i64) -> impl Fn(Period) -> Vec<Waiting> {
        move |_| vec![Waiting { people, open_seconds }]
    }

    /// The closings of the minute that ends at 10:01.
    fn closings(quota: &Quota, channel: &Channel) -> Vec<Closing> {
        quota.closings(channel, at("2026-11-21T10:00:00Z"), at("2026-11-21T10:01:00Z"))
    }

    #[test]
    fn what_is_left_and_wanted_is_unused() {
        let channel = channel(vec![rule("minute", 600, Window::Seconds(60))]);
        let now = at("2026-11-21T10:00:30Z");
        let quota = taking(&Quota::default(), &channel, 400, now);
        let [closing] = closings(&quota, &channel).try_into().unwrap();
        assert_eq!((closing.at, closing.overshoot), (at("2026-11-21T10:01:00Z"), 0));
        assert_eq!(closing.unused(waiting(5_000, 60)), 200);
        assert_eq!(closing.unused(waiting(7, 60)), 7, "more was not wanted");
        assert_eq!(
            closing.unused(waiting(5_000, 2)),
            100,
            "a campaign of the last two seconds makes 100 calls at most"
        );
        assert_eq!(closing.unused(|_| Vec::new()), 0);
        let untouched = closings(&Quota::default(), &channel).pop().unwrap();
        assert_eq!(untouched.unused(waiting(5_000, 60)), 600);
    }

    #[test]
    fn a_limit_that_was_lowered_under_what_was_taken_is_an_overshoot() {
        let wide = channel(vec![rule("minute", 600, Window::Seconds(60))]);
        let quota = taking(&Quota::default(), &wide, 400, at("2026-11-21T10:00:30Z"));
        let narrow = channel(vec![rule("minute", 300, Window::Seconds(60))]);
        let [closing] = closings(&quota, &narrow).try_into().unwrap();
        assert_eq!((closing.overshoot, closing.unused(waiting(9, 60))), (100, 0));
    }

    #[test]
    fn a_minute_cannot_spend_what_its_day_does_not_hold() {
        let rules = vec![rule("minute", 600, Window::Seconds(60)), rule("day", 420, Window::Calendar(Calendar::Day))];
        let channel = channel(rules);
        let quota = taking(&Quota::default(), &channel, 400, at("2026-11-21T10:00:30Z"));
        let [closing] = closings(&quota, &channel).try_into().unwrap();
        assert_eq!(closing.unused(waiting(5_000, 60)), 20);
    }

    #[test]
    fn windows_that_close_together_are_one_closing_and_the_longest_tells() {
        let rules = vec![rule("minute", 600, Window::Seconds(60)), rule("day", 5_000, Window::Calendar(Calendar::Day))];
        let channel = channel(rules);
        let midnight = at("2026-11-21T16:00:00Z");
        let all = Quota::default().closings(&channel, plus_seconds(midnight, -60), midnight);
        let [closing] = all.try_into().unwrap();
        assert_eq!(closing.unused(waiting(9_000, 86_400)), 4_995, "all but what is kept for the closing band");
        assert_eq!(Quota::default().closings(&channel, plus_seconds(midnight, -180), midnight).len(), 3);
    }

    #[test]
    fn what_the_platform_closed_nobody_could_use() {
        let channel = channel(vec![rule("minute", 600, Window::Seconds(60))]);
        let quota = Quota::default().exhausted(&channel, QuotaPeriod::Minute, at("2026-11-21T10:00:30Z"));
        let [closing] = closings(&quota, &channel).try_into().unwrap();
        assert!(!closing.has_room());
        assert_eq!(closing.unused(waiting(5_000, 60)), 0);
    }

    #[test]
    fn rates_are_not_watched_and_broadcasts_only_for_their_limit() {
        let seconds = rule("second", 5, Window::Seconds(1));
        let broadcasts = QuotaRule { unit: Unit::Broadcast, ..rule("broadcasts", 2, Window::Calendar(Calendar::Day)) };
        let midnight = at("2026-11-21T16:00:00Z");
        assert!(closings(&Quota::default(), &channel(vec![seconds])).is_empty());
        let wide = channel(vec![broadcasts.clone()]);
        let mut quota = Quota::default();
        for name in ["tea", "cups"] {
            let campaign = CampaignId::derive("shop", "k", name, midnight);
            quota = quota.take_broadcast(&wide, campaign, plus_seconds(midnight, -60)).unwrap().unwrap();
        }
        let narrow = channel(vec![QuotaRule { limit: 1, ..broadcasts }]);
        let [closing] = quota.closings(&narrow, plus_seconds(midnight, -60), midnight).try_into().unwrap();
        assert_eq!((closing.overshoot, closing.has_room()), (1, false));
    }

    #[test]
    fn a_window_is_remembered_until_it_was_looked_at() {
        let channel = channel(vec![rule("minute", 600, Window::Seconds(60))]);
        let quota = taking(&Quota::default(), &channel, 400, at("2026-11-21T10:00:30Z"));
        let later = taking(&quota, &channel, 1, at("2026-11-21T10:02:59Z"));
        assert_eq!(closings(&later, &channel).pop().unwrap().unused(waiting(5_000, 60)), 200);
    }
}
