//! `tidepost metrics`: a channel's counts.

use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::output::{Column, print, rows, table};

const COLUMNS: [Column; 5] =
    [("HOUR", "/hour"), ("TEMPLATE", "/template"), ("TOPIC", "/topic"), ("OUTCOME", "/outcome"), ("COUNT", "/count")];

/// Arguments of `tidepost metrics`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tidepost metrics shop --from 2026-11-21T00:00:00+08:00 --by template,outcome")]
pub struct Args {
    /// The channel's id
    channel: String,
    /// From this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// To this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What to count by: template, topic, outcome, hour
    #[arg(long, value_name = "NAMES")]
    by: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Args {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["channels", &self.channel, "metrics"]);
        let call = call.query("from", self.from).query("to", self.to).query("by", self.by);
        let answer = Client::new(&self.client)?.call(call).await?;
        print(self.client.json, &answer, |answer| table(rows(answer, "rows"), &COLUMNS));
        Ok(())
    }
}
