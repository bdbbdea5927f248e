use proptest::prelude::*;

use super::*;
use crate::channel::tests::shop;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn need(id: &str, units: u32, category: Category, now: Timestamp) -> Need<'_> {
    Need { id, units, category, use_by: plus_milliseconds(now, 30_000) }
}

/// The contract's channel with one rule of `limit` calls per minute and a rate that does not matter.
fn channel(limit: u32) -> Channel {
    let mut channel = shop();
    channel.quota_rules.retain(|rule| rule.id == "minute");
    channel.quota_rules[0].limit = limit;
    channel.rate_limit_per_second = 100_000;
    channel
}

#[test]
fn a_window_gives_what_it_has_and_no_more() {
    let (channel, now) = (channel(100), at("2026-11-21T10:00:30Z"));
    let (quota, first) = Quota::default().lease(&channel, need("a", 70, Category::Reminder, now), now).unwrap();
    let (quota, second) = quota.lease(&channel, need("b", 70, Category::Reminder, now), now).unwrap();
    assert_eq!((first.units, second.units), (70, 30));
    let shortage = quota.lease(&channel, need("c", 1, Category::Basic, now), now).unwrap_err();
    assert_eq!(shortage.until, at("2026-11-21T10:01:02Z"), "the next window, past the band of its edge");
    assert_eq!(shortage.reason.code, ReasonCode::QuotaWindow);
}

#[test]
fn a_call_near_an_edge_is_paid_in_both_windows() {
    let (channel, now) = (channel(10), at("2026-11-21T10:00:56Z"));
    let (quota, leased) = Quota::default().lease(&channel, need("a", 4, Category::Reminder, now), now).unwrap();
    assert_eq!(leased.units, 4);
    let later = at("2026-11-21T10:01:30Z");
    let (_, rest) = quota.lease(&channel, need("b", 10, Category::Reminder, later), later).unwrap();
    assert_eq!(rest.units, 6, "four of the new window went to calls around its opening");
}

#[test]
fn unused_units_come_back_once() {
    let (channel, now) = (channel(100), at("2026-11-21T10:00:30Z"));
    let (quota, _) = Quota::default().lease(&channel, need("a", 40, Category::Reminder, now), now).unwrap();
    let quota = quota.give_back("a", 37).unwrap();
    assert_eq!(quota.give_back("a", 37), None);
    let view = &quota.views(&channel, now)[0];
    assert_eq!((view.used, view.leased, view.limit), (3, 0, 100));
}

#[test]
fn a_share_of_long_windows_is_kept_for_basic_until_shortly_before_the_end() {
    let mut channel = shop();
    channel.rate_limit_per_second = 100_000;
    channel.quota_rules.retain(|rule| rule.id == "daily");
    channel.quota_rules[0].limit = 900;
    channel.quota_rules[0].basic_share = 0.1;
    let now = at("2026-11-21T10:00:00Z");
    let (quota, leased) = Quota::default().lease(&channel, need("a", 900, Category::Reminder, now), now).unwrap();
    assert_eq!(leased.units, 810);
    let shortage = quota.lease(&channel, need("b", 1, Category::Reminder, now), now).unwrap_err();
    assert_eq!(shortage.until, at("2026-11-21T15:49:55Z"), "midnight in Shanghai less the band and ten minutes");
    assert_eq!(quota.lease(&channel, need("c", 900, Category::Basic, now), now).unwrap().1.units, 90);
    assert_eq!(
        quota.lease(&channel, need("d", 900, Category::Reminder, shortage.until), shortage.until).unwrap().1.units,
        90
    );
}

#[test]
fn the_rate_spaces_calls_and_makes_a_late_batch_wait() {
    let mut channel = channel(1_000_000);
    channel.rate_limit_per_second = 10;
    let now = at("2026-11-21T10:00:05Z");
    let (quota, first) = Quota::default().lease(&channel, need("a", 5, Category::Reminder, now), now).unwrap();
    assert_eq!(first.start(4), at("2026-11-21T10:00:05.4Z"));
    let (quota, second) = quota.lease(&channel, need("b", 1_000, Category::Reminder, now), now).unwrap();
    assert_eq!((second.first_start, second.units), (at("2026-11-21T10:00:05.5Z"), 195));
    let shortage = quota.lease(&channel, need("c", 1, Category::Reminder, now), now).unwrap_err();
    assert_eq!((shortage.reason.code, shortage.until), (ReasonCode::Rate, at("2026-11-21T10:00:25Z")));
}

