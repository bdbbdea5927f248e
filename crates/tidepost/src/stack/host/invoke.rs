//! One invocation: its own task, counted, and harmless when it panics.

use lambda_runtime::Error;
use thiserror::Error;
use tidepost_io::clock::Clock;
use tidepost_io::config::STAGE;
use tidepost_io::emf;

use crate::stack::host::activity::{Activity, Work};
use crate::stack::stop::Stop;

/// How an invocation can fail.
#[derive(Debug, Error)]
pub(super) enum Failed {
    /// The handler returned an error.
    #[error("{}", chain(.0.as_ref()))]
    Handler(Error),
    /// The handler panicked.
    #[error("the handler panicked: {0}")]
    Panic(String),
    /// The host ended first.
    #[error("the host ended before the handler did")]
    Dropped,
}

/// Runs a handler in a task of its own, so that it goes on when its caller goes away, and its panic stays its own.
/// A failure is logged here, once.
pub(super) async fn invoke<T: Send + 'static>(
    function: &'static str,
    activity: &Activity,
    stop: &Stop,
    handler: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Failed> {
    let guard = activity.begin(Work::Invocation);
    let mut task = tokio::spawn(async move {
        let _guard = guard;
        let (result, measured) = emf::observed(function, handler).await;
        // In the log: standard output is the command's own.
        for line in measured.lines(STAGE, Clock::system().now()) {
            tracing::info!(target: "tidepost::metrics", metrics = %line);
        }
        result
    });
    let result = tokio::select! {
        joined = &mut task => match joined {
            Ok(result) => result.map_err(Failed::Handler),
            Err(error) => Err(panicked(error)),
        },
        () = stop.finished() => {
            task.abort();
            Err(Failed::Dropped)
        }
    };
    if let Err(error) = &result {
        tracing::error!(function, %error, "an invocation failed");
    }
    result
}

/// Names an invocation: a version 4 UUID.
pub(super) fn request_id() -> String {
    let random = u128::from_be_bytes(tidepost_io::clock::random::<16>());
    let version = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{version:032x}");
    let group = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32))
}

fn panicked(error: tokio::task::JoinError) -> Failed {
    let Ok(payload) = error.try_into_panic() else {
        return Failed::Dropped;
    };
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    Failed::Panic(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned()))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_the_invocation_and_nothing_else() {
        let (activity, stop) = (Activity::default(), Stop::default());
        let panicking = async { panic!("a poisoned payload") };
        let failed = invoke::<()>("dispatch", &activity, &stop, panicking).await.unwrap_err();
        assert_eq!(failed.to_string(), "the handler panicked: a poisoned payload");
        assert!(activity.now().is_quiet());
        assert_eq!(invoke("dispatch", &activity, &stop, async { Ok(7) }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_error_is_told_with_its_causes() {
        let (activity, stop) = (Activity::default(), Stop::default());
        let failing = async { Err(Error::from("the table is gone")) };
        let failed = invoke::<()>("release", &activity, &stop, failing).await.unwrap_err();
        assert_eq!(failed.to_string(), "the table is gone");
    }

    #[tokio::test]
    async fn the_hosts_end_drops_a_handler_that_hangs() {
        let (activity, stop) = (Activity::default(), Stop::default());
        stop.finish();
        let failed = invoke::<()>("metrics", &activity, &stop, std::future::pending()).await.unwrap_err();
        assert!(matches!(failed, Failed::Dropped));
        activity.settled().await;
    }
}
