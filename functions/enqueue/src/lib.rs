//! `enqueue`: takes messages, says what will happen to them, and puts them on their way; takes campaigns and commands to
//! them.

mod accept;
mod campaigns;
mod control;
mod recipients;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::Error;
use serde_json::Value;
use tidepost_core::ids::MessageId;
use tidepost_core::message::view;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, answer, json};

/// Answers one HTTP call.
///
/// # Errors
/// None: whatever goes wrong is an HTTP answer.
pub async fn handle(app: &App, event: ApiGatewayV2httpRequest) -> Result<ApiGatewayV2httpResponse, Error> {
    Ok(answer(route(app, &Request::from_event(event)).await))
}

/// Answers whatever invokes the function on Lambda: a call of the API, or EventBridge with a command to a campaign.
///
/// # Errors
/// When an event's command could not be carried out, so that Lambda tries again and then keeps the event.
pub async fn handle_any(app: &App, event: Value) -> Result<Value, Error> {
    if event.get("requestContext").is_some() {
        return Ok(serde_json::to_value(handle(app, serde_json::from_value(event)?).await?)?);
    }
    control::ordered(app, &event).await?;
    Ok(Value::Null)
}

async fn route(app: &App, request: &Request) -> Answer {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("POST", ["v1", "messages"]) => accept::accept(app, request).await,
        ("GET", ["v1", "messages", id]) => look_up(app, id, request).await,
        (_, ["v1", "campaigns", ..]) => campaigns::route(app, request).await,
        _ => Err(Problem::not_found("there is no such route")),
    }
}

/// What became of a message: its row, the person's memory of it and the receipt of its delivery, joined.
async fn look_up(app: &App, id: &str, request: &Request) -> Answer {
    app.authorise(request, Right::ReadMessages).await?;
    let unknown = || Problem::not_found("there is no such message");
    let id = MessageId::parse(id).ok_or_else(unknown)?;
    let message = app.store.message(id).await?.ok_or_else(unknown)?;
    let person = app.store.person(&message.subscriber()).await?;
    let reserved = person.person().sends.find(id);
    let receipt = match reserved {
        Some(send) => app.store.receipt_of(&message.channel, send).await?,
        None => None,
    };
    Ok(json(200, &view(id, &message, reserved, receipt.as_ref())))
}