fn until_of(quota: &Quota, channel: &Channel, now: Timestamp) -> Timestamp {
    quota.lease(channel, need("a", 1, Category::Basic, now), now).unwrap_err().until
}

#[test]
fn the_platforms_word_closes_the_window_it_speaks_of() {
    let channel = channel(10);
    let now = at("2026-11-21T10:00:30Z");
    let quota = Quota::default().exhausted(&channel, QuotaPeriod::Minute, now);
    assert!(quota.may_reopen(now));
    assert_eq!(until_of(&quota, &channel, now), at("2026-11-21T10:01:00Z"));
    assert_eq!(until_of(&quota, &channel, at("2026-11-21T10:01:01Z")), at("2026-11-21T10:01:02Z"), "the edge's band");
    assert!(quota.reopened(now).lease(&channel, need("a", 1, Category::Basic, now), now).is_ok());
    let near_the_edge = at("2026-11-21T10:00:59Z");
    let paused = Quota::default().exhausted(&channel, QuotaPeriod::Minute, near_the_edge);
    assert!(!paused.may_reopen(near_the_edge));
    assert_eq!(
        paused.lease(&channel, need("a", 1, Category::Basic, near_the_edge), near_the_edge).unwrap().1.first_start,
        at("2026-11-21T10:01:02Z")
    );
}

#[test]
fn what_the_platform_closed_is_asked_for_again_soon_and_has_no_room_until_its_end() {
    let channel = channel(10);
    let now = at("2026-11-21T10:00:55Z");
    let quota = Quota::default().exhausted(&channel, QuotaPeriod::Day, now);
    assert_eq!(until_of(&quota, &channel, now), at("2026-11-21T10:02:00Z"), "the next minute is too near");
    let midnight = at("2026-11-21T16:00:02Z");
    assert_eq!(quota.closed_until(&channel, now), Some(midnight));
    for later in [now, at("2026-11-21T15:59:59Z"), at("2026-11-21T16:00:01.999Z")] {
        assert_eq!(quota.room_left(&channel, Category::Basic, later), 0, "{later}");
    }
    assert!(quota.room_left(&channel, Category::Basic, midnight) > 0);
    assert_eq!(until_of(&quota, &channel, at("2026-11-21T15:59:40Z")), at("2026-11-21T16:00:00Z"));
    assert_eq!(quota.reopened(now).closed_until(&channel, now), None);
}

#[test]
fn a_platform_that_closes_what_it_counts_as_open_is_believed_ever_less_often() {
    let (channel, start) = (channel(10), at("2026-11-21T10:00:00Z"));
    let mut quota = Quota::default();
    let minutes: Vec<i64> = (0..300)
        .filter(|minute| {
            let now = plus_seconds(start, minute * 60);
            let is_open = quota.closed_until(&channel, now).is_none() || quota.may_reopen(now);
            if is_open {
                quota = quota.reopened(now).exhausted(&channel, QuotaPeriod::Day, now);
            }
            is_open
        })
        .collect();
    assert_eq!(minutes, [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244]);
}

#[test]
fn only_the_rules_that_the_platform_means_are_closed() {
    let mut channel = channel(10);
    let rule = |id: &str, window: Window| QuotaRule {
        id: id.to_owned(),
        unit: Unit::Message,
        limit: 100,
        window,
        basic_share: 0.0,
    };
    for (id, window) in [
        ("second", Window::Seconds(1)),
        ("hour", Window::Calendar(Calendar::Hour)),
        ("day", Window::Calendar(Calendar::Day)),
        ("week", Window::Calendar(Calendar::Week)),
        ("month", Window::Calendar(Calendar::Month)),
    ] {
        channel.quota_rules.push(rule(id, window));
    }
    let now = at("2026-11-21T10:00:30Z");
    let closed = |channel: &Channel, what: QuotaPeriod| -> Vec<String> {
        let views = Quota::default().exhausted(channel, what, now).views(channel, now);
        views.into_iter().filter(|view| view.state == WindowState::ClosedByPlatform).map(|view| view.rule).collect()
    };
    assert_eq!(closed(&channel, QuotaPeriod::Minute), ["minute", "hour"]);
    assert_eq!(closed(&channel, QuotaPeriod::Day), ["day"]);
    channel.quota_rules.retain(|rule| ["second", "week"].contains(&rule.id.as_str()));
    for what in [QuotaPeriod::Minute, QuotaPeriod::Day] {
        assert_eq!(closed(&channel, what), ["platform"]);
    }
}

