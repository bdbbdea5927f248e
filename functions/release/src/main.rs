//! The `release` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("release", |app, event| async move { tidepost_release::handle(&app, event).await })
        .await
}
