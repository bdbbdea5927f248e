//! Who lost a person to whom: written with the winner's reservation, so that it costs no write of its own.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::CampaignId;
use crate::sends::second;

/// Losers that one person remembers.
pub const OUTBID_MAX: usize = 16;

/// How long a loser is remembered, in seconds.
const KEPT_SECONDS: i64 = 30 * 86_400;

const ENTRY_SIZE_BYTES: usize = 12;

/// The size in storage at the most, in bytes.
pub(crate) const OUTBIDS_MAX_BYTES: usize = OUTBID_MAX * ENTRY_SIZE_BYTES;

/// One competition for a person that a campaign lost. Campaigns are named by [`CampaignId::short`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Outbid {
    /// Who lost.
    pub loser: [u8; 4],
    /// Who won.
    pub winner: [u8; 4],
    /// When the winner was reserved, in seconds of the epoch.
    pub at: u32,
}

/// The competitions of one person, oldest first; 12 bytes each in storage, at most [`OUTBID_MAX`], one per loser.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Outbids(Vec<Outbid>);

impl Outbids {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The competitions, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Outbid> {
        self.0.iter()
    }

    /// Notes that `winner` was reserved at `now` and outbid `losers`. A campaign's last defeat replaces earlier ones; the
    /// oldest are forgotten when there are too many.
    pub fn note(&mut self, winner: CampaignId, losers: &[[u8; 4]], now: Timestamp) {
        let news = losers.iter().map(|loser| Outbid { loser: *loser, winner: winner.short(), at: second(now) });
        self.0.retain(|known| i64::from(known.at) + KEPT_SECONDS > now.as_second());
        self.add(news.collect());
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.add(other.0);
    }

    fn add(&mut self, news: Vec<Outbid>) {
        self.0.extend(news);
        // The newest of a loser counts; where two are as new, the choice only must not depend on the order.
        self.0.sort_by_key(|one| (one.at, one.loser, one.winner));
        let later = |index: usize, loser: [u8; 4]| self.0.iter().skip(index + 1).any(|one| one.loser == loser);
        let kept: Vec<Outbid> =
            self.0.iter().enumerate().filter(|(index, one)| !later(*index, one.loser)).map(|(_, one)| *one).collect();
        let too_many = kept.len().saturating_sub(OUTBID_MAX);
        self.0 = kept.into_iter().skip(too_many).collect();
    }
}

impl Serialize for Outbids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pack = |one: &Outbid| [one.loser, one.winner, one.at.to_be_bytes()].concat();
        serializer.serialize_bytes(&self.0.iter().flat_map(pack).collect::<Vec<u8>>())
    }
}

impl<'de> Deserialize<'de> for Outbids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        let unpack = |chunk: &[u8]| {
            let (loser, rest) = chunk.split_first_chunk::<4>()?;
            let (winner, at) = rest.split_first_chunk::<4>()?;
            Some(Outbid { loser: *loser, winner: *winner, at: u32::from_be_bytes(at.try_into().ok()?) })
        };
        let entries = packed.chunks(ENTRY_SIZE_BYTES).map(unpack).collect::<Option<_>>();
        entries.map(Self).ok_or_else(|| serde::de::Error::custom("lost competitions of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::plus_seconds;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00+08:00".parse().unwrap()
    }

    fn campaign(name: &str) -> CampaignId {
        CampaignId::derive("shop", "k", name, now())
    }

    #[test]
    fn defeats_survive_storage_in_few_bytes() {
        let mut outbids = Outbids::default();
        outbids.note(campaign("a").occurrence(now()), &[campaign("b").short(), campaign("c").short()], now());
        let stored = serde_json::to_value(&outbids).unwrap();
        assert_eq!(stored.as_array().map(Vec::len), Some(24));
        assert_eq!(serde_json::from_value::<Outbids>(stored).unwrap(), outbids);
        assert!(outbids.iter().all(|one| one.winner == campaign("a").short()));
        assert!(serde_json::from_str::<Outbids>("[1,2,3]").is_err());
    }

    #[test]
    fn the_last_defeat_of_a_campaign_is_kept_and_old_ones_are_forgotten() {
        let mut outbids = Outbids::default();
        let (loser, later) = (campaign("b").short(), plus_seconds(now(), 60));
        outbids.note(campaign("a"), &[loser], now());
        outbids.note(campaign("c"), &[loser], later);
        let kept: Vec<_> = outbids.iter().map(|one| one.winner).collect();
        assert_eq!(kept, [campaign("c").short()]);
        for number in 0..20 {
            outbids.note(campaign("a"), &[campaign(&number.to_string()).short()], plus_seconds(later, 60 + number));
        }
        assert_eq!(outbids.iter().count(), OUTBID_MAX);
        assert!(outbids.iter().all(|one| one.loser != loser), "the oldest went");
        outbids.note(campaign("a"), &[loser], plus_seconds(later, 31 * 86_400));
        assert_eq!(outbids.iter().count(), 1);
    }

    #[test]
    fn the_order_of_joining_does_not_matter() {
        let noted = |winner: &str, losers: &[&str], by: i64| {
            let mut outbids = Outbids::default();
            let losers: Vec<_> = losers.iter().map(|loser| campaign(loser).short()).collect();
            outbids.note(campaign(winner), &losers, plus_seconds(now(), by));
            outbids
        };
        let (a, b) = (noted("w", &["x", "y"], 0), noted("v", &["y", "z"], 0));
        let (mut one, mut other) = (a.clone(), b.clone());
        one.join(b);
        other.join(a);
        assert_eq!(one, other);
        assert_eq!(one.iter().count(), 3);
    }
}
