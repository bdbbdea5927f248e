//! A channel that the platform has banned makes no calls.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    case.health.is_banned(case.now).then(|| {
        let detail = case.health.reasons.last().map_or("the platform does not let this channel send", String::as_str);
        Hold::Refuse(Reason::new(ReasonCode::ChannelBanned, detail))
    })
}
