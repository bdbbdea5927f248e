//! Names that callers give to things: parsed once, then trusted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Longest id a caller may use, in characters.
pub const ID_MAX_CHARACTERS: usize = 64;

/// Whether `text` may be used as an id: `[A-Za-z0-9_.-]{1,64}`.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=ID_MAX_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Checks an id of the caller and names `field` when it is wrong.
///
/// # Errors
/// [`Invalid`] when `text` does not match `[A-Za-z0-9_.-]{1,64}`.
pub fn check_id(field: &str, text: &str) -> Result<(), Invalid> {
    if is_id(text) {
        return Ok(());
    }
    Err(Invalid::new(field, "id_malformed", "must be 1 to 64 of the characters A-Z a-z 0-9 _ . -"))
}

/// One person on one channel.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SubscriberId {
    /// The channel's id.
    pub channel: String,
    /// The platform's name for the person.
    pub openid: String,
}

impl SubscriberId {
    /// Names a subscriber.
    #[must_use]
    pub fn new(channel: impl Into<String>, openid: impl Into<String>) -> Self {
        Self { channel: channel.into(), openid: openid.into() }
    }
}

/// The id of a single message, `m_` and 20 characters: the week it was accepted in and a hash of who asked with which
/// Idempotency-Key.
///
/// The week finds the row without an index; the hash alone decides whether two ids are the same message. As the id of an
/// offer it may also stand for an occurrence of a campaign: see [`CampaignId::offer_id`].
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId {
    week: u16,
    hash: [u8; 10],
}

/// Seconds in a week; weeks are counted from 1970-01-01T00:00:00Z.
const WEEK_SECONDS: i64 = 7 * 86_400;

/// How far apart two functions may place the same moment, in seconds: their clocks differ, and a call takes a while from
/// reading the clock to storing the message.
const APART_SECONDS: i64 = 300;

impl MessageId {
    /// Bytes of [`MessageId::to_bytes`].
    pub const SIZE_BYTES: usize = 12;

    /// The id of the message that `owner` (an API key's id) asks for on `channel` with `idempotency_key`, accepted at
    /// `now`.
    #[must_use]
    pub fn derive(channel: &str, owner: &str, idempotency_key: &str, now: jiff::Timestamp) -> Self {
        let digest = crate::digest::of(&[channel.as_bytes(), owner.as_bytes(), idempotency_key.as_bytes()]);
        let mut hash = [0; 10];
        hash.copy_from_slice(digest.first_chunk::<10>().unwrap_or(&[0; 10]));
        Self { week: week_of(now), hash }
    }

    /// Near a week's turn: the id that the same message gets by a clock on the other side of it. `now` is what the id was
    /// made of.
    #[must_use]
    pub fn across_the_turn(self, now: jiff::Timestamp) -> Option<Self> {
        let near = [-APART_SECONDS, APART_SECONDS].map(|seconds| week_of(crate::time::plus_seconds(now, seconds)));
        near.into_iter().find(|week| *week != self.week).map(|week| Self { week, ..self })
    }

    /// The id of the same message had it been accepted one week before.
    #[must_use]
    pub fn week_before(self) -> Self {
        Self { week: self.week.saturating_sub(1), ..self }
    }

    /// The week of acceptance, counted from the epoch.
    #[must_use]
    pub fn week(self) -> u16 {
        self.week & !CAMPAIGN_BIT
    }

    /// The campaign that the offer of this id belongs to; `None` for a single message.
    #[must_use]
    pub fn campaign(self) -> Option<CampaignId> {
        (self.week & CAMPAIGN_BIT != 0).then(|| {
            let [a, b, c, d, e, f, start @ ..] = self.hash;
            CampaignId { week: self.week(), hash: [a, b, c, d, e, f], start: u32::from_be_bytes(start) }
        })
    }

    /// A number that spreads messages evenly over shards.
    #[must_use]
    pub fn spread(self) -> u8 {
        self.hash[0]
    }

    /// Reads an id as it stands in the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode(text.strip_prefix("m_")?)?;
        Self::from_bytes(bytes.as_slice().try_into().ok()?).filter(|id| id.campaign().is_none())
    }

    /// The packed form.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        let (week, hash) = bytes.split_at_mut(2);
        week.copy_from_slice(&self.week.to_be_bytes());
        hash.copy_from_slice(&self.hash);
        bytes
    }

    /// Reads the packed form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::SIZE_BYTES]) -> Option<Self> {
        let (week, hash) = bytes.split_first_chunk::<2>()?;
        Some(Self { week: u16::from_be_bytes(*week), hash: hash.try_into().ok()? })
    }
}

/// The week a time lies in, counted from the epoch.
#[must_use]
pub fn week_of(time: jiff::Timestamp) -> u16 {
    u16::try_from(time.as_second().div_euclid(WEEK_SECONDS)).unwrap_or(0)
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.campaign() {
            Some(campaign) => fmt::Display::fmt(&campaign, f),
            None => write!(f, "m_{}", encode(&self.to_bytes())),
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let of_campaign = || CampaignId::parse(&text).map(CampaignId::offer_id);
        Self::parse(&text).or_else(of_campaign).ok_or_else(|| serde::de::Error::custom("not the id of an offer"))
    }
}

/// Tells a campaign's offer from a message; weeks stay below it until the year 2598.
const CAMPAIGN_BIT: u16 = 1 << 15;

