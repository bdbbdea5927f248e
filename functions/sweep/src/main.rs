//! The `sweep` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("sweep", |app, event| async move { tidepost_sweep::handle(&app, event).await }).await
}
