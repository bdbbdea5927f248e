//! A channel's quota item: leases by compare-and-swap.

use std::time::Duration;

use jiff::Timestamp;
use tidepost_core::channel::Channel;
use tidepost_core::quota::{Leased, Need, Quota, Shortage};

use crate::clock::random;
use crate::store::{Key, Store, StoreError, Stored, Swap};

/// How often a lease is asked for again when others were faster.
const LEASE_TRIES: usize = 20;

/// How long the second try after one that others beat waits at the most, in milliseconds; each further one up to twice as
/// long. Without a wait, as many as begin at once beat each other until the tries are used up.
const PAUSE_MILLISECONDS: u64 = 2;

/// The longest wait between two tries, in milliseconds.
const PAUSE_MILLISECONDS_MAX: u64 = 64;

fn key(channel: &str) -> Key {
    Key::new(format!("Q#{channel}"), "quota")
}

impl Store {
    /// What was taken of a channel's windows.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn quota(&self, channel: &str) -> Result<Quota, StoreError> {
        let stored: Option<Stored<Quota>> = self.get(&key(channel)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }

    /// What was taken of a channel's windows a moment ago: enough to tell what to expect.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn quota_of_late(&self, channel: &str) -> Result<Quota, StoreError> {
        Ok(self.glance(&key(channel)).await?.unwrap_or_default())
    }

    /// Leases units of every window of a channel.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails: units may have been taken then and stay unused.
    pub async fn lease(
        &self,
        id: &str,
        channel: &Channel,
        need: Need<'_>,
        now: Timestamp,
    ) -> Result<Result<Leased, Shortage>, StoreError> {
        self.lease_from(id, channel, need, now, now).await
    }

    /// Leases units for calls that start at `starts_at` or later.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails: units may have been taken then and stay unused.
    pub async fn lease_from(
        &self,
        id: &str,
        channel: &Channel,
        need: Need<'_>,
        starts_at: Timestamp,
        now: Timestamp,
    ) -> Result<Result<Leased, Shortage>, StoreError> {
        let key = key(id);
        let mut stored: Option<Stored<Quota>> = self.get(&key).await?;
        let mut asked: Option<Leased> = None;
        for tries in 0..LEASE_TRIES {
            let quota = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            if let Some(leased) = asked.take().filter(|_| quota.holds(need.id)) {
                // An earlier try of ours had succeeded unheard.
                return Ok(Ok(leased));
            }
            let (next, leased) = match quota.lease_from(channel, need, starts_at, now) {
                Ok(leased) => leased,
                Err(shortage) => return Ok(Err(shortage)),
            };
            match self.swap(&key, stored.as_ref(), next, None).await? {
                Swap::Done(_) => return Ok(Ok(leased)),
                Swap::Conflict(current) => stored = self.after_conflict(&key, current, tries).await?,
            }
            asked = Some(leased);
        }
        Err(StoreError::Call { operation: "lease", detail: "the quota changed too often at once".to_owned() })
    }

    /// Changes a channel's quota item; `change` returns `None` when there is nothing to change.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times.
    pub async fn update_quota(&self, id: &str, change: impl Fn(&Quota) -> Option<Quota>) -> Result<(), StoreError> {
        let key = key(id);
        let mut stored: Option<Stored<Quota>> = self.get(&key).await?;
        for tries in 0..LEASE_TRIES {
            let quota = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            let Some(next) = change(&quota) else { return Ok(()) };
            match self.swap(&key, stored.as_ref(), next, None).await? {
                Swap::Done(_) => return Ok(()),
                Swap::Conflict(current) => stored = self.after_conflict(&key, current, tries).await?,
            }
        }
        Err(StoreError::Call { operation: "quota", detail: "the quota changed too often at once".to_owned() })
    }

    /// What the next try begins with: at first the item that was in the way; later, after a random pause in real time, the
    /// item as it is then.
    async fn after_conflict(
        &self,
        key: &Key,
        current: Option<Stored<Quota>>,
        tries: usize,
    ) -> Result<Option<Stored<Quota>>, StoreError> {
        if tries == 0 {
            return Ok(current);
        }
        let most = PAUSE_MILLISECONDS.saturating_mul(1 << tries.min(8)).min(PAUSE_MILLISECONDS_MAX);
        let [part] = random::<1>();
        tokio::time::sleep(Duration::from_micros(most * 1_000 * u64::from(part) / 256)).await;
        self.get(key).await
    }
}
