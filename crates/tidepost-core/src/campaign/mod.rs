//! Campaigns: one content, with variants, for a segment of a channel, from a time until a time.
//!
//! A campaign is a definition, never a row per recipient: who got it stands in the people's own memories.

mod content;
mod counts;
mod ended;
mod live;
mod request;
mod schedule;
mod state;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::brake::{PausedBecause, Thresholds};
use crate::category::Category;
use crate::ids::{CampaignId, MessageId};
use crate::time::{DailyHours, Period};

pub use counts::CampaignCounts;
pub use ended::Ended;
pub use live::{Live, Words};
pub use request::{CampaignRequest, LIST_MAX, VARIANTS_MAX, VariantRequest};
pub use schedule::{Schedule, Starts};
pub use state::{Command, Control, IllegalState, Status};

/// The variant of whoever is in no variant's segment.
pub const DEFAULT_VARIANT: &str = "default";

/// A campaign whose definition holds. It does not change once it is made; what changes is its [`Control`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Campaign {
    /// The channel's id.
    pub channel: String,
    /// The owner's name for it.
    pub name: String,
    /// The platform's template id.
    pub template: String,
    /// Words for the template's fields, with places for attributes.
    pub data: BTreeMap<String, String>,
    /// Where a tap leads, with source parameters.
    pub page: Option<String>,
    /// What people switch on and off.
    pub topic: String,
    /// Its anti-disturbance class.
    pub category: Category,
    /// Who in the company asks for it.
    pub business_line: Option<String>,
    /// 0 to 100, higher goes first.
    pub priority: u8,
    /// What one conversion is worth, on a scale of the owner's.
    pub value: f64,
    /// Whom it is for; `None`: those on its list.
    pub segment: Option<SegmentSource>,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// How it spends the windows.
    pub pace: Pace,
    /// When in a person's day it may arrive; `None`: whenever the policy lets it.
    pub best_hours: Option<Vec<DailyHours>>,
    /// When it starts over; `None`: it happens once.
    pub schedule: Option<Schedule>,
    /// Other words for parts of the audience; the first that a person belongs to counts.
    pub variants: Vec<Variant>,
    /// What a field says to whom its words do not fit.
    pub fallback: BTreeMap<String, String>,
    /// When it is paused by itself.
    pub brake: Thresholds,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Other words for a part of the audience.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Variant {
    /// The owner's name for it.
    pub id: String,
    /// Whom it is for.
    pub segment: SegmentSource,
    /// The fields that it says otherwise.
    pub data: BTreeMap<String, String>,
    /// Where a tap leads, where that is different.
    pub page: Option<String>,
}

/// A segment as its owner wrote it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SegmentSource {
    /// `tag('vip') and rfm.monetary >= 4`.
    Text(String),
    /// `{"and":[{"tag":"vip"},{">=":[{"field":"rfm.monetary"},4]}]}`.
    Json(Value),
}

/// How a campaign spends the windows.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As fast as the windows allow.
    #[default]
    Fast,
    /// Evenly until the end.
    Even,
}

/// One time that a campaign happens: a person gets it at most once in it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Occurrence {
    /// What people's memories know it by.
    pub id: CampaignId,
    /// From when until when.
    pub period: Period,
}

impl Occurrence {
    /// Whether it is the one of `offer`, and has begun at `at`.
    #[must_use]
    pub fn has_begun(&self, offer: MessageId, at: Timestamp) -> bool {
        self.id.offer_id() == offer && self.period.opens_at <= at
    }
}

impl Campaign {
    /// From its beginning to its end, with all its occurrences.
    #[must_use]
    pub fn life(&self) -> Period {
        Period { opens_at: self.from, closes_at: self.until }
    }

    /// The occurrence that is under way at `now`; `None` outside the campaign's life, and before the first start of a
    /// recurring one. An occurrence ends when the next one starts.
    #[must_use]
    pub fn occurrence(&self, id: CampaignId, now: Timestamp) -> Option<Occurrence> {
        // Outside its life the expression is not read for nothing.
        if self.life().contains(now) { self.course()?.occurrence(id, now) } else { None }
    }

    /// When it, or its next occurrence, starts after `now`; `None` when nothing of it is still to start.
    #[must_use]
    pub fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        self.course()?.next_start(now)
    }

    /// How its occurrences follow each other; `None` where this version does not read its schedule.
    fn course(&self) -> Option<Course<'_>> {
        let starts = self.schedule.as_ref().map(|schedule| schedule.parse().ok());
        match starts {
            Some(None) => None,
            starts => Some(Course { campaign: self, starts: starts.flatten() }),
        }
    }
}

/// A campaign whose schedule is read.
#[derive(Debug)]
struct Course<'a> {
    campaign: &'a Campaign,
    /// `None`: it happens once.
    starts: Option<Starts>,
}

impl Course<'_> {
    fn occurrence(&self, id: CampaignId, now: Timestamp) -> Option<Occurrence> {
        let life = self.campaign.life();
        if !life.contains(now) {
            return None;
        }
        let Some(starts) = &self.starts else { return Some(Occurrence { id, period: life }) };
        let opens_at = starts.at_or_before(now).filter(|start| *start >= life.opens_at)?;
        let closes_at = starts.after(opens_at).map_or(life.closes_at, |next| next.min(life.closes_at));
        Some(Occurrence { id: id.occurrence(opens_at), period: Period { opens_at, closes_at } })
    }

    fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        let Period { opens_at: from, closes_at: until } = self.campaign.life();
        let Some(starts) = &self.starts else { return (now < from).then_some(from) };
        let first = starts.at_or_before(from).filter(|start| *start == from && now < *start);
        first.or_else(|| starts.after(now.max(from))).filter(|start| *start < until)
    }
}

/// A campaign as the API shows it; counts are added by whoever has them.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignView<'a> {
    /// Its id.
    pub id: CampaignId,
    /// Its definition.
    #[serde(flatten)]
    pub campaign: &'a Campaign,
    /// Where it stands.
    pub status: Status,
    /// Why it is paused, if it is.
    pub paused_because: Option<&'a PausedBecause>,
}

impl<'a> CampaignView<'a> {
    /// How a campaign looks at `now`.
    #[must_use]
    pub fn new(id: CampaignId, campaign: &'a Campaign, control: &'a Control, now: Timestamp) -> Self {
        let status = control.status(campaign.life(), now);
        let paused_because = control.paused_because().filter(|_| status == Status::Paused);
        Self { id, campaign, status, paused_because }
    }
}

#[cfg(test)]
pub(crate) mod tests;
