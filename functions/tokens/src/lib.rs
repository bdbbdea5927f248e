//! `tokens`, once a minute where a deployment has a fixed address for it: fetches access tokens for all the others, which cannot
//! where a platform gives them to listed addresses only.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use lambda_runtime::Error;
use serde_json::Value;
use tidepost_core::channel::Channel;
use tidepost_io::app::App;

/// Fetches the tokens that are old, not there yet, or were refused to another function.
///
/// # Errors
/// When a channel has no token after it; the next minute tries again.
pub async fn handle(app: &App, _event: EventBridgeEvent<Value>) -> Result<(), Error> {
    let mut failed = Vec::new();
    for (id, channel) in app.store.channels().await? {
        if app.platforms.adapter(channel.platform).is_ok() {
            failed.extend(keep(app, &id, &channel).await.err());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

async fn keep(app: &App, id: &str, channel: &Channel) -> Result<(), String> {
    app.keep_token(id, channel).await.map_err(|no_token| {
        tracing::error!(channel = id, %no_token, "messages wait until the channel has an access token");
        format!("{id}: {no_token}")
    })
}
