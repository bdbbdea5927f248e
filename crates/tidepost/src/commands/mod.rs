//! One file per subcommand.

pub mod campaign;
pub mod channel;
pub mod demo;
pub mod dlq;
mod import;
mod input;
pub mod key;
pub mod message;
pub mod metrics;
pub mod quota;
pub mod send;
mod signals;
pub mod stores;
pub mod subscriber;
pub mod template;
pub mod up;
mod watch;

use std::process::ExitCode;

use thiserror::Error;

use crate::cli::{Cli, Command};
use crate::stack::error::StackError;

/// Why a command does not end with 0.
#[derive(Debug, Error)]
pub enum Failure {
    /// It ran, and the answer is no.
    #[error("{0}")]
    No(String),
    /// The arguments or the environment are wrong.
    #[error("{0}")]
    Usage(String),
    /// The endpoint does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The API refused.
    #[error("{code}: {detail}")]
    Refused {
        /// Its stable code.
        code: String,
        /// Its words.
        detail: String,
    },
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused { .. } => 4,
        }
    }
}

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        match error {
            StackError::Resource { .. } => Self::Unreachable(error.to_string()),
            _ => Self::No(error.to_string()),
        }
    }
}

/// Runs a subcommand and says on standard error why it failed.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Demo(args) => args.run().await,
        Command::Up(args) => args.run().await,
        Command::Stores(args) => args.run().await,
        Command::Key(command) => command.run().await,
        Command::Channel(command) => command.run().await,
        Command::Campaign(command) => command.run().await,
        Command::Template(command) => command.run().await,
        Command::Send(args) => args.run().await,
        Command::Message(command) => command.run().await,
        Command::Quota(args) => args.run().await,
        Command::Metrics(args) => args.run().await,
        Command::Subscriber(command) => command.run().await,
        Command::Dlq(command) => command.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tidepost: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
