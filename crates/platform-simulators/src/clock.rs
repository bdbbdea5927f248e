//! The simulators' only source of time.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time. The local stack passes its scaled clock, a test passes one it moves by hand.
pub type NowFn = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock all simulated platforms share, and the speed that `GET /sim/clock` reports.
///
/// Only the *platform's* time comes from here: windows, token lives, event times. Network time-outs, delays and
/// latencies are real time, because the client waits for them in real time.
#[derive(Clone)]
pub struct SimClock {
    now: NowFn,
    speed: f64,
}

impl SimClock {
    /// A clock that asks `now` for the time; `speed` is only reported.
    #[must_use]
    pub fn new(now: NowFn, speed: f64) -> Self {
        Self { now, speed }
    }

    /// The machine's own clock, for simulators that run alone.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where a stand-alone simulator reads the wall clock")]
    pub fn system() -> Self {
        Self::new(Arc::new(Timestamp::now), 1.0)
    }

    /// The platform's time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// How many simulated seconds pass in a real one, at most.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClock").field("speed", &self.speed).finish_non_exhaustive()
    }
}
