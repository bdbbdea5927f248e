//! The queues and their dead letters: versioned payloads, so that what is in flight survives a deploy.

use std::marker::PhantomData;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::time::{Period, plus_milliseconds};

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

impl From<MessageTask> for NowTask {
    fn from(task: MessageTask) -> Self {
        Self::V1(task)
    }
}

/// What is on the queue of campaigns' sends. Every version that was ever shipped stays readable.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "version")]
pub enum BulkTask {
    /// One flight of a slot.
    #[serde(rename = "1")]
    V1(FlightTask),
}

/// People whom live campaigns may be sent to; dispatch decides which.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FlightTask {
    /// The channel's id.
    pub channel: String,
    /// Names the flight; the same when it is queued twice.
    pub id: Nonce,
    /// The slot that was planned: no call starts outside of it.
    pub slot: Period,
    /// When the first call starts.
    pub starts_at: Timestamp,
    /// The recipients, by the campaign's occurrence that won them when the people were looked at.
    pub recipients: Vec<(MessageId, Vec<String>)>,
}

impl From<FlightTask> for BulkTask {
    fn from(task: FlightTask) -> Self {
        Self::V1(task)
    }
}

/// What is on the queue of sweeps. Every version that was ever shipped stays readable.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "version")]
pub enum SweepTask {
    /// One step of a channel's sweeping.
    #[serde(rename = "1")]
    V1(SweepStep),
}

/// One step of a channel's sweeping. Each may be done twice, or by two at once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum SweepStep {
    /// See what is to be done for a channel, and plan its slots.
    Plan {
        /// The channel's id.
        channel: String,
    },
    /// Look at the people of a range.
    Census {
        /// The channel's id.
        channel: String,
        /// Which census.
        generation: u32,
        /// Which of its ranges.
        range: u16,
    },
    /// Hand out what a slot's plan gives a range.
    Emit {
        /// The channel's id.
        channel: String,
        /// When the slot opens.
        slot: Timestamp,
        /// Which range.
        range: u16,
    },
}

impl From<SweepStep> for SweepTask {
    fn from(step: SweepStep) -> Self {
        Self::V1(step)
    }
}

/// SQS could not take a task. What was not queued is found again by the walks over the ledger.
#[derive(Debug, Error)]
#[error("SQS: {0}")]
pub struct QueueError(String);

/// A queue of tasks of one kind.
#[derive(Clone, Debug)]
pub struct TaskQueue<T> {
    client: Client,
    url: String,
    tasks: PhantomData<fn(T)>,
}

/// The queue of single messages.
pub type NowQueue = TaskQueue<NowTask>;
/// The queue of campaigns' sends.
pub type BulkQueue = TaskQueue<BulkTask>;
/// The queue of sweeps.
pub type SweepQueue = TaskQueue<SweepTask>;

/// Messages that one SendMessageBatch takes.
const BATCH_MAX: usize = 10;

