//! Callbacks on their way: a bounded queue, a few workers, the platform's retries, and a way to wait for the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::truth::CallbackRecord;
use crate::wechat::SEND_PATH;
use crate::wechat::app::App;
use crate::wechat::event::{self, Content, Event, Push};
use crate::world::{World, lock};

/// The platform waits this long for an answer, and tries this often in all.
const DEADLINE_SECONDS: u64 = 5;
const ATTEMPTS: u32 = 3;
const WORKERS: usize = 32;
/// Events beyond this are dropped and logged as such, so that a receiver that is down cannot fill the memory.
const QUEUE_LIMIT: usize = 200_000;
/// How long a held-back event waits for another one to overtake it.
const HOLD_MILLISECONDS: u64 = 300;

/// A callback on its way to a receiver in the same process.
#[derive(Debug, Clone)]
pub struct Callback {
    /// Where it goes, with the signature in the query.
    pub url: String,
    /// The body's media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Status and body of the receiver's answer; `None` when there is none.
pub type Answering = Pin<Box<dyn Future<Output = Option<(u16, String)>> + Send>>;

/// How callbacks reach their receiver.
pub(crate) enum Way {
    Network(reqwest::Client),
    InProcess(Box<dyn Fn(Callback) -> Answering + Send + Sync>),
}

impl Way {
    pub(crate) fn network() -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        // Building fails only without a usable TLS store; the default client says so when it is used.
        Self::Network(client.unwrap_or_default())
    }

    /// What the receiver answered within the platform's patience.
    async fn post(&self, push: &Push) -> Option<(u16, String)> {
        let limit = Duration::from_secs(DEADLINE_SECONDS);
        let answer = async {
            match self {
                Self::Network(client) => {
                    let request = client.post(&push.url).header("content-type", push.content_type);
                    let response = request.body(push.body.clone()).send().await.ok()?;
                    Some((response.status().as_u16(), response.text().await.ok()?))
                }
                Self::InProcess(receive) => {
                    let callback =
                        Callback { url: push.url.clone(), content_type: push.content_type, body: push.body.clone() };
                    receive(callback).await
                }
            }
        };
        tokio::time::timeout(limit, answer).await.ok().flatten()
    }

    async fn get(&self, url: String) -> Option<(u16, String)> {
        let Self::Network(client) = self else { return None };
        let answer = async {
            let response = client.get(url).send().await.ok()?;
            Some((response.status().as_u16(), response.text().await.unwrap_or_default()))
        };
        tokio::time::timeout(Duration::from_secs(DEADLINE_SECONDS), answer).await.ok().flatten()
    }
}

/// Counts as pending as long as it lives.
struct Pending(watch::Sender<usize>);

impl Pending {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|pending| *pending += 1);
        Self(count.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.send_modify(|pending| *pending -= 1);
    }
}

struct Job {
    app: Arc<App>,
    event: Event,
    pending: Pending,
}

#[derive(Default)]
struct Queues {
    waiting: VecDeque<Job>,
    held: Vec<Job>,
    workers: usize,
}

/// What became of one callback.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    attempts: u32,
    status: Option<u16>,
    body: Option<String>,
}

impl Outcome {
    fn item(&self) -> Value {
        json!({"status": self.status, "body": self.body, "attempts": self.attempts})
    }
}

pub(crate) struct Deliveries {
    queues: Mutex<Queues>,
    pending: watch::Sender<usize>,
    way: Way,
}

impl Deliveries {
    pub(crate) fn new(way: Way) -> Self {
        Self { queues: Mutex::default(), pending: watch::Sender::new(0), way }
    }

    pub(crate) fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    pub(crate) async fn idle(&self) {
        // An error would mean that the sender is gone, but it lives as long as `self`.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    pub(crate) fn clear(&self) {
        let (waiting, held) = {
            let mut queues = lock(&self.queues);
            (std::mem::take(&mut queues.waiting), std::mem::take(&mut queues.held))
        };
        drop((waiting, held));
    }

