//! No send without a grant to pay for it.

use super::{Case, Hold};
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    let grant =
        case.person.subscriber(&case.offer.to).and_then(|subscriber| subscriber.grants.get(&case.offer.template));
    let Some(grant) = grant.filter(|grant| grant.available(case.now) > 0) else {
        let detail = "no consent for this template is left; ask for it in the mini-program";
        return Some(Hold::Refuse(Reason::new(ReasonCode::NoGrant, detail)));
    };
    let until = grant.long_term_wait(case.template, case.channel, case.now)?;
    let reason = Reason::new(ReasonCode::QuotaWindow, "the long-term consent is used up for this period");
    Some(Hold::Wait { until, reason: Some(reason) })
}
