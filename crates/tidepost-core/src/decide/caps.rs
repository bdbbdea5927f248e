//! Nobody is flooded: at most so many sends per person, topic or business line in a day or week of the person's zone.

use super::{Case, Hold};
use crate::channel::{Cap, CapPeriod, CapScope, Respect};
use crate::decide::Offer;
use crate::reason::{Reason, ReasonCode};
use crate::time::calendar_period;

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    if case.ignores(Respect::Caps) {
        return None;
    }
    let holds = case.channel.policy.caps.iter().filter_map(|cap| hold(case, cap));
    holds.max_by_key(|hold| match hold {
        Hold::Wait { until, .. } => Some(*until),
        Hold::Refuse(_) => None,
    })
}

fn hold(case: &Case<'_>, cap: &Cap) -> Option<Hold> {
    let zone = case.person.zone(case.channel);
    let counted = case.person.counted(cap, subject(cap, case.offer)?, &zone, case.now);
    if counted < cap.limit {
        return None;
    }
    let (code, what) = match cap.scope {
        CapScope::Subscriber => (ReasonCode::CapSubscriber, "in all"),
        CapScope::Topic => (ReasonCode::CapTopic, "on this topic"),
        CapScope::BusinessLine => (ReasonCode::CapBusinessLine, "from this business line"),
    };
    let period = match cap.per {
        CapPeriod::Day => "day",
        CapPeriod::Week => "week",
    };
    let reason = Reason::new(code, format!("the person got {counted} of {} {what} this {period}", cap.limit));
    Some(Hold::Wait { until: calendar_period(cap.per.calendar(), &zone, case.now).closes_at, reason: Some(reason) })
}

/// What `cap` counts `offer` under; `None` when it does not concern the offer.
pub(crate) fn subject<'a>(cap: &Cap, offer: &'a Offer) -> Option<&'a str> {
    match cap.scope {
        CapScope::Subscriber => Some(""),
        CapScope::Topic => Some(&offer.topic),
        CapScope::BusinessLine => offer.business_line.as_deref(),
    }
}
