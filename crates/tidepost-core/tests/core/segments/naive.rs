//! Segments as plain trees over a plain world, read in the plainest way.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::Value;

use tidepost_core::grant::{Consent, Source, Terms};
use tidepost_core::ids::{CampaignId, SubscriberId};
use tidepost_core::person::{Answer, Heard, Person};
use tidepost_core::purchase::{Purchase, Purchases};
use tidepost_core::template::TemplateKind;

const TAGS: [&str; 3] = ["vip", "it's", "老客"];
const TEMPLATES: [&str; 2] = ["TMPL_A", "TMPL_B"];
const NUMBER_FIELDS: [&str; 6] = [
    "first_seen_days",
    "last_active_days",
    "purchases.frequency",
    "purchases.monetary",
    "purchases.recency",
    "rfm.monetary",
];
const OPS: [&str; 6] = ["=", "!=", "<", "<=", ">", ">="];

pub fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").unwrap()
}

/// Noon in Shanghai.
pub fn now() -> Timestamp {
    "2026-11-21T12:00:00+08:00".parse().unwrap()
}

fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn campaign(number: usize) -> CampaignId {
    CampaignId::derive("shop", "k_1", &number.to_string(), days_ago(30))
}

#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Text(String),
    Number(i64),
    Bool(bool),
}

impl Val {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::Number(number) => number.to_string(),
            Self::Bool(bool) => bool.to_string(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Bool(bool) => (*bool).into(),
        }
    }
}

/// One person and what the other buyers of the channel spent.
#[derive(Clone, Debug, Default)]
pub struct World {
    tags: BTreeSet<&'static str>,
    grants: BTreeSet<&'static str>,
    received: BTreeSet<usize>,
    clicked: BTreeSet<usize>,
    city: Option<Val>,
    born: Option<&'static str>,
    known_days: Option<i64>,
    active_days: Option<i64>,
    /// Days ago, cents; each at most once.
    purchases: Vec<(i64, u32)>,
    others: Vec<u32>,
}

impl World {
    /// Active today, known for a week, bought three days ago.
    pub fn example() -> Self {
        Self {
            city: Some(Val::Text("上海".to_owned())),
            born: Some("1990-05-01"),
            known_days: Some(7),
            active_days: Some(0),
            purchases: vec![(9, 1_000), (3, 1_933)],
            ..Self::default()
        }
    }

    pub fn person(&self) -> Person {
        let id = SubscriberId::new("shop", "o1");
        let mut person = Person::new(&id);
        person.tags = self.tags.iter().map(|tag| (*tag).to_owned()).collect();
        for template in &self.grants {
            let answer = Answer {
                template: (*template).to_owned(),
                kind: TemplateKind::OneTime,
                consent: Consent::Accept,
                terms: Terms::default(),
            };
            let event = tidepost_core::digest::short(&[template.as_bytes()]);
            person.hear(&id, &Heard { event, source: Source::Report, answers: vec![answer] }, days_ago(1));
        }
        person.attributes.extend(self.city.iter().map(|city| ("city".to_owned(), city.json())));
        person.attributes.extend(self.born.iter().map(|born| ("born".to_owned(), (*born).into())));
        self.known_days.iter().for_each(|days| person.activity.note_known(days_ago(*days)));
        self.active_days.iter().for_each(|days| person.activity.note_active(days_ago(*days)));
        for number in &self.received {
            person.activity.note_received(campaign(*number), 1_700_000_000);
        }
        // A click is activity too: one long ago changes neither the first nor the last sign of life.
        for number in &self.clicked {
            let at = days_ago(self.active_days.unwrap_or_default());
            person.activity.note_click(campaign(*number).occurrence(now()), at);
        }
        person.purchases = purchases(&self.purchases);
        person
    }

    pub fn others(&self) -> Vec<Purchases> {
        self.others.iter().map(|cents| purchases(&[(1, *cents)])).collect()
    }

    fn first_seen_days(&self) -> Option<i64> {
        self.known_days.into_iter().chain(self.active_days).max()
    }

