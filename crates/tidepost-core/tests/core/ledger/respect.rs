//! No send inside quiet hours, over a cap, inside the minimum gap or against a preference, in any zone on any day; and
//! none held back without cause.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use crate::windows::moment_in;
use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::decide::{Case, Hold, Offer};
use tidepost_core::dispatch::{Step, reserve};
use tidepost_core::grant::{Consent, Source, Terms};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::person::{Answer, Heard, Person, Preferences};
use tidepost_core::template::{Template, TemplateKind};
use tidepost_core::time::DailyHours;

const TOPICS: [&str; 3] = ["orders", "sales", "news"];

/// What the channel's owner set.
#[derive(Clone, Debug)]
struct Settings {
    quiet: Option<(u16, u16)>,
    per_day: u16,
    topic_per_week: u16,
    gap_seconds: i64,
}

/// One thing asked for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    pause_seconds: i64,
    topic: usize,
    is_basic: bool,
    is_urgent: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let quiet = (0..1_440_u16, 0..1_440_u16).prop_filter("none are written as null", |(from, to)| from != to);
    (prop::option::weighted(0.8, quiet), 1..6_u16, 1..8_u16, prop::sample::select(vec![0_i64, 60, 3_600])).prop_map(
        |(quiet, per_day, topic_per_week, gap_seconds)| Settings { quiet, per_day, topic_per_week, gap_seconds },
    )
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let pause = prop_oneof![0..120_i64, 0..7_200_i64, 20_000..60_000_i64];
    let ask = (pause, 0..3_usize, any::<bool>(), any::<bool>())
        .prop_map(|(pause_seconds, topic, is_basic, is_urgent)| Ask { pause_seconds, topic, is_basic, is_urgent });
    prop::collection::vec(ask, 1..40)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn channel(settings: &Settings) -> Channel {
    let quiet = settings
        .quiet
        .map_or("null".to_owned(), |(from, to)| format!(r#"{{"from":"{}","to":"{}"}}"#, clock(from), clock(to)));
    let Settings { per_day, topic_per_week, gap_seconds, .. } = settings;
    let text = format!(
        r#"{{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S","policy":{{"quiet_hours":{quiet},
        "minimum_gap_seconds":{gap_seconds},"caps":[{{"scope":"subscriber","per":"day","limit":{per_day}}},
        {{"scope":"topic","per":"week","limit":{topic_per_week}}}]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// A person with a consent for everything asked for, who wants no news.
fn person(zone: &TimeZone, now: Timestamp) -> Person {
    let id = SubscriberId::new("shop", "o1");
    let mut person = Person::new(&id);
    for event in 0..40 {
        let heard = Heard {
            event: [event; 8],
            source: Source::Event,
            answers: vec![Answer {
                template: "T".into(),
                kind: TemplateKind::OneTime,
                consent: Consent::Accept,
                terms: Terms::default(),
            }],
        };
        person.hear(&id, &heard, now);
    }
    person.time_zone = zone.iana_name().map(str::to_owned);
    person.preferences = Preferences { stopped: false, topics: [("news".to_owned(), false)].into() };
    person
}

fn offer(ask: Ask, index: usize, now: Timestamp) -> Offer {
    Offer {
        id: MessageId::derive("shop", "k_1", &index.to_string(), now),
        to: SubscriberId::new("shop", "o1"),
        template: "T".into(),
        category: if ask.is_basic { Category::Basic } else { Category::Reminder },
        urgency: if ask.is_urgent { Urgency::Urgent } else { Urgency::Normal },
        topic: TOPICS[ask.topic].into(),
        business_line: None,
        not_before: None,
        not_after: now + 72.hours(),
    }
}

/// A send that was made.
struct Sent {
    topic: usize,
    at: Timestamp,
}

/// Whether a clock on the wall shows a quiet minute.
fn is_quiet(quiet: Option<(u16, u16)>, zone: &TimeZone, at: Timestamp) -> bool {
    let time = at.to_zoned(zone.clone()).time();
    let minute = u16::try_from(time.hour()).unwrap() * 60 + u16::try_from(time.minute()).unwrap();
    quiet.is_some_and(|(from, to)| {
        // Walk the face of the clock from `from` to `to`.
        let length = (to + 1_440 - from) % 1_440;
        (minute + 1_440 - from) % 1_440 < length
    })
}

/// The Monday of a moment's week, and its date.
fn dates(zone: &TimeZone, at: Timestamp) -> (jiff::civil::Date, jiff::civil::Date) {
    let date = at.to_zoned(zone.clone()).date();
    let mut monday = date;
    while monday.weekday() != Weekday::Monday {
        monday = monday.yesterday().unwrap();
    }
    (monday, date)
}

/// What speaks against sending now.
fn objections(settings: &Settings, zone: &TimeZone, sent: &[Sent], ask: Ask, now: Timestamp) -> Vec<&'static str> {
    let mut found = Vec::new();
    if TOPICS[ask.topic] == "news" {
        found.push("preference");
    }
    if ask.is_basic && ask.is_urgent {
        return found;
    }
    let (monday, date) = dates(zone, now);
    if is_quiet(settings.quiet, zone, now) {
        found.push("quiet hours");
    }
    let today = sent.iter().filter(|send| dates(zone, send.at).1 == date).count();
    if today >= usize::from(settings.per_day) {
        found.push("cap of the day");
    }
    let of_topic = sent.iter().filter(|send| send.topic == ask.topic);
    let this_week = of_topic.filter(|send| dates(zone, send.at).0 == monday).count();
    if this_week >= usize::from(settings.topic_per_week) {
        found.push("cap of the week");
    }
    let last = sent.last().map(|send| now.duration_since(send.at).as_secs());
    if last.is_some_and(|seconds| seconds < settings.gap_seconds) {
        found.push("minimum gap");
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn people_are_respected_by_their_own_clock((zone, start) in moment_in(), settings in settings(), asks in asks()) {
        let channel = channel(&settings);
        let template: Template = serde_json::from_str(r#"{"title":"t","category":"basic","fields":[{"key":"thing1"}]}"#).unwrap();
        let (mut now, mut sent) = (start, Vec::new());
        let mut person = person(&zone, now);
        for (index, ask) in asks.iter().enumerate() {
            now += ask.pause_seconds.seconds();
            let offer = offer(*ask, index, now);
            let health = Health::default();
            let case = Case { person: &person, offer: &offer, channel: &channel, health: &health, template: &template, now };
            let objections = objections(&settings, &zone, &sent, *ask, now);
            match reserve(&case, Nonce([1; 8]), None) {
                Step::Swap(reserved) => {
                    prop_assert!(objections.is_empty(), "sent at {now} against {objections:?}");
                    person = reserved.person;
                    sent.push(Sent { topic: ask.topic, at: now });
                }
                Step::Held(hold) => {
                    // The ledger keeps whole seconds, so a gap may be up to a second longer than asked for.
                    let in_last_second = sent.last().is_some_and(|send: &Sent| {
                        settings.gap_seconds > 0 && now.duration_since(send.at).as_secs() <= settings.gap_seconds
                    });
                    prop_assert!(!objections.is_empty() || in_last_second, "held at {now} without cause: {hold:?}");
                    if let Hold::Wait { until, .. } = hold {
                        prop_assert!(until > now, "waits at {now} until {until}");
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    /// Steps through the minutes: the end is the first that is not quiet. Quiet hours lie around the moment, which lies
    /// near a change of the clock half of the time, so that ends fall into hours that are skipped or come twice.
    #[test]
    fn quiet_hours_end_at_the_first_minute_that_is_not_quiet(
        (zone, near, now) in moment_in().prop_flat_map(|(zone, now)| (Just(zone), any::<bool>(), Just(now))),
        // Waking hours of a few minutes may lie wholly in a skipped hour: then the end is decided again when it comes.
        (from, to) in (-240..240_i64, -240..240_i64)
            .prop_filter("two waking hours at least", |(from, to)| (from - to).rem_euclid(1_440) >= 120),
        by_seconds in -10_800..10_800_i64,
    ) {
        let change = zone.following(now).next().filter(|_| near);
        let now = change.map_or(now, |change| change.timestamp() + by_seconds.seconds());
        let local = now.to_zoned(zone.clone()).time();
        let face = |by: i64| u16::try_from((i64::from(local.hour()) * 60 + i64::from(local.minute()) + by).rem_euclid(1_440));
        let (from, to) = (face(from).unwrap(), face(to).unwrap());
        let time = |minute: u16| Time::midnight() + i64::from(minute).minutes();
        let quiet = DailyHours { from: time(from), to: time(to) };
        let end = quiet.ends_at(&zone, now);
        prop_assert_eq!(end.is_some(), is_quiet(Some((from, to)), &zone, now));
        if let Some(end) = end {
            let mut minute = Timestamp::from_second(now.as_second().div_euclid(60) * 60).unwrap();
            while is_quiet(Some((from, to)), &zone, minute) {
                minute += 1.minute();
            }
            prop_assert_eq!(end, minute, "quiet from {} to {}", clock(from), clock(to));
        }
    }
}
