//! The stand-ins for AWS: DynamoDB and SQS behind one endpoint on loopback, speaking the real protocols.
//!
//! DynamoDB is `dynoxide`'s own HTTP server on a private port; SQS is `winterbaume-sqs`. One front takes the calls of
//! both and tells them apart by the `X-Amz-Target` header, so that `AWS_ENDPOINT_URL` is all that differs from AWS.

mod front;
mod limits;
pub mod resources;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::error::StackError;
use crate::stack::serve::listen;
use crate::stack::stop::Stop;

/// The region of the stand-ins.
pub const REGION: &str = "us-east-1";
/// The database's file in a data folder.
const DATABASE_FILE: &str = "dynamodb.sqlite";
/// How long the servers may take to finish their last calls.
const LAST_CALLS: Duration = Duration::from_millis(400);

/// Where the stand-ins keep the table. Queues are in memory in any case: what was in them comes back from the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Store {
    /// Gone with the process.
    Memory,
    /// In a file of this folder.
    Folder(PathBuf),
}

impl Store {
    fn open(&self) -> Result<Database, StackError> {
        let failed = |error: dynoxide::DynoxideError| StackError::Database(error.to_string());
        match self {
            Self::Memory => Database::memory().map_err(failed),
            Self::Folder(folder) => {
                let database = Database::new(&folder.join(DATABASE_FILE).to_string_lossy()).map_err(failed)?;
                // Despite its name: sets `synchronous = NORMAL`. With a write-ahead log a killed process loses nothing
                // and the file stays whole when the power fails, without waiting for the disk at each write.
                database.disable_bulk_loading().map_err(failed)?;
                Ok(database)
            }
        }
    }
}

/// Running stand-ins.
#[derive(Debug)]
pub struct StandIns {
    url: String,
    stop: Stop,
    servers: Vec<JoinHandle<()>>,
}

impl StandIns {
    /// Serves DynamoDB and SQS at `address`, with neither table nor queue yet.
    ///
    /// # Errors
    /// [`StackError`] when the address is taken or the database does not open.
    pub async fn start(store: &Store, address: SocketAddr) -> Result<Self, StackError> {
        let database = store.open()?;
        let (private, private_at) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let (public, public_at) = listen(address).await?;
        let stop = Stop::default();
        let dynamodb = tokio::spawn(serve_dynamodb(private, database, stop.clone()));
        let front = tokio::spawn(front::serve(public, private_at, stop.clone()));
        Ok(Self { url: format!("http://{public_at}"), stop, servers: vec![front, dynamodb] })
    }

    /// The endpoint of both services.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Finishes the calls in flight and closes the database.
    pub async fn stop(self) {
        self.stop.begin();
        for mut server in self.servers {
            if tokio::time::timeout(LAST_CALLS, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

async fn serve_dynamodb(listener: TcpListener, database: Database, stop: Stop) {
    if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, stop.signal()).await {
        tracing::error!(%error, "the DynamoDB stand-in ended");
    }
}

/// SDK settings for stand-ins at `endpoint`.
#[must_use]
pub async fn sdk_config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("tidepost-local", "tidepost-local", None, None, "local");
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}
