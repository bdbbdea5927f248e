//! No loss: every accepted message ends in exactly one outcome, and the outcome is what happened.

use std::collections::BTreeMap;

use crate::history::{Asked, History};

pub(super) fn check(history: &History) -> Vec<String> {
    let mut arrived: BTreeMap<&str, u32> = BTreeMap::new();
    for received in history.channels.values().flat_map(|channel| &channel.received) {
        *arrived.entry(received.key()).or_default() += 1;
    }
    let one = |(key, asked): (&String, &Asked)| {
        let came = arrived.get(key.as_str()).copied().unwrap_or(0);
        wrong(history, key, asked, came).map(|wrong| format!("{key} ({}): {wrong}", asked.category))
    };
    history.asked.iter().filter_map(one).collect()
}

fn wrong(history: &History, key: &str, asked: &Asked, came: u32) -> Option<String> {
    let Some((status, body)) = &asked.answer else {
        return (came > 0).then(|| "received, but the backend never heard that it was accepted".to_owned());
    };
    if *status != 202 {
        return Some(format!("not accepted: {status} {body}"));
    }
    let told = asked.told.as_ref();
    let text = |at: &str| told.and_then(|told| told.pointer(at)).and_then(|text| text.as_str()).unwrap_or_default();
    let reason = text("/reason/code");
    match (text("/status"), came) {
        ("delivered", 0) => Some("told as delivered, and nobody received it".to_owned()),
        ("refused" | "failed", 1..) => Some(format!("told as not delivered ({reason}), and it was received")),
        ("unknown", _) => {
            let is_unheard = history.calls.iter().any(|call| call.key == key && call.heard.is_none());
            // A reservation stands that nobody was left to take back, or that the store would not.
            let is_explained = is_unheard || history.crashes > 0 || history.unserved > 0;
            (!is_explained).then(|| "unknown, though every answer was heard".to_owned())
        }
        ("delivered" | "refused" | "failed", _) => None,
        (status, _) => Some(format!("still {status} at the end: {told:?}")),
    }
}
