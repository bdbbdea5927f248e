//! Lambda's Runtime API on loopback, for one process (Lambda's developer guide, 'Using the Lambda runtime API').

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::SignedDuration;
use tidepost::stack::ANY_PORT;
use tidepost::stack::serve::{listen, serve};
use tidepost::stack::stop::Stop;
use tidepost_io::clock::Clock;
use tokio::sync::{Mutex, mpsc};

use crate::Result;

/// How long a process may take for one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an invocation may take, as the process is told.
const TIME_LIMIT: SignedDuration = SignedDuration::from_secs(30);

/// What a process told.
#[derive(Debug)]
enum Heard {
    /// It asks for an invocation.
    Next,
    /// It answers one.
    Answer(Bytes),
    /// It cannot start, or an invocation failed.
    Failure(String),
}

/// The API for one process. It ends with this value.
pub struct RuntimeApi {
    /// Host and port, for `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    heard: mpsc::UnboundedReceiver<(Instant, Heard)>,
    events: mpsc::UnboundedSender<String>,
    stop: Stop,
}

#[derive(Clone)]
struct Desk {
    told: mpsc::UnboundedSender<(Instant, Heard)>,
    events: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
}

impl RuntimeApi {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Result<Self> {
        let (told, heard) = mpsc::unbounded_channel();
        let (events, waiting) = mpsc::unbounded_channel();
        let desk = Desk { told, events: Arc::new(Mutex::new(waiting)) };
        let (listener, at) = listen(ANY_PORT).await?;
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .route("/2018-06-01/runtime/init/error", post(failure))
            .with_state(desk);
        let stop = Stop::default();
        // Ends with `stop`; nobody waits for it.
        drop(tokio::spawn(serve("the runtime API", listener, router, stop.clone())));
        Ok(Self { address: at.to_string(), heard, events, stop })
    }

    /// When the process asked for its next invocation.
    ///
    /// # Errors
    /// When it does not, or fails.
    pub async fn asked(&mut self) -> Result<Instant> {
        match self.hear().await? {
            (at, Heard::Next) => Ok(at),
            (_, Heard::Answer(_)) => Err("the process answers what nobody asked".into()),
            (_, Heard::Failure(error)) => Err(format!("the process fails: {error}").into()),
        }
    }

    /// Hands over an event, and waits for its answer and until the process asks for the next one. Returns how long the
    /// answer took, and the answer.
    ///
    /// # Errors
    /// When the process fails.
    pub async fn invoke(&mut self, event: String) -> Result<(Duration, Bytes)> {
        let begun = Instant::now();
        self.events.send(event)?;
        let (at, answer) = match self.hear().await? {
            (at, Heard::Answer(answer)) => (at, answer),
            (_, Heard::Next) => return Err("the process asks for more before it answers".into()),
            (_, Heard::Failure(error)) => return Err(format!("the process fails: {error}").into()),
        };
        self.asked().await?;
        Ok((at.duration_since(begun), answer))
    }

    async fn hear(&mut self) -> Result<(Instant, Heard)> {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard.map_err(|_| "the process says nothing")?.ok_or_else(|| "the runtime API has ended".into())
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.stop.begin();
    }
}

async fn next(State(desk): State<Desk>) -> Response {
    tell(&desk, Heard::Next);
    let Some(event) = desk.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = Clock::system().now().checked_add(TIME_LIMIT).map_or(0, |at| at.as_millisecond());
    let text = |name: &'static str, value: String| {
        HeaderValue::from_str(&value).ok().map(|value| (HeaderName::from_static(name), value))
    };
    let headers = [
        text("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        text("lambda-runtime-deadline-ms", deadline.to_string()),
        text(
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:tidepost".to_owned(),
        ),
        text("content-type", "application/json".to_owned()),
    ];
    (headers.into_iter().flatten().collect::<HeaderMap>(), event).into_response()
}

async fn response(State(desk): State<Desk>, Path(_): Path<String>, body: Bytes) -> StatusCode {
    tell(&desk, Heard::Answer(body));
    StatusCode::ACCEPTED
}

async fn failure(State(desk): State<Desk>, body: Bytes) -> StatusCode {
    tell(&desk, Heard::Failure(String::from_utf8_lossy(&body).into_owned()));
    StatusCode::ACCEPTED
}

/// Nobody hears what a process tells that is not measured any more.
fn tell(desk: &Desk, heard: Heard) {
    drop(desk.told.send((Instant::now(), heard)));
}
