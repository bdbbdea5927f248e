//! The platforms inside the process: our calls end at the simulators' router, their callbacks at our function.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use platform_simulators::{Answering, Callback, SimClock, Simulators};
use reqwest::{Request, Response};
use serde_json::{Value, json};
use tidepost_io::clock::Clock;
use tidepost_io::platform::transport::{NoReply, Transport};
use tower::ServiceExt as _;

use crate::history::{Call, KEY_FIELD};
use crate::invocation;
use crate::steps::FIRST_CRASH;
use crate::story::{CHANNELS, app_id};
use crate::world::{World, milliseconds};

const SEND: &str = "/cgi-bin/message/subscribe/send";
const BODY_BYTES_MAX: usize = 1 << 20;

/// The world, once it is there: platform and functions call each other.
pub(crate) type Later = Arc<OnceLock<Weak<World>>>;

fn world(later: &Later) -> Option<Arc<World>> {
    later.get().and_then(Weak::upgrade)
}

/// The simulators, on a clock of their own.
pub(crate) fn simulators(clock: Clock, seed: u64, later: &Later) -> Simulators {
    let later = Arc::clone(later);
    let now = SimClock::new(Arc::new(move || clock.now()), 1.0);
    Simulators::in_process(now, seed, move |callback: Callback| -> Answering {
        let later = Arc::clone(&later);
        Box::pin(async move { world(&later)?.callback(callback).await })
    })
}

/// The functions' way to the platform.
pub(crate) fn transport(later: &Later) -> Transport {
    // Only writes requests; one for all seeds, since reading the machine's certificates takes longer than a seed.
    static WRITER: OnceLock<reqwest::Client> = OnceLock::new();
    let later = Arc::clone(later);
    Transport::in_process(WRITER.get_or_init(reqwest::Client::new).clone(), move |request| {
        let later = Arc::clone(&later);
        Box::pin(async move {
            let world = world(&later).ok_or_else(|| NoReply::NotSent("the world is gone".to_owned()))?;
            world.call_platform(request).await
        })
    })
}

/// A call to the simulators; `None` when the connection broke.
async fn exchange(router: Router, method: &str, target: &str, body: Vec<u8>) -> Option<(u16, Vec<u8>)> {
    let request = axum::http::Request::builder().method(method).uri(target);
    let request = request.header("content-type", "application/json").body(Body::from(body)).ok()?;
    let response = router.oneshot(request).await.ok()?;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), BODY_BYTES_MAX * 16).await.ok()?;
    Some((status, body.to_vec()))
}

