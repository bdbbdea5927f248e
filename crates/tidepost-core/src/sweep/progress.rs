//! Where the sweeping of a channel stands, and what is to be done next.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::recover::DELIVERY_SECONDS;
use crate::time::plus_seconds;

/// How old a roster gets before the people are looked at again, in seconds.
const ROSTER_SECONDS: i64 = 600;

/// How old it gets where looking costs more than was sent since, in seconds.
const ROSTER_MAX_SECONDS: i64 = 3_600;

/// Up to so many people, looking costs next to nothing.
const FEW_PEOPLE: u64 = 20_000;

/// How long after the last look at few people they are looked at again because a campaign is over, in seconds: should that
/// not account for it, nothing goes round and round.
const CLOSING_SECONDS: i64 = 30;

/// How long a census may take before the tasks of ranges that are not done are queued again, in seconds.
const CENSUS_SECONDS: i64 = 45;

/// People of one range, about: what one task looks at in seconds.
const RANGE_PEOPLE: u64 = 25_000;

/// Ranges at the most.
const RANGES_MAX: u64 = 64;

/// Stands for the campaigns of a census that only counted buyers: where quintiles meet is told by everybody, and those who
/// were looked at before the last one was seen were judged by older cuts.
pub const COUNTED: [u8; 8] = [0xff; 8];

/// Where a channel stands.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Progress {
    /// The roster in use.
    #[serde(rename = "r", default)]
    pub roster: Option<Census>,
    /// The one before, of which sends may still be under way.
    #[serde(rename = "o", default)]
    pub before: Option<Census>,
    /// The one that is being made.
    #[serde(rename = "b", default)]
    pub building: Option<Census>,
    /// How many people were handed out of the roster in use.
    #[serde(rename = "h", default)]
    pub handed_out: u64,
    /// When the last slot ends for which somebody was handed out.
    #[serde(rename = "e", default)]
    pub sends_end: Option<Timestamp>,
    /// When something is to be done next, as far as is known: before that time may pass unwatched.
    #[serde(rename = "n", default)]
    pub look_at: Option<Timestamp>,
}

/// One walk over the people of a channel, and the roster that it makes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Census {
    /// Counts the walks of the channel.
    #[serde(rename = "g")]
    pub generation: u32,
    /// Into how many ranges the people are divided; a power of 2.
    #[serde(rename = "r")]
    pub ranges: u16,
    /// Tells for which campaigns it was made.
    #[serde(rename = "l")]
    pub live: [u8; 8],
    /// When it began.
    #[serde(rename = "a")]
    pub began_at: Timestamp,
    /// For when people are looked at.
    #[serde(rename = "s")]
    pub as_of: Timestamp,
    /// People it saw.
    #[serde(rename = "p", default)]
    pub people: u64,
    /// People it found something for.
    #[serde(rename = "c", default)]
    pub candidates: u64,
    /// When the first of those that must wait may go.
    #[serde(rename = "w", default)]
    pub ready_at: Option<Timestamp>,
}

/// What is known when it is asked whether to look at the people again.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Tells the live campaigns.
    pub live: Option<[u8; 8]>,
    /// How many people are left on the roster.
    pub left: u64,
    /// Whether a campaign is over and nobody knows yet what it was to people.
    pub closes: bool,
    /// Up to when is planned.
    pub horizon: Timestamp,
    /// The time.
    pub now: Timestamp,
}

