//! Corners of the ledger that were wrong once: each test says what holds now.

use jiff::{Timestamp, ToSpan};
use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::decide::{Case, Hold, Offer, decide};
use tidepost_core::dispatch::{Reserved, Settlement, Step, may_repeat, reserve, settle};
use tidepost_core::grant::{Consent, Source, Terms};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::person::{Answer, Heard, HeardStatus, Person};
use tidepost_core::template::{Template, TemplateKind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_230_000 + second).unwrap()
}

fn heard(event: u8, kind: TemplateKind, consent: Consent, expires_at: Option<Timestamp>) -> Heard {
    Heard {
        event: [event; 8],
        source: Source::Event,
        answers: vec![Answer { template: "T".into(), kind, consent, terms: Terms { expires_at, ..Terms::default() } }],
    }
}

#[test]
fn only_a_new_consent_replaces_a_tombstone() {
    let id = SubscriberId::new("shop", "o1");
    let mut person = Person::new(&id).erased(at(0));
    person.hear(&id, &heard(1, TemplateKind::OneTime, Consent::Reject, None), at(1));
    assert!(person.erased_at.is_some());
    person.hear(&id, &heard(2, TemplateKind::OneTime, Consent::Accept, None), at(2));
    assert!(person.erased_at.is_none());
}

#[test]
fn a_long_term_consent_given_anew_counts() {
    let id = SubscriberId::new("shop", "o1");
    let mut person = Person::new(&id);
    // For example given when the template was still a one-time template.
    person.hear(&id, &heard(1, TemplateKind::OneTime, Consent::Accept, Some(at(60))), at(0));
    let told = person.hear(&id, &heard(2, TemplateKind::LongTerm, Consent::Accept, None), at(120));
    assert_eq!(told, [HeardStatus::Granted { available: 1 }]);
}

#[test]
fn the_order_of_joins_does_not_matter_to_the_zone() {
    let record = |channel: &str, zone: &str| {
        let mut person = Person::new(&SubscriberId::new(channel, "o1"));
        person.time_zone = Some(zone.to_owned());
        person
    };
    let (mut one, mut other) = (record("shop", "Asia/Urumqi"), record("club", "Europe/Berlin"));
    let first = one.clone();
    one.join(other.clone());
    other.join(first);
    assert_eq!(one.time_zone, other.time_zone);
}

/// A channel with a cap a day in UTC and a gap of ten minutes; a person with three consents.
struct World {
    channel: Channel,
    template: Template,
    health: Health,
    person: Person,
}

impl World {
    fn new() -> Self {
        let channel = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S","time_zone":"UTC",
            "policy":{"quiet_hours":null,"minimum_gap_seconds":600,"caps":[{"scope":"subscriber","per":"day","limit":5}]}}"#;
        let template = r#"{"title":"t","category":"basic","fields":[{"key":"thing1"}]}"#;
        let id = SubscriberId::new("shop", "o1");
        let mut person = Person::new(&id);
        for event in 0..3 {
            person.hear(&id, &heard(event, TemplateKind::OneTime, Consent::Accept, None), at(0));
        }
        Self {
            channel: serde_json::from_str(channel).unwrap(),
            template: serde_json::from_str(template).unwrap(),
            health: Health::default(),
            person,
        }
    }

    fn case<'a>(&'a self, offer: &'a Offer, now: Timestamp) -> Case<'a> {
        Case {
            person: &self.person,
            offer,
            channel: &self.channel,
            health: &self.health,
            template: &self.template,
            now,
        }
    }

    fn reserve(&mut self, offer: &Offer, nonce: u8, now: Timestamp) -> Reserved {
        let Step::Swap(reserved) = reserve(&self.case(offer, now), Nonce([nonce; 8]), None) else {
            panic!("nothing stands in the way");
        };
        self.person = reserved.person.clone();
        *reserved
    }

    /// A first try whose outcome is unknown, and the second try.
    fn try_twice(&mut self, offer: &Offer, first: Timestamp, second: Timestamp) -> Reserved {
        self.reserve(offer, 1, first);
        self.person = may_repeat(&self.person, offer.id, Nonce([1; 8])).unwrap();
        self.reserve(offer, 2, second)
    }
}

fn offer(key: &str) -> Offer {
    Offer {
        id: MessageId::derive("shop", "k_1", key, at(0)),
        to: SubscriberId::new("shop", "o1"),
        template: "T".into(),
        category: Category::Basic,
        urgency: Urgency::Normal,
        topic: "orders".into(),
        business_line: None,
        not_before: None,
        not_after: at(0) + 48.hours(),
    }
}

#[test]
fn the_gap_is_kept_after_a_second_try() {
    let mut world = World::new();
    world.try_twice(&offer("a"), at(0), at(3_600));
    let next = offer("b");
    let hold = decide(&world.case(&next, at(3_660)));
    assert!(matches!(hold, Some(Hold::Wait { .. })), "a minute after the second try: {hold:?}");
}

#[test]
fn a_second_try_that_is_taken_back_gives_its_count_back_on_its_own_day() {
    let mut world = World::new();
    let (first, second) = ("2026-11-21T23:30:00Z".parse().unwrap(), "2026-11-22T00:30:00Z".parse().unwrap());
    let offer = offer("a");
    let reserved = world.try_twice(&offer, first, second);
    let (kind, nonce) = (TemplateKind::OneTime, Nonce([2; 8]));
    let undone = settle(&world.person, &offer, &world.channel, kind, nonce, &reserved.payment, Settlement::Undo);
    let (cap, zone) = (&world.channel.policy.caps[0], world.channel.zone());
    assert_eq!(undone.unwrap().counted(cap, "", &zone, second), 0);
}
