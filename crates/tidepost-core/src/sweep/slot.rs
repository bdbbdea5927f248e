//! Slots: the stretches of time that are planned one by one.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::channel::Channel;
use crate::time::{Calendar, Period, calendar_period, fixed_period, plus_milliseconds};

/// Slots end at full minutes at the latest, in seconds.
const SLOT_SECONDS: u32 = 60;

/// How long after planning the first send may start, in milliseconds: two queues and two reads lie between.
const LEAD_MILLISECONDS: i64 = 2_500;

/// A minute of a channel, cut where one of its quota windows begins or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// From when until when.
    pub period: Period,
    /// Whether a window opens with it.
    pub opens_at_edge: bool,
    /// Whether a window closes with it.
    pub closes_at_edge: bool,
}

impl Slot {
    /// The slot around `now`.
    #[must_use]
    pub fn around(channel: &Channel, now: Timestamp) -> Self {
        let zone = channel.zone();
        let windows: Vec<Period> = windows(channel, &zone, now).collect();
        let minute = fixed_period(SLOT_SECONDS, now);
        let opens_at = windows.iter().map(|window| window.opens_at).max().unwrap_or(minute.opens_at);
        let closes_at = windows.iter().map(|window| window.closes_at).min().unwrap_or(minute.closes_at);
        Self {
            period: Period { opens_at: opens_at.max(minute.opens_at), closes_at: closes_at.min(minute.closes_at) },
            opens_at_edge: opens_at >= minute.opens_at && !windows.is_empty(),
            closes_at_edge: closes_at <= minute.closes_at && !windows.is_empty(),
        }
    }

    /// The slot that begins where this one ends.
    #[must_use]
    pub fn next(&self, channel: &Channel) -> Self {
        Self::around(channel, self.period.closes_at)
    }

    /// The part of it in which a call is counted in its own windows only, whatever the clocks say.
    #[must_use]
    pub fn inner(&self, channel: &Channel) -> Period {
        let after = if self.opens_at_edge { i64::from(channel.skew_milliseconds) } else { 0 };
        let before = if self.closes_at_edge { channel.closing_band_milliseconds() } else { 0 };
        let opens_at = plus_milliseconds(self.period.opens_at, after);
        Period { opens_at, closes_at: plus_milliseconds(self.period.closes_at, -before).max(opens_at) }
    }

    /// The part of that which a plan made at `now` can still use; `None` when there is none left.
    #[must_use]
    pub fn usable(&self, channel: &Channel, now: Timestamp) -> Option<Period> {
        let Period { opens_at, closes_at } = self.inner(channel);
        let opens_at = opens_at.max(plus_milliseconds(now, LEAD_MILLISECONDS));
        (opens_at < closes_at).then_some(Period { opens_at, closes_at })
    }
}

fn windows(channel: &Channel, zone: &TimeZone, now: Timestamp) -> impl Iterator<Item = Period> {
    let rules = channel.quota_rules.iter().filter(|rule| !rule.is_rate());
    let around = rules.map(move |rule| rule.window.around(zone, now));
    // A broadcast's unit pays for one day, whatever the window.
    let day = channel.counts_broadcasts().then(|| calendar_period(Calendar::Day, zone, now));
    around.chain(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Window;
    use crate::channel::tests::shop;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_slot_is_a_minute_and_knows_its_edges() {
        let mut channel = shop();
        channel.quota_rules.retain(|rule| rule.id == "daily");
        let slot = Slot::around(&channel, at("2026-11-21T15:58:30Z"));
        assert_eq!(slot.period.opens_at, at("2026-11-21T15:58:00Z"));
        assert!(!slot.opens_at_edge && !slot.closes_at_edge);
        let last = slot.next(&channel);
        assert_eq!(last.period.closes_at, at("2026-11-22T00:00:00+08:00"));
        assert!(!last.opens_at_edge && last.closes_at_edge);
        assert_eq!(last.inner(&channel).closes_at, at("2026-11-21T23:59:55+08:00"));
        let first = last.next(&channel);
        assert!(first.opens_at_edge && !first.closes_at_edge);
        assert_eq!(first.inner(&channel).opens_at, at("2026-11-22T00:00:02+08:00"));
    }

    #[test]
    fn what_is_planned_within_a_slot_has_to_be_reached_by_sends() {
        let mut channel = shop();
        channel.quota_rules.retain(|rule| rule.id == "minute");
        let opens_at = at("2026-11-21T12:00:00Z");
        let slot = Slot::around(&channel, opens_at);
        let usable = |milliseconds: i64| slot.usable(&channel, plus_milliseconds(opens_at, milliseconds));
        let from = |milliseconds: i64| {
            usable(milliseconds).map(|period| period.opens_at.as_millisecond() - opens_at.as_millisecond())
        };
        assert_eq!([-60_000, 0, 52_499, 52_500].map(from), [Some(2_000), Some(2_500), Some(54_999), None]);
    }

    #[test]
    fn broadcasts_alone_make_midnight_an_edge() {
        let platform = crate::channel::Platform::Douyin;
        let channel = Channel { platform, quota_rules: Vec::new(), ..shop() }.with_default_rule();
        let last = Slot::around(&channel, at("2026-11-21T23:59:30+08:00"));
        let first = last.next(&channel);
        assert_eq!(last.inner(&channel).closes_at, at("2026-11-21T23:59:55+08:00"));
        assert_eq!(first.inner(&channel).opens_at, at("2026-11-22T00:00:02+08:00"));
    }

    #[test]
    fn a_window_that_ends_within_a_minute_cuts_it() {
        let mut channel = shop();
        channel.quota_rules.retain(|rule| rule.id == "minute");
        channel.quota_rules[0].window = Window::Seconds(90);
        let mut slot = Slot::around(&channel, Timestamp::from_second(0).unwrap());
        let mut lengths = Vec::new();
        for _ in 0..4 {
            lengths.push((slot.period.length_seconds(), slot.opens_at_edge, slot.closes_at_edge));
            slot = slot.next(&channel);
        }
        assert_eq!(lengths, [(60, true, false), (30, false, true), (30, true, false), (60, false, true)]);
    }
}
