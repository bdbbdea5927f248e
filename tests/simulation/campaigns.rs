//! Campaigns in a story: three that compete for the people, with what their owners command.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};

use crate::faults::Chance;
use crate::history::{Commanded, KEY_FIELD, Person, Ran, Who};
use crate::story::{CALM_SECONDS, CHANNELS, Event, MORNING_SECONDS, Story, TEMPLATES, evening, seconds_after};
use crate::world::{World, milliseconds};

/// Tags that people have, by their number.
const TAGS: [&[&str]; 4] = [&["vip"], &["regular"], &["vip", "regular"], &[]];
/// Business lines.
const LINES: [&str; 2] = ["retail", "travel"];
/// Templates that campaigns use, by their place: what waits for a reminder, what may come again, and a sale.
const USED: [usize; 3] = [1, 2, 3];
/// The template that a campaign may send again and again.
const LONG_TERM: usize = 2;
/// How long an occurrence of one that recurs lasts, in minutes.
const PERIOD_MINUTES: i64 = 5;

/// How long an owner takes to read why a campaign is paused.
const READ_TIME: Duration = Duration::from_secs(70);

/// The platform says that there is no consent.
const NO_CONSENT: i64 = 43101;

/// One campaign of a story.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) key: String,
    /// The body of the request.
    pub(crate) wanted: Value,
    pub(crate) ran: Ran,
}

/// The tags of a person.
pub(crate) fn tags(number: usize) -> &'static [&'static str] {
    TAGS[number % TAGS.len()]
}

/// Adds the campaign with `number` to a story, and what becomes of it.
pub(crate) fn invent(story: &mut Story, number: usize, chance: &Chance) {
    let (key, channel) = (format!("c{number}"), if chance.is(0.25) { CHANNELS[1] } else { CHANNELS[0] });
    let template = USED[chance.below(USED.len())];
    let (id, _, category, ..) = TEMPLATES[template];
    let until = match chance.below(4) {
        0 => seconds_after(evening(), MORNING_SECONDS + 180 + chance.below(120) as i64),
        1 => seconds_after(evening(), CALM_SECONDS + 240),
        _ => seconds_after(evening(), CALM_SECONDS + 86_400),
    };
    let wanted_tags = [vec!["vip"], vec!["regular"], vec!["vip", "regular"]][chance.below(3)].clone();
    let members = |(number, person): (usize, &Person)| {
        let is_meant = tags(number).iter().any(|tag| wanted_tags.contains(tag));
        person.subscribers.iter().filter(|who| is_meant && who.0 == channel).cloned().collect::<Vec<Who>>()
    };
    let members = story.people.iter().enumerate().flat_map(members).collect();
    let (is_even, recurs) = (chance.is(0.2), template == LONG_TERM && chance.is(0.5));
    let mut wanted = json!({
        "channel": channel, "name": key, "template": id, "data": {KEY_FIELD: key}, "topic": key,
        "business_line": LINES[number % LINES.len()], "priority": chance.below(100), "until": until,
        "pace": if is_even { "even" } else { "fast" },
        "value": chance.draw(|random| random.random_range(0.5..2.0)),
    });
    if chance.is(0.2) {
        let openids: Vec<&str> = Ran::openids(&members).collect();
        wanted["list"] = json!(openids);
    } else {
        let words: Vec<String> = wanted_tags.iter().map(|tag| format!("tag('{tag}')")).collect();
        wanted["segment"] = json!(words.join(" or "));
    }
    if chance.is(0.7) {
        wanted["brake"] = json!({"error_rate": 1.0, "refusal_rate": 1.0, "complaints": 100});
    }
    let mut from = evening();
    if chance.is(0.4) {
        from = seconds_after(evening(), 60 + chance.below(180) as i64);
        wanted["from"] = json!(from);
    }
    if recurs {
        wanted["schedule"] = json!({"cron": format!("*/{PERIOD_MINUTES} * * * *"), "time_zone": "Asia/Shanghai"});
    }
    let ran = Ran {
        channel: channel.to_owned(),
        template: id.to_owned(),
        category: category.to_owned(),
        members,
        from: milliseconds(from),
        until: milliseconds(until),
        period: recurs.then_some(PERIOD_MINUTES * 60_000),
        is_even,
        ..Ran::default()
    };
    command(story, &key, chance);
    story.campaigns.push(Plan { key, wanted, ran });
}

