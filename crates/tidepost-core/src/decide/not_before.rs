//! The caller's own earliest time.

use super::{Case, Hold};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let until = case.offer.not_before.filter(|from| case.now < *from)?;
    Some(Hold::Wait { until, reason: None })
}
