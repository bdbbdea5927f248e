//! Events in the table: which were noted, and the complaints that the brake counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::digest;
use tidepost_core::event::Event;
use tidepost_core::ids::CampaignId;
use tidepost_core::time::plus_seconds;

use crate::store::{Key, Range, Store, StoreError};

/// How long an event's id is remembered, in seconds.
const REMEMBERED_SECONDS: i64 = 8 * 86_400;

/// How long complaints are kept, in seconds: half a year.
const COMPLAINTS_KEPT_SECONDS: i64 = 183 * 86_400;

/// That an event was noted. Nothing in it names the person.
#[derive(Debug, Deserialize, Serialize)]
struct Noted {
    #[serde(rename = "a")]
    at: Timestamp,
}

/// One complaint, without who made it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Complaint {
    /// What it is about, where that is known.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// When it was noted.
    #[serde(rename = "a")]
    pub at: Timestamp,
}

fn hash(event: &Event) -> [u8; 8] {
    digest::short(&[event.id.as_bytes()])
}

fn noted_key(event: &Event) -> Key {
    let hash = hash(event);
    let shard = hash.first().map_or(0, |byte| byte >> 4);
    Key::new(format!("E#{}#{shard:x}", event.who.channel), data_encoding::HEXLOWER.encode(&hash))
}

fn complaints_partition(channel: &str) -> String {
    format!("X#{channel}")
}

impl Store {
    /// Remembers that an event was noted; returns false when it was before. Done last: who dies before is asked again.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn remember_event(&self, event: &Event, now: Timestamp) -> Result<bool, StoreError> {
        let expires_at = plus_seconds(now, REMEMBERED_SECONDS);
        self.put_new(&noted_key(event), &Noted { at: event.at }, Some(expires_at)).await
    }

    /// Notes a complaint, once.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_complaint(&self, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let key = Key::new(complaints_partition(&event.who.channel), data_encoding::HEXLOWER.encode(&hash(event)));
        let complaint = Complaint { campaign: event.campaign, at: now };
        let expires_at = plus_seconds(now, COMPLAINTS_KEPT_SECONDS);
        self.put_new(&key, &complaint, Some(expires_at)).await.map(drop)
    }

    /// The complaints about a channel and its campaigns.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn complaints(&self, channel: &str) -> Result<Vec<Complaint>, StoreError> {
        let rows = self.query_all(&Range::all(&complaints_partition(channel))).await?;
        Ok(rows.into_iter().map(|(_, complaint)| complaint).collect())
    }
}
