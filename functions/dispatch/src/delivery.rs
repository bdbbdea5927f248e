//! One delivery: a batch of one channel's messages under one nonce.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use tidepost_core::category::Category;
use tidepost_core::decide::{Hold, wait, wait_or_refuse};
use tidepost_core::dispatch::{PATIENCE_SECONDS, Uncalled, uncalled};
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::message::{Message, Standing};
use tidepost_core::outcome::Ending;
use tidepost_core::person::Person;
use tidepost_core::quota::{Leased, Need, Quota, Shortage};
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::channels::ChannelState;
use tidepost_io::clock::random;
use tidepost_io::emf;
use tidepost_io::messages::Parked;
use tidepost_io::secret::Secret;
use tidepost_io::store::StoreError;
use tidepost_io::tokens::NoToken;
use tokio::sync::Semaphore;

use crate::Unfinished;
use crate::book::Book;
use crate::plan::{Candidate, case, plan};
use crate::turns::Turns;

/// Sends in flight at once, in all channels of an invocation.
pub const IN_FLIGHT_MAX: usize = 64;

/// How long after its begin a delivery still starts calls, in seconds. With the tries and time-outs of the last ones it ends
/// before its function's time-out (30 s, by the template); what does not start in time is parked.
const BUDGET_SECONDS: i64 = 20;

/// How long messages are parked when there is no access token, in seconds.
const NO_TOKEN_SECONDS: i64 = 30;

/// What all attempts of one delivery share.
pub struct Delivery<'a> {
    /// The function.
    pub app: &'a App,
    /// The channel's id.
    pub channel: &'a str,
    /// The channel.
    pub state: &'a ChannelState,
    /// Names the delivery in reservations and receipts.
    pub nonce: Nonce,
    /// No call starts at or after this.
    pub ends_at: Timestamp,
    /// Leave to call, shared with the invocation's other deliveries.
    pub in_flight: &'a Semaphore,
    /// When the calls of this delivery have their turn.
    pub turns: Turns,
    /// Calls under the present lease that the platform did not find too many.
    pub taken: AtomicU32,
    /// The outcomes so far.
    pub book: Book,
    /// The access token in use.
    pub token: Mutex<Secret>,
    /// Set when nothing more may be sent: the platform closed a window or banned the channel.
    pub halt: Mutex<Option<Hold>>,
    /// Ended unsent; their rows say so once their receipts are written.
    pub ended: Mutex<Vec<(MessageId, Message)>>,
    /// Goes back to the queue.
    pub unfinished: Mutex<Unfinished>,
}

