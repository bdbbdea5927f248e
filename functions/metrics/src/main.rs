//! The `metrics` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("metrics", |app, event| async move { tidepost_metrics::handle(&app, event).await })
        .await
}
