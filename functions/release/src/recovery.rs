//! The walk over the messages: whatever a queue lost, a crash left open or a deadline ended is found here.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::dispatch::may_repeat;
use tidepost_core::ids::{MessageId, SubscriberId, week_of};
use tidepost_core::message::{Message, Standing};
use tidepost_core::outcome::Ending;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{Entry as Noted, Receipt};
use tidepost_core::recover::{Recovery, TRANSIT_SECONDS, recover};
use tidepost_core::sends::RecentSend;
use tidepost_io::app::App;
use tidepost_io::ledger::Entry;
use tidepost_io::messages::MESSAGE_SHARDS;
use tidepost_io::queue::MessageTask;
use tidepost_io::store::{Key, StoreError};

/// Open rows looked after in one tick at the most: a small deployment is walked every minute, a big one in turn.
const ROWS_PER_TICK: usize = 4_000;

/// Pages read in one tick at the most. Most rows are over and cost no more than their part of a page.
const PAGES_PER_TICK: usize = 200;

/// Weeks in which messages may have been accepted that are still open: a deadline is at most 7 days off.
const LIVE_WEEKS: u8 = 3;

/// Rows in a page.
const PAGE_ROWS: i32 = 200;

/// Where the walk stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Cursor {
    /// Which of the shards of all live weeks, counted through.
    #[serde(rename = "s")]
    shard: u8,
    /// The last row that was looked at.
    #[serde(rename = "a", default)]
    after: Option<String>,
}

fn cursor_key() -> Key {
    Key::new("S", "message walk")
}

/// Walks on from where the last tick stopped, at most once around; all the way when the queue is known to be lost.
pub async fn walk(app: &App, queue_is_lost: bool) -> Result<(), String> {
    walk_on(app, queue_is_lost).await.map_err(|error| error.to_string())
}

async fn walk_on(app: &App, queue_is_lost: bool) -> Result<(), StoreError> {
    let (rows_max, pages_max, transit_seconds) = match queue_is_lost {
        true => (usize::MAX, usize::MAX, 0),
        false => (ROWS_PER_TICK, PAGES_PER_TICK, TRANSIT_SECONDS),
    };
    let week = week_of(app.clock.now());
    let stored = app.store.get::<Cursor>(&cursor_key()).await?;
    let mut cursor = stored.map(|stored| stored.value).unwrap_or_default();
    let start = cursor.clone();
    let (mut rows, mut pages) = (0, 0);
    let mut shards_done = 0;
    while rows < rows_max && pages < pages_max && shards_done <= LIVE_WEEKS * MESSAGE_SHARDS {
        let week = week.saturating_sub(u16::from(cursor.shard / MESSAGE_SHARDS));
        let shard = cursor.shard % MESSAGE_SHARDS;
        let page = app.store.message_page(week, shard, cursor.after.as_deref(), PAGE_ROWS).await?;
        pages += 1;
        rows += look_after(app, page.items, transit_seconds).await?;
        cursor.after = page.next;
        if cursor.after.is_none() {
            cursor.shard = (cursor.shard + 1) % (LIVE_WEEKS * MESSAGE_SHARDS);
            shards_done += 1;
        }
    }
    if cursor != start {
        app.store.put(&cursor_key(), &cursor, None).await?;
    }
    Ok(())
}

/// Looks after a page; returns how many of its rows are open.
async fn look_after(app: &App, rows: Vec<(String, Message)>, transit_seconds: i64) -> Result<usize, StoreError> {
    let open = rows.into_iter().filter(|(_, row)| !matches!(row.standing(), Standing::Ended { .. }));
    let open: Vec<(MessageId, Message)> = open.filter_map(|(id, row)| Some((MessageId::parse(&id)?, row))).collect();
    let subscribers: Vec<SubscriberId> = open.iter().map(|(_, row)| row.subscriber()).collect();
    // Before the people are read: what is reserved later is not taken for past its deadline unsent.
    let now = app.clock.now();
    let people: HashMap<SubscriberId, Entry> = app.store.people(&subscribers).await?;
    let (count, mut lost) = (open.len(), Vec::new());
    for (id, message) in open {
        let Some(entry) = people.get(&message.subscriber()) else {
            continue;
        };
        if look_after_one(app, id, &message, entry, transit_seconds, now).await? {
            lost.push((id, message));
        }
    }
    requeue(app, lost).await?;
    Ok(count)
}

