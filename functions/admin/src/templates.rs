//! Templates: as their owner defines them, or as the platform lists them.

use tidepost_core::ids::check_id;
use tidepost_core::template::Template;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, json};
use tidepost_io::sync::SyncError;

use crate::list::page;

/// Routes below `/v1/channels/{channel}/templates`.
pub async fn route(app: &App, request: &Request, channel: &str) -> Answer {
    let (method, path) = request.route();
    match (method, path.get(4..).unwrap_or_default()) {
        ("GET", []) => list(app, request, channel).await,
        ("POST", ["sync"]) => sync(app, request, channel).await,
        ("PUT", [template]) => put(app, request, channel, template).await,
        ("GET", [template]) => get(app, request, channel, template).await,
        _ => Err(crate::no_route()),
    }
}

async fn put(app: &App, request: &Request, channel: &str, id: &str) -> Answer {
    app.authorise(request, Right::Templates).await?;
    check_id("template", id).map_err(|invalid| Problem::invalid(vec![invalid]))?;
    crate::channel_of(app, channel).await?;
    let template: Template = request.json()?;
    template.validate().map_err(Problem::invalid)?;
    let is_new = app.store.put_template(channel, id, &template).await?;
    Ok(json(if is_new { 201 } else { 200 }, &template))
}

async fn get(app: &App, request: &Request, channel: &str, id: &str) -> Answer {
    app.authorise(request, Right::ReadSetup).await?;
    crate::channel_of(app, channel).await?;
    let template = app.store.template(channel, id).await?;
    Ok(json(200, &template.ok_or_else(|| Problem::not_found("the channel has no such template"))?))
}

async fn list(app: &App, request: &Request, channel: &str) -> Answer {
    app.authorise(request, Right::ReadSetup).await?;
    crate::channel_of(app, channel).await?;
    Ok(json(200, &page(request, app.store.templates(channel).await?)?))
}

async fn sync(app: &App, request: &Request, channel: &str) -> Answer {
    app.authorise(request, Right::Templates).await?;
    let counts = app.sync_templates(channel).await.map_err(refused)?;
    Ok(json(200, &counts))
}

fn refused(error: SyncError) -> Problem {
    match error {
        SyncError::UnknownChannel => Problem::not_found("there is no such channel"),
        SyncError::Later(_) => Problem::unavailable(error.to_string()),
        SyncError::NotSupported(_) | SyncError::Refused { .. } => Problem::new(409, "illegal_state", error.to_string()),
        SyncError::Secret(_) => {
            tracing::error!(%error, "templates cannot be synced");
            Problem::new(409, "illegal_state", "the channel's app secret cannot be read; correct its secret_ref")
        }
        SyncError::Store(error) => error.into(),
    }
}
