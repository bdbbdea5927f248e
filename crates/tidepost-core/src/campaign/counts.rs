//! What became of a campaign's sends.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::CampaignId;
use crate::metric::{Cell, HourRollup};
use crate::outcome::Outcome;
use crate::reason::ReasonCode;

/// A campaign's sends by their outcomes, all occurrences and variants together.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CampaignCounts {
    /// Sends that ended, however they ended.
    pub sent: u64,
    /// Those that the platform accepted.
    pub delivered: u64,
    /// Those that a rule, the person or the platform refused, by reason.
    pub refused: BTreeMap<ReasonCode, u64>,
    /// Those that the platform or Tidepost failed, by reason.
    pub failed: BTreeMap<ReasonCode, u64>,
    /// Those of which nobody can tell.
    pub unknown: u64,
    /// Complaints about it.
    pub complained: u64,
}

impl CampaignCounts {
    /// Adds a campaign's sends up.
    #[must_use]
    pub fn of<'a>(id: CampaignId, hours: impl IntoIterator<Item = &'a HourRollup>, complained: u64) -> Self {
        let mut counts = Self { complained, ..Self::default() };
        for (cell, count) in hours.into_iter().flat_map(|hour| &hour.counts) {
            if cell.campaign == Some(id.whole()) {
                counts.add(cell, *count);
            }
        }
        counts
    }

    fn add(&mut self, cell: &Cell, count: u64) {
        self.sent += count;
        let reasons = match cell.outcome {
            Outcome::Delivered => return self.delivered += count,
            Outcome::Unknown => return self.unknown += count,
            Outcome::Refused => &mut self.refused,
            Outcome::Failed => &mut self.failed,
        };
        if let Some(reason) = cell.reason {
            *reasons.entry(reason).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_sends_count_whatever_the_variant() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let id = CampaignId::derive("shop", "k", "spring", now);
        let cell = |campaign, variant: &str, outcome, reason| Cell {
            template: "T".into(),
            topic: "sales".into(),
            outcome,
            reason,
            campaign,
            variant: Some(variant.into()),
        };
        let other = CampaignId::derive("shop", "k", "autumn", now);
        let hours = [
            HourRollup { counts: vec![(cell(Some(id), "a", Outcome::Delivered, None), 7)] },
            HourRollup {
                counts: vec![
                    (cell(Some(id), "b", Outcome::Delivered, None), 3),
                    (cell(Some(id), "b", Outcome::Refused, Some(ReasonCode::NoGrant)), 2),
                    (cell(Some(id), "b", Outcome::Unknown, Some(ReasonCode::Timeout)), 1),
                    (cell(Some(other), "a", Outcome::Delivered, None), 50),
                    (cell(None, "a", Outcome::Delivered, None), 50),
                ],
            },
        ];
        let counts = CampaignCounts::of(id.occurrence(now), &hours, 1);
        let shown = serde_json::json!({"sent": 13, "delivered": 10, "refused": {"no_grant": 2}, "failed": {}, "unknown": 1,
            "complained": 1});
        assert_eq!(serde_json::to_value(counts).unwrap(), shown);
    }
}
