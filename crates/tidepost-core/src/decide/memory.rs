//! A send that could not be remembered would not be safe: a person's item has room for it, or it is held back.

use super::{Case, Hold};
use crate::person::ITEM_MAX_BYTES;
use crate::reason::{Reason, ReasonCode};
use crate::sends::ENTRY_SIZE_BYTES;
use crate::time::plus_seconds;

/// What a send adds beyond its entry, in bytes: four counts with long names.
const COUNTS_BYTES: usize = 4 * 80;

/// When to look again where nothing will be forgotten by itself, in seconds.
const LATER_SECONDS: i64 = 86_400;

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let room_bytes = ITEM_MAX_BYTES - ENTRY_SIZE_BYTES - COUNTS_BYTES;
    if case.person.at_most_bytes() <= room_bytes {
        return None;
    }
    // What can be forgotten is, with the reservation: only an item that looks too large is looked at without it.
    if case.person.size_bytes() <= room_bytes || case.person.remembered(case.now).size_bytes() <= room_bytes {
        return None;
    }
    let next_forgotten = case.person.sends.next_forgotten(case.now);
    let until = next_forgotten.unwrap_or_else(|| plus_seconds(case.now, LATER_SECONDS));
    let detail = "too much is remembered of this person, sends with deadlines still to come included";
    Some(Hold::Wait { until, reason: Some(Reason::new(ReasonCode::InFlight, detail)) })
}