/// When a campaign is made and started, and paused, resumed or stopped.
fn command(story: &mut Story, key: &str, chance: &Chance) {
    let mut at = |milliseconds: usize, verb: &'static str| {
        story.events.push((milliseconds as u64, Event::Command { key: key.to_owned(), verb }));
    };
    let begin = 5_000 + chance.below(60_000);
    at(begin, "start");
    // In the evening, or in the morning.
    let phase = if chance.is(0.5) { begin } else { MORNING_SECONDS as usize * 1_000 + 60_000 };
    let later = phase + 3_000 + chance.below(120_000);
    match chance.below(4) {
        0 => at(later, "stop"),
        1 => at(later, "pause"),
        2 => {
            at(later, "pause");
            at(later + 15_000 + chance.below(60_000), "resume");
            if chance.is(0.3) {
                at(later + 100_000, "stop");
            }
        }
        _ => {}
    }
}

impl World {
    /// Tells Tidepost what is known of everybody: their tags.
    pub(crate) async fn tag(&self) {
        for channel in CHANNELS {
            let people = self.history().people.clone();
            let of_one = |(number, person): (usize, &Person)| {
                let here = person.subscribers.iter().filter(|who| who.0 == channel);
                here.map(|who| json!({"openid": who.1, "tags": {"add": tags(number)}})).collect::<Vec<_>>()
            };
            let subscribers: Vec<Value> = people.iter().enumerate().flat_map(of_one).collect();
            let path = format!("/v1/channels/{channel}/subscribers");
            let answer = self.api("POST", &path, None, &json!({ "subscribers": subscribers })).await;
            assert!(matches!(answer, Some((200, _))), "{answer:?}");
        }
    }

    /// Makes the campaigns of the story; those that are never answered are never commanded.
    pub(crate) async fn make(&self, plans: &[Plan]) {
        for Plan { key, wanted, ran } in plans {
            self.history().campaigns.insert(key.clone(), ran.clone());
            let answer = self.api("POST", "/v1/campaigns", Some(key), wanted).await;
            let Some((201, body)) = answer else { panic!("{key}: {answer:?}") };
            if let Some(ran) = self.history().campaigns.get_mut(key) {
                ran.id = body["id"].as_str().map(str::to_owned);
            }
        }
    }

    /// An owner commands a campaign.
    pub(crate) async fn command(&self, key: &str, verb: &str) {
        let asked_at = milliseconds(self.clock.now());
        let (id, place) = {
            let mut history = self.history();
            let Some(ran) = history.campaigns.get_mut(key) else { return };
            let verb = verb.to_owned();
            ran.commands.push(Commanded { verb, asked_at, known_at: None, is_done: false, at_most_more: None });
            (ran.id.clone().unwrap_or_default(), ran.commands.len() - 1)
        };
        let answer = self.api("POST", &format!("/v1/campaigns/{id}/{verb}"), None, &json!({})).await;
        let known_at = milliseconds(self.clock.now());
        let mut history = self.history();
        let command = history.campaigns.get_mut(key).and_then(|ran| ran.commands.get_mut(place));
        if let (Some(command), Some((status, body))) = (command, answer) {
            command.known_at = Some(known_at);
            command.is_done = status == 200;
            command.at_most_more = body["at_most_more"].as_u64();
        }
    }

    /// What the brake paused while things went wrong goes on. Who was paused alone is held with the whole channel at first.
    pub(crate) async fn release_brakes(self: &Arc<Self>) {
        for _ in 0..2 {
            for key in self.braked().await {
                self.command(&key, "resume").await;
            }
            tokio::time::sleep(READ_TIME).await;
        }
        let left = self.braked().await;
        assert!(left.is_empty(), "they were resumed, and stay paused: {left:?}");
    }

