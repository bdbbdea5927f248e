//! The `enqueue` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("enqueue", |app, event| async move { tidepost_enqueue::handle_any(&app, event).await })
        .await
}
