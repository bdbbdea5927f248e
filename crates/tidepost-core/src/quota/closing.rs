//! Windows that closed: what was taken beyond their limits, and what nobody used although somebody wanted it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, QuotaRule, Unit};
use crate::quota::{KEPT_BACK, Quota};
use crate::time::{Period, plus_milliseconds, plus_seconds};

/// The shortest time for which a window that closed is remembered, in milliseconds: until its last calls are through and a tick
/// of release has looked at it, with time to spare for a late one.
const KEPT_MIN_MILLISECONDS: i64 = 240_000;

/// The longest, in seconds: a tick that comes later does not tell of it.
const KEPT_MAX_SECONDS: i64 = 3_600;

/// How long a window that closed is remembered, by how long it was open, both in milliseconds: so that few of each rule are,
/// and those that count most outlive a release that does not run for a while.
pub(super) fn kept_milliseconds(open_milliseconds: i64) -> i64 {
    open_milliseconds.clamp(KEPT_MIN_MILLISECONDS, KEPT_MAX_SECONDS * 1_000)
}

/// Which of the windows that closed were told of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Told {
    /// Those that closed until then.
    #[serde(rename = "u")]
    until: Timestamp,
    /// Channels that could not be looked at, and until when theirs were told.
    #[serde(rename = "b", default, skip_serializing_if = "BTreeMap::is_empty")]
    behind: BTreeMap<String, Timestamp>,
}

impl Told {
    /// All until `until`.
    #[must_use]
    pub fn until(until: Timestamp) -> Self {
        Self { until, behind: BTreeMap::new() }
    }

    /// After which moment a channel's windows are to be told of at `now`; what closed longer ago is forgotten.
    #[must_use]
    pub fn since(&self, channel: &str, now: Timestamp) -> Timestamp {
        let until = self.behind.get(channel).copied().unwrap_or(self.until);
        until.max(plus_seconds(now, -KEPT_MAX_SECONDS))
    }

    /// After all were told until `until`, but for the channels `failed`.
    #[must_use]
    pub fn advanced(&self, until: Timestamp, failed: &[&str], now: Timestamp) -> Self {
        let behind = failed.iter().map(|channel| ((*channel).to_owned(), self.since(channel, now)));
        Self { until: until.max(self.until), behind: behind.collect() }
    }
}

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
    /// minute are rates, which nobody counts; of those that may be forgotten at `now` nothing is known.
    #[must_use]
    pub fn closings(&self, channel: &Channel, from: Timestamp, until: Timestamp, now: Timestamp) -> Vec<Closing> {
        let zone = channel.zone();
        let edges = counted(channel).flat_map(|rule| edges(rule, &zone, from, until));
        let mut moments: Vec<Timestamp> = edges.filter(|(_, kept_until)| now < *kept_until).map(|(at, _)| at).collect();
        moments.sort();
        moments.dedup();
        moments.into_iter().map(|at| self.closing(channel, &zone, at, now)).collect()
    }

    fn closing(&self, channel: &Channel, zone: &TimeZone, at: Timestamp, now: Timestamp) -> Closing {
        let before = plus_milliseconds(at, -1);
        let windows: Vec<(&QuotaRule, Period)> =
            counted(channel).map(|rule| (rule, rule.window.around(zone, before))).collect();
        let closed = windows.iter().filter(|(_, window)| window.closes_at == at && now < kept_until(window));
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
    channel.quota_rules.iter().filter(|rule| !rule.is_rate())
}

/// Until when a window that closed is remembered.
fn kept_until(window: &Period) -> Timestamp {
    plus_milliseconds(window.closes_at, kept_milliseconds(window.length_seconds() * 1_000))
}

/// When windows of a rule closed and until when they are remembered, latest first.
fn edges(rule: &QuotaRule, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let before = |window: &Period| rule.window.around(zone, plus_milliseconds(window.opens_at, -1));
    let latest = before(&rule.window.around(zone, until));
    let closed = std::iter::successors(Some(latest), |window| Some(before(window)));
    closed.take_while(|window| from < window.closes_at).map(|window| (window.closes_at, kept_until(&window))).collect()
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
        let until = at("2026-11-21T10:01:00Z");
        quota.closings(channel, at("2026-11-21T10:00:00Z"), until, until)
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
        let all = Quota::default().closings(&channel, plus_seconds(midnight, -60), midnight, midnight);
        let [closing] = all.try_into().unwrap();
        assert_eq!(closing.unused(waiting(9_000, 86_400)), 4_995, "all but what is kept for the closing band");
        assert_eq!(Quota::default().closings(&channel, plus_seconds(midnight, -180), midnight, midnight).len(), 3);
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
        let [closing] = quota.closings(&narrow, plus_seconds(midnight, -60), midnight, midnight).try_into().unwrap();
        assert_eq!((closing.overshoot, closing.has_room()), (1, false));
    }

    #[test]
    fn a_window_is_remembered_until_it_was_looked_at() {
        let channel = channel(vec![rule("minute", 600, Window::Seconds(60))]);
        let quota = taking(&Quota::default(), &channel, 400, at("2026-11-21T10:00:30Z"));
        let later = taking(&quota, &channel, 1, at("2026-11-21T10:02:59Z"));
        assert_eq!(closings(&later, &channel).pop().unwrap().unused(waiting(5_000, 60)), 200);
    }

    #[test]
    fn a_late_look_sees_what_is_remembered_and_takes_nothing_forgotten_for_unused() {
        let rules = vec![rule("minute", 600, Window::Seconds(60)), rule("hour", 5_000, Window::Seconds(3_600))];
        let channel = channel(rules);
        let edge = at("2026-11-21T10:00:00Z");
        let spent = taking(&Quota::default(), &channel, 400, plus_seconds(edge, -30));
        // Another call half an hour later lets go of what is old.
        let quota = taking(&spent, &channel, 1, plus_seconds(edge, 1_800));
        let look = |now: Timestamp| quota.closings(&channel, plus_seconds(edge, -600), plus_seconds(now, -60), now);
        let moments = |now: Timestamp| look(now).iter().map(|closing| closing.at).collect::<Vec<_>>();
        let half_past = plus_seconds(edge, 1_860);
        let minutes = [-180, -120, -60].map(|seconds| plus_seconds(half_past, seconds));
        assert_eq!(moments(half_past), [&[edge][..], &minutes].concat(), "the hour, and three minutes");
        let hour = look(half_past).remove(0);
        assert_eq!((hour.overshoot, hour.unused(waiting(9_000, 3_600))), (0, 4_995 - 400));
        assert!(!moments(plus_seconds(edge, 3_600)).contains(&edge), "an hour is all");
    }

    #[test]
    fn each_window_is_told_once_and_those_of_a_channel_that_failed_by_the_next_tick() {
        let minute = |minute: i64| plus_seconds(at("2026-11-21T10:00:00Z"), 60 * minute);
        let told = Told::until(minute(0));
        assert_eq!(told.since("shop", minute(3)), minute(0));
        let told = told.advanced(minute(2), &["sick"], minute(3));
        assert_eq!((told.since("shop", minute(4)), told.since("sick", minute(4))), (minute(2), minute(0)));
        assert_eq!(told.advanced(minute(3), &["sick"], minute(4)).since("sick", minute(5)), minute(0));
        let well = told.advanced(minute(3), &[], minute(4));
        assert_eq!(well.since("sick", minute(5)), minute(3));
        assert_eq!(well.advanced(minute(1), &[], minute(5)), well, "a clock that is behind takes nothing back");
        assert_eq!(well.since("shop", minute(90)), minute(30), "an hour at the most");
    }
}
