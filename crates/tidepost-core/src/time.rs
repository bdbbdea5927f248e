//! Calendar arithmetic: windows in a channel's zone, quiet hours and counting days in a person's.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

/// A calendar unit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Calendar {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// Midnight to midnight: 23 or 25 hours where clocks change.
    Day,
    /// Monday to Sunday (ISO 8601).
    Week,
    /// The first to the last day.
    Month,
}

/// From when until when: `opens_at` is inside, `closes_at` is not.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Period {
    /// The first moment inside.
    pub opens_at: Timestamp,
    /// The first moment after.
    pub closes_at: Timestamp,
}

impl Period {
    /// Whether `time` lies inside.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.opens_at <= time && time < self.closes_at
    }

    /// How long it is, in seconds.
    #[must_use]
    pub fn length_seconds(&self) -> i64 {
        self.closes_at.as_second() - self.opens_at.as_second()
    }
}

/// The zone named `name`, or Asia/Shanghai where there is no such zone (names are checked when they come in).
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(8)))
}

/// Whether `name` is a zone of the IANA database.
#[must_use]
pub fn is_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// The calendar unit around `now` in `zone`.
///
/// Where a clock change removes midnight the day starts at the first moment that exists.
#[must_use]
pub fn calendar_period(calendar: Calendar, zone: &TimeZone, now: Timestamp) -> Period {
    let local = now.to_zoned(zone.clone());
    match calendar {
        Calendar::Minute => within_a_day(&local, 60),
        Calendar::Hour => within_a_day(&local, 3_600),
        Calendar::Day => days(zone, local.date(), 1.day()),
        Calendar::Week => {
            let back = i64::from(local.date().weekday().to_monday_zero_offset());
            days(zone, local.date().saturating_sub(back.days()), 1.week())
        }
        Calendar::Month => days(zone, local.date().first_of_month(), 1.month()),
    }
}

/// The local minute or hour around `local`. Where a change of the clock breaks one off (half an hour on Lord Howe), the
/// windows on both sides end and begin there.
fn within_a_day(local: &Zoned, unit_seconds: i64) -> Period {
    let zone = local.time_zone();
    let second = floor_second(local.timestamp());
    let phase = |time: Timestamp| {
        let offset = i64::from(zone.to_offset(time).seconds());
        (floor_second(time) + offset).rem_euclid(unit_seconds)
    };
    let opens_at = at_second(second - phase(local.timestamp()));
    let closes_at = at_second(opens_at.as_second() + unit_seconds);
    let change_before = |time: Timestamp| zone.preceding(time).next().map(|change| change.timestamp());
    let opens_at = match change_before(at_second(second + 1)) {
        Some(change) if opens_at < change && phase(opens_at) != 0 => change,
        _ => opens_at,
    };
    let closes_at = match zone.following(local.timestamp()).next() {
        Some(change) if change.timestamp() < closes_at && phase(closes_at) != 0 => change.timestamp(),
        _ => closes_at,
    };
    Period { opens_at, closes_at }
}

fn days(zone: &TimeZone, first: Date, length: Span) -> Period {
    Period { opens_at: midnight(zone, first), closes_at: midnight(zone, first.saturating_add(length)) }
}

fn midnight(zone: &TimeZone, date: Date) -> Timestamp {
    date.to_zoned(zone.clone()).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The window of `length_seconds` around `now`, counted from the epoch.
#[must_use]
pub fn fixed_period(length_seconds: u32, now: Timestamp) -> Period {
    let length = i64::from(length_seconds.max(1));
    let opens = floor_second(now).div_euclid(length) * length;
    Period { opens_at: at_second(opens), closes_at: at_second(opens + length) }
}

/// The full hour around `now`, in UTC: the grain of receipts and metrics.
#[must_use]
pub fn hour_of(now: Timestamp) -> Timestamp {
    fixed_period(3_600, now).opens_at
}

fn floor_second(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(1_000)
}

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// `time` plus `milliseconds`, held at the ends of what can be expressed.
#[must_use]
pub fn plus_milliseconds(time: Timestamp, milliseconds: i64) -> Timestamp {
    let end = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(SignedDuration::from_millis(milliseconds)).unwrap_or(end)
}

/// `time` plus `seconds`, held at the ends of what can be expressed.
#[must_use]
pub fn plus_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    plus_milliseconds(time, seconds.saturating_mul(1_000))
}

/// The number of the local day of `now`, in days since 1970-01-01 (a week or month has the number of its first day).
#[must_use]
pub fn day_number(period: Calendar, zone: &TimeZone, now: Timestamp) -> i32 {
    let first = calendar_period(period, zone, now).opens_at.to_zoned(zone.clone()).date();
    let epoch = jiff::civil::date(1970, 1, 1);
    first.since((jiff::Unit::Day, epoch)).map_or(0, |span| span.get_days())
}

/// The local day in `zone` of a second of the epoch, in days since 1970-01-01.
#[must_use]
pub fn local_day(zone: &TimeZone, second: i64) -> i64 {
    let offset = zone.to_offset(at_second(second)).seconds();
    second.saturating_add(i64::from(offset)).div_euclid(86_400)
}

/// Hours that come back every day, such as those in which a person is left alone; may run over midnight.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DailyHours {
    /// The first minute inside, local time.
    #[serde(with = "hour_minute")]
    pub from: Time,
    /// The first minute after, local time.
    #[serde(with = "hour_minute")]
    pub to: Time,
}

impl DailyHours {
    /// When the hours around `now` end in `zone`; `None` when `now` is not inside.
    #[must_use]
    pub fn ends_at(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let local = now.to_zoned(zone.clone());
        if !self.contains(local.time()) {
            return None;
        }
        let end_date = if local.time() < self.to { local.date() } else { local.date().saturating_add(1.day()) };
        let end = zone.to_ambiguous_timestamp(end_date.to_datetime(self.to));
        // Where the clock goes back the end comes twice; where it goes forward it may be skipped.
        let first = end.compatible().ok()?;
        let end = if first <= now { end.later().ok()? } else { first };
        let skipped_to = |change: &Timestamp| !self.contains(change.to_zoned(zone.clone()).time());
        let changes = zone.following(now).map(|change| change.timestamp());
        Some(changes.take_while(|change| *change < end).find(skipped_to).unwrap_or(end))
    }

    /// When the hours begin next in `zone`; `None` when `now` is inside.
    #[must_use]
    pub fn begins_at(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        Self { from: self.to, to: self.from }.ends_at(zone, now)
    }

    fn contains(&self, time: Time) -> bool {
        if self.from <= self.to { self.from <= time && time < self.to } else { self.from <= time || time < self.to }
    }
}

mod hour_minute {
    //! `HH:MM`, as people write it.
    use jiff::civil::Time;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", time.hour(), time.minute()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = text
            .split_once(':')
            .filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)
            .and_then(|(hour, minute)| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok());
        parsed.ok_or_else(|| serde::de::Error::custom("must be a time of day as HH:MM, such as 22:00"))
    }
}
