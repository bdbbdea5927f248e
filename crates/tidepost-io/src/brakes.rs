//! What the brake remembers of a channel.

use serde::{Deserialize, Serialize};
use tidepost_core::brake::Baseline;

use crate::store::{Key, Store, StoreError, Stored, Swap};

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

/// How often a change is tried when others are faster.
const TRIES: usize = 4;

impl Store {
    /// The brake of a channel.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn channel_brake(&self, channel: &str) -> Result<ChannelBrake, StoreError> {
        let stored: Option<Stored<ChannelBrake>> = self.get(&key(channel)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }

    /// Changes the brake of a channel; `change` returns `None` to leave it. Returns whether it is changed.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times; the write may have happened all the same.
    pub async fn change_channel_brake(
        &self,
        channel: &str,
        change: impl Fn(&ChannelBrake) -> Option<ChannelBrake>,
    ) -> Result<bool, StoreError> {
        let key = key(channel);
        let mut stored: Option<Stored<ChannelBrake>> = self.get(&key).await?;
        for _ in 0..TRIES {
            let brake = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            let Some(next) = change(&brake) else { return Ok(false) };
            match self.swap(&key, stored.as_ref(), next, None).await? {
                Swap::Done(_) => return Ok(true),
                Swap::Conflict(current) => stored = current,
            }
        }
        Err(StoreError::Call { operation: "brake", detail: "the brake changed too often at once".to_owned() })
    }
}
