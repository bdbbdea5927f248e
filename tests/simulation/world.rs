//! One seed's world: everything that lives in it, and its course.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use rand::RngCore;
use serde_json::{Value, json};
use tidepost::stack::host::functions::ScheduledFunction;
use tidepost_io::app::App;
use tidepost_io::clock::{Clock, simulate_randomness};
use tidepost_io::config::Config;
use tokio::task::{JoinHandle, JoinSet};

use crate::aws::Aws;
use crate::aws::queues::Name;
use crate::faults::{Chance, Rates};
use crate::history::{Asked, Channel, Consent, History, Rule, Wanted, Wish};
use crate::invocation;
use crate::planted::Planted;
use crate::platform::{self, Later};
use crate::pumps::FEEDS;
use crate::story::{
    self, CALM_SECONDS, CHANNELS, EVENING_SECONDS, Event, MORNING_SECONDS, Size, Story, TEMPLATES, app_id, evening,
    seconds_after,
};

/// Minutes after the faults in which everything has to come to its end.
const PATIENCE_MINUTES: i64 = 30;
/// So many have to pass: who died in a delivery is found by the next look at all people.
const REST_MINUTES: i64 = 14;
/// So many without a call, and all is at rest.
const QUIET_MINUTES: i64 = 3;
/// After so many of them there is a tick every other minute only.
const EVERY_MINUTE: i64 = 6;

/// All that lives.
pub(crate) struct World {
    /// The true time.
    pub(crate) clock: Clock,
    pub(crate) chance: Arc<Chance>,
    pub(crate) aws: Arc<Aws>,
    pub(crate) app: App,
    pub(crate) router: Router,
    planted: Option<Planted>,
    history: Mutex<History>,
}

