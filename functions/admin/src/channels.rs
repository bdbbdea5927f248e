//! Channels: definitions as their owner gives them, with their health.

use serde::Serialize;
use tidepost_core::channel::{Channel, Health};
use tidepost_core::ids::check_id;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, json};

use crate::list::page;

/// A channel as it is shown. Secrets are not in it: a definition only names where they are.
#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    channel: Channel,
    health: Health,
}

/// Defines a channel.
pub async fn put(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::Administer).await?;
    check_id("channel", id).map_err(|invalid| Problem::invalid(vec![invalid]))?;
    let channel = request.json::<Channel>()?;
    channel.validate().map_err(Problem::invalid)?;
    let is_new = app.store.put_channel(id, &channel).await?;
    Ok(json(if is_new { 201 } else { 200 }, &channel))
}

/// Shows a channel.
pub async fn get(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::ReadSetup).await?;
    let channel = app.store.definition(id).await?.ok_or_else(crate::no_channel)?;
    let (health, quota, no_token) =
        futures::try_join!(app.store.health(id), app.store.quota(id), app.token_trouble(id))?;
    let now = app.clock.now();
    let health = health.shown(&quota.views(&channel, now), no_token.as_deref(), now);
    Ok(json(200, &View { channel, health }))
}

/// Shows all channels.
pub async fn list(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::ReadSetup).await?;
    Ok(json(200, &page(request, app.store.definitions().await?)?))
}
