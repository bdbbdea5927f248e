//! `tidepost campaign`: campaigns, from their definition to their end.

use std::io::IsTerminal;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::input::{form_of, read_bytes, read_json, report_rejected};
use crate::commands::watch::{Every, watch};
use crate::demo::print::bar;
use crate::output::{Column, fields, print, rows, table};

/// Openids of one upload: far below the size of a body.
const UPLOAD_MAX: usize = 15_000;

/// Items of one page.
const PAGE: &str = "500";

const COLUMNS: [Column; 7] = [
    ("ID", "/id"),
    ("STATUS", "/status"),
    ("CHANNEL", "/channel"),
    ("NAME", "/name"),
    ("PRIORITY", "/priority"),
    ("FROM", "/from"),
    ("UNTIL", "/until"),
];

const CREATE_EXAMPLES: &str = "\
Examples:
  tidepost campaign create spring.json --start
  tidepost campaign create spring.json --list vips.csv
  echo '{\"channel\":\"shop\",…}' | tidepost campaign create -

The list is a file of openids, one a line, or NDJSON. Rows that cannot be read are named on standard error and do not stop
the rest; the exit code is 1 then, and the campaign is made and not started.";

const UPLOAD_EXAMPLES: &str = "\
Examples:
  tidepost campaign upload c_bovwb6tnh5m2u vips.csv
  tidepost campaign upload c_bovwb6tnh5m2u vips.ndjson --json

The list takes the place of what the campaign had; who was sent the campaign is not sent it again. Rows that cannot be read
are named on standard error with line and reason and do not stop the rest; the exit code is 1 then.";

