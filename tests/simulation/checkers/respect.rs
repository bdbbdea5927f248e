//! Respect: no send inside quiet hours, over a cap, inside the minimum gap or against a wish, on any channel of the person,
//! but for urgent `basic` messages.

use std::collections::BTreeMap;

use super::{SKEW, is_erased};
use crate::history::{Call, History, Milliseconds, Person, Wanted, Who};

const HOUR: i64 = 3_600_000;
const QUIET: std::ops::Range<i64> = 8 * HOUR..22 * HOUR;
/// From the reservation to its call, in milliseconds: a few requests to AWS with their retries may lie between.
const TO_THE_CALL: i64 = 6_000;
/// A refused call is repeated under its reservation within this, in milliseconds.
const TO_THE_LAST_CALL: i64 = 40_000;

pub(super) fn check(history: &History) -> Vec<String> {
    let people: BTreeMap<&Who, &Person> =
        history.people.iter().flat_map(|person| person.subscribers.iter().map(move |who| (who, person))).collect();
    let mut broken = Vec::new();
    let mut seen: BTreeMap<(&str, &Who), ()> = BTreeMap::new();
    for call in &history.calls {
        let (Some((category, topic, is_urgent)), Some(person)) = (history.about(&call.key), people.get(&call.who))
        else {
            continue;
        };
        let is_again = seen.insert((&call.key, &call.who), ()).is_some();
        let slack = SKEW + if is_again { TO_THE_LAST_CALL } else { TO_THE_CALL };
        broken.extend(wishes(history, person, call, topic, slack));
        if history.has_night && (category != "basic" || !is_urgent) {
            broken.extend(night(history, person, call, slack));
        }
    }
    broken.extend(caps_and_gaps(history));
    broken
}

/// Since when the zone that was told of a person's first subscriber is known of the one that was called.
fn known_of(person: &Person, call: &Call, told_at: Milliseconds) -> Option<Milliseconds> {
    let is_told_of = person.subscribers.first() == Some(&call.who);
    if is_told_of { Some(told_at) } else { person.linked_at.map(|linked_at| linked_at.max(told_at)) }
}

fn night(history: &History, person: &Person, call: &Call, slack: i64) -> Option<String> {
    let hours = match person.zone {
        // A zone is forgotten with the person, and the question is not when exactly.
        Some(_) if is_erased(history, person) => return None,
        Some((hours, Some(told_at))) if known_of(person, call, told_at)? + slack <= call.at => hours,
        // Set after the reservation, or never answered.
        Some(_) => return None,
        None => history.zone_hours,
    };
    let of_day = |at: Milliseconds| (at + hours * HOUR).rem_euclid(24 * HOUR);
    let is_quiet = |at: Milliseconds| !QUIET.contains(&of_day(at));
    (is_quiet(call.at) && is_quiet(call.at - slack) && is_quiet(call.at + SKEW))
        .then(|| format!("{:?} was called for {} at night, at {}", call.who, call.key, call.at))
}

fn wishes(history: &History, person: &Person, call: &Call, about: &str, slack: i64) -> Vec<String> {
    let meant = history.wishes.iter().filter(|wish| {
        let is_theirs = wish.who == call.who
            || person.subscribers.contains(&wish.who) && person.linked_at.is_some_and(|at| at <= wish.asked_at);
        let is_known = wish.known_at.is_some_and(|at| at + slack < call.at);
        let is_meant = match &wish.what {
            Wanted::TopicOff(topic) => topic == about,
            Wanted::Stop | Wanted::Erasure => true,
        };
        is_theirs && is_known && is_meant
    });
    // What came after it may have taken it back.
    let stands = meant.filter(|wish| {
        let later =
            |other: &&crate::history::Wish| person.subscribers.contains(&other.who) && other.asked_at > wish.asked_at;
        let is_replaced = history.wishes.iter().any(|other| later(&other));
        let overlaps = history.wishes.iter().any(|other| {
            !std::ptr::eq(other, *wish)
                && person.subscribers.contains(&other.who)
                && other.known_at.is_none_or(|at| at >= wish.asked_at)
        });
        let is_back = history
            .consents
            .iter()
            .any(|consent| person.subscribers.contains(&consent.who) && consent.at + 60_000 >= wish.asked_at);
        !is_replaced && !overlaps && (wish.what != Wanted::Erasure || !is_back)
    });
    stands.map(|wish| format!("{:?} was called for {} against {:?}", call.who, call.key, wish.what)).collect()
}

/// Over what people received, whichever of their channels it came through.
fn caps_and_gaps(history: &History) -> Vec<String> {
    history
        .people
        .iter()
        .filter(|person| !is_erased(history, person))
        .flat_map(|person| one_person(history, person))
        .collect()
}

fn one_person(history: &History, person: &Person) -> Vec<String> {
    let mut received: Vec<(Milliseconds, &str, &str)> = Vec::new();
    for (channel, openid) in &person.subscribers {
        let all = history.channels.get(channel).into_iter().flat_map(|channel| &channel.received);
        let own = all.filter(|received| received.openid == *openid);
        received.extend(own.map(|received| (received.at.as_millisecond(), channel.as_str(), received.key())));
    }
    received.sort_unstable();
    let since = if person.subscribers.len() > 1 { person.linked_at.unwrap_or(Milliseconds::MAX) } else { 0 };
    let zone = person.zone.map_or(history.zone_hours, |(hours, _)| hours);
    let mut broken = Vec::new();
    for (index, (at, channel, key)) in received.iter().enumerate() {
        let about = history.about(key);
        let is_exempt = about.is_none_or(|(category, _, is_urgent)| category == "basic" && is_urgent);
        let Some(limits) = history.channels.get(*channel) else { continue };
        // Before the link, and just around it, each subscriber is a person of their own.
        if is_exempt || *at < since.saturating_add(TO_THE_LAST_CALL) {
            continue;
        }
        let before = &received[..index];
        let in_day = before.iter().filter(|(other, ..)| is_one_day(*other, *at, zone)).count() as u64;
        if in_day >= limits.cap_per_day {
            broken.push(format!("{key} was number {} of {} that day", in_day + 1, limits.cap_per_day));
        }
        let gap = limits.minimum_gap_seconds * 1_000 - 2 * SKEW - TO_THE_LAST_CALL;
        if let Some((last, _, other)) = before.last().filter(|(last, ..)| at - last < gap) {
            broken.push(format!("{key} came {} ms after {other}", at - last));
        }
    }
    broken
}

/// Whether both came on one day of a zone by every clock: who reserves by a clock of its own may count what comes just around
/// midnight in the day before or after.
fn is_one_day(one: Milliseconds, other: Milliseconds, zone: i64) -> bool {
    let day = |at: Milliseconds| (at + zone * HOUR).div_euclid(24 * HOUR);
    let of = |at: Milliseconds| [at - 2 * SKEW - TO_THE_LAST_CALL, at + 2 * SKEW].map(day);
    let days = [of(one), of(other)].concat();
    days.iter().all(|this| *this == days[0])
}
