//! How many of each business line's best go in each range.

use std::collections::BTreeMap;

use crate::choice::histogram::Histogram;
use crate::choice::plan::Threshold;
use crate::choice::shares::apportion;

/// Shares the units of a threshold among the ranges whose offers were counted for it; in order, by business line.
///
/// A range that sends its best first needs no more than these numbers.
#[must_use]
pub fn portions(ranges: &[Histogram], threshold: &Threshold, units: u64) -> Vec<BTreeMap<String, u64>> {
    let mut all: Vec<BTreeMap<String, u64>> = ranges.iter().map(|range| above(range, threshold)).collect();
    let mut left = units.saturating_sub(all.iter().flat_map(BTreeMap::values).sum());
    for (line, edge) in &threshold.lines {
        let at_edge = |range: &Histogram| {
            let by = threshold.shift.saturating_sub(range.shift());
            let own = range.lines().find(|(own, _)| own == line);
            let buckets = own.into_iter().flat_map(|(_, buckets)| buckets.iter());
            buckets.filter(|(bucket, _)| edge.is_at(**bucket >> by)).map(|(_, count)| count).sum()
        };
        let counts: Vec<u64> = ranges.iter().map(at_edge).collect();
        for (portion, share) in all.iter_mut().zip(apportion(edge.taken.min(left), &counts)) {
            left -= share;
            *portion.entry(line.clone()).or_default() += share;
        }
    }
    all
}

/// How many offers of each line lie above the threshold.
fn above(range: &Histogram, threshold: &Threshold) -> BTreeMap<String, u64> {
    let by = threshold.shift.saturating_sub(range.shift());
    let count = |(line, buckets): (&str, &BTreeMap<u64, u64>)| {
        let edge = threshold.edge(line);
        let better = buckets.iter().filter(|(bucket, _)| edge.is_below(**bucket >> by));
        (line.to_owned(), better.map(|(_, count)| count).sum())
    };
    range.lines().map(count).collect()
}
