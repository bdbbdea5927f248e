//! How a request reaches a platform and its reply comes back.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::{RequestBuilder, Response};

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// The request has certainly not left.
    NotSent(String),
    /// It may have.
    Unknown(String),
}

impl NoReply {
    /// For the log.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::NotSent(detail) | Self::Unknown(detail) => detail,
        }
    }
}

/// A reply under way.
pub type Replying = Pin<Box<dyn Future<Output = Result<Response, NoReply>> + Send>>;

/// The way to the platforms: the network, or in a simulation somebody in this process. Cheap to clone; clones share
/// connections.
#[derive(Clone)]
pub struct Transport {
    http: reqwest::Client,
    stand_in: Option<Arc<dyn Fn(reqwest::Request) -> Replying + Send + Sync>>,
}

impl Transport {
    /// Over the network, by a client that must not follow redirects: see [`crate::platform::http_client`].
    #[must_use]
    pub fn network(http: reqwest::Client) -> Self {
        Self { http, stand_in: None }
    }

    /// Requests as `http` would write them, answered by `stand_in`, which also keeps their time-outs.
    #[must_use]
    pub fn in_process(
        http: reqwest::Client,
        stand_in: impl Fn(reqwest::Request) -> Replying + Send + Sync + 'static,
    ) -> Self {
        Self { http, stand_in: Some(Arc::new(stand_in)) }
    }

    /// What requests are written with.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Makes one call; never repeats it.
    ///
    /// # Errors
    /// [`NoReply`] says whether the request may have left.
    pub async fn call(&self, request: RequestBuilder) -> Result<Response, NoReply> {
        match &self.stand_in {
            None => request.send().await.map_err(failure),
            Some(stand_in) => stand_in(request.build().map_err(failure)?).await,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("is_simulated", &self.stand_in.is_some()).finish_non_exhaustive()
    }
}

/// An error while connecting (name, TCP, TLS) or building is before the first byte; any later one may be after it.
fn failure(error: reqwest::Error) -> NoReply {
    let is_before = error.is_connect() || error.is_builder();
    let detail = describe(error);
    if is_before { NoReply::NotSent(detail) } else { NoReply::Unknown(detail) }
}

/// The whole chain of an error without the address, which carries the access token.
#[must_use]
pub fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
