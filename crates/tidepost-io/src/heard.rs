//! Reports whose ids a person's item has no room for any more, in the table, until their time is over.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::person::EVENT_KEPT_SECONDS;
use tidepost_core::time::plus_seconds;

use crate::store::{Key, Store, StoreError};

/// Rows written at a time.
const CONCURRENCY: usize = 16;

/// That a report was counted. Nothing in it names the person.
#[derive(Debug, Deserialize, Serialize)]
struct Heard {}

fn key(channel: &str, event: [u8; 8]) -> Key {
    let text = data_encoding::HEXLOWER.encode(&event);
    Key::new(format!("H#{channel}#{text}"), "H")
}

impl Store {
    /// Remembers that events were counted, for as long as they may be told again.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; some may be remembered all the same.
    pub async fn remember_heard(&self, channel: &str, events: &[[u8; 8]], now: Timestamp) -> Result<(), StoreError> {
        let until = plus_seconds(now, EVENT_KEPT_SECONDS);
        let rows = events.iter().map(|event| async { self.put(&key(channel, *event), &Heard {}, Some(until)).await });
        let rows: Vec<_> = rows.collect();
        stream::iter(rows).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Which of `events` were remembered so.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn heard_before(&self, channel: &str, events: &[[u8; 8]]) -> Result<HashSet<[u8; 8]>, StoreError> {
        let keys: Vec<Key> = events.iter().map(|event| key(channel, *event)).collect();
        let rows = self.get_many::<Heard>(&keys).await?;
        let known = events.iter().zip(&keys).filter(|(_, key)| rows.contains_key(*key));
        Ok(known.map(|(event, _)| *event).collect())
    }
}
