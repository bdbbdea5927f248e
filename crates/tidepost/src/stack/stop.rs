//! The signal that ends the parts of a stack: first 'take no more', then 'drop what is left'.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    Running,
    Stopping,
    Over,
}

/// One stack's end, shared by all its parts.
#[derive(Clone, Debug)]
pub struct Stop {
    phase: Arc<watch::Sender<Phase>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)) }
    }
}

impl Stop {
    /// Asks every part to take no more work and to finish what it has.
    pub fn begin(&self) {
        self.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Stopping.max(*phase)) != *phase);
    }

    /// Drops what is still running.
    pub fn finish(&self) {
        self.phase.send_replace(Phase::Over);
    }

    /// Returns once the end has begun.
    pub async fn begun(&self) {
        self.reached(Phase::Stopping).await;
    }

    /// Returns once what is left has to go.
    pub async fn finished(&self) {
        self.reached(Phase::Over).await;
    }

    /// The same as [`Self::begun`], for a server's graceful shutdown.
    pub fn signal(&self) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.clone();
        async move { stop.begun().await }
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so it cannot be gone.
        drop(phase.wait_for(|phase| *phase >= wanted).await);
    }
}