/// Subcommands of `tidepost campaign`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a campaign from its definition
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// Upload the list of a campaign, in place of what it had
    #[command(after_help = UPLOAD_EXAMPLES)]
    Upload(UploadArgs),
    /// List the campaigns
    #[command(after_help = "Example:\n  tidepost campaign list --channel shop")]
    List {
        /// Only those of this channel
        #[arg(long)]
        channel: Option<String>,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a campaign, where it stands and what it sent
    #[command(after_help = "Example:\n  tidepost campaign show c_bovwb6tnh5m2u")]
    Show(OneArgs),
    /// Let a campaign run
    #[command(after_help = "Example:\n  tidepost campaign start c_bovwb6tnh5m2u")]
    Start(OneArgs),
    /// Hold a campaign; the answer says how much may still go
    #[command(after_help = "Example:\n  tidepost campaign pause c_bovwb6tnh5m2u")]
    Pause(OneArgs),
    /// Let a paused campaign run again
    #[command(after_help = "Example:\n  tidepost campaign resume c_bovwb6tnh5m2u")]
    Resume(OneArgs),
    /// End a campaign; the answer says how much may still go
    #[command(after_help = "Example:\n  tidepost campaign stop c_bovwb6tnh5m2u")]
    Stop(OneArgs),
    /// Follow a campaign until it is over; each change is a line
    #[command(
        after_help = "Examples:\n  tidepost campaign watch c_bovwb6tnh5m2u\n  tidepost campaign watch c_bovwb6tnh5m2u \
                            --every 10 --json"
    )]
    Watch {
        /// The campaign's id
        id: String,
        /// How often to look
        #[command(flatten)]
        every: Every,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Arguments of `tidepost campaign create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The definition in JSON; `-` reads standard input
    file: String,
    /// A file of openids, CSV or NDJSON, for a campaign without a segment
    #[arg(long, value_name = "FILE")]
    list: Option<String>,
    /// Start it at once
    #[arg(long)]
    start: bool,
    /// Names this request: the same key and content make one campaign
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How to call
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `tidepost campaign upload`.
#[derive(Debug, clap::Args)]
pub struct UploadArgs {
    /// The campaign's id
    id: String,
    /// A file of openids, CSV or, when it ends in .ndjson, .jsonl or .json, NDJSON; `-` reads CSV from standard input
    file: String,
    /// How to call
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of what is done to one campaign.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    /// The campaign's id
    id: String,
    /// How to call
    #[command(flatten)]
    client: ClientArgs,
}

impl Command {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run().await,
            Self::Upload(args) => args.run().await,
            Self::List { channel, client } => list(channel, &client).await,
            Self::Show(args) => args.call(Method::GET, None).await,
            Self::Start(args) => args.call(Method::POST, Some("start")).await,
            Self::Pause(args) => args.call(Method::POST, Some("pause")).await,
            Self::Resume(args) => args.call(Method::POST, Some("resume")).await,
            Self::Stop(args) => args.call(Method::POST, Some("stop")).await,
            Self::Watch { id, every, client } => {
                let call = Call::new(Method::GET, &["campaigns", &id]);
                watch(&client, &every, call, line, is_over).await
            }
        }
    }
}

impl OneArgs {
    async fn call(self, method: Method, verb: Option<&str>) -> Result<(), Failure> {
        let path: Vec<&str> = ["campaigns", &self.id].into_iter().chain(verb).collect();
        let answer = Client::new(&self.client)?.call(Call::new(method, &path)).await?;
        print(self.client.json, &answer, fields);
        if matches!(verb, Some("start" | "resume")) { goes(&answer) } else { Ok(()) }
    }
}

/// A campaign that was let go may be paused at once.
fn goes(answer: &Value) -> Result<(), Failure> {
    if answer.get("status").and_then(Value::as_str) != Some("paused") {
        return Ok(());
    }
    let detail = answer.pointer("/paused_because/detail").and_then(Value::as_str).unwrap_or("nobody says why");
    Err(Failure::No(format!("it is paused: {detail}")))
}

async fn list(channel: Option<String>, args: &ClientArgs) -> Result<(), Failure> {
    let client = Client::new(args)?;
    let mut items: Vec<Value> = Vec::new();
    let mut cursor = None;
    loop {
        let call = Call::new(Method::GET, &["campaigns"]).query("limit", Some(PAGE.to_owned()));
        let page = client.call(call.query("channel", channel.clone()).query("cursor", cursor)).await?;
        items.extend_from_slice(rows(&page, "items"));
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let answer = json!({ "items": items, "next_cursor": null });
    print(args.json, &answer, |answer| table(rows(answer, "items"), &COLUMNS));
    Ok(())
}

impl CreateArgs {
    async fn run(self) -> Result<(), Failure> {
        let definition = read_json(&self.file)?;
        let list = self.list.as_deref().map(read_list).transpose()?;
        let client = Client::new(&self.client)?;
        let call = Call::new(Method::POST, &["campaigns"]).body(&definition);
        let call = self.idempotency_key.iter().fold(call, |call, key| call.idempotency_key(key));
        let mut answer = client.call(call).await?;
        let id = answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(list) = &list {
            list.upload(&client, &id, self.client.json).await?;
        }
        let rejected = list.map_or(0, |list| list.rejected);
        if self.start && rejected == 0 {
            answer = client.call(Call::new(Method::POST, &["campaigns", &id, "start"])).await?;
        }
        print(self.client.json, &answer, fields);
        all_taken(rejected)?;
        goes(&answer)
    }
}

impl UploadArgs {
    async fn run(self) -> Result<(), Failure> {
        let list = read_list(&self.file)?;
        if list.openids.is_empty() && list.rejected > 0 {
            return Err(Failure::No("no row of the list can be read: the campaign keeps the one it has".to_owned()));
        }
        let listed = list.upload(&Client::new(&self.client)?, &self.id, self.client.json).await?;
        let List { openids, repeated, rejected } = list;
        let counts = json!({ "accepted": openids.len(), "repeated": repeated, "rejected": rejected, "listed": listed });
        print(self.client.json, &counts, fields);
        all_taken(rejected)
    }
}

fn all_taken(rejected: usize) -> Result<(), Failure> {
    match rejected {
        0 => Ok(()),
        _ => Err(Failure::No(format!("{rejected} rows of the list were rejected"))),
    }
}

/// The openids of a file, each once.
struct List {
    openids: Vec<String>,
    repeated: usize,
    rejected: usize,
}

fn read_list(path: &str) -> Result<List, Failure> {
    let import = tidepost_core::list::openids(&read_bytes(path)?, form_of(path));
    report_rejected(&import.rejected);
    Ok(List {
        openids: import.rows.into_iter().map(|row| row.value).collect(),
        repeated: import.repeated,
        rejected: import.rejected.len(),
    })
}

impl List {
    /// Uploads it part by part, in place of what the campaign had; returns how many people the campaign lists then.
    async fn upload(&self, client: &Client, id: &str, json: bool) -> Result<u64, Failure> {
        let bar = bar("openids", self.openids.len(), std::io::stderr().is_terminal() && !json);
        // An empty list takes the place of what was there, too.
        let none: &[String] = &[];
        let parts = self.openids.chunks(UPLOAD_MAX).chain(self.openids.is_empty().then_some(none));
        let mut listed = 0;
        for (number, part) in parts.enumerate() {
            let method = if number == 0 { Method::PUT } else { Method::POST };
            let text = part.join("\n");
            let call = Call::new(method, &["campaigns", id, "list"]).text("text/csv", &text);
            listed = client.call(call).await?.get("listed").and_then(Value::as_u64).unwrap_or(0);
            bar.inc(part.len() as u64);
        }
        bar.finish_and_clear();
        Ok(listed)
    }
}

fn is_over(campaign: &Value) -> bool {
    matches!(campaign.get("status").and_then(Value::as_str), Some("stopped" | "finished"))
}

/// Where a campaign stands, on one line.
fn line(campaign: &Value) -> String {
    let text = |at: &str| campaign.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let count = |name: &str| campaign.pointer(&format!("/counts/{name}")).and_then(Value::as_u64).unwrap_or_default();
    let counts = ["sent", "delivered", "unknown"].map(|name| format!("{name} {}", count(name))).join("  ");
    let because = match text("/paused_because/detail") {
        "" => String::new(),
        detail => format!("  ({}: {detail})", text("/paused_because/code")),
    };
    format!("{:<9}  {counts}{because}", text("/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_is_a_line_with_the_reason_for_its_pause() {
        let campaign = json!({"status": "paused", "counts": {"sent": 20, "delivered": 12, "unknown": 1},
            "paused_because": {"code": "error_rate", "detail": "7 of 20 sends failed"}});
        assert_eq!(line(&campaign), "paused     sent 20  delivered 12  unknown 1  (error_rate: 7 of 20 sends failed)");
        assert!(!is_over(&campaign) && is_over(&json!({"status": "finished"})));
        assert_eq!(goes(&campaign).unwrap_err().to_string(), "it is paused: 7 of 20 sends failed");
        assert!(goes(&json!({"status": "scheduled"})).is_ok());
    }
}
