//! What is worthless is not sent.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    (case.now >= case.offer.not_after).then(|| {
        Hold::Refuse(Reason::new(ReasonCode::DeadlinePassed, format!("the deadline was {}", case.offer.not_after)))
    })
}
