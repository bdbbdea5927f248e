//! One message: reserve it, call the platform, do what its answer asks for.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tidepost_core::category::Category;
use tidepost_core::decide::{Hold, wait_or_refuse};
use tidepost_core::dispatch::{
    FollowUp, REPEAT_SECONDS, RESERVE_TRIES, Settlement, Step, follow_up, may_repeat, never_again, reserve, rest,
    settle,
};
use tidepost_core::grant::Payment;
use tidepost_core::outcome::Ending;
use tidepost_core::person::Person;
use tidepost_core::quota::Quota;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::reply::{CallResult, QuotaPeriod};
use tidepost_core::sends::{Mark, RecentSend};
use tidepost_core::template::TemplateKind;
use tidepost_core::time::plus_seconds;
use tidepost_io::ledger::PersonSwap;
use tidepost_io::platform::Adapter;
use tidepost_io::platform::wechat::client::Send;
use tidepost_io::secret::Secret;
use tidepost_io::store::StoreError;
use tidepost_io::unknown::UnknownSend;

use crate::delivery::Delivery;
use crate::plan::{Candidate, case};

/// How long a channel rests after the platform said that it may not send, in seconds; then one message tries again.
const BANNED_SECONDS: i64 = 3_600;

/// A reservation of this delivery.
struct Held {
    payment: Payment,
    hour: Timestamp,
    is_repeat: bool,
}

