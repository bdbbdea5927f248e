//! A person who asked to be erased gets nothing until they consent anew.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    case.person.erased_at?;
    Some(Hold::Refuse(Reason::new(ReasonCode::Erased, "the person was erased and has not consented since")))
}
