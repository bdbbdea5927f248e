//! What a person did, as far as segments ask for it: when they were first seen and last active, and which campaigns they
//! received and clicked.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::CampaignId;
use crate::sends::second;

/// Campaigns that one person's record remembers, the latest; 7 bytes each in storage.
pub const CAMPAIGNS_MAX: usize = 24;

/// A person's activity: 8 bytes and 7 per campaign in storage.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Activity {
    /// Seconds of the epoch; 0: not known.
    first_seen: u32,
    /// Seconds of the epoch; 0: never.
    last_active: u32,
    /// In the order of their days, earliest first.
    campaigns: Vec<Contact>,
}

/// What a person had to do with one campaign, with all its occurrences together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Contact {
    /// The last day on which something happened, counted from 1970-01-01 in UTC.
    day: u16,
    campaign: [u8; 4],
    flags: u8,
}

const RECEIVED: u8 = 1;
const CLICKED: u8 = 2;

const TIMES_SIZE_BYTES: usize = 4 + 4;
const CONTACT_SIZE_BYTES: usize = 2 + 4 + 1;

/// The size in storage at the most, in bytes.
pub(crate) const ACTIVITY_MAX_BYTES: usize = TIMES_SIZE_BYTES + CAMPAIGNS_MAX * CONTACT_SIZE_BYTES;

impl Activity {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// When the person was first heard of.
    #[must_use]
    pub fn first_seen(&self) -> Option<Timestamp> {
        known(self.first_seen)
    }

    /// When the person last did something.
    #[must_use]
    pub fn last_active(&self) -> Option<Timestamp> {
        known(self.last_active)
    }

    /// Whether the person clicked a message of the campaign.
    #[must_use]
    pub fn has_clicked(&self, campaign: CampaignId) -> bool {
        self.has(campaign, CLICKED)
    }

    /// Whether the person received a message of the campaign and its reservation is forgotten by now: while it is
    /// remembered, [`crate::sends::RecentSends`] is the record.
    #[must_use]
    pub fn has_received(&self, campaign: CampaignId) -> bool {
        self.has(campaign, RECEIVED)
    }

    /// The same, where the last that happened with the campaign was on the day of `from` or later: an occurrence received
    /// before says nothing of it.
    #[must_use]
    pub fn has_received_since(&self, campaign: CampaignId, from: Timestamp) -> bool {
        let from = Contact::new(campaign, RECEIVED, second(from));
        let is_late = |contact: &Contact| contact.campaign == from.campaign && contact.day >= from.day;
        self.has_received(campaign) && self.campaigns.iter().any(is_late)
    }

    fn has(&self, campaign: CampaignId, flag: u8) -> bool {
        self.campaigns.iter().any(|contact| contact.campaign == campaign.short() && contact.flags & flag != 0)
    }

    /// The person was heard of at `at` without doing anything, such as by an import.
    pub fn note_known(&mut self, at: Timestamp) {
        self.first_seen = earlier(self.first_seen, second(at));
    }

    /// The person did something at `at`: consented, opened, clicked, bought.
    pub fn note_active(&mut self, at: Timestamp) {
        self.note_known(at);
        self.last_active = self.last_active.max(second(at));
    }

    /// The person clicked a message of the campaign.
    pub fn note_click(&mut self, campaign: CampaignId, at: Timestamp) {
        self.note_active(at);
        self.add(Contact::new(campaign, CLICKED, second(at)));
        self.forget();
    }

    /// The person received a message of the campaign, reserved at `at` (seconds of the epoch), and its reservation is
    /// about to be forgotten.
    pub fn note_received(&mut self, campaign: CampaignId, at: u32) {
        self.add(Contact::new(campaign, RECEIVED, at));
        self.forget();
    }

    fn add(&mut self, mut contact: Contact) {
        if let Some(at) = self.campaigns.iter().position(|known| known.campaign == contact.campaign) {
            let known = self.campaigns.remove(at);
            contact.flags |= known.flags;
            contact.day = contact.day.max(known.day);
        }
        let place = self.campaigns.partition_point(|known| *known < contact);
        self.campaigns.insert(place, contact);
    }

    /// Beyond [`CAMPAIGNS_MAX`] the earliest go.
    fn forget(&mut self) {
        let surplus = self.campaigns.len().saturating_sub(CAMPAIGNS_MAX);
        self.campaigns.drain(..surplus);
    }

    /// Takes over what another record of the same person knows.
    pub(crate) fn join(&mut self, other: Self) {
        self.first_seen = earlier(self.first_seen, other.first_seen);
        self.last_active = self.last_active.max(other.last_active);
        for contact in other.campaigns {
            self.add(contact);
        }
        self.forget();
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let (first_seen, rest) = packed.split_first_chunk::<4>()?;
        let (last_active, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            first_seen: u32::from_be_bytes(*first_seen),
            last_active: u32::from_be_bytes(*last_active),
            campaigns: rest.chunks(CONTACT_SIZE_BYTES).map(Contact::unpack).collect::<Option<_>>()?,
        })
    }
}

