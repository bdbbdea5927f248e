//! `report`: what can be read of quota and outcomes, and the description of the API.

mod metrics;
mod quota;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::Error;
use serde_json::json;
use tidepost_io::app::App;
use tidepost_io::http::{self, Answer, Problem, Request, answer, json_text};

/// The description of the API's routes, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../openapi.json");

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
        ("GET", ["healthz"]) => Ok(http::json(200, &json!({ "status": "ready" }))),
        ("GET", ["openapi.json"]) => Ok(json_text(200, OPENAPI)),
        ("GET", ["v1", "channels", channel, "quota"]) => quota::show(app, request, channel).await,
        ("GET", ["v1", "channels", channel, "metrics"]) => metrics::show(app, request, channel).await,
        _ => Err(Problem::not_found("there is no such route")),
    }
}

fn no_channel() -> Problem {
    Problem::not_found("there is no such channel")
}
