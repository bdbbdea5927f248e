//! Metrics are sums of receipts: one hour is always computed from all of its receipts, never counted up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::outcome::{Ending, Outcome};
use crate::reason::ReasonCode;
use crate::receipt::Receipt;

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
}

/// One hour's roll-up of a channel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HourRollup {
    /// How many messages per cell.
    #[serde(rename = "n")]
    pub counts: Vec<(Cell, u64)>,
}

/// Adds up all receipts of an hour; each message counts once, with the best word on it.
#[must_use]
pub fn roll_up<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> HourRollup {
    let mut best: BTreeMap<[u8; MessageId::SIZE_BYTES], (&str, &str, Ending)> = BTreeMap::new();
    for group in receipts.into_iter().flat_map(|receipt| &receipt.groups) {
        for entry in group.entries() {
            let known = best.get(&entry.id.to_bytes());
            if known.is_none_or(|(_, _, ending)| entry.ending.outranks(ending)) {
                best.insert(entry.id.to_bytes(), (&group.template, &group.topic, entry.ending));
            }
        }
    }
    let mut counts: BTreeMap<Cell, u64> = BTreeMap::new();
    for (template, topic, ending) in best.into_values() {
        let cell = Cell {
            template: template.to_owned(),
            topic: topic.to_owned(),
            outcome: ending.outcome,
            reason: ending.reason.map(|reason| reason.code),
        };
        *counts.entry(cell).or_default() += 1;
    }
    HourRollup { counts: counts.into_iter().collect() }
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
