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
fn a_channel_that_calls_too_often_rests_and_slows_down_until_calls_are_taken_again() {
    let mut channel = channel(10_000);
    channel.rate_limit_per_second = 50;
    let now = at("2026-11-21T10:00:30Z");
    let until = plus_seconds(now, 1);
    let slowed = Quota::default().slowed(&channel, until, 80, now).unwrap();
    assert_eq!(slowed.slowed(&channel, until, 80, now), None, "calls under way together speak of one excess");
    let (_, leased) = slowed.lease(&channel, need("a", 100, Category::Reminder, now), now).unwrap();
    assert_eq!((leased.first_start, leased.spacing_microseconds, leased.is_slowed), (until, 40_000, true));
    let mut quota = slowed;
    while let Some(faster) = quota.sped_up(&channel, 100) {
        assert!(faster.rate_per_second(&channel) > quota.rate_per_second(&channel));
        quota = faster;
    }
    assert_eq!(quota.spacing_microseconds(&channel), 20_000);
    let (_, leased) = quota.lease(&channel, need("b", 1, Category::Reminder, until), until).unwrap();
    assert!(!leased.is_slowed);
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
    assert_eq!((second.first_start, second.units), (at("2026-11-21T10:00:05.5Z"), 115));
    let shortage = quota.lease(&channel, need("c", 1, Category::Reminder, now), now).unwrap_err();
    assert_eq!((shortage.reason.code, shortage.until), (ReasonCode::Rate, at("2026-11-21T10:00:17Z")));
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

#[test]
fn a_thousandth_is_kept_for_calls_in_the_closing_band() {
    let (channel, now) = (channel(5_000), at("2026-11-21T10:00:30Z"));
    let (quota, middle) = Quota::default().lease(&channel, need("a", 9_000, Category::Basic, now), now).unwrap();
    assert_eq!(middle.units, 4_995);
    assert!(quota.lease(&channel, need("b", 1, Category::Basic, now), now).is_err());
    let near_the_edge = at("2026-11-21T10:00:56Z");
    let edge = quota.lease(&channel, need("c", 9_000, Category::Reminder, near_the_edge), near_the_edge).unwrap().1;
    assert_eq!(edge.units, 5);
}

/// Clocks, the platform's too, are up to so far apart in the property below.
const SKEW_MILLISECONDS: i64 = 2_000;
const CALL_TIMEOUT_MILLISECONDS: i64 = 3_000;
const FUNCTIONS: usize = 4;
/// Its events come within so long: two minutes' edges at least, and sometimes midnight's.
const SPAN_MILLISECONDS: i64 = 150_000;

/// Something that one function does with the channel's item.
#[derive(Clone, Debug)]
struct Event {
    after_milliseconds: i64,
    function: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Lease(Delivery),
    /// Some lease made before is closed, or closed again.
    GiveBack(prop::sample::Index),
    Exhausted(QuotaPeriod),
    Reopened,
}

/// What is asked for, how much of it is not used, and when the calls come.
#[derive(Clone, Debug)]
struct Delivery {
    units: u32,
    category: Category,
    unused: u32,
    /// Of its even and its odd calls: where in the time allowed they start, and how much of their time-out they take
    /// until the platform counts them, both in thousandths.
    timing: [(i64, i64); 2],
}

fn thousandths() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(1_000), 0..=1_000_i64]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let units = prop_oneof![1..40_u32, 32..3_000_u32];
    let category = prop_oneof![Just(Category::Basic), Just(Category::Reminder)];
    let unused = prop_oneof![Just(0), 0..3_000_u32];
    let timing = prop::array::uniform2((thousandths(), thousandths()));
    (units, category, unused, timing).prop_map(|(units, category, unused, timing)| Delivery {
        units,
        category,
        unused,
        timing,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let period = prop_oneof![Just(QuotaPeriod::Minute), Just(QuotaPeriod::Day)];
    let what = prop_oneof![
        12 => delivery().prop_map(What::Lease),
        6 => any::<prop::sample::Index>().prop_map(What::GiveBack),
        1 => period.prop_map(What::Exhausted),
        2 => Just(What::Reopened),
    ];
    (0..SPAN_MILLISECONDS, 0..FUNCTIONS, what).prop_map(|(after_milliseconds, function, what)| Event {
        after_milliseconds,
        function,
        what,
    })
}

/// A channel, the wrong of each clock and what happens, in the order in which it does.
#[derive(Clone, Debug)]
struct Run {
    limits: [u32; 2],
    /// Of the second rule; the first one's are minutes.
    has_days: bool,
    start: Timestamp,
    platform_ahead_milliseconds: i64,
    functions_ahead_milliseconds: [i64; FUNCTIONS],
    events: Vec<Event>,
}

fn run() -> impl Strategy<Value = Run> {
    let limit = || prop_oneof![1..60_u32, 60..=5_000_u32];
    // In Shanghai midnight is at 16:00; ten minutes and the band before, the share for `basic` ends.
    let start = prop_oneof![Just("2026-11-21T15:48:30Z"), Just("2026-11-21T15:58:30Z")].prop_map(at);
    let ahead = || prop_oneof![Just(0), Just(SKEW_MILLISECONDS), 0..=SKEW_MILLISECONDS];
    let clocks = (ahead(), prop::array::uniform4(ahead()));
    ([limit(), limit()], any::<bool>(), start, clocks, prop::collection::vec(event(), 1..90)).prop_map(
        |(limits, has_days, start, (platform_ahead_milliseconds, functions_ahead_milliseconds), mut events)| {
            events.sort_by_key(|event| event.after_milliseconds);
            Run { limits, has_days, start, platform_ahead_milliseconds, functions_ahead_milliseconds, events }
        },
    )
}

impl Run {
    fn channel(&self) -> Channel {
        let mut channel = channel(self.limits[0]);
        let second = if self.has_days { Window::Calendar(Calendar::Day) } else { Window::Seconds(90) };
        let (id, basic_share) = ("second".to_owned(), 0.05);
        channel.quota_rules.push(QuotaRule {
            id,
            unit: Unit::Message,
            limit: self.limits[1],
            window: second,
            basic_share,
        });
        channel.skew_milliseconds = u32::try_from(SKEW_MILLISECONDS).unwrap();
        channel.call_timeout_milliseconds = u32::try_from(CALL_TIMEOUT_MILLISECONDS).unwrap();
        channel
    }

    /// The platform's windows of both rules around one of its times, numbered.
    fn windows_around(&self, milliseconds: i64) -> [(usize, i64); 2] {
        const DAY: i64 = 86_400_000;
        let of_second =
            if self.has_days { (milliseconds + DAY / 3).div_euclid(DAY) } else { milliseconds.div_euclid(90_000) };
        [(0, milliseconds.div_euclid(60_000)), (1, of_second)]
    }

    /// When the platform counts the calls of a delivery of `function`, by its clock, in milliseconds of the epoch.
    fn counted_at<'a>(
        &self,
        function: usize,
        delivery: &'a Delivery,
        leased: &'a Leased,
    ) -> impl Iterator<Item = i64> + 'a {
        let apart = self.platform_ahead_milliseconds - self.functions_ahead_milliseconds[function];
        (0..leased.units.saturating_sub(delivery.unused)).map(move |call| {
            let (waits, takes) = delivery.timing[call as usize % 2];
            let first = leased.start(call).as_millisecond();
            let last = leased.use_by.as_millisecond() - 1;
            first + (last - first).max(0) * waits / 1_000 + (CALL_TIMEOUT_MILLISECONDS - 1) * takes / 1_000 + apart
        })
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Tally {
    /// Calls by rule and window, as the platform counts.
    calls: std::collections::BTreeMap<(usize, i64), u32>,
    /// Leases that were closed after another was made.
    overlaps: u32,
    /// Leases that were to be closed a second time or too late.
    closed_before: u32,
}

impl Tally {
    fn of(run: &Run) -> Self {
        let channel = run.channel();
        let (mut tally, mut quota) = (Self::default(), Quota::default());
        let mut leases: Vec<(String, u32)> = Vec::new();
        for (index, event) in run.events.iter().enumerate() {
            let ahead = run.functions_ahead_milliseconds[event.function];
            let now = plus_milliseconds(run.start, event.after_milliseconds + ahead);
            match &event.what {
                What::Lease(delivery) => {
                    let id = index.to_string();
                    let asked = need(&id, delivery.units, delivery.category, now);
                    let Ok((next, leased)) = quota.lease(&channel, asked, now) else { continue };
                    quota = next;
                    for counted_at in run.counted_at(event.function, delivery, &leased) {
                        for window in run.windows_around(counted_at) {
                            *tally.calls.entry(window).or_default() += 1;
                        }
                    }
                    if leased.has_entry {
                        leases.push((id, delivery.unused.min(leased.units)));
                    }
                }
                What::GiveBack(_) if leases.is_empty() => {}
                What::GiveBack(which) => {
                    let chosen = which.index(leases.len());
                    let (id, unused) = &leases[chosen];
                    match quota.give_back(id, *unused) {
                        Some(next) => quota = next,
                        None => tally.closed_before += 1,
                    }
                    tally.overlaps += u32::from(chosen + 1 < leases.len());
                }
                What::Exhausted(what) => quota = quota.exhausted(&channel, *what, now),
                What::Reopened => quota = quota.reopened(now),
            }
        }
        tally
    }
}

/// Whatever the order of leases, returns (late, lost or repeated), slow calls and the platform's words, with every clock
/// wrong: the platform, by its own, counts at most the limit in every window of both rules.
#[test]
fn the_platform_never_counts_more_than_the_limit() {
    let seen = std::cell::Cell::new([0_u32; 4]);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1_024,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let checked = runner.run(&run(), |run| {
        let tally = Tally::of(&run);
        let [mut full, mut large_and_full, overlaps, closed_before] = seen.get();
        for ((rule, window), calls) in &tally.calls {
            let limit = run.limits[*rule];
            prop_assert!(*calls <= limit, "{calls} of {limit} in window {window} of rule {rule}");
            full += u32::from(*calls == limit);
            large_and_full += u32::from(limit >= KEPT_BACK && *calls >= limit - limit / KEPT_BACK);
        }
        seen.set([full, large_and_full, overlaps + tally.overlaps, closed_before + tally.closed_before]);
        Ok(())
    });
    checked.unwrap();
    let seen = seen.get();
    println!("windows full, of those large; returns after another lease, of closed leases: {seen:?}");
    assert!(seen.iter().all(|count| *count > 20), "hardly tried: {seen:?}");
}
