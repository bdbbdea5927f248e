//! The proxy before the stand-ins: passes every call on and shows it to the meter.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tidepost::stack::ANY_PORT;
use tidepost::stack::serve::{listen, serve};
use tidepost::stack::stop::Stop;

use crate::Result;
use crate::meter::Meter;

/// More than any call of either service may have.
const CALL_BYTES_MAX: usize = 16 << 20;

/// Headers that belong to one connection.
const HOP_BY_HOP: [http::HeaderName; 4] = [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING];

#[derive(Clone)]
struct Proxy {
    http: reqwest::Client,
    upstream: String,
    meter: Meter,
}

/// Serves a proxy before `upstream`; returns where it answers.
///
/// # Errors
/// When there is no free port.
pub async fn start(http: reqwest::Client, upstream: &str, meter: Meter, stop: Stop) -> Result<SocketAddr> {
    let (listener, at) = listen(ANY_PORT).await?;
    let router = Router::new().fallback(call).with_state(Proxy { http, upstream: upstream.to_owned(), meter });
    // Ends with `stop`; nobody waits for it.
    drop(tokio::spawn(serve("the meter", listener, router, stop)));
    Ok(at)
}

async fn call(State(proxy): State<Proxy>, request: Request) -> Response {
    match proxy.pass(request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Proxy {
    async fn pass(&self, request: Request) -> Result<Response> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, CALL_BYTES_MAX).await?;
        let target = head.headers.get("x-amz-target").map(HeaderValue::to_str).transpose()?.unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let asked: Value = serde_json::from_slice(&body)?;
        let answer = self.http.post(&self.upstream).headers(end_to_end(&head.headers)).body(body).send().await?;
        let (status, headers) = (answer.status(), end_to_end(answer.headers()));
        let body = answer.bytes().await?;
        let answered: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.meter.note(operation, &asked, &answered, status.is_success());
        Ok((status, headers, Body::from(body)).into_response())
    }
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for own in HOP_BY_HOP {
        headers.remove(own);
    }
    headers
}