    /// A field's value as a number of hundredths.
    fn number(&self, field: &str) -> Option<i64> {
        let cents: i64 = self.purchases.iter().map(|(_, cents)| i64::from(*cents)).sum();
        let whole = match field {
            "first_seen_days" => self.first_seen_days(),
            "last_active_days" => self.active_days,
            "purchases.frequency" => Some(self.purchases.len() as i64),
            "purchases.monetary" => return Some(cents),
            "purchases.recency" => self.purchases.iter().map(|(days, _)| *days).min(),
            "rfm.monetary" => (!self.purchases.is_empty()).then(|| self.quintile(cents)),
            other => panic!("{other}"),
        };
        whole.map(|number| 100 * number)
    }

    fn quintile(&self, mine: i64) -> i64 {
        let mut all: Vec<i64> = self.others.iter().map(|cents| i64::from(*cents)).chain([mine]).collect();
        all.sort_unstable();
        (1..=5).find(|q| mine <= all[(all.len() * q).div_ceil(5) - 1]).unwrap() as i64
    }
}

fn purchases(all: &[(i64, u32)]) -> Purchases {
    let mut purchases = Purchases::default();
    purchases.add(all.iter().map(|(days, cents)| Purchase::new(&days.to_string(), days_ago(*days), *cents)).collect());
    purchases
}

