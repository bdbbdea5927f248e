//! `tidepost dlq`: dead letters, what the queues gave up on.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::output::{Column, print, rows, table};

const COLUMNS: [Column; 10] = [
    ("ID", "/id"),
    ("QUEUE", "/queue"),
    ("SENT", "/sent_at"),
    ("RECEIVES", "/receives"),
    ("KIND", "/kind"),
    ("CHANNEL", "/channel"),
    ("MESSAGE", "/message"),
    ("CAMPAIGNS", "/campaigns"),
    ("WORTHLESS AFTER", "/worthless_after"),
    ("BECAUSE", "/because"),
];

const LIST_EXAMPLES: &str = "\
Examples:
  tidepost dlq list
  tidepost dlq list --queue bulk --limit 20
  tidepost dlq list --json

SQS shows a message only by handing it out: a look counts as a receive, and somebody else who looks at the same moment does
not see what this look sees. In doubt look again half a minute later.";

const REDRIVE_EXAMPLES: &str = "\
Examples:
  tidepost dlq redrive 7b8c1f0e-5d6a-4c52-9a3e-0f6c2f1f7a10
  tidepost dlq redrive --all --queue now

A task is done at most once however often it is sent again: what was delivered, refused or ended meanwhile stays so.";

const DROP_EXAMPLES: &str = "\
Examples:
  tidepost dlq drop 7b8c1f0e-5d6a-4c52-9a3e-0f6c2f1f7a10
  tidepost dlq drop --all --queue sweep

Nobody is lost with a letter: messages end by their rows, and people of campaigns are looked at again.";

/// Subcommands of `tidepost dlq`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List dead letters: queue, age, and what each is about
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those of this queue
        #[arg(long)]
        queue: Option<Queue>,
        /// So many at the most, 1 to 500
        #[arg(long)]
        limit: Option<u16>,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Send dead letters to their queue again
    #[command(after_help = REDRIVE_EXAMPLES)]
    Redrive(ActArgs),
    /// Delete dead letters
    #[command(after_help = DROP_EXAMPLES)]
    Drop(ActArgs),
}

/// The queues.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Queue {
    /// Single messages
    Now,
    /// Flights of campaigns
    Bulk,
    /// Steps of sweeps
    Sweep,
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Bulk => "bulk",
            Self::Sweep => "sweep",
        }
    }
}

/// Arguments of what is done with dead letters.
#[derive(Debug, clap::Args)]
pub struct ActArgs {
    /// Ids as `tidepost dlq list` shows them
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    ids: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Only those of this queue
    #[arg(long)]
    queue: Option<Queue>,
    /// How to call
    #[command(flatten)]
    client: ClientArgs,
}

impl Command {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call; or when a letter was not found or stays.
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { queue, limit, client } => {
                let call =
                    Call::new(Method::GET, &["dead-letters"]).query("limit", limit.map(|limit| limit.to_string()));
                let call = call.query("queue", queue.map(|queue| queue.name().to_owned()));
                print(client.json, &Client::new(&client)?.call(call).await?, shown);
                Ok(())
            }
            Self::Redrive(args) => args.run("redrive").await,
            Self::Drop(args) => args.run("drop").await,
        }
    }
}

/// The letters, and below how many there are: a look may not have seen all.
fn shown(answer: &Value) -> String {
    let counts = answer.get("counts").and_then(Value::as_object).into_iter().flatten();
    let counts: Vec<String> = counts.map(|(queue, count)| format!("{queue} {count}")).collect();
    format!("{}\n\nabout {}", table(rows(answer, "items"), &COLUMNS), counts.join(", "))
}

impl ActArgs {
    async fn run(self, act: &str) -> Result<(), Failure> {
        let client = Client::new(&self.client)?;
        let queue = self.queue.map(Queue::name);
        let body = match self.all {
            true => json!({ "all": true, "queue": queue }),
            false => json!({ "ids": self.ids, "queue": queue }),
        };
        let mut results: Vec<Value> = Vec::new();
        loop {
            let answer = client.call(Call::new(Method::POST, &["dead-letters", act]).body(&body)).await?;
            results.extend_from_slice(rows(&answer, "results"));
            if answer.get("more") != Some(&Value::Bool(true)) {
                break;
            }
        }
        let answer = json!({ "results": results, "more": false });
        print(self.client.json, &answer, |answer| {
            table(rows(answer, "results"), &[("ID", "/id"), ("QUEUE", "/queue"), ("STATUS", "/status")])
        });
        match results.iter().filter(|result| !is_done(result)).count() {
            0 => Ok(()),
            left => Err(Failure::No(format!("{left} dead letters were not found or stay where they are"))),
        }
    }
}

fn is_done(result: &Value) -> bool {
    matches!(result.get("status").and_then(Value::as_str), Some("redriven" | "dropped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_ends_with_how_many_there_are() {
        let letter = json!({"id": "l1", "queue": "bulk", "kind": "flight", "campaigns": ["c_1"], "because": null});
        let printed = shown(&json!({"items": [letter], "counts": {"now": 0, "bulk": 3}}));
        assert!(printed.contains("flight") && printed.contains("c_1"), "{printed}");
        assert!(printed.ends_with("bulk 3, now 0") || printed.ends_with("now 0, bulk 3"), "{printed}");
    }

    #[test]
    fn only_what_was_dealt_with_is_done() {
        assert!(is_done(&json!({"status": "redriven"})) && is_done(&json!({"status": "dropped"})));
        assert!(!is_done(&json!({"status": "not_found"})) && !is_done(&json!({"status": "failed"})));
    }
}
