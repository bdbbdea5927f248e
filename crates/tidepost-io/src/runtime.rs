//! The part of a function's `main` that is the same for all of them.

use std::future::Future;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::emf;

/// Starts logging, builds the [`App`], opens its connections and serves invocations of `service` until Lambda ends the
/// process. Each leaves its metrics on standard output.
///
/// # Errors
/// When the environment is incomplete or Lambda's runtime API fails.
pub async fn serve<E, R, F>(service: &'static str, handle: impl Fn(App, E) -> F + Send + Sync) -> Result<(), Error>
where
    E: DeserializeOwned + Send,
    R: Serialize + Send,
    F: Future<Output = Result<R, Error>> + Send,
{
    log();
    let app = App::from_env().await?;
    app.warm_up(service).await;
    let handle = &handle;
    lambda_runtime::run(service_fn(|event: LambdaEvent<E>| {
        let app = app.clone();
        async move {
            let clock = app.clock.clone();
            let stage = app.config.stage.clone();
            let (result, measured) = emf::observed(service, handle(app, event.payload)).await;
            measured.lines(&stage, clock.now()).iter().for_each(|line| println!("{line}"));
            result
        }
    }))
    .await
}

/// JSON lines on standard error, at the level of `TIDEPOST_LOG` (`info` unless set).
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEPOST_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call finds the first one's subscriber in place, which is what is wanted.
    drop(subscriber.try_init());
}
