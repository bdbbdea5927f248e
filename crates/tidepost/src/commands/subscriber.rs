//! `tidepost subscriber`: people on a channel.

use clap::Subcommand;
use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::{Failure, import};
use crate::output::{fields, print, rows, table};

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
    /// Feed subscribers from a file: attributes, tags, purchases
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// Tell which campaigns are held back from a subscriber, and why
    #[command(name = "held-back", after_help = "Example:\n  tidepost subscribers held-back shop oUSER0001")]
    HeldBack {
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
            Self::HeldBack { channel, openid, client } => return held_back(&channel, &openid, &client).await,
            Self::Import(args) => return args.run().await,
        };
        let call = Call::new(method, &["channels", &channel, "subscribers", &openid]);
        print(client.json, &Client::new(&client)?.call(call).await?, fields);
        Ok(())
    }
}

async fn held_back(channel: &str, openid: &str, args: &ClientArgs) -> Result<(), Failure> {
    let call = Call::new(Method::GET, &["channels", channel, "subscribers", openid, "held-back"]);
    let columns = [("CAMPAIGN", "/campaign"), ("REASON", "/reason"), ("WINNER", "/winner"), ("AT", "/at")];
    let answer = Client::new(args)?.call(call).await?;
    print(args.json, &answer, |answer| table(rows(answer, "items"), &columns));
    Ok(())
}
