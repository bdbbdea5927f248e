//! No overshoot: what a rule counts inside a window is at most its limit, by the platform's own clock.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Channel, History, Rule};

/// The platform's words for a token that it does not know: such a call is nobody's.
const UNKNOWN_CALLER: [i64; 4] = [40001, 40014, 41001, 42001];
const SEND: &str = "/cgi-bin/message/subscribe/send";

pub(super) fn check(history: &History) -> Vec<String> {
    let all = history.channels.iter().flat_map(|(id, channel)| {
        let rules = channel.rules.iter().flat_map(move |rule| one(id, channel, rule));
        rules.chain(broadcasts(history, id, channel))
    });
    all.collect()
}

/// How many campaigns reached somebody on one of the channels' days.
fn broadcasts(history: &History, id: &str, channel: &Channel) -> Vec<String> {
    let Some(limit) = channel.broadcasts else { return Vec::new() };
    let mut days: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for received in channel.received.iter().filter(|received| history.campaigns.contains_key(received.key())) {
        let day = (received.at.as_second() + history.zone_hours * 3_600).div_euclid(86_400);
        days.entry(day).or_default().insert(received.key());
    }
    let over = days.into_iter().filter(|(_, campaigns)| campaigns.len() as u64 > limit);
    over.map(|(day, campaigns)| format!("{id}: {campaigns:?} on day {day}, {limit} are allowed")).collect()
}

fn one(id: &str, channel: &Channel, rule: &Rule) -> Vec<String> {
    let calls = channel.counted.iter().filter(|call| {
        let is_known = call.errcode.is_none_or(|code| !UNKNOWN_CALLER.contains(&code));
        call.path == SEND && is_known
    });
    let times: Vec<i64> = if rule.counts_calls {
        calls.map(|call| call.at.as_second()).collect()
    } else {
        channel.received.iter().map(|received| received.at.as_second()).collect()
    };
    let mut windows: BTreeMap<i64, u64> = BTreeMap::new();
    for time in times {
        *windows.entry((time - rule.offset_seconds).div_euclid(rule.seconds)).or_default() += 1;
    }
    let over = windows.into_iter().filter(|(_, count)| *count > rule.limit);
    over.map(|(window, count)| format!("{id}: {count} of {} in window {window} of {} s", rule.limit, rule.seconds))
        .collect()
}
