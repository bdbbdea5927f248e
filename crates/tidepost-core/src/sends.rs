//! What a person was sent of late: the memory that keeps anything from being sent twice.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{MessageId, Nonce};
use crate::time::{hour_of, plus_seconds};

/// One reservation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RecentSend {
    /// What was sent.
    pub id: MessageId,
    /// The delivery that reserved it.
    pub nonce: Nonce,
    /// When it was reserved, in seconds of the epoch.
    pub at: u32,
    /// When nobody will ask for it any more, in seconds of the epoch.
    pub not_after: u32,
    /// What is known beyond the receipts.
    pub mark: Mark,
    /// For a second try: how many hours before its own the first try's hour was. All receipts of a message belong to that
    /// hour, so that it is counted once.
    pub hours_before: u8,
}

impl RecentSend {
    /// When it was reserved, in whole seconds.
    #[must_use]
    pub fn reserved_at(&self) -> Timestamp {
        Timestamp::from_second(i64::from(self.at)).unwrap_or(Timestamp::MIN)
    }

    /// The hour that the message counts in.
    #[must_use]
    pub fn hour(&self) -> Timestamp {
        plus_seconds(hour_of(self.reserved_at()), -3_600 * i64::from(self.hours_before))
    }

    /// Whether it arrived, as far as anybody knows, or still may.
    #[must_use]
    pub fn may_arrive(&self) -> bool {
        !matches!(self.mark, Mark::Refused | Mark::Unsent)
    }
}

/// What a reservation's entry says of its future.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mark {
    /// A call was or will be made under it; its outcome stands in a receipt.
    Reserved,
    /// The platform refused for good, and what was paid was given back.
    Refused,
    /// The outcome is unknown and a `basic` message may be tried once more.
    MayRepeat,
    /// The second try of a `basic` message.
    Repeated,
    /// Its first outcome was unknown, and there will be no second try: the platform's event told it, or its time went by.
    Told,
    /// It was ended without a call: nobody may reserve it any more. Its time and nonce are those of the receipt that says
    /// why.
    Unsent,
}

/// How long an entry outlives its `not_after`, in seconds: until the walk over the messages has settled it. To a walk that
/// comes later, an entry that is not there tells nothing.
pub const KEPT_SECONDS: i64 = 6 * 3_600;

/// Entries of one person, oldest first; 30 bytes each in storage.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct RecentSends(Vec<RecentSend>);

/// Bytes of one entry in storage.
pub(crate) const ENTRY_SIZE_BYTES: usize = 2 + MessageId::SIZE_BYTES + 8 + 4 + 4;

