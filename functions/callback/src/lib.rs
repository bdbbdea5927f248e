//! `callback`: what people answered and did, from the platforms and from backends, goes into the ledger.

mod events;
mod grants;
mod platform;
mod sent;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::Error;
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
        ("GET", ["callbacks", channel]) => platform::verify(app, channel, request).await,
        ("POST", ["callbacks", channel]) => platform::receive(app, channel, request).await,
        ("POST", ["v1", "channels", channel, "grants"]) => grants::report(app, channel, request).await,
        ("POST", ["v1", "events"]) => events::report(app, request).await,
        _ => Err(Problem::not_found("there is no such route")),
    }
}
