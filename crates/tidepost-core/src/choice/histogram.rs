//! How many offers there are of each rank and business line: all that is carried from range to plan.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::choice::rank::{CLASS_SHIFT, DEADLINE_BITS, Rank};

/// Buckets of one histogram at the most, over all business lines, as long as the lines are few (there is always one for
/// each line, category and priority). At about 5 bytes each it stays under 20 KB.
pub const BUCKETS_MAX: usize = 4_096;

/// Counts of offers by business line and rank.
///
/// Ranks are kept exactly while there are few; when there are too many, first their deadlines are forgotten, then one bit
/// of their worth after the other. How precise a sum is depends only on what is in it, not on the order of adding.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Histogram {
    /// Bits of the ranks that are forgotten.
    shift: u8,
    /// By line, then by what is left of the rank.
    lines: BTreeMap<String, BTreeMap<u64, u64>>,
    buckets: usize,
}

impl Histogram {
    /// Counts one offer of a business line (empty: of none).
    pub fn add(&mut self, line: &str, rank: Rank) {
        self.add_count(line, rank, 1);
    }

    /// Counts `count` offers of a business line that are equally good.
    pub fn add_count(&mut self, line: &str, rank: Rank, count: u64) {
        self.add_many(line, rank.bucket(self.shift), count);
        self.coarsen();
    }

    /// Adds up two histograms.
    pub fn merge(&mut self, other: &Self) {
        self.coarsen_to(other.shift);
        for (line, bucket, count) in other.iter() {
            self.add_many(line, bucket >> (self.shift - other.shift), count);
        }
        self.coarsen();
    }

    /// Offers in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, _, count)| count).sum()
    }

    /// Business lines with their buckets, the worst first, and the offers in each.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, &BTreeMap<u64, u64>)> {
        self.lines.iter().map(|(line, buckets)| (line.as_str(), buckets))
    }

    /// Bits of the ranks that are forgotten.
    pub(super) fn shift(&self) -> u8 {
        self.shift
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.lines().flat_map(|(line, buckets)| buckets.iter().map(move |(bucket, count)| (line, *bucket, *count)))
    }

    fn add_many(&mut self, line: &str, bucket: u64, count: u64) {
        if !self.lines.contains_key(line) {
            self.lines.insert(line.to_owned(), BTreeMap::new());
        }
        let Some(buckets) = self.lines.get_mut(line) else { return };
        let slot = buckets.entry(bucket).or_insert_with(|| {
            self.buckets += 1;
            0
        });
        *slot += count;
    }

    fn coarsen(&mut self) {
        while self.buckets > BUCKETS_MAX && self.shift < CLASS_SHIFT {
            self.coarsen_to(if self.shift < DEADLINE_BITS { DEADLINE_BITS } else { self.shift + 1 });
        }
    }

    fn coarsen_to(&mut self, shift: u8) {
        if shift <= self.shift {
            return;
        }
        let by = shift - self.shift;
        let fine = std::mem::take(self);
        self.shift = shift;
        for (line, bucket, count) in fine.iter() {
            self.add_many(line, bucket >> by, count);
        }
    }
}

/// The stored form: of each line the packed steps from bucket to bucket, each with its count.
#[derive(Deserialize, Serialize)]
struct Stored {
    #[serde(rename = "s")]
    shift: u8,
    #[serde(rename = "l")]
    lines: BTreeMap<String, Packed>,
}

struct Packed(Vec<u8>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::packed::bytes(deserializer).map(Self)
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pack = |buckets: &BTreeMap<u64, u64>| {
            let (mut packed, mut before) = (Vec::new(), 0);
            for (bucket, count) in buckets {
                push_number(&mut packed, bucket - before);
                push_number(&mut packed, *count);
                before = *bucket;
            }
            Packed(packed)
        };
        let lines = self.lines.iter().map(|(line, buckets)| (line.clone(), pack(buckets))).collect();
        Stored { shift: self.shift, lines }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let mut histogram = Self { shift: stored.shift, ..Self::default() };
        if stored.shift > CLASS_SHIFT {
            return Err(Error::custom("a histogram of an unknown form"));
        }
        for (line, Packed(packed)) in stored.lines {
            let (mut rest, mut bucket) = (packed.as_slice(), 0_u64);
            while !rest.is_empty() {
                let step = take_number(&mut rest).and_then(|step| bucket.checked_add(step));
                let (Some(next), Some(count)) = (step, take_number(&mut rest)) else {
                    return Err(Error::custom("a histogram that is cut off"));
                };
                bucket = next;
                histogram.add_many(&line, bucket, count);
            }
        }
        Ok(histogram)
    }
}

/// Seven bits to a byte, the lowest first; the eighth says that more follow (LEB128).
fn push_number(packed: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            packed.push(low);
            return;
        }
        packed.push(low | 0x80);
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
