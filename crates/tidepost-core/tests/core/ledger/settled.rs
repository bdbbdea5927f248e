//! Corners of the ledger that were wrong once: each test says what holds now.

use jiff::{Timestamp, ToSpan};
use tidepost_core::category::{Category, Urgency};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::decide::{Case, Hold, Offer, decide};
use tidepost_core::dispatch::{REPEAT_SECONDS, Reserved, Settlement, Step, may_repeat, reserve, settle};
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

#[test]
fn a_second_try_waits_for_the_event_on_the_first() {
    let mut world = World::new();
    world.channel.policy.minimum_gap_seconds = 0;
    let offer = offer("a");
    world.reserve(&offer, 1, at(0));
    world.person = may_repeat(&world.person, offer.id, Nonce([1; 8])).unwrap();
    let step = |offer: &Offer, now| reserve(&world.case(offer, now), Nonce([2; 8]), None);
    let until = at(REPEAT_SECONDS + 1);
    for now in [at(3), at(REPEAT_SECONDS)] {
        let Step::Held(Hold::Wait { until: told, .. }) = step(&offer, now) else { panic!("too soon at {now}") };
        assert_eq!(told, until);
    }
    assert!(matches!(step(&offer, until), Step::Swap(_)));
    let ends_before = Offer { not_after: until, ..offer };
    assert!(matches!(step(&ends_before, at(3)), Step::Held(Hold::Refuse(_))), "there is no time for it");
}

#[test]
fn a_cap_counts_what_other_channels_sent() {
    let mut world = World::new();
    world.channel.policy.minimum_gap_seconds = 0;
    let capped = world.channel.clone();
    world.channel.policy.caps.clear();
    let nonce = Nonce([9; 8]);
    for event in 3..9 {
        let id = SubscriberId::new("shop", "o1");
        world.person.hear(&id, &heard(event, TemplateKind::OneTime, Consent::Accept, None), at(0));
    }
    for key in ["a", "b", "c", "d", "e"] {
        world.reserve(&offer(key), 9, at(10));
    }
    let next = offer("f");
    assert_eq!(decide(&world.case(&next, at(20))), None, "this channel has no cap");
    let uncapped = std::mem::replace(&mut world.channel, capped);
    assert!(matches!(decide(&world.case(&next, at(20))), Some(Hold::Wait { .. })), "the other one has");
    // What is taken back on the channel without a cap counts no more on the one with it.
    let capped = std::mem::replace(&mut world.channel, uncapped);
    let payment = reserve(&world.case(&next, at(20)), nonce, None);
    let Step::Swap(reserved) = payment else { panic!("nothing stands in the way") };
    let counted = |person: &Person| person.counted(&capped.policy.caps[0], "", &capped.zone(), at(20));
    assert_eq!(counted(&reserved.person), 6);
    let kind = TemplateKind::OneTime;
    let undo = Settlement::Undo;
    let undone = settle(&reserved.person, &next, &world.channel, kind, nonce, &reserved.payment, undo).unwrap();
    assert_eq!(counted(&undone), 5);
}

#[test]
fn channels_in_other_zones_do_not_begin_the_count_anew() {
    let mut world = World::new();
    world.channel.policy.minimum_gap_seconds = 0;
    world.channel.policy.caps[0].limit = 2;
    // Noon in UTC is the 22nd in Auckland.
    let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    world.reserve(&offer("a"), 1, noon);
    world.channel.time_zone = "Pacific/Auckland".into();
    world.reserve(&offer("b"), 1, noon);
    world.channel.time_zone = "UTC".into();
    world.reserve(&offer("c"), 1, noon);
    let fourth = offer("d");
    assert!(decide(&world.case(&fourth, noon)).is_some(), "two were sent since Auckland's day began");
}

/// One answer, given at one second and heard at another.
fn told(person: &mut Person, event: u8, consent: Consent, given_at: i64, heard_at: i64) -> HeardStatus {
    let mut heard = heard(event, TemplateKind::OneTime, consent, None);
    heard.answers[0].terms.given_at = Some(at(given_at));
    person.hear(&SubscriberId::new("shop", "o1"), &heard, at(heard_at))[0]
}

#[test]
fn a_consent_that_is_told_late_does_not_outlive_the_no_that_came_after_it() {
    let mut person = Person::new(&SubscriberId::new("shop", "o1"));
    told(&mut person, 1, Consent::Reject, 60, 61);
    assert_eq!(told(&mut person, 2, Consent::Accept, 10, 65), HeardStatus::Recorded { available: 0 });
    assert_eq!(told(&mut person, 3, Consent::Accept, 62, 66), HeardStatus::Granted { available: 1 });
}

#[test]
fn a_consent_of_before_an_erasure_does_not_bring_the_person_back() {
    let mut person = Person::new(&SubscriberId::new("shop", "o1")).erased(at(300));
    assert_eq!(told(&mut person, 1, Consent::Accept, 0, 360), HeardStatus::Recorded { available: 0 });
    assert!(person.erased_at.is_some());
    assert_eq!(told(&mut person, 2, Consent::Accept, 361, 361), HeardStatus::Granted { available: 1 });
}
