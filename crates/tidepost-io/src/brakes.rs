//! What the brake remembers of a channel.

use serde::{Deserialize, Serialize};
use tidepost_core::brake::Baseline;

use crate::store::{Key, Store, StoreError, Stored};

/// The brake of a whole channel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChannelBrake {
    /// Where it begins to count.
    #[serde(rename = "b", default)]
    pub baseline: Baseline,
    /// What a person should look at before it gets worse.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

fn key(channel: &str) -> Key {
    Key::new("Y", channel)
}

impl Store {
    /// The brake of a channel.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn channel_brake(&self, channel: &str) -> Result<ChannelBrake, StoreError> {
        let stored: Option<Stored<ChannelBrake>> = self.get(&key(channel)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }

    /// Replaces the brake of a channel.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_channel_brake(&self, channel: &str, brake: &ChannelBrake) -> Result<(), StoreError> {
        self.put(&key(channel), brake, None).await
    }
}
