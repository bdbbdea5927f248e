//! Seeds and their verdicts.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::checkers;
use crate::history::History;
use crate::planted::Planted;
use crate::steps::{self, Steps};
use crate::story::Size;
use crate::world;

/// A seed whose run broke an invariant.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// What was broken, one line each.
    pub findings: Vec<String>,
}

impl Broken {
    /// The findings, and how to see them again.
    #[must_use]
    pub fn report(&self) -> String {
        let seed = self.seed;
        let findings = self.findings.join("\n  ");
        format!("seed {seed}:\n  {findings}\n  replay: cargo run -p tidepost-tests -- simulate --seeds 1 --seed {seed}")
    }
}

/// Lives through one seed on this thread.
///
/// # Panics
/// When no runtime can be made, or a part of the simulation itself is broken.
#[must_use]
pub fn history(seed: u64, size: Size, planted: Option<Planted>) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(world::live(seed, size, planted))
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Those that broke something, by seed.
    pub broken: Vec<Broken>,
    /// The durable steps of all of them, and where invocations died.
    pub steps: Steps,
}

/// Runs seeds from `first` on, on all processors; `told` hears how many are done, and of each that broke something.
#[must_use]
pub fn run(
    first: u64,
    count: u64,
    size: Size,
    planted: Option<Planted>,
    told: impl Fn(u64, Option<&Broken>) + Sync,
) -> Verdict {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let steps = Mutex::new(Steps::new());
    let one = |index: u64| {
        let seed = first + index;
        // A thread of its own: whatever a run leaves in its thread goes with it.
        let run = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let history = history(seed, size, planted);
            (checkers::check(&history), history.steps)
        });
        let panicked = |_| (vec!["the run panicked".to_owned()], Steps::new());
        let (findings, met) = run.expect("a thread can be made").join().unwrap_or_else(panicked);
        steps::add(&mut steps.lock().unwrap_or_else(PoisonError::into_inner), &met);
        let broken = (!findings.is_empty()).then_some(Broken { seed, findings });
        told(done.fetch_add(1, Ordering::SeqCst) + 1, broken.as_ref());
        broken
    };
    let work = || {
        let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst));
        indices.take_while(|index| *index < count).filter_map(&one).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut broken: Vec<Broken> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    broken.sort_by_key(|broken| broken.seed);
    Verdict { broken, steps: steps.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

/// Handlers are big futures in a build that is not optimised.
const STACK_BYTES: usize = 16 << 20;