#[derive(Clone, Debug)]
pub enum Tree {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Tag(&'static str),
    Grant(&'static str),
    Received(usize),
    Clicked(usize),
    Ready(&'static str),
    City(&'static str, Val),
    CityIn(Vec<Val>),
    CityContains(String),
    CityExists,
    Number(&'static str, &'static str, i64),
    NumberExists(&'static str),
}

impl Tree {
    /// `not` and parentheses as deep as they may lie in each other.
    pub fn deepest() -> Self {
        let levels = tidepost_core::segment::DEPTH_MAX;
        (0..levels).fold(Self::CityExists, |tree, _| Self::Not(Box::new(tree)))
    }

    /// With all parentheses that there may be, and no space that need not be.
    pub fn text(&self) -> String {
        let join = |parts: &[Self], word: &str| {
            parts.iter().map(|part| format!("({})", part.text())).collect::<Vec<_>>().join(word)
        };
        match self {
            Self::And(parts) => join(parts, "and"),
            Self::Or(parts) => join(parts, "\nor\t"),
            Self::Not(part) if matches!(**part, Self::And(_) | Self::Or(_)) => format!("not({})", part.text()),
            Self::Not(part) => format!("not {}", part.text()),
            Self::Tag(tag) => format!("tag(\"{tag}\")"),
            Self::Grant(template) => format!("grant('{template}')"),
            Self::Received(number) => format!("received('{}')", campaign(*number)),
            Self::Clicked(number) => format!("clicked('{}')", campaign(*number)),
            Self::Ready(name) => (*name).to_owned(),
            Self::City(op, val) => format!("attributes.city{op}{}", val.text()),
            Self::CityIn(vals) => {
                format!("attributes.city in[{}]", vals.iter().map(Val::text).collect::<Vec<_>>().join(","))
            }
            Self::CityContains(text) => format!("attributes.city contains'{text}'"),
            Self::CityExists => "attributes.city exists".to_owned(),
            Self::Number(field, op, number) => format!("{field} {op} {number}"),
            Self::NumberExists(field) => format!("{field} exists"),
        }
    }

    pub fn holds(&self, world: &World) -> bool {
        let silent_days = world.active_days.or(world.first_seen_days());
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(world)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(world)),
            Self::Not(part) => !part.holds(world),
            Self::Tag(tag) => world.tags.contains(tag),
            Self::Grant(template) => world.grants.contains(template),
            Self::Received(number) => world.received.contains(number),
            Self::Clicked(number) => world.clicked.contains(number),
            Self::Ready("new") => world.first_seen_days().is_some_and(|days| days <= 6),
            Self::Ready("active") => world.active_days.is_some_and(|days| days <= 6),
            Self::Ready(_) => silent_days.is_some_and(|days| days > 6),
            Self::City(op, val) => match (&world.city, val) {
                (Some(Val::Text(ours)), Val::Text(theirs)) => compare(op, ours, theirs),
                (Some(Val::Number(ours)), Val::Number(theirs)) => compare(op, ours, theirs),
                (Some(Val::Bool(ours)), Val::Bool(theirs)) => compare(op, ours, theirs),
                _ => false,
            },
            Self::CityIn(vals) => world.city.as_ref().is_some_and(|city| vals.contains(city)),
            Self::CityContains(part) => matches!(&world.city, Some(Val::Text(city)) if city.contains(part.as_str())),
            Self::CityExists => world.city.is_some(),
            Self::Number(field, op, number) => {
                world.number(field).is_some_and(|value| compare(op, &value, &(100 * number)))
            }
            Self::NumberExists(field) => world.number(field).is_some(),
        }
    }
}

fn compare<T: PartialOrd>(op: &str, left: &T, right: &T) -> bool {
    match op {
        "=" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        other => panic!("{other}"),
    }
}

fn val() -> impl Strategy<Value = Val> + Clone {
    let text = prop::sample::select(vec!["上海", "北京", "海", "", "a\nb", "x'y"]);
    prop_oneof![
        3 => text.prop_map(|text| Val::Text(text.to_owned())),
        2 => (-2..3_i64).prop_map(Val::Number),
        1 => any::<bool>().prop_map(Val::Bool),
    ]
}

/// A comparison that the language allows: true and false have no order.
fn city() -> impl Strategy<Value = Tree> {
    (prop::sample::select(&OPS[..]), val()).prop_map(|(op, val)| match val {
        Val::Bool(_) if !matches!(op, "=" | "!=") => Tree::City("=", val),
        val => Tree::City(op, val),
    })
}

pub fn tree() -> impl Strategy<Value = Tree> {
    let number_field = prop::sample::select(&NUMBER_FIELDS[..]);
    let leaf = prop_oneof![
        prop::sample::select(&TAGS[..]).prop_map(Tree::Tag),
        prop::sample::select(&TEMPLATES[..]).prop_map(Tree::Grant),
        (0..2_usize).prop_map(Tree::Received),
        (0..2_usize).prop_map(Tree::Clicked),
        prop::sample::select(vec!["new", "active", "silent"]).prop_map(Tree::Ready),
        city(),
        prop::collection::vec(val(), 1..4).prop_map(Tree::CityIn),
        prop::sample::select(vec!["海", "", "q"]).prop_map(|part| Tree::CityContains(part.to_owned())),
        Just(Tree::CityExists),
        (number_field.clone(), prop::sample::select(&OPS[..]), -1..12_i64)
            .prop_map(|(field, op, number)| Tree::Number(field, op, number)),
        number_field.prop_map(Tree::NumberExists),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::Or),
            inner.prop_map(|part| Tree::Not(Box::new(part))),
        ]
    })
}

fn some_of<T: Clone + Ord + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = BTreeSet<T>> {
    let most = all.len();
    prop::sample::subsequence(all, 0..=most).prop_map(|some| some.into_iter().collect())
}

pub fn world() -> impl Strategy<Value = World> {
    let sets = (some_of(TAGS.to_vec()), some_of(TEMPLATES.to_vec()), some_of(vec![0, 1]), some_of(vec![0, 1]));
    let days = || prop::option::of(0..12_i64);
    let purchases = prop::collection::btree_map(0..12_i64, 0..600_u32, 0..4);
    let others = prop::collection::vec(0..1_200_u32, 0..6);
    (sets, prop::option::of(val()), days(), days(), purchases, others).prop_map(
        |((tags, grants, received, clicked), city, known_days, active_days, purchases, others)| World {
            tags,
            grants,
            received,
            // Who clicked was active.
            clicked: if active_days.is_some() { clicked } else { BTreeSet::new() },
            city,
            known_days,
            active_days,
            purchases: purchases.into_iter().collect(),
            others,
            ..World::default()
        },
    )
}
