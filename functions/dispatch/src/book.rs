//! The outcomes of one delivery, until its receipts are written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tidepost_core::ids::{MessageId, Nonce};
use tidepost_core::message::Message;
use tidepost_core::outcome::{Ending, Outcome};
use tidepost_core::receipt::{CampaignGroup, Entry, Receipt, RecipientEntry, recipient};
use tidepost_core::time::hour_of;
use tidepost_io::app::App;
use tidepost_io::clock::{Clock, random};
use tidepost_io::emf::{self, Metric};
use tokio::sync::Notify;

use crate::plan::{Candidate, Won};

/// So many outcomes are written down without waiting for more: what a kill leaves unknown is what was not.
const UNWRITTEN_MAX: usize = 50;

/// How long the first of them waits for more, in milliseconds.
const UNWRITTEN_MILLISECONDS: u64 = 1_000;

/// How often a receipt is written again when DynamoDB fails, beyond what the SDK tries.
const TRIES: usize = 3;

/// Collects outcomes by the hour that they count in, until they are written.
#[derive(Debug, Default)]
pub struct Book {
    open: Mutex<BTreeMap<Timestamp, Receipt>>,
    /// Over the whole delivery.
    counts: Mutex<BTreeMap<Outcome, usize>>,
    /// How many were noted since the last time that they were written.
    unwritten: AtomicUsize,
    noted: Notify,
    has_lost_any: AtomicBool,
}

impl Book {
    /// Notes an outcome; `counts_at` lies in the hour that the message counts in.
    pub fn note(&self, id: MessageId, message: &Message, counts_at: Timestamp, at: Timestamp, ending: &Ending) {
        let mut hours = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(ending.outcome);
        let receipt = hours.entry(hour_of(counts_at)).or_default();
        receipt.add(&message.template, &message.topic, &Entry { id, at, ending: ending.clone() });
    }

    /// Notes the outcome of a campaign's recipient.
    pub fn note_recipient(&self, candidate: &Candidate<'_>, won: &Won, counts_at: Timestamp, ending: &Ending) {
        let mut hours = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(ending.outcome);
        let receipt = hours.entry(hour_of(counts_at)).or_default();
        let message = &candidate.message;
        let like = CampaignGroup::new(candidate.id, &won.variant, &message.template, &message.topic);
        receipt
            .add_recipient(like, &RecipientEntry { recipient: recipient(&candidate.offer.to), ending: ending.clone() });
    }

    fn count(&self, outcome: Outcome) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
        self.unwritten.fetch_add(1, Ordering::SeqCst);
        self.noted.notify_one();
    }

    /// Returns when it is time to write: enough is noted, or the first of it is old enough.
    pub async fn ripe(&self, clock: &Clock) {
        while self.unwritten.load(Ordering::SeqCst) == 0 {
            self.noted.notified().await;
        }
        let aged = clock.sleep(Duration::from_millis(UNWRITTEN_MILLISECONDS));
        let full = async {
            while self.unwritten.load(Ordering::SeqCst) < UNWRITTEN_MAX {
                self.noted.notified().await;
            }
        };
        tokio::select! {
            () = aged => {}
            () = full => {}
        }
    }

    /// Writes what was noted since the last time: one receipt for each hour, which is one.
    pub async fn write(&self, app: &App, channel: &str, nonce: Nonce) {
        let hours = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            self.unwritten.store(0, Ordering::SeqCst);
            std::mem::take(&mut *open)
        };
        // The receipts of one delivery have a writer each, so that a later one does not replace an earlier.
        let writer = Nonce(random());
        for (hour, receipt) in hours {
            for tries in 1.. {
                // The hour of a second try, or of one that waited, may have been added up before.
                let written = if hour < hour_of(app.clock.now()) {
                    app.store.put_late_receipt(channel, hour, nonce, &receipt).await
                } else {
                    app.store.put_receipt(channel, hour, nonce, writer, &receipt).await
                };
                let Err(error) = written else { break };
                if tries == TRIES {
                    // The reservations stand: the walk over the messages notes these outcomes as unknown.
                    tracing::error!(channel, %error, "a receipt is lost");
                    self.has_lost_any.store(true, Ordering::SeqCst);
                    break;
                }
            }
        }
    }

    /// Whether a receipt could not be written.
    pub fn has_lost_any(&self) -> bool {
        self.has_lost_any.load(Ordering::SeqCst)
    }

    /// One line per delivery.
    pub fn report(self, channel: &str) {
        let counts = self.counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let count = |outcome: Outcome| counts.get(&outcome).copied().unwrap_or(0);
        emf::count(Metric::Delivered, count(Outcome::Delivered));
        emf::count(Metric::Refused, count(Outcome::Refused));
        emf::count(Metric::Failed, count(Outcome::Failed));
        emf::count(Metric::Unknown, count(Outcome::Unknown));
        tracing::info!(
            channel,
            delivered = count(Outcome::Delivered),
            refused = count(Outcome::Refused),
            failed = count(Outcome::Failed),
            unknown = count(Outcome::Unknown),
            "dispatched"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn enough_outcomes_are_written_at_once() {
        let (book, clock) = (Book::default(), Clock::system());
        (0..UNWRITTEN_MAX).for_each(|_| book.count(Outcome::Delivered));
        assert!(futures::poll!(Box::pin(book.ripe(&clock))).is_ready());
    }

    #[tokio::test]
    async fn a_single_outcome_waits_for_others_but_not_for_long() {
        let (book, clock) = (Book::default(), Clock::system());
        book.count(Outcome::Delivered);
        let ripe = book.ripe(&clock);
        tokio::pin!(ripe);
        assert!(futures::poll!(&mut ripe).is_pending());
        clock.advance(Duration::from_millis(UNWRITTEN_MILLISECONDS));
        ripe.await;
    }
}
