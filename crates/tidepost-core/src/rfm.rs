//! Recency, frequency and monetary value of a channel's buyers, as quintiles 1 to 5 of which 5 is the best.
//!
//! Only people who bought something are counted and have quintiles. Each dimension is counted exactly: how many people
//! have each day of the last purchase, each number of purchases, each sum. With F(v) the share of buyers whose value is at
//! most v, the cut of q = 1 to 4 is the smallest value v with F(v) ≥ q/5, and a person's quintile is the smallest q whose
//! cut is not below their value, or 5. So equal values always share a quintile, and a value that very many people have
//! (one purchase) takes the lowest quintile it reaches and leaves the ones above it empty.
//!
//! Recency follows the custom of the field: few days since the last purchase are good. The days are ranked like every
//! other value, and the score is 6 minus that quintile. Days are kept as days of the calendar, not as distances to a today:
//! the order is the same, and passes over different shards may run on different days.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::purchase::Purchases;
use crate::time::local_day;

/// Cuts between five quintiles.
const CUTS: usize = 4;

/// How many buyers have which value, in each dimension. Parts counted apart can be merged in any order.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Histograms {
    /// Day of the last purchase, counted from 1970-01-01.
    #[serde(rename = "d")]
    days: Counts,
    /// Number of purchases.
    #[serde(rename = "n")]
    counts: Counts,
    /// Sum of all purchases, in cents.
    #[serde(rename = "c")]
    cents: Counts,
}

impl Histograms {
    /// Counts one person; a person without purchases is not counted. `zone` is the channel's.
    pub fn add(&mut self, purchases: &Purchases, zone: &TimeZone) {
        let Some(values) = Values::of(purchases, zone) else { return };
        self.days.add(values.day, 1);
        self.counts.add(values.count, 1);
        self.cents.add(values.cents, 1);
    }

    /// Counts everybody whom `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in
            [(&mut self.days, &other.days), (&mut self.counts, &other.counts), (&mut self.cents, &other.cents)]
        {
            for (value, people) in &theirs.0 {
                ours.add(*value, *people);
            }
        }
    }

    /// How many people were counted.
    #[must_use]
    pub fn people(&self) -> u64 {
        self.counts.people()
    }

    /// Where the quintiles meet; `None` while nobody was counted.
    #[must_use]
    pub fn cuts(&self) -> Option<Cuts> {
        let counts = cuts(self.counts.people(), self.counts.0.iter())?;
        let cents = cuts(self.cents.people(), self.cents.0.iter())?;
        let days = cuts(self.days.people(), self.days.0.iter().rev())?;
        Some(Cuts { days, counts, cents })
    }
}

/// The first values, in the order given, at which at least 1/5, 2/5, 3/5 and 4/5 of `people` are counted.
fn cuts<'a>(people: u64, counted: impl Iterator<Item = (&'a u64, &'a u64)>) -> Option<[u64; CUTS]> {
    let mut cuts = [None; CUTS];
    let mut sum = 0_u64;
    for (value, count) in counted {
        sum = sum.saturating_add(*count);
        for (cut, q) in cuts.iter_mut().zip(1_u64..) {
            if cut.is_none() && sum.saturating_mul(5) >= people.saturating_mul(q) {
                *cut = Some(*value);
            }
        }
    }
    let [Some(first), Some(second), Some(third), Some(fourth)] = cuts else { return None };
    Some([first, second, third, fourth])
}

/// One buyer in the three dimensions.
struct Values {
    day: u64,
    count: u64,
    cents: u64,
}

impl Values {
    fn of(purchases: &Purchases, zone: &TimeZone) -> Option<Self> {
        let day = local_day(zone, i64::from(purchases.last_at()?));
        Some(Self {
            day: u64::try_from(day).unwrap_or(0),
            count: u64::from(purchases.count()),
            cents: purchases.total_cents(),
        })
    }
}

/// Where the quintiles of a channel's buyers meet. They do not age: only new purchases move them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cuts {
    /// Days of the last purchase, best first.
    #[serde(rename = "d")]
    days: [u64; CUTS],
    #[serde(rename = "n")]
    counts: [u64; CUTS],
    #[serde(rename = "c")]
    cents: [u64; CUTS],
}

