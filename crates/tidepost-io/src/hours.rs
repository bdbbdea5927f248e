//! Outcomes by hour: roll-ups, and the receipts of hours that are not added up yet.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tidepost_core::metric::{HourRollup, roll_up};
use tidepost_core::time::{hour_of, plus_seconds};

use crate::store::{Store, StoreError};

const HOUR_SECONDS: i64 = 3_600;

/// Hours read from receipts at a time.
const CONCURRENCY: usize = 16;

impl Store {
    /// The outcomes of a channel in the hours that overlap `from` to `to`, whole hours, earliest first; hours without any
    /// may be left out. None when `from` is not before `to`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn hours(
        &self,
        channel: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, HourRollup)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        // How far hours are added up is read before what they add up to: an hour that moves over meanwhile is read twice and
        // counted once.
        let (until, dirty) = futures::try_join!(self.rolled_up_until(channel), self.dirty_hours())?;
        let dirty = dirty.into_iter().filter(|(one, _)| one == channel).map(|(_, hour)| hour).collect();
        let live = stream::iter(live_hours(from, to, until, &dirty)).map(|hour| async move {
            let receipts = self.receipts(channel, hour).await?;
            Ok::<_, StoreError>((hour, roll_up(&receipts)))
        });
        let rollups = self.rollups(channel, hour_of(from), to);
        let live = live.buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>();
        let (rollups, live) = futures::try_join!(rollups, live)?;
        let mut hours: BTreeMap<Timestamp, HourRollup> = rollups.into_iter().filter(|(hour, _)| *hour < to).collect();
        hours.extend(live);
        Ok(hours.into_iter().collect())
    }
}

/// The hours whose roll-ups are missing or out of date.
fn live_hours(
    from: Timestamp,
    to: Timestamp,
    rolled_up_until: Option<Timestamp>,
    dirty: &BTreeSet<Timestamp>,
) -> Vec<Timestamp> {
    let next = |hour: &Timestamp| Some(plus_seconds(*hour, HOUR_SECONDS));
    let hours = std::iter::successors(Some(hour_of(from)), next).take_while(|hour| *hour < to);
    let is_live = |hour: &Timestamp| rolled_up_until.is_none_or(|until| *hour >= until) || dirty.contains(hour);
    hours.filter(is_live).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_live_until_they_are_added_up_and_when_they_are_out_of_date() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let live = |until, dirty: &BTreeSet<Timestamp>| {
            live_hours(at("2026-11-21T07:20:00Z"), at("2026-11-21T10:30:00Z"), until, dirty)
        };
        let hours = ["07", "08", "09", "10"].map(|hour| at(&format!("2026-11-21T{hour}:00:00Z")));
        assert_eq!(live(None, &BTreeSet::new()), hours, "both ends overlap an hour");
        let dirty = BTreeSet::from([hours[0]]);
        assert_eq!(live(Some(hours[2]), &dirty), [hours[0], hours[2], hours[3]]);
    }
}
