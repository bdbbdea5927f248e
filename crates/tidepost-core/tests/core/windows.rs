//! Windows tile time: each moment lies in exactly one, and they begin where people's clocks say so.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;

use tidepost_core::channel::Window;
use tidepost_core::time::{Calendar, Period, calendar_period, day_number, fixed_period};

/// Zones with whole-hour, half-hour and quarter-hour offsets; with changes of an hour, of half an hour, at midnight and
/// of the offset for good; and one that left out a whole day.
pub const ZONES: [&str; 10] = [
    "Africa/Cairo",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Shanghai",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "UTC",
];

const CALENDARS: [Calendar; 5] = [Calendar::Minute, Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];

/// 1971 to 2037, with every change of the clocks that these zones had in between.
const SECONDS: std::ops::Range<i64> = 31_536_000..2_114_380_800;

/// Any moment, or one within a day of a change of the zone's clock.
pub fn moment_in() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    let near_change = (prop::bool::ANY, -90_000_i64..90_000, 0..1_000_000_000_i32);
    (prop::sample::select(&ZONES[..]), SECONDS, near_change).prop_map(|(name, second, (near, by, nanosecond))| {
        let zone = TimeZone::get(name).unwrap();
        let from = Timestamp::from_second(second).unwrap();
        let change = zone.following(from).next().filter(|_| near);
        let second = change.map_or(second, |change| change.timestamp().as_second() + by);
        (zone, Timestamp::new(second, nanosecond).unwrap())
    })
}

/// Whether a window of `calendar` may begin at this local time: at its unit's first moment, or where a change of the clock
/// left that out or broke the unit off.
fn begins(calendar: Calendar, at: &Zoned) -> bool {
    let before = Timestamp::from_nanosecond(at.timestamp().as_nanosecond() - 1).unwrap();
    let before = before.to_zoned(at.time_zone().clone());
    let is_change = before.offset() != at.offset();
    let is_new_day = before.date() < at.date();
    match calendar {
        Calendar::Minute => at.second() == 0,
        Calendar::Hour => (at.minute() == 0 || is_change) && at.second() == 0,
        Calendar::Day => is_new_day,
        Calendar::Week => is_new_day && at.weekday() == Weekday::Monday,
        Calendar::Month => is_new_day && at.day() == 1,
    }
}

fn tiles(window: Window, zone: &TimeZone, now: Timestamp) -> Result<Period, TestCaseError> {
    let period = window.around(zone, now);
    prop_assert!(period.contains(now), "{period:?} does not contain {now}");
    prop_assert_eq!(window.around(zone, period.opens_at), period, "its first moment");
    let last = Timestamp::from_nanosecond(period.closes_at.as_nanosecond() - 1).unwrap();
    prop_assert_eq!(window.around(zone, last), period, "its last moment");
    let next = window.around(zone, period.closes_at);
    prop_assert_eq!(next.opens_at, period.closes_at, "the next one follows at once");
    Ok(period)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn calendar_windows_tile_time_and_begin_with_local_units(
        (zone, now) in moment_in(),
        calendar in prop::sample::select(&CALENDARS[..]),
    ) {
        let period = tiles(Window::Calendar(calendar), &zone, now)?;
        for edge in [period.opens_at, period.closes_at] {
            let local = edge.to_zoned(zone.clone());
            prop_assert!(begins(calendar, &local), "a {calendar:?} begins at {local}");
        }
    }

    #[test]
    fn a_day_holds_the_moments_of_one_date((zone, now) in moment_in(), share in 0.0..1.0_f64) {
        let period = calendar_period(Calendar::Day, &zone, now);
        #[expect(clippy::cast_possible_truncation, reason = "a part of a day")]
        let inside = (period.length_seconds() as f64 * share) as i64;
        let other = Timestamp::from_second(period.opens_at.as_second() + inside).unwrap();
        let date = |time: Timestamp| time.to_zoned(zone.clone()).date();
        prop_assert_eq!(date(other), date(now));
        prop_assert_ne!(date(period.closes_at), date(now));
        // Days are numbered as a person would count them.
        let days = date(now).duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24;
        prop_assert_eq!(i64::from(day_number(Calendar::Day, &zone, now)), days);
    }

    #[test]
    fn fixed_windows_tile_time_from_the_epoch((zone, now) in moment_in(), length in 1_u32..10_000_000) {
        let period = tiles(Window::Seconds(length), &zone, now)?;
        prop_assert_eq!(period, fixed_period(length, now));
        prop_assert_eq!(period.opens_at.as_second() % i64::from(length), 0);
        prop_assert_eq!(period.length_seconds(), i64::from(length));
    }
}

/// Lengths of days that are not 24 hours, from the zones' published rules.
#[test]
fn days_on_which_clocks_change_have_their_own_length() {
    for (zone, date, hours) in [
        ("America/New_York", "2026-03-08", 23.0),
        ("America/New_York", "2026-11-01", 25.0),
        ("Europe/Berlin", "2026-03-29", 23.0),
        ("Europe/Berlin", "2026-10-25", 25.0),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        // Midnight itself is left out here.
        ("America/Sao_Paulo", "2018-11-04", 23.0),
        ("Africa/Cairo", "2026-04-24", 23.0),
        // And here the last hour of a day comes twice.
        ("America/Sao_Paulo", "2018-02-17", 25.0),
        ("Africa/Cairo", "2026-10-29", 25.0),
        ("Asia/Shanghai", "2026-03-29", 24.0),
        ("Asia/Kathmandu", "2026-03-29", 24.0),
    ] {
        let zone = TimeZone::get(zone).unwrap();
        let date: jiff::civil::Date = date.parse().unwrap();
        let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone()).unwrap().timestamp();
        let period = calendar_period(Calendar::Day, &zone, noon);
        #[expect(clippy::cast_precision_loss, reason = "at most 25 hours")]
        let length = period.length_seconds() as f64 / 3_600.0;
        assert!((length - hours).abs() < 1e-9, "{date}: {length} hours");
    }
}