/// The id of a campaign, `c_` and 13 characters; or of one occurrence of a recurring campaign, `c_` and 20 characters,
/// which adds the time it starts at.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CampaignId {
    week: u16,
    hash: [u8; 6],
    /// Seconds of the epoch; 0 is the campaign as a whole.
    start: u32,
}

impl CampaignId {
    /// The id of the campaign that `owner` (an API key's id) makes on `channel` under `key` at `now`.
    #[must_use]
    pub fn derive(channel: &str, owner: &str, key: &str, now: jiff::Timestamp) -> Self {
        let digest = crate::digest::of(&[b"campaign", channel.as_bytes(), owner.as_bytes(), key.as_bytes()]);
        let hash = digest.first_chunk::<6>().copied().unwrap_or_default();
        Self { week: week_of(now) & !CAMPAIGN_BIT, hash, start: 0 }
    }

    /// The id of the occurrence that starts at `starts_at`.
    #[must_use]
    pub fn occurrence(self, starts_at: jiff::Timestamp) -> Self {
        Self { start: crate::sends::second(starts_at).max(1), ..self }
    }

    /// The campaign that an occurrence belongs to.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { start: 0, ..self }
    }

    /// The week the campaign was made in, counted from the epoch.
    #[must_use]
    pub fn week(self) -> u16 {
        self.week
    }

    /// Tells the campaigns of a channel apart where space is scarce; the same for all occurrences.
    #[must_use]
    pub fn short(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.hash;
        [a, b, c, d]
    }

    /// What a person's memory knows a send of this campaign, or of this occurrence, by.
    #[must_use]
    pub fn offer_id(self) -> MessageId {
        let mut hash = [0; 10];
        for (slot, byte) in hash.iter_mut().zip(self.hash.into_iter().chain(self.start.to_be_bytes())) {
            *slot = byte;
        }
        MessageId { week: self.week | CAMPAIGN_BIT, hash }
    }

    /// Reads an id as it stands in the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = decode(text.strip_prefix("c_")?)?;
        if bytes.len() == MessageId::SIZE_BYTES - 4 {
            bytes.extend([0; 4]);
        }
        MessageId::from_bytes(bytes.as_slice().try_into().ok()?)?.campaign()
    }
}

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.offer_id().to_bytes();
        let (whole, _) = bytes.split_at(MessageId::SIZE_BYTES - 4);
        write!(f, "c_{}", encode(if self.start == 0 { whole } else { &bytes }))
    }
}

impl fmt::Debug for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CampaignId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CampaignId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a campaign id"))
    }
}

/// Names one delivery of a task: fresh for every invocation that handles it, so that a reservation tells whose it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Nonce(pub [u8; 8]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_contract() {
        assert!(is_id("order-1_A.b"));
        assert!(is_id(&"x".repeat(64)));
        for bad in ["", "a b", "名", "a/b", "a#b", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn near_a_weeks_turn_both_sides_know_of_each_other() {
        let id = |now: &str| {
            let now = now.parse().unwrap();
            let id = MessageId::derive("shop", "k_1", "order-1", now);
            (id, id.across_the_turn(now))
        };
        let (before, after) = (id("2026-11-18T23:59:59Z"), id("2026-11-19T00:00:01Z"));
        assert_eq!((before.1, after.1), (Some(after.0), Some(before.0)));
        assert_eq!(before.0, after.0.week_before());
        for far in ["2026-11-18T23:54:59Z", "2026-11-19T00:05:00Z", "2026-11-21T12:00:00Z"] {
            assert_eq!(id(far).1, None, "{far}");
        }
    }

    #[test]
    fn message_ids_survive_text_and_bytes() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let id = MessageId::derive("shop", "k_1", "order-1", now);
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        assert_eq!(MessageId::from_bytes(id.to_bytes()), Some(id));
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id, MessageId::derive("shop", "k_1", "order-1", now));
        assert_ne!(id, MessageId::derive("shop", "k_2", "order-1", now));
        assert_ne!(id, MessageId::derive("shopk", "_1", "order-1", now));
        assert_eq!(MessageId::parse("m_short"), None);
    }

    #[test]
    fn campaign_ids_survive_text_and_bytes_and_tell_occurrences_apart() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let id = CampaignId::derive("shop", "k_1", "spring", now);
        let monday = id.occurrence(now);
        for one in [id, monday] {
            assert_eq!(CampaignId::parse(&one.to_string()), Some(one));
            assert_eq!(MessageId::from_bytes(one.offer_id().to_bytes()).and_then(MessageId::campaign), Some(one));
            assert_eq!(one.offer_id().to_string(), one.to_string());
            let stored = serde_json::to_string(&one.offer_id()).unwrap();
            assert_eq!(serde_json::from_str::<MessageId>(&stored).unwrap(), one.offer_id());
        }
        assert_eq!((id.to_string().len(), monday.to_string().len()), (15, 22));
        assert_eq!((monday.whole(), monday.short()), (id, id.short()));
        assert_ne!(monday.offer_id(), id.offer_id());
        assert_ne!(monday.offer_id(), id.occurrence("2026-11-28T10:00:00Z".parse().unwrap()).offer_id());
        let as_message = monday.to_string().replace("c_", "m_");
        assert_eq!(MessageId::parse(&as_message), None, "no campaign is mistaken for a message");
        assert_eq!(MessageId::derive("shop", "k_1", "order-1", now).campaign(), None);
        assert_eq!(CampaignId::parse("c_1"), None);
    }
}
