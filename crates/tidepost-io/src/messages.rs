//! Message rows, parked rows and receipts in the table.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::category::Category;
use tidepost_core::ids::{MessageId, Nonce};
use tidepost_core::message::Message;
use tidepost_core::metric::{HourRollup, roll_up};
use tidepost_core::person::Person;
use tidepost_core::receipt::{About, Entry, Receipt, best};
use tidepost_core::sends::RecentSend;
use tidepost_core::time::{hour_of, plus_seconds};

use crate::store::{Key, LAST, Page, Range, Store, StoreError, Stored, Swap};

/// Partitions that one week's messages are spread over.
pub const MESSAGE_SHARDS: u8 = 16;

/// Partitions that parked messages are spread over.
pub const PARKED_SHARDS: u8 = 8;

/// How long message rows and receipts are kept, in seconds.
pub const KEPT_SECONDS: i64 = 30 * 86_400;

/// How long before the end of an hour a receipt may already come after it, in seconds.
const HOUR_END_SECONDS: i64 = 60;

/// How long roll-ups are kept, in seconds: two years, for comparing seasons.
const ROLLUP_KEPT_SECONDS: i64 = 731 * 86_400;

/// How often an hour is added up again when others stored it meanwhile.
const ROLLUP_TRIES: usize = 6;

/// What is kept of a message that waits: enough to bring it back in the right order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Parked {
    /// Which message.
    #[serde(rename = "i")]
    pub id: MessageId,
    /// Its channel.
    #[serde(rename = "c")]
    pub channel: String,
    /// Its class: within a class the earliest deadline goes first.
    #[serde(rename = "y")]
    pub category: Category,
    /// Worthless after.
    #[serde(rename = "e")]
    pub deadline: Timestamp,
}

/// Where a message's row is.
#[must_use]
pub fn message_key(id: MessageId) -> Key {
    Key::new(message_partition(id.week(), id.spread() % MESSAGE_SHARDS), id.to_string())
}

/// The partition of one shard of one week's messages.
#[must_use]
pub fn message_partition(week: u16, shard: u8) -> String {
    format!("M#{week}#{shard:02x}")
}

fn parked_partition(shard: u8) -> String {
    format!("W#{shard:02x}")
}

/// Sorts by time: seconds of the epoch in ten digits, rounded up so that nothing comes back too early.
fn due_text(due: Timestamp) -> String {
    format!("{:010}", due.as_second() + i64::from(due.subsec_nanosecond() > 0))
}

/// Where a message is parked that may go at `due`.
fn parked_key(id: MessageId, due: Timestamp) -> Key {
    Key::new(parked_partition(id.spread() % PARKED_SHARDS), format!("{}#{id}", due_text(due)))
}

fn due_of(sort_key: &str) -> Timestamp {
    let second = sort_key.split('#').next().and_then(|text| text.parse().ok());
    second.and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MIN)
}

fn receipt_partition(channel: &str, hour: Timestamp) -> String {
    format!("R#{channel}#{}", hour.as_second() / 3_600)
}

fn rollup_partition(channel: &str) -> String {
    format!("A#{channel}")
}

fn hour_text(hour: Timestamp) -> String {
    format!("{:010}", hour.as_second() / 3_600)
}

/// Names an hour of a channel whose roll-up is out of date.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Dirty {
    #[serde(rename = "c")]
    channel: String,
    #[serde(rename = "h")]
    hour: Timestamp,
}

const DIRTY: &str = "D";

/// How far a channel's hours are added up. Sorts behind all hours.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct RolledUp {
    #[serde(rename = "u")]
    until: Timestamp,
}

const ROLLED_UP: &str = "until";

/// What a receipt says of the send that the platform knows as `platform_id`, if it is of `id`.
fn about(receipt: &Receipt, id: MessageId, platform_id: &str) -> Option<About> {
    let message = receipt.find_platform_id(platform_id).filter(|(_, entry)| entry.id == id);
    let of_message = message.map(|(group, _)| (&group.template, &group.topic, None));
    let recipient = receipt.find_recipient_by_platform_id(platform_id).filter(|(group, _)| group.offer == id);
    let of_recipient = recipient.map(|(group, _)| (&group.template, &group.topic, Some(group.variant.clone())));
    let (template, topic, variant) = of_message.or(of_recipient)?;
    Some(About { template: template.clone(), topic: topic.clone(), variant })
}

