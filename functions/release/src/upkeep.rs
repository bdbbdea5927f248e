//! What channels need now and then: windows that the platform closed are opened again, templates are synced once a day.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use tidepost_core::channel::Channel;
use tidepost_core::sync::SyncMark;
use tidepost_io::app::App;
use tidepost_io::platform::Adapter;
use tidepost_io::platform::wechat::client::{SEND_PATH, WechatClient};
use tidepost_io::secret::Secret;
use tidepost_io::store::{Key, Stored};
use tidepost_io::sync::SyncError;

/// Opens windows that platforms had closed.
pub async fn reopen_windows(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let channels = channels(app).await?;
    all(channels.iter().map(|(id, channel)| reopen(app, id, channel, now))).await
}

/// Which channels' templates are synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sync {
    /// Of those whose last sync is a day old, or failed.
    Due,
    /// Of all.
    All,
}

/// Syncs the templates of channels. Those of a channel that is new are its owner's business for the first day.
pub async fn sync_templates(app: &App, which: Sync) -> Result<(), String> {
    let now = app.clock.now();
    let channels = channels(app).await?;
    all(channels.keys().map(|id| sync_one(app, id, which, now))).await
}

/// The channels whose platform this version can ask.
async fn channels(app: &App) -> Result<BTreeMap<String, Channel>, String> {
    let mut channels = app.store.channels().await.map_err(|error| error.to_string())?;
    channels.retain(|_, channel| app.platforms.adapter(channel.platform).is_ok());
    Ok(channels)
}

/// One channel's failure does not stop the others.
async fn all(parts: impl Iterator<Item = impl Future<Output = Result<(), String>>>) -> Result<(), String> {
    let failed: Vec<String> = join_all(parts).await.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Opens a window that the platform had closed, once the platform itself counts units left.
async fn reopen(app: &App, id: &str, channel: &Channel, now: Timestamp) -> Result<(), String> {
    let quota = app.store.quota(id).await.map_err(|error| error.to_string())?;
    let Ok(Adapter::Wechat(client)) = app.platforms.adapter(channel.platform) else {
        return Ok(());
    };
    if !quota.may_reopen(now) {
        return Ok(());
    }
    reopen_where_counted(app, id, channel, client, now).await.map_err(|error| format!("quota of {id}: {error}"))
}

async fn reopen_where_counted(
    app: &App,
    id: &str,
    channel: &Channel,
    client: &WechatClient,
    now: Timestamp,
) -> Result<(), SyncError> {
    let ask = |token: Secret| async move { client.quota(&token, SEND_PATH).await };
    let counted = app.read_platform(id, channel, ask).await?;
    if counted.remain > 0 {
        tracing::info!(channel = id, remain = counted.remain, "the platform takes calls again");
        return Ok(app.store.update_quota(id, |quota| Some(quota.reopened(now))).await?);
    }
    let used = u32::try_from(counted.used).unwrap_or(u32::MAX);
    Ok(app.store.update_quota(id, |quota| quota.counted_by_platform(used, now)).await?)
}

async fn sync_one(app: &App, id: &str, which: Sync, now: Timestamp) -> Result<(), String> {
    let key = Key::new("S", format!("template sync {id}"));
    let stored: Option<Stored<SyncMark>> = app.store.get(&key).await.map_err(|error| error.to_string())?;
    let (mark, result) = match stored.map(|stored| stored.value) {
        None => (SyncMark::succeeded(now), Ok(())),
        Some(mark) if which == Sync::Due && !mark.is_due(now) => return Ok(()),
        Some(mark) => match app.sync_templates(id).await {
            Ok(counts) => {
                tracing::info!(channel = id, ?counts, "templates synced");
                (SyncMark::succeeded(now), Ok(()))
            }
            Err(error) => (mark.failed(now), Err(format!("template sync of {id}: {error}"))),
        },
    };
    app.store.put(&key, &mark, None).await.map_err(|error| error.to_string())?;
    result
}
