//! `tidepost subscribers import`: a file of people.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use tidepost_core::invalid::Invalid;
use tidepost_core::list::{Rejected, Row, subscribers};
use tidepost_core::profile::ProfileRequest;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::input::{form_of, read_bytes, report_rejected};
use crate::demo::print::bar;
use crate::output::{fields, print, rows};

/// Items of one call at the most.
const BATCH_MAX: usize = 500;

/// Bytes of one call's items at the most, below the 1 MiB of a body.
const BATCH_BYTES_MAX: usize = 900_000;

/// Calls at a time.
const CONCURRENCY: usize = 4;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidepost subscribers import people.csv --channel shop
  tidepost subscribers import people.ndjson --channel shop --json

CSV needs a header: openid, and as you like union_id, user_id, time_zone, tags (with ; between them), tags.remove,
attributes.<name>, attributes.<name>:number, attributes.<name>:bool, and purchases.id, purchases.at, purchases.amount,
purchases.items for one purchase a row. NDJSON has one object a line, as in POST /v1/channels/{channel}/subscribers.

Rows that cannot be read are named on standard error with line and reason and do not stop the rest; the exit code is 1
then. Importing a file again changes nothing.";

/// Arguments of `tidepost subscribers import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, CSV or, when it ends in .ndjson, .jsonl or .json, NDJSON; `-` reads CSV from standard input
    file: String,
    /// The channel's id
    #[arg(long)]
    channel: String,
    /// How to call
    #[command(flatten)]
    client: ClientArgs,
}

/// Rows of one call.
type Batch = Vec<Row<Value>>;

impl Args {
    /// Calls the API batch by batch and prints what came of the rows.
    ///
    /// # Errors
    /// [`Failure`] of a call, and [`Failure::No`] when rows were rejected.
    pub async fn run(self) -> Result<(), Failure> {
        let import = subscribers(&read_bytes(&self.file)?, form_of(&self.file));
        report_rejected(&import.rejected);
        let client = Client::new(&self.client)?;
        let bar = bar("subscribers", import.rows.len(), std::io::stderr().is_terminal() && !self.client.json);
        let calls = batches(import.rows).into_iter().map(|batch| send(&client, &self.channel, batch));
        let mut calls = stream::iter(calls).buffered(CONCURRENCY);
        let mut counts: BTreeMap<&str, usize> = ["created", "updated", "unchanged"].map(|name| (name, 0)).into();
        let mut rejected = import.rejected.len();
        while let Some((lines, answer)) = calls.try_next().await? {
            for (line, result) in lines.iter().zip(rows(&answer, "results")) {
                match result.get("status").and_then(Value::as_str).and_then(|status| counts.get_mut(status)) {
                    Some(count) => *count += 1,
                    None => {
                        rejected += 1;
                        bar.suspend(|| report_rejected(&faults(*line, result)));
                    }
                }
            }
            bar.inc(lines.len() as u64);
        }
        bar.finish_and_clear();
        counts.insert("rejected", rejected);
        print(self.client.json, &json!(counts), fields);
        match rejected {
            0 => Ok(()),
            _ => Err(Failure::No(format!("{rejected} rows were rejected"))),
        }
    }
}

/// Sends one batch; returns the lines of its rows and the API's answer.
async fn send(client: &Client, channel: &str, batch: Batch) -> Result<(Vec<usize>, Value), Failure> {
    let (lines, items): (Vec<usize>, Vec<Value>) = batch.into_iter().map(|row| (row.line, row.value)).unzip();
    let body = json!({ "subscribers": items });
    let call = Call::new(Method::POST, &["channels", channel, "subscribers"]).body(&body);
    Ok((lines, client.call(call).await?))
}

/// Rows in calls that are neither too many nor too large.
fn batches(rows: Vec<Row<ProfileRequest>>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut size_bytes = 0;
    for Row { line, value } in rows {
        let value = json!(value);
        let row_bytes = value.to_string().len() + 1;
        match batches.last_mut().filter(|last| last.len() < BATCH_MAX && size_bytes + row_bytes <= BATCH_BYTES_MAX) {
            Some(last) => last.push(Row { line, value }),
            None => {
                batches.push(vec![Row { line, value }]);
                size_bytes = 0;
            }
        }
        size_bytes += row_bytes;
    }
    batches
}

/// What the API finds wrong with a row.
fn faults(line: usize, result: &Value) -> Vec<Rejected> {
    let errors =
        rows(result, "errors").iter().filter_map(|error| serde_json::from_value::<Invalid>(error.clone()).ok());
    // The API names the item by its place in the batch, which says nothing to who reads the file.
    let named = |reason: Invalid| {
        let field = reason.field.split_once("].").map_or("row", |(_, field)| field).to_owned();
        Rejected { line, reason: Invalid { field, ..reason } }
    };
    errors.map(named).collect()
}

#[cfg(test)]
mod tests {
    use tidepost_core::list::Form;

    use super::*;

    #[test]
    fn batches_are_neither_too_many_nor_too_large() {
        let file: String = (0..1_201).map(|number| format!("o{number},{}\n", "x".repeat(200))).collect();
        let rows = subscribers(format!("openid,attributes.note\n{file}").as_bytes(), Form::Csv).rows;
        let sizes: Vec<usize> = batches(rows).iter().map(Vec::len).collect();
        assert_eq!(sizes, [500, 500, 201]);
        let purchase = |number: usize| format!("o{},p{number},2026-11-21T10:00:00+08:00,29.33\n", number % 40);
        let file: String = (0..16_000).map(purchase).collect();
        let rows =
            subscribers(format!("openid,purchases.id,purchases.at,purchases.amount\n{file}").as_bytes(), Form::Csv);
        let batches = batches(rows.rows);
        assert!(
            batches.len() > 1
                && batches
                    .iter()
                    .all(|batch| json!(batch.iter().map(|row| &row.value).collect::<Vec<_>>()).to_string().len()
                        < 1 << 20)
        );
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 40);
    }

    #[test]
    fn what_the_api_rejects_is_told_by_line_and_column() {
        let result = json!({"openid": "o1", "status": "invalid",
            "errors": [{"field": "subscribers[3].tags", "code": "too_many", "message": "at most 50"}]});
        let faults = faults(7, &result);
        assert_eq!((faults[0].line, faults[0].reason.to_string().as_str()), (7, "tags: at most 50"));
    }
}