impl Store {
    /// Stores a new message's row; returns false when the row is there already, or that of its `rival`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn put_message(
        &self,
        id: MessageId,
        rival: Option<MessageId>,
        message: &Message,
    ) -> Result<bool, StoreError> {
        let expires_at = Some(plus_seconds(message.accepted_at, KEPT_SECONDS));
        match rival {
            None => self.put_new(&message_key(id), message, expires_at).await,
            Some(rival) => self.put_only(&message_key(id), message, expires_at, &message_key(rival)).await,
        }
    }

    /// Replaces a message's row.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn rewrite_message(&self, id: MessageId, message: &Message) -> Result<(), StoreError> {
        self.put(&message_key(id), message, Some(plus_seconds(message.accepted_at, KEPT_SECONDS))).await
    }

    /// One message's row.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let row: Option<Stored<Message>> = self.get(&message_key(id)).await?;
        Ok(row.map(|row| row.value))
    }

    /// Many messages' rows, without those that are absent or cannot be read.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn messages(&self, ids: &[MessageId]) -> Result<Vec<(MessageId, Message)>, StoreError> {
        let keys: Vec<Key> = ids.iter().copied().map(message_key).collect();
        let mut rows = self.get_many::<Message>(&keys).await?;
        let row = |(id, key): (&MessageId, Key)| Some((*id, rows.remove(&key)??.value));
        Ok(ids.iter().zip(keys).filter_map(row).collect())
    }

    /// A page of one shard of one week's messages.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn message_page(
        &self,
        week: u16,
        shard: u8,
        after: Option<&str>,
        limit: i32,
    ) -> Result<Page<Message>, StoreError> {
        self.query(&Range { after, limit, ..Range::all(&message_partition(week, shard)) }).await
    }

    /// Parks a message until `due`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the walk over the messages finds it then.
    pub async fn park(&self, due: Timestamp, parked: &Parked) -> Result<(), StoreError> {
        self.put(&parked_key(parked.id, due), parked, Some(plus_seconds(parked.deadline, KEPT_SECONDS))).await
    }

    /// Which of these messages are parked, each until the time beside it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn parked(&self, waiting: &[(MessageId, Timestamp)]) -> Result<HashSet<MessageId>, StoreError> {
        let keys: Vec<Key> = waiting.iter().map(|(id, due)| parked_key(*id, *due)).collect();
        Ok(self.get_many::<Parked>(&keys).await?.into_values().flatten().map(|parked| parked.value.id).collect())
    }

    /// What may go by `until`: when, the key to forget it by, and what was parked.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn due(&self, until: Timestamp) -> Result<Vec<(Timestamp, Key, Parked)>, StoreError> {
        let last = format!("{:010}#{LAST}", until.as_second());
        let shards = (0..PARKED_SHARDS).map(|shard| {
            let last = &last;
            async move {
                let partition = parked_partition(shard);
                let rows = self.query_all::<Parked>(&Range { to: last, ..Range::all(&partition) }).await?;
                let due = rows.into_iter().map(move |(sk, parked)| (due_of(&sk), Key::new(&partition, sk), parked));
                Ok::<_, StoreError>(due)
            }
        });
        Ok(futures::future::try_join_all(shards).await?.into_iter().flatten().collect())
    }

    /// When the first of the messages parked for later may go, and the channels whose messages could go already and wait
    /// for room in a window.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn next_due(&self, now: Timestamp) -> Result<(Option<Timestamp>, BTreeSet<String>), StoreError> {
        let later = format!("{:010}", now.as_second() + 1);
        let shards = (0..PARKED_SHARDS).map(|shard| {
            let later = &later;
            async move {
                let partition = parked_partition(shard);
                let first = Range { limit: 1, ..Range::all(&partition) };
                let overdue = self.query::<Parked>(&Range { to: later, ..first }).await?;
                let next = self.query::<Parked>(&Range { from: later, ..first }).await?;
                let next = next.items.first().map(|(sk, _)| due_of(sk));
                Ok::<_, StoreError>((next, overdue.items.into_iter().map(|(_, parked)| parked.channel)))
            }
        });
        let shards = futures::future::try_join_all(shards).await?;
        let next = shards.iter().filter_map(|(next, _)| *next).min();
        Ok((next, shards.into_iter().flat_map(|(_, channels)| channels).collect()))
    }

    /// Leaves a receipt of the delivery `nonce`; `writer` keeps the receipts of one delivery apart.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_receipt(
        &self,
        channel: &str,
        hour: Timestamp,
        nonce: Nonce,
        writer: Nonce,
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        let key = Key::new(receipt_partition(channel, hour), format!("{nonce}#{writer}"));
        self.put(&key, receipt, Some(plus_seconds(hour, KEPT_SECONDS))).await
    }

    /// Leaves a receipt that comes after its hour may have been added up, and marks the hour to be added up anew.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_late_receipt(
        &self,
        channel: &str,
        hour: Timestamp,
        nonce: Nonce,
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        let writer = Nonce(crate::clock::random());
        // Before and after: a crash between must not leave the receipt unseen, nor a mark that was taken too early.
        self.mark_dirty(channel, hour).await?;
        self.put_receipt(channel, hour, nonce, writer, receipt).await?;
        self.mark_dirty(channel, hour).await
    }

    /// Leaves the receipt of a message that ends without a delivery, in the hour in which it was accepted, unless there is
    /// one. Returns the entry that stands: of several who end a message, the first decides how.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; doing it again finishes it.
    pub async fn put_ending(&self, message: &Message, entry: Entry) -> Result<Entry, StoreError> {
        let (channel, hour) = (&message.channel, hour_of(message.accepted_at));
        let key = Key::new(receipt_partition(channel, hour), format!("{}#ended", entry.id));
        let mut receipt = Receipt::default();
        receipt.add(&message.template, &message.topic, &entry);
        // A running hour is added up when it is over.
        let is_late = hour < hour_of(plus_seconds(entry.at, HOUR_END_SECONDS));
        if is_late {
            self.mark_dirty(channel, hour).await?;
        }
        let is_first = self.put_new(&key, &receipt, Some(plus_seconds(hour, KEPT_SECONDS))).await?;
        if is_late {
            self.mark_dirty(channel, hour).await?;
        }
        if is_first {
            return Ok(entry);
        }
        let standing: Option<Stored<Receipt>> = self.get(&key).await?;
        Ok(standing.and_then(|standing| standing.value.find(entry.id)).unwrap_or(entry))
    }

    async fn mark_dirty(&self, channel: &str, hour: Timestamp) -> Result<(), StoreError> {
        let dirty = Dirty { channel: channel.to_owned(), hour };
        self.put(&Key::new(DIRTY, format!("{channel}#{}", hour_text(hour))), &dirty, None).await
    }

    /// The receipts of the delivery that reserved a send.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn receipts_of(&self, channel: &str, send: &RecentSend) -> Result<Vec<Receipt>, StoreError> {
        self.receipts_under(channel, send.hour(), send.nonce).await
    }

    async fn receipts_under(&self, channel: &str, hour: Timestamp, nonce: Nonce) -> Result<Vec<Receipt>, StoreError> {
        let partition = receipt_partition(channel, hour);
        let (from, to) = (format!("{nonce}#"), format!("{nonce}#{LAST}"));
        let receipts = self.query_all(&Range { from: &from, to: &to, ..Range::all(&partition) }).await?;
        Ok(receipts.into_iter().map(|(_, receipt)| receipt).collect())
    }

    /// The best word that the receipts have on one reserved message.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn receipt_of(&self, channel: &str, send: &RecentSend) -> Result<Option<Entry>, StoreError> {
        self.word_on(channel, send.id, send.hour(), send.nonce).await
    }

    /// The same of a message by the hour that it counts in and the delivery that reserved it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn word_on(
        &self,
        channel: &str,
        id: MessageId,
        hour: Timestamp,
        nonce: Nonce,
    ) -> Result<Option<Entry>, StoreError> {
        let receipts = self.receipts_under(channel, hour, nonce).await?;
        Ok(best(receipts.iter().filter_map(|receipt| receipt.find(id))))
    }

    /// The reserved send of a person that the platform knows as `platform_id`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn send_by_platform_id(
        &self,
        channel: &str,
        person: &Person,
        platform_id: &str,
    ) -> Result<Option<(RecentSend, About)>, StoreError> {
        for send in person.sends.iter().rev() {
            let receipts = self.receipts_of(channel, send).await?;
            let about = receipts.iter().find_map(|receipt| about(receipt, send.id, platform_id));
            if let Some(about) = about {
                return Ok(Some((*send, about)));
            }
        }
        Ok(None)
    }

    /// All receipts of an hour.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn receipts(&self, channel: &str, hour: Timestamp) -> Result<Vec<Receipt>, StoreError> {
        let rows = self.query_all(&Range::all(&receipt_partition(channel, hour))).await?;
        Ok(rows.into_iter().map(|(_, receipt)| receipt).collect())
    }

    /// Adds up the receipts of an hour. What it knew before it read them is what it replaces: of several that add up at
    /// once, none replaces what came of more receipts than its own.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times.
    pub async fn roll_up_hour(&self, channel: &str, hour: Timestamp) -> Result<(), StoreError> {
        let key = Key::new(rollup_partition(channel), hour_text(hour));
        for _ in 0..ROLLUP_TRIES {
            let known: Option<Stored<HourRollup>> = self.get(&key).await?;
            let receipts: Vec<Receipt> = self.query_whole(&Range::all(&receipt_partition(channel, hour))).await?;
            let rollup = roll_up(&receipts);
            if known.as_ref().map_or(&HourRollup::default(), |known| &known.value) == &rollup {
                return Ok(());
            }
            let expires_at = plus_seconds(hour, ROLLUP_KEPT_SECONDS);
            if let Swap::Done(_) = self.swap(&key, known.as_ref(), rollup, Some(expires_at)).await? {
                return Ok(());
            }
        }
        Err(StoreError::Call { operation: "rollup", detail: "the roll-up changed too often at once".to_owned() })
    }

    /// The roll-ups of a channel from one hour to another, both included.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn rollups(
        &self,
        channel: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, HourRollup)>, StoreError> {
        let partition = rollup_partition(channel);
        let (from, to) = (hour_text(from), hour_text(to));
        let rows = self.query_all(&Range { from: &from, to: &to, ..Range::all(&partition) }).await?;
        let hour = |text: &str| text.parse::<i64>().ok().and_then(|hour| Timestamp::from_second(hour * 3_600).ok());
        Ok(rows.into_iter().filter_map(|(sk, rollup)| Some((hour(&sk)?, rollup))).collect())
    }

    /// The first hour of a channel that is not added up yet; `None` before the first was.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn rolled_up_until(&self, channel: &str) -> Result<Option<Timestamp>, StoreError> {
        let row: Option<Stored<RolledUp>> = self.get(&Key::new(rollup_partition(channel), ROLLED_UP)).await?;
        Ok(row.map(|row| row.value.until))
    }

    /// Notes the first hour of a channel that is not added up yet.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_rolled_up_until(&self, channel: &str, until: Timestamp) -> Result<(), StoreError> {
        self.put(&Key::new(rollup_partition(channel), ROLLED_UP), &RolledUp { until }, None).await
    }

    /// Hours whose roll-ups are out of date: channel and hour.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn dirty_hours(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows: Vec<(String, Dirty)> = self.query_all(&Range::all(DIRTY)).await?;
        Ok(rows.into_iter().map(|(_, dirty)| (dirty.channel, dirty.hour)).collect())
    }

    /// Forgets that an hour's roll-up was out of date. Done before it is added up: a receipt that comes meanwhile marks it
    /// again.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn clear_dirty(&self, channel: &str, hour: Timestamp) -> Result<(), StoreError> {
        self.delete(&Key::new(DIRTY, format!("{channel}#{}", hour_text(hour)))).await
    }
}
