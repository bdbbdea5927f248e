//! What goes wrong, how often, all drawn from the seed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How likely each fault is wherever it can strike.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// The function dies at a request to AWS or to the platform: before it takes effect, or after it with the answer lost.
    pub crash: f64,
    /// AWS says that it is too much.
    pub throttle: f64,
    /// A request to AWS gets lost on its way.
    pub lost_request: f64,
    /// The answer of AWS or of the platform gets lost; the effect is there.
    pub lost_answer: f64,
    /// A queued message disappears.
    pub queue_loses: f64,
    /// A queued message comes twice.
    pub queue_repeats: f64,
    /// A queued message comes up to a minute late.
    pub queue_delays: f64,
    /// A batch is handed to two invocations at once.
    pub batch_twice: f64,
    /// A schedule does not fire.
    pub tick_missed: f64,
    /// A schedule fires twice at once.
    pub tick_twice: f64,
}

/// Draws from one seed. All draws of a run happen on one thread, so their order is the run's.
#[derive(Debug)]
pub(crate) struct Chance {
    random: Mutex<ChaCha8Rng>,
    rates: Mutex<Rates>,
}

impl Chance {
    /// `stream` keeps the draws of one purpose apart from those of others.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self { random: Mutex::new(random), rates: Mutex::default() }
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is(&self, probability: f64) -> bool {
        probability > 0.0 && self.draw(|random| random.random_bool(probability))
    }

    pub(crate) fn milliseconds(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.draw(|random| random.random_range(from..=to)))
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.draw(|random| random.random_range(0..end.max(1)))
    }

    /// The faults from now on.
    pub(crate) fn set(&self, rates: Rates) {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = rates;
    }

    pub(crate) fn rates(&self) -> Rates {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rates {
    /// The faults of a seed: each kind is absent, rare or frequent.
    pub(crate) fn draw(chance: &Chance) -> Self {
        let one = |rare: f64, frequent: f64| [0.0, rare, frequent][chance.below(3)];
        Self {
            crash: one(0.002, 0.008),
            throttle: one(0.01, 0.05),
            lost_request: one(0.003, 0.01),
            lost_answer: one(0.003, 0.02),
            queue_loses: one(0.02, 0.15),
            queue_repeats: one(0.05, 0.3),
            queue_delays: one(0.05, 0.3),
            batch_twice: one(0.05, 0.3),
            tick_missed: one(0.05, 0.2),
            tick_twice: one(0.1, 0.5),
        }
    }
}
