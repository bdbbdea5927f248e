//! Which offers go when a window cannot hold them all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::choice::histogram::Histogram;
use crate::choice::rank::{BASIC, CATEGORY_SHIFT, CLASS_SHIFT, Rank};

/// Where the line runs between what goes and what waits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Threshold {
    /// Bits of the ranks that it does not look at.
    #[serde(rename = "s")]
    pub(super) shift: u8,
    /// By business line.
    #[serde(rename = "l")]
    pub(super) lines: BTreeMap<String, Edge>,
    /// For business lines that were not there when it was planned.
    #[serde(rename = "o")]
    others: Edge,
}

/// The threshold of one business line.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Edge {
    /// The lowest bucket that goes as a whole, like all above.
    #[serde(rename = "b")]
    from: u64,
    /// How many go of the next bucket below.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub(super) taken: u64,
    /// How many there are in it.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    of: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Edge {
    const EVERYTHING: Self = Self { from: 0, taken: 0, of: 0 };

    /// All that is better than a class, and nothing of it.
    fn above(class: u64, width: u8) -> Self {
        Self { from: (class + 1) << width, taken: 0, of: 0 }
    }

    /// A class as a whole, and all that is better.
    fn with(class: u64, width: u8) -> Self {
        Self { from: class << width, taken: 0, of: 0 }
    }

    /// All above a bucket, and a part of it.
    fn within(bucket: u64, taken: u64, of: u64) -> Self {
        Self { from: bucket + 1, taken, of }
    }

    /// Whether a bucket goes as a whole.
    pub(super) fn is_below(self, bucket: u64) -> bool {
        bucket >= self.from
    }

    /// Whether a bucket goes in part.
    pub(super) fn is_at(self, bucket: u64) -> bool {
        self.taken > 0 && bucket + 1 == self.from
    }
}

impl Threshold {
    /// Whether an offer goes, in a draw: of a bucket that only partly goes, those whose [`lot`](crate::choice::lot) is low
    /// enough. A lot that goes with some units also goes with more.
    #[must_use]
    pub fn admits(&self, rank: Rank, line: &str, lot: u64) -> bool {
        let edge = self.edge(line);
        let bucket = rank.bucket(self.shift);
        edge.is_below(bucket) || (edge.is_at(bucket) && is_drawn(lot, edge.taken, edge.of))
    }

    pub(super) fn edge(&self, line: &str) -> Edge {
        self.lines.get(line).copied().unwrap_or(self.others)
    }
}

/// Whether a lot is among the first `taken` of `of`, which have all the same chance.
pub(super) fn is_drawn(lot: u64, taken: u64, of: u64) -> bool {
    u128::from(lot) * u128::from(of) < u128::from(taken) << 64
}

/// Shares `units` among all offers, the better category first, then the higher priority.
///
/// Where a category's priority does not go as a whole, its business lines share alike what is left: what a line does not use
/// is shared again among the others, and within its share the best offers of a line go. Where `weights` are given (1 for a
/// line that is not named) the lines share by them, and a whole category at a time: a line then has its part whatever
/// priority others claim. `basic` is outside all this: there the best go, whoever's they are.
#[must_use]
pub fn plan(offers: &Histogram, units: u64, weights: &BTreeMap<String, f64>) -> Threshold {
    let shift = offers.shift();
    // Offers whose ranks are the same from here up are shared among the lines.
    let class_shift = if weights.is_empty() { CLASS_SHIFT } else { CATEGORY_SHIFT };
    let width = class_shift - shift;
    let mut left = units;
    for class in classes(offers, width) {
        let demands: Vec<Demand<'_>> =
            offers.lines().map(|(line, buckets)| demand(line, buckets, class, width)).collect();
        let total: u64 = demands.iter().map(|demand| demand.total).sum();
        if total > left {
            let edges = if class >> (CATEGORY_SHIFT - class_shift) == BASIC {
                common_edge(&demands, left)
            } else {
                let shares = fair_shares(&demands, weights, left);
                demands.iter().zip(shares).map(|(demand, share)| demand.edge(share, class, width)).collect()
            };
            let lines = demands.iter().map(|demand| demand.line.to_owned()).zip(edges).collect();
            return Threshold { shift, lines, others: Edge::above(class, width) };
        }
        left -= total;
    }
    Threshold { shift, lines: BTreeMap::new(), others: Edge::EVERYTHING }
}

