//! When a channel's templates are synced with its platform's list.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time::plus_seconds;

/// How long a sync is good for, in seconds.
const GOOD_SECONDS: i64 = 86_400;

/// The pause after the first failure, in seconds: the next tick tries again. It doubles with every further failure.
const PAUSE_SECONDS: i64 = 45;

/// The longest pause between two tries, in seconds.
const PAUSE_MAX_SECONDS: i64 = 3_600;

/// How the last syncs of a channel went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SyncMark {
    /// When the last one ran.
    #[serde(rename = "a")]
    at: Timestamp,
    /// How many have failed since one succeeded.
    #[serde(rename = "f", default, skip_serializing_if = "is_none")]
    failures: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_none(failures: &u8) -> bool {
    *failures == 0
}

impl SyncMark {
    /// After a sync that succeeded.
    #[must_use]
    pub fn succeeded(now: Timestamp) -> Self {
        Self { at: now, failures: 0 }
    }

    /// After another one that failed.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        Self { at: now, failures: self.failures.saturating_add(1) }
    }

    /// Whether it is time for the next.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let pause = match self.failures {
            0 => GOOD_SECONDS,
            failures => PAUSE_MAX_SECONDS.min(PAUSE_SECONDS << (failures - 1).min(16)),
        };
        now >= plus_seconds(self.at, pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_tried_again_at_the_next_tick_and_a_failing_platform_ever_less_often() {
        let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut mark = SyncMark::succeeded(start);
        let tries: Vec<i64> = (0..3_000)
            .filter(|minute| {
                let now = plus_seconds(start, minute * 60);
                let is_due = mark.is_due(now);
                if is_due {
                    mark = mark.failed(now);
                }
                is_due
            })
            .collect();
        let pauses: Vec<i64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((tries[0], &pauses[..8]), (1_440, &[1, 2, 3, 6, 12, 24, 48, 60][..]), "in minutes");
        assert!(pauses[8..].iter().all(|pause| *pause == 60), "{pauses:?}");
        assert!(!SyncMark::succeeded(start).is_due(plus_seconds(start, 86_399)));
    }
}
