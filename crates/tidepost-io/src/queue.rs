//! The send queue and its dead letters: versioned payloads, so that messages in flight survive a deploy.

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
        send.send().await.map(drop).map_err(|error| failed(&error))
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
            let answer = send.send().await.map_err(|error| failed(&error))?;
            if let Some(failed) = answer.failed().first() {
                let detail = format!("{} {}", failed.code(), failed.message().unwrap_or_default());
                return Err(QueueError(detail));
            }
        }
        Ok(())
    }
}

/// What could not be handled, of the queue of single messages.
#[derive(Clone, Debug)]
pub struct DeadQueue {
    client: Client,
    url: String,
}

/// One dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The task, where it can be read.
    pub task: Option<MessageTask>,
    handle: String,
}

/// How long a letter that was looked at is hidden from others, in seconds: shorter than the time to the next look.
const LETTER_HIDDEN_SECONDS: i32 = 30;

impl DeadQueue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Some of the letters, at most 10; none when there are none that nobody has looked at of late.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails.
    pub async fn look(&self) -> Result<Vec<Letter>, QueueError> {
        let receive = self.client.receive_message().queue_url(&self.url).visibility_timeout(LETTER_HIDDEN_SECONDS);
        let answer = receive.max_number_of_messages(10).send().await.map_err(|error| failed(&error))?;
        let letter = |message: aws_sdk_sqs::types::Message| {
            let task = serde_json::from_str(message.body.as_deref().unwrap_or_default());
            let task = task.ok().map(|NowTask::V1(task)| task);
            Letter { task, handle: message.receipt_handle.unwrap_or_default() }
        };
        Ok(answer.messages.unwrap_or_default().into_iter().map(letter).collect())
    }

    /// Deletes a letter.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails.
    pub async fn discard(&self, letter: &Letter) -> Result<(), QueueError> {
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(&letter.handle);
        delete.send().await.map(drop).map_err(|error| failed(&error))
    }
}

fn failed(error: &(impl std::error::Error + 'static)) -> QueueError {
    QueueError(DisplayErrorContext(error).to_string())
}

fn body(task: &MessageTask) -> Result<String, QueueError> {
    serde_json::to_string(&NowTask::V1(task.clone())).map_err(|error| QueueError(error.to_string()))
}
