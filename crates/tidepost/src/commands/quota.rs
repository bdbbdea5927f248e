//! `tidepost quota`: a channel's live windows.

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::watch::{Every, watch};
use crate::output::{Column, print, rows, table};

const COLUMNS: [Column; 8] = [
    ("RULE", "/rule"),
    ("UNIT", "/unit"),
    ("STATE", "/state"),
    ("LIMIT", "/limit"),
    ("USED", "/used"),
    ("LEASED", "/leased"),
    ("FOR BASIC", "/reserved_for_basic"),
    ("CLOSES", "/closes_at"),
];

const EXAMPLES: &str = "\
Examples:
  tidepost quota shop
  tidepost quota watch shop --every 1";

/// Arguments of `tidepost quota`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The channel's id
    #[arg(required = true)]
    channel: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the windows; each change is printed
    #[command(after_help = "Example:\n  tidepost quota watch shop --every 1")]
    Watch {
        /// The channel's id
        channel: String,
        #[command(flatten)]
        every: Every,
        #[command(flatten)]
        client: ClientArgs,
    },
}

impl Args {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        if let Some(Command::Watch { channel, every, client }) = self.command {
            return watch(&client, &every, call(&channel), shown, |_| false).await;
        }
        let answer = Client::new(&self.client)?.call(call(&self.channel.unwrap_or_default())).await?;
        print(self.client.json, &answer, shown);
        Ok(())
    }
}

fn call(channel: &str) -> Call<'_> {
    Call::new(Method::GET, &["channels", channel, "quota"])
}

fn shown(answer: &Value) -> String {
    table(rows(answer, "windows"), &COLUMNS)
}
