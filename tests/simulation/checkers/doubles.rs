//! No double: of the calls for one message at most one can deliver, two for `basic` when the first is unknown, and none
//! follows a success. Campaigns have their own checker.

use std::collections::BTreeMap;

use crate::history::{Asked, Call, History};

pub(super) fn check(history: &History) -> Vec<String> {
    let mut by_message: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    let is_single = |key: &str| !history.campaigns.contains_key(key);
    for call in history.calls.iter().filter(|call| is_single(&call.key)) {
        by_message.entry(&call.key).or_default().push(call);
    }
    let mut broken: Vec<String> =
        by_message.iter().flat_map(|(key, calls)| one(key, history.asked.get(*key), calls)).collect();
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    let received = history.channels.values().flat_map(|channel| &channel.received);
    for received in received.filter(|received| is_single(received.key())) {
        *times.entry(received.key()).or_default() += 1;
    }
    for (key, times) in times.into_iter().filter(|(_, times)| *times > 1) {
        let is_basic = history.asked.get(key).is_some_and(|asked| asked.category == "basic");
        if times > 2 || !is_basic {
            broken.push(format!("{key} was received {times} times"));
        }
    }
    broken
}

fn one(key: &str, asked: Option<&Asked>, calls: &[&Call]) -> Vec<String> {
    let Some(asked) = asked else { return vec![format!("nobody asked for {key}")] };
    let mut broken = Vec::new();
    let can_deliver = |call: &&&Call| matches!(call.heard, None | Some(0));
    let count = calls.iter().filter(can_deliver).count();
    let most = if asked.category == "basic" { 2 } else { 1 };
    if count > most {
        broken.push(format!("{count} calls for the {} message {key} can have delivered", asked.category));
    }
    if calls.iter().any(|call| call.who != asked.who) {
        broken.push(format!("{key} went to somebody else"));
    }
    let success = calls.iter().position(|call| call.heard == Some(0));
    if success.is_some_and(|at| at + 1 < calls.len()) {
        broken.push(format!("{key} was called for again after a success"));
    }
    let unknown = calls.iter().position(|call| call.heard.is_none());
    if unknown.is_some_and(|at| at + 1 < calls.len()) && asked.category != "basic" {
        broken.push(format!("{key} was called for again after an unknown call"));
    }
    let late = calls.iter().filter(|call| call.at > asked.deadline + super::SKEW);
    broken.extend(late.map(|call| format!("{key} was called for {} ms after its deadline", call.at - asked.deadline)));
    broken
}
