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
/// The week finds the row without an index; the hash alone decides whether two ids are the same message.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
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
        self.week
    }

    /// A number that spreads messages evenly over shards.
    #[must_use]
    pub fn spread(self) -> u8 {
        self.hash[0]
    }

    /// Reads an id as it stands in the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes =
            data_encoding::BASE32_NOPAD.decode(text.strip_prefix("m_")?.to_ascii_uppercase().as_bytes()).ok()?;
        Self::from_bytes(bytes.as_slice().try_into().ok()?)
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
        write!(f, "m_{}", data_encoding::BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase())
    }
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
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a message id"))
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
}
