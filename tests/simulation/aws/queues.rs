//! SQS with everything that its contract allows: loss after its retention, repetition, any order, delay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost_io::clock::Clock;
use tokio::sync::Notify;

use super::Answer;
use crate::faults::Chance;

/// The queue of single messages.
pub(crate) const NOW: &str = "http://aws.simulation/now";
/// Its dead letters.
pub(crate) const DEAD: &str = "http://aws.simulation/now-dlq";
/// How long a received message is hidden from others, in seconds.
const VISIBILITY_SECONDS: i64 = 60;
/// After so many receives a message goes to the dead letters.
const RECEIVES_MAX: u32 = 5;
/// Messages of one receive.
const BATCH_MAX: usize = 10;

#[derive(Debug)]
struct Held {
    id: u64,
    body: String,
    visible_at: Timestamp,
    receives: u32,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<String, Vec<Held>>,
    made: u64,
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    chance: Arc<Chance>,
    clock: Clock,
    state: Mutex<State>,
    /// Told when a message was added.
    pub(crate) added: Notify,
}

impl Queues {
    pub(super) fn new(chance: Arc<Chance>, clock: Clock) -> Self {
        Self { chance, clock, state: Mutex::default(), added: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, seconds: i64) -> Timestamp {
        self.clock.now().checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn apply(&self, operation: &str, body: &[u8]) -> Answer {
        let call: Value = serde_json::from_slice(body).unwrap_or_default();
        let url = call["QueueUrl"].as_str().unwrap_or_default();
        match operation {
            "SendMessage" => {
                let id = self.send(url, &call);
                Answer::ok(&json!({"MessageId": id.to_string(), "MD5OfMessageBody": ""}))
            }
            "SendMessageBatch" => {
                let entries = call["Entries"].as_array().cloned().unwrap_or_default();
                assert!((1..=BATCH_MAX).contains(&entries.len()), "SQS takes 1 to 10 messages at once");
                let sent: Vec<Value> = entries
                    .iter()
                    .map(|entry| {
                        let id = self.send(url, entry).to_string();
                        json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": ""})
                    })
                    .collect();
                Answer::ok(&json!({"Successful": sent, "Failed": []}))
            }
            "ReceiveMessage" => {
                let hidden = call["VisibilityTimeout"].as_i64().unwrap_or(VISIBILITY_SECONDS);
                let received: Vec<Value> = self
                    .receive(url, hidden)
                    .into_iter()
                    .map(|held| json!({"MessageId": held.0, "ReceiptHandle": held.0, "Body": held.1, "MD5OfBody": ""}))
                    .collect();
                Answer::ok(&json!({ "Messages": received }))
            }
            "DeleteMessage" => {
                self.delete(url, &[call["ReceiptHandle"].as_str().unwrap_or_default()]);
                Answer::ok(&json!({}))
            }
            other => Answer(500, format!("the simulation does not know {other}; add it beside the others")),
        }
    }

    fn send(&self, url: &str, entry: &Value) -> u64 {
        let rates = self.chance.rates();
        let copies =
            if self.chance.is(rates.queue_loses) { 0 } else { 1 + usize::from(self.chance.is(rates.queue_repeats)) };
        let mut last = 0;
        for _ in 0..copies {
            let late = if self.chance.is(rates.queue_delays) { self.chance.below(60) } else { 0 };
            let late = i64::try_from(late).unwrap_or(0);
            let visible_at = self.after(entry["DelaySeconds"].as_i64().unwrap_or(0) + late);
            let body = entry["MessageBody"].as_str().unwrap_or_default().to_owned();
            let mut state = self.state();
            state.made += 1;
            last = state.made;
            state.queues.entry(url.to_owned()).or_default().push(Held { id: last, body, visible_at, receives: 0 });
        }
        self.added.notify_one();
        last
    }

    /// Id and body of visible messages, in any order; those that came too often go to the dead letters.
    fn receive(&self, url: &str, hidden_seconds: i64) -> Vec<(String, String)> {
        let (now, hidden_until) = (self.clock.now(), self.after(hidden_seconds));
        let mut state = self.state();
        let queue = state.queues.entry(url.to_owned()).or_default();
        let mut visible: Vec<usize> = (0..queue.len()).filter(|index| queue[*index].visible_at <= now).collect();
        let mut received = Vec::new();
        let mut buried = Vec::new();
        while received.len() < BATCH_MAX && !visible.is_empty() {
            let held = &mut queue[visible.swap_remove(self.chance.below(visible.len()))];
            held.receives += 1;
            if held.receives > RECEIVES_MAX && url == NOW {
                buried.push(held.id);
                continue;
            }
            held.visible_at = hidden_until;
            received.push((held.id.to_string(), held.body.clone()));
        }
        let (dead, alive) = std::mem::take(queue).into_iter().partition(|held| buried.contains(&held.id));
        *queue = alive;
        let dead: Vec<Held> = dead;
        state.queues.entry(DEAD.to_owned()).or_default().extend(dead);
        received
    }

    fn delete(&self, url: &str, ids: &[&str]) {
        let mut state = self.state();
        let queue = state.queues.entry(url.to_owned()).or_default();
        queue.retain(|held| !ids.contains(&held.id.to_string().as_str()));
    }

    /// What the event source mapping takes for one invocation.
    pub(crate) fn take(&self) -> Vec<Message> {
        let message = |(id, body): (String, String)| {
            let sent = MessageSystemAttributeName::ApproximateReceiveCount;
            Message::builder().message_id(&id).receipt_handle(id).body(body).attributes(sent, "1").build()
        };
        self.receive(NOW, VISIBILITY_SECONDS).into_iter().map(message).collect()
    }

    /// What the event source mapping deletes after one.
    pub(crate) fn done(&self, ids: &[&str]) {
        self.delete(NOW, ids);
    }

    /// When the next message becomes visible, if there is one.
    pub(crate) fn next_visible(&self) -> Option<Timestamp> {
        self.state().queues.get(NOW)?.iter().map(|held| held.visible_at).min()
    }
}