impl Cuts {
    /// A person's quintiles; `None` without purchases. `zone` is the one the people were counted in.
    #[must_use]
    pub fn quintiles(&self, purchases: &Purchases, zone: &TimeZone) -> Option<Quintiles> {
        let values = Values::of(purchases, zone)?;
        Some(Quintiles {
            recency: 6 - quintile(self.days.iter().filter(|cut| values.day < **cut)),
            frequency: quintile(self.counts.iter().filter(|cut| **cut < values.count)),
            monetary: quintile(self.cents.iter().filter(|cut| **cut < values.cents)),
        })
    }
}

/// The quintile of a value that lies beyond `passed` cuts.
fn quintile<'a>(passed: impl Iterator<Item = &'a u64>) -> u8 {
    passed.fold(1, |quintile, _| quintile + 1)
}

/// Where a buyer stands among all buyers of the channel: 1 to 5, and 5 is the best.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quintiles {
    /// 5: bought most recently.
    pub recency: u8,
    /// 5: bought most often.
    pub frequency: u8,
    /// 5: spent most.
    pub monetary: u8,
}

/// How many people have each value.
///
/// Packed in the order of the values, each as its distance to the one before and its count: in one byte while both are
/// below 16, with a variable-length number behind it for each that is not. The sums of 1,000,000 people (log-normal, median
/// 50.00) take 87 KB.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Counts(BTreeMap<u64, u64>);

/// What does not fit the half of a byte.
const LONG: u64 = 15;

impl Counts {
    fn add(&mut self, value: u64, people: u64) {
        let counted = self.0.entry(value).or_default();
        *counted = counted.saturating_add(people);
    }

    fn people(&self) -> u64 {
        self.0.values().fold(0, |sum, people| sum.saturating_add(*people))
    }

    fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.0.len() * 2);
        let mut next = 0;
        for (value, people) in &self.0 {
            let (skipped, more) = (value - next, people - 1);
            let (high, low) = (skipped.min(LONG), more.min(LONG));
            packed.extend(u8::try_from(high << 4 | low));
            for (long, number) in [(high, skipped), (low, more)] {
                if long == LONG {
                    write_number(&mut packed, number - LONG);
                }
            }
            next = value.saturating_add(1);
        }
        packed
    }

    fn unpack(mut packed: &[u8]) -> Option<Self> {
        let mut counts = BTreeMap::new();
        let mut next = 0_u64;
        while let Some((first, rest)) = packed.split_first() {
            packed = rest;
            let mut halves = [u64::from(first >> 4), u64::from(first & 15)];
            for half in halves.iter_mut().filter(|half| **half == LONG) {
                *half = LONG.checked_add(read_number(&mut packed)?)?;
            }
            let [skipped, more] = halves;
            let value = next.checked_add(skipped)?;
            counts.insert(value, more.checked_add(1)?);
            next = value.saturating_add(1);
        }
        Some(Self(counts))
    }
}

/// Seven bits to a byte, the lowest first; the top bit says that more follow.
fn write_number(packed: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        packed.extend(u8::try_from(number & 0x7f).map(|low| low | 0x80));
        number >>= 7;
    }
    packed.extend(u8::try_from(number));
}

fn read_number(packed: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|moved| moved >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.pack())
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        Self::unpack(&packed).ok_or_else(|| serde::de::Error::custom("a histogram of an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums of a million people, log-normal around 50.00, drawn by a small generator of pseudo-random numbers.
    fn million() -> Counts {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
            let number = ((state >> 11) as f64 + 0.5) / 2_f64.powi(53);
            number
        };
        let mut counts = Counts::default();
        for _ in 0..1_000_000 {
            let normal: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
            counts.add((5_000.0 * (1.2 * normal).exp()) as u64, 1);
        }
        counts
    }

    #[test]
    fn the_sums_of_a_million_people_stay_small() {
        let counts = million();
        let packed = counts.pack();
        println!("{} values of {} people in {} bytes", counts.0.len(), counts.people(), packed.len());
        assert!(packed.len() < 90_000, "{} bytes", packed.len());
        assert_eq!(Counts::unpack(&packed), Some(counts));
    }

    #[test]
    fn the_largest_numbers_survive_packing() {
        let counts = Counts(BTreeMap::from([(0, u64::MAX), (14, 15), (30, 16), (u64::MAX, 1)]));
        assert_eq!(Counts::unpack(&counts.pack()), Some(counts));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let endless = [0xff; 12];
        for packed in [&[0xf0][..], &[0x0f, 0x80], &endless] {
            assert_eq!(Counts::unpack(packed), None, "{packed:?}");
        }
    }
}
