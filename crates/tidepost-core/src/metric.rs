//! Metrics are sums of receipts: one hour is always computed from all of its receipts, never counted up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::CampaignId;
use crate::outcome::{Ending, Outcome};
use crate::reason::ReasonCode;
use crate::receipt::{CampaignGroup, Group, Receipt};

/// What is counted apart. A new dimension is one field here.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Cell {
    /// The platform's template id.
    #[serde(rename = "t")]
    pub template: String,
    /// What the messages are about.
    #[serde(rename = "p")]
    pub topic: String,
    /// What became of them.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// Why, unless delivered.
    #[serde(rename = "r")]
    pub reason: Option<ReasonCode>,
    /// Which campaign they were of, if any; all its occurrences together.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// Which of its variants.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// One hour's roll-up of a channel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HourRollup {
    /// How many messages per cell.
    #[serde(rename = "n")]
    pub counts: Vec<(Cell, u64)>,
}

/// Adds up all receipts of an hour; each message and each recipient counts once, with the best word on it.
#[must_use]
pub fn roll_up<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> HourRollup {
    let mut messages: Best<'_, Group> = Best::new();
    let mut recipients: Best<'_, CampaignGroup> = Best::new();
    for receipt in receipts {
        for group in &receipt.groups {
            for entry in group.entries() {
                better(&mut messages, entry.id.to_bytes().to_vec(), group, entry.ending);
            }
        }
        for group in &receipt.campaigns {
            for entry in group.entries() {
                let key = [&group.offer.to_bytes()[..], &entry.recipient[..]].concat();
                better(&mut recipients, key, group, entry.ending);
            }
        }
    }
    let of_message = |(group, ending): (&Group, Ending)| cell(&group.template, &group.topic, &ending);
    let of_recipient = |(group, ending): (&CampaignGroup, Ending)| Cell {
        campaign: group.offer.campaign().map(CampaignId::whole),
        variant: Some(group.variant.clone()),
        ..cell(&group.template, &group.topic, &ending)
    };
    let mut counts: BTreeMap<Cell, u64> = BTreeMap::new();
    let cells = messages.into_values().map(of_message).chain(recipients.into_values().map(of_recipient));
    for cell in cells {
        *counts.entry(cell).or_default() += 1;
    }
    HourRollup { counts: counts.into_iter().collect() }
}

/// The best word on each, with the group that it stands in.
type Best<'a, G> = BTreeMap<Vec<u8>, (&'a G, Ending)>;

fn better<'a, G>(best: &mut Best<'a, G>, key: Vec<u8>, group: &'a G, ending: Ending) {
    if best.get(&key).is_none_or(|(_, known)| ending.outranks(known)) {
        best.insert(key, (group, ending));
    }
}

fn cell(template: &str, topic: &str, ending: &Ending) -> Cell {
    Cell {
        template: template.to_owned(),
        topic: topic.to_owned(),
        outcome: ending.outcome,
        reason: ending.reason.as_ref().map(|reason| reason.code),
        campaign: None,
        variant: None,
    }
}

/// A dimension that a report can be broken down by.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The full hour.
    Hour,
    /// The template.
    Template,
    /// The topic.
    Topic,
    /// The outcome.
    Outcome,
    /// The reason.
    Reason,
}

impl By {
    /// Reads `template,topic,outcome,hour`.
    #[must_use]
    pub fn parse_list(text: &str) -> Option<BTreeSet<Self>> {
        let parse = |word: &str| serde_json::from_value(serde_json::Value::String(word.trim().to_owned())).ok();
        text.split(',').map(parse).collect()
    }
}

/// One row of a metrics report; dimensions that were not asked for are absent.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Row {
    /// The full hour, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    /// The platform's template id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonCode>,
    /// How many messages.
    pub count: u64,
}

/// Sums hours into rows by the given dimensions.
#[must_use]
pub fn report(hours: &[(jiff::Timestamp, HourRollup)], by: &BTreeSet<By>) -> Vec<Row> {
    let mut rows: BTreeMap<Row, u64> = BTreeMap::new();
    for (hour, rollup) in hours {
        for (cell, count) in &rollup.counts {
            let row = Row {
                hour: by.contains(&By::Hour).then(|| hour.to_string()),
                template: by.contains(&By::Template).then(|| cell.template.clone()),
                topic: by.contains(&By::Topic).then(|| cell.topic.clone()),
                outcome: by.contains(&By::Outcome).then_some(cell.outcome),
                reason: by.contains(&By::Reason).then_some(cell.reason).flatten(),
                count: 0,
            };
            *rows.entry(row).or_default() += count;
        }
    }
    rows.into_iter().map(|(row, count)| Row { count, ..row }).collect()
}
