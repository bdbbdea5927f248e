//! Campaigns: each of their people gets an occurrence at most once, nobody outside, nobody after its end or more than the
//! answer to a stop allowed, the counts are those of what happened, everybody is accounted for after the end, and whoever is
//! due gets it or the API says why not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::SKEW;
use crate::history::{Call, Commanded, History, Milliseconds, Person, Ran, Wanted, Who};

/// From the decision for an occurrence to its call, in milliseconds.
const TO_THE_CALL: i64 = 30_000;
/// How long after a stop the last flight may still call, in milliseconds.
const LAST_FLIGHT: i64 = 50_000;
/// How long after its end a campaign is accounted for at the latest, in milliseconds: its last sends come down, a tick, and a
/// look at all people.
const ACCOUNTED_AFTER: i64 = (190 + 120 + 120) * 1_000;
/// The platform says that there is no consent: the reservation stays.
const NO_CONSENT: i64 = 43101;

pub(super) fn check(history: &History) -> Vec<String> {
    let one = |(key, ran): (&String, &Ran)| {
        let calls: Vec<&Call> = history.calls.iter().filter(|call| call.key == *key).collect();
        let channel = history.channels.get(&ran.channel);
        let received = channel.into_iter().flat_map(|channel| &channel.received);
        let received = received.filter(|received| received.key() == key).count() as u64;
        let is_used_up = channel.is_some_and(|channel| channel.is_used_up);
        let mut broken = outside(ran, &calls);
        broken.extend(doubles(history, ran, &calls));
        broken.extend(twins(history, ran, &calls));
        broken.extend(ran.commands.iter().enumerate().flat_map(|(at, _)| stopped(ran, at, &calls)));
        broken.extend(counts(ran, &calls, received));
        broken.extend(accounted(history, ran));
        broken.extend(rolled_up(history, key, ran));
        broken.extend(due(history, ran, &calls, is_used_up));
        broken.into_iter().map(|line| format!("{key}: {line}")).collect::<Vec<_>>()
    };
    history.campaigns.iter().flat_map(one).collect()
}

fn can_deliver(call: &Call) -> bool {
    matches!(call.heard, None | Some(0))
}

/// Calls for people it is not for, on another channel, before it was started or after its end.
fn outside(ran: &Ran, calls: &[&Call]) -> Vec<String> {
    let started_at = ran.commands.iter().find(|command| command.verb == "start").map(|command| command.asked_at);
    let mut broken = Vec::new();
    for call in calls {
        if !ran.members.contains(&call.who) {
            broken.push(format!("{:?} is not meant", call.who));
        }
        if started_at.is_none_or(|at| call.at < at) || call.at > ran.until + SKEW {
            broken.push(format!("{:?} was called for at {}, outside its time", call.who, call.at));
        }
    }
    broken
}

/// Calls that can deliver go to different occurrences. Of who was erased nobody knows what they had.
fn doubles(history: &History, ran: &Ran, calls: &[&Call]) -> Vec<String> {
    let mut last: BTreeMap<&Who, (Milliseconds, Milliseconds)> = BTreeMap::new();
    let mut broken = Vec::new();
    for call in calls.iter().filter(|call| can_deliver(call)) {
        let occurrence = |at: Milliseconds| ran.period.map_or(0, |period| at.div_euclid(period));
        let (first, latest) = (occurrence(call.at - TO_THE_CALL), occurrence(call.at + SKEW));
        let before = last.get(&call.who).filter(|(_, called_at)| !was_erased(history, &call.who, *called_at, call.at));
        let free = before.map_or(first, |(last, _)| first.max(last + 1));
        if free > latest {
            broken.push(format!("{:?} was called for again at {}", call.who, call.at));
        }
        last.insert(&call.who, (free.min(latest), call.at));
    }
    broken
}

fn was_erased(history: &History, who: &Who, from: Milliseconds, until: Milliseconds) -> bool {
    let person = history.people.iter().find(|person| person.subscribers.contains(who));
    let erasures = history.wishes.iter().filter(|wish| wish.what == Wanted::Erasure);
    person.is_some_and(|person| {
        erasures
            .filter(|wish| person.subscribers.contains(&wish.who))
            .any(|wish| wish.asked_at < until && wish.known_at.is_none_or(|at| at > from))
    })
}

