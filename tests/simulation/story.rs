//! The story of a seed: who lives in it, what they do and what the backend asks for, minute by minute.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::campaigns::{self, Plan};
use crate::faults::Chance;
use crate::history::{KEY_FIELD, Person, Wanted, Who};
use crate::planted::Planted;

/// Six minutes before the night, in Shanghai; where the channels' day ends with it, six minutes before midnight.
pub(crate) const EVENING: &str = "2026-11-20T21:54:00+08:00";
/// The evening's length, in seconds: the first two minutes of the night are in it.
pub(crate) const EVENING_SECONDS: i64 = 8 * 60;
/// Two minutes before the morning, in seconds after the evening's begin.
pub(crate) const MORNING_SECONDS: i64 = 10 * 3_600 + 4 * 60;
/// When faults stop, in seconds after the evening's begin.
pub(crate) const CALM_SECONDS: i64 = MORNING_SECONDS + 7 * 60;

/// The channels; the second is smaller.
pub(crate) const CHANNELS: [&str; 2] = ["shop", "club"];

/// Template, kind at the platform, category, topic, chance that a message uses it.
pub(crate) const TEMPLATES: [(&str, &str, &str, &str, f64); 4] = [
    ("TMPL_CONFIRMED", "one_time", "basic", "orders", 0.35),
    ("TMPL_SHIPPED", "one_time", "reminder", "shipping", 0.35),
    ("TMPL_VISIT", "long_term", "reminder", "visits", 0.15),
    ("TMPL_SALE", "one_time", "marketing", "sales", 0.15),
];

/// The size of a story.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// People.
    pub people: usize,
    /// Messages.
    pub messages: usize,
    /// Campaigns.
    pub campaigns: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { people: 50, messages: 25, campaigns: 3 }
    }
}

/// What a person answered, by template.
pub(crate) type Answers = BTreeMap<&'static str, &'static str>;

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A person answers a dialog, which asks for several templates; the backend reports it too, or not.
    Subscribe { who: Who, answers: Answers, is_reported: bool, union_id: Option<String> },
    /// A person does not want something any more.
    Wish { who: Who, what: Wanted },
    /// The backend knows a person's zone.
    Zone { person: usize, who: Who, zone: &'static str },
    /// The backend asks for a message.
    Ask { key: String, who: Who, template: usize, is_urgent: bool, deadline: Timestamp },
    /// An owner commands a campaign.
    Command { key: String, verb: &'static str },
}

/// A zone of channels and platform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    /// East of Greenwich.
    pub(crate) hours: i64,
    pub(crate) has_night: bool,
}

/// Where it is evening when the story begins.
const SHANGHAI: Zone = Zone { name: "Asia/Shanghai", hours: 8, has_night: true };
/// Where it is nearly midnight then, all the year round.
const BRISBANE: Zone = Zone { name: "Australia/Brisbane", hours: 10, has_night: false };

/// One seed's story.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) people: Vec<Person>,
    pub(crate) campaigns: Vec<Plan>,
    /// What happens and when, in seconds and a fraction after the evening's begin.
    pub(crate) events: Vec<(u64, Event)>,
    /// Calls a minute, messages a day, cap per day, minimum gap; by channel.
    pub(crate) limits: [(u64, u64, u64, i64); 2],
    /// How many campaigns may send on a day, on each channel; `None`: as many as the platform's default says.
    pub(crate) broadcasts: Option<u64>,
    /// Where the channels are: in some stories their day ends in the midst of the evening, and they know no night.
    pub(crate) zone: Zone,
}

pub(crate) fn evening() -> Timestamp {
    EVENING.parse().unwrap_or(Timestamp::MIN)
}

