//! The story: people answer the subscribe dialog, order, and are told about their orders. All of it from one seed.

use std::collections::BTreeMap;

use jiff::{Span, Timestamp, ToSpan};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::demo::shop::{CONFIRMED, SHIPPED};

/// When it begins: a Friday evening in Shanghai.
pub const OPENING: &str = "2026-03-20T20:00:10+08:00";

/// The story of one evening.
#[derive(Clone, Debug)]
pub struct Story {
    /// The people.
    pub people: Vec<Customer>,
    /// What they are sent, in the order in which the shop asks for it.
    pub messages: Vec<Telling>,
}

/// One person.
#[derive(Clone, Debug)]
pub struct Customer {
    /// The platform's name for them.
    pub openid: String,
    /// What they answered, by template.
    pub answers: BTreeMap<&'static str, &'static str>,
    /// Whether the mini-program's backend reports the same answers too.
    pub is_reported: bool,
    /// Whether they switch the topic of shipping off afterwards.
    pub mutes_shipping: bool,
}

/// One message that the shop asks for.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The Idempotency-Key, and the order number inside the message.
    pub key: String,
    /// To whom.
    pub openid: String,
    /// With which template.
    pub template: &'static str,
    /// Whether it is urgent and `basic`.
    pub is_urgent: bool,
    /// When the shop asks, after the opening.
    pub after: Span,
    /// How long it is worth anything.
    pub worth: Span,
    /// Whether the shop asks twice with the same key.
    pub is_repeated: bool,
}

impl Telling {
    /// When the shop asks for it.
    #[must_use]
    pub fn asked_at(&self, opening: Timestamp) -> Timestamp {
        opening.checked_add(self.after).unwrap_or(opening)
    }
}

/// Invents an evening for `people`.
#[must_use]
pub fn invent(people: usize, seed: u64) -> Story {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let people: Vec<Customer> = (0..people).map(|number| customer(number, &mut random)).collect();
    let mut messages = Vec::new();
    for (number, person) in people.iter().enumerate() {
        messages.push(confirmation(number, person, &mut random));
        messages.push(shipping(number, person, &mut random));
    }
    messages.sort_by_key(|message| message.after.total(jiff::Unit::Second).map_or(0, |seconds| seconds as i64));
    Story { people, messages }
}

fn customer(number: usize, random: &mut ChaCha8Rng) -> Customer {
    let mut answer = |accepts: f64| if random.random_bool(accepts) { "accept" } else { "reject" };
    let answers = BTreeMap::from([(CONFIRMED, answer(0.95)), (SHIPPED, answer(0.85))]);
    Customer {
        openid: format!("oDEMO{:07}{:012x}", number, random.random_range(0..1_u64 << 48)),
        answers,
        is_reported: random.random_bool(0.2),
        mutes_shipping: random.random_bool(0.02),
    }
}

fn confirmation(number: usize, person: &Customer, random: &mut ChaCha8Rng) -> Telling {
    Telling {
        key: format!("C{number:07}"),
        openid: person.openid.clone(),
        template: CONFIRMED,
        is_urgent: true,
        after: 0.seconds(),
        worth: 1.hour(),
        is_repeated: random.random_bool(0.03),
    }
}

/// A third at once, a third in the evening, a third at night; some are worthless before the morning comes.
fn shipping(number: usize, person: &Customer, random: &mut ChaCha8Rng) -> Telling {
    let after = [5.minutes(), 45.minutes(), 170.minutes()].choose(random).copied().unwrap_or_default();
    Telling {
        key: format!("S{number:07}"),
        openid: person.openid.clone(),
        template: SHIPPED,
        is_urgent: false,
        after,
        worth: if random.random_bool(0.05) { 3.hours() } else { 20.hours() },
        is_repeated: random.random_bool(0.03),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_story() {
        let keys = |seed| format!("{:?}", invent(50, seed));
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
    }
}
