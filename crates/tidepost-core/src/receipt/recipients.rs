//! Outcomes of a campaign's recipients: people are told apart by a hash, 16 bytes each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AFTERTHOUGHT, Entry, Receipt, Words, outcome_from, outcome_number, reason_number};
use crate::digest;
use crate::ids::{MessageId, SubscriberId};
use crate::outcome::{Ending, PlatformWord};
use crate::reason::{Reason, ReasonCode};

/// Outcomes of recipients that are alike.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CampaignGroup {
    /// The occurrence of the campaign.
    #[serde(rename = "i")]
    pub offer: MessageId,
    /// The variant's id.
    #[serde(rename = "v")]
    pub variant: String,
    /// The platform's template id.
    #[serde(rename = "t")]
    pub template: String,
    /// What the campaign is about.
    #[serde(rename = "p")]
    pub topic: String,
    #[serde(rename = "e")]
    entries: Packed,
    /// The platform's codes and what does not fit the packed form, by position.
    #[serde(rename = "w", default, skip_serializing_if = "BTreeMap::is_empty")]
    words: BTreeMap<String, (i64, Words)>,
}

/// One recipient's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct RecipientEntry {
    /// Who; see [`recipient`].
    pub recipient: [u8; RECIPIENT_SIZE_BYTES],
    /// What became of it.
    pub ending: Ending,
}

/// What receipts say of a send beside its outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct About {
    /// The platform's template id.
    pub template: String,
    /// What it is about.
    pub topic: String,
    /// For a campaign: the variant's id.
    pub variant: Option<String>,
}

/// What a recipient's outcomes are found by: two of a million recipients are taken for one in one of 500 campaigns.
#[must_use]
pub fn recipient(to: &SubscriberId) -> [u8; RECIPIENT_SIZE_BYTES] {
    let digest = digest::of(&[b"recipient", to.channel.as_bytes(), to.openid.as_bytes()]);
    digest.first_chunk().copied().unwrap_or_default()
}

const RECIPIENT_SIZE_BYTES: usize = 6;

/// Recipient, outcome, reason, platform's number.
const ENTRY_SIZE_BYTES: usize = RECIPIENT_SIZE_BYTES + 2 + 8;

impl Receipt {
    /// Adds the outcome of one send, of a message or of a campaign.
    pub fn add_send(&mut self, id: MessageId, to: &SubscriberId, about: &About, at: Timestamp, ending: Ending) {
        match &about.variant {
            None => self.add(&about.template, &about.topic, &Entry { id, at, ending }),
            Some(variant) => self.add_recipient(
                CampaignGroup::new(id, variant, &about.template, &about.topic),
                &RecipientEntry { recipient: recipient(to), ending },
            ),
        }
    }

    /// Adds the outcome of one recipient; `like` is a group without outcomes.
    pub fn add_recipient(&mut self, like: CampaignGroup, entry: &RecipientEntry) {
        let found = self.campaigns.iter_mut().find(|group| group.is_like(&like));
        match found {
            Some(group) => group.add(entry),
            None => {
                let mut group = like;
                group.add(entry);
                self.campaigns.push(group);
            }
        }
    }

    /// The outcome of one recipient of an occurrence, as far as this receipt knows.
    #[must_use]
    pub fn find_recipient(&self, offer: MessageId, recipient: [u8; RECIPIENT_SIZE_BYTES]) -> Option<RecipientEntry> {
        let groups = self.campaigns.iter().filter(|group| group.offer == offer);
        groups.flat_map(CampaignGroup::entries).find(|entry| entry.recipient == recipient)
    }

    /// The recipient whose message the platform gave `message_id` to.
    #[must_use]
    pub fn find_recipient_by_platform_id(&self, message_id: &str) -> Option<(&CampaignGroup, RecipientEntry)> {
        let entries = self.campaigns.iter().flat_map(|group| group.entries().into_iter().map(move |one| (group, one)));
        entries.into_iter().find(|(_, entry)| {
            entry.ending.platform.as_ref().and_then(|word| word.message_id.as_deref()) == Some(message_id)
        })
    }
}

impl CampaignGroup {
    /// A group without outcomes.
    #[must_use]
    pub fn new(offer: MessageId, variant: &str, template: &str, topic: &str) -> Self {
        Self {
            offer,
            variant: variant.to_owned(),
            template: template.to_owned(),
            topic: topic.to_owned(),
            entries: Packed::default(),
            words: BTreeMap::new(),
        }
    }

    /// The outcomes, in the order in which they were added.
    #[must_use]
    pub fn entries(&self) -> Vec<RecipientEntry> {
        let none = (0, Words::default());
        let unpack = |(index, packed): (usize, &[u8; ENTRY_SIZE_BYTES])| {
            unpack(packed, self.words.get(&index.to_string()).unwrap_or(&none))
        };
        self.entries.0.iter().enumerate().filter_map(unpack).collect()
    }