pub(crate) fn milliseconds(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// Whether the API has not told yet what became of a message.
fn is_open(asked: &Asked) -> bool {
    let status = asked.told.as_ref().and_then(|told| told["status"].as_str());
    let is_over = matches!(status, Some("delivered" | "refused" | "failed" | "unknown"));
    !is_over && matches!(asked.answer, Some((202, _)))
}

/// The address of queues whose dead letters no function looks at by itself.
const NEVER_ASKED: &str = "http://aws.simulation/never";

/// Lives through one seed.
pub(crate) async fn live(seed: u64, size: Size, planted: Option<Planted>) -> History {
    let random = Chance::new(seed, 1);
    simulate_randomness(move |bytes| random.draw(|random| random.fill_bytes(bytes)));
    let story = story::invent(size, &Chance::new(seed, 2));
    let world = World::new(seed, planted);
    world.set_up(&story).await;
    let pumps = FEEDS.map(|feed| tokio::spawn(Arc::clone(&world).pump(feed)));
    world.tag().await;
    world.make(&story.campaigns).await;
    world.chance.set(Rates::draw(&world.chance));
    world.misbehave().await;
    let mut under_way = JoinSet::new();
    under_way.spawn(Arc::clone(&world).tell(story.events));
    world.minutes(0, EVENING_SECONDS).await;
    world.night().await;
    world.minutes(MORNING_SECONDS, CALM_SECONDS).await;
    world.chance.set(Rates::default());
    world.behave().await;
    world.history().calm_at = milliseconds(world.clock.now());
    under_way.join_all().await;
    world.release_brakes().await;
    world.come_to_rest().await;
    pumps.iter().for_each(JoinHandle::abort);
    world.look_back().await;
    let mut history = world.history().clone();
    history.requests = world.aws.requests();
    history.unserved = world.aws.unserved();
    history.steps = world.aws.steps.take();
    history
}

impl World {
    fn new(seed: u64, planted: Option<Planted>) -> Arc<Self> {
        let clock = Clock::of_timer(evening());
        let chance = Arc::new(Chance::new(seed, 3));
        let aws = Aws::new(Arc::clone(&chance), clock.clone(), planted);
        let later: Later = Arc::new(OnceLock::new());
        let simulators = platform::simulators(invocation::skewed(&clock, &chance), seed, &later);
        let config = Config {
            table: "tidepost".to_owned(),
            now_queue_url: Name::Now.url().to_owned(),
            dead_queue_url: Name::Dead.url().to_owned(),
            bulk_queue_url: Name::Bulk.url().to_owned(),
            bulk_dead_queue_url: NEVER_ASKED.to_owned(),
            sweep_queue_url: Name::Sweep.url().to_owned(),
            sweep_dead_queue_url: NEVER_ASKED.to_owned(),
            admin_key_ref: Some("secretsmanager:admin".to_owned()),
            wechat_base_url: "http://wechat.simulation".to_owned(),
            fetches_tokens: true,
            stage: "simulation".to_owned(),
        };
        let app = App::over(platform::transport(&later), config, clock.clone(), &aws.sdk_config());
        let app = App { store: aws.store(), ..app };
        let router = simulators.router();
        let world = Arc::new(Self { clock, chance, aws, app, router, planted, history: Mutex::default() });
        let _ = later.set(Arc::downgrade(&world));
        world
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn set_up(&self, story: &Story) {
        {
            let mut history = self.history();
            history.people = story.people.clone();
            (history.zone_hours, history.has_night) = (story.zone.hours, story.zone.has_night);
        }
        for (index, channel) in CHANNELS.iter().enumerate() {
            self.steer("PUT", &format!("apps/{}", app_id(channel)), &story.account(index)).await;
            let path = format!("/v1/channels/{channel}");
            let stored = self.api("PUT", &path, None, &story.channel(index, self.planted)).await;
            assert!(matches!(stored, Some((201, _))), "{stored:?}");
            for (number, (template, ..)) in TEMPLATES.iter().enumerate() {
                let stored =
                    self.api("PUT", &format!("{path}/templates/{template}"), None, &story::template(number)).await;
                assert!(matches!(stored, Some((201, _))), "{stored:?}");
            }
            let (calls, messages, cap_per_day, minimum_gap_seconds) = story.limits[index];
            let rules = vec![
                Rule { counts_calls: true, limit: calls, seconds: 60, offset_seconds: 0 },
                // The channels' days.
                Rule {
                    counts_calls: false,
                    limit: messages,
                    seconds: 86_400,
                    offset_seconds: -story.zone.hours * 3_600,
                },
            ];
            let broadcasts = if self.planted == Some(Planted::Broadcasts) { Some(1) } else { story.broadcasts };
            let limits = Channel { rules, broadcasts, cap_per_day, minimum_gap_seconds, ..Channel::default() };
            self.history().channels.insert((*channel).to_owned(), limits);
        }
    }

    async fn sleep_until(&self, seconds: i64) {
        self.clock.sleep_until(seconds_after(evening(), seconds)).await;
    }

    /// Lets events happen at their times; each takes as long as it takes.
    async fn tell(self: Arc<Self>, events: Vec<(u64, Event)>) {
        let mut under_way = JoinSet::new();
        for (at, event) in events {
            let at = evening().checked_add(Duration::from_millis(at)).unwrap_or(Timestamp::MAX);
            self.clock.sleep_until(at).await;
            under_way.spawn(Arc::clone(&self).happen(event));
        }
        under_way.join_all().await;
    }

    async fn happen(self: Arc<Self>, event: Event) {
        match event {
            Event::Subscribe { .. } => self.subscribe(event).await,
            Event::Wish { who, what } => self.wish(who, what).await,
            Event::Zone { person, who: (channel, openid), zone } => {
                let body = json!({"subscribers": [{"openid": openid, "time_zone": zone}]});
                let answer = self.api("POST", &format!("/v1/channels/{channel}/subscribers"), None, &body).await;
                let known_at = answer.map(|_| milliseconds(self.clock.now()));
                self.history().people[person].zone = Some((9, known_at));
            }
            Event::Ask { .. } => self.ask(event).await,
            Event::Command { key, verb } => self.command(&key, verb).await,
        }
    }

    async fn subscribe(&self, event: Event) {
        let Event::Subscribe { who, answers, is_reported, union_id } = event else { return };
        let (channel, openid) = who.clone();
        let at = milliseconds(self.clock.now());
        for (template, _) in answers.iter().filter(|(_, result)| **result == "accept") {
            self.history().consents.push(Consent { who: who.clone(), template: (*template).to_owned(), at });
        }
        let body = json!({"openid": openid, "results": answers, "push": true});
        let told = self.steer("POST", &format!("apps/{}/subscribe", app_id(&channel)), &body).await;
        drop(told);
        if is_reported {
            let copies = if self.planted == Some(Planted::Consents) { 3 } else { 1 };
            let report = |(template, result)| {
                let event_id = format!("e{}", self.chance.draw(RngCore::next_u64));
                json!({"event_id": event_id, "openid": openid, "template": template, "result": result, "union_id": union_id})
            };
            let reports: Vec<Value> = (0..copies).flat_map(|_| answers.iter().map(report)).collect();
            let body = json!({ "grants": reports });
            let answer = self.api("POST", &format!("/v1/channels/{channel}/grants"), None, &body).await;
            if union_id.is_some() && answer.is_some() {
                self.note_link(&openid);
            }
        }
    }

    /// Both subscribers' reports named the union id: from then on they are one person.
    fn note_link(&self, openid: &str) {
        let now = milliseconds(self.clock.now());
        let mut history = self.history();
        let History { people, .. } = &mut *history;
        let is_meant = |who: &(String, String)| who.1 == openid;
        if let Some(person) = people.iter_mut().find(|person| person.subscribers.iter().any(is_meant)) {
            let position = person.subscribers.iter().position(is_meant).unwrap_or(0);
            person.named.insert(position);
            if person.named.len() == person.subscribers.len() {
                person.linked_at.get_or_insert(now);
            }
        }
    }

    async fn wish(&self, who: (String, String), what: Wanted) {
        let asked_at = milliseconds(self.clock.now());
        let path = format!("/v1/channels/{}/subscribers/{}", who.0, who.1);
        let answer = match &what {
            Wanted::TopicOff(topic) => {
                let body = json!({"stopped": false, "topics": {topic: false}});
                self.api("PUT", &format!("{path}/preferences"), None, &body).await
            }
            Wanted::Stop => {
                let body = json!({"stopped": true, "topics": {}});
                self.api("PUT", &format!("{path}/preferences"), None, &body).await
            }
            Wanted::Erasure => self.api("DELETE", &path, None, &Value::Null).await,
        };
        let is_done = answer.is_some_and(|(status, _)| status < 300);
        let known_at = is_done.then(|| milliseconds(self.clock.now()));
        self.history().wishes.push(Wish { who, what, asked_at, known_at });
    }

    async fn ask(&self, event: Event) {
        let Event::Ask { key, who, template, is_urgent, deadline } = event else { return };
        let (id, _, category, topic, _) = TEMPLATES[template];
        let body = json!({
            "channel": who.0, "openid": who.1, "template": id, "data": {crate::history::KEY_FIELD: key},
            "urgency": if is_urgent { "urgent" } else { "normal" }, "deadline": deadline,
        });
        let asked = Asked {
            who,
            template: id.to_owned(),
            category: category.to_owned(),
            topic: topic.to_owned(),
            is_urgent,
            deadline: milliseconds(deadline),
            answer: None,
            told: None,
        };
        self.history().asked.insert(key.clone(), asked);
        let answer = self.api("POST", "/v1/messages", Some(&key), &body).await;
        if let Some(asked) = self.history().asked.get_mut(&key) {
            asked.answer = answer;
        }
    }

    /// The schedules from one second to another: release each minute, metrics now and then.
    async fn minutes(self: &Arc<Self>, from: i64, until: i64) {
        for second in (from..until).step_by(60) {
            self.sleep_until(second + 60).await;
            self.schedules(second / 60 % 4 == 3).await;
        }
    }

    /// Fewer ticks than there would be, but never so few that what a person's record remembers is forgotten unsettled.
    async fn night(self: &Arc<Self>) {
        for seconds in [0, 240, 3_600, 10_800, 18_000] {
            self.sleep_until(EVENING_SECONDS + 120 + seconds).await;
            self.schedules(true).await;
        }
    }

    /// One minute's functions. Each new scheduled function is one more line here.
    async fn schedules(self: &Arc<Self>, with_metrics: bool) {
        self.tick(ScheduledFunction::Release).await;
        if with_metrics {
            self.tick(ScheduledFunction::Metrics).await;
        }
    }

    /// Nothing goes wrong any more: minute by minute, until everything has ended or patience has.
    async fn come_to_rest(self: &Arc<Self>) {
        let step = |minute: i64| if minute < EVERY_MINUTE { 1 } else { 2 };
        let (mut minute, mut called_at, mut calls_before) = (0, 0, 0);
        while minute < PATIENCE_MINUTES {
            minute += step(minute);
            self.sleep_until(CALM_SECONDS + 60 * minute).await;
            self.schedules(false).await;
            tokio::time::sleep(Duration::from_secs(45)).await;
            let calls = self.history().calls.len();
            if calls > calls_before {
                (calls_before, called_at) = (calls, minute);
            }
            if minute >= REST_MINUTES && minute > called_at + QUIET_MINUTES && self.is_over().await {
                break;
            }
        }
        self.history().rest_at = milliseconds(self.clock.now());
        self.ask_why().await;
        // The hour is over, and its late receipts are added up.
        self.sleep_until(CALM_SECONDS + 3_600 + 600).await;
        self.tick(ScheduledFunction::Metrics).await;
    }

    async fn is_over(&self) -> bool {
        self.ask_about(is_open).await;
        !self.history().asked.values().any(is_open)
    }

    /// Asks the API what became of messages.
    async fn ask_about(&self, wanted: impl Fn(&Asked) -> bool) {
        let accepted: Vec<(String, String)> = {
            let history = self.history();
            let id = |asked: &Asked| asked.answer.as_ref()?.1["id"].as_str().map(str::to_owned);
            let wanted = history.asked.iter().filter(|(_, asked)| wanted(asked));
            wanted.filter_map(|(key, asked)| Some((key.clone(), id(asked)?))).collect()
        };
        for (key, id) in accepted {
            let told = self.api("GET", &format!("/v1/messages/{id}"), None, &Value::Null).await;
            if let Some(asked) = self.history().asked.get_mut(&key) {
                asked.told = told.map(|(_, body)| body);
            }
        }
    }

    /// Gathers the platform's truth and the API's last words.
    async fn look_back(&self) {
        self.ask_about(|_| true).await;
        self.show(1).await;
        for channel in CHANNELS {
            let read = |items: Vec<Value>| Value::Array(items);
            let counted =
                serde_json::from_value(read(self.truth(channel, "calls").await)).expect("calls have this form");
            let received =
                serde_json::from_value(read(self.truth(channel, "received").await)).expect("so have messages");
            let from = seconds_after(evening(), -3_600);
            let path = format!("/v1/channels/{channel}/metrics?from={from}&by=template,topic,outcome");
            let answer = self.api("GET", &path, None, &Value::Null).await.map(|(_, body)| body).unwrap_or_default();
            let mut history = self.history();
            let seen = history.channels.entry(channel.to_owned()).or_default();
            (seen.counted, seen.received) = (counted, received);
            for row in answer["rows"].as_array().into_iter().flatten() {
                let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                seen.metrics
                    .insert((text("template"), text("topic"), text("outcome")), row["count"].as_u64().unwrap_or(0));
            }
        }
    }
}