    /// Sends the event of a send in the background and after its delay, with the faults set for it.
    pub(crate) fn emit(&self, world: &Arc<World>, app: &Arc<App>, event: Event) {
        let delay = Duration::from_millis(app.config().sent_event_delay_milliseconds);
        if delay.is_zero() {
            return self.emit_now(world, app, event);
        }
        let (world, app, pending) = (Arc::clone(world), Arc::clone(app), Pending::new(&self.pending));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // A reset meanwhile takes the event with it.
            if world.app(&app.app_id).is_some_and(|known| Arc::ptr_eq(&known, &app)) {
                world.deliveries.emit_now(&world, &app, event);
            }
            drop(pending);
        });
    }

    fn emit_now(&self, world: &Arc<World>, app: &Arc<App>, mut event: Event) {
        let plan = world.plan_callback(&[event.name(), SEND_PATH], &event.openid);
        if plan.drop {
            record(world, app, &event, None, "dropped by a fault");
            return;
        }
        if let (Some(failed), Content::Sent { failure, .. }) = (plan.failure, &mut event.content) {
            *failure = Some(failed);
        }
        for _ in 0..=plan.extra_copies {
            if plan.hold_back { self.hold(world, app, event.clone()) } else { self.queue(world, app, event.clone()) }
        }
    }

    /// Sends an event now and tells how the receiver took it; `null` when there is nobody to tell or a fault took it.
    pub(crate) async fn emit_and_wait(&self, world: &Arc<World>, app: &Arc<App>, event: Event, cause: &str) -> Value {
        if app.config().callback.is_none() {
            return Value::Null;
        }
        let plan = world.plan_callback(&[event.name(), cause], &event.openid);
        if plan.drop {
            record(world, app, &event, None, "dropped by a fault");
            return json!({"status": null, "body": null, "attempts": 0, "fault": "dropped"});
        }
        if plan.hold_back {
            for _ in 0..=plan.extra_copies {
                self.hold(world, app, event.clone());
            }
            return json!({"status": null, "body": null, "attempts": 0, "fault": "held_back"});
        }
        for _ in 0..plan.extra_copies {
            self.queue(world, app, event.clone());
        }
        let job = Job { app: Arc::clone(app), event, pending: Pending::new(&self.pending) };
        let world = Arc::clone(world);
        // In a task of its own: the event goes out even when whoever asked does not wait for it.
        match tokio::spawn(async move { deliver(&world, job).await }).await {
            Ok(Some(outcome)) => outcome.item(),
            _ => Value::Null,
        }
    }

    fn queue(&self, world: &Arc<World>, app: &Arc<App>, event: Event) {
        let job = Job { app: Arc::clone(app), event, pending: Pending::new(&self.pending) };
        let start = {
            let mut queues = lock(&self.queues);
            if queues.waiting.len() >= QUEUE_LIMIT {
                drop(queues);
                record(world, app, &job.event, None, "dropped: the queue is full");
                return;
            }
            queues.waiting.push_back(job);
            let start = queues.workers < WORKERS;
            queues.workers += usize::from(start);
            start
        };
        if start {
            tokio::spawn(work(Arc::clone(world)));
        }
    }

    fn hold(&self, world: &Arc<World>, app: &Arc<App>, event: Event) {
        let job = Job { app: Arc::clone(app), event, pending: Pending::new(&self.pending) };
        lock(&self.queues).held.push(job);
        let (world, app) = (Arc::clone(world), Arc::clone(app));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(HOLD_MILLISECONDS)).await;
            world.deliveries.release(&world, &app);
        });
    }

    /// Queues what was held back for the app.
    fn release(&self, world: &Arc<World>, app: &Arc<App>) {
        let freed: Vec<Job> = {
            let mut queues = lock(&self.queues);
            let (freed, kept) =
                std::mem::take(&mut queues.held).into_iter().partition(|job| Arc::ptr_eq(&job.app, app));
            queues.held = kept;
            freed
        };
        for Job { app, event, pending } in freed {
            self.queue(world, &app, event);
            drop(pending);
        }
    }

    /// The next job, or one worker less.
    fn next(&self) -> Option<Job> {
        let mut queues = lock(&self.queues);
        let job = queues.waiting.pop_front();
        queues.workers -= usize::from(job.is_none());
        job
    }

    /// Asks the callback to prove itself, as the platform does when the address is saved.
    pub(crate) async fn verify(&self, world: &World, app: &App) -> Value {
        let Some((url, echo)) = event::verification(world, app) else {
            return Value::Null;
        };
        match self.way.get(url).await {
            Some((status, body)) => json!({"verified": status == 200 && body == echo, "status": status, "body": body}),
            None => json!({"verified": false, "status": null, "body": null}),
        }
    }

    /// Up to three tries; only HTTP 200 in time ends them early. A retry repeats the request byte for byte.
    async fn push(&self, push: &Push) -> Outcome {
        let mut outcome = Outcome { attempts: 0, status: None, body: None };
        while outcome.attempts < ATTEMPTS && outcome.status != Some(200) {
            outcome.attempts += 1;
            (outcome.status, outcome.body) = self.way.post(push).await.unzip();
        }
        outcome
    }
}

async fn work(world: Arc<World>) {
    while let Some(job) = world.deliveries.next() {
        deliver(&world, job).await;
    }
}

/// Delivers one event and lets those go that it was to overtake. `None` when the app has no callback any more.
async fn deliver(world: &Arc<World>, job: Job) -> Option<Outcome> {
    let Job { app, event, pending } = job;
    let push = event::write(world, &app, &event)?;
    let outcome = world.deliveries.push(&push).await;
    if outcome.status != Some(200) {
        tracing::debug!(
            event = event.name(),
            attempts = outcome.attempts,
            status = outcome.status,
            "callback not taken"
        );
    }
    record(world, &app, &event, Some(&outcome), "");
    world.deliveries.release(world, &app);
    drop(pending);
    Some(outcome)
}

fn record(world: &World, app: &App, event: &Event, outcome: Option<&Outcome>, note: &'static str) {
    let record = CallbackRecord {
        at: world.now(),
        event: event.name(),
        openid: Arc::clone(&event.openid),
        attempts: outcome.map_or(0, |outcome| outcome.attempts),
        status: outcome.and_then(|outcome| outcome.status),
        note,
    };
    app.state().callbacks.push(record);
}
