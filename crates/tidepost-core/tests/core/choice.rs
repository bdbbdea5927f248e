//! Choice under scarcity, against plain references: sort everybody and take the best; hand out unit by unit.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use tidepost_core::category::Category;
use tidepost_core::choice::{BUCKETS_MAX, Histogram, Merit, Rank, Share, Threshold, lot, plan, shares};
use tidepost_core::ids::SubscriberId;

/// One offer to one person, in one range of the ledger.
#[derive(Clone, Debug)]
struct Offered {
    person: u32,
    lot: u64,
    range: usize,
    line: &'static str,
    merit: Merit,
}

impl Offered {
    fn rank(&self) -> Rank {
        Rank::new(&self.merit)
    }

    fn class(&self) -> (Category, Reverse<u8>) {
        (self.merit.category, Reverse(self.merit.priority))
    }
}

fn lot_of(person: u32) -> u64 {
    lot(b"window", &SubscriberId::new("shop", format!("o{person}")))
}

const RANGES: usize = 4;
const LINES: [&str; 4] = ["", "food", "retail", "travel"];

fn offered(lines: usize) -> impl Strategy<Value = Vec<Offered>> {
    let category = prop_oneof![Just(Category::Basic), Just(Category::Reminder), Just(Category::Marketing)];
    let worth = prop_oneof![Just(1.0), 0.0..2.0_f64, (0.0..12.0_f64).prop_map(f64::exp2)];
    let one = (category, prop_oneof![Just(50_u8), 0..3_u8], worth, 0..3_i64, 0..lines, 0..RANGES);
    proptest::collection::vec(one, 0..300).prop_map(|all| {
        let made = |(person, (category, priority, worth, day, line, range))| Offered {
            person,
            lot: lot_of(person),
            range,
            line: LINES[line],
            merit: Merit {
                category,
                priority,
                worth,
                deadline: Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap(),
            },
        };
        (0_u32..).zip(all).map(made).collect()
    })
}

/// None, or of the first so many lines.
fn weights() -> impl Strategy<Value = BTreeMap<String, f64>> {
    let weight = prop_oneof![Just(1.0), 0.1..10.0_f64];
    proptest::collection::vec(weight, 0..=4).prop_map(|all| LINES.map(String::from).into_iter().zip(all).collect())
}

fn counted(offers: &[Offered]) -> Vec<Histogram> {
    let mut ranges = vec![Histogram::default(); RANGES];
    for offer in offers {
        ranges[offer.range].add(offer.line, offer.rank());
    }
    ranges
}

fn merged<'a>(ranges: impl IntoIterator<Item = &'a Histogram>) -> Histogram {
    ranges.into_iter().fold(Histogram::default(), |mut sum, range| {
        sum.merge(range);
        sum
    })
}

/// Who goes, by the ranges' shares.
fn taken<'a>(offers: &'a [Offered], threshold: &Threshold, mut shares: Vec<Share>) -> Vec<&'a Offered> {
    let goes = |offer: &&Offered| shares[offer.range].take(threshold, offer.rank(), offer.line, offer.lot);
    offers.iter().filter(goes).collect()
}

fn chosen<'a>(offers: &'a [Offered], units: u64, weights: &BTreeMap<String, f64>) -> Vec<&'a Offered> {
    let ranges = counted(offers);
    let threshold = plan(&merged(&ranges), units, weights);
    taken(offers, &threshold, shares(&ranges, &threshold, units))
}

/// By category and priority: how many, and what they are worth.
fn sums<'a>(offers: impl IntoIterator<Item = &'a Offered>) -> BTreeMap<(Category, Reverse<u8>), (usize, f64)> {
    let mut sums = BTreeMap::new();
    for offer in offers {
        let (count, worth): &mut (usize, f64) = sums.entry(offer.class()).or_default();
        *count += 1;
        *worth += offer.merit.worth;
    }
    sums
}

fn best(mut offers: Vec<&Offered>, units: usize) -> Vec<&Offered> {
    offers.sort_by(|a, b| b.merit.compare(&a.merit));
    offers.truncate(units);
    offers
}

fn of_line<'a>(offers: &[&'a Offered], line: &str) -> Vec<&'a Offered> {
    offers.iter().copied().filter(|offer| offer.line == line).collect()
}

