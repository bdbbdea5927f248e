//! Whether one offer may be sent to one person now: every rule is one file, and this is their order.

mod banned;
pub(crate) mod caps;
mod deadline;
mod erased;
mod grant;
pub(crate) mod marketing;
mod memory;
mod minimum_gap;
mod not_before;
mod preferences;
mod quiet_hours;

use jiff::Timestamp;

use crate::category::{Category, Urgency};
use crate::channel::{Channel, Health, Respect};
use crate::dispatch::PATIENCE_SECONDS;
use crate::ids::{MessageId, SubscriberId};
use crate::person::Person;
use crate::quota::{Need, Quota};
use crate::reason::{Reason, ReasonCode};
use crate::template::Template;
use crate::time::plus_seconds;

/// One candidate send for one subscriber, before any decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Offer {
    /// What would be sent.
    pub id: MessageId,
    /// To whom.
    pub to: SubscriberId,
    /// With which template of the platform.
    pub template: String,
    /// Its anti-disturbance class.
    pub category: Category,
    /// Whether it can wait.
    pub urgency: Urgency,
    /// What it is about.
    pub topic: String,
    /// Who in the company asks for it.
    pub business_line: Option<String>,
    /// Not sent before this.
    pub not_before: Option<Timestamp>,
    /// Worthless after this.
    pub not_after: Timestamp,
}

/// All that a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The person as the ledger knows them.
    pub person: &'a Person,
    /// What would be sent.
    pub offer: &'a Offer,
    /// The channel it goes through.
    pub channel: &'a Channel,
    /// How that channel is doing.
    pub health: &'a Health,
    /// The template it uses.
    pub template: &'a Template,
    /// The time of the decision.
    pub now: Timestamp,
}

impl Case<'_> {
    /// Whether the policy lets this offer ignore `rule`: it must be urgent and `basic`.
    fn ignores(&self, rule: Respect) -> bool {
        self.offer.category == Category::Basic
            && self.offer.urgency == Urgency::Urgent
            && self.channel.policy.basic_ignores.contains(&rule)
    }
}

/// Why an offer does not go now.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Hold {
    /// It may go at `until`, as far as this rule is concerned.
    Wait {
        /// The first moment at which the rule lets it pass.
        until: Timestamp,
        /// Which rule; `None` when the caller asked for a later time.
        reason: Option<Reason>,
    },
    /// It will never go.
    Refuse(Reason),
}

type Rule = fn(&Case<'_>) -> Option<Hold>;

/// Rules that end an offer, most telling reason first; then those that make it wait.
const RULES: &[Rule] = &[
    erased::rule,
    deadline::rule,
    banned::rule,
    marketing::rule,
    preferences::rule,
    grant::rule,
    not_before::rule,
    quiet_hours::rule,
    caps::rule,
    minimum_gap::rule,
    memory::rule,
];

/// Decides on one offer: `None` when it may go now.
///
/// A refusal wins over waiting; of several waits the longest counts; a wait beyond the offer's `not_after` is a refusal
/// with the same reason.
#[must_use]
pub fn decide(case: &Case<'_>) -> Option<Hold> {
    let mut longest: Option<(Timestamp, Option<Reason>)> = None;
    for rule in RULES {
        match rule(case) {
            Some(refusal @ Hold::Refuse(_)) => return Some(refusal),
            Some(Hold::Wait { until, reason }) if longest.as_ref().is_none_or(|(so_far, _)| until > *so_far) => {
                longest = Some((until, reason));
            }
            Some(Hold::Wait { .. }) | None => {}
        }
    }
    let (until, reason) = longest?;
    Some(wait_or_refuse(case.offer, until, reason))
}

/// What a wait until `until`, for a reason outside the rules, comes to: the rules are asked again as of then.
#[must_use]
pub fn wait(case: &Case<'_>, until: Timestamp, reason: Reason) -> Hold {
    match decide(&Case { now: until, ..*case }) {
        Some(hold @ Hold::Wait { .. }) => hold,
        _ => wait_or_refuse(case.offer, until, Some(reason)),
    }
}

/// What an offer that the rules let pass comes to as far as the channel's windows tell: a wait where they are used up.
///
/// `None` also where dispatch would not park it: it waits for a near edge, and it may get what an open lease gives back.
#[must_use]
pub fn wait_for_room(case: &Case<'_>, quota: &Quota) -> Option<Hold> {
    let near = plus_seconds(case.now, PATIENCE_SECONDS);
    let need = Need { id: "", units: 1, category: case.offer.category, use_by: near };
    let shortage = quota.lease(case.channel, need, case.now).err()?;
    let is_used_up = shortage.reason.code == ReasonCode::QuotaWindow && shortage.until > near;
    let is_leased = quota.views(case.channel, case.now).iter().any(|window| window.leased > 0);
    (is_used_up && !is_leased).then(|| wait(case, shortage.until, shortage.reason))
}

/// A wait that the offer can afford, or the refusal that it amounts to.
#[must_use]
pub fn wait_or_refuse(offer: &Offer, until: Timestamp, reason: Option<Reason>) -> Hold {
    if until < offer.not_after {
        return Hold::Wait { until, reason };
    }
    let deadline = || Reason::new(ReasonCode::DeadlinePassed, "it may not go before its deadline");
    Hold::Refuse(reason.unwrap_or_else(deadline))
}

#[cfg(test)]
pub(crate) mod tests;
