//! The HTTP front: one call in, one invocation, one answer out.

use std::net::SocketAddr;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use lambda_runtime::Error;
use serde_json::json;

use crate::stack::host::Context;
use crate::stack::host::activity::Work;
use crate::stack::host::event::http::{Answer, Call};
use crate::stack::host::functions::HttpFunction;
use crate::stack::host::invoke::invoke;
use crate::stack::host::routes::{Route, route};

/// Bytes of a body at the most.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A larger body is read up to here before the refusal, so that its sender reads the answer instead of a reset.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// The API of a host.
pub(super) fn router(context: Context) -> Router {
    Router::new().fallback(call).with_state(context)
}

async fn call(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let function = match route(request.uri().path()) {
        Route::Function(function) => function,
        Route::Health => {
            return ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"ready"}"#).into_response();
        }
        Route::Unknown => return problem(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"),
    };
    let _guard = context.activity.begin(Work::Http);
    let (head, body) = request.into_parts();
    match read(body).await {
        Read::Whole(body) => run(&context, function, &head, &body, peer).await,
        Read::TooLarge => problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "a body may have 1 MiB"),
        Read::Broken => problem(StatusCode::BAD_REQUEST, "body_broken", "the body ended early"),
    }
}

enum Read {
    Whole(Vec<u8>),
    TooLarge,
    Broken,
}

async fn read(body: Body) -> Read {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut size) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk): Result<Bytes, _> = chunk else {
            return Read::Broken;
        };
        size += chunk.len();
        if size <= BODY_BYTES_MAX {
            kept.extend_from_slice(&chunk);
        } else if size > DRAINED_BYTES_MAX {
            break;
        }
    }
    if size > BODY_BYTES_MAX { Read::TooLarge } else { Read::Whole(kept) }
}

async fn run(context: &Context, function: HttpFunction, head: &Parts, body: &[u8], peer: SocketAddr) -> Response {
    let event = event(context, head, body, peer);
    let app = context.app.clone();
    let handler = async move {
        let event: ApiGatewayV2httpRequest = serde_json::from_str(&event)?;
        let answer = function.handle(&app, event).await?;
        Ok::<Answer, Error>(serde_json::from_value(serde_json::to_value(answer)?)?)
    };
    let answer = invoke(function.name(), &context.activity, &context.stop, handler).await;
    let response = answer.ok().and_then(|answer| respond(function, answer));
    response.unwrap_or_else(|| problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the function failed"))
}

fn event(context: &Context, head: &Parts, body: &[u8], peer: SocketAddr) -> String {
    let headers: Vec<(&str, &str)> =
        head.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let call = Call {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        protocol: "HTTP/1.1",
        headers: &headers,
        body,
        source_ip: &peer.ip().to_string(),
        request_id: &super::invoke::request_id(),
        at: context.app.clock.now(),
    };
    call.event()
}

fn respond(function: HttpFunction, answer: Answer) -> Option<Response> {
    let refused = |what: &str| tracing::error!(function = function.name(), what, "a function's answer cannot be sent");
    let mut response = Response::new(Body::empty());
    match StatusCode::from_u16(answer.status_code) {
        Ok(status) => *response.status_mut() = status,
        Err(_) => {
            refused("the status");
            return None;
        }
    }
    let cookies = answer.cookies.iter().map(|cookie| (header::SET_COOKIE.as_str(), cookie));
    for (name, value) in answer.headers.iter().map(|(name, value)| (name.as_str(), value)).chain(cookies) {
        match (header::HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(response.headers_mut().append(name, value)),
            _ => refused("a header"),
        }
    }
    let Some(body) = answer.into_body() else {
        refused("the body");
        return None;
    };
    *response.body_mut() = Body::from(body);
    Some(response)
}

/// An answer in the form of RFC 9457.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
