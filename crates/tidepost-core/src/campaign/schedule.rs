//! Recurring campaigns: a cron expression in a zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::time::{is_zone, zone};

/// When a campaign starts over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week; names, lists, ranges and steps as in crontab. Where the clock
    /// jumps over a time it starts right after the jump; a time that comes twice starts it once.
    pub cron: String,
    /// IANA zone of the expression.
    pub time_zone: String,
}

/// A schedule that can tell times.
#[derive(Clone, Debug)]
pub struct Starts {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads the expression.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn parse(&self) -> Result<Starts, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if !is_zone(&self.time_zone) {
            let message = "must be an IANA zone such as Asia/Shanghai";
            wrong.push(Invalid::new("schedule.time_zone", "time_zone_unknown", message));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        match parser.parse(&self.cron) {
            Ok(cron) if wrong.is_empty() => return Ok(Starts { cron, zone: zone(&self.time_zone) }),
            Ok(_) => {}
            Err(error) => {
                let message = format!("must be five fields such as 0 9 * * MON: {error}");
                wrong.push(Invalid::new("schedule.cron", "cron_malformed", message));
            }
        }
        Err(wrong)
    }
}

impl Starts {
    /// The last start at or before `now`.
    #[must_use]
    pub fn at_or_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_previous_occurrence(&now.to_zoned(self.zone.clone()), true).ok().map(|start| start.timestamp())
    }

    /// The first start after `now`.
    #[must_use]
    pub fn after(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&now.to_zoned(self.zone.clone()), false).ok().map(|start| start.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(cron: &str, time_zone: &str) -> Starts {
        Schedule { cron: cron.into(), time_zone: time_zone.into() }.parse().unwrap()
    }

    fn next(starts: &Starts, from: &str, count: usize) -> Vec<String> {
        let mut at = from.parse().unwrap();
        let mut step = || {
            at = starts.after(at).unwrap();
            at.to_zoned(starts.zone.clone()).strftime("%Y-%m-%dT%H:%M%:z").to_string()
        };
        (0..count).map(|_| step()).collect()
    }

    #[test]
    fn names_lists_ranges_and_steps_are_read() {
        let mondays = starts("0 9 * * MON", "Asia/Shanghai");
        assert_eq!(
            next(&mondays, "2026-11-21T10:00:00+08:00", 2),
            ["2026-11-23T09:00+08:00", "2026-11-30T09:00+08:00"]
        );
        let working = starts("*/30 8-9,18 * * 1-5", "Asia/Shanghai");
        assert_eq!(
            next(&working, "2026-11-20T09:15:00+08:00", 4),
            ["2026-11-20T09:30+08:00", "2026-11-20T18:00+08:00", "2026-11-20T18:30+08:00", "2026-11-23T08:00+08:00"]
        );
    }

    #[test]
    fn a_skipped_time_starts_after_the_jump_and_a_repeated_one_once() {
        let nightly = starts("30 2 * * *", "America/New_York");
        assert_eq!(
            next(&nightly, "2026-03-07T03:00:00-05:00", 2),
            ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
            "02:30 does not exist on the 8th of March"
        );
        let once = starts("30 1 * * *", "America/New_York");
        assert_eq!(
            next(&once, "2026-10-31T12:00:00-04:00", 2),
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
            "01:30 comes twice on the 1st of November"
        );
    }

    #[test]
    fn the_last_start_is_the_one_that_was_foretold() {
        for (cron, time_zone) in
            [("30 2 * * *", "America/New_York"), ("30 1 * * *", "America/New_York"), ("0 9 * * MON", "Asia/Shanghai")]
        {
            let starts = starts(cron, time_zone);
            let mut at: Timestamp = "2026-02-20T00:00:00Z".parse().unwrap();
            for _ in 0..300 {
                let next = starts.after(at).unwrap();
                assert_eq!(starts.at_or_before(next), Some(next), "{cron}");
                let moment_before = Timestamp::from_second(next.as_second() - 1).unwrap();
                assert!(starts.at_or_before(moment_before).unwrap() < next, "{cron} {next}");
                at = next;
            }
        }
    }

    #[test]
    fn broken_schedules_are_named() {
        for cron in ["", "0 9 * *", "61 * * * *", "0 9 * * FUNDAY", "0 0 9 * * MON"] {
            let schedule = Schedule { cron: cron.into(), time_zone: "Mars/Olympus".into() };
            let fields: Vec<_> = schedule.parse().unwrap_err().into_iter().map(|one| one.field).collect();
            assert_eq!(fields, ["schedule.time_zone", "schedule.cron"], "{cron}");
        }
    }
}
