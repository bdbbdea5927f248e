//! What is under way when a campaign is stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sweep::plan::SlotPlan;
use crate::time::plus_milliseconds;

/// How long before its start a flight may have read the campaigns, in milliseconds.
const READ_AHEAD_MILLISECONDS: i64 = 2_000;

/// How long after its start a flight may still start calls, in seconds: it is done, with the time-out of its last call, before
/// its queue takes it for dead (30 s after it was received, which is seconds before its start).
pub const FLIES_SECONDS: i64 = 16;

/// How long after its start a flight may come without being late, in milliseconds.
const LATE_MILLISECONDS: i64 = 5_000;

/// Whether a flight that was to start at `starts_at` comes too late to be counted by its plan: its queue held it back, or a
/// delivery before this one died.
#[must_use]
pub fn is_late(starts_at: Timestamp, now: Timestamp) -> bool {
    now > plus_milliseconds(starts_at, LATE_MILLISECONDS)
}

/// A flight that came late. It says so before it reads the campaigns.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LateFlight {
    /// Its recipients.
    #[serde(rename = "n")]
    pub people: u64,
    /// When it came.
    #[serde(rename = "a")]
    pub came_at: Timestamp,
}

impl LateFlight {
    /// When a flight came at the earliest that may still make calls at `now`.
    #[must_use]
    pub fn earliest(now: Timestamp, skew_milliseconds: u32) -> Timestamp {
        plus_milliseconds(now, -(FLIES_SECONDS * 1_000 + i64::from(skew_milliseconds)))
    }
}

impl SlotPlan {
    /// At most how many calls of the slot may still start at `now`, whatever becomes of the campaigns from now on: those
    /// of flights that may have read the campaigns already and may not be done. All later flights see what is stored now;
    /// late ones count as [`LateFlight`]s.
    /// `skew_milliseconds`: how far apart the clocks may be.
    #[must_use]
    pub fn in_flight(&self, now: Timestamp, skew_milliseconds: u32) -> u64 {
        let skew = i64::from(skew_milliseconds);
        // One that came a little late flies as long as the others, from when it came.
        let first = plus_milliseconds(LateFlight::earliest(now, skew_milliseconds), -LATE_MILLISECONDS);
        let last = plus_milliseconds(now, READ_AHEAD_MILLISECONDS + skew);
        let ranges = self.portions.iter().enumerate();
        let flights = ranges
            .flat_map(|(range, portion)| self.flights(range, usize::try_from(portion.units()).unwrap_or(usize::MAX)));
        let under_way = flights.filter(|flight| (first..=last).contains(&flight.starts_at));
        under_way.map(|flight| (flight.to - flight.from) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sweep::{FLIGHT_MAX, Portion};
    use crate::time::{Period, plus_seconds};

    fn plan() -> SlotPlan {
        let opens_at: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let portion = |units| Portion { lines: BTreeMap::from([("retail".to_owned(), units)]), limits: Vec::new() };
        SlotPlan {
            generation: 1,
            slot: Period { opens_at, closes_at: plus_seconds(opens_at, 60) },
            begins_at: plus_seconds(opens_at, 2),
            spacing_microseconds: 20_000,
            at_edge: 5,
            flight_max: FLIGHT_MAX,
            portions: vec![portion(1_205), portion(600)],
        }
    }

    #[test]
    fn who_is_late_counts_from_when_it_came() {
        let at = |seconds| plus_seconds(plan().begins_at, seconds);
        assert!(!is_late(at(0), at(5)) && is_late(at(0), at(6)));
        assert_eq!(LateFlight::earliest(at(60), 2_000), at(42));
    }

    #[test]
    fn only_flights_that_may_have_seen_the_old_state_and_may_not_be_done_count() {
        let plan = plan();
        let at = |seconds| plan.in_flight(plus_seconds(plan.slot.opens_at, seconds), 2_000);
        assert_eq!(at(-5), 0, "nobody has looked yet");
        assert_eq!(at(-4), 5, "the calls at the edge");
        assert_eq!(at(-2), 205, "and the first flight, which starts 2 s after it");
        assert!(at(20) < 1_805 && at(20) >= 800, "{}", at(20));
        assert_eq!(at(100), 0, "all are done");
        let total = |step: i64| (-10..120).map(|second| at(second * step)).max().unwrap();
        assert!(total(1) <= 1_805);
    }
}