impl Progress {
    /// Whether the tasks of the census under way are to be queued again.
    #[must_use]
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        self.building.as_ref().is_some_and(|building| now >= plus_seconds(building.began_at, CENSUS_SECONDS))
    }

    /// The census to begin, if it is time for one.
    #[must_use]
    pub fn next_census(&self, moment: Moment) -> Option<Census> {
        let is_due = match (&self.building, moment.live) {
            (Some(_), None) => false,
            // Another set of campaigns: what is being made is worthless.
            (Some(building), Some(live)) => building.live != live,
            (None, None) => {
                (moment.closes && self.may_be_replaced(moment.now))
                    || self.settles_at().is_some_and(|at| at <= moment.now)
            }
            (None, Some(live)) => self.is_stale(live, moment),
        };
        is_due.then(|| self.census(moment))
    }

    /// Whether the people were not looked at yet for these campaigns, nor to count buyers for them.
    #[must_use]
    pub fn is_first_for(&self, live: [u8; 8]) -> bool {
        self.roster.as_ref().is_none_or(|roster| roster.live != live && roster.live != COUNTED)
    }

    /// When people are looked at once more after the last send, to find deliveries that died.
    #[must_use]
    pub fn settles_at(&self) -> Option<Timestamp> {
        let settled = |end: Timestamp| plus_seconds(end, DELIVERY_SECONDS + 10);
        let began_at = self.roster.as_ref().map(|roster| roster.began_at);
        self.sends_end.map(settled).filter(|at| began_at.is_none_or(|began| began < *at))
    }

    fn is_stale(&self, live: [u8; 8], moment: Moment) -> bool {
        let Some(roster) = self.roster.as_ref().filter(|roster| roster.live == live) else { return true };
        let is_dry = moment.left == 0 && self.handed_out > 0 && self.sends_end.is_none_or(|end| end <= moment.now);
        let is_ready = roster.ready_at.is_some_and(|at| at <= moment.horizon && roster.as_of < at);
        let closes = moment.closes && is_worth_closing(roster, moment.now);
        (is_dry && self.is_worth_refilling(roster, moment.now)) || is_ready || closes || self.is_old(roster, moment.now)
    }

    /// Whether campaigns that are over are worth a look at everybody: of many people those that end one after the other are
    /// told of together.
    fn may_be_replaced(&self, now: Timestamp) -> bool {
        self.roster.as_ref().is_none_or(|roster| is_worth_closing(roster, now) || self.is_old(roster, now))
    }

    /// Whether everybody of a roster that ran dry is worth another look: at once, to find those who were handed out and not
    /// sent; not again and again for a few new consents among many people.
    fn is_worth_refilling(&self, roster: &Census, now: Timestamp) -> bool {
        let is_first = self.before.as_ref().is_none_or(|before| before.live != roster.live);
        is_first || self.is_cheap(roster) || now >= plus_seconds(roster.began_at, ROSTER_SECONDS)
    }

    fn is_old(&self, roster: &Census, now: Timestamp) -> bool {
        let seconds = if self.is_cheap(roster) { ROSTER_SECONDS } else { ROSTER_MAX_SECONDS };
        now >= plus_seconds(roster.began_at, seconds)
    }

    /// Whether looking at everybody costs little beside what was sent since: as much for 8 people as reading one before a
    /// send.
    fn is_cheap(&self, roster: &Census) -> bool {
        roster.people <= FEW_PEOPLE || self.handed_out.saturating_mul(8) >= roster.people
    }

    fn census(&self, moment: Moment) -> Census {
        let all = [&self.roster, &self.before, &self.building];
        let known = all.into_iter().flatten();
        let generation = 1 + known.clone().map(|census| census.generation).max().unwrap_or(0);
        let people = self.roster.as_ref().map_or(0, |roster| roster.people);
        let ranges = (people / RANGE_PEOPLE).clamp(1, RANGES_MAX).next_power_of_two();
        Census {
            generation,
            ranges: u16::try_from(ranges).unwrap_or(1),
            live: moment.live.unwrap_or_default(),
            began_at: moment.now,
            as_of: moment.horizon,
            people: 0,
            candidates: 0,
            ready_at: None,
        }
    }

    /// The state once the census under way is done.
    #[must_use]
    pub fn finished(&self, census: Census) -> Self {
        Self { roster: Some(census), before: self.roster.clone(), building: None, handed_out: 0, ..self.clone() }
    }
}

/// Whether so few people are looked at again for a campaign that is over.
fn is_worth_closing(roster: &Census, now: Timestamp) -> bool {
    roster.people <= FEW_PEOPLE && now >= plus_seconds(roster.began_at, CLOSING_SECONDS)
}

