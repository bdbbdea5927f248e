//! One invocation of a function: with a clock of its own, and it may die anywhere.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tidepost_io::app::App;
use tidepost_io::clock::Clock;
use tokio::sync::Notify;

use crate::faults::Chance;

/// How far a clock may be off the true time either way, in milliseconds: two of them are at most 2 s apart.
pub(crate) const OFF_MILLISECONDS: i64 = 1_000;

tokio::task_local! {
    static RUNNING: Arc<Running>;
}

/// The invocation that is under way.
struct Running {
    function: &'static str,
    crash: Notify,
}

/// Ends the invocation that this is called in: nothing after it happens.
pub(crate) async fn crash() {
    let is_invocation = RUNNING.try_with(|running| running.crash.notify_one()).is_ok();
    if is_invocation {
        pending::<()>().await;
    }
}

/// The function that this is called in.
pub(crate) fn function() -> Option<&'static str> {
    RUNNING.try_with(|running| running.function).ok()
}

/// A clock that is off by up to [`OFF_MILLISECONDS`] once its owner is started.
pub(crate) fn skewed(clock: &Clock, chance: &Chance) -> Clock {
    let off = chance.below(usize::try_from(2 * OFF_MILLISECONDS).unwrap_or(0) + 1);
    let off = SignedDuration::from_millis(i64::try_from(off).unwrap_or(0) - OFF_MILLISECONDS);
    Clock::of_timer(clock.now().checked_add(off).unwrap_or_else(|_| clock.now()))
}

/// Runs a function's handler until it returns, dies or runs out of time; `None` when nobody hears its answer.
pub(crate) async fn run<T, F: Future<Output = T>>(
    app: &App,
    clock: &Clock,
    chance: &Chance,
    (function, limit): (&'static str, Duration),
    handler: impl FnOnce(App) -> F,
) -> Option<T> {
    let app = App { clock: skewed(clock, chance), ..app.clone() };
    let running = Arc::new(Running { function, crash: Notify::new() });
    let handled = RUNNING.scope(Arc::clone(&running), handler(app));
    tokio::select! {
        biased;
        () = running.crash.notified() => None,
        answer = tokio::time::timeout(limit, handled) => answer.ok(),
    }
}
