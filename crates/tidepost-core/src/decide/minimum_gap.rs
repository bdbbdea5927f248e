//! Two sends to one person keep their distance, on whatever channel.

use super::{Case, Hold};
use crate::channel::Respect;
use crate::reason::{Reason, ReasonCode};
use crate::time::plus_seconds;

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let gap_seconds = case.channel.policy.minimum_gap_seconds;
    if gap_seconds == 0 || case.ignores(Respect::MinimumGap) {
        return None;
    }
    // The ledger keeps whole seconds, rounded down: one more makes the gap never too short.
    let until = plus_seconds(case.person.sends.last_at()?, i64::from(gap_seconds) + 1);
    (case.now < until).then(|| {
        let reason = Reason::new(ReasonCode::MinimumGap, format!("at least {gap_seconds} s between two sends"));
        Hold::Wait { until, reason: Some(reason) }
    })
}
