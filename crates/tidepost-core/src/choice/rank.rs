//! Which offer is better.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::digest;
use crate::ids::SubscriberId;
use crate::sends::second;

/// What offers are compared by: category (`basic` first), then priority, then worth, then the earlier deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merit {
    /// The anti-disturbance class.
    pub category: Category,
    /// 0 to 100, higher goes first.
    pub priority: u8,
    /// The campaign's value times the rate at which people are expected to act on it.
    pub worth: f64,
    /// When the offer is worthless.
    pub deadline: Timestamp,
}

impl Merit {
    /// Compares two offers; the greater is the better.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        (other.category.cmp(&self.category))
            .then(self.priority.cmp(&other.priority))
            .then(self.worth.total_cmp(&other.worth))
            .then(other.deadline.cmp(&self.deadline))
    }
}

/// A [`Merit`] as one number, so that offers can be counted by it; the greater is the better.
///
/// From the top: 2 bits of category, 7 of priority, 18 of worth, 32 of deadline. The worth is kept to less than 0.8 % by
/// the first bits of its floating-point form, which order positive numbers and are the same on every machine.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Rank(u64);

/// Bits of the deadline.
pub(super) const DEADLINE_BITS: u8 = 32;

/// Bits of the worth: 11 of exponent and 7 of mantissa.
const WORTH_BITS: u8 = 18;

/// Bits below category and priority.
pub(super) const CLASS_SHIFT: u8 = DEADLINE_BITS + WORTH_BITS;

/// Bits below the category: there are 7 of priority.
pub(super) const CATEGORY_SHIFT: u8 = CLASS_SHIFT + 7;

/// The category bits of `basic`.
pub(super) const BASIC: u64 = 2;

impl Rank {
    /// The rank of an offer of this merit.
    #[must_use]
    pub fn new(merit: &Merit) -> Self {
        let category = match merit.category {
            Category::Basic => BASIC,
            Category::Reminder => 1,
            Category::Marketing => 0,
        };
        // Also catches what is no number.
        let worth = if merit.worth > 0.0 { merit.worth.to_bits() >> (63 - WORTH_BITS) } else { 0 };
        let priority = u64::from(merit.priority.min(100));
        let deadline = u64::from(!second(merit.deadline));
        Self(category << CATEGORY_SHIFT | priority << CLASS_SHIFT | worth << DEADLINE_BITS | deadline)
    }

    /// The rank without its `shift` lowest bits.
    pub(super) fn bucket(self, shift: u8) -> u64 {
        self.0 >> shift
    }
}

/// A person's lot in a draw: evenly spread, the same whenever it is drawn with the same seed.
#[must_use]
pub fn lot(seed: &[u8], to: &SubscriberId) -> u64 {
    u64::from_be_bytes(digest::short(&[seed, to.channel.as_bytes(), to.openid.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merit(category: Category, priority: u8, worth: f64, deadline: &str) -> Merit {
        Merit { category, priority, worth, deadline: deadline.parse().unwrap() }
    }

    #[test]
    fn category_then_priority_then_worth_then_deadline() {
        use Category::{Basic, Marketing, Reminder};
        let (soon, late) = ("2026-11-22T00:00:00Z", "2026-12-22T00:00:00Z");
        let best_first = [
            merit(Basic, 0, 0.0, late),
            merit(Reminder, 100, 0.0, late),
            merit(Reminder, 50, 1_000.0, late),
            merit(Reminder, 50, 1.01, late),
            merit(Reminder, 50, 1.0, soon),
            merit(Reminder, 50, 1.0, late),
            merit(Reminder, 50, 1e-300, soon),
            merit(Reminder, 50, 0.0, soon),
            merit(Marketing, 100, 1e300, soon),
        ];
        for pair in best_first.windows(2) {
            assert_eq!(pair[0].compare(&pair[1]), Ordering::Greater, "{pair:?}");
            assert!(Rank::new(&pair[0]) > Rank::new(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn worths_of_one_rank_differ_by_less_than_a_hundredth() {
        let deadline = "2026-11-22T00:00:00Z";
        let mut worth = 1e-9;
        while worth < 1e9 {
            let near = merit(Category::Reminder, 50, worth * 1.008, deadline);
            assert!(Rank::new(&near) > Rank::new(&merit(Category::Reminder, 50, worth, deadline)), "{worth}");
            worth *= 1.37;
        }
    }
}
