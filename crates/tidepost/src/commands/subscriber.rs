//! `tidepost subscriber`: one person on one channel.

use clap::Subcommand;
use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::output::{fields, print};

/// Subcommands of `tidepost subscriber`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look a subscriber up
    #[command(after_help = "Example:\n  tidepost subscriber get shop oUSER0001")]
    Get {
        /// The channel's id
        channel: String,
        /// The person's openid
        openid: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Erase the person everywhere
    #[command(after_help = "Example:\n  tidepost subscriber erase shop oUSER0001")]
    Erase {
        /// The channel's id
        channel: String,
        /// The person's openid
        openid: String,
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
        let (method, channel, openid, client) = match self {
            Self::Get { channel, openid, client } => (Method::GET, channel, openid, client),
            Self::Erase { channel, openid, client } => (Method::DELETE, channel, openid, client),
        };
        let call = Call::new(method, &["channels", &channel, "subscribers", &openid]);
        print(client.json, &Client::new(&client)?.call(call).await?, fields);
        Ok(())
    }
}
