//! What the person switched off stays off.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let preferences = &case.person.preferences;
    if preferences.stopped {
        return Some(Hold::Refuse(Reason::new(ReasonCode::Stopped, "the person switched all messages off")));
    }
    let is_off = preferences.topics.get(&case.offer.topic) == Some(&false);
    is_off.then(|| {
        let detail = format!("the person switched topic {} off", case.offer.topic);
        Hold::Refuse(Reason::new(ReasonCode::TopicOff, detail))
    })
}
