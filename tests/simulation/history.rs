//! What checkers look at: what was asked for, what the platform saw, what the API said in the end.
//!
//! Plain data, in milliseconds of the epoch by the true clock unless it says otherwise. Nothing here knows a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

/// Milliseconds of the epoch.
pub type Milliseconds = i64;

/// One subscriber of one channel.
pub type Who = (String, String);

/// One person of the story.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// Channel and openid of each of the person's subscribers.
    pub subscribers: Vec<Who>,
    /// Hours east of Greenwich of the person's own zone, and since when Tidepost knows it.
    pub zone: Option<(i64, Option<Milliseconds>)>,
    /// Which subscribers' reports named the union id.
    pub named: BTreeSet<usize>,
    /// Since when Tidepost knows that all subscribers are one person.
    pub linked_at: Option<Milliseconds>,
}

/// A consent that the person gave at the platform.
#[derive(Clone, Debug)]
pub struct Consent {
    /// Who.
    pub who: Who,
    /// For what.
    pub template: String,
    /// When.
    pub at: Milliseconds,
}

/// What a person does not want any more, or that they want to be forgotten.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who.
    pub who: Who,
    /// What.
    pub what: Wanted,
    /// When the API was first told.
    pub asked_at: Milliseconds,
    /// When the API said yes.
    pub known_at: Option<Milliseconds>,
}

/// The kinds of wishes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Nothing on this topic.
    TopicOff(String),
    /// Nothing at all.
    Stop,
    /// To be erased.
    Erasure,
}

/// A message that the backend asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// To whom.
    pub who: Who,
    /// The platform's template.
    pub template: String,
    /// `basic`, `reminder` or `marketing`.
    pub category: String,
    /// What it is about.
    pub topic: String,
    /// Whether it may break quiet hours, when it is `basic`.
    pub is_urgent: bool,
    /// Worthless after.
    pub deadline: Milliseconds,
    /// The API's answer to the request: status and body.
    pub answer: Option<(u16, Value)>,
    /// What the API says in the end.
    pub told: Option<Value>,
}

/// A campaign that was asked for, and what was commanded of it.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// On which channel.
    pub channel: String,
    /// With which template.
    pub template: String,
    /// `reminder` or `marketing`.
    pub category: String,
    /// Whom it is for.
    pub members: BTreeSet<Who>,
    /// When it begins at the earliest.
    pub from: Milliseconds,
    /// When it ends.
    pub until: Milliseconds,
    /// How long one of its occurrences lasts, from multiples of it on; `None` when there is one only.
    pub period: Option<Milliseconds>,
    /// Whether it waits on purpose for windows to come.
    pub is_even: bool,
    /// The API's id, once it was made.
    pub id: Option<String>,
    /// What was commanded, in order.
    pub commands: Vec<Commanded>,
    /// What the API shows of it at rest, and in the end.
    pub shown: [Option<Value>; 2],
    /// Members to whom nothing was sent when all was at rest: what the API says holds it back from them.
    pub held_back: BTreeMap<Who, Option<String>>,
}

/// One command to a campaign.
#[derive(Clone, Debug)]
pub struct Commanded {
    /// `start`, `pause`, `resume` or `stop`.
    pub verb: String,
    /// When the API was first told.
    pub asked_at: Milliseconds,
    /// When it answered.
    pub known_at: Option<Milliseconds>,
    /// Whether it said yes.
    pub is_done: bool,
    /// How much may still be sent, by its answer.
    pub at_most_more: Option<u64>,
}

/// One call of the platform's sending API, as the client's side of the wire saw it.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it left.
    pub at: Milliseconds,
    /// To whom.
    pub who: Who,
    /// With which template.
    pub template: String,
    /// Which message, or campaign.
    pub key: String,
    /// The answer's code, if the caller heard it: HTTP errors and lost answers are none.
    pub heard: Option<i64>,
}

/// One call as the platform counted it.
#[derive(Clone, Debug, Deserialize)]
pub struct Counted {
    /// When, by the platform's clock.
    pub at: jiff::Timestamp,
    /// The path.
    pub path: String,
    /// The platform's answer.
    pub errcode: Option<i64>,
}

/// One message that a person received.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// When, by the platform's clock.
    pub at: jiff::Timestamp,
    /// Who.
    pub openid: String,
    /// With which template.
    pub template_id: String,
    /// The fields.
    pub data: BTreeMap<String, BTreeMap<String, String>>,
}

impl Received {
    /// Which message it was.
    #[must_use]
    pub fn key(&self) -> &str {
        self.data.get(KEY_FIELD).and_then(|field| field.get("value")).map_or("", String::as_str)
    }
}

