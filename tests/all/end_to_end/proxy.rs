//! A proxy before the stand-ins for AWS, which sees every call and can spoil it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};

/// What becomes of one call.
pub enum Fate {
    /// Nothing special.
    Passes,
    /// It goes on with another body.
    Becomes(Value),
    /// DynamoDB refuses it: too much at once.
    Throttled,
    /// It takes effect, and the connection breaks before the answer is through.
    AnswerLost,
}

type Decide = dyn Fn(&str, &Value) -> Fate + Send + Sync;

/// A running proxy.
#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    /// Answers that told of a condition that did not hold, by the kind of item (its key up to the first `#`).
    conflicts: Arc<Mutex<BTreeMap<String, u64>>>,
    http: reqwest::Client,
    upstream: String,
    decide: Arc<Decide>,
}

impl Proxy {
    /// Starts before `upstream`; `decide` gets operation and body of each call.
    pub async fn start(upstream: &str, decide: impl Fn(&str, &Value) -> Fate + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            conflicts: Arc::default(),
            http: super::world::http(),
            upstream: upstream.to_owned(),
            decide: Arc::new(decide),
        };
        let router = Router::new().fallback(handle).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        proxy
    }

    pub fn conflicts(&self) -> BTreeMap<String, u64> {
        self.conflicts.lock().unwrap().clone()
    }

    fn note_conflict(&self, call: &[u8]) {
        let call: Value = serde_json::from_slice(call).unwrap();
        let key = ["/Item/pk/S", "/Key/pk/S"].iter().find_map(|at| call.pointer(at)?.as_str()).unwrap_or_default();
        let kind = key.split('#').next().unwrap_or_default().to_owned();
        *self.conflicts.lock().unwrap().entry(kind).or_default() += 1;
    }

    async fn forward(&self, mut headers: HeaderMap, body: Vec<u8>) -> (StatusCode, HeaderMap, Bytes) {
        for own in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            headers.remove(own);
        }
        let answer = self.http.post(&self.upstream).headers(headers).body(body.clone()).send().await.unwrap();
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for own in [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            headers.remove(own);
        }
        let answer = answer.bytes().await.unwrap();
        if String::from_utf8_lossy(&answer).contains("ConditionalCheckFailed") {
            self.note_conflict(&body);
        }
        (status, headers, answer)
    }
}

async fn handle(State(proxy): State<Proxy>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap();
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let fate = (proxy.decide)(operation, &serde_json::from_slice(&body).unwrap_or_default());
    match fate {
        Fate::Throttled => {
            let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
            let body =
                json!({"__type": kind, "message": "The level of configured provisioned throughput was exceeded."});
            let headers = [("content-type", "application/x-amz-json-1.0")];
            (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
        }
        Fate::Passes => proxy.forward(parts.headers, body.to_vec()).await.into_response(),
        Fate::Becomes(body) => proxy.forward(parts.headers, body.to_string().into_bytes()).await.into_response(),
        Fate::AnswerLost => {
            let (status, headers, _) = proxy.forward(parts.headers, body.to_vec()).await;
            let broken = stream::iter([Err::<Bytes, _>(io::Error::other("the connection broke"))]);
            (status, headers, Body::from_stream(broken)).into_response()
        }
    }
}
