//! The `callback` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("callback", |app, event| async move { tidepost_callback::handle(&app, event).await })
        .await
}
