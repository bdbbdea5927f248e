//! `tidepost channel`: the platform accounts that we send through.

use clap::Subcommand;
use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::input::read_json;
use crate::output::{fields, print, rows, table};

/// Subcommands of `tidepost channel`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set a channel up, or replace it
    #[command(
        after_help = "Examples:\n  tidepost channel put shop channel.json\n  tidepost channel put shop - < channel.json"
    )]
    Put {
        /// The channel's id
        id: String,
        /// Its settings in JSON; `-` reads standard input
        file: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a channel
    #[command(after_help = "Example:\n  tidepost channel get shop --json")]
    Get {
        /// The channel's id
        id: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the channels
    #[command(after_help = "Example:\n  tidepost channel list")]
    List {
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
        match self {
            Self::Put { id, file, client } => {
                let body = read_json(&file)?;
                let call = Call::new(Method::PUT, &["channels", &id]).body(&body);
                print(client.json, &Client::new(&client)?.call(call).await?, fields);
            }
            Self::Get { id, client } => {
                let call = Call::new(Method::GET, &["channels", &id]);
                print(client.json, &Client::new(&client)?.call(call).await?, fields);
            }
            Self::List { client } => {
                let answer = Client::new(&client)?.call(Call::new(Method::GET, &["channels"])).await?;
                let columns =
                    [("ID", "/id"), ("PLATFORM", "/platform"), ("APP ID", "/app_id"), ("HEALTH", "/health/state")];
                print(client.json, &answer, |answer| table(rows(answer, "items"), &columns));
            }
        }
        Ok(())
    }
}
