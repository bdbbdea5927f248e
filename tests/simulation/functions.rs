//! The functions and what invokes them: HTTP calls and schedules.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost::stack::host::event::{http, schedule};
use tidepost::stack::host::functions::ScheduledFunction;
use tidepost::stack::host::routes::{Route, route};
use tokio::task::JoinSet;

use crate::invocation;
use crate::world::World;

/// How long a call over HTTP may take.
const HTTP_LIMIT: Duration = Duration::from_secs(10);
/// How long a tick may take.
const TICK_LIMIT: Duration = Duration::from_secs(60);

impl World {
    /// Invokes a function, which may take so long.
    pub(crate) async fn invoke<T, F: Future<Output = T>>(
        &self,
        function: (&'static str, Duration),
        handler: impl FnOnce(tidepost_io::app::App) -> F,
    ) -> Option<T> {
        // Boxed: a handler is a big future, and whoever waits for one would hold it.
        let answer = Box::pin(invocation::run(&self.app, &self.clock, &self.chance, function, handler)).await;
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
        let limits = (function.name(), HTTP_LIMIT);
        let answer = self.invoke(limits, |app| async move { function.handle(&app, event).await }).await?.ok()?;
        if self.chance.is(self.chance.rates().lost_answer) {
            return None;
        }
        let answer: http::Answer = serde_json::from_value(serde_json::to_value(answer).ok()?).ok()?;
        let status = answer.status_code;
        Some((status, String::from_utf8(answer.into_body()?).ok()?))
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
        let limits = (function.name(), TICK_LIMIT);
        drop(self.invoke(limits, |app| async move { function.handle(&app, event).await }).await);
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
