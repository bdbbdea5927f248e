//! A grant pays for at most one send, and no call is made without one: at no time have more calls that may have used a
//! one-time consent left than consents were given.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{History, Milliseconds};

/// Consents to these templates pay for any number of messages.
const LONG_TERM: &str = "TMPL_VISIT";

/// The platform says that there is no consent: whoever made the call had counted one, and lost it.
const NO_CONSENT: i64 = 43101;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut given: BTreeMap<(&str, &str), Vec<Milliseconds>> = BTreeMap::new();
    for consent in &history.consents {
        given.entry((&consent.who.1, &consent.template)).or_default().push(consent.at);
    }
    let mut used: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut broken = Vec::new();
    for call in &history.calls {
        let about = (call.who.1.as_str(), call.template.as_str());
        let available = given.get(&about).into_iter().flatten().filter(|at| **at <= call.at).count() as u64;
        let before = used.entry(about).or_default();
        let is_paid = if call.template == LONG_TERM { available > 0 } else { *before < available };
        if !is_paid {
            broken.push(format!(
                "{about:?}: call for {} at {} has no consent: {before} of {available} used",
                call.key, call.at
            ));
        }
        *before += u64::from(matches!(call.heard, None | Some(0 | NO_CONSENT)));
    }
    broken.extend(received_twice_paid(history));
    broken
}

/// By the platform's own count: what arrived against what was given.
fn received_twice_paid(history: &History) -> Vec<String> {
    let mut left: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for consent in history.consents.iter().filter(|consent| consent.template != LONG_TERM) {
        *left.entry((&consent.who.1, &consent.template)).or_default() += 1;
    }
    let received = history.channels.values().flat_map(|channel| &channel.received);
    let mut over = BTreeSet::new();
    for received in received.filter(|received| received.template_id != LONG_TERM) {
        let left = left.entry((&received.openid, &received.template_id)).or_default();
        *left -= 1;
        if *left < 0 {
            over.insert((&received.openid, &received.template_id));
        }
    }
    over.into_iter().map(|about| format!("{about:?} received more than they agreed to")).collect()
}
