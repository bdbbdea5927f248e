//! A Lambda-like host: runs the handlers of `functions/` as AWS would, in this process.
//!
//! ```text
//! http.rs      one call       ─► event/http.rs      ─► callback, enqueue, admin, report
//! pump.rs      SQS batches    ─► event/sqs.rs       ─► dispatch, sweep
//! schedule.rs  each minute    ─► event/schedule.rs  ─► release, metrics
//! lambda.rs    any event      ─► (as it is)         ─► enqueue, release, metrics
//! ```
//!
//! Every event is the service's own JSON text, parsed again, so a handler sees what it would see in AWS. A handler that
//! fails or panics fails its invocation and nothing else.

pub mod activity;
pub mod event;
pub mod functions;
mod http;
mod invoke;
mod lambda;
mod pump;
pub mod routes;
mod schedule;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tidepost_io::app::App;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle};

use crate::stack::aws::resources::Resources;
use crate::stack::host::activity::Activity;
use crate::stack::host::functions::{QueueFunction, ScheduledFunction};
use crate::stack::host::pump::Pump;
use crate::stack::host::schedule::Ticks;
use crate::stack::serve::serve;
use crate::stack::stop::Stop;

/// How long invocations in flight may take when the host ends.
const LAST_INVOCATIONS: Duration = Duration::from_secs(8);
/// How long the last answers may take to leave after that.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The SQS stand-in looks for messages every 100 ms while a receive waits.
const LONGEST_GAP_OF_COUNTS: Duration = Duration::from_millis(150);

/// Flights of campaigns at once: each waits seconds for its start and then makes some 200 calls.
const FLIGHTS_MAX: usize = 32;
/// Steps of sweeps at once.
const STEPS_MAX: usize = 4;

/// How the host feeds a function from a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostSettings {
    /// Messages of one invocation at the most.
    pub batch_size: usize,
    /// How long to gather them after the first.
    pub batching_window: Duration,
    /// Invocations at once.
    pub maximum_concurrency: usize,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { batch_size: 100, batching_window: Duration::from_millis(200), maximum_concurrency: 4 }
    }
}

impl HostSettings {
    /// One message at a time, at once.
    fn one_by_one(maximum_concurrency: usize) -> Self {
        Self { batch_size: 1, batching_window: Duration::ZERO, maximum_concurrency }
    }
}

/// What the parts of a host share.
#[derive(Clone)]
struct Context {
    app: App,
    activity: Activity,
    stop: Stop,
}

/// A running host.
pub struct Host {
    context: Context,
    sqs: aws_sdk_sqs::Client,
    queue_urls: Vec<String>,
    ticks: Vec<Ticks>,
    tasks: Vec<JoinHandle<()>>,
}

impl Host {
    /// Starts the pumps, the schedules, the HTTP front and, at `lambda`, invocations by hand. `settings` are those of the queue
    /// of single messages.
    #[must_use]
    pub fn start(
        app: App,
        api: TcpListener,
        lambda: TcpListener,
        sqs: aws_sdk_sqs::Client,
        resources: &Resources,
        settings: HostSettings,
    ) -> Self {
        let context = Context { app, activity: Activity::default(), stop: Stop::default() };
        let fed = [
            (&resources.now, QueueFunction::Dispatch, settings),
            (&resources.bulk, QueueFunction::Dispatch, HostSettings::one_by_one(FLIGHTS_MAX)),
            (&resources.sweep, QueueFunction::Sweep, HostSettings::one_by_one(STEPS_MAX)),
        ];
        let mut tasks = Vec::new();
        for (queue, function, settings) in fed {
            let pump = Pump::new(context.clone(), function, sqs.clone(), queue.clone(), settings);
            tasks.push(tokio::spawn(pump.run()));
        }
        let mut ticks = Vec::new();
        for function in ScheduledFunction::ALL {
            let tick = Ticks::starting_at(context.app.clock.now());
            tasks.push(tokio::spawn(schedule::run(function, context.clone(), tick.clone())));
            ticks.push(tick);
        }
        let router = http::router(context.clone());
        tasks.push(tokio::spawn(serve("the API", api, router, context.stop.clone())));
        let by_hand = lambda::router(context.clone());
        tasks.push(tokio::spawn(serve("invocations by hand", lambda, by_hand, context.stop.clone())));
        let queue_urls = fed.map(|(queue, _, _)| queue.url.clone()).into();
        Self { context, sqs, queue_urls, ticks, tasks }
    }

    /// Brings back what was on a queue that is gone: an embedded queue does not survive its process.
    pub fn bring_back_lost(&mut self) {
        self.tasks.push(tokio::spawn(schedule::queue_lost(self.context.clone())));
    }

    /// What is going on.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.context.activity
    }

    /// A view for those who wait until nothing is going on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch {
            activity: self.context.activity.clone(),
            clock: self.context.app.clock.clone(),
            sqs: self.sqs.clone(),
            queue_urls: self.queue_urls.clone(),
            ticks: self.ticks.clone(),
            queue_busy_at: Arc::default(),
        }
    }

    /// Takes no more, finishes what is in flight within 8 s, and drops the rest.
    pub async fn stop(self) {
        self.context.stop.begin();
        let settled = tokio::time::timeout(LAST_INVOCATIONS, self.context.activity.settled()).await;
        if settled.is_err() {
            tracing::error!(in_flight = ?self.context.activity.now(), "invocations did not end in time and are dropped");
        }
        self.context.stop.finish();
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        drop(tokio::time::timeout(LAST_ANSWERS, join_all(self.tasks)).await);
        aborts.iter().for_each(AbortHandle::abort);
    }
}

/// Sees whether a host and its queues have nothing to do.
#[derive(Clone)]
pub struct Watch {
    activity: Activity,
    clock: tidepost_io::clock::Clock,
    sqs: aws_sdk_sqs::Client,
    queue_urls: Vec<String>,
    ticks: Vec<Ticks>,
    queue_busy_at: Arc<Mutex<Option<Instant>>>,
}

impl Watch {
    /// How much work was ever begun: what was read from the stores stays true while this does not change.
    #[must_use]
    pub fn work_begun(&self) -> u64 {
        self.activity.now().begun
    }

    /// Whether nothing is in flight: no invocation, no HTTP call, every schedule has fired for this minute, and the queues
    /// are empty, hidden and delayed messages included.
    pub async fn is_idle(&self) -> bool {
        let before = self.activity.now();
        let now = self.clock.now();
        if !before.is_quiet() || !self.ticks.iter().all(|ticks| ticks.has_fired_for(now)) {
            return false;
        }
        self.are_queues_empty().await && self.activity.now().is_unchanged_since(&before)
    }

    /// Between the end of its time-out and its next receive a message is in none of the queue's counts, so the queue has
    /// to look empty for longer than that takes.
    async fn are_queues_empty(&self) -> bool {
        let looks = self.queue_urls.iter().map(|url| pump::is_empty(&self.sqs, url));
        let is_empty = join_all(looks).await.into_iter().all(|is_empty| is_empty);
        let mut busy_at = self.queue_busy_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_empty {
            *busy_at = Some(Instant::now());
        }
        busy_at.is_none_or(|at| at.elapsed() > LONGEST_GAP_OF_COUNTS)
    }
}
