//! Reservations of campaigns that were left without an outcome: a delivery died between its reservation and its receipt.
//! Where it is not marked as refused, whether it called is unknown.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use tidepost_core::campaign::DEFAULT_VARIANT;
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::person::Person;
use tidepost_core::receipt::{CampaignGroup, Receipt, RecipientEntry, recipient};
use tidepost_core::recover::unnoted;
use tidepost_core::sends::RecentSend;

use crate::store::{Store, StoreError};

/// Deliveries whose receipts are kept in memory.
const RECEIPTS_MAX: usize = 64;

/// Receipts of one delivery: when, and under which nonce.
type Delivery = (Timestamp, Nonce);

/// Template and topic.
type Words = (String, String);

/// Collects reservations of one channel's campaigns and leaves a receipt for those that have none.
#[derive(Debug)]
pub struct Settling<'a> {
    store: &'a Store,
    channel: &'a str,
    /// Occurrences of campaigns; `None` for those of other channels, which settle them themselves.
    known: HashMap<[u8; MessageId::SIZE_BYTES], Option<Words>>,
    /// With the person's subscribers on the channel: a send went to one of them.
    seen: Vec<(Vec<SubscriberId>, RecentSend)>,
    /// The receipts of the deliveries seen last.
    receipts: HashMap<Delivery, Vec<Receipt>>,
}

impl<'a> Settling<'a> {
    /// Nothing is collected yet.
    #[must_use]
    pub fn new(store: &'a Store, channel: &'a str) -> Self {
        Self { store, channel, known: HashMap::new(), seen: Vec::new(), receipts: HashMap::new() }
    }

    /// Collects those reservations of a person that may lack an outcome and were made from `from` on and before `until`.
    pub fn see(&mut self, person: &Person, from: Timestamp, until: Timestamp) {
        let own = person.subscribers.iter().filter(|one| one.channel == self.channel);
        let own: Vec<SubscriberId> = own.map(|one| SubscriberId::new(&one.channel, &one.openid)).collect();
        let open = person.sends.of_campaigns_without_word(from, until);
        self.seen.extend(open.map(|send| (own.clone(), *send)));
    }

    /// Leaves a receipt for each that has none.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; some may be left then, and what was collected is to be collected again.
    pub async fn settle(&mut self) -> Result<(), StoreError> {
        let mut missing: BTreeMap<Delivery, Receipt> = BTreeMap::new();
        for (own, send) in std::mem::take(&mut self.seen) {
            let Some((template, topic)) = self.words(send.id).await? else { continue };
            let delivery = (send.hour(), send.nonce);
            if !self.receipts.contains_key(&delivery) {
                let receipts = self.store.receipts_of(self.channel, &send).await?;
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
            tracing::warn!(channel = self.channel, %nonce, "a delivery left reservations without an outcome");
            self.store.put_late_receipt(self.channel, hour, nonce, &receipt).await?;
        }
        if self.receipts.len() > RECEIPTS_MAX {
            self.receipts.clear();
        }
        Ok(())
    }

    /// Template and topic of an occurrence; `None` when it is of another channel or nobody knows the campaign any more.
    async fn words(&mut self, offer: MessageId) -> Result<Option<Words>, StoreError> {
        if let Some(known) = self.known.get(&offer.to_bytes()) {
            return Ok(known.clone());
        }
        let Some(id) = offer.campaign() else { return Ok(None) };
        let row = self.store.campaign(id).await?.filter(|row| row.campaign.channel == self.channel);
        let words = row.map(|row| (row.campaign.template, row.campaign.topic));
        self.known.insert(offer.to_bytes(), words.clone());
        Ok(words)
    }
}
