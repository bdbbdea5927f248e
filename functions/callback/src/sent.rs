//! The platform's second word on a send: it settles what was unknown, and it can take back a success.
//!
//! It often comes before the delivery has left its own word: then it is left as a receipt of its own, and readers merge
//! the two.

use jiff::Timestamp;
use tidepost_core::callback::SendResult;
use tidepost_core::channel::Channel;
use tidepost_core::dispatch::never_again;
use tidepost_core::ids::{MessageId, SubscriberId};
use tidepost_core::message::Message;
use tidepost_core::outcome::{Ending, PlatformWord};
use tidepost_core::person::Person;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{About, Receipt};
use tidepost_core::sends::{Mark, RecentSend};
use tidepost_core::time::{hour_of, plus_milliseconds};
use tidepost_io::app::App;
use tidepost_io::clock::random;
use tidepost_io::store::StoreError;
use tidepost_io::unknown::UnknownSend;

/// How long after a call the platform's event may come to be taken for that call's, in milliseconds. It usually comes
/// at once; no source states a bound.
const EVENT_WITHIN_MILLISECONDS: i64 = 600_000;

/// One result of an event, and when a call began that it may speak of.
struct Told<'a> {
    to: &'a SubscriberId,
    result: &'a SendResult,
    at: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
}

/// Settles one result. A success of a send that is known to have succeeded writes nothing.
pub async fn settle(
    app: &App,
    channel: &Channel,
    to: &SubscriberId,
    result: &SendResult,
    at: Timestamp,
) -> Result<(), StoreError> {
    let told = Told {
        to,
        result,
        at,
        earliest: plus_milliseconds(at, -EVENT_WITHIN_MILLISECONDS),
        // The event's time is in whole seconds, by the platform's clock.
        latest: plus_milliseconds(at, 1_000 + i64::from(channel.skew_milliseconds)),
    };
    let unknown = told.unknown(app).await?;
    let person = app.store.person(to).await?;
    if let Some((send, about)) = told.known(app, person.person(), !unknown.is_empty()).await? {
        return told.confirm_or_take_back(app, person.person(), &send, &about).await;
    }
    let Some(mut under_way) = told.under_way(app, person.person()).await? else {
        return Ok(());
    };
    // The second try of an unknown send is the same send.
    under_way.retain(|send| !unknown.iter().any(|known| known.id == send.id));
    let ending = ending(told.word());
    match (unknown.as_slice(), under_way.as_slice()) {
        ([send], []) => told.leave_word(app, send, ending).await,
        // Without the platform's id, an event that comes twice could not be told from two events. The delivery's own
        // receipt may come to say 'delivered': a failure must win over it.
        // Not of a campaign, whose variant only the delivery knows.
        ([], [send]) if result.message_id.is_some() && send.id.campaign().is_none() => {
            told.leave_word(app, send, Ending { is_afterthought: result.code != 0, ..ending }).await
        }
        _ => {
            told.pass_over(unknown.len() + under_way.len());
            Ok(())
        }
    }
}

