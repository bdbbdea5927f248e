//! What was taken of a channel's windows.

use serde_json::json;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{self, Answer, Request};

/// Shows the window of each quota rule that is open now.
pub async fn show(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::Reports).await?;
    let (channel, quota) = futures::try_join!(app.store.channel(id), app.store.quota(id))?;
    let channel = channel.ok_or_else(crate::no_channel)?;
    let now = app.clock.now();
    Ok(http::json(200, &json!({ "now": now, "windows": quota.views(&channel, now) })))
}