impl Census {
    /// The prefixes of the ledger's keys that a range holds.
    #[must_use]
    pub fn prefixes(&self, range: u16) -> std::ops::RangeInclusive<u8> {
        let width = 256 / u32::from(self.ranges.max(1));
        let first = u32::from(range) * width;
        let last = first + width - 1;
        u8::try_from(first).unwrap_or(u8::MAX)..=u8::try_from(last).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn moment(left: u64, now: &str) -> Moment {
        Moment { live: Some([1; 8]), left, closes: false, horizon: plus_seconds(at(now), 90), now: at(now) }
    }

    /// A roster of 1,000 made at 10:00, of which 10 were handed out for the slot at 10:02.
    fn progress() -> Progress {
        let begun = Progress::default().next_census(moment(0, "2026-11-21T10:00:00Z")).unwrap();
        let found = Census { people: 1_000, candidates: 1_000, ..begun };
        let sends_end = Some(at("2026-11-21T10:03:00Z"));
        Progress { handed_out: 10, sends_end, ..Progress::default().finished(found) }
    }

    #[test]
    fn people_are_looked_at_again_when_the_campaigns_change_the_roster_is_dry_or_old() {
        let progress = progress();
        assert_eq!(progress.next_census(moment(5, "2026-11-21T10:05:00Z")), None);
        assert_eq!(progress.next_census(moment(0, "2026-11-21T10:02:59Z")), None, "its last sends are under way");
        assert!(progress.next_census(moment(0, "2026-11-21T10:03:00Z")).is_some());
        assert!(progress.next_census(moment(5, "2026-11-21T10:10:00Z")).is_some());
        let many = Census { people: 100_000, ..progress.roster.clone().unwrap() };
        let rarely = Progress { roster: Some(many), ..progress.clone() };
        assert!(rarely.next_census(moment(0, "2026-11-21T10:03:00Z")).is_some(), "somebody may have been missed");
        let rarely = Progress { before: rarely.roster.clone(), ..rarely };
        assert_eq!(rarely.next_census(moment(0, "2026-11-21T10:09:59Z")), None, "ten of so many were sent something");
        assert!(rarely.next_census(moment(0, "2026-11-21T10:10:00Z")).is_some());
        let other = Moment { live: Some([2; 8]), ..moment(5, "2026-11-21T10:05:00Z") };
        assert_eq!(progress.next_census(other).unwrap().generation, 2);
        let waiting = Census { ready_at: Some(at("2026-11-21T10:07:00Z")), ..progress.roster.clone().unwrap() };
        let progress = Progress { roster: Some(waiting), ..progress };
        assert_eq!(progress.next_census(moment(5, "2026-11-21T10:05:00Z")), None);
        assert!(progress.next_census(moment(5, "2026-11-21T10:06:00Z")).is_some());
    }

    #[test]
    fn buyers_are_counted_once_for_each_set_of_campaigns() {
        let progress = progress();
        assert!(Progress::default().is_first_for([1; 8]) && progress.is_first_for([2; 8]));
        assert!(!progress.is_first_for([1; 8]));
        let begun = progress.next_census(Moment { live: Some([2; 8]), ..moment(5, "2026-11-21T10:05:00Z") }).unwrap();
        let counted = progress.finished(Census { live: COUNTED, ..begun });
        let again = counted.next_census(Moment { live: Some([2; 8]), ..moment(0, "2026-11-21T10:05:10Z") }).unwrap();
        assert!(again.live == [2; 8] && !counted.is_first_for([2; 8]));
    }

    #[test]
    fn nothing_found_is_not_looked_for_again_at_once() {
        let progress = Progress { handed_out: 0, ..progress() };
        assert_eq!(progress.next_census(moment(0, "2026-11-21T10:05:00Z")), None);
    }

    #[test]
    fn after_the_last_campaign_deliveries_that_died_are_looked_for_once() {
        let progress = progress();
        let idle = |now: &str| Moment { live: None, ..moment(0, now) };
        assert_eq!(progress.next_census(idle("2026-11-21T10:06:09Z")), None);
        let last = progress.next_census(idle("2026-11-21T10:06:10Z")).unwrap();
        let settled = progress.finished(last);
        assert_eq!(settled.next_census(idle("2026-11-21T11:00:00Z")), None);
    }

    #[test]
    fn people_are_looked_at_once_more_when_a_campaign_is_over() {
        let progress = progress();
        let closing = |live, now: &str| Moment { live, closes: true, ..moment(5, now) };
        let (others, none) = (Some([1; 8]), None);
        let early = "2026-11-21T10:05:00Z";
        let census = progress.next_census(closing(others, early)).unwrap();
        assert!(progress.next_census(closing(none, early)).is_some(), "looking at few costs nothing");
        let just_looked = progress.finished(census.clone());
        assert_eq!(just_looked.next_census(closing(others, "2026-11-21T10:05:29Z")), None);
        assert!(just_looked.next_census(closing(none, "2026-11-21T10:05:30Z")).is_some());
        let under_way = Progress { building: Some(census), ..progress.clone() };
        assert_eq!(under_way.next_census(closing(others, early)), None, "one after the other");
        // Looking at many waits for other ends: for ten minutes, or an hour where few of them were sent anything.
        let roster = Some(Census { people: 1_000_000, ..progress.roster.clone().unwrap() });
        let sends_end = Some(at("2026-11-21T12:00:00Z"));
        for (handed_out, soon, late) in [(200_000, "10:09:59", "10:10:00"), (10, "10:59:59", "11:00:00")] {
            let progress = Progress { roster: roster.clone(), handed_out, sends_end, ..progress.clone() };
            for live in [others, none] {
                let at = |time: &str| progress.next_census(closing(live, &format!("2026-11-21T{time}Z")));
                assert!(at(soon).is_none() && at(late).is_some(), "{soon} {live:?}");
            }
        }
    }

    #[test]
    fn ranges_hold_every_prefix_once() {
        for ranges in [1, 2, 64] {
            let census = Census { ranges, ..progress().roster.unwrap() };
            let all: Vec<u8> = (0..ranges).flat_map(|range| census.prefixes(range)).collect();
            assert_eq!(all, (0..=255).collect::<Vec<u8>>());
        }
    }
}