/// Puts messages back on the queue, but for those that are parked: they only wait for room, and release sees to them.
async fn requeue(app: &App, lost: Vec<(MessageId, Message)>) -> Result<(), StoreError> {
    let until = |(id, message): &(MessageId, Message)| match message.standing() {
        Standing::Waiting { until, .. } => Some((*id, *until)),
        Standing::Queued | Standing::Ended { .. } => None,
    };
    let parked = app.store.parked(&lost.iter().filter_map(until).collect::<Vec<_>>()).await?;
    let lost = lost.into_iter().filter(|(id, _)| !parked.contains(id));
    let tasks =
        lost.map(|(id, message)| (MessageTask { id, to: message.subscriber(), not_after: message.deadline }, 0));
    if let Err(error) = app.now_queue.send_all(tasks.collect()).await {
        tracing::warn!(%error, "lost messages could not be queued; the next walk tries again");
    }
    Ok(())
}

/// Returns whether the message belongs back on the queue.
async fn look_after_one(
    app: &App,
    id: MessageId,
    message: &Message,
    entry: &Entry,
    transit_seconds: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let person = entry.person();
    let reserved = person.sends.find(id).copied();
    let receipt = match &reserved {
        Some(send) => app.store.receipt_of(&message.channel, send).await?,
        None => None,
    };
    match recover(message, reserved.as_ref(), receipt.as_ref(), person.erased_at.is_some(), transit_seconds, now) {
        Recovery::Leave => {}
        Recovery::Requeue => return Ok(true),
        Recovery::NoteCrash { may_repeat } => {
            if let Some(send) = reserved {
                note_crash(app, id, message, send, may_repeat, now).await?;
            }
        }
        Recovery::Settle { ending, needs_receipt: true, .. } => end(app, id, message, ending, now).await?,
        Recovery::Settle { ending, sent_at, needs_receipt: false } => {
            app.store.rewrite_message(id, &message.ended(ending, sent_at)).await?;
        }
    }
    Ok(false)
}

/// Ends a message of which no receipt tells. Who ends it at the same time, for another reason, leaves the same ending.
pub async fn end(
    app: &App,
    id: MessageId,
    message: &Message,
    ending: Ending,
    now: Timestamp,
) -> Result<(), StoreError> {
    let standing = app.store.put_ending(message, Noted { id, at: now, ending }).await?;
    app.store.rewrite_message(id, &message.ended(standing.ending, None)).await
}

/// A delivery reserved the message and was never heard of again: whether it called is unknown.
async fn note_crash(
    app: &App,
    id: MessageId,
    message: &Message,
    send: RecentSend,
    may_be_repeated: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    tracing::warn!(%id, "a delivery died between its reservation and its receipt");
    let reserved_at = Timestamp::from_second(i64::from(send.at)).unwrap_or(now);
    let reason = Reason::new(ReasonCode::Crash, "the delivery died before its outcome was noted");
    let receipt = receipt_for(id, message, reserved_at, &Ending::because(reason, None));
    app.store.put_late_receipt(&message.channel, send.hour(), send.nonce, &receipt).await?;
    if may_be_repeated {
        let to = message.subscriber();
        app.store.update_person(&to, |person| may_repeat(person, id, send.nonce)).await?;
        app.store.is_told_by_event(&to, id, send.hour(), send.nonce).await?;
    }
    Ok(())
}

fn receipt_for(id: MessageId, message: &Message, at: Timestamp, ending: &Ending) -> Receipt {
    let mut receipt = Receipt::default();
    receipt.add(&message.template, &message.topic, &Noted { id, at, ending: ending.clone() });
    receipt
}