/// Who is known to be one person under two openids gets it under one of them.
fn twins(history: &History, ran: &Ran, calls: &[&Call]) -> Vec<String> {
    if ran.period.is_some() {
        return Vec::new();
    }
    let had_it = |call: &&&Call| {
        let Some(person) = history.people.iter().find(|person| person.subscribers.contains(&call.who)) else {
            return false;
        };
        let is_known = person.linked_at.is_some_and(|at| at + TO_THE_CALL < call.at);
        let is_twin = |other: &Call| other.who != call.who && person.subscribers.contains(&other.who);
        let before = |other: &&Call| can_deliver(other) && other.at < call.at && is_twin(other);
        is_known && !super::is_erased(history, person) && calls.iter().any(before)
    };
    let again = calls.iter().filter(|call| can_deliver(call)).filter(had_it);
    again.map(|call| format!("{:?} was called for at {}, and is known by another openid", call.who, call.at)).collect()
}

/// What was sent after a pause or a stop was answered.
fn stopped(ran: &Ran, at: usize, calls: &[&Call]) -> Vec<String> {
    let Commanded { verb, known_at, is_done, at_most_more, .. } = &ran.commands[at];
    let Some(known_at) = known_at.filter(|_| *is_done && ["pause", "stop"].contains(&verb.as_str())) else {
        return Vec::new();
    };
    let goes_on = ran.commands.iter().skip(at + 1).find(|later| later.verb == "resume");
    let goes_on_at = goes_on.map_or(Milliseconds::MAX, |later| later.asked_at);
    let after = calls.iter().filter(|call| call.at > known_at && call.at < goes_on_at);
    let mut broken: Vec<String> = after
        .clone()
        .filter(|call| call.at > known_at + LAST_FLIGHT)
        .map(|call| format!("{:?} was called for {} ms after its {verb}", call.who, call.at - known_at))
        .collect();
    let before = |call: &Call| calls.iter().any(|other| other.who == call.who && other.at <= known_at);
    let more: BTreeSet<&Who> = after.filter(|call| !before(call)).map(|call| &call.who).collect();
    if at_most_more.is_some_and(|most| more.len() as u64 > most) {
        broken.push(format!("{} more were called for after its {verb}, {at_most_more:?} at most", more.len()));
    }
    broken
}

fn number(shown: &Value, at: &str) -> u64 {
    shown.pointer(at).and_then(Value::as_u64).unwrap_or(0)
}

