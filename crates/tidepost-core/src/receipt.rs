//! Receipts: what a delivery leaves behind of the outcomes it saw, and how they add up.

mod recipients;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::MessageId;
use crate::outcome::{Ending, Outcome, PlatformWord};
use crate::reason::{Reason, ReasonCode};

pub use recipients::{About, CampaignGroup, RecipientEntry, recipient};

/// The outcomes that one delivery saw on one channel in one hour. Never rewritten.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Receipt {
    /// By template and topic.
    #[serde(rename = "g")]
    pub groups: Vec<Group>,
    /// Of campaigns, by occurrence, variant, template and topic.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub campaigns: Vec<CampaignGroup>,
}

/// Outcomes of messages that are alike.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Group {
    /// The platform's template id.
    #[serde(rename = "t")]
    pub template: String,
    /// What the messages are about.
    #[serde(rename = "p")]
    pub topic: String,
    #[serde(rename = "e")]
    entries: Packed,
    /// What does not fit the packed form, by position.
    #[serde(rename = "w", default, skip_serializing_if = "BTreeMap::is_empty")]
    words: BTreeMap<String, Words>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Words {
    #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
}

/// One message's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which message.
    pub id: MessageId,
    /// When its outcome was known.
    pub at: Timestamp,
    /// What became of it.
    pub ending: Ending,
}

impl Receipt {
    /// Adds the outcome of one message.
    pub fn add(&mut self, template: &str, topic: &str, entry: &Entry) {
        let found = self.groups.iter().position(|group| group.template == template && group.topic == topic);
        let index = found.unwrap_or_else(|| {
            self.groups.push(Group { template: template.to_owned(), topic: topic.to_owned(), ..Group::default() });
            self.groups.len() - 1
        });
        if let Some(group) = self.groups.get_mut(index) {
            group.add(entry);
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.campaigns.is_empty()
    }

    /// The outcome of one message, as far as this receipt knows.
    #[must_use]
    pub fn find(&self, id: MessageId) -> Option<Entry> {
        self.groups.iter().flat_map(Group::entries).find(|entry| entry.id == id)
    }

    /// The message that the platform gave `message_id` to.
    #[must_use]
    pub fn find_platform_id(&self, message_id: &str) -> Option<(&Group, Entry)> {
        let entries = self.groups.iter().flat_map(|group| group.entries().into_iter().map(move |entry| (group, entry)));
        entries.into_iter().find(|(_, entry)| {
            entry.ending.platform.as_ref().and_then(|word| word.message_id.as_deref()) == Some(message_id)
        })
    }
}

/// The best word on one message out of several receipts.
#[must_use]
pub fn best(entries: impl IntoIterator<Item = Entry>) -> Option<Entry> {
    entries.into_iter().reduce(|best, next| if next.ending.outranks(&best.ending) { next } else { best })
}

impl Group {
    /// The outcomes, in the order in which they were added.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let unpack = |(index, packed): (usize, &PackedEntry)| {
            let none = Words::default();
            packed.unpack(self.words.get(&index.to_string()).unwrap_or(&none))
        };
        self.entries.0.iter().enumerate().filter_map(unpack).collect()
    }

    fn add(&mut self, entry: &Entry) {
        let (packed, words) = PackedEntry::pack(entry);
        if words != Words::default() {
            self.words.insert(self.entries.0.len().to_string(), words);
        }
        self.entries.0.push(packed);
    }
}

/// Id 12, outcome 1, reason 1, second 4, code 4, platform's number 8.
const ENTRY_SIZE_BYTES: usize = MessageId::SIZE_BYTES + 18;

/// The bit of the outcome's byte that marks an afterthought.
const AFTERTHOUGHT: u8 = 0x80;

#[derive(Clone, Debug, PartialEq)]
struct PackedEntry([u8; ENTRY_SIZE_BYTES]);

impl PackedEntry {
    fn pack(entry: &Entry) -> (Self, Words) {
        let ending = &entry.ending;
        let word = ending.platform.as_ref();
        let number = word.and_then(|word| word.message_id.as_ref()?.parse::<u64>().ok().filter(|number| *number > 0));
        let words = Words {
            message: word.filter(|word| word.code != 0).map(|word| word.message.clone()).unwrap_or_default(),
            detail: ending.reason.as_ref().map(|reason| reason.detail.clone()).unwrap_or_default(),
            message_id: word.and_then(|word| word.message_id.clone()).filter(|_| number.is_none()),
        };
        let code = word.map_or(i32::MIN, |word| i32::try_from(word.code).unwrap_or(i32::MAX));
        let reason = ending.reason.as_ref().map_or(0, |reason| reason_number(reason.code));
        let parts: [&[u8]; 5] = [
            &entry.id.to_bytes(),
            &[outcome_number(ending.outcome) | if ending.is_afterthought { AFTERTHOUGHT } else { 0 }, reason],
            &crate::sends::second(entry.at).to_be_bytes(),
            &code.to_be_bytes(),
            &number.unwrap_or(0).to_be_bytes(),
        ];
        let mut packed = [0; ENTRY_SIZE_BYTES];
        for (slot, byte) in packed.iter_mut().zip(parts.into_iter().flatten()) {
            *slot = *byte;
        }
        (Self(packed), words)
    }