/// Weighted max-min, unit by unit.
fn handed_out(
    demands: &BTreeMap<&str, usize>,
    weights: &BTreeMap<String, f64>,
    units: usize,
) -> BTreeMap<String, usize> {
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..units {
        let level =
            |line: &str| (got.get(line).copied().unwrap_or(0) + 1) as f64 / weights.get(line).copied().unwrap_or(1.0);
        let wants = demands.iter().filter(|(line, demand)| got.get(**line).copied().unwrap_or(0) < **demand);
        let Some((line, _)) = wants.min_by(|(a, _), (b, _)| level(a).total_cmp(&level(b)).then_with(|| a.cmp(b)))
        else {
            break;
        };
        *got.entry((*line).to_owned()).or_default() += 1;
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every unit is used while there is demand, none is used twice, and each range keeps to its own.
    #[test]
    fn exactly_the_units_are_used(offers in offered(4), weights in weights(), units in 0..320_u64) {
        let ranges = counted(&offers);
        let threshold = plan(&merged(&ranges), units, &weights);
        let parts = shares(&ranges, &threshold, units);
        let expected = units.min(offers.len() as u64);
        prop_assert_eq!(parts.iter().map(|part| part.units).sum::<u64>(), expected);
        prop_assert_eq!(taken(&offers, &threshold, parts).len() as u64, expected);
    }

    /// By category, then priority, then the sum of worths within a hundredth of the exact best.
    #[test]
    fn one_line_gets_the_best_of_its_offers(offers in offered(1), units in 0..320_usize) {
        let ours = sums(chosen(&offers, units as u64, &BTreeMap::new()));
        let exact = sums(best(offers.iter().collect(), units));
        prop_assert_eq!(ours.keys().collect::<Vec<_>>(), exact.keys().collect::<Vec<_>>());
        for (class, (count, worth)) in &exact {
            prop_assert_eq!(ours[class].0, *count);
            prop_assert!(ours[class].1 >= 0.99 * worth, "{:?}: {} of {}", class, ours[class].1, worth);
        }
    }

    /// Where a category's priority (with weights: a category) does not go as a whole, its lines share it and each gets the
    /// best of its own.
    #[test]
    fn lines_share_by_weight_and_basic_does_not(offers in offered(4), weights in weights(), units in 0..320_usize) {
        let ours = chosen(&offers, units as u64, &weights);
        let mut left = units;
        let class_of = |offer: &Offered| (offer.merit.category, Reverse(if weights.is_empty() { offer.merit.priority } else { 0 }));
        let mut classes: Vec<_> = offers.iter().map(class_of).collect();
        classes.sort();
        classes.dedup();
        for class in classes {
            let of_class: Vec<&Offered> = offers.iter().filter(|offer| class_of(offer) == class).collect();
            let ours: Vec<&Offered> = ours.iter().copied().filter(|offer| class_of(offer) == class).collect();
            prop_assert_eq!(ours.len(), left.min(of_class.len()), "{:?}", class);
            let total = |offers: &[&Offered]| offers.iter().map(|offer| offer.merit.worth).sum::<f64>();
            if class.0 == Category::Basic {
                prop_assert!(total(&ours) >= 0.99 * total(&best(of_class.clone(), left)));
            } else {
                let demands = LINES.into_iter().map(|line| (line, of_line(&of_class, line).len())).collect();
                let fair = handed_out(&demands, &weights, left);
                for line in LINES {
                    let own = of_line(&ours, line);
                    prop_assert_eq!(own.len(), fair.get(line).copied().unwrap_or(0), "{:?} {:?}", class, line);
                    prop_assert!(total(&own) >= 0.99 * total(&best(of_line(&of_class, line), own.len())));
                }
            }
            left -= ours.len();
        }
    }

    #[test]
    fn the_order_of_adding_up_does_not_matter(offers in offered(4), order in Just([2, 0, 3, 1]).prop_shuffle(), units in 0..320_u64) {
        let ranges = counted(&offers);
        let forward = merged(&ranges);
        let shuffled = merged(order.iter().map(|index| &ranges[*index]));
        let halves = [merged(&ranges[..2]), merged(&ranges[2..])];
        prop_assert_eq!(&shuffled, &forward);
        prop_assert_eq!(&merged(halves.iter().rev()), &forward);
        let stored: Histogram = serde_json::from_str(&serde_json::to_string(&forward).unwrap()).unwrap();
        prop_assert_eq!(&stored, &forward);
        prop_assert_eq!(plan(&stored, units, &BTreeMap::new()), plan(&forward, units, &BTreeMap::new()));
    }

    /// What goes with some units goes with more; what is better goes if what is worse does.
    #[test]
    fn more_units_and_better_offers_never_lose(offers in offered(4), weights in weights(), units in 0..320_u64, more in 0..40_u64) {
        let all = merged(&counted(&offers));
        let (few, many) = (plan(&all, units, &weights), plan(&all, units + more, &weights));
        for offer in &offers {
            let goes = |threshold: &Threshold| threshold.admits(offer.rank(), offer.line, offer.lot);
            prop_assert!(!goes(&few) || goes(&many), "{:?}", offer);
            for better in offers.iter().filter(|other| other.line == offer.line && other.rank() > offer.rank()) {
                prop_assert!(!goes(&few) || few.admits(better.rank(), better.line, better.lot), "{:?}", better);
            }
        }
    }

    /// Counts that are older than the people they were taken of cost units or leave them, and never go beyond.
    #[test]
    fn people_who_changed_since_they_were_counted_do_not_break_the_budget(
        offers in offered(4), since in offered(4), units in 0..320_u64,
    ) {
        let ranges = counted(&offers);
        let threshold = plan(&merged(&ranges), units, &BTreeMap::new());
        prop_assert!(taken(&since, &threshold, shares(&ranges, &threshold, units)).len() as u64 <= units);
        let later = shares(&counted(&since), &threshold, units);
        prop_assert!(later.iter().map(|share| share.units).sum::<u64>() <= units);
        prop_assert!(taken(&since, &threshold, later).len() as u64 <= units);
    }
}

fn offers_of(line: &'static str, count: u32, worth: impl Fn(u32) -> f64) -> Vec<Offered> {
    let deadline = Timestamp::from_second(1_800_000_000).unwrap();
    let merit = |worth| Merit { category: Category::Reminder, priority: 50, worth, deadline };
    let one = |person| Offered {
        person,
        lot: lot_of(person),
        range: person as usize % RANGES,
        line,
        merit: merit(worth(person)),
    };
    (0..count).map(one).collect()
}

#[test]
fn a_line_with_a_hundred_times_the_demand_does_not_starve_another() {
    let mut offers = offers_of("retail", 100_000, |_| 5.0);
    offers.extend(offers_of("food", 1_000, |_| 1.0));
    offers.extend(offers_of("travel", 40, |_| 1.0));
    let weights = BTreeMap::from([("retail".to_owned(), 3.0), ("food".to_owned(), 1.0)]);
    let chosen = chosen(&offers, 1_240, &weights);
    let got = |line: &str| chosen.iter().filter(|offer| offer.line == line).count() as f64;
    assert_eq!(got("travel"), 40.0, "what a line does not use goes to the others");
    let per_weight = [got("retail") / 3.0, got("food")];
    let jain = per_weight.iter().sum::<f64>().powi(2) / (2.0 * per_weight.iter().map(|x| x * x).sum::<f64>());
    assert!(jain >= 0.99, "{per_weight:?}");
    assert_eq!(chosen.len(), 1_240);
}

#[test]
fn what_is_as_good_is_drawn_evenly_and_the_same_again() {
    let offers = offers_of("", 20_000, |_| 1.0);
    let first = chosen(&offers, 5_000, &BTreeMap::new());
    assert_eq!(first.len(), 5_000);
    let in_first_half = first.iter().filter(|offer| offer.person < 10_000).count();
    assert!((2_300..2_700).contains(&in_first_half), "{in_first_half}");
    let again: Vec<u32> = chosen(&offers, 5_000, &BTreeMap::new()).iter().map(|offer| offer.person).collect();
    assert_eq!(first.iter().map(|offer| offer.person).collect::<Vec<_>>(), again);
}

#[test]
fn a_histogram_stays_small_however_different_its_offers_are() {
    let worth = |person: u32| f64::from(person * 7_919 % 100_003) + 0.5;
    let mut offers = offers_of("retail", 50_000, worth);
    for offer in &mut offers {
        offer.merit.deadline = Timestamp::from_second(1_800_000_000 + i64::from(offer.person)).unwrap();
    }
    let all = merged(&counted(&offers));
    let size_bytes = serde_json::to_vec(&all).unwrap().len();
    assert!(size_bytes < 5 * 4 * BUCKETS_MAX, "{size_bytes} bytes of JSON");
    assert_eq!(all.total(), 50_000);
    let ours = sums(chosen(&offers, 10_000, &BTreeMap::new()));
    let exact = sums(best(offers.iter().collect(), 10_000));
    for (class, (_, worth)) in exact {
        assert!(ours[&class].1 >= 0.99 * worth);
    }
}