/// Runs a delivery; returns what goes back to the queue.
pub async fn run(app: &App, channel: &str, ids: &[MessageId], in_flight: &Semaphore) -> Result<Unfinished, StoreError> {
    let Some(state) = app.store.channel_state(channel).await? else {
        tracing::error!(channel, "messages wait for a channel that is not defined");
        return Ok(ids.iter().copied().collect());
    };
    emf::platform(state.channel.platform);
    let nonce = Nonce(random());
    let plan = plan(app, &state, ids, nonce).await?;
    let mut delivery = Delivery::new(app, channel, &state, nonce, in_flight);
    delivery.unfinished = Mutex::new(plan.unreadable.into_iter().collect());
    let held = stream::iter(plan.held).for_each_concurrent(IN_FLIGHT_MAX, async |(id, message, hold)| {
        delivery.hold(id, &message, hold).await;
    });
    held.await;
    let sent = delivery.send_all(plan.go).await;
    // Whatever went wrong after the first call: what was seen is written down.
    delivery.book.write(app, channel, nonce).await;
    delivery.close_rows().await;
    delivery.book.report(channel);
    sent?;
    Ok(delivery.unfinished.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl<'a> Delivery<'a> {
    /// A delivery of which nothing has happened yet.
    pub fn new(
        app: &'a App,
        channel: &'a str,
        state: &'a ChannelState,
        nonce: Nonce,
        in_flight: &'a Semaphore,
    ) -> Self {
        Self {
            app,
            channel,
            state,
            nonce,
            ends_at: plus_seconds(app.clock.now(), BUDGET_SECONDS),
            in_flight,
            turns: Turns::default(),
            taken: AtomicU32::new(0),
            book: Book::default(),
            token: Mutex::new(Secret::new(String::new())),
            halt: Mutex::default(),
            ended: Mutex::default(),
            unfinished: Mutex::default(),
        }
    }
}

impl Delivery<'_> {
    async fn send_all(&self, mut waiting: Vec<Candidate<'_>>) -> Result<(), StoreError> {
        if waiting.is_empty() {
            return Ok(());
        }
        match self.app.token(self.channel, &self.state.channel, None).await {
            Ok(token) => *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token,
            Err(no_token) => return self.park_without_token(waiting, &no_token).await,
        }
        let patience_ends = plus_seconds(self.app.clock.now(), PATIENCE_SECONDS).min(self.ends_at);
        while let Some(first) = waiting.first() {
            let is_basic = first.message.category == Category::Basic;
            let alike = waiting.iter().take_while(|one| (one.message.category == Category::Basic) == is_basic).count();
            match self.lease(alike, first.message.category).await? {
                Ok((lease, leased)) => {
                    let rest = waiting.split_off(usize::try_from(leased.units).unwrap_or(usize::MAX).min(alike));
                    self.send_leased(std::mem::replace(&mut waiting, rest), &lease, &leased).await;
                    // Now and not at the end: a crash under a later lease does not make these outcomes unknown.
                    self.book.write(self.app, self.channel, self.nonce).await;
                }
                Err(shortage) if shortage.until < patience_ends => self.app.clock.sleep_until(shortage.until).await,
                Err(shortage) => {
                    let rest = waiting.split_off(alike);
                    for candidate in std::mem::replace(&mut waiting, rest) {
                        let now = self.app.clock.now();
                        let case = case(self.state, candidate.template, &candidate.entry, &candidate.offer, now);
                        let hold = wait(&case, shortage.until, shortage.reason.clone());
                        self.hold(candidate.id, &candidate.message, hold).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes units for calls; also names the lease.
    pub async fn lease(
        &self,
        units: usize,
        category: Category,
    ) -> Result<Result<(String, Leased), Shortage>, StoreError> {
        let now = self.app.clock.now();
        let id = Nonce(random()).to_string();
        let need = Need { id: &id, units: u32::try_from(units).unwrap_or(u32::MAX), category, use_by: self.ends_at };
        let leased = self.app.store.lease(self.channel, &self.state.channel, need, now).await?;
        Ok(leased.map(|leased| (id, leased)))
    }

    /// Sends under a lease: one at a time per subscriber, each at its own start.
    pub async fn send_leased(&self, candidates: Vec<Candidate<'_>>, lease: &str, leased: &Leased) {
        let mut lines: BTreeMap<SubscriberId, Vec<(Timestamp, Candidate<'_>)>> = BTreeMap::new();
        for (index, candidate) in (0..).zip(candidates) {
            lines.entry(candidate.offer.to.clone()).or_default().push((leased.start(index), candidate));
        }
        let mut lines: Vec<_> = lines.into_values().collect();
        lines.sort_by_key(|line| line.first().map(|(start, _)| *start));
        // Boxed: a line is big, and is moved several times before it runs.
        let lines: Vec<_> = lines.into_iter().map(|line| Box::pin(self.send_line(line, leased.use_by))).collect();
        let unspent = stream::iter(lines).buffer_unordered(IN_FLIGHT_MAX);
        let unspent: u32 = unspent.fold(0, |sum, one| async move { sum + one }).await;
        let taken = self.taken.swap(0, Ordering::Relaxed);
        if leased.has_entry || leased.is_slowed {
            let close = |quota: &Quota| {
                let closed = quota.give_back(lease, unspent);
                closed.as_ref().unwrap_or(quota).sped_up(&self.state.channel, taken).or(closed)
            };
            if let Err(error) = self.app.store.update_quota(self.channel, close).await {
                tracing::warn!(channel = self.channel, unspent, %error, "units could not be given back and stay unused");
            }
        }
    }

    /// Sends to one subscriber, one after the other; returns how many units were not spent.
    async fn send_line(&self, line: Vec<(Timestamp, Candidate<'_>)>, use_by: Timestamp) -> u32 {
        let mut unspent = 0;
        for (start, candidate) in line {
            if let Err(turn) = self.turns.wait(&self.app.clock, start, use_by).await {
                let reason = Reason::new(ReasonCode::Rate, "the platform says that the channel calls too often");
                let hold = wait_or_refuse(&candidate.offer, turn, Some(reason));
                self.hold(candidate.id, &candidate.message, hold).await;
                unspent += 1;
                continue;
            }
            // Never closed: there always is a place in the end.
            let _place = self.in_flight.acquire().await;
            unspent += u32::from(!self.attempt(candidate, use_by).await);
        }
        unspent
    }

    async fn park_without_token(&self, waiting: Vec<Candidate<'_>>, no_token: &NoToken) -> Result<(), StoreError> {
        match no_token {
            NoToken::Later(_) | NoToken::Store(_) => tracing::warn!(channel = self.channel, %no_token, "messages wait"),
            NoToken::Refused { .. } | NoToken::Secret(_) => {
                tracing::error!(channel = self.channel, %no_token, "messages wait until the channel's secret is right");
            }
        }
        let until = plus_seconds(self.app.clock.now(), NO_TOKEN_SECONDS);
        for candidate in waiting {
            let reason = Reason::new(ReasonCode::Rate, "the platform gives no access token");
            self.hold(candidate.id, &candidate.message, wait_or_refuse(&candidate.offer, until, Some(reason))).await;
        }
        Ok(())
    }

    /// Parks a message or ends it unsent. When that cannot be written down it goes back to the queue.
    pub async fn hold(&self, id: MessageId, message: &Message, hold: Hold) {
        if id.campaign().is_some() {
            // Nothing is kept of recipients: whoever is not reserved is found by the next census.
            return;
        }
        let done = match hold {
            Hold::Wait { until, reason } => self.park(id, message, until, reason).await,
            Hold::Refuse(reason) => self.end_unsent(id, message, reason).await,
        };
        if let Err(error) = done {
            tracing::warn!(%id, %error, "a message that is held back goes back to the queue");
            self.back_to_queue(id);
        }
    }

    /// Returns a message to the queue.
    pub fn back_to_queue(&self, id: MessageId) {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    async fn park(
        &self,
        id: MessageId,
        message: &Message,
        until: Timestamp,
        reason: Option<Reason>,
    ) -> Result<(), StoreError> {
        // The row first: should the parked row never be written, the walk over the messages sees what was meant.
        let row = Message { standing: Some(Standing::Waiting { until, reason }), ..message.clone() };
        self.app.store.rewrite_message(id, &row).await?;
        let parked =
            Parked { id, channel: self.channel.to_owned(), category: message.category, deadline: message.deadline };
        self.app.store.park(until, &parked).await
    }

    async fn end_unsent(&self, id: MessageId, message: &Message, reason: Reason) -> Result<(), StoreError> {
        let (now, offer) = (self.app.clock.now(), message.offer(id));
        let mut end = Uncalled::Elsewhere;
        let change = |person: &Person| {
            end = uncalled(person, &offer, message.accepted_at, self.nonce, now);
            match &end {
                Uncalled::Never(ended) => ended.as_deref().cloned(),
                Uncalled::FirstTry(ended, _) => Some(Person::clone(ended)),
                Uncalled::Elsewhere | Uncalled::NoRoom => None,
            }
        };
        self.app.store.update_person(&offer.to, change).await?;
        // It counts in the hour of its first try, or in which it was accepted: should it be ended twice, it counts once.
        let (reason, counts_at, is_over) = match end {
            Uncalled::Never(_) => (message.unsent_because(reason), message.accepted_at, true),
            // The platform's event may still tell how the first try ended, so that the walk closes the row.
            Uncalled::FirstTry(_, hour) => {
                (Reason::new(ReasonCode::Timeout, "the first try is unknown and there is no second"), hour, false)
            }
            Uncalled::Elsewhere | Uncalled::NoRoom => return Ok(()),
        };
        let ending = Ending::because(reason, None);
        self.book.note(id, message, counts_at, now, &ending);
        if is_over {
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((id, message.ended(ending, None)));
        }
        Ok(())
    }

    /// Writes down in its row what ended unsent: after its receipt, since nobody looks at a row again that is over.
    async fn close_rows(&self) {
        let ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        if self.book.has_lost_any() {
            return;
        }
        let rows = stream::iter(ended).for_each_concurrent(IN_FLIGHT_MAX, async |(id, row)| {
            if let Err(error) = self.app.store.rewrite_message(id, &row).await {
                tracing::warn!(%id, %error, "the walk over the messages closes a row at its deadline");
            }
        });
        rows.await;
    }
}
