//! Channels whose campaigns have something to do get a step of their sweep.

use jiff::Timestamp;
use tidepost_core::sweep::{SETTLED_SECONDS, UNTOLD_SECONDS};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::queue::SweepStep;
use tidepost_io::store::StoreError;

/// How far a tick looks ahead, in seconds: two ticks, and the time that looking at the people takes.
const AHEAD_SECONDS: i64 = 150;

/// Sets the sweeps going.
pub async fn sweep(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let channels = app.store.channels().await.map_err(|error| error.to_string())?;
    let mut failed = Vec::new();
    for channel in channels.into_keys() {
        match has_work(app, &channel, now).await {
            Ok(false) => {}
            Ok(true) => {
                let queued = app.sweep_queue.send(SweepStep::Plan { channel }).await;
                failed.extend(queued.err().map(|error| error.to_string()));
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Whether a campaign runs now or soon, one that is over is not accounted for, or what the last ones did is not settled yet.
async fn has_work(app: &App, channel: &str, now: Timestamp) -> Result<bool, StoreError> {
    let soon = plus_seconds(now, AHEAD_SECONDS);
    let rows = app.store.campaigns_ending_after(channel, plus_seconds(now, -UNTOLD_SECONDS)).await?;
    if rows.iter().any(|(_, row)| row.runs_between(now, soon)) {
        return Ok(true);
    }
    let settled = plus_seconds(now, -SETTLED_SECONDS);
    if rows.iter().any(|(id, row)| row.untold(*id, settled).next().is_some()) {
        return Ok(true);
    }
    let progress = app.store.progress(channel).await?.map(|stored| stored.value).unwrap_or_default();
    Ok(progress.building.is_some() || progress.settles_at().is_some_and(|at| at <= now))
}
