//! `dispatch`: reserve, send, receipt, for a batch of the send queue.

mod attempt;
mod book;
mod delivery;
mod plan;
mod turns;

use std::collections::{BTreeMap, HashSet};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use lambda_runtime::Error;
use tidepost_core::ids::MessageId;
use tidepost_io::app::App;
use tidepost_io::queue::{MessageTask, NowTask};
use tokio::sync::Semaphore;

use crate::delivery::IN_FLIGHT_MAX;

/// Handles one batch. What could not be finished, and only that, goes back to the queue.
///
/// # Errors
/// None: a part that fails is reported as failed.
pub async fn handle(app: &App, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let (batch, mut failed) = read(event.records);
    let in_flight = &Semaphore::new(IN_FLIGHT_MAX);
    let channels = batch.into_iter().map(|(channel, tasks)| async move {
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
    failed.extend(join_all(channels).await.into_iter().flatten());
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

/// The tasks by channel, and the records that cannot be read: the queue hands those to the dead letters in the end.
fn read(records: Vec<SqsMessage>) -> (BTreeMap<String, Tasks>, Vec<String>) {
    let mut batch: BTreeMap<String, Tasks> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for record in records {
        let record_id = record.message_id.unwrap_or_default();
        match serde_json::from_str(record.body.as_deref().unwrap_or_default()) {
            Ok(NowTask::V1(MessageTask { id, to, .. })) => {
                batch.entry(to.channel).or_default().entry(id.to_string()).or_default().push(record_id);
            }
            Err(error) => {
                tracing::error!(record = record_id, %error, "a task cannot be read and goes to the dead letters");
                unreadable.push(record_id);
            }
        }
    }
    (batch, unreadable)
}

/// Messages that go back to the queue.
type Unfinished = HashSet<MessageId>;
