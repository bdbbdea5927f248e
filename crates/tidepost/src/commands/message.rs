//! `tidepost message`: what became of a message.

use clap::Subcommand;
use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::output::{fields, print};

/// Subcommands of `tidepost message`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a message
    #[command(after_help = "Example:\n  tidepost message get m_3f1c2b9e")]
    Get {
        /// The message's id
        id: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
}

impl Command {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        let Self::Get { id, client } = self;
        let answer = Client::new(&client)?.call(Call::new(Method::GET, &["messages", &id])).await?;
        print(client.json, &answer, fields);
        Ok(())
    }
}
