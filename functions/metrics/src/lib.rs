//! `metrics`: adds receipts up to roll-ups, an hour at a time, and puts the brake on what does harm.
//!
//! Every roll-up is computed from all receipts of its hour and replaces the one before, so that running twice, or dying
//! in between, changes nothing.

mod brake;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use jiff::Timestamp;
use lambda_runtime::Error;
use serde_json::Value;
use tidepost_core::recover::DELIVERY_SECONDS;
use tidepost_core::time::{hour_of, plus_seconds};
use tidepost_io::app::App;
use tidepost_io::messages::KEPT_SECONDS;
use tidepost_io::store::StoreError;

const HOUR_SECONDS: i64 = 3_600;

/// How long after its end an hour is added up, in seconds: deliveries that began in it have left their receipts.
const SETTLING_SECONDS: i64 = DELIVERY_SECONDS + 60;

/// How far back a channel without any roll-up begins, in seconds.
const FIRST_LOOK_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Hours of one channel that one run adds up at the most; the next run goes on.
const HOURS_MAX: usize = 100;

/// Hours added up anew by one run at the most.
const DIRTY_MAX: usize = 200;

/// Runs once a minute.
///
/// # Errors
/// When some hour could not be added up; the next run tries again.
pub async fn handle(app: &App, _event: EventBridgeEvent<Value>) -> Result<(), Error> {
    let now = app.clock.now();
    let mut failed = None;
    for (channel, hour) in app.store.dirty_hours().await?.into_iter().take(DIRTY_MAX) {
        failed = refresh(app, &channel, hour, now).await.err().or(failed);
    }
    for channel in app.store.channels().await?.keys() {
        failed = advance(app, channel, now).await.err().or(failed);
        failed = brake::brake(app, channel, now).await.err().or(failed);
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Adds up the hours that are over and were not added up yet.
async fn advance(app: &App, channel: &str, now: Timestamp) -> Result<(), StoreError> {
    let done = app.store.rolled_up_until(channel).await?;
    let hours = settled_hours(done, now);
    for hour in &hours {
        app.store.roll_up_hour(channel, *hour).await?;
    }
    match hours.last() {
        Some(last) => app.store.put_rolled_up_until(channel, plus_seconds(*last, HOUR_SECONDS)).await,
        None => Ok(()),
    }
}

/// Adds up an hour that got receipts late.
async fn refresh(app: &App, channel: &str, hour: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    if now >= plus_seconds(hour, KEPT_SECONDS) {
        // Its receipts are gone: what was added up while they were there stays.
        return app.store.clear_dirty(channel, hour).await;
    }
    app.store.roll_up_hour(channel, hour).await?;
    app.store.clear_dirty(channel, hour).await?;
    // Once more for a receipt that came after the first look and whose mark was just removed. Without the first look, a
    // run that died here would leave the hour neither marked nor right.
    app.store.roll_up_hour(channel, hour).await
}

/// The hours from `done` on that are over for good at `now`, earliest first.
fn settled_hours(done: Option<Timestamp>, now: Timestamp) -> Vec<Timestamp> {
    let first = done.unwrap_or_else(|| hour_of(plus_seconds(now, -FIRST_LOOK_SECONDS)));
    let hours = std::iter::successors(Some(first), |hour| Some(plus_seconds(*hour, HOUR_SECONDS)));
    let is_settled = |hour: &Timestamp| plus_seconds(*hour, HOUR_SECONDS + SETTLING_SECONDS) <= now;
    hours.take_while(is_settled).take(HOURS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_hour_is_added_up_once_its_deliveries_are_through() {
        let done = Some(at("2026-11-21T10:00:00Z"));
        assert_eq!(settled_hours(done, at("2026-11-21T11:03:59Z")), []);
        assert_eq!(settled_hours(done, at("2026-11-21T11:04:00Z")), [at("2026-11-21T10:00:00Z")]);
        assert_eq!(settled_hours(Some(at("2026-11-21T11:00:00Z")), at("2026-11-21T11:04:00Z")), []);
    }

    #[test]
    fn after_a_pause_all_hours_are_made_up_for_in_bounded_runs() {
        let now = at("2026-11-21T10:30:00Z");
        let mut done = at("2026-11-11T00:00:00Z");
        let mut count = 0;
        loop {
            let hours = settled_hours(Some(done), now);
            assert!(hours.len() <= HOURS_MAX);
            let Some(last) = hours.last() else { break };
            count += hours.len();
            done = plus_seconds(*last, HOUR_SECONDS);
        }
        assert_eq!((count, done), (250, at("2026-11-21T10:00:00Z")));
    }

    #[test]
    fn a_new_channel_begins_a_day_back() {
        let hours = settled_hours(None, at("2026-11-21T10:30:00Z"));
        assert_eq!(hours.first(), Some(&at("2026-11-20T10:00:00Z")));
        assert_eq!(hours.last(), Some(&at("2026-11-21T09:00:00Z")));
    }
}
