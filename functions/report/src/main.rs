//! The `report` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("report", |app, event| async move { tidepost_report::handle(&app, event).await }).await
}
