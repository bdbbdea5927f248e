use super::*;
use crate::channel::tests::shop;
use crate::grant::Source;
use crate::ids::Nonce;
use crate::person::{Answer, Heard, Preferences};
use crate::reason::ReasonCode;
use crate::sends::Mark;
use crate::template::TemplateKind;

pub(crate) fn template() -> Template {
    serde_json::from_str(r#"{"title":"订单","category":"basic","topic":"orders","fields":[{"key":"thing1"}]}"#).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Noon in Shanghai.
pub(crate) const NOON: &str = "2026-11-21T12:00:00+08:00";

pub(crate) fn offer(key: &str) -> Offer {
    Offer {
        id: MessageId::derive("shop", "k_1", key, at(NOON)),
        to: SubscriberId::new("shop", "o1"),
        template: "T".into(),
        category: Category::Reminder,
        urgency: Urgency::Normal,
        topic: "orders".into(),
        business_line: Some("retail".into()),
        not_before: None,
        not_after: at("2026-11-23T12:00:00+08:00"),
    }
}

/// A person with `grants` one-time consents for template T.
pub(crate) fn person(grants: u8) -> Person {
    let mut person = Person::default();
    for grant in 0..grants {
        let answer = Answer {
            template: "T".into(),
            kind: TemplateKind::OneTime,
            consent: crate::grant::Consent::Accept,
            terms: crate::grant::Terms::default(),
        };
        let heard = Heard { event: [grant; 8], source: Source::Event, answers: vec![answer] };
        person.hear(&SubscriberId::new("shop", "o1"), &heard, at(NOON));
    }
    person
}

struct World {
    person: Person,
    offer: Offer,
    channel: Channel,
    template: Template,
    health: Health,
}

impl World {
    fn new() -> Self {
        Self { person: person(10), offer: offer("a"), channel: shop(), template: template(), health: Health::default() }
    }

    fn case(&self, now: &str) -> Case<'_> {
        Case {
            person: &self.person,
            offer: &self.offer,
            channel: &self.channel,
            health: &self.health,
            template: &self.template,
            now: at(now),
        }
    }

    fn code(&self, now: &str) -> Option<(ReasonCode, Option<Timestamp>)> {
        match decide(&self.case(now))? {
            Hold::Wait { until, reason } => Some((reason.unwrap().code, Some(until))),
            Hold::Refuse(reason) => Some((reason.code, None)),
        }
    }

    /// Sends the offer under `key` as dispatch would.
    fn send(&mut self, key: &str, now: &str) {
        self.offer.id = offer(key).id;
        match crate::dispatch::reserve(&self.case(now), Nonce([7; 8]), None) {
            crate::dispatch::Step::Swap(reserved) => self.person = reserved.person,
            other => panic!("{other:?}"),
        }
        self.offer.id = offer("next").id;
    }
}

#[test]
fn nothing_stands_in_the_way_at_noon() {
    assert_eq!(World::new().code(NOON), None);
}

#[test]
fn quiet_hours_hold_all_but_urgent_basic_in_the_persons_own_zone() {
    let mut world = World::new();
    let night = "2026-11-21T23:30:00+08:00";
    let morning = at("2026-11-22T08:00:00+08:00");
    assert_eq!(world.code(night), Some((ReasonCode::QuietHours, Some(morning))));
    world.person.time_zone = Some("Europe/Berlin".into());
    assert_eq!(world.code(night), None, "it is 16:30 in Berlin");
    world.person.time_zone = None;
    world.offer.urgency = Urgency::Urgent;
    assert!(world.code(night).is_some(), "urgent alone is not enough");
    world.offer.category = Category::Basic;
    assert_eq!(world.code(night), None);
    world.channel.policy.basic_ignores.clear();
    assert!(world.code(night).is_some(), "unless the policy says otherwise");
}

#[test]
fn a_wait_beyond_the_deadline_is_a_refusal_with_its_reason() {
    let mut world = World::new();
    world.offer.not_after = at("2026-11-22T07:00:00+08:00");
    assert_eq!(world.code("2026-11-21T23:30:00+08:00"), Some((ReasonCode::QuietHours, None)));
    assert_eq!(world.code("2026-11-22T07:00:00+08:00"), Some((ReasonCode::DeadlinePassed, None)));
}

#[test]
fn caps_count_per_person_and_topic_and_open_again_with_the_next_period() {
    let mut world = World::new();
    for key in ["a", "b", "c"] {
        world.send(key, NOON);
    }
    let monday = at("2026-11-23T00:00:00+08:00");
    assert_eq!(
        world.code(NOON),
        Some((ReasonCode::CapTopic, Some(monday))),
        "3 a week on one topic; the 21st is a Saturday"
    );
    world.offer.topic = "news".into();
    assert_eq!(world.code(NOON), None);
    world.send("d", NOON);
    world.send("e", NOON);
    let midnight = at("2026-11-22T00:00:00+08:00");
    assert_eq!(world.code(NOON), Some((ReasonCode::CapSubscriber, Some(midnight))));
    assert_eq!(world.code("2026-11-22T12:00:00+08:00"), None);
}

#[test]
fn sends_keep_the_minimum_gap() {
    let mut world = World::new();
    world.channel.policy.minimum_gap_seconds = 600;
    world.send("a", NOON);
    assert_eq!(
        world.code("2026-11-21T12:05:00+08:00"),
        Some((ReasonCode::MinimumGap, Some(at("2026-11-21T12:10:01+08:00"))))
    );
    assert_eq!(world.code("2026-11-21T12:10:01+08:00"), None);
}

#[test]
fn preferences_grants_marketing_bans_and_erasure_refuse() {
    let refused = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.code(NOON).map(|(code, until)| (code, until.is_some()))
    };
    assert_eq!(refused(|w| w.person.preferences.stopped = true), Some((ReasonCode::Stopped, false)));
    assert_eq!(
        refused(|w| w.person.preferences = Preferences { stopped: false, topics: [("orders".into(), false)].into() }),
        Some((ReasonCode::TopicOff, false))
    );
    assert_eq!(refused(|w| w.person = person(0)), Some((ReasonCode::NoGrant, false)));
    assert_eq!(refused(|w| w.offer.category = Category::Marketing), Some((ReasonCode::MarketingNotAllowed, false)));
    assert_eq!(
        refused(|w| {
            w.offer.category = Category::Marketing;
            w.template.marketing_allowed = true;
        }),
        None
    );
    assert_eq!(
        refused(|w| w.health.state = crate::channel::HealthState::Banned),
        Some((ReasonCode::ChannelBanned, false))
    );
    assert_eq!(refused(|w| w.person = w.person.erased(at(NOON))), Some((ReasonCode::Erased, false)));
}