#[test]
fn a_window_of_the_platforms_own_shows_what_is_known_of_it() {
    let (channel, now) = (channel(10), at("2026-11-21T10:00:30Z"));
    let quota = Quota::default().exhausted(&channel, QuotaPeriod::Day, now);
    let shown = |quota: &Quota| quota.views(&channel, now).into_iter().find(|view| view.rule == "platform");
    let view = shown(&quota).unwrap();
    assert_eq!((view.used, view.leased, view.limit, view.state), (1, 0, 1, WindowState::ClosedByPlatform));
    assert_eq!((view.opens_at, view.closes_at), (at("2026-11-20T16:00:00Z"), at("2026-11-21T16:00:00Z")));
    let counted = quota.counted_by_platform(5_000, now).unwrap();
    let view = shown(&counted).unwrap();
    assert_eq!((view.used, view.limit), (5_000, 5_000));
    assert_eq!(counted.counted_by_platform(5_000, now), None, "nothing new");
    assert_eq!(shown(&counted.reopened(now)), None);
    assert_eq!(Quota::default().counted_by_platform(1, now), None, "nothing is closed");
}

#[test]
fn more_leases_than_entries_are_debits() {
    let (channel, now) = (channel(10_000), at("2026-11-21T10:00:30Z"));
    let mut quota = Quota::default();
    for index in 0..=LEASES_MAX {
        let id = index.to_string();
        let (next, leased) = quota.lease(&channel, need(&id, 32, Category::Reminder, now), now).unwrap();
        assert_eq!(leased.has_entry, index < LEASES_MAX);
        quota = next;
    }
    let view = &quota.views(&channel, now)[0];
    assert_eq!((view.used, view.leased), (32, 2_048));
}

/// One delivery of the property below: when it asks, for how much, how much of it it uses, and how long calls take.
#[derive(Clone, Debug)]
struct Delivery {
    after_milliseconds: i64,
    units: u32,
    unused: u32,
    late_milliseconds: i64,
    skew_milliseconds: i64,
    lost: bool,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (0..9_000_i64, 1..40_u32, 0..10_u32, 0..3_000_i64, -2_000..=2_000_i64, prop::bool::weighted(0.1)).prop_map(
        |(after_milliseconds, units, unused, late_milliseconds, skew_milliseconds, lost)| Delivery {
            after_milliseconds,
            units,
            unused,
            late_milliseconds,
            skew_milliseconds,
            lost,
        },
    )
}

proptest! {
    /// Whatever the order of leases, returns, lost answers, slow calls and wrong clocks: the platform, with its own
    /// clock, counts at most `limit` calls in every one of its minutes.
    #[test]
    fn the_platform_never_counts_more_than_the_limit(
        limit in 1..60_u32,
        platform_skew in 0..1_i64,
        deliveries in prop::collection::vec(delivery(), 1..60),
    ) {
        let mut channel = channel(limit);
        channel.skew_milliseconds = 2_000;
        let mut now = at("2026-11-21T10:00:00Z");
        let mut quota = Quota::default();
        let mut counted: std::collections::BTreeMap<i64, u32> = std::collections::BTreeMap::new();
        for (index, delivery) in deliveries.iter().enumerate() {
            now = plus_milliseconds(now, delivery.after_milliseconds);
            let id = index.to_string();
            let Ok((next, leased)) = quota.lease(&channel, need(&id, delivery.units, Category::Reminder, now), now) else { continue };
            quota = next;
            if delivery.lost {
                continue;
            }
            let unused = delivery.unused.min(leased.units);
            for call in 0..leased.units - unused {
                // The last moment at which it may start, and the latest at which the platform may count it.
                let start = if call % 2 == 0 { leased.start(call) } else { plus_milliseconds(leased.use_by, -1) };
                let arrives = start.as_millisecond() + delivery.late_milliseconds.min(i64::from(channel.call_timeout_milliseconds) - 1)
                    + delivery.skew_milliseconds * (1 - platform_skew);
                *counted.entry(arrives.div_euclid(60_000)).or_default() += 1;
            }
            if leased.has_entry && unused > 0 {
                quota = quota.give_back(&id, unused).unwrap();
            }
        }
        for (minute, calls) in counted {
            prop_assert!(calls <= limit, "{calls} of {limit} in minute {minute}");
        }
    }
}
