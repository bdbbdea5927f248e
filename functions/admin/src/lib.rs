//! `admin`: channels, templates, keys, dead letters, and what is known of people.

mod channels;
mod dead_letters;
mod held_back;
mod keys;
mod list;
mod profiles;
mod subscribers;
mod templates;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::Error;
use tidepost_core::channel::Channel;
use tidepost_io::app::App;
use tidepost_io::http::{Answer, Problem, Request, answer};

/// Answers one HTTP call.
///
/// # Errors
/// None: whatever goes wrong is an HTTP answer.
pub async fn handle(app: &App, event: ApiGatewayV2httpRequest) -> Result<ApiGatewayV2httpResponse, Error> {
    Ok(answer(route(app, &Request::from_event(event)).await))
}

async fn route(app: &App, request: &Request) -> Answer {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("POST", ["v1", "keys"]) => keys::make(app, request).await,
        ("GET", ["v1", "keys"]) => keys::list(app, request).await,
        ("DELETE", ["v1", "keys", key]) => keys::drop(app, request, key).await,
        (_, ["v1", "dead-letters", ..]) => dead_letters::route(app, request).await,
        ("GET", ["v1", "channels"]) => channels::list(app, request).await,
        ("PUT", ["v1", "channels", channel]) => channels::put(app, request, channel).await,
        ("GET", ["v1", "channels", channel]) => channels::get(app, request, channel).await,
        (_, ["v1", "channels", channel, "templates", ..]) => templates::route(app, request, channel).await,
        (_, ["v1", "channels", channel, "subscribers", ..]) => subscribers::route(app, request, channel).await,
        _ => Err(no_route()),
    }
}

fn no_route() -> Problem {
    Problem::not_found("there is no such route")
}

/// The definition of a channel that a path names.
async fn channel_of(app: &App, id: &str) -> Result<Channel, Problem> {
    app.store.channel(id).await?.ok_or_else(no_channel)
}

fn no_channel() -> Problem {
    Problem::not_found("there is no such channel")
}
