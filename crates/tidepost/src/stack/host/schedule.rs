//! The schedules: each function once a minute of the stack's clock, at the full minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lambda_events::eventbridge::EventBridgeEvent;
use jiff::Timestamp;
use lambda_runtime::Error;
use serde_json::{Value, json};

use crate::stack::aws::REGION;
use crate::stack::host::Context;
use crate::stack::host::activity::Work;
use crate::stack::host::event::schedule;
use crate::stack::host::functions::ScheduledFunction;
use crate::stack::host::invoke::{invoke, request_id};

const MINUTE_SECONDS: i64 = 60;

/// The last minute that a schedule fired for. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Ticks {
    last: Arc<AtomicI64>,
}

impl Ticks {
    /// As if the minute of `now` had been fired for already.
    pub(super) fn starting_at(now: Timestamp) -> Self {
        Self { last: Arc::new(AtomicI64::new(minute(now))) }
    }

    /// Whether nothing is to be fired at `now`.
    pub(super) fn has_fired_for(&self, now: Timestamp) -> bool {
        self.last.load(Ordering::SeqCst) >= minute(now)
    }

    fn next(&self) -> Timestamp {
        start(self.last.load(Ordering::SeqCst) + 1)
    }

    /// Takes the latest minute, once the next has begun; minutes that a jump skipped are not made up for.
    fn take(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = minute(now);
        let last = self.last.fetch_max(latest, Ordering::SeqCst);
        (latest > last).then(|| start(latest))
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(MINUTE_SECONDS)
}

fn start(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(MINUTE_SECONDS)).unwrap_or(Timestamp::MAX)
}

/// Runs until the host ends. A function that takes longer than a minute is not started again meanwhile.
pub(super) async fn run(function: ScheduledFunction, context: Context, ticks: Ticks) {
    loop {
        tokio::select! {
            () = context.stop.begun() => return,
            () = context.app.clock.sleep_until(ticks.next()) => {}
        }
        // Counted from here on, so that nobody sees the minute taken and nothing in flight.
        let _guard = context.activity.begin(Work::Handover);
        if let Some(tick) = ticks.take(context.app.clock.now()) {
            fire(function, &context, tick, &json!({})).await;
        }
    }
}

/// Tells release that the queue is new: what was on the one before is brought back from the ledger.
pub(super) async fn queue_lost(context: Context) {
    let now = context.app.clock.now();
    fire(ScheduledFunction::Release, &context, now, &json!({"queue_lost": true})).await;
}

async fn fire(function: ScheduledFunction, context: &Context, tick: Timestamp, detail: &Value) {
    let event = schedule::event(&request_id(), &format!("tidepost-{}", function.name()), REGION, tick, detail);
    let app = context.app.clone();
    let handler = async move {
        let event: EventBridgeEvent<Value> = serde_json::from_str(&event)?;
        function.handle(&app, event).await?;
        Ok::<(), Error>(())
    };
    // Its failure is logged by `invoke`; the next tick repeats the work.
    drop(invoke(function.name(), &context.activity, &context.stop, handler).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_minute_fires_once_and_the_first_is_the_next_full_one() {
        let ticks = Ticks::starting_at(at("2026-11-21T10:00:30Z"));
        assert_eq!(ticks.next(), at("2026-11-21T10:01:00Z"));
        assert_eq!(ticks.take(at("2026-11-21T10:00:59.999Z")), None);
        assert_eq!(ticks.take(at("2026-11-21T10:01:00.004Z")), Some(at("2026-11-21T10:01:00Z")));
        assert_eq!(ticks.take(at("2026-11-21T10:01:59Z")), None);
    }

    #[test]
    fn after_a_jump_only_the_latest_minute_fires() {
        let ticks = Ticks::starting_at(at("2026-11-21T10:00:00Z"));
        let later = at("2026-11-21T18:30:20Z");
        assert!(!ticks.has_fired_for(later));
        assert_eq!(ticks.take(later), Some(at("2026-11-21T18:30:00Z")));
        assert!(ticks.has_fired_for(later));
        assert_eq!(ticks.next(), at("2026-11-21T18:31:00Z"));
    }
}
