//! A send that could not be remembered would not be safe.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let until = case.person.sends.full_until(case.now)?;
    let reason = Reason::new(ReasonCode::InFlight, "too many sends to this person have deadlines still to come");
    Some(Hold::Wait { until, reason: Some(reason) })
}