    fn is_like(&self, other: &Self) -> bool {
        self.offer == other.offer
            && self.variant == other.variant
            && self.template == other.template
            && self.topic == other.topic
    }

    fn add(&mut self, entry: &RecipientEntry) {
        let ending = &entry.ending;
        let word = ending.platform.as_ref();
        let number = word.and_then(|word| word.message_id.as_ref()?.parse::<u64>().ok()).filter(|number| *number > 0);
        let words = Words {
            message: word.filter(|word| word.code != 0).map(|word| word.message.clone()).unwrap_or_default(),
            detail: ending.reason.as_ref().map(|reason| reason.detail.clone()).unwrap_or_default(),
            message_id: word.and_then(|word| word.message_id.clone()).filter(|_| number.is_none()),
        };
        let code = word.map_or(NO_WORD, |word| word.code);
        if code != 0 || words != Words::default() {
            self.words.insert(self.entries.0.len().to_string(), (code, words));
        }
        let afterthought = if ending.is_afterthought { AFTERTHOUGHT } else { 0 };
        let reason = ending.reason.as_ref().map_or(0, |reason| reason_number(reason.code));
        let mut packed = [0; ENTRY_SIZE_BYTES];
        let bytes = [outcome_number(ending.outcome) | afterthought, reason];
        let number = number.unwrap_or(0).to_be_bytes();
        for (slot, byte) in packed.iter_mut().zip(entry.recipient.into_iter().chain(bytes).chain(number)) {
            *slot = byte;
        }
        self.entries.0.push(packed);
    }
}

/// Stands for the code where the platform said nothing.
const NO_WORD: i64 = i64::MIN;

fn unpack(packed: &[u8; ENTRY_SIZE_BYTES], (code, words): &(i64, Words)) -> Option<RecipientEntry> {
    let (recipient, rest) = packed.split_first_chunk::<RECIPIENT_SIZE_BYTES>()?;
    let ([outcome, reason], number) = rest.split_first_chunk::<2>()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    let word = || PlatformWord {
        code: *code,
        message: if *code == 0 { "ok".to_owned() } else { words.message.clone() },
        message_id: words.message_id.clone().or_else(|| (number > 0).then(|| number.to_string())),
    };
    let reason = (*reason > 0).then(|| ReasonCode::ALL.get(usize::from(*reason) - 1).copied()).flatten();
    let ending = Ending {
        outcome: outcome_from(outcome & !AFTERTHOUGHT)?,
        reason: reason.map(|code| Reason::new(code, words.detail.clone())),
        platform: (*code != NO_WORD).then(word),
        is_afterthought: outcome & AFTERTHOUGHT != 0,
    };
    Some(RecipientEntry { recipient: *recipient, ending })
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Packed(Vec<[u8; ENTRY_SIZE_BYTES]>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_flattened())
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = crate::packed::bytes(deserializer)?;
        let entries = bytes.chunks(ENTRY_SIZE_BYTES).map(|chunk| chunk.try_into().ok()).collect::<Option<_>>();
        entries.map(Self).ok_or_else(|| serde::de::Error::custom("a receipt of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CampaignId;

    #[test]
    fn outcomes_of_recipients_survive_packing() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let offer = CampaignId::derive("shop", "k", "spring", now).offer_id();
        let word = |code: i64, id: Option<&str>| PlatformWord {
            code,
            message: if code == 0 { "ok" } else { "busy" }.into(),
            message_id: id.map(Into::into),
        };
        let endings = [
            Ending::delivered(word(0, Some("3248682510344192008"))),
            Ending::delivered(word(0, Some("not-a-number"))),
            Ending::because(Reason::new(ReasonCode::Crash, "no outcome was noted"), None),
            Ending::because(Reason::new(ReasonCode::NoGrant, "none"), Some(word(43_101, None))),
        ];
        let mut receipt = Receipt::default();
        let to = |index: usize| recipient(&SubscriberId::new("shop", format!("o{index}")));
        for (index, ending) in endings.iter().enumerate() {
            let like = CampaignGroup::new(offer, "new", "T", "sales");
            receipt.add_recipient(like, &RecipientEntry { recipient: to(index), ending: ending.clone() });
        }
        let back: Receipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
        assert_eq!(back.campaigns.len(), 1);
        for (index, ending) in endings.iter().enumerate() {
            assert_eq!(&back.find_recipient(offer, to(index)).unwrap().ending, ending);
        }
        let (group, entry) = back.find_recipient_by_platform_id("3248682510344192008").unwrap();
        assert_eq!((group.variant.as_str(), entry.recipient), ("new", to(0)));
    }
}