/// The field of every template that carries the message's key.
pub const KEY_FIELD: &str = "character_string1";

/// A quota rule, as the channel was given it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whether it counts calls, or else messages.
    pub counts_calls: bool,
    /// How many fit.
    pub limit: u64,
    /// Length of its windows, counted from `offset_seconds` after the epoch.
    pub seconds: i64,
    /// Where windows begin.
    pub offset_seconds: i64,
}

/// A channel's limits and what the platform saw of it.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// Its quota rules.
    pub rules: Vec<Rule>,
    /// So many campaigns may send on a day; `None` where that is no fewer than there are.
    pub broadcasts: Option<u64>,
    /// At most so many sends per person and day.
    pub cap_per_day: u64,
    /// Least time between two sends to one person.
    pub minimum_gap_seconds: i64,
    /// What came in at the platform.
    pub counted: Vec<Counted>,
    /// What people received.
    pub received: Vec<Received>,
    /// The API's metrics: outcomes by template, topic and outcome.
    pub metrics: BTreeMap<(String, String, String), u64>,
    /// Whether a window of more than a minute had no room left for campaigns when all was at rest, as the API says.
    pub is_used_up: bool,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The channels, by id.
    pub channels: BTreeMap<String, Channel>,
    /// Everybody.
    pub people: Vec<Person>,
    /// What they agreed to.
    pub consents: Vec<Consent>,
    /// What they do not want.
    pub wishes: Vec<Wish>,
    /// What was asked for, by key.
    pub asked: BTreeMap<String, Asked>,
    /// The campaigns, by key, which is their topic too.
    pub campaigns: BTreeMap<String, Ran>,
    /// What left for the platform.
    pub calls: Vec<Call>,
    /// Hours east of Greenwich of the channels' zone.
    pub zone_hours: i64,
    /// Whether the channels have quiet hours.
    pub has_night: bool,
    /// When faults stopped.
    pub calm_at: Milliseconds,
    /// When all was at rest.
    pub rest_at: Milliseconds,
    /// Invocations that died.
    pub crashes: u64,
    /// Requests to AWS.
    pub requests: u64,
    /// Those of them that AWS refused for a while, or whose answer got lost.
    pub unserved: u64,
    /// The durable steps, and where invocations died at them.
    pub steps: crate::steps::Steps,
}

impl History {
    /// Category and topic of what a key stands for, and whether it is urgent.
    #[must_use]
    pub fn about<'a>(&'a self, key: &'a str) -> Option<(&'a str, &'a str, bool)> {
        match (self.asked.get(key), self.campaigns.get(key)) {
            (Some(asked), _) => Some((&asked.category, &asked.topic, asked.is_urgent)),
            (None, Some(ran)) => Some((&ran.category, key, false)),
            (None, None) => None,
        }
    }

    /// The delivery log: what the platform saw, in its order, and what the API said in the end.
    #[must_use]
    pub fn delivery_log(&self) -> String {
        let mut log = String::new();
        for call in &self.calls {
            let _ = writeln!(log, "call {} {:?} {} {} {:?}", call.at, call.who, call.template, call.key, call.heard);
        }
        for (id, channel) in &self.channels {
            for counted in &channel.counted {
                let _ = writeln!(log, "{id} counted {} {} {:?}", counted.at, counted.path, counted.errcode);
            }
            for received in &channel.received {
                let _ = writeln!(log, "{id} received {} {} {}", received.at, received.openid, received.key());
            }
            for ((template, topic, outcome), count) in &channel.metrics {
                let _ = writeln!(log, "{id} metrics {template} {topic} {outcome} {count}");
            }
        }
        for wish in &self.wishes {
            let _ = writeln!(log, "{:?} {:?} asked {} known {:?}", wish.who, wish.what, wish.asked_at, wish.known_at);
        }
        for (key, ran) in &self.campaigns {
            let _ = writeln!(log, "{key} {} {} {:?} until {}", ran.channel, ran.template, ran.id, ran.until);
            for one in &ran.commands {
                let known = (one.known_at, one.is_done, one.at_most_more);
                let _ = writeln!(log, "{key} {} asked {} known {known:?}", one.verb, one.asked_at);
            }
            for shown in ran.shown.iter().flatten() {
                let _ = writeln!(log, "{key} {} {} {}", shown["status"], shown["counts"], shown["over"]);
            }
            for (who, reason) in &ran.held_back {
                let _ = writeln!(log, "{key} {who:?} held back {reason:?}");
            }
        }
        for (key, asked) in &self.asked {
            let told = asked.told.as_ref().map(Value::to_string).unwrap_or_default();
            let _ = writeln!(log, "{key} {:?} {} {told}", asked.who, asked.template);
        }
        log
    }
}
