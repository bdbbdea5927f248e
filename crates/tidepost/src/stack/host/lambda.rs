//! Lambda's own call `Invoke`, for what EventBridge invokes: so that an event of a schedule comes to a function here as it does
//! in AWS. What Lambda does with an event that fails, trying again and keeping it, has no part here.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::stack::host::Context;
use crate::stack::host::activity::Work;
use crate::stack::host::functions::EventFunction;
use crate::stack::host::invoke::invoke;

const INVOCATIONS: &str = "/2015-03-31/functions/{name}/invocations";

/// What the SDKs begin their signature with. It is not checked, as with table and queues; but a page in a browser cannot send
/// one without being asked first whether it may.
const SIGNED: &str = "AWS4-HMAC-SHA256 ";

/// Invocations by hand, at an address on loopback: whoever reaches it needs no key, as with table and queues.
pub(super) fn router(context: Context) -> Router {
    Router::new().route(INVOCATIONS, post(invocation)).with_state(context)
}

async fn invocation(
    State(context): State<Context>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !text("authorization").starts_with(SIGNED) {
        return refused(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", "the request is not signed");
    }
    let Some(function) = EventFunction::deployed_as(&name) else {
        return refused(StatusCode::NOT_FOUND, "ResourceNotFoundException", "no such function takes events");
    };
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return refused(StatusCode::BAD_REQUEST, "InvalidRequestContentException", "the payload is no JSON");
    };
    let kind = text("x-amz-invocation-type");
    if kind == "DryRun" {
        return StatusCode::NO_CONTENT.into_response();
    }
    // From here on, so that nobody takes the stack for idle before the task runs.
    let handover = context.activity.begin(Work::Handover);
    let running = async move {
        let _handover = handover;
        let app = context.app.clone();
        let handler = async move { function.handle(&app, event).await };
        invoke(function.name(), &context.activity, &context.stop, handler).await
    };
    if kind == "Event" {
        // Its failure is logged by `invoke`.
        drop(tokio::spawn(running));
        return StatusCode::ACCEPTED.into_response();
    }
    match running.await {
        Ok(answer) => json_of(StatusCode::OK, &answer),
        Err(failed) => {
            let told = json!({"errorType": "Unhandled", "errorMessage": failed.to_string()});
            ([("x-amz-function-error", "Unhandled")], json_of(StatusCode::OK, &told)).into_response()
        }
    }
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json_of(status, &json!({"Type": "User", "Message": message}));
    ([("x-amzn-errortype", kind.to_owned())], body).into_response()
}

fn json_of(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
