//! `dispatch`: reserve, send, receipt, for a batch of one of the send queues.

mod attempt;
mod book;
mod bulk;
mod delivery;
mod plan;
mod turns;

use std::collections::{BTreeMap, HashSet};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use lambda_runtime::Error;
use serde::Deserialize;
use tidepost_core::ids::MessageId;
use tidepost_io::app::App;
use tidepost_io::queue::{BulkTask, FlightTask, MessageTask, NowTask};
use tokio::sync::Semaphore;

use crate::delivery::IN_FLIGHT_MAX;

/// Handles one batch. What could not be finished, and only that, goes back to the queue.
///
/// # Errors
/// None: a part that fails is reported as failed.
pub async fn handle(app: &App, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let batch = read(event.records);
    let mut failed = batch.unreadable;
    let in_flight = &Semaphore::new(IN_FLIGHT_MAX);
    let channels = batch.messages.into_iter().map(|(channel, tasks)| async move {
        let ids: Vec<MessageId> = tasks.keys().filter_map(|id| MessageId::parse(id)).collect();
        let unfinished = match delivery::run(app, &channel, &ids, in_flight).await {
            Ok(unfinished) => unfinished,
            Err(error) => {
                tracing::error!(channel, %error, "a batch goes back to the queue");
                ids.iter().copied().collect()
            }
        };
        let back = |(id, records): (String, Vec<String>)| {
            MessageId::parse(&id).filter(|id| unfinished.contains(id)).map(|_| records)
        };
        tasks.into_iter().filter_map(back).flatten().collect::<Vec<String>>()
    });
    let flights = batch.flights.into_iter().map(|(record, flight)| async move {
        let flown = bulk::run(app, &flight, in_flight).await;
        flown.err().map(|error| {
            tracing::warn!(channel = flight.channel, record, %error, "a flight goes back to the queue");
            record
        })
    });
    let (unfinished, not_flown) = futures::join!(join_all(channels), join_all(flights));
    failed.extend(unfinished.into_iter().flatten().chain(not_flown.into_iter().flatten()));
    let failures = failed.into_iter().map(|record| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = record;
        failure
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.collect();
    Ok(response)
}

/// Record ids by message id: the same message may be in a batch twice, and is handled once.
type Tasks = BTreeMap<String, Vec<String>>;

/// What a record of either queue says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Task {
    Now(NowTask),
    Bulk(BulkTask),
}

/// A batch of either queue.
#[derive(Default)]
struct Batch {
    /// Messages by channel.
    messages: BTreeMap<String, Tasks>,
    /// Flights with their records.
    flights: Vec<(String, FlightTask)>,
    /// Records that cannot be read: the queue hands them to the dead letters in the end.
    unreadable: Vec<String>,
}

fn read(records: Vec<SqsMessage>) -> Batch {
    let mut batch = Batch::default();
    for record in records {
        let record_id = record.message_id.unwrap_or_default();
        match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
            Ok(Task::Now(NowTask::V1(MessageTask { id, to, .. }))) => {
                let tasks = batch.messages.entry(to.channel).or_default();
                tasks.entry(id.to_string()).or_default().push(record_id);
            }
            Ok(Task::Bulk(BulkTask::V1(flight))) => batch.flights.push((record_id, flight)),
            Err(error) => {
                tracing::error!(record = record_id, %error, "a task cannot be read and goes to the dead letters");
                batch.unreadable.push(record_id);
            }
        }
    }
    batch
}

/// Messages that go back to the queue.
type Unfinished = HashSet<MessageId>;
