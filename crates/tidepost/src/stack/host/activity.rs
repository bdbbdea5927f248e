//! What the host is doing right now.

use std::sync::Arc;

use tokio::sync::watch;

/// A kind of work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// A function runs.
    Invocation,
    /// An HTTP call is being read or answered.
    Http,
    /// The host took messages or a tick off its source, and has not yet dealt with what became of them.
    Handover,
}

/// Work in flight and work ever begun.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Functions that run.
    pub invocations: usize,
    /// HTTP calls being read or answered.
    pub http: usize,
    /// Batches and ticks between their source and their end.
    pub handover: usize,
    /// All work ever begun.
    pub begun: u64,
}

impl Counts {
    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.invocations + self.http + self.handover == 0
    }

    /// Whether nothing began since an earlier look.
    #[must_use]
    pub fn is_unchanged_since(&self, earlier: &Self) -> bool {
        self == earlier
    }

    fn of(&mut self, work: Work) -> &mut usize {
        match work {
            Work::Invocation => &mut self.invocations,
            Work::Http => &mut self.http,
            Work::Handover => &mut self.handover,
        }
    }
}

/// The counters of one host. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    counts: Arc<watch::Sender<Counts>>,
}

impl Activity {
    /// Counts a piece of work until the guard is dropped.
    #[must_use]
    pub fn begin(&self, work: Work) -> Guard {
        self.counts.send_modify(|counts| {
            *counts.of(work) += 1;
            counts.begun += 1;
        });
        Guard { activity: self.clone(), work }
    }

    /// What is in flight now.
    #[must_use]
    pub fn now(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Returns once nothing is in flight.
    pub async fn settled(&self) {
        // The sender lives in `self`, so it cannot be gone.
        drop(self.counts.subscribe().wait_for(Counts::is_quiet).await);
    }
}

/// One piece of work in flight.
#[derive(Debug)]
pub struct Guard {
    activity: Activity,
    work: Work,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.activity.counts.send_modify(|counts| *counts.of(self.work) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settled_waits_for_the_last_guard() {
        let activity = Activity::default();
        let (one, two) = (activity.begin(Work::Http), activity.begin(Work::Invocation));
        drop(one);
        assert!(!activity.now().is_quiet());
        let waiting = tokio::spawn({
            let activity = activity.clone();
            async move { activity.settled().await }
        });
        drop(two);
        waiting.await.unwrap();
        assert_eq!(activity.now().begun, 2);
    }
}
