//! Parked messages whose time comes within the next minute go back to the queue: earliest deadline first within a
//! category, and no more of them than the windows hold that they would be sent in and the channel's rate lets go.

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

/// Time between two ticks, in seconds: what the rate lets go later is left to the next.
const TICK_SECONDS: i64 = 60;

/// What the rate lets go within so many seconds is brought back together: one delivery sends it under one lease.
const TOGETHER_SECONDS: i64 = 10;

/// Messages brought back in one tick at the most.
const RELEASE_MAX: u32 = 5_000;

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

/// What windows and rate let go of a channel's waiting messages. What is past its deadline goes too: dispatch ends it.
fn choose(
    channel: Option<&Channel>,
    quota: &Quota,
    mut due: Vec<(Timestamp, Key, Parked)>,
    now: Timestamp,
) -> Vec<Chosen> {
    due.sort_by_key(|(_, _, parked)| (parked.category, parked.deadline));
    let mut taken: BTreeMap<i64, u32> = BTreeMap::new();
    let mut count = 0;
    let mut chosen = Vec::new();
    for (due, key, parked) in due {
        if parked.deadline <= now {
            chosen.push(Chosen { key, parked, at: now });
            continue;
        }
        let Some(turn) = turn(channel, quota, count, now) else { continue };
        let (at, room) = opening(channel, quota, &parked, due.max(turn), now);
        // Messages of one minute share its windows' room.
        let taken = taken.entry(at.as_second().div_euclid(60)).or_default();
        if *taken < room && count < RELEASE_MAX {
            *taken += 1;
            count += 1;
            chosen.push(Chosen { key, parked, at });
        }
    }
    chosen
}

/// From when on the rate lets the message with number `count` go, if it does before the next tick.
fn turn(channel: Option<&Channel>, quota: &Quota, count: u32, now: Timestamp) -> Option<Timestamp> {
    // Without a channel dispatch says what is wrong.
    let Some(channel) = channel else { return Some(now) };
    let seconds = quota.rate_start(channel, count, now).as_second() - now.as_second();
    (seconds < TICK_SECONDS).then(|| plus_seconds(now, seconds - seconds.rem_euclid(TOGETHER_SECONDS)))
}

/// When a message that may go at `at` finds room, as far as this tick looks ahead, and how much.
fn opening(
    channel: Option<&Channel>,
    quota: &Quota,
    parked: &Parked,
    at: Timestamp,
    now: Timestamp,
) -> (Timestamp, u32) {
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

#[cfg(test)]
mod tests {
    use tidepost_core::category::Category;
    use tidepost_core::ids::MessageId;
    use tidepost_core::quota::Need;
    use tidepost_core::reply::QuotaPeriod;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const NOW: &str = "2026-11-21T10:00:00Z";

    fn channel(rate: u32) -> Channel {
        let text = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S"}"#;
        Channel { rate_limit_per_second: rate, ..serde_json::from_str(text).unwrap() }
    }

    /// So many messages that could go already.
    fn overdue(count: usize, deadline: &str) -> Vec<(Timestamp, Key, Parked)> {
        let one = |n: usize| {
            let id = MessageId::derive("shop", "k", &n.to_string(), at(NOW));
            let parked = Parked { id, channel: "shop".to_owned(), category: Category::Basic, deadline: at(deadline) };
            (at("2026-11-21T09:59:00Z"), Key::new("W", n.to_string()), parked)
        };
        (0..count).map(one).collect()
    }

    /// How many are brought back, by the seconds from now.
    fn chosen(channel: &Channel, quota: &Quota, due: Vec<(Timestamp, Key, Parked)>) -> BTreeMap<i32, usize> {
        let mut counts = BTreeMap::new();
        for one in choose(Some(channel), quota, due, at(NOW)) {
            *counts.entry(delay(one.at, at(NOW))).or_default() += 1;
        }
        counts
    }

    #[test]
    fn no_more_comes_back_than_the_rate_lets_go_until_the_next_tick() {
        let due = || overdue(300, "2026-11-21T11:00:00Z");
        let evenly = [0, 10, 20, 30, 40, 50].map(|second| (second, 20));
        assert_eq!(chosen(&channel(2), &Quota::default(), due()), BTreeMap::from(evenly));
        assert_eq!(chosen(&channel(1_000), &Quota::default(), due()), BTreeMap::from([(0, 300)]));
        // What is booked already has its starts first.
        let need = Need { id: "a", units: 20, category: Category::Basic, use_by: at("2026-11-21T10:01:00Z") };
        let (booked, leased) = Quota::default().lease(&channel(2), need, at(NOW)).unwrap();
        assert_eq!(leased.units, 20);
        let later = [10, 20, 30, 40, 50].map(|second| (second, 20));
        assert_eq!(chosen(&channel(2), &booked, due()), BTreeMap::from(later));
    }

    #[test]
    fn nothing_comes_back_while_the_platform_keeps_its_window_closed_but_what_is_over() {
        let channel = channel(1_000);
        let closed = Quota::default().exhausted(&channel, QuotaPeriod::Day, at(NOW));
        let mut due = overdue(3, "2026-11-21T11:00:00Z");
        assert_eq!(chosen(&channel, &closed, due.clone()), BTreeMap::new());
        assert_eq!(chosen(&channel, &closed.reopened(at(NOW)), due.clone()), BTreeMap::from([(0, 3)]));
        due.extend(overdue(2, NOW));
        assert_eq!(chosen(&channel, &closed, due), BTreeMap::from([(0, 2)]));
    }
}
