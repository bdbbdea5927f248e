//! Finds reservations of campaigns that were left without an outcome: a delivery died between its reservation and its
//! receipt. Where it is not marked as refused, whether it called is unknown.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use tidepost_core::campaign::DEFAULT_VARIANT;
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::outcome::Ending;
use tidepost_core::person::Person;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{CampaignGroup, Receipt, RecipientEntry, recipient};
use tidepost_core::recover::DELIVERY_SECONDS;
use tidepost_core::sends::{Mark, RecentSend};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::lineup::Runner;
use tidepost_io::store::StoreError;

use crate::census::is_counted_here;

/// How far the spans of two censuses overlap, in seconds: more than clocks are apart.
const OVERLAP_SECONDS: i64 = 60;

/// Receipts of one delivery: when, and under which nonce.
type Delivery = (Timestamp, Nonce);

/// Collects reservations, page by page.
pub struct Settling<'a> {
    app: &'a App,
    channel: &'a str,
    /// Template, topic of each live campaign's occurrence.
    known: HashMap<[u8; MessageId::SIZE_BYTES], (String, String)>,
    /// Those reserved before it were looked at by the last census.
    from: Timestamp,
    /// The person's subscribers on the channel: a send went to one of them.
    seen: Vec<(Vec<SubscriberId>, RecentSend)>,
    /// The receipts of the deliveries seen last; `None` in place of many.
    receipts: HashMap<Delivery, Vec<Receipt>>,
}

impl<'a> Settling<'a> {
    /// `since` is when the last census began.
    pub fn new(app: &'a App, channel: &'a str, runners: &[Runner<'_>], since: Option<Timestamp>) -> Self {
        let known = runners.iter().map(|runner| {
            let campaign = &runner.row.campaign;
            let offer = runner.live.occurrence.id.offer_id();
            (offer.to_bytes(), (campaign.template.clone(), campaign.topic.clone()))
        });
        let from = since.map_or(Timestamp::UNIX_EPOCH, |at| plus_seconds(at, -DELIVERY_SECONDS - OVERLAP_SECONDS));
        Self { app, channel, known: known.collect(), from, seen: Vec::new(), receipts: HashMap::new() }
    }

    /// Notes what a person has reserved; who has several subscribers on the channel is looked at with the first.
    pub fn see(&mut self, to: &SubscriberId, person: &Person) {
        if !is_counted_here(to, person) {
            return;
        }
        let dead_before = plus_seconds(self.app.clock.now(), -DELIVERY_SECONDS).as_second();
        let is_open = |send: &&RecentSend| {
            let at = i64::from(send.at);
            send.id.campaign().is_some()
                && matches!(send.mark, Mark::Reserved | Mark::Refused)
                && at >= self.from.as_second()
                && at < dead_before
        };
        let own = person.subscribers.iter().filter(|one| one.channel == self.channel);
        let own: Vec<SubscriberId> = own.map(|one| SubscriberId::new(&one.channel, &one.openid)).collect();
        self.seen.extend(person.sends.iter().filter(is_open).map(|send| (own.clone(), *send)));
    }

    /// Leaves a receipt for each that has none.
    pub async fn settle(&mut self) -> Result<(), StoreError> {
        let mut missing: BTreeMap<Delivery, Receipt> = BTreeMap::new();
        for (own, send) in std::mem::take(&mut self.seen) {
            let Some((template, topic)) = self.campaign(send.id).await? else { continue };
            let delivery = (send.hour(), send.nonce);
            if !self.receipts.contains_key(&delivery) {
                let receipts = self.app.store.receipts_of(self.channel, &send).await?;
                self.receipts.insert(delivery, receipts);
            }
            let receipts = self.receipts.get(&delivery).map(Vec::as_slice).unwrap_or_default();
            let is_noted = |to: &SubscriberId| {
                receipts.iter().any(|receipt| receipt.find_recipient(send.id, recipient(to)).is_some())
            };
            let Some(first) = own.first().filter(|_| !own.iter().any(is_noted)) else { continue };
            let entry = RecipientEntry { recipient: recipient(first), ending: unnoted(send.mark) };
            let like = CampaignGroup::new(send.id, DEFAULT_VARIANT, &template, &topic);
            missing.entry(delivery).or_default().add_recipient(like, &entry);
        }
        for ((hour, nonce), receipt) in missing {
            tracing::warn!(channel = self.channel, %nonce, "a delivery died between its reservations and its receipt");
            self.app.store.put_late_receipt(self.channel, hour, nonce, &receipt).await?;
        }
        if self.receipts.len() > RECEIPTS_MAX {
            self.receipts.clear();
        }
        Ok(())
    }

    /// Template and topic of an occurrence; `None` when it is of another channel, which settles it itself, or when nobody
    /// knows the campaign any more.
    async fn campaign(&mut self, offer: MessageId) -> Result<Option<(String, String)>, StoreError> {
        if let Some(known) = self.known.get(&offer.to_bytes()) {
            return Ok(Some(known.clone()));
        }
        let Some(id) = offer.campaign() else { return Ok(None) };
        let row = self.app.store.campaign(id).await?.filter(|row| row.campaign.channel == self.channel);
        let Some(row) = row else { return Ok(None) };
        let words = (row.campaign.template, row.campaign.topic);
        self.known.insert(offer.to_bytes(), words.clone());
        Ok(Some(words))
    }
}

/// The outcome of a reservation whose delivery died before it was noted.
fn unnoted(mark: Mark) -> Ending {
    let reason = match mark {
        Mark::Refused => Reason::new(ReasonCode::PlatformError, "the platform refused it, and its words were lost"),
        _ => Reason::new(ReasonCode::Crash, "the delivery died before its outcome was noted"),
    };
    Ending::because(reason, None)
}

/// Deliveries whose receipts are kept in memory.
const RECEIPTS_MAX: usize = 64;