#[test]
fn a_memory_that_is_full_holds_the_send_back() {
    let mut world = World::new();
    world.channel.policy.caps.clear();
    world.person = person(200);
    let mut sent = 0;
    while world.code(NOON).is_none() {
        world.send(&sent.to_string(), NOON);
        sent += 1;
    }
    // Entries live longer than the offer itself, so waiting is no use here.
    assert_eq!(world.code(NOON), Some((ReasonCode::InFlight, None)));
    assert!(world.person.sends.iter().all(|send| send.mark == Mark::Reserved));
    assert!((60..120).contains(&sent) && world.person.size_bytes() <= crate::person::ITEM_MAX_BYTES, "{sent}");
    // The consents' events are forgotten after 7 days, the sends after their own deadlines.
    world.offer.not_after = at("2026-12-06T12:00:00+08:00");
    assert_eq!(world.code("2026-11-30T12:00:00+08:00"), None);
}

#[test]
fn whatever_else_is_known_of_a_person_leaves_less_memory() {
    let mut world = World::new();
    let fill = "x".repeat(1_000);
    for name in ["a", "b", "c", "d"] {
        world.person.attributes.insert(name.into(), fill.clone().into());
    }
    assert_eq!(world.code(NOON), Some((ReasonCode::InFlight, Some(at("2026-11-22T12:00:00+08:00")))));
    world.person.attributes.clear();
    assert_eq!(world.code(NOON), None);
}