impl Told<'_> {
    fn word(&self) -> PlatformWord {
        let (code, message) = (self.result.code, self.result.status.clone());
        PlatformWord { code, message, message_id: self.result.message_id.clone() }
    }

    /// Calls of that template without an answer that began before the event was made.
    async fn unknown(&self, app: &App) -> Result<Vec<UnknownSend>, StoreError> {
        let sends = app.store.unknown_sends(self.to).await?.into_iter();
        let in_time = |send: &UnknownSend| self.earliest <= send.called_at && send.called_at <= self.latest;
        Ok(sends.filter(|send| send.template == self.result.template && in_time(send)).collect())
    }

    /// An event that may speak of several sends settles none: a guess would take one message's outcome for another's.
    fn pass_over(&self, candidates: usize) {
        let (channel, code) = (&self.to.channel, self.result.code);
        if candidates > 1 {
            tracing::warn!(channel, code, candidates, "the platform's event may speak of several sends");
        } else if code != 0 {
            tracing::warn!(channel, code, "the platform failed a send that is not remembered");
        }
    }

    /// The send that has a receipt with the event's id, and what it is about. A success without an unknown send
    /// to confuse it with only concerns sends of late, which [`Self::under_way`] looks through.
    async fn known(
        &self,
        app: &App,
        person: &Person,
        has_unknown: bool,
    ) -> Result<Option<(RecentSend, About)>, StoreError> {
        let Some(id) = self.result.message_id.as_ref().filter(|_| has_unknown || self.result.code != 0) else {
            return Ok(None);
        };
        app.store.send_by_platform_id(&self.to.channel, person, id).await
    }

    async fn confirm_or_take_back(
        &self,
        app: &App,
        person: &Person,
        send: &RecentSend,
        about: &About,
    ) -> Result<(), StoreError> {
        if self.result.code != 0 {
            let ending = Ending { is_afterthought: true, ..ending(self.word()) };
            let mut receipt = Receipt::default();
            receipt.add_send(send.id, self.to, about, self.at, ending);
            return app.store.put_late_receipt(&self.to.channel, send.hour(), send.nonce, &receipt).await;
        }
        if never_again(person, send.id).is_some() {
            // The same event again, after a first time that ended between its receipt and this.
            self.forbid_repeat(app, send.id).await?;
        }
        Ok(())
    }

    /// The sends under way that the event may be the first word on: reserved before the event and not long before, of its
    /// template, and no receipt tells of them yet. `None` when a receipt has the event's id: its word is known.
    async fn under_way(&self, app: &App, person: &Person) -> Result<Option<Vec<UnknownSend>>, StoreError> {
        let platform_id = self.result.message_id.as_ref();
        let mut open = Vec::new();
        for send in person.sends.called_between(self.earliest, self.latest) {
            let receipt = app.store.receipt_of(&self.to.channel, send).await?;
            let word = receipt.as_ref().and_then(|entry| entry.ending.platform.as_ref());
            if platform_id.is_some() && word.and_then(|word| word.message_id.as_ref()) == platform_id {
                if send.mark == Mark::MayRepeat {
                    self.forbid_repeat(app, send.id).await?;
                }
                return Ok(None);
            }
            if receipt.is_none() {
                open.push(*send);
            }
        }
        let ids: Vec<MessageId> = open.iter().map(|send| send.id).collect();
        let rows = app.store.messages(&ids).await?;
        let is_meant = |row: &Message| row.template == self.result.template && row.subscriber() == *self.to;
        let meant = rows.into_iter().filter(|(_, row)| is_meant(row));
        let meant = meant.filter_map(|(id, row)| Some((open.iter().find(|send| send.id == id)?, row)));
        let under_way = meant.map(|(send, row)| UnknownSend {
            id: send.id,
            nonce: send.nonce,
            hour: send.hour(),
            called_at: send.reserved_at(),
            template: row.template,
            topic: row.topic,
            variant: None,
        });
        let mut under_way: Vec<UnknownSend> = under_way.collect();
        for send in &open {
            under_way.extend(self.campaign_under_way(app, send).await?);
        }
        Ok(Some(under_way))
    }

    /// The same for a campaign's send, of which there is no row.
    async fn campaign_under_way(&self, app: &App, send: &RecentSend) -> Result<Option<UnknownSend>, StoreError> {
        let Some(id) = send.id.campaign() else { return Ok(None) };
        let Some(campaign) = app.store.campaign(id).await?.map(|row| row.campaign) else { return Ok(None) };
        let is_meant = campaign.template == self.result.template && campaign.channel == self.to.channel;
        Ok(is_meant.then(|| UnknownSend {
            id: send.id,
            nonce: send.nonce,
            hour: send.hour(),
            called_at: send.reserved_at(),
            template: campaign.template,
            topic: campaign.topic,
            variant: None,
        }))
    }

    /// Leaves the event's word on a send whose delivery heard nothing, or has not told yet.
    ///
    /// A delivery that heard nothing writes its row and allows a second try, and then looks for this receipt. Here it is the
    /// other way round: the receipt first, then row and second try are taken away. Whichever comes second sees the other.
    async fn leave_word(&self, app: &App, send: &UnknownSend, ending: Ending) -> Result<(), StoreError> {
        // Also before the receipt: from here on no second try begins.
        let person = self.forbid_repeat(app, send.id).await?;
        let mut receipt = Receipt::default();
        let about = About { template: send.template.clone(), topic: send.topic.clone(), variant: send.variant.clone() };
        receipt.add_send(send.id, self.to, &about, send.called_at.max(self.at), ending);
        // Should there have been a second try, its reservation is where the receipts are looked for.
        let nonce = person.sends.find(send.id).map_or(send.nonce, |send| send.nonce);
        let channel = &self.to.channel;
        if send.hour < hour_of(app.clock.now()) {
            app.store.put_late_receipt(channel, send.hour, nonce, &receipt).await?;
        } else {
            app.store.put_receipt(channel, send.hour, nonce, tidepost_core::ids::Nonce(random()), &receipt).await?;
        }
        self.forbid_repeat(app, send.id).await?;
        app.store.delete_unknown(self.to, send.id).await
    }

    /// Takes back the leave for a second try, if there is one; returns the person.
    async fn forbid_repeat(&self, app: &App, id: MessageId) -> Result<Person, StoreError> {
        let entry = app.store.update_person(self.to, |person| never_again(person, id)).await?;
        Ok(entry.person().clone())
    }
}

fn ending(word: PlatformWord) -> Ending {
    if word.code == 0 {
        return Ending::delivered(PlatformWord { message: "ok".to_owned(), ..word });
    }
    let detail = format!("the platform accepted it and then failed: {}", word.message);
    Ending::because(Reason::new(ReasonCode::PlatformError, detail), Some(word))
}
