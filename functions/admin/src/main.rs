//! The `admin` function on AWS Lambda.

use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tidepost_io::runtime::serve("admin", |app, event| async move { tidepost_admin::handle(&app, event).await }).await
}
