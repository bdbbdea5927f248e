//! The functions and what invokes them: HTTP calls, the send queue, the schedules.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost::stack::host::event::{http, schedule, sqs};
use tidepost::stack::host::functions::{ScheduledFunction, dispatch};
use tidepost::stack::host::routes::{Route, route};
use tokio::task::JoinSet;

use crate::invocation;
use crate::world::World;

/// How long a call over HTTP may take.
const HTTP_LIMIT: Duration = Duration::from_secs(10);
/// How long a batch may take: as long as the queue hides it.
const BATCH_LIMIT: Duration = Duration::from_secs(60);
/// How long a tick may take.
const TICK_LIMIT: Duration = Duration::from_secs(60);
/// Batches under way at once at the most.
const BATCHES_MAX: usize = 4;
/// How long the event source mapping waits when all its slots are taken.
const SLOT_PAUSE: Duration = Duration::from_millis(200);

impl World {
    async fn invoke<T, F: Future<Output = T>>(
        &self,
        limit: Duration,
        handler: impl FnOnce(tidepost_io::app::App) -> F,
    ) -> Option<T> {
        let answer = invocation::run(&self.app, &self.clock, &self.chance, limit, handler).await;
        self.history().crashes += u64::from(answer.is_none());
        answer
    }

    /// One HTTP call; `None` when there is no answer.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<(u16, String)> {
        let call = http::Call {
            method,
            path,
            query,
            protocol: "HTTP/1.1",
            headers,
            body,
            source_ip: "198.51.100.7",
            request_id: "simulation",
            at: self.clock.now(),
        };
        let event = serde_json::from_str(&call.event()).expect("the event is the documented one");
        let Route::Function(function) = route(path) else { return None };
        let answer = self.invoke(HTTP_LIMIT, |app| async move { function.handle(&app, event).await }).await?.ok()?;
        if self.chance.is(self.chance.rates().lost_answer) {
            return None;
        }
        let answer: http::Answer = serde_json::from_value(serde_json::to_value(answer).ok()?).ok()?;
        let status = answer.status_code;
        Some((status, String::from_utf8(answer.into_body()?).ok()?))
    }

    /// Moves messages from the queue to `dispatch`, for ever.
    pub(crate) async fn pump(self: Arc<Self>) {
        let mut batches: JoinSet<()> = JoinSet::new();
        loop {
            while batches.try_join_next().is_some() {}
            let now = self.clock.now();
            match self.aws.queues.next_visible() {
                Some(at) if at <= now && batches.len() < BATCHES_MAX => {
                    // More may come in the meantime, as within a batching window.
                    tokio::time::sleep(self.chance.milliseconds(0, 300)).await;
                    let batch = Arc::new(self.aws.queues.take());
                    let copies = 1 + usize::from(self.chance.is(self.chance.rates().batch_twice));
                    for _ in 0..copies {
                        batches.spawn(Arc::clone(&self).deliver(Arc::clone(&batch)));
                    }
                }
                Some(at) if at > now => {
                    let until = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    tokio::select! {
                        biased;
                        () = self.aws.queues.added.notified() => {}
                        () = tokio::time::sleep(until) => {}
                    }
                }
                Some(_) => tokio::time::sleep(SLOT_PAUSE).await,
                None => self.aws.queues.added.notified().await,
            }
        }
    }

    async fn deliver(self: Arc<Self>, batch: Arc<Vec<Message>>) {
        if batch.is_empty() {
            return;
        }
        let event = sqs::event(&batch, "arn:aws:sqs:us-east-1:000000000000:tidepost-now");
        let event = serde_json::from_str(&event).expect("the event is the documented one");
        let answer = self.invoke(BATCH_LIMIT, |app| async move { dispatch(&app, event).await }).await;
        let Some(Ok(answer)) = answer else { return };
        let failed: Vec<String> =
            answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        let ids = batch.iter().filter_map(|message| message.message_id.as_deref());
        let done: Vec<&str> = ids.filter(|id| !failed.iter().any(|failed| failed == id)).collect();
        // Lambda's own delete may fail like everything else: then they come again.
        if !self.chance.is(self.chance.rates().lost_request) {
            self.aws.queues.done(&done);
        }
    }

    /// One tick of a schedule, with what schedules do to it.
    pub(crate) async fn tick(self: &Arc<Self>, function: ScheduledFunction) {
        let rates = self.chance.rates();
        if self.chance.is(rates.tick_missed) {
            return;
        }
        let copies = 1 + usize::from(self.chance.is(rates.tick_twice));
        let at = self.clock.now();
        let mut ticks = JoinSet::new();
        for _ in 0..copies {
            let world = Arc::clone(self);
            ticks.spawn(async move { world.fire(function, at).await });
        }
        ticks.join_all().await;
    }

    async fn fire(&self, function: ScheduledFunction, at: Timestamp) {
        if self.chance.rates().tick_twice > 0.0 {
            tokio::time::sleep(self.chance.milliseconds(0, 4_000)).await;
        }
        let event = schedule::event("simulation", function.name(), "us-east-1", at, &json!({}));
        let event = serde_json::from_str(&event).expect("the event is the documented one");
        drop(self.invoke(TICK_LIMIT, |app| async move { function.handle(&app, event).await }).await);
    }

    /// A call of the backend, tried until it is answered: `None` when it never was.
    pub(crate) async fn api(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        for _ in 0..API_TRIES {
            let mut headers = vec![("authorization", BEARER), ("content-type", "application/json")];
            headers.extend(key.map(|key| ("idempotency-key", key)));
            let answer = self.http(method, path, query, &headers, body.as_bytes()).await;
            if let Some((status, text)) = answer.filter(|(status, _)| *status < 500) {
                return Some((status, serde_json::from_str(&text).unwrap_or_default()));
            }
            tokio::time::sleep(self.chance.milliseconds(500, 3_000)).await;
        }
        None
    }
}

/// How often the backend tries before it gives up.
const API_TRIES: usize = 40;
const BEARER: &str = "Bearer tp_simulation.0123456789abcdef0123456789abcdef";