fn known(second: u32) -> Option<Timestamp> {
    Timestamp::from_second(i64::from(second)).ok().filter(|_| second > 0)
}

/// The earlier of two times of which 0 says that it is not known.
fn earlier(one: u32, other: u32) -> u32 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

impl Contact {
    fn new(campaign: CampaignId, flags: u8, at: u32) -> Self {
        Self { day: u16::try_from(at / 86_400).unwrap_or(u16::MAX), campaign: campaign.short(), flags }
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let (day, rest) = packed.split_first_chunk::<2>()?;
        let (campaign, rest) = rest.split_first_chunk::<4>()?;
        let [flags] = *rest else { return None };
        Some(Self { day: u16::from_be_bytes(*day), campaign: *campaign, flags })
    }
}

impl Serialize for Activity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::with_capacity(TIMES_SIZE_BYTES + CONTACT_SIZE_BYTES * self.campaigns.len());
        packed.extend(self.first_seen.to_be_bytes());
        packed.extend(self.last_active.to_be_bytes());
        for contact in &self.campaigns {
            packed.extend(contact.day.to_be_bytes());
            packed.extend(contact.campaign);
            packed.push(contact.flags);
        }
        serializer.serialize_bytes(&packed)
    }
}

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        Self::unpack(&packed).ok_or_else(|| serde::de::Error::custom("activity of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(20_000 * 86_400 + number * 86_400).unwrap()
    }

    fn campaign(number: u32) -> CampaignId {
        CampaignId::derive("shop", "k_1", &number.to_string(), day(0))
    }

    #[test]
    fn the_first_and_the_last_count_in_whatever_order_they_come() {
        let mut activity = Activity::default();
        assert!(activity.is_empty());
        for number in [5, 2, 9, 4] {
            activity.note_active(day(number));
        }
        activity.note_known(day(11));
        assert_eq!((activity.first_seen(), activity.last_active()), (Some(day(2)), Some(day(9))));
        let mut imported = Activity::default();
        imported.note_known(day(3));
        assert_eq!((imported.first_seen(), imported.last_active()), (Some(day(3)), None));
    }

    #[test]
    fn a_click_on_one_occurrence_is_a_click_on_the_campaign_and_no_receipt() {
        let mut activity = Activity::default();
        activity.note_click(campaign(1).occurrence(day(0)), day(1));
        assert!(activity.has_clicked(campaign(1)) && !activity.has_received(campaign(1)));
        assert!(!activity.has_clicked(campaign(2)));
        activity.note_received(campaign(1), second(day(0)));
        assert!(activity.has_clicked(campaign(1)) && activity.has_received(campaign(1)));
        assert_eq!(activity.last_active(), Some(day(1)), "receiving is not acting");
        // The click of day 1 is the last that happened.
        assert!(activity.has_received_since(campaign(1), day(1)) && !activity.has_received_since(campaign(1), day(2)));
    }

    #[test]
    fn the_latest_campaigns_are_remembered() {
        let mut activity = Activity::default();
        for number in (0..40).rev() {
            activity.note_click(campaign(number), day(i64::from(number)));
        }
        let remembered = (0..40).filter(|number| activity.has_clicked(campaign(*number))).collect::<Vec<u32>>();
        assert_eq!(remembered, (16..40).collect::<Vec<u32>>());
    }

    #[test]
    fn two_records_join_in_either_order_to_the_same() {
        let (mut one, mut other) = (Activity::default(), Activity::default());
        for number in 0..30 {
            one.note_click(campaign(number), day(i64::from(number)));
            other.note_received(campaign(number * 2), second(day(i64::from(number))));
        }
        let (mut left, mut right) = (one.clone(), other.clone());
        left.join(other);
        right.join(one);
        assert_eq!(left, right);
        assert_eq!(left.campaigns.len(), CAMPAIGNS_MAX);
    }

    #[test]
    fn activity_survives_packing_in_few_bytes() {
        let mut activity = Activity::default();
        for number in 0..40 {
            activity.note_click(campaign(number), day(i64::from(number)));
        }
        let stored = serde_json::to_value(&activity).unwrap();
        assert_eq!(stored.as_array().map(Vec::len), Some(8 + 24 * 7));
        assert_eq!(serde_json::from_value::<Activity>(stored).unwrap(), activity);
        assert!(serde_json::from_str::<Activity>("[1,2,3]").is_err());
        assert!(serde_json::from_str::<Activity>("[0,0,0,0,0,0,0,0,1]").is_err());
    }
}
