//! Quintiles of recency, frequency and monetary value against a plain computation over sorted lists.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use tidepost_core::ids::SubscriberId;
use tidepost_core::person::Person;
use tidepost_core::purchase::{Purchase, Purchases, parse_cents};
use tidepost_core::rfm::Histograms;
use tidepost_core::segment::{Facts, Segment};

/// Days since the last purchase, number, cents.
type Buyer = (i64, i64, i64);

/// The day from which the plain computation looks back; any day after all purchases gives the same.
const TODAY: i64 = 20_000;

const DAY_SECONDS: i64 = 86_400;

fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").unwrap()
}

/// A person who bought `count` times, last `days` before today, for `cents` in all.
fn purchases_of((days, count, cents): Buyer) -> Purchases {
    let mut purchases = Purchases::default();
    for number in 0..count {
        let midday = (TODAY - days) * DAY_SECONDS + 4 * 3_600 - number;
        let part = if number == 0 { cents } else { 0 };
        let at = Timestamp::from_second(midday).unwrap();
        purchases.add(vec![Purchase::new(&number.to_string(), at, u32::try_from(part).unwrap())]);
    }
    purchases
}

/// Everybody's quintiles: sorts each dimension and looks up, for each q in turn, the smallest value that at least q/5 of
/// all do not exceed.
fn plain(all: &[Buyer]) -> Vec<(u8, u8, u8)> {
    let column = |pick: fn(&Buyer) -> i64| {
        let values: Vec<i64> = all.iter().map(pick).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let cuts: Vec<i64> = (1..=5).map(|q| sorted[(sorted.len() * q).div_ceil(5) - 1]).collect();
        values.into_iter().map(move |value| (1..=5_u8).zip(&cuts).find(|(_, cut)| value <= **cut).unwrap().0)
    };
    let (days, counts, cents) = (column(|buyer| buyer.0), column(|buyer| buyer.1), column(|buyer| buyer.2));
    days.zip(counts).zip(cents).map(|((days, count), cents)| (6 - days, count, cents)).collect()
}

fn counted(people: &[Purchases]) -> Histograms {
    let mut histograms = Histograms::default();
    people.iter().for_each(|purchases| histograms.add(purchases, &zone()));
    histograms
}

proptest! {
    #[test]
    fn quintiles_are_those_of_a_sorted_list(buyers in prop::collection::vec((0_i64..30, 1_i64..6, 0_i64..40), 1..60)) {
        let people: Vec<Purchases> = buyers.iter().map(|buyer| purchases_of(*buyer)).collect();
        let cuts = counted(&people).cuts().unwrap();
        for (expected, purchases) in plain(&buyers).into_iter().zip(&people) {
            let ours = cuts.quintiles(purchases, &zone()).unwrap();
            prop_assert_eq!((ours.recency, ours.frequency, ours.monetary), expected);
        }
    }

    #[test]
    fn parts_merge_and_are_stored_without_a_loss(
        buyers in prop::collection::vec((0_i64..20_000, 1_i64..6, 0_i64..1_000_000_000), 0..60),
        split in any::<prop::sample::Index>(),
    ) {
        let people: Vec<Purchases> = buyers.iter().map(|buyer| purchases_of(*buyer)).collect();
        let (one, other) = people.split_at(split.index(people.len() + 1));
        let mut merged = counted(other);
        merged.merge(&counted(one));
        prop_assert_eq!(&merged, &counted(&people));
        prop_assert_eq!(merged.people(), buyers.len() as u64);
        let stored = serde_json::to_string(&merged).unwrap();
        prop_assert_eq!(serde_json::from_str::<Histograms>(&stored).unwrap(), merged);
    }
}

#[test]
fn who_bought_nothing_has_no_quintile_and_is_not_counted() {
    let mut histograms = Histograms::default();
    histograms.add(&Purchases::default(), &zone());
    assert_eq!((histograms.people(), histograms.cuts()), (0, None));
    histograms.add(&purchases_of((3, 1, 100)), &zone());
    let cuts = histograms.cuts().unwrap();
    assert_eq!(cuts.quintiles(&Purchases::default(), &zone()), None);
    let only = cuts.quintiles(&purchases_of((3, 1, 100)), &zone()).unwrap();
    assert_eq!((only.recency, only.frequency, only.monetary), (5, 1, 1), "the only buyer of all");
}

#[test]
fn the_best_five_of_five_are_told_apart() {
    let buyers: Vec<Buyer> = (1..=5).map(|number| (10 * number, number, 100 * number)).collect();
    let people: Vec<Purchases> = buyers.iter().map(|buyer| purchases_of(*buyer)).collect();
    let cuts = counted(&people).cuts().unwrap();
    let ours = people.iter().map(|purchases| cuts.quintiles(purchases, &zone()).unwrap());
    let ours: Vec<(u8, u8, u8)> = ours.map(|one| (one.recency, one.frequency, one.monetary)).collect();
    assert_eq!(ours, [(5, 1, 1), (4, 2, 2), (3, 3, 3), (2, 4, 4), (1, 5, 5)]);
}

/// Real purchases: customer, date, number of records, dollars.
#[test]
fn quintiles_of_real_customers_are_those_of_a_sorted_list() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cdnow_transactions.txt");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: {} is not there", file.display());
        return;
    };
    let today: Date = "1998-07-01".parse().unwrap();
    let mut customers: BTreeMap<&str, (Purchases, Buyer)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let [customer, date, _, dollars] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let date = Date::strptime("%Y%m%d", date).unwrap();
        let midnight = date.to_zoned(zone()).unwrap().timestamp();
        let cents = parse_cents(dollars).unwrap();
        let (purchases, buyer) = customers.entry(customer).or_insert((Purchases::default(), (i64::MAX, 0, 0)));
        purchases.add(vec![Purchase::new(&number.to_string(), midnight, cents)]);
        let days = i64::from(date.until(today).unwrap().get_days());
        *buyer = (buyer.0.min(days), buyer.1 + 1, buyer.2 + i64::from(cents));
    }
    let people: Vec<Purchases> = customers.values().map(|(purchases, _)| purchases.clone()).collect();
    let cuts = counted(&people).cuts().unwrap();
    let expected = plain(&customers.values().map(|(_, buyer)| *buyer).collect::<Vec<_>>());
    let highest = Segment::parse("rfm.monetary = 5").unwrap();
    let now = Timestamp::from_second(TODAY * DAY_SECONDS).unwrap();
    let mut monetary = [0; 5];
    for (purchases, expected) in people.iter().zip(expected) {
        let ours = cuts.quintiles(purchases, &zone()).unwrap();
        assert_eq!((ours.recency, ours.frequency, ours.monetary), expected);
        monetary[usize::from(ours.monetary) - 1] += 1;
        let person = Person { purchases: purchases.clone(), ..Person::new(&SubscriberId::new("shop", "o1")) };
        let subscriber = &person.subscribers[0];
        let facts = Facts { person: &person, subscriber, cuts: Some(&cuts), zone: &zone(), now };
        assert_eq!(highest.matches(&facts), expected.2 == 5);
    }
    println!("{} customers, by monetary quintile {monetary:?}", people.len());
    assert_eq!(people.len(), 23_570);
}