    fn unpack(&self, words: &Words) -> Option<Entry> {
        let (id, rest) = self.0.split_first_chunk::<{ MessageId::SIZE_BYTES }>()?;
        let ([outcome, reason], rest) = rest.split_first_chunk::<2>()?;
        let (second, rest) = rest.split_first_chunk::<4>()?;
        let (code, number) = rest.split_first_chunk::<4>()?;
        let code = i32::from_be_bytes(*code);
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let word = || PlatformWord {
            code: i64::from(code),
            message: if code == 0 { "ok".to_owned() } else { words.message.clone() },
            message_id: words.message_id.clone().or_else(|| (number > 0).then(|| number.to_string())),
        };
        let reason = (*reason > 0).then(|| ReasonCode::ALL.get(usize::from(*reason) - 1).copied()).flatten();
        Some(Entry {
            id: MessageId::from_bytes(*id)?,
            at: Timestamp::from_second(i64::from(u32::from_be_bytes(*second))).ok()?,
            ending: Ending {
                outcome: outcome_from(outcome & !AFTERTHOUGHT)?,
                reason: reason.map(|code| Reason::new(code, words.detail.clone())),
                platform: (code != i32::MIN).then(word),
                is_afterthought: outcome & AFTERTHOUGHT != 0,
            },
        })
    }
}

const OUTCOMES: [Outcome; 4] = [Outcome::Delivered, Outcome::Refused, Outcome::Failed, Outcome::Unknown];

fn outcome_number(outcome: Outcome) -> u8 {
    position(&OUTCOMES, &outcome)
}

fn outcome_from(number: u8) -> Option<Outcome> {
    OUTCOMES.get(usize::from(number)).copied()
}

fn reason_number(code: ReasonCode) -> u8 {
    position(&ReasonCode::ALL, &code) + 1
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|candidate| candidate == one).and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Packed(Vec<PackedEntry>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.iter().flat_map(|entry| entry.0).collect::<Vec<u8>>())
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = crate::packed::bytes(deserializer)?;
        let entries =
            bytes.chunks(ENTRY_SIZE_BYTES).map(|chunk| chunk.try_into().ok().map(PackedEntry)).collect::<Option<_>>();
        entries.map(Self).ok_or_else(|| serde::de::Error::custom("a receipt of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, ending: Ending) -> Entry {
        let at: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        Entry { id: MessageId::derive("shop", "k", key, at), at, ending }
    }

    fn word(code: i64, message_id: Option<&str>) -> PlatformWord {
        PlatformWord {
            code,
            message: if code == 0 { "ok" } else { "busy" }.into(),
            message_id: message_id.map(Into::into),
        }
    }

    #[test]
    fn outcomes_survive_packing() {
        let mut receipt = Receipt::default();
        let mut late = Ending::because(Reason::new(ReasonCode::PlatformError, "failed later"), Some(word(-1, None)));
        late.is_afterthought = true;
        let entries = [
            entry("a", Ending::delivered(word(0, Some("3248682510344192008")))),
            entry("b", Ending::delivered(word(0, Some("not-a-number")))),
            entry("c", Ending::because(Reason::new(ReasonCode::Crash, "no outcome was noted"), None)),
            entry("d", late),
        ];
        for one in &entries {
            receipt.add("T", "orders", one);
        }
        let text = serde_json::to_string(&receipt).unwrap();
        let back: Receipt = serde_json::from_str(&text).unwrap();
        for one in &entries {
            assert_eq!(back.find(one.id).as_ref(), Some(one));
        }
        assert_eq!(back.find_platform_id("3248682510344192008").unwrap().1.id, entries[0].id);
    }

    #[test]
    fn the_best_word_wins_and_an_afterthought_beats_it() {
        let delivered = entry("a", Ending::delivered(word(0, None)));
        let unknown = entry("a", Ending::because(Reason::new(ReasonCode::Timeout, ""), None));
        let mut late = entry("a", Ending::because(Reason::new(ReasonCode::PlatformError, ""), None));
        assert_eq!(best([unknown.clone(), delivered.clone()]).unwrap(), delivered);
        late.ending.is_afterthought = true;
        assert_eq!(best([delivered, late.clone(), unknown]).unwrap(), late);
    }
}
