//! Where the platform's events arrive: kept until somebody asks, so that they do not mix with what is being counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tidepost::stack::ANY_PORT;
use tidepost::stack::serve::{listen, serve};
use tidepost::stack::stop::Stop;

use crate::Result;

/// An event has a few hundred bytes.
const EVENT_BYTES_MAX: usize = 1 << 16;
/// How long events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// One event as it came.
#[derive(Debug)]
pub struct Letter {
    /// What followed the question mark: signatures.
    pub query: String,
    /// Its media type.
    pub content_type: String,
    /// The encrypted event.
    pub body: Bytes,
}

/// A server that takes events for the platform's sake and keeps them.
#[derive(Clone)]
pub struct Mailbox {
    /// Where it answers.
    pub url: String,
    letters: Arc<Mutex<Vec<Letter>>>,
}

impl Mailbox {
    /// Starts the server.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(stop: Stop) -> Result<Self> {
        let (listener, at) = listen(ANY_PORT).await?;
        let mailbox = Self { url: format!("http://{at}/"), letters: Arc::default() };
        let router = Router::new().fallback(keep).with_state(mailbox.clone());
        // Ends with `stop`; nobody waits for it.
        drop(tokio::spawn(serve("the mailbox", listener, router, stop)));
        Ok(mailbox)
    }

    /// Waits for so many events and takes them all.
    ///
    /// # Errors
    /// When they do not come, or more do.
    pub async fn take(&self, count: usize) -> Result<Vec<Letter>> {
        let since = Instant::now();
        while self.len() < count && since.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let letters = std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner));
        if letters.len() == count {
            Ok(letters)
        } else {
            Err(format!("{} events instead of {count}", letters.len()).into())
        }
    }

    fn len(&self) -> usize {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn keep(State(mailbox): State<Mailbox>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, EVENT_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let content_type =
        head.headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).and_then(std::result::Result::ok);
    let letter = Letter {
        query: head.uri.query().unwrap_or_default().to_owned(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body,
    };
    mailbox.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
    "success".into_response()
}