    /// Campaigns that are meant to run, and are paused.
    async fn braked(&self) -> Vec<String> {
        self.show(0).await;
        let braked = |(key, ran): (&String, &Ran)| {
            let is_wanted = ran.commands.last().is_some_and(|last| ["start", "resume"].contains(&last.verb.as_str()));
            let is_paused = ran.shown[0].as_ref().is_some_and(|shown| shown["status"] == "paused");
            (is_wanted && is_paused).then(|| key.clone())
        };
        self.history().campaigns.iter().filter_map(braked).collect()
    }

    /// Asks the API how the campaigns stand.
    pub(crate) async fn show(&self, place: usize) {
        let known = |(key, ran): (&String, &Ran)| Some((key.clone(), ran.id.clone()?));
        let ids: Vec<(String, String)> = self.history().campaigns.iter().filter_map(known).collect();
        for (key, id) in ids {
            let shown = self.api("GET", &format!("/v1/campaigns/{id}"), None, &Value::Null).await;
            if let Some(ran) = self.history().campaigns.get_mut(&key) {
                ran.shown[place] = shown.filter(|(status, _)| *status == 200).map(|(_, body)| body);
            }
        }
    }

    /// Asks the API, for each campaign that still runs, why members did not get it, and whether there is room.
    pub(crate) async fn ask_why(&self) {
        self.show(0).await;
        for channel in CHANNELS {
            let path = format!("/v1/channels/{channel}/quota");
            let quota = self.api("GET", &path, None, &Value::Null).await.map(|(_, body)| body).unwrap_or_default();
            let windows = quota["windows"].as_array().cloned().unwrap_or_default();
            let is_full = |window: &Value| {
                let units = |name: &str| window[name].as_u64().unwrap_or(0);
                let taken = units("used") + units("leased") + units("reserved_for_basic");
                // One unit may be kept back for the edge.
                window["rule"] == "daily" && taken + 1 >= units("limit") || window["state"] != "open"
            };
            if let Some(channel) = self.history().channels.get_mut(channel) {
                channel.is_used_up = windows.iter().any(is_full);
            }
        }
        let missing = |(key, ran): (&String, &Ran)| {
            let is_running = ran.shown[0].as_ref().is_some_and(|shown| shown["status"] == "running");
            let members = ran.members.iter().filter(|who| is_running && !self.was_called(key, who));
            members.map(|who| (key.clone(), who.clone())).collect::<Vec<_>>()
        };
        let campaigns = self.history().campaigns.clone();
        let missing: Vec<(String, Who)> = campaigns.iter().flat_map(missing).collect();
        for (key, who) in missing {
            let reason = self.reason(campaigns[&key].id.as_deref(), &who).await;
            if let Some(ran) = self.history().campaigns.get_mut(&key) {
                ran.held_back.insert(who, reason);
            }
        }
    }

    fn was_called(&self, key: &str, who: &Who) -> bool {
        let history = self.history();
        // Unknown, delivered, or refused for good: the person has it behind them.
        let is_final = |heard: Option<i64>| matches!(heard, None | Some(0 | NO_CONSENT));
        history.calls.iter().any(|call| call.key == key && call.who == *who && is_final(call.heard))
    }

    /// What holds a campaign back from a person, by the API; that it does not know them is a reason too.
    async fn reason(&self, id: Option<&str>, (channel, openid): &Who) -> Option<String> {
        let path = format!("/v1/channels/{channel}/subscribers/{openid}/held-back");
        let (status, body) = self.api("GET", &path, None, &Value::Null).await?;
        if status == 404 {
            return Some("not known".to_owned());
        }
        let item = body["items"].as_array()?.iter().find(|item| item["campaign"].as_str() == id)?;
        Some(item["reason"].as_str().unwrap_or("its hours").to_owned())
    }
}

impl Ran {
    fn openids(members: &std::collections::BTreeSet<Who>) -> impl Iterator<Item = &str> {
        members.iter().map(|who| who.1.as_str())
    }
}
