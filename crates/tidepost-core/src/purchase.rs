//! What a person bought, in as few bytes as recency, frequency and monetary value need.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Purchases whose ids are remembered; 16 bytes each in storage.
pub const REMEMBERED_MAX: usize = 32;

/// The largest amount of one purchase, in cents: ten million.
pub const CENTS_MAX: u32 = 1_000_000_000;

/// One purchase.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Purchase {
    /// When, in seconds of the epoch.
    pub at: u32,
    /// A short hash of the backend's id of it.
    pub id: [u8; 8],
    /// How much, in cents.
    pub cents: u32,
}

impl Purchase {
    /// A purchase that the backend calls `id`.
    #[must_use]
    pub fn new(id: &str, at: jiff::Timestamp, cents: u32) -> Self {
        Self { at: crate::sends::second(at), id: crate::digest::short(&[id.as_bytes()]), cents }
    }

    fn order(&self) -> (u32, [u8; 8]) {
        (self.at, self.id)
    }
}

/// Reads a decimal such as `29.33` as cents.
#[must_use]
pub fn parse_cents(amount: &str) -> Option<u32> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || part.len() > 2 {
        return None;
    }
    let tens = if part.len() == 1 { 10 } else { 1 };
    let cents = whole.parse::<u32>().ok()?.checked_mul(100)?;
    cents.checked_add(part.parse::<u32>().ok()? * tens).filter(|cents| *cents <= CENTS_MAX)
}

/// All purchases of a person, summed up. Each counts once by its id.
///
/// The latest [`REMEMBERED_MAX`] are remembered one by one. What is older than all of them counts as summed up already: a
/// feed that comes again never counts twice, and one in the order of time never misses any.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Purchases {
    count: u32,
    total_cents: u64,
    /// The latest one that is not remembered any more.
    forgotten: (u32, [u8; 8]),
    /// The latest ones, earliest first.
    latest: Vec<Purchase>,
}

impl Purchases {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How much all of them cost, in cents.
    #[must_use]
    pub fn total_cents(&self) -> u64 {
        self.total_cents
    }

    /// When the last one was, in seconds of the epoch.
    #[must_use]
    pub fn last_at(&self) -> Option<u32> {
        self.latest.last().map(|purchase| purchase.at)
    }

    /// The size in storage, in bytes, or more.
    pub(crate) fn at_most_bytes(&self) -> usize {
        24 + 16 * self.latest.len()
    }

    /// Counts those that were not counted before; returns how many.
    pub fn add(&mut self, mut purchases: Vec<Purchase>) -> u32 {
        let before = self.count;
        // In the order of time, so that the earliest of many is not taken for one that was forgotten.
        purchases.sort_unstable();
        for purchase in purchases {
            if !self.is_counted(&purchase) {
                self.count = self.count.saturating_add(1);
                self.total_cents = self.total_cents.saturating_add(u64::from(purchase.cents));
                self.remember(purchase);
            }
        }
        self.count - before
    }

    fn is_counted(&self, purchase: &Purchase) -> bool {
        let is_forgotten = self.forgotten != Default::default() && purchase.order() <= self.forgotten;
        is_forgotten || self.latest.iter().any(|known| known.id == purchase.id)
    }

    fn remember(&mut self, purchase: Purchase) {
        let place = self.latest.partition_point(|known| known.order() <= purchase.order());
        self.latest.insert(place, purchase);
        while self.latest.len() > REMEMBERED_MAX {
            self.forgotten = self.forgotten.max(self.latest.remove(0).order());
        }
    }

    /// Sums up what two records of one person know; what both remember counts once.
    pub(crate) fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.total_cents = self.total_cents.saturating_add(other.total_cents);
        self.forgotten = self.forgotten.max(other.forgotten);
        for theirs in other.latest {
            if self.latest.iter().any(|ours| ours.id == theirs.id) {
                self.count = self.count.saturating_sub(1);
                self.total_cents = self.total_cents.saturating_sub(u64::from(theirs.cents));
            } else {
                self.remember(theirs);
            }
        }
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        let (count, rest) = packed.split_first_chunk::<4>()?;
        let (total_cents, rest) = rest.split_first_chunk::<8>()?;
        let (forgotten_at, rest) = rest.split_first_chunk::<4>()?;
        let (forgotten_id, rest) = rest.split_first_chunk::<8>()?;
        let purchase = |chunk: &[u8]| {
            let (at, rest) = chunk.split_first_chunk::<4>()?;
            let (id, cents) = rest.split_first_chunk::<8>()?;
            Some(Purchase { at: u32::from_be_bytes(*at), id: *id, cents: u32::from_be_bytes(cents.try_into().ok()?) })
        };
        Some(Self {
            count: u32::from_be_bytes(*count),
            total_cents: u64::from_be_bytes(*total_cents),
            forgotten: (u32::from_be_bytes(*forgotten_at), *forgotten_id),
            latest: rest.chunks(16).map(purchase).collect::<Option<_>>()?,
        })
    }
}