impl World {
    async fn call_platform(&self, request: Request) -> Result<Response, NoReply> {
        let rates = self.chance.rates();
        let step = invocation::function().map(|function| format!("{function} calls {}", request.url().path()));
        let is_first = rates.crash > 0.0 && step.as_ref().is_some_and(|step| self.aws.steps.meet(step));
        let crash = if is_first { FIRST_CRASH } else { rates.crash / 2.0 };
        let dies = async |is_before| {
            if self.chance.is(crash) {
                step.iter().for_each(|step| self.aws.steps.strike(step, is_before));
                invocation::crash().await;
            }
        };
        dies(true).await;
        if self.chance.is(rates.lost_request) {
            return Err(NoReply::NotSent("the connection was refused".to_owned()));
        }
        tokio::time::sleep(self.chance.milliseconds(1, 30)).await;
        let call = self.log_call(&request);
        let limit = request.timeout().copied().unwrap_or(Duration::from_secs(30));
        let target = format!("{}?{}", request.url().path(), request.url().query().unwrap_or_default());
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
        let answer = exchange(self.router.clone(), request.method().as_str(), &target, body);
        let unknown = |detail: &str| NoReply::Unknown(detail.to_owned());
        let (status, body) = tokio::time::timeout(limit, answer)
            .await
            .map_err(|_| unknown("no answer in time"))?
            .ok_or_else(|| unknown("the connection broke"))?;
        dies(false).await;
        if self.chance.is(rates.lost_answer) {
            tokio::time::sleep(limit).await;
            return Err(unknown("no answer in time"));
        }
        let code = serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["errcode"].as_i64());
        if let (Some(call), true) = (call, status == 200) {
            self.history().calls[call].heard = code;
        }
        let response = axum::http::Response::builder().status(status).body(body);
        response.map(Response::from).map_err(|error| NoReply::Unknown(error.to_string()))
    }

    /// Notes a send; returns where.
    fn log_call(&self, request: &Request) -> Option<usize> {
        if request.url().path() != SEND {
            return None;
        }
        let body: Value = serde_json::from_slice(request.body()?.as_bytes()?).ok()?;
        let text = |at: &str| body.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let openid = text("/touser");
        let channel = CHANNELS.iter().find(|channel| openid.starts_with(&format!("o{channel}")))?;
        let call = Call {
            at: milliseconds(self.clock.now()),
            who: ((*channel).to_owned(), openid),
            template: text("/template_id"),
            key: text(&format!("/data/{KEY_FIELD}/value")),
            heard: None,
        };
        let mut history = self.history();
        history.calls.push(call);
        Some(history.calls.len() - 1)
    }

    /// The platform pushes an event.
    async fn callback(&self, callback: Callback) -> Option<(u16, String)> {
        let (path, query) = callback.url.trim_start_matches("http://tidepost.simulation").split_once('?')?;
        let headers = [("content-type", callback.content_type)];
        self.http("POST", path, query, &headers, callback.body.as_bytes()).await
    }

    /// Steers the simulators, or reads their truth.
    pub(crate) async fn steer(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = exchange(self.router.clone(), method, &format!("/sim/wechat/{path}"), body).await;
        let (status, body) = answer.expect("the simulators answer");
        assert!(status < 300, "{path}: {status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// All of one of the simulators' lists on a channel.
    pub(crate) async fn truth(&self, channel: &str, list: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("apps/{}/{list}?limit=1000{cursor}", app_id(channel));
            let page = self.steer("GET", &path, &Value::Null).await;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next_cursor"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
    }

    /// The platform's moods, each with its own chance.
    pub(crate) async fn misbehave(&self) {
        let on = |kind: Value, path: &str, rare: f64, frequent: f64| {
            let probability = [0.0, rare, frequent][self.chance.below(3)];
            json!({"match": {"path": path, "probability": probability}, "fault": kind})
        };
        let sent = "subscribe_msg_sent_event";
        let faults = [
            on(json!({"kind": "errcode", "errcode": -1}), SEND, 0.02, 0.15),
            on(
                json!({"kind": "errcode", "errcode": 45009, "errmsg": "reach max api minute quota limit"}),
                SEND,
                0.005,
                0.03,
            ),
            on(json!({"kind": "errcode", "errcode": 45009}), SEND, 0.0, 0.01),
            on(json!({"kind": "errcode", "errcode": 43101}), SEND, 0.01, 0.05),
            on(json!({"kind": "timeout_after_delivery"}), SEND, 0.02, 0.1),
            on(json!({"kind": "delay", "milliseconds": 3500, "before_processing": true}), SEND, 0.01, 0.05),
            on(json!({"kind": "disconnect", "after_processing": true}), SEND, 0.01, 0.05),
            on(json!({"kind": "http", "status": 503}), SEND, 0.01, 0.05),
            on(json!({"kind": "revoke_token"}), SEND, 0.01, 0.05),
            on(json!({"kind": "errcode", "errcode": -1}), "/cgi-bin/stable_token", 0.05, 0.3),
            on(json!({"kind": "duplicate_callback", "times": 2}), "subscribe_msg_popup_event", 0.1, 0.5),
            on(json!({"kind": "duplicate_callback", "times": 2}), sent, 0.1, 0.5),
            on(json!({"kind": "reorder_callbacks"}), sent, 0.1, 0.5),
            on(json!({"kind": "drop_callback"}), sent, 0.1, 0.5),
        ];
        for fault in &faults {
            self.steer("POST", "faults", fault).await;
        }
    }

    /// It comes to its senses.
    pub(crate) async fn behave(&self) {
        self.steer("DELETE", "faults", &Value::Null).await;
    }
}