/// The ranks without their `width` lowest bits, the best first.
fn classes(offers: &Histogram, width: u8) -> impl Iterator<Item = u64> {
    let of_line = |(_, buckets): (_, &BTreeMap<u64, u64>)| -> BTreeSet<u64> {
        buckets.keys().map(|bucket| bucket >> width).collect()
    };
    offers.lines().flat_map(of_line).collect::<BTreeSet<u64>>().into_iter().rev()
}

/// What one business line asks for in one class.
struct Demand<'a> {
    line: &'a str,
    total: u64,
    /// The best first.
    buckets: Vec<(u64, u64)>,
}

fn demand<'a>(line: &'a str, buckets: &BTreeMap<u64, u64>, class: u64, width: u8) -> Demand<'a> {
    let (first, beyond) = (class << width, (class + 1) << width);
    let buckets: Vec<(u64, u64)> =
        buckets.range(first..beyond).rev().map(|(bucket, count)| (*bucket, *count)).collect();
    Demand { line, total: buckets.iter().map(|(_, count)| count).sum(), buckets }
}

impl Demand<'_> {
    /// The edge that lets the best `share` of the line through.
    fn edge(&self, share: u64, class: u64, width: u8) -> Edge {
        if self.total > 0 && share >= self.total {
            return Edge::with(class, width);
        }
        let mut left = share;
        for (bucket, count) in &self.buckets {
            if *count > left {
                return Edge::within(*bucket, left, *count);
            }
            left -= count;
        }
        Edge::above(class, width)
    }
}

/// One edge for all lines, for offers that are outside the weights: its bucket is shared in proportion.
fn common_edge(demands: &[Demand<'_>], units: u64) -> Vec<Edge> {
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for (bucket, count) in demands.iter().flat_map(|demand| &demand.buckets) {
        *all.entry(*bucket).or_default() += count;
    }
    let mut left = units;
    for (bucket, count) in all.into_iter().rev() {
        if count > left {
            let own = |demand: &Demand<'_>| {
                demand.buckets.iter().find(|(own, _)| *own == bucket).map_or(0, |(_, count)| *count)
            };
            let counts: Vec<u64> = demands.iter().map(own).collect();
            let taken = super::shares::apportion(left, &counts);
            return counts.into_iter().zip(taken).map(|(of, taken)| Edge::within(bucket, taken, of)).collect();
        }
        left -= count;
    }
    Vec::new()
}

/// Weighted max-min shares in whole units: as if each unit in turn went to the line that has least for its weight and
/// still wants more. Nobody's share shrinks when there are more units.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "units stay far below 2^52, and a level is never below 0"
)]
fn fair_shares(demands: &[Demand<'_>], weights: &BTreeMap<String, f64>, units: u64) -> Vec<u64> {
    let weight = |demand: &Demand<'_>| weights.get(demand.line).copied().filter(|weight| *weight > 0.0).unwrap_or(1.0);
    let weights: Vec<f64> = demands.iter().map(weight).collect();
    let at_level = |level: f64| -> Vec<u64> {
        demands.iter().zip(&weights).map(|(demand, weight)| demand.total.min((weight * level) as u64)).collect()
    };
    // The highest level to which all lines can be filled, by halving; then the few units that are left one by one.
    let lightest = weights.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut low, mut high) = (0.0, (units as f64 + 1.0) / lightest);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if at_level(middle).iter().sum::<u64>() <= units { low = middle } else { high = middle }
    }
    let mut shares = at_level(low);
    let mut left = units - shares.iter().sum::<u64>();
    while left > 0 {
        let wants =
            demands.iter().zip(&weights).zip(shares.iter_mut()).filter(|((demand, _), share)| **share < demand.total);
        let next = wants.min_by(|((a, weight_a), share_a), ((b, weight_b), share_b)| {
            let level = |share: u64, weight: f64| (share + 1) as f64 / weight;
            level(**share_a, **weight_a).total_cmp(&level(**share_b, **weight_b)).then_with(|| a.line.cmp(b.line))
        });
        let Some((_, share)) = next else { break };
        *share += 1;
        left -= 1;
    }
    shares
}

/// Halvings after which two levels are told apart as well as floating-point numbers can.
const HALVINGS: usize = 80;
