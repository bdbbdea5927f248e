//! The turns of a delivery's calls, which move back while the channel rests.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tidepost_io::clock::Clock;

/// The rests of the channel during one delivery.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Rests>);

#[derive(Clone, Copy, Debug, Default)]
struct Rests {
    until: Timestamp,
    /// By how much they move back every start that was booked before: the calls keep their distance.
    delay: SignedDuration,
}

impl Turns {
    /// Notes a rest until `until`; false when the channel rests as long already.
    pub fn rest(&self, until: Timestamp, now: Timestamp) -> bool {
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = rests.until.max(now);
        if until <= from {
            return false;
        }
        rests.delay += until.duration_since(from);
        rests.until = until;
        true
    }

    /// Waits for the turn of a call that was to start at `start`.
    ///
    /// # Errors
    /// When its turn comes, if a rest has moved that to `use_by` or later.
    pub async fn wait(&self, clock: &Clock, start: Timestamp, use_by: Timestamp) -> Result<(), Timestamp> {
        loop {
            let turn = self.turn(start);
            if turn > start && turn >= use_by {
                return Err(turn);
            }
            if turn <= clock.now() {
                return Ok(());
            }
            clock.sleep_until(turn).await;
        }
    }

    fn turn(&self, start: Timestamp) -> Timestamp {
        let delay = self.0.lock().unwrap_or_else(PoisonError::into_inner).delay;
        start.checked_add(delay).unwrap_or(Timestamp::MAX)
    }
}
