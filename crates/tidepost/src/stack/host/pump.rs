//! The event source mapping: moves messages from a queue to its function, as Lambda's pollers do.
//!
//! Receive, gather, invoke, delete what succeeded. What failed is left alone: it comes back after the queue's visibility
//! time-out, and SQS itself moves it to the dead letters when it has come back too often.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName as Attribute,
};
use futures::future::join_all;
use lambda_runtime::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::stack::aws::resources::Queue;
use crate::stack::host::activity::{Guard, Work};
use crate::stack::host::event::sqs;
use crate::stack::host::functions::QueueFunction;
use crate::stack::host::invoke::invoke;
use crate::stack::host::{Context, HostSettings};

/// What one receive and one delete can carry.
const CALL_MESSAGES_MAX: usize = 10;
/// How long a receive waits for the first message.
const LONG_POLL_SECONDS: i32 = 1;
/// How long to wait between two receives while a batch is gathered.
const GATHER_PAUSE: Duration = Duration::from_millis(10);
/// How long to wait after SQS could not be reached.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Feeds a function from one queue.
#[derive(Clone)]
pub(super) struct Pump {
    context: Context,
    function: QueueFunction,
    sqs: Client,
    queue: Queue,
    settings: HostSettings,
    slots: Arc<Semaphore>,
}

impl Pump {
    pub(super) fn new(
        context: Context,
        function: QueueFunction,
        sqs: Client,
        queue: Queue,
        settings: HostSettings,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(settings.maximum_concurrency));
        Self { context, function, sqs, queue, settings, slots }
    }

    /// Runs until the host ends.
    pub(super) async fn run(self) {
        loop {
            let next = async {
                let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
                Some((slot, self.receive(LONG_POLL_SECONDS).await))
            };
            let (slot, first) = tokio::select! {
                () = self.context.stop.begun() => return,
                Some(next) = next => next,
                else => return,
            };
            if !first.is_empty() {
                let guard = self.context.activity.begin(Work::Handover);
                let batch = self.gather(first).await;
                tokio::spawn(self.clone().deliver(batch, slot, guard));
            }
        }
    }

    /// More of the queue until the batch is full or its window has passed.
    async fn gather(&self, mut batch: Vec<Message>) -> Vec<Message> {
        let until = Instant::now() + self.settings.batching_window;
        while batch.len() + CALL_MESSAGES_MAX <= self.settings.batch_size && Instant::now() < until {
            let more = self.receive(0).await;
            if more.is_empty() {
                tokio::time::sleep(GATHER_PAUSE).await;
            }
            batch.extend(more);
        }
        batch
    }

    async fn receive(&self, wait_seconds: i32) -> Vec<Message> {
        let count = self.settings.batch_size.clamp(1, CALL_MESSAGES_MAX);
        let call = self.sqs.receive_message().queue_url(&self.queue.url);
        let call = call.max_number_of_messages(i32::try_from(count).unwrap_or(1)).wait_time_seconds(wait_seconds);
        match call.message_system_attribute_names(MessageSystemAttributeName::All).send().await {
            Ok(answer) => answer.messages.unwrap_or_default(),
            Err(error) => {
                tracing::error!(error = %DisplayErrorContext(error), "messages cannot be received");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                Vec::new()
            }
        }
    }

    async fn deliver(self, batch: Vec<Message>, _slot: OwnedSemaphorePermit, _guard: Guard) {
        let event = sqs::event(&batch, &self.queue.arn);
        let (app, function) = (self.context.app.clone(), self.function);
        let handler = async move {
            let event: SqsEvent = serde_json::from_str(&event)?;
            let answer = function.handle(&app, event).await?;
            // Through its JSON text, as it leaves the function.
            Ok::<SqsBatchResponse, Error>(serde_json::from_str(&serde_json::to_string(&answer)?)?)
        };
        if let Ok(answer) = invoke(function.name(), &self.context.activity, &self.context.stop, handler).await {
            self.delete(done(&batch, &answer)).await;
        }
    }

    async fn delete(&self, done: Vec<&Message>) {
        let calls = done.chunks(CALL_MESSAGES_MAX).map(|chunk| {
            let entries = chunk.iter().enumerate().filter_map(|(position, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(position.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build().ok()
            });
            let call = self.sqs.delete_message_batch().queue_url(&self.queue.url);
            call.set_entries(Some(entries.collect())).send()
        });
        for answer in join_all(calls).await {
            // They come back, and the ledger knows that they are done.
            if let Err(error) = answer {
                tracing::warn!(error = %DisplayErrorContext(error), "messages cannot be deleted");
            }
        }
    }
}

/// What is deleted after an invocation. As in Lambda, a failure that names no message of the batch fails all of it.
fn done<'a>(batch: &'a [Message], answer: &SqsBatchResponse) -> Vec<&'a Message> {
    let failed: HashSet<&str> =
        answer.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    let known: HashSet<&str> = batch.iter().filter_map(|message| message.message_id.as_deref()).collect();
    if !failed.is_subset(&known) {
        return Vec::new();
    }
    batch.iter().filter(|message| message.message_id.as_deref().is_some_and(|id| !failed.contains(id))).collect()
}

/// Whether a queue holds nothing at all: neither visible nor hidden nor delayed messages.
pub(super) async fn is_empty(sqs: &Client, queue_url: &str) -> bool {
    let counted = [
        Attribute::ApproximateNumberOfMessages,
        Attribute::ApproximateNumberOfMessagesNotVisible,
        Attribute::ApproximateNumberOfMessagesDelayed,
    ];
    let call = sqs.get_queue_attributes().queue_url(queue_url).set_attribute_names(Some(counted.to_vec()));
    let Ok(answer) = call.send().await else { return false };
    let attributes = answer.attributes.unwrap_or_default();
    counted.iter().all(|name| attributes.get(name).is_some_and(|count| count == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Message> {
        ["a", "b", "c"].map(|id| Message::builder().message_id(id).build()).into()
    }

    fn answer(failed: &[&str]) -> SqsBatchResponse {
        let failures: Vec<_> = failed.iter().map(|id| serde_json::json!({"itemIdentifier": id})).collect();
        serde_json::from_value(serde_json::json!({"batchItemFailures": failures})).unwrap()
    }

    fn deleted(failed: &[&str]) -> Vec<String> {
        done(&batch(), &answer(failed)).iter().map(|message| message.message_id.clone().unwrap()).collect()
    }

    #[test]
    fn what_did_not_fail_is_deleted() {
        assert_eq!(deleted(&[]), ["a", "b", "c"]);
        assert_eq!(deleted(&["b"]), ["a", "c"]);
        assert!(deleted(&["a", "b", "c"]).is_empty());
    }

    #[test]
    fn a_failure_of_an_unknown_message_keeps_the_whole_batch() {
        assert!(deleted(&["b", "x"]).is_empty());
        assert!(deleted(&[""]).is_empty());
    }
}