impl Serialize for Purchases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::with_capacity(24 + 16 * self.latest.len());
        packed.extend(self.count.to_be_bytes());
        packed.extend(self.total_cents.to_be_bytes());
        packed.extend(self.forgotten.0.to_be_bytes());
        packed.extend(self.forgotten.1);
        for purchase in &self.latest {
            packed.extend(purchase.at.to_be_bytes());
            packed.extend(purchase.id);
            packed.extend(purchase.cents.to_be_bytes());
        }
        serializer.serialize_bytes(&packed)
    }
}

impl<'de> Deserialize<'de> for Purchases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        Self::unpack(&packed).ok_or_else(|| serde::de::Error::custom("purchases of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(number: u32) -> Purchase {
        let at = jiff::Timestamp::from_second(853_000_000 + i64::from(number) * 86_400).unwrap();
        Purchase::new(&format!("p{number}"), at, 100)
    }

    #[test]
    fn amounts_are_decimals_with_cents() {
        for (text, cents) in [("29.33", 2_933), ("0", 0), ("7.5", 750), ("10000000.00", CENTS_MAX)] {
            assert_eq!(parse_cents(text), Some(cents), "{text}");
        }
        for text in ["", ".5", "5.", "-1", "+1", "1e3", "1.234", "10000000.01", "99999999999", "１"] {
            assert_eq!(parse_cents(text), None, "{text}");
        }
    }

    #[test]
    fn a_purchase_counts_once_however_often_and_in_whatever_batches_it_comes() {
        let all: Vec<Purchase> = (0..100).map(bought).collect();
        let mut purchases = Purchases::default();
        assert_eq!(purchases.add(all.iter().rev().copied().collect()), 100);
        assert_eq!(purchases.add(all.clone()), 0, "the whole feed again");
        assert_eq!(purchases.add(all[..10].to_vec()), 0, "also what is forgotten");
        assert_eq!((purchases.count(), purchases.total_cents()), (100, 10_000));
        assert_eq!(purchases.last_at(), Some(bought(99).at));
        let mut one_by_one = Purchases::default();
        let counted: u32 = all.iter().map(|one| one_by_one.add(vec![*one])).sum();
        assert_eq!(counted, 100);
        assert_eq!(one_by_one, purchases);
    }

    #[test]
    fn an_earlier_purchase_counts_while_none_is_forgotten() {
        let mut purchases = Purchases::default();
        purchases.add(vec![bought(5)]);
        assert_eq!(purchases.add(vec![bought(1), bought(1), bought(5)]), 1);
        assert_eq!(purchases.last_at(), Some(bought(5).at));
    }

    #[test]
    fn two_records_join_in_either_order_to_the_same() {
        let (mut one, mut other) = (Purchases::default(), Purchases::default());
        one.add((0..20).map(bought).collect());
        other.add((15..60).map(bought).collect());
        let (mut left, mut right) = (one.clone(), other.clone());
        left.join(other);
        right.join(one);
        assert_eq!(left, right);
        assert_eq!(left.latest.len(), REMEMBERED_MAX);
        assert_eq!(left.count(), 65, "what one of them had forgotten cannot be told from another");
    }

    #[test]
    fn what_both_records_remember_counts_once() {
        let (mut one, mut other) = (Purchases::default(), Purchases::default());
        one.add((0..3).map(bought).collect());
        other.add((2..5).map(bought).collect());
        one.join(other);
        assert_eq!((one.count(), one.total_cents()), (5, 500));
    }

    #[test]
    fn purchases_survive_packing() {
        let mut purchases = Purchases::default();
        purchases.add((0..40).map(bought).collect());
        let text = serde_json::to_string(&purchases).unwrap();
        assert_eq!(serde_json::from_str::<Purchases>(&text).unwrap(), purchases);
        assert!(serde_json::from_str::<Purchases>("[1,2,3]").is_err());
    }
}
