//! Why a stack cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why a stack cannot start. Each says what to do.
#[derive(Debug, Error)]
pub enum StackError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error(
        "the data folder {folder} is in use by process {process}: stop that one, or choose another with --data or --memory"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Its process id, as far as it left it.
        process: String,
    },
    /// The data folder cannot be used.
    #[error("cannot use {path}: {source}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database does not open.
    #[error("the database of the DynamoDB stand-in does not open: {0}")]
    Database(String),
    /// The table or a queue cannot be made.
    #[error("cannot set up {what} at {endpoint}: {detail}; is the endpoint right and running?")]
    Resource {
        /// Which one.
        what: &'static str,
        /// Where.
        endpoint: String,
        /// What the SDK said.
        detail: String,
    },
    /// The functions' clients cannot be built.
    #[error("the functions cannot start: {0}")]
    App(String),
}
