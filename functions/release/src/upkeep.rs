//! What channels need now and then: windows that the platform closed are opened again, templates are synced once a day.

use jiff::Timestamp;
use tidepost_core::channel::Channel;
use tidepost_io::app::App;
use tidepost_io::platform::Adapter;
use tidepost_io::platform::wechat::client::SEND_PATH;
use tidepost_io::store::Key;

/// How long a sync of templates is good for, in seconds.
const SYNC_SECONDS: i64 = 86_400;

/// Looks after every channel.
pub async fn keep_up(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let mut failed = Vec::new();
    for (id, channel) in app.store.channels().await.map_err(|error| error.to_string())? {
        if app.platforms.adapter(channel.platform).is_err() {
            continue;
        }
        failed.extend(reopen(app, &id, &channel, now).await.err());
        failed.extend(sync_daily(app, &id, now).await.err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Opens a window that the platform had closed, once the platform itself counts units left.
async fn reopen(app: &App, id: &str, channel: &Channel, now: Timestamp) -> Result<(), String> {
    let quota = app.store.quota(id).await.map_err(|error| error.to_string())?;
    if !quota.is_closed(now) {
        return Ok(());
    }
    let token = app.token(id, channel, None).await.map_err(|error| error.to_string())?;
    let Ok(Adapter::Wechat(client)) = app.platforms.adapter(channel.platform) else {
        return Ok(());
    };
    let left = client.quota(&token, SEND_PATH).await.map_err(|error| error.to_string())?;
    if left.remain > 0 {
        tracing::info!(channel = id, remain = left.remain, "the platform takes calls again");
        let opened = app.store.update_quota(id, |quota| Some(quota.reopened())).await;
        opened.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Syncs a channel's templates when the last sync is a day old.
async fn sync_daily(app: &App, id: &str, now: Timestamp) -> Result<(), String> {
    let key = Key::new("S", format!("template sync {id}"));
    let last = app.store.get::<SyncedAt>(&key).await.map_err(|error| error.to_string())?;
    let Some(last) = last else {
        // A new channel's templates are its owner's business for the first day.
        return app.store.put(&key, &SyncedAt { at: now }, None).await.map_err(|error| error.to_string());
    };
    if now.as_second() - last.value.at.as_second() < SYNC_SECONDS {
        return Ok(());
    }
    app.store.put(&key, &SyncedAt { at: now }, None).await.map_err(|error| error.to_string())?;
    let counts = app.sync_templates(id).await.map_err(|error| format!("template sync of {id}: {error}"))?;
    tracing::info!(channel = id, ?counts, "templates synced");
    Ok(())
}

#[derive(serde::Deserialize, serde::Serialize)]
struct SyncedAt {
    #[serde(rename = "a")]
    at: Timestamp,
}
