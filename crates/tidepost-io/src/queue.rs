//! The send queue: versioned payloads, so that messages in flight survive a deploy.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidepost_core::ids::{MessageId, SubscriberId};

/// What is on the queue of single messages. Every version that was ever shipped stays readable.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "version")]
pub enum NowTask {
    /// One message to send; its row says what.
    #[serde(rename = "1")]
    V1(MessageTask),
}

/// One message to send.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MessageTask {
    /// Which message.
    pub id: MessageId,
    /// To whom: dispatch sorts a batch by its channel.
    pub to: SubscriberId,
    /// Worthless after this; the row says the same, and decides.
    pub not_after: Timestamp,
}

/// SQS could not take a task. The walk over the messages finds what was not queued.
#[derive(Debug, Error)]
#[error("SQS: {0}")]
pub struct QueueError(String);

/// The queue of single messages.
#[derive(Clone, Debug)]
pub struct NowQueue {
    client: Client,
    url: String,
}

/// Messages that one SendMessageBatch takes.
const BATCH_MAX: usize = 10;

impl NowQueue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Queues one message.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; it may be queued all the same.
    pub async fn send(&self, task: MessageTask) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(&self.url).message_body(body(&task)?);
        send.send().await.map(drop).map_err(|error| QueueError(DisplayErrorContext(error).to_string()))
    }

    /// Queues many messages, each with the seconds that the queue holds it back (at most 900).
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; some may be queued all the same.
    pub async fn send_all(&self, tasks: Vec<(MessageTask, i32)>) -> Result<(), QueueError> {
        for chunk in tasks.chunks(BATCH_MAX) {
            let entries = chunk.iter().enumerate().map(|(index, (task, delay_seconds))| {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body(task)?)
                    .delay_seconds(*delay_seconds);
                entry.build().map_err(|error| QueueError(error.to_string()))
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let send = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let answer = send.send().await.map_err(|error| QueueError(DisplayErrorContext(error).to_string()))?;
            if let Some(failed) = answer.failed().first() {
                let detail = format!("{} {}", failed.code(), failed.message().unwrap_or_default());
                return Err(QueueError(detail));
            }
        }
        Ok(())
    }
}

fn body(task: &MessageTask) -> Result<String, QueueError> {
    serde_json::to_string(&NowTask::V1(task.clone())).map_err(|error| QueueError(error.to_string()))
}