fn sum(shown: &Value, at: &str) -> u64 {
    let reasons = shown.pointer(at).and_then(Value::as_object);
    reasons.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

/// The API's last counts against what happened.
fn counts(ran: &Ran, calls: &[&Call], received: u64) -> Vec<String> {
    let Some(shown) = &ran.shown[1] else {
        return if calls.is_empty() { Vec::new() } else { vec!["nobody knows of it, and it was sent".to_owned()] };
    };
    let [sent, delivered, unknown] =
        ["sent", "delivered", "unknown"].map(|name| number(shown, &format!("/counts/{name}")));
    let (refused, failed) = (sum(shown, "/counts/refused"), sum(shown, "/counts/failed"));
    let mut broken = Vec::new();
    if delivered + refused + failed + unknown != sent {
        broken.push(format!("{sent} sent are not {delivered} + {refused} + {failed} + {unknown}"));
    }
    if delivered > received {
        broken.push(format!("{delivered} told as delivered, {received} were received"));
    }
    if received > delivered + unknown {
        broken.push(format!("{received} were received, only {delivered} and {unknown} unknown are told"));
    }
    broken
}

/// Once it is over, everybody is one of those who were sent it or of those who were not, as a person and not as an openid. Who
/// was erased is counted differently before and after, and who turned out to be one person too late is still counted as two.
fn accounted(history: &History, ran: &Ran) -> Vec<String> {
    let Some(shown) = ran.shown[1].as_ref() else { return Vec::new() };
    if !shown["over"].is_object() {
        let is_late = ended_by(ran).is_some_and(|at| at + ACCOUNTED_AFTER <= history.rest_at);
        return if is_late {
            vec!["it is over, and nobody knows what it was to people".to_owned()]
        } else {
            Vec::new()
        };
    }
    let [people, sent, times] = ["people", "sent", "occurrences"].map(|name| number(shown, &format!("/over/{name}")));
    let (held_back, counted) = (sum(shown, "/over/held_back"), number(shown, "/counts/sent"));
    let mut broken = Vec::new();
    if people != sent + held_back {
        broken.push(format!("{people} people are not {sent} sent and {held_back} held back"));
    }
    let (fewest, most) = meant(history, ran);
    if people < fewest * times || people > most * times {
        broken.push(format!("{people} people in {times} are accounted for, {fewest} to {most} are meant"));
    }
    if ran.period.is_none() && sent.abs_diff(counted) > most - fewest {
        let differ = most - fewest;
        broken.push(format!("{sent} are told as sent after its end, {counted} are counted, {differ} may differ"));
    }
    broken
}

/// By when a campaign has ended that certainly ran before.
fn ended_by(ran: &Ran) -> Option<Milliseconds> {
    let is_started = ran.commands.iter().any(|command| command.verb == "start" && command.is_done);
    let stop = ran.commands.iter().find(|command| command.verb == "stop");
    // One that recurs begins with the first of its occurrences.
    let begins = ran.period.map_or(ran.from, |period| ran.from + (-ran.from).rem_euclid(period));
    let has_run = is_started && stop.is_none_or(|stop| stop.asked_at > begins + SKEW);
    let stopped_at = stop.filter(|stop| stop.is_done).and_then(|stop| stop.known_at);
    has_run.then(|| stopped_at.map_or(ran.until, |at| at.min(ran.until)))
}

/// How many people it is for, at least and at most.
fn meant(history: &History, ran: &Ran) -> (u64, u64) {
    let (mut fewest, mut most) = (0, 0);
    for person in &history.people {
        let openids = person.subscribers.iter().filter(|who| ran.members.contains(*who)).count() as u64;
        let is_erased = super::is_erased(history, person);
        let is_linked =
            person.linked_at.is_some_and(|at| at + TO_THE_CALL < ended_by(ran).unwrap_or(Milliseconds::MIN));
        most += if is_linked && !is_erased { openids.min(1) } else { openids };
        fewest += if is_erased { 0 } else { openids.min(1) };
    }
    (fewest, most)
}

/// The roll-ups of its topic are its counts.
fn rolled_up(history: &History, key: &str, ran: &Ran) -> Vec<String> {
    let Some((channel, shown)) = history.channels.get(&ran.channel).zip(ran.shown[1].as_ref()) else {
        return Vec::new();
    };
    let told = [
        ("delivered", number(shown, "/counts/delivered")),
        ("refused", sum(shown, "/counts/refused")),
        ("failed", sum(shown, "/counts/failed")),
        ("unknown", number(shown, "/counts/unknown")),
    ];
    let rolled_up = |outcome: &str| -> u64 {
        let rows = channel.metrics.iter().filter(|((_, topic, one), _)| topic == key && one == outcome);
        rows.map(|(_, count)| count).sum()
    };
    let differing = told.into_iter().filter(|(outcome, count)| rolled_up(outcome) != *count);
    differing.map(|(outcome, count)| format!("{count} {outcome}, the metrics say {}", rolled_up(outcome))).collect()
}

/// At rest whoever it still is for and who did not get it, under any openid, is held back by something that the API names.
/// With a person their tags are erased: it is for them no more.
fn due(history: &History, ran: &Ran, calls: &[&Call], is_used_up: bool) -> Option<String> {
    let shown = ran.shown[0].as_ref().filter(|shown| shown["status"] == "running")?;
    if ran.is_even || ran.period.is_some() || is_used_up {
        return None;
    }
    // A delivery may have died between reservation and call: then the outcome is unknown, and counted.
    let stays = |call: &&&Call| matches!(call.heard, None | Some(0 | NO_CONSENT));
    let called: BTreeSet<&Who> = calls.iter().filter(stays).map(|call| &call.who).collect();
    // The windows have room: if one of them is named, it is that of the broadcasts.
    let has_few = history.channels.get(&ran.channel).is_some_and(|channel| channel.broadcasts.is_some());
    let is_unexplained = |who: &Who| match ran.held_back.get(who) {
        Some(Some(reason)) => reason == "quota_window" && !has_few,
        Some(None) => true,
        None => false,
    };
    let got_nothing = |person: &&Person| {
        person.subscribers.iter().any(is_unexplained)
            && !person.subscribers.iter().any(|who| called.contains(who))
            && !super::is_erased(history, person)
    };
    let due: Vec<&Person> = history.people.iter().filter(got_nothing).collect();
    let died = number(shown, "/counts/sent").saturating_sub(called.len() as u64);
    let openids: Vec<&Vec<Who>> = due.iter().map(|person| &person.subscribers).collect();
    (due.len() as u64 > died).then(|| format!("{died} died, and these are due and got nothing: {openids:?}"))
}