pub(crate) fn seconds_after(start: Timestamp, seconds: i64) -> Timestamp {
    start.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

pub(crate) fn invent(size: Size, chance: &Chance) -> Story {
    let (limits, broadcasts) = (limits(chance), [None, None, Some(1), Some(2)][chance.below(4)]);
    let zone = if chance.is(0.2) { BRISBANE } else { SHANGHAI };
    let mut story = Story { people: Vec::new(), campaigns: Vec::new(), events: Vec::new(), limits, broadcasts, zone };
    for number in 0..size.people {
        story.person(number, chance);
    }
    for number in 0..size.messages {
        story.message(number, chance);
    }
    for number in 0..size.people / 8 {
        story.wish(number, size, chance);
    }
    for number in 0..size.campaigns {
        campaigns::invent(&mut story, number, chance);
    }
    story.events.sort_by_key(|(at, _)| *at);
    story
}

fn limits(chance: &Chance) -> [(u64, u64, u64, i64); 2] {
    let gap = [0, 0, 20, 90][chance.below(4)];
    let cap = chance.draw(|random| random.random_range(2..=5));
    chance.draw(|random| {
        [
            (random.random_range(6..=16), random.random_range(25..=80), cap, gap),
            (random.random_range(3..=6), random.random_range(8..=20), cap, gap),
        ]
    })
}

/// What a person answers in all, dialog by dialog: templates of different kinds do not share one, and a template is asked for
/// twice at most.
fn dialogs(chance: &Chance) -> Vec<Answers> {
    let asked = TEMPLATES.map(|(template, kind, ..)| (template, kind, [0, 0, 1, 1, 2][chance.below(5)]));
    let mut dialogs = Vec::new();
    for (round, kind) in [(0, "one_time"), (0, "long_term"), (1, "one_time"), (1, "long_term")] {
        let here = asked.iter().filter(|(_, asked_kind, times)| *asked_kind == kind && *times > round);
        let answer = || if chance.is(0.85) { "accept" } else { "reject" };
        dialogs.push(here.map(|(template, ..)| (*template, answer())).collect());
    }
    dialogs.retain(|answers: &Answers| !answers.is_empty());
    dialogs
}

impl Story {
    fn person(&mut self, number: usize, chance: &Chance) {
        let openid = |channel: &str, of_two: &str| (channel.to_owned(), format!("o{channel}{number:03}{of_two}"));
        let [large, small] = CHANNELS;
        let subscribers = match number % 7 {
            3 => vec![openid(large, ""), openid(small, "")],
            // Came back under another openid.
            5 => vec![openid(large, "a"), openid(large, "b")],
            6 => vec![openid(small, "")],
            _ => vec![openid(large, "")],
        };
        let is_linked = subscribers.len() > 1;
        let union_id = is_linked.then(|| format!("union{number}"));
        let person = Person { subscribers, ..Person::default() };
        for who in &person.subscribers {
            for answers in dialogs(chance) {
                let is_reported = is_linked || chance.is(0.4);
                let at = if chance.is(0.8) { chance.below(20_000) } else { chance.below(400_000) };
                let event = Event::Subscribe { who: who.clone(), answers, is_reported, union_id: union_id.clone() };
                self.events.push((at as u64, event));
            }
        }
        if number % 11 == 5 {
            let who = person.subscribers[0].clone();
            self.events.push((chance.below(30_000) as u64, Event::Zone { person: number, who, zone: "Asia/Tokyo" }));
        }
        self.people.push(person);
    }

    fn someone(&self, chance: &Chance) -> Who {
        let person = &self.people[chance.below(self.people.len())];
        person.subscribers[chance.below(person.subscribers.len())].clone()
    }

    fn message(&mut self, number: usize, chance: &Chance) {
        let start = evening();
        let at = if chance.is(0.7) {
            15_000 + chance.below(360_000)
        } else {
            (MORNING_SECONDS * 1_000) as usize + chance.below(240_000)
        };
        let asked_at = seconds_after(start, (at / 1_000) as i64);
        let deadline = match chance.below(4) {
            0 => seconds_after(asked_at, 60 + chance.below(240) as i64),
            1 => seconds_after(start, CALM_SECONDS + 60),
            _ => seconds_after(start, CALM_SECONDS + 480 + chance.below(240) as i64),
        };
        let weights: Vec<usize> = (0..TEMPLATES.len()).collect();
        let template =
            chance.draw(|random| *weights.choose_weighted(random, |index| TEMPLATES[*index].4).unwrap_or(&0));
        let is_urgent = chance.is(0.4);
        let event =
            Event::Ask { key: format!("n{number:04}"), who: self.someone(chance), template, is_urgent, deadline };
        self.events.push((at as u64, event));
    }

    fn wish(&mut self, number: usize, size: Size, chance: &Chance) {
        let at = 20_000 + chance.below(350_000);
        let what = match number % 4 {
            3 => Wanted::TopicOff(format!("c{}", chance.below(size.campaigns))),
            0 => Wanted::TopicOff(TEMPLATES[chance.below(TEMPLATES.len())].3.to_owned()),
            1 => Wanted::Erasure,
            _ => Wanted::Stop,
        };
        self.events.push((at as u64, Event::Wish { who: self.someone(chance), what }));
    }

    /// The account of a channel at the platform.
    pub(crate) fn account(&self, channel: usize) -> Value {
        let (calls, messages, ..) = self.limits[channel];
        let templates: Vec<Value> = TEMPLATES
            .iter()
            .map(|(id, kind, ..)| {
                json!({"priTmplId": id, "title": id, "type": if *kind == "long_term" { 3 } else { 2 },
                   "content": format!("单号:{{{{{KEY_FIELD}.DATA}}}}")})
            })
            .collect();
        json!({
            "secret": secret("app"), "token": secret("token"), "encoding_aes_key": secret("aes_key"),
            "callback": {"url": format!("http://tidepost.simulation/callbacks/{}", CHANNELS[channel]),
                         "mode": (["safe", "plain"][channel]), "format": (["json", "xml"][channel])},
            "templates": templates, "accept_unknown_openids": true, "latency_milliseconds": 40,
            "windows": [
                {"id": "minute", "unit": "call", "limit": calls, "seconds": 60},
                {"id": "daily", "unit": "message", "limit": messages, "calendar": "day", "time_zone": self.zone.name},
            ],
        })
    }

    /// The same account as Tidepost is told of it.
    pub(crate) fn channel(&self, channel: usize, planted: Option<Planted>) -> Value {
        let (calls, messages, cap, gap) = self.limits[channel];
        let quiet = json!({"from": "22:00", "to": "08:00"});
        let has_night = self.zone.has_night && planted != Some(Planted::Night);
        let quiet = if has_night { quiet } else { Value::Null };
        let cap = if planted == Some(Planted::Caps) { 100 } else { cap };
        let reference = |name: &str| format!("secretsmanager:{name}");
        let mut rules = vec![
            json!({"id": "daily", "unit": "message", "limit": messages, "window": {"calendar": "day"}}),
            json!({"id": "minute", "unit": "call", "limit": calls, "window": {"seconds": 60}}),
        ];
        let limit = if planted == Some(Planted::Broadcasts) { Some(3) } else { self.broadcasts };
        rules.extend(limit.map(
            |limit| json!({"id": "campaigns", "unit": "broadcast", "limit": limit, "window": {"calendar": "day"}}),
        ));
        json!({
            "platform": "wechat_mini", "app_id": app_id(CHANNELS[channel]), "secret_ref": reference("app"),
            "callback": {"mode": (["safe", "plain"][channel]), "token_ref": reference("token"),
                         "encoding_aes_key_ref": reference("aes_key")},
            "rate_limit_per_second": 20, "time_zone": self.zone.name,
            "quota_rules": rules,
            "policy": {"quiet_hours": quiet, "minimum_gap_seconds": gap, "caps": [{"scope": "subscriber", "per": "day", "limit": cap}]},
        })
    }
}

fn secret(name: &str) -> &'static str {
    crate::aws::SECRETS.iter().find(|(known, _)| *known == name).map_or("", |(_, secret)| secret)
}

/// The platform's id of a channel's account.
pub(crate) fn app_id(channel: &str) -> String {
    format!("wx00000000000000{channel}")
}

/// A template as Tidepost is told of it.
pub(crate) fn template(index: usize) -> Value {
    let (id, kind, category, topic, _) = TEMPLATES[index];
    json!({"title": id, "kind": kind, "category": category, "marketing_allowed": category == "marketing", "topic": topic,
           "fields": [{"key": KEY_FIELD}]})
}
