//! Parked messages whose time has come go back to the queue: earliest deadline first within a category, and no more of
//! them than the open windows hold.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tidepost_core::ids::SubscriberId;
use tidepost_io::app::App;
use tidepost_io::messages::Parked;
use tidepost_io::queue::MessageTask;
use tidepost_io::store::Key;

/// Messages brought back in one tick at the most.
const RELEASE_MAX: usize = 5_000;

/// Rows forgotten at a time.
const CONCURRENCY: usize = 32;

type Due = Vec<(Key, Parked)>;

/// Brings back what may go now.
pub async fn release(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let due = app.store.due(now).await.map_err(|error| error.to_string())?;
    let mut by_channel: BTreeMap<String, Due> = BTreeMap::new();
    for (key, parked) in due {
        by_channel
            .entry(parked.channel.clone())
            .or_default()
            .push((key, parked));
    }
    for (channel, due) in by_channel {
        let chosen = choose(app, &channel, due, now).await?;
        bring_back(app, chosen).await?;
    }
    Ok(())
}

/// What of a channel's waiting messages the open windows hold. What is past its deadline goes too: dispatch ends it.
async fn choose(app: &App, id: &str, mut due: Due, now: Timestamp) -> Result<Due, String> {
    let channel = app.store.channel(id).await.map_err(|error| error.to_string())?;
    let quota = app.store.quota(id).await.map_err(|error| error.to_string())?;
    due.sort_by_key(|(_, parked)| (parked.category, parked.deadline));
    let mut taken = 0;
    due.retain(|(_, parked)| {
        let room = channel
            .as_ref()
            .map_or(u32::MAX, |channel| quota.room_left(channel, parked.category, now));
        let goes = parked.deadline <= now || taken < room;
        taken += u32::from(goes && parked.deadline > now);
        goes
    });
    due.truncate(RELEASE_MAX);
    Ok(due)
}

/// Queues first, forgets after: what is queued twice is sent once.
async fn bring_back(app: &App, chosen: Due) -> Result<(), String> {
    let rows = app
        .store
        .messages(&chosen.iter().map(|(_, parked)| parked.id).collect::<Vec<_>>())
        .await;
    let rows = rows.map_err(|error| error.to_string())?;
    let task = |(id, row): &(_, tidepost_core::message::Message)| MessageTask {
        id: *id,
        to: SubscriberId::new(&row.to.channel, &row.to.openid),
        not_after: row.deadline,
    };
    app.now_queue
        .send_all(rows.iter().map(task).collect())
        .await
        .map_err(|error| error.to_string())?;
    let forgotten: Vec<_> = chosen.iter().map(|(key, _)| app.store.delete(key)).collect();
    let mut forgotten = stream::iter(forgotten).buffer_unordered(CONCURRENCY);
    while let Some(done) = forgotten.next().await {
        done.map_err(|error| error.to_string())?;
    }
    Ok(())
}
