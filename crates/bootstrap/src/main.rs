//! Every function on AWS Lambda: one program, which is the function that the template names as its handler.
//!
//! One program is linked once instead of nine times, and uploaded once: what all functions share (the AWS SDKs, TLS, the
//! runtime) is most of each. A start maps only the pages that it touches, so the code of the other eight costs no time.

// What functions await within each other is nested deeper than the compiler's default.
#![recursion_limit = "256"]

use lambda_runtime::Error;
use tidepost_io::config;
use tidepost_io::runtime::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match config::handler().as_str() {
        "admin" => serve("admin", |app, event| async move { tidepost_admin::handle(&app, event).await }).await,
        "callback" => serve("callback", |app, event| async move { tidepost_callback::handle(&app, event).await }).await,
        "dispatch" => serve("dispatch", |app, event| async move { tidepost_dispatch::handle(&app, event).await }).await,
        "enqueue" => {
            serve("enqueue", |app, event| async move { tidepost_enqueue::handle_any(&app, event).await }).await
        }
        "metrics" => serve("metrics", |app, event| async move { tidepost_metrics::handle(&app, event).await }).await,
        "release" => serve("release", |app, event| async move { tidepost_release::handle(&app, event).await }).await,
        "report" => serve("report", |app, event| async move { tidepost_report::handle(&app, event).await }).await,
        "sweep" => serve("sweep", |app, event| async move { tidepost_sweep::handle(&app, event).await }).await,
        "tokens" => serve("tokens", |app, event| async move { tidepost_tokens::handle(&app, event).await }).await,
        other => {
            Err(format!("there is no function '{other}'; set the function's Handler to a folder of functions/").into())
        }
    }
}
