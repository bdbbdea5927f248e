//! People are left alone at night, in their own zone.

use super::{Case, Hold};
use crate::channel::Respect;
use crate::reason::{Reason, ReasonCode};

pub(super) fn rule(case: &Case<'_>) -> Option<Hold> {
    if case.ignores(Respect::QuietHours) {
        return None;
    }
    let quiet = case.channel.policy.quiet_hours?;
    let zone = case.person.zone(case.channel);
    // A message with a later `not_before` is judged by the hour at which it would go.
    let at = case.offer.not_before.map_or(case.now, |from| from.max(case.now));
    let until = quiet.ends_at(&zone, at)?;
    let detail = format!("quiet hours until {}", until.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z"));
    Some(Hold::Wait { until, reason: Some(Reason::new(ReasonCode::QuietHours, detail)) })
}
