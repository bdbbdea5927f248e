//! One call of the platform's API, as it came in, and the platform's answer to it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Query, Request};
use axum::http::{Method, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::app::App;
use super::codes::Refusal;
use super::event::Event;
use crate::world::World;

/// The most a body may have.
pub(crate) const BODY_LIMIT_BYTES: usize = 1024 * 1024;

pub(crate) struct Call {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    query: HashMap<String, String>,
    body: Bytes,
    /// The body, parsed; `None` when it is empty or no JSON object.
    json: Option<Map<String, Value>>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) at: Timestamp,
}

impl Call {
    pub(crate) async fn read(path: &'static str, request: Request, at: Timestamp) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|_| Refusal::of(47001))?;
        let json = match serde_json::from_slice(&body) {
            Ok(Value::Object(map)) => Some(map),
            _ => None,
        };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Self { path, method: parts.method, query: query(&parts.uri), body, json, peer, at })
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.query("access_token")
    }

    /// Whom a send is for, as far as the body tells.
    pub(crate) fn openid(&self) -> Option<&str> {
        self.json.as_ref()?.get("touser")?.as_str()
    }

    pub(crate) fn must_be_get(&self) -> Result<(), Refusal> {
        if self.method == Method::GET { Ok(()) } else { Err(Refusal::of(43001)) }
    }

    /// The posted JSON object.
    pub(crate) fn posted(&self) -> Result<&Map<String, Value>, Refusal> {
        if self.method != Method::POST {
            return Err(Refusal::of(43002));
        }
        if self.body.is_empty() {
            return Err(Refusal::of(44002));
        }
        self.json.as_ref().ok_or_else(|| Refusal::of(47001))
    }
}

fn query(uri: &Uri) -> HashMap<String, String> {
    Query::<HashMap<String, String>>::try_from_uri(uri).map(|Query(map)| map).unwrap_or_default()
}

/// While it lives, another send to the same person is refused with 43108.
pub(crate) struct Hold {
    app: Arc<App>,
    openid: String,
}

impl Hold {
    /// Takes over an entry that was just made in `in_flight`.
    pub(crate) fn of(app: &Arc<App>, openid: &str) -> Self {
        Self { app: Arc::clone(app), openid: openid.to_owned() }
    }
}

impl Drop for Hold {
    // Also runs when the client gives up and the call's future is dropped.
    fn drop(&mut self) {
        self.app.state().in_flight.remove(&self.openid);
    }
}

/// What an endpoint decided. The decision is complete when it is returned; only the answer is still under way.
#[derive(Default)]
pub(crate) struct Reply {
    /// Whose call it was, as far as known.
    pub(crate) app: Option<Arc<App>>,
    pub(crate) answer: Answer,
    pub(crate) hold: Option<Hold>,
    pub(crate) latency: Duration,
    pub(crate) event: Option<Event>,
}

/// The body of an answer.
pub(crate) enum Answer {
    /// A success that carries this.
    Success(Value),
    /// An error.
    Refused(Refusal),
}

impl Default for Answer {
    fn default() -> Self {
        Self::Success(json!({"errcode": 0, "errmsg": "ok"}))
    }
}

impl Answer {
    pub(crate) fn errcode(&self) -> i64 {
        match self {
            Self::Success(_) => 0,
            Self::Refused(refusal) => refusal.code,
        }
    }

    /// HTTP 200 in any case, as the platform does; errors end with a request id.
    pub(crate) fn into_response(self, world: &World) -> Response {
        let body = match self {
            Self::Success(body) => body,
            Self::Refused(refusal) => {
                let [a, b, c]: [u32; 3] = world.random(rand::Rng::random);
                json!({"errcode": refusal.code, "errmsg": format!("{} rid: {a:08x}-{b:08x}-{c:08x}", refusal.message)})
            }
        };
        ([(header::CONTENT_TYPE, "application/json; encoding=utf-8")], Body::from(body.to_string())).into_response()
    }
}

impl From<Result<Value, Refusal>> for Answer {
    fn from(result: Result<Value, Refusal>) -> Self {
        match result {
            Ok(body) => Self::Success(body),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}
