//! The `dispatch` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("dispatch", |app, event| async move { tidepost_dispatch::handle(&app, event).await })
        .await
}
