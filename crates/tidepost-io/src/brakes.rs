//! What the brake remembers of a channel, and what speaks against it and its campaigns. Counts are read to stop, never to send.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::brake::{Baseline, Counts, LOOKS_BACK_MAX_SECONDS, PausedBecause, Thresholds, Verdict};
use tidepost_core::channel::Health;
use tidepost_core::ids::CampaignId;
use tidepost_core::metric::{Cell, HourRollup};
use tidepost_core::time::plus_seconds;

use crate::campaigns::CampaignRow;
use crate::emf::{self, Metric};
use crate::events::Complaint;
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

/// What is known of a channel's sends at a moment.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What the brake remembers of the channel.
    pub brake: ChannelBrake,
    thresholds: Thresholds,
    health: Health,
    hours: Vec<(Timestamp, HourRollup)>,
    complaints: Vec<Complaint>,
    now: Timestamp,
}

impl Evidence {
    /// Judges the whole channel.
    #[must_use]
    pub fn against_channel(&self) -> Verdict {
        if self.health.is_banned(self.now) {
            let words = self.health.reasons.last().map_or("", String::as_str);
            return Verdict::Pause(PausedBecause::punished(words));
        }
        self.judge(&self.brake.baseline, &self.thresholds, None)
    }

    /// Judges one of its campaigns.
    #[must_use]
    pub fn against_campaign(&self, id: CampaignId, row: &CampaignRow) -> Verdict {
        self.judge(&row.baseline.unwrap_or_default(), &row.campaign.brake, Some(id))
    }

    fn judge(&self, baseline: &Baseline, thresholds: &Thresholds, campaign: Option<CampaignId>) -> Verdict {
        let is_meant = |one: Option<CampaignId>| campaign.is_none() || one == campaign;
        let count = |(hour, rollup): &(Timestamp, HourRollup)| {
            let mut counts = Counts::default();
            let cells = rollup.counts.iter().filter(|(cell, _): &&(Cell, u64)| is_meant(cell.campaign));
            cells.for_each(|(cell, count)| counts.add(cell, *count));
            (*hour, counts)
        };
        let hours: Vec<(Timestamp, Counts)> = self.hours.iter().map(count).collect();
        let complaints = self.complaints.iter().filter(|one| is_meant(one.campaign));
        let complaints = complaints.filter(|one| baseline.counts_complaint(one.at, self.now)).count();
        baseline.judge(&hours, u32::try_from(complaints).unwrap_or(u32::MAX), thresholds, self.now)
    }
}

/// Says that a campaign does not go on.
pub fn tell_paused(channel: &str, id: CampaignId, because: &PausedBecause) {
    emf::count_of(channel, Metric::BrakeEngaged, 1);
    tracing::error!(channel, campaign = %id, detail = because.detail, "the brake paused a campaign");
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

    /// What speaks against a channel at `now`, beside `complaints`, which are all that were made about it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn evidence(
        &self,
        channel: &str,
        complaints: Vec<Complaint>,
        now: Timestamp,
    ) -> Result<Evidence, StoreError> {
        let from = plus_seconds(now, -LOOKS_BACK_MAX_SECONDS);
        let (definition, health, brake, hours) = futures::try_join!(
            self.channel(channel),
            self.health(channel),
            self.channel_brake(channel),
            self.hours(channel, from, now),
        )?;
        let thresholds = definition.map_or_else(Thresholds::of_channel, |channel| channel.brake);
        Ok(Evidence { brake, thresholds, health, hours, complaints, now })
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
