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
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    one: Option<OneArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the windows; each change is printed
    #[command(after_help = "Example:\n  tidepost quota watch shop --every 1")]
    Watch {
        #[command(flatten)]
        every: Every,
        #[command(flatten)]
        one: OneArgs,
    },
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// The channel's id
    channel: String,
    #[command(flatten)]
    client: ClientArgs,
}

impl OneArgs {
    fn call(&self) -> Call<'_> {
        Call::new(Method::GET, &["channels", &self.channel, "quota"])
    }
}

impl Args {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        match (self.command, self.one) {
            (Some(Command::Watch { every, one }), _) => watch(&one.client, &every, one.call(), shown, |_| false).await,
            (None, Some(one)) => {
                let answer = Client::new(&one.client)?.call(one.call()).await?;
                print(one.client.json, &answer, shown);
                Ok(())
            }
            (None, None) => Err(Failure::Usage("name a channel: tidepost quota shop".to_owned())),
        }
    }
}

fn shown(answer: &Value) -> String {
    table(rows(answer, "windows"), &COLUMNS)
}