impl Delivery<'_> {
    /// Sends one message if it still may go. Returns whether its unit was spent.
    pub async fn attempt(&self, candidate: Candidate<'_>, use_by: Timestamp) -> bool {
        if let Some(hold) = self.halted() {
            let hold = match hold {
                Hold::Wait { until, reason } => wait_or_refuse(&candidate.offer, until, reason),
                refusal @ Hold::Refuse(_) => refusal,
            };
            self.hold(candidate.id, &candidate.message, hold).await;
            return false;
        }
        let held = match self.reserve(&candidate).await {
            Ok(Some(held)) => held,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(id = %candidate.id, %error, "a message could not be reserved and goes back to the queue");
                self.back_to_queue(candidate.id);
                return false;
            }
        };
        let now = self.app.clock.now();
        if now >= use_by || now >= candidate.message.deadline {
            let reason = Reason::new(ReasonCode::Rate, "its turn went by before it could be sent");
            self.undo(&candidate, &held, wait_or_refuse(&candidate.offer, now, Some(reason))).await;
            return false;
        }
        self.call(&candidate, &held).await;
        true
    }

    fn halted(&self) -> Option<Hold> {
        self.halt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&self, hold: Hold) {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
    }

    /// Reserves by compare-and-swap; `None` when the message is held back or somebody else's.
    async fn reserve(&self, candidate: &Candidate<'_>) -> Result<Option<Held>, StoreError> {
        let offer = &candidate.offer;
        let mut entry = candidate.entry.clone();
        let mut tried: Option<(Payment, Timestamp)> = None;
        for _ in 0..RESERVE_TRIES {
            let now = self.app.clock.now();
            let is_repeat = entry.person().sends.find(offer.id).is_some_and(|send| send.mark != Mark::Reserved);
            let case = case(self.state, candidate.template, &entry, offer, now);
            let reserved = match reserve(&case, self.nonce, tried.as_ref().map(|(payment, _)| payment)) {
                Step::Swap(mut reserved) => {
                    if let Some(won) = &candidate.won {
                        reserved.person.outbids.note(won.campaign, &won.losers, now);
                    }
                    reserved
                }
                Step::Ours(payment) => {
                    let hour = tried.map_or(now, |(_, hour)| hour);
                    return Ok(Some(Held { payment, hour, is_repeat }));
                }
                Step::Elsewhere(_) => return Ok(None),
                Step::Held(hold) => {
                    self.hold(candidate.id, &candidate.message, hold).await;
                    return Ok(None);
                }
            };
            let own = reserved.person.sends.find(offer.id);
            let hour = own.map_or(now, RecentSend::hour);
            let payment = reserved.payment;
            match self.app.store.swap_person(&offer.to, &entry, reserved.person).await {
                Ok(PersonSwap::Done(_)) => {
                    return Ok(Some(Held { payment, hour, is_repeat }));
                }
                Ok(PersonSwap::Conflict(current)) => entry = current,
                // Whether it was written is not known: the item itself tells.
                Err(_) => entry = self.app.store.person(&offer.to).await?,
            }
            tried = Some((payment, hour));
        }
        // The last swap may have succeeded unheard.
        let case = case(self.state, candidate.template, &entry, offer, self.app.clock.now());
        if let (Step::Ours(payment), Some((_, hour))) =
            (reserve(&case, self.nonce, tried.as_ref().map(|(paid, _)| paid)), &tried)
        {
            let is_repeat = entry.person().sends.find(offer.id).is_some_and(|send| send.mark != Mark::Reserved);
            return Ok(Some(Held { payment, hour: *hour, is_repeat }));
        }
        self.back_to_queue(candidate.id);
        Ok(None)
    }

    async fn call(&self, candidate: &Candidate<'_>, held: &Held) {
        let mut calls = 0;
        loop {
            calls += 1;
            let called_at = self.app.clock.now();
            let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let result = self.send(candidate, &token).await;
            let now = self.app.clock.now();
            match rest(&result, &self.state.channel, now) {
                Some(until) => self.rest(until, called_at, now).await,
                None => drop(self.taken.fetch_add(1, Ordering::Relaxed)),
            }
            match follow_up(&result, calls, &self.state.channel, now) {
                FollowUp::Done(ending) => return self.note(candidate, held, now, &ending),
                FollowUp::Settle(settlement, ending) => {
                    return self.settle_for_good(candidate, held, settlement, &ending, now).await;
                }
                FollowUp::Unknown(ending) => return self.note_unknown(candidate, held, called_at, &ending).await,
                FollowUp::Park { until, reason, exhausted } => {
                    return self.park_refused(candidate, held, until, reason, exhausted).await;
                }
                FollowUp::Again { after_seconds, refresh_token } => {
                    let ready = self.ready_again(candidate, after_seconds, refresh_token.then_some(&token)).await;
                    if let Err(hold) = ready {
                        return self.undo(candidate, held, hold).await;
                    }
                }
            }
        }
    }

    async fn send(&self, candidate: &Candidate<'_>, token: &Secret) -> CallResult {
        let Ok(Adapter::Wechat(client)) = self.app.platforms.adapter(self.state.channel.platform) else {
            return CallResult::NotSent { detail: "this version cannot speak to the platform yet".to_owned() };
        };
        let timeout = Duration::from_millis(u64::from(self.state.channel.call_timeout_milliseconds));
        let send = Send {
            openid: &candidate.message.openid,
            template: &candidate.message.template,
            long_term: candidate.template.kind == TemplateKind::LongTerm,
            page: candidate.message.page.as_deref(),
            data: &candidate.message.data,
        };
        client.send(token, &send, timeout).await
    }

    fn note(&self, candidate: &Candidate<'_>, held: &Held, at: Timestamp, ending: &Ending) {
        let second = held.is_repeat.then(|| ending.clone().after_unknown());
        let ending = second.as_ref().unwrap_or(ending);
        match &candidate.won {
            None => self.book.note(candidate.id, &candidate.message, held.hour, at, ending),
            Some(won) => self.book.note_recipient(candidate, won, held.hour, ending),
        }
    }

    /// Lets the channel rest until `until`, and call more slowly then: the starts still to be booked, and those of this
    /// delivery.
    async fn rest(&self, until: Timestamp, called_at: Timestamp, now: Timestamp) {
        if !self.turns.rest(until, now) {
            return;
        }
        tracing::warn!(channel = self.channel, %until, "the platform says that the channel calls too often");
        let round_trip = now.as_millisecond() - called_at.as_millisecond();
        let slow = |quota: &Quota| quota.slowed(&self.state.channel, until, round_trip, now);
        if let Err(error) = self.app.store.update_quota(self.channel, slow).await {
            tracing::warn!(channel = self.channel, %error, "other deliveries do not hear of the rest");
        }
    }

    /// Gets what another call needs: time, a unit, and another token than the one that was rejected. Otherwise says how the message is held back.
    async fn ready_again(
        &self,
        candidate: &Candidate<'_>,
        after_seconds: u32,
        rejected: Option<&Secret>,
    ) -> Result<(), Hold> {
        let clock = &self.app.clock;
        clock.sleep(Duration::from_secs(u64::from(after_seconds))).await;
        if let Some(rejected) = rejected {
            self.refresh_token(rejected).await.map_err(|reason| {
                wait_or_refuse(&candidate.offer, plus_seconds(clock.now(), BANNED_SECONDS / 60), Some(reason))
            })?;
        }
        let failed = || Reason::new(ReasonCode::Rate, "no unit could be taken for another try");
        let leased = self.lease(1, candidate.message.category).await.unwrap_or_else(|_| {
            Err(tidepost_core::quota::Shortage { until: plus_seconds(clock.now(), 1), reason: failed() })
        });
        match leased {
            Ok((_, leased)) => {
                clock.sleep_until(leased.first_start).await;
                if clock.now() < leased.use_by && clock.now() < candidate.message.deadline {
                    return Ok(());
                }
                Err(wait_or_refuse(&candidate.offer, clock.now(), Some(failed())))
            }
            Err(shortage) => Err(wait_or_refuse(&candidate.offer, shortage.until, Some(shortage.reason))),
        }
    }

    async fn refresh_token(&self, rejected: &Secret) -> Result<(), Reason> {
        match self.app.token(self.channel, &self.state.channel, Some(rejected)).await {
            Ok(token) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
                Ok(())
            }
            Err(no_token) => {
                tracing::warn!(channel = self.channel, %no_token, "the access token could not be fetched anew");
                Err(Reason::new(ReasonCode::Rate, "the platform gives no access token"))
            }
        }
    }

    async fn park_refused(
        &self,
        candidate: &Candidate<'_>,
        held: &Held,
        until: Option<Timestamp>,
        reason: Reason,
        exhausted: Option<QuotaPeriod>,
    ) {
        let until = match (until, exhausted) {
            (Some(until), _) => until,
            (None, Some(per)) => self.close_window(per).await,
            (None, None) => self.app.clock.now(),
        };
        let hold = wait_or_refuse(&candidate.offer, until, Some(reason.clone()));
        if exhausted.is_some() {
            self.stop(Hold::Wait { until, reason: Some(reason) });
        }
        self.undo(candidate, held, hold).await;
    }

    /// Notes that the platform's quota is used up; returns when it makes sense to ask again.
    async fn close_window(&self, per: QuotaPeriod) -> Timestamp {
        let now = self.app.clock.now();
        let channel = &self.state.channel;
        let closed = self.app.store.update_quota(self.channel, |quota| Some(quota.exhausted(channel, per, now))).await;
        let quota = self.app.store.quota(self.channel).await.unwrap_or_default();
        if let Err(error) = closed {
            tracing::warn!(channel = self.channel, %error, "a used up window could not be closed");
        }
        quota.next_room(channel, now).max(plus_seconds(now, 1))
    }

    /// Takes the reservation back and parks or ends the message.
    async fn undo(&self, candidate: &Candidate<'_>, held: &Held, hold: Hold) {
        if let Err(error) = self.settle(candidate, held, Settlement::Undo).await {
            // The reservation stands and no call delivered: nobody will send it, the walk notes it as unknown.
            tracing::error!(id = %candidate.id, %error, "a reservation could not be taken back");
            return;
        }
        if held.is_repeat && self.is_told(candidate, held).await {
            return;
        }
        self.hold(candidate.id, &candidate.message, hold).await;
    }

    /// Whether the platform's event has told what became of a call whose answer was never heard; nobody calls again then,
    /// nor when that cannot be read.
    async fn is_told(&self, candidate: &Candidate<'_>, held: &Held) -> bool {
        let (to, id) = (&candidate.offer.to, candidate.id);
        match self.app.store.is_told_by_event(to, id, held.hour, self.nonce).await {
            Ok(is_told) => is_told,
            Err(error) => {
                tracing::warn!(%id, %error, "it is not called again: the event may have come");
                self.forbid_repeat(candidate).await;
                true
            }
        }
    }

    async fn settle(&self, candidate: &Candidate<'_>, held: &Held, settlement: Settlement) -> Result<(), StoreError> {
        let (offer, channel, kind) = (&candidate.offer, &self.state.channel, candidate.template.kind);
        let change = |person: &Person| settle(person, offer, channel, kind, self.nonce, &held.payment, settlement);
        self.app.store.update_person(&offer.to, change).await.map(drop)
    }

    async fn settle_for_good(
        &self,
        candidate: &Candidate<'_>,
        held: &Held,
        settlement: Settlement,
        ending: &Ending,
        now: Timestamp,
    ) {
        if let Err(error) = self.settle(candidate, held, settlement).await {
            tracing::error!(id = %candidate.id, %error, "what a refused message had paid could not be given back");
        }
        self.note(candidate, held, now, ending);
        if ending.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::ChannelBanned) {
            self.ban(ending, now).await;
        }
    }

    async fn ban(&self, ending: &Ending, now: Timestamp) {
        let words = ending.platform.as_ref().map(|word| format!("{} {}", word.code, word.message)).unwrap_or_default();
        tracing::error!(channel = self.channel, words, "the platform does not let the channel send");
        let (until, reason) = (plus_seconds(now, BANNED_SECONDS), format!("the platform said {words}"));
        if let Err(error) = self.app.store.ban(self.channel, until, reason).await {
            tracing::error!(channel = self.channel, %error, "the ban could not be noted");
        }
        let detail = "the platform does not let this channel send";
        self.stop(Hold::Refuse(Reason::new(ReasonCode::ChannelBanned, detail)));
    }

    /// Notes that nobody knows. A `basic` message may have one more try, if its event does not come before.
    async fn note_unknown(&self, candidate: &Candidate<'_>, held: &Held, called_at: Timestamp, ending: &Ending) {
        self.note(candidate, held, called_at, ending);
        let send = UnknownSend {
            id: candidate.id,
            nonce: self.nonce,
            hour: held.hour,
            called_at,
            template: candidate.message.template.clone(),
            topic: candidate.message.topic.clone(),
            variant: candidate.won.as_ref().map(|won| won.variant.clone()),
        };
        let to = &candidate.offer.to;
        if let Err(error) = self.app.store.put_unknown(to, &send).await {
            tracing::warn!(id = %candidate.id, %error, "the platform's event will not settle this unknown outcome");
        }
        let until = plus_seconds(self.app.clock.now(), REPEAT_SECONDS);
        let may_have_another = candidate.won.is_none()
            && candidate.message.category == Category::Basic
            && !held.is_repeat
            && until < candidate.message.deadline;
        let is_allowed = may_have_another && self.allow_repeat(candidate).await;
        if !self.is_told(candidate, held).await && is_allowed {
            let reason = Reason::new(ReasonCode::InFlight, "the first try is unknown, and its event may still come");
            self.hold(candidate.id, &candidate.message, Hold::Wait { until, reason: Some(reason) }).await;
        }
    }

    async fn allow_repeat(&self, candidate: &Candidate<'_>) -> bool {
        let allow = |person: &Person| may_repeat(person, candidate.id, self.nonce);
        let allowed = self.app.store.update_person(&candidate.offer.to, allow).await;
        match allowed {
            // Somebody erased in between is not remembered: the row, stripped by then, stays as it is.
            Ok(entry) => entry.person().sends.find(candidate.id).is_some_and(|send| send.mark == Mark::MayRepeat),
            Err(error) => {
                tracing::warn!(id = %candidate.id, %error, "there will be no second try");
                false
            }
        }
    }

    async fn forbid_repeat(&self, candidate: &Candidate<'_>) {
        let forbid = |person: &Person| never_again(person, candidate.id);
        if let Err(error) = self.app.store.update_person(&candidate.offer.to, forbid).await {
            tracing::warn!(id = %candidate.id, %error, "a second try could not be forbidden");
        }
    }
}
