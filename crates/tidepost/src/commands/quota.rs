//! `tidepost quota`: a channel's live windows.

use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
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

/// Arguments of `tidepost quota`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tidepost quota shop")]
pub struct Args {
    /// The channel's id
    channel: String,
    #[command(flatten)]
    client: ClientArgs,
}

impl Args {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["channels", &self.channel, "quota"]);
        let answer = Client::new(&self.client)?.call(call).await?;
        print(self.client.json, &answer, |answer| table(rows(answer, "windows"), &COLUMNS));
        Ok(())
    }
}
