//! The one place that reads the clock and draws randomness.
//!
//! The local stack, its simulators and every function share one [`Clock`]; in AWS it is the system's.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

/// The time as Tidepost sees it: the system's clock, or in a simulation the timer's, plus an offset that only ever grows.
///
/// Cheap to clone; all clones share the offset.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    offset_milliseconds: AtomicI64,
    jumped: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    System,
    /// Read `start` at `origin` and runs with the timer that sleepers wait for.
    Timer {
        start: Timestamp,
        origin: Instant,
    },
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    fn of(source: Source) -> Self {
        let offset_milliseconds = AtomicI64::new(0);
        Self { inner: Arc::new(Inner { source, offset_milliseconds, jumped: watch::Sender::new(()) }) }
    }

    /// A clock that reads `start` now and runs on from there.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        let clock = Self::system();
        let offset = start.as_millisecond() - system_now().as_millisecond();
        clock.inner.offset_milliseconds.store(offset, Ordering::SeqCst);
        clock
    }

    /// A clock that reads `start` now and runs on with the runtime's timer: where that is paused, time passes only while
    /// everybody sleeps.
    #[must_use]
    pub fn of_timer(start: Timestamp) -> Self {
        Self::of(Source::Timer { start, origin: Instant::now() })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let offset = self.inner.offset_milliseconds.load(Ordering::SeqCst);
        let now = match self.inner.source {
            Source::System => system_now(),
            Source::Timer { start, origin } => start.checked_add(origin.elapsed()).unwrap_or(start),
        };
        now.checked_add(SignedDuration::from_millis(offset)).unwrap_or(now)
    }

    /// Moves the clock forward and wakes every sleeper, so that it can look at the time again.
    pub fn advance(&self, by: Duration) {
        let milliseconds = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.inner.offset_milliseconds.fetch_add(milliseconds, Ordering::SeqCst);
        self.inner.jumped.send_replace(());
    }

    /// Returns once the clock reads `until` or later, however it got there.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut jumped = self.inner.jumped.subscribe();
        loop {
            let left = until.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = jumped.changed() => {}
            }
        }
    }

    /// Sleeps for a span of this clock's time.
    pub async fn sleep(&self, span: Duration) {
        let now = self.now();
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        self.sleep_until(now.checked_add(span).unwrap_or(Timestamp::MAX)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn system_now() -> Timestamp {
    Timestamp::now()
}

type Randomness = Box<dyn FnMut(&mut [u8])>;

thread_local! {
    static SIMULATED: RefCell<Option<Randomness>> = const { RefCell::new(None) };
}

/// From now on this thread draws its random bytes from `source`: how a simulation is replayed from its seed.
pub fn simulate_randomness(source: impl FnMut(&mut [u8]) + 'static) {
    SIMULATED.with_borrow_mut(|simulated| *simulated = Some(Box::new(source)));
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing secure can be done then.
#[must_use]
#[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one place that draws randomness")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SIMULATED.with_borrow_mut(|source| source.as_mut().map(|source| source(&mut bytes)).is_some()) {
        return bytes;
    }
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
