//! SQS with everything that its contract allows: loss after its retention, repetition, any order, delay.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost_io::clock::Clock;
use tokio::sync::Notify;

use super::Answer;
use crate::faults::Chance;

/// After so many receives a message goes to the dead letters.
const RECEIVES_MAX: u32 = 5;
/// Messages of one receive, and of one send.
const BATCH_MAX: usize = 10;

/// The queues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    /// Single messages.
    Now,
    /// Campaigns' sends.
    Bulk,
    /// Steps of sweeps.
    Sweep,
    /// What of the single messages came too often. What of the others did is gone: the ledger knows of it.
    Dead,
}

impl Name {
    const ALL: [Self; 4] = [Self::Now, Self::Bulk, Self::Sweep, Self::Dead];

    /// Its address.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::Now => "http://aws.simulation/now",
            Self::Bulk => "http://aws.simulation/bulk",
            Self::Sweep => "http://aws.simulation/sweep",
            Self::Dead => "http://aws.simulation/now-dlq",
        }
    }

    /// How long a received message is hidden from others, in seconds.
    pub(crate) fn hidden_seconds(self) -> u32 {
        if self == Self::Bulk { 30 } else { 60 }
    }

    /// Its name in events.
    pub(crate) fn arn(self) -> String {
        let name = self.url().rsplit('/').next().unwrap_or_default();
        format!("arn:aws:sqs:us-east-1:000000000000:tidepost-{name}")
    }
}

#[derive(Debug)]
struct Held {
    id: u64,
    body: String,
    visible_at: Timestamp,
    receives: u32,
}

#[derive(Debug, Default)]
struct Queue {
    held: Mutex<Vec<Held>>,
    /// Told when a message was added.
    added: Notify,
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    chance: Arc<Chance>,
    clock: Clock,
    queues: [Queue; 4],
    made: Mutex<u64>,
}

impl Queues {
    pub(super) fn new(chance: Arc<Chance>, clock: Clock) -> Self {
        Self { chance, clock, queues: Default::default(), made: Mutex::default() }
    }

    fn of(&self, name: Name) -> &Queue {
        &self.queues[name as usize]
    }

    fn after(&self, seconds: i64) -> Timestamp {
        self.clock.now().checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn apply(&self, operation: &str, body: &[u8]) -> Answer {
        let call: Value = serde_json::from_slice(body).unwrap_or_default();
        let url = call["QueueUrl"].as_str().unwrap_or_default();
        let Some(name) = Name::ALL.into_iter().find(|name| name.url() == url) else {
            return Answer::refused("com.amazonaws.sqs#QueueDoesNotExist");
        };
        match operation {
            "SendMessage" => {
                let id = self.send(name, &call);
                Answer::ok(&json!({"MessageId": id.to_string(), "MD5OfMessageBody": ""}))
            }
            "SendMessageBatch" => {
                let entries = call["Entries"].as_array().cloned().unwrap_or_default();
                assert!((1..=BATCH_MAX).contains(&entries.len()), "SQS takes 1 to 10 messages at once");
                let sent = entries.iter().map(|entry| {
                    let id = self.send(name, entry).to_string();
                    json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": ""})
                });
                Answer::ok(&json!({"Successful": sent.collect::<Vec<_>>(), "Failed": []}))
            }
            "ReceiveMessage" => {
                let hidden = call["VisibilityTimeout"].as_i64().unwrap_or(name.hidden_seconds().into());
                let received = self.receive(name, BATCH_MAX, hidden).into_iter();
                let received = received
                    .map(|held| json!({"MessageId": held.0, "ReceiptHandle": held.0, "Body": held.1, "MD5OfBody": ""}));
                Answer::ok(&json!({ "Messages": received.collect::<Vec<_>>() }))
            }
            "DeleteMessage" => {
                self.done(name, &[call["ReceiptHandle"].as_str().unwrap_or_default()]);
                Answer::ok(&json!({}))
            }
            other => Answer(500, format!("the simulation does not know {other}; add it beside the others")),
        }
    }

    fn send(&self, name: Name, entry: &Value) -> u64 {
        let rates = self.chance.rates();
        let copies =
            if self.chance.is(rates.queue_loses) { 0 } else { 1 + usize::from(self.chance.is(rates.queue_repeats)) };
        let mut last = 0;
        for _ in 0..copies {
            let late = if self.chance.is(rates.queue_delays) { self.chance.below(60) } else { 0 };
            let late = i64::try_from(late).unwrap_or(0);
            let visible_at = self.after(entry["DelaySeconds"].as_i64().unwrap_or(0) + late);
            let body = entry["MessageBody"].as_str().unwrap_or_default().to_owned();
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            *made += 1;
            last = *made;
            self.of(name).held().push(Held { id: last, body, visible_at, receives: 0 });
        }
        self.of(name).added.notify_one();
        last
    }

    /// Id and body of visible messages, in any order; those that came too often go to the dead letters.
    fn receive(&self, name: Name, count: usize, hidden_seconds: i64) -> Vec<(String, String)> {
        let (now, hidden_until) = (self.clock.now(), self.after(hidden_seconds));
        let mut queue = self.of(name).held();
        let mut visible: Vec<usize> = (0..queue.len()).filter(|index| queue[*index].visible_at <= now).collect();
        let mut received = Vec::new();
        let mut buried = Vec::new();
        while received.len() < count && !visible.is_empty() {
            let held = &mut queue[visible.swap_remove(self.chance.below(visible.len()))];
            held.receives += 1;
            if held.receives > RECEIVES_MAX && name != Name::Dead {
                buried.push(held.id);
                continue;
            }
            held.visible_at = hidden_until;
            received.push((held.id.to_string(), held.body.clone()));
        }
        let (dead, alive): (Vec<Held>, _) =
            std::mem::take(&mut *queue).into_iter().partition(|held| buried.contains(&held.id));
        *queue = alive;
        drop(queue);
        if name == Name::Now {
            self.of(Name::Dead).held().extend(dead);
        }
        received
    }

    /// What the event source mapping takes for one invocation.
    pub(crate) fn take(&self, name: Name, count: usize) -> Vec<Message> {
        let message = |(id, body): (String, String)| {
            let sent = MessageSystemAttributeName::ApproximateReceiveCount;
            Message::builder().message_id(&id).receipt_handle(id).body(body).attributes(sent, "1").build()
        };
        self.receive(name, count, name.hidden_seconds().into()).into_iter().map(message).collect()
    }

    /// What is deleted after one.
    pub(crate) fn done(&self, name: Name, ids: &[&str]) {
        self.of(name).held().retain(|held| !ids.contains(&held.id.to_string().as_str()));
    }

    /// When the next message becomes visible, if there is one.
    pub(crate) fn next_visible(&self, name: Name) -> Option<Timestamp> {
        self.of(name).held().iter().map(|held| held.visible_at).min()
    }

    /// Returns once a message was added.
    pub(crate) async fn added(&self, name: Name) {
        self.of(name).added.notified().await;
    }
}
