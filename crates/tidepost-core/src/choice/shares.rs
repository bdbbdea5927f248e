//! What each range of the ledger may send under a threshold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choice::histogram::Histogram;
use crate::choice::plan::{Edge, Threshold, is_drawn};
use crate::choice::rank::Rank;

/// What one range may send.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Share {
    /// Units in all.
    #[serde(rename = "u")]
    pub units: u64,
    /// By business line, of the offers at its threshold: how many still go, and how many are still to come.
    #[serde(rename = "e")]
    edges: BTreeMap<String, (u64, u64)>,
}

impl Share {
    /// Whether an offer goes, and if so takes its unit: every offer of the range is asked about once, in any order.
    ///
    /// Of the offers at the threshold exactly as many go as the range was given, each with the same chance: the draw is by
    /// the person's [`lot`](crate::choice::lot) against what still goes and what is still to come. When the range has more
    /// offers by now than were counted, it still sends no more than its units; when it has fewer, units are left.
    pub fn take(&mut self, threshold: &Threshold, rank: Rank, line: &str, lot: u64) -> bool {
        let (edge, bucket) = (threshold.edge(line), rank.bucket(threshold.shift));
        let goes = edge.is_below(bucket) || (edge.is_at(bucket) && self.draw(line, lot));
        if !goes || self.units == 0 {
            return false;
        }
        self.units -= 1;
        true
    }

    fn draw(&mut self, line: &str, lot: u64) -> bool {
        let Some((go, to_come)) = self.edges.get_mut(line) else { return false };
        let goes = is_drawn(lot, *go, *to_come);
        *to_come = to_come.saturating_sub(1);
        *go -= u64::from(goes);
        goes
    }
}

/// Shares the units of a threshold among the ranges whose offers were counted; in order, and together at most `units`.
#[must_use]
pub fn shares(ranges: &[Histogram], threshold: &Threshold, units: u64) -> Vec<Share> {
    let mut all: Vec<Share> =
        ranges.iter().map(|range| Share { units: above(range, threshold), ..Share::default() }).collect();
    let over = all.iter().map(|share| share.units).sum::<u64>();
    // A threshold that is older than the counts may let too many through.
    if over > units {
        let wanted: Vec<u64> = all.iter().map(|share| share.units).collect();
        for (share, fitting) in all.iter_mut().zip(apportion(units, &wanted)) {
            share.units = fitting;
        }
        return all;
    }
    let mut left = units - over;
    for (line, edge) in &threshold.lines {
        let counts: Vec<u64> = ranges.iter().map(|range| at(range, line, *edge, threshold.shift)).collect();
        let taken = apportion(edge.taken.min(left), &counts);
        left -= taken.iter().sum::<u64>();
        for ((share, go), of) in all.iter_mut().zip(taken).zip(counts) {
            share.units += go;
            if of > 0 {
                share.edges.insert(line.clone(), (go, of));
            }
        }
    }
    all
}

/// How many offers of a range lie above the threshold.
fn above(range: &Histogram, threshold: &Threshold) -> u64 {
    let by = threshold.shift.saturating_sub(range.shift());
    let count = |(line, buckets): (&str, &BTreeMap<u64, u64>)| -> u64 {
        let edge = threshold.edge(line);
        let better = buckets.iter().filter(|(bucket, _)| edge.is_below(**bucket >> by));
        better.map(|(_, count)| count).sum()
    };
    range.lines().map(count).sum()
}

/// How many offers of a line in a range lie in the threshold's bucket.
fn at(range: &Histogram, line: &str, edge: Edge, shift: u8) -> u64 {
    let by = shift.saturating_sub(range.shift());
    let own = range.lines().find(|(own, _)| *own == line);
    let counts = own.into_iter().flat_map(|(_, buckets)| buckets.iter());
    counts.filter(|(bucket, _)| edge.is_at(**bucket >> by)).map(|(_, count)| count).sum()
}

/// Parts of `total` in proportion to `counts`, in whole numbers that sum to it (or to the counts, when they are less), by
/// largest remainder; where remainders are equal the earlier part gets more.
pub(crate) fn apportion(total: u64, counts: &[u64]) -> Vec<u64> {
    let sum: u64 = counts.iter().sum();
    let total = total.min(sum);
    let product = |count: u64| u128::from(count) * u128::from(total);
    let divisor = u128::from(sum.max(1));
    let mut parts: Vec<u64> =
        counts.iter().map(|count| u64::try_from(product(*count) / divisor).unwrap_or(0)).collect();
    let mut by_remainder: Vec<(usize, u128)> =
        counts.iter().map(|count| product(*count) % divisor).enumerate().collect();
    by_remainder.sort_by_key(|(index, remainder)| (std::cmp::Reverse(*remainder), *index));
    let left = usize::try_from(total - parts.iter().sum::<u64>()).unwrap_or(0);
    for (index, _) in by_remainder.into_iter().take(left) {
        if let Some(part) = parts.get_mut(index) {
            *part += 1;
        }
    }
    parts
}
