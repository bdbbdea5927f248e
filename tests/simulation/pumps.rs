//! The event source mappings: move messages from the queues to their functions, as the local stack's host does.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use tidepost::stack::host::event::sqs;
use tidepost::stack::host::functions::QueueFunction;
use tokio::task::JoinSet;

use crate::aws::queues::Name;
use crate::world::World;

/// How long a batch may take: as long as the queue that hides it for the shortest time allows its function.
fn limit(function: QueueFunction) -> Duration {
    let hidden = FEEDS.iter().filter(|feed| feed.function == function).map(|feed| feed.queue.hidden_seconds());
    Duration::from_secs(hidden.min().unwrap_or_default().into())
}

/// How a function is fed from a queue.
#[derive(Clone, Copy)]
pub(crate) struct Feed {
    queue: Name,
    function: QueueFunction,
    /// Messages of one invocation at the most.
    batch_size: usize,
    /// How long to gather them after the first, at the most.
    window_milliseconds: u64,
    /// Invocations at once.
    concurrency_max: usize,
}

/// All of them, as the host feeds them.
pub(crate) const FEEDS: [Feed; 3] = [
    Feed {
        queue: Name::Now,
        function: QueueFunction::Dispatch,
        batch_size: 10,
        window_milliseconds: 300,
        concurrency_max: 4,
    },
    Feed {
        queue: Name::Bulk,
        function: QueueFunction::Dispatch,
        batch_size: 1,
        window_milliseconds: 0,
        concurrency_max: 32,
    },
    Feed {
        queue: Name::Sweep,
        function: QueueFunction::Sweep,
        batch_size: 1,
        window_milliseconds: 0,
        concurrency_max: 4,
    },
];

impl World {
    /// Feeds a function for ever.
    pub(crate) async fn pump(self: Arc<Self>, feed: Feed) {
        let mut batches: JoinSet<()> = JoinSet::new();
        let queues = &self.aws.queues;
        loop {
            while batches.try_join_next().is_some() {}
            let now = self.clock.now();
            match queues.next_visible(feed.queue) {
                Some(at) if at <= now && batches.len() < feed.concurrency_max => {
                    if feed.window_milliseconds > 0 {
                        tokio::time::sleep(self.chance.milliseconds(0, feed.window_milliseconds)).await;
                    }
                    let batch = Arc::new(queues.take(feed.queue, feed.batch_size));
                    let copies = 1 + usize::from(self.chance.is(self.chance.rates().batch_twice));
                    for _ in 0..copies {
                        batches.spawn(Arc::clone(&self).deliver(feed, Arc::clone(&batch)));
                    }
                }
                Some(at) if at > now => {
                    let until = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    tokio::select! {
                        biased;
                        () = queues.added(feed.queue) => {}
                        () = tokio::time::sleep(until) => {}
                    }
                }
                Some(_) => drop(batches.join_next().await),
                None => queues.added(feed.queue).await,
            }
        }
    }

    async fn deliver(self: Arc<Self>, feed: Feed, batch: Arc<Vec<Message>>) {
        if batch.is_empty() {
            return;
        }
        let event = sqs::event(&batch, &feed.queue.arn());
        let event = serde_json::from_str(&event).expect("the event is the documented one");
        let limits = (feed.function.name(), limit(feed.function));
        let answer = self.invoke(limits, |app| async move { feed.function.handle(&app, event).await }).await;
        let Some(Ok(answer)) = answer else { return };
        let failed: Vec<String> =
            answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        let ids = batch.iter().filter_map(|message| message.message_id.as_deref());
        let done: Vec<&str> = ids.filter(|id| !failed.iter().any(|failed| failed == id)).collect();
        // Lambda's own delete may fail like everything else: then they come again.
        if !self.chance.is(self.chance.rates().lost_request) {
            self.aws.queues.done(feed.queue, &done);
        }
    }
}