impl RecentSends {
    /// The entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentSend> {
        self.0.iter()
    }

    /// The entry of a message.
    #[must_use]
    pub fn find(&self, id: MessageId) -> Option<&RecentSend> {
        self.0.iter().find(|send| send.id == id)
    }

    /// What was reserved from `from` until `until` and was or may be called for, oldest first.
    pub fn called_between(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &RecentSend> {
        let span = from.as_second()..=until.as_second();
        self.0.iter().filter(move |send| send.may_arrive() && span.contains(&i64::from(send.at)))
    }

    /// Campaigns' sends that were reserved from `from` on and before `until` and whose outcome stands in no mark: a receipt
    /// tells it, unless their delivery died.
    pub fn of_campaigns_without_word(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &RecentSend> {
        let span = from.as_second()..until.as_second();
        self.0.iter().filter(move |send| {
            send.id.campaign().is_some()
                && matches!(send.mark, Mark::Reserved | Mark::Refused)
                && span.contains(&i64::from(send.at))
        })
    }

    /// When the last send was reserved that was not refused.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        let last = self.0.iter().filter(|send| send.may_arrive()).map(|send| send.at).max()?;
        Timestamp::from_second(i64::from(last)).ok()
    }

    /// Leaves only what was reserved by `time`.
    pub(crate) fn retain_until(&mut self, time: Timestamp) {
        self.0.retain(|send| i64::from(send.at) <= time.as_second());
    }

    /// Forgets what nobody will ask for any more, and returns it.
    pub fn forget(&mut self, now: Timestamp) -> Vec<RecentSend> {
        let is_kept = |send: &RecentSend| i64::from(send.not_after) + KEPT_SECONDS > now.as_second();
        let (kept, forgotten) = std::mem::take(&mut self.0).into_iter().partition(is_kept);
        self.0 = kept;
        forgotten
    }

    /// When the first entry can be forgotten that cannot be yet.
    #[must_use]
    pub fn next_forgotten(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.0.iter().map(|send| i64::from(send.not_after) + KEPT_SECONDS);
        ends.filter(|end| *end > now.as_second()).min().and_then(|end| Timestamp::from_second(end).ok())
    }

    pub(crate) fn remember(&mut self, send: RecentSend) {
        self.0.retain(|known| known.id != send.id);
        self.0.push(send);
    }

    /// Marks the entry that `nonce` reserved; false when there is none.
    pub(crate) fn mark(&mut self, id: MessageId, nonce: Nonce, mark: Mark) -> bool {
        let own = self.0.iter_mut().find(|send| send.id == id && send.nonce == nonce);
        own.map(|send| send.mark = mark).is_some()
    }

    pub(crate) fn remove(&mut self, id: MessageId, nonce: Nonce) {
        self.0.retain(|send| send.id != id || send.nonce != nonce);
    }

    pub(crate) fn join(&mut self, other: Self) {
        for send in other.0 {
            if self.find(send.id).is_none() {
                self.0.push(send);
            }
        }
        self.0.sort_by_key(|send| (send.at, send.id.to_bytes()));
    }
}

/// A time as the ledger keeps it.
#[must_use]
pub fn second(time: Timestamp) -> u32 {
    u32::try_from(time.as_second()).unwrap_or(u32::MAX)
}

/// A time as the ledger keeps it, never before `time`.
#[must_use]
pub fn second_rounded_up(time: Timestamp) -> u32 {
    second(time).saturating_add(u32::from(time.subsec_nanosecond() > 0))
}

impl Mark {
    fn code(self) -> u8 {
        match self {
            Self::Reserved => 0,
            Self::Refused => 1,
            Self::MayRepeat => 2,
            Self::Repeated => 3,
            Self::Told => 4,
            Self::Unsent => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [Self::Reserved, Self::Refused, Self::MayRepeat, Self::Repeated, Self::Told, Self::Unsent];
        all.into_iter().find(|mark| mark.code() == code)
    }
}

impl RecentSend {
    fn pack(&self, packed: &mut Vec<u8>) {
        packed.extend_from_slice(&[self.mark.code(), self.hours_before]);
        packed.extend_from_slice(&self.id.to_bytes());
        packed.extend_from_slice(&self.nonce.0);
        packed.extend_from_slice(&self.at.to_be_bytes());
        packed.extend_from_slice(&self.not_after.to_be_bytes());
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let ([mark, hours_before], rest) = packed.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_first_chunk::<{ MessageId::SIZE_BYTES }>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            id: MessageId::from_bytes(*id)?,
            nonce: Nonce(*nonce),
            at: u32::from_be_bytes(*at),
            not_after: u32::from_be_bytes(rest.try_into().ok()?),
            mark: Mark::from_code(*mark)?,
            hours_before: *hours_before,
        })
    }
}

impl Serialize for RecentSends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::with_capacity(self.0.len() * ENTRY_SIZE_BYTES);
        self.0.iter().for_each(|send| send.pack(&mut packed));
        serializer.serialize_bytes(&packed)
    }
}

impl<'de> Deserialize<'de> for RecentSends {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        let entries = packed.chunks(ENTRY_SIZE_BYTES).map(RecentSend::unpack).collect::<Option<_>>();
        entries.map(Self).ok_or_else(|| serde::de::Error::custom("recent sends of an unknown form"))
    }
}
