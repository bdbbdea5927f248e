//! The clock driver: lets the stack's clock run ahead over spans in which nothing is due.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tidepost_io::clock::Clock;
use tokio::task::JoinHandle;

use crate::stack::stop::Stop;

/// How often the driver looks, in real time.
const STEP: Duration = Duration::from_millis(50);
/// The clock runs at 1 from this long before anything is due.
const LEAD: SignedDuration = SignedDuration::from_secs(3);

/// What the driver asks before each step.
pub trait Idle: Send + Sync + 'static {
    /// Whether nothing is in flight anywhere in the stack.
    fn is_idle(&self) -> impl Future<Output = bool> + Send;
    /// When the next thing is due, as far as is known.
    fn next_due(&self) -> impl Future<Output = Option<Timestamp>> + Send;
}

/// Starts the driver. At speed 1 there is nothing to drive.
#[must_use]
pub fn drive(clock: Clock, speed: f64, idle: impl Idle, stop: Stop) -> Option<JoinHandle<()>> {
    (speed > 1.0).then(|| {
        tokio::spawn(async move {
            tokio::select! {
                () = stop.begun() => {}
                () = run(&clock, speed, &idle) => {}
            }
        })
    })
}

async fn run(clock: &Clock, speed: f64, idle: &impl Idle) {
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(STEP).await;
        // Time that passed while something was in flight is not made up for.
        let passed = std::mem::replace(&mut looked, Instant::now()).elapsed();
        if idle.is_idle().await {
            let due = idle.next_due().await;
            let by = ahead(speed, passed, clock.now(), due);
            if !by.is_zero() {
                clock.advance(by);
            }
        }
    }
}

/// How far to move a clock that runs on by itself, after `passed` of real time: with what it ran by itself at most
/// `speed` × `passed`, and never past 3 s before what is due.
#[must_use]
pub fn ahead(speed: f64, passed: Duration, now: Timestamp, due: Option<Timestamp>) -> Duration {
    let most = passed.mul_f64((speed - 1.0).clamp(0.0, 1e9));
    let Some(due) = due else { return most };
    let room = due.duration_since(now).saturating_sub(LEAD);
    most.min(Duration::try_from(room).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn at_speed_one_nothing_moves() {
        assert_eq!(ahead(1.0, STEP, at("2026-11-21T10:00:00Z"), None), Duration::ZERO);
    }

    #[test]
    fn with_nothing_due_the_whole_speed_is_used() {
        assert_eq!(ahead(61.0, STEP, at("2026-11-21T10:00:00Z"), None), Duration::from_secs(3));
    }

    #[test]
    fn it_stops_three_seconds_before_what_is_due_and_then_runs_at_one() {
        let due = Some(at("2026-11-21T10:00:05Z"));
        assert_eq!(ahead(1000.0, STEP, at("2026-11-21T10:00:00Z"), due), Duration::from_secs(2));
        assert_eq!(ahead(1000.0, STEP, at("2026-11-21T10:00:02Z"), due), Duration::ZERO);
        assert_eq!(ahead(1000.0, STEP, at("2026-11-21T10:00:04Z"), due), Duration::ZERO);
        assert_eq!(ahead(1000.0, STEP, at("2026-11-21T10:00:09Z"), due), Duration::ZERO);
    }

    struct Always(Option<Timestamp>);

    impl Idle for Always {
        async fn is_idle(&self) -> bool {
            true
        }
        async fn next_due(&self) -> Option<Timestamp> {
            self.0
        }
    }

    #[tokio::test]
    async fn an_idle_stack_reaches_what_is_due_early_but_never_late() {
        let start = at("2026-11-21T10:00:00Z");
        let due = at("2026-11-21T11:00:00Z");
        let clock = Clock::starting_at(start);
        let stop = Stop::default();
        let driver = drive(clock.clone(), 1e6, Always(Some(due)), stop.clone()).unwrap();
        let real = Instant::now();
        clock.sleep_until(due - LEAD).await;
        assert!(real.elapsed() < Duration::from_secs(5));
        assert!(clock.now() < due);
        stop.begin();
        driver.await.unwrap();
    }
}