impl<T: Serialize> TaskQueue<T> {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url, tasks: PhantomData }
    }

    /// Queues one task.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; it may be queued all the same.
    pub async fn send(&self, task: impl Into<T>) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(&self.url).message_body(body(&task.into())?);
        send.send().await.map(drop).map_err(|error| failed(&error))
    }

    /// Queues many tasks, each with the seconds that the queue holds it back (at most 900).
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; some may be queued all the same.
    pub async fn send_all(&self, tasks: Vec<(impl Into<T>, i32)>) -> Result<(), QueueError> {
        let bodies = tasks.into_iter().map(|(task, delay_seconds)| Ok((body(&task.into())?, delay_seconds)));
        let bodies = bodies.collect::<Result<Vec<(String, i32)>, QueueError>>()?;
        for chunk in bodies.chunks(BATCH_MAX) {
            let entries = chunk.iter().enumerate().map(|(index, (body, delay_seconds))| {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body)
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

/// What could not be handled, of one queue.
#[derive(Clone, Debug)]
pub struct DeadQueue {
    client: Client,
    url: String,
    source_url: String,
}

/// One dead letter.
#[derive(Clone)]
pub struct Letter {
    /// SQS's id of the message, the same as on the queue that it came from.
    pub id: String,
    /// The task, as it was queued. It may name people: not for logs.
    pub body: String,
    /// When it was first queued.
    pub sent_at: Option<Timestamp>,
    /// How often it was received, looks at the dead letters included.
    pub receives: Option<u32>,
    /// By which SQS knows this look at it.
    pub handle: String,
}

/// How long a letter that was looked at is hidden from others, in seconds: shorter than the time to the next look.
const LETTER_HIDDEN_SECONDS: i32 = 30;

impl DeadQueue {
    /// The queue at `url`, where SQS moves what could not be handled from `source_url`.
    #[must_use]
    pub fn new(client: Client, url: String, source_url: String) -> Self {
        Self { client, url, source_url }
    }

    /// Some of the letters, at most 10; none when there are none that nobody has looked at of late. They are hidden for half
    /// a minute, or until they are [put back](Self::put_back).
    ///
    /// With `wait_seconds` of at least 1 all of the queue is asked, otherwise a part of it may be missed (SQS, 'Short and
    /// long polling').
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails.
    pub async fn look(&self, wait_seconds: i32) -> Result<Vec<Letter>, QueueError> {
        let receive = self.client.receive_message().queue_url(&self.url).visibility_timeout(LETTER_HIDDEN_SECONDS);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let receive = receive.max_number_of_messages(10).wait_time_seconds(wait_seconds);
        let answer = receive.send().await.map_err(|error| failed(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(letter).collect())
    }

    /// How many letters there are, about: SQS counts with a delay. Hidden ones are included.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails.
    pub async fn count(&self) -> Result<u64, QueueError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = call.set_attribute_names(Some(names.to_vec())).send().await.map_err(|error| failed(&error))?;
        let counts = answer.attributes.unwrap_or_default();
        Ok(names.iter().filter_map(|name| counts.get(name)?.parse::<u64>().ok()).sum())
    }

    /// Lets others see letters again that were looked at.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; they are seen again after half a minute then.
    pub async fn put_back(&self, letters: &[Letter]) -> Result<(), QueueError> {
        for chunk in letters.chunks(BATCH_MAX) {
            let entries = chunk.iter().enumerate().map(|(index, letter)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                let entry = entry.receipt_handle(&letter.handle).visibility_timeout(0).build();
                entry.map_err(|error| QueueError(error.to_string()))
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let change = self.client.change_message_visibility_batch().queue_url(&self.url);
            change.set_entries(Some(entries)).send().await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Sends a letter's task to the queue that it came from, then deletes the letter: what is in between is done twice,
    /// which every task allows.
    ///
    /// # Errors
    /// [`QueueError`] when SQS fails; the task may be queued all the same.
    pub async fn redrive(&self, letter: &Letter) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(&self.source_url).message_body(&letter.body);
        send.send().await.map_err(|error| failed(&error))?;
        self.discard(letter).await
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

fn letter(message: Message) -> Letter {
    use MessageSystemAttributeName::{ApproximateReceiveCount, SentTimestamp};
    let attributes = message.attributes.unwrap_or_default();
    let number = |name: &MessageSystemAttributeName| attributes.get(name)?.parse::<i64>().ok();
    Letter {
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        sent_at: number(&SentTimestamp).and_then(|at| Timestamp::from_millisecond(at).ok()),
        receives: number(&ApproximateReceiveCount).and_then(|count| u32::try_from(count).ok()),
        handle: message.receipt_handle.unwrap_or_default(),
    }
}

fn failed(error: &(impl std::error::Error + 'static)) -> QueueError {
    QueueError(DisplayErrorContext(error).to_string())
}

fn body(task: &impl Serialize) -> Result<String, QueueError> {
    serde_json::to_string(task).map_err(|error| QueueError(error.to_string()))
}

/// Whole seconds for the queue to hold back what is wanted `ahead_milliseconds` before `at`.
#[must_use]
pub fn delay_until(at: Timestamp, ahead_milliseconds: i64, now: Timestamp) -> i32 {
    let wanted = plus_milliseconds(at, -ahead_milliseconds);
    let seconds = (wanted.as_millisecond() - now.as_millisecond()).div_euclid(1_000);
    i32::try_from(seconds.clamp(0, 900)).unwrap_or(0)
}
