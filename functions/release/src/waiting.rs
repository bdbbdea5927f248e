//! Parked messages whose time comes within the next minute go back to the queue: earliest deadline first within a
//! category, and no more of them than the windows hold that they would be sent in.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tidepost_core::channel::Channel;
use tidepost_core::quota::Quota;
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::messages::Parked;
use tidepost_io::queue::MessageTask;
use tidepost_io::store::{Key, StoreError};

/// How far a tick looks ahead, in seconds: until the next one has surely run. The queue holds a message back until its
/// second, so that what may go 2 s after an edge does not wait for the next full minute.
const AHEAD_SECONDS: i64 = 65;

/// Messages brought back in one tick at the most.
const RELEASE_MAX: usize = 5_000;

/// Rows forgotten at a time.
const CONCURRENCY: usize = 32;

/// A parked message and when it would be sent.
struct Chosen {
    key: Key,
    parked: Parked,
    at: Timestamp,
}

/// Brings back what may go until the next tick.
pub async fn release(app: &App) -> Result<(), String> {
    release_due(app).await.map_err(|error| error.to_string())
}

async fn release_due(app: &App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let now = app.clock.now();
    let mut by_channel: BTreeMap<String, Vec<(Timestamp, Key, Parked)>> = BTreeMap::new();
    for (due, key, parked) in app.store.due(plus_seconds(now, AHEAD_SECONDS)).await? {
        by_channel.entry(parked.channel.clone()).or_default().push((due, key, parked));
    }
    for (id, due) in by_channel {
        let channel = app.store.channel(&id).await?;
        let quota = app.store.quota(&id).await?;
        let chosen = choose(channel.as_ref(), &quota, due, now);
        bring_back(app, chosen, now).await?;
    }
    Ok(())
}

/// What the windows hold of a channel's waiting messages. What is past its deadline goes too: dispatch ends it.
fn choose(
    channel: Option<&Channel>,
    quota: &Quota,
    mut due: Vec<(Timestamp, Key, Parked)>,
    now: Timestamp,
) -> Vec<Chosen> {
    due.sort_by_key(|(_, _, parked)| (parked.category, parked.deadline));
    let mut taken: BTreeMap<i64, u32> = BTreeMap::new();
    let mut chosen = Vec::new();
    for (due, key, parked) in due {
        let (at, room) = opening(channel, quota, &parked, due.max(now), now);
        // Messages of one minute share its windows' room.
        let taken = taken.entry(at.as_second().div_euclid(60)).or_default();
        let is_over = parked.deadline <= now;
        if is_over || (*taken < room && chosen.len() < RELEASE_MAX) {
            *taken += u32::from(!is_over);
            chosen.push(Chosen { key, parked, at });
        }
    }
    chosen
}

/// When a message that may go at `at` finds room, as far as this tick looks ahead, and how much.
fn opening(
    channel: Option<&Channel>,
    quota: &Quota,
    parked: &Parked,
    at: Timestamp,
    now: Timestamp,
) -> (Timestamp, u32) {
    // Without a channel dispatch says what is wrong.
    let Some(channel) = channel else { return (at, u32::MAX) };
    let room = quota.room_left(channel, parked.category, at);
    let later = quota.next_room(channel, at);
    if room > 0 || later > plus_seconds(now, AHEAD_SECONDS) {
        return (at, room);
    }
    (later, quota.room_left(channel, parked.category, later))
}

/// Queues first, forgets after: what is queued twice is sent once.
async fn bring_back(
    app: &App,
    chosen: Vec<Chosen>,
    now: Timestamp,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rows = app.store.messages(&chosen.iter().map(|one| one.parked.id).collect::<Vec<_>>()).await?;
    let delays: BTreeMap<String, i32> =
        chosen.iter().map(|one| (one.parked.id.to_string(), delay(one.at, now))).collect();
    let tasks = rows.into_iter().map(|(id, row)| {
        let task = MessageTask { id, to: row.subscriber(), not_after: row.deadline };
        (task, delays.get(&id.to_string()).copied().unwrap_or(0))
    });
    app.now_queue.send_all(tasks.collect()).await?;
    let forgotten: Vec<_> = chosen.iter().map(|one| app.store.delete(&one.key)).collect();
    let forgotten: Vec<Result<(), StoreError>> = stream::iter(forgotten).buffer_unordered(CONCURRENCY).collect().await;
    forgotten.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

/// Whole seconds from `now` until not before `at`.
fn delay(at: Timestamp, now: Timestamp) -> i32 {
    let milliseconds = at.as_millisecond() - now.as_millisecond();
    i32::try_from(milliseconds.div_euclid(1_000) + i64::from(milliseconds.rem_euclid(1_000) > 0)).unwrap_or(0).max(0)
}
