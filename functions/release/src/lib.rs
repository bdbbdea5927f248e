//! `release`, once a minute: sets sweeps of campaigns going, brings back what waited, asks after what got lost, keeps channels
//! up to date, and tells what became of windows.

mod campaigns;
mod dead_letters;
mod recovery;
mod upkeep;
mod waiting;
mod windows;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use lambda_runtime::Error;
use serde_json::Value;
use tidepost_io::app::App;
use tidepost_io::emf::{self, Metric};
use tidepost_io::erasure;

use crate::upkeep::Sync;

/// Runs one tick. One part that fails does not stop the others.
///
/// An event with the detail `{"queue_lost": true}`, sent by hand after a queue was purged or made anew, brings back at once
/// everything that was on it. One with `{"sync_templates": true}`, which the template's daily schedule sends, syncs the templates of
/// all channels and does nothing else; what fails, the ticks try again.
///
/// # Errors
/// When a part could not finish; the next tick repeats it.
pub async fn handle(app: &App, event: EventBridgeEvent<Value>) -> Result<(), Error> {
    if event.detail.get("sync_templates") == Some(&Value::Bool(true)) {
        return upkeep::sync_templates(app, Sync::All).await.map_err(Error::from);
    }
    let queue_is_lost = event.detail.get("queue_lost") == Some(&Value::Bool(true));
    // First what the others build upon: a window that is open again lets what waits go in this very tick, and a message
    // among the dead letters ends as one before the walk ends it like any other.
    let (reopened, buried) = futures::join!(upkeep::reopen_windows(app), dead_letters::settle(app));
    let (synced, released, recovered, swept) = futures::join!(
        upkeep::sync_templates(app, Sync::Due),
        waiting::release(app),
        recovery::walk(app, queue_is_lost),
        campaigns::sweep(app)
    );
    let erased = finish_erasures(app).await;
    // What is counted once comes last: a tick that dies before loses nothing.
    let noted = windows::note_closed(app).await;
    let parts = [reopened, buried, synced, released, recovered, swept, noted, erased];
    let failed: Vec<String> = parts.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() {
        return Ok(());
    }
    tracing::error!(failed = failed.join("; "), "a tick did not finish");
    Err(failed.join("; ").into())
}

/// Finishes what `admin` began, and tells what is left.
async fn finish_erasures(app: &App) -> Result<(), String> {
    let left = erasure::finish(app).await.map_err(|error| error.to_string())?;
    emf::count_of_all(Metric::ErasureBacklog, left.try_into().unwrap_or(u64::MAX));
    Ok(())
}
