//! Sends whose outcome is unknown: one row each, so that the platform's delivery event can settle it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::dispatch::never_again;
use tidepost_core::ids::{MessageId, Nonce, SubscriberId};
use tidepost_core::outcome::Outcome;
use tidepost_core::time::plus_seconds;

use crate::store::{Key, LAST, Range, Store, StoreError};

/// How long a delivery event is waited for, in seconds.
const KEPT_SECONDS: i64 = 7 * 86_400;

/// One call whose answer was never heard.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UnknownSend {
    /// Which message.
    #[serde(rename = "i")]
    pub id: MessageId,
    /// Its reservation.
    #[serde(rename = "n")]
    pub nonce: Nonce,
    /// The hour that it counts in.
    #[serde(rename = "r")]
    pub hour: Timestamp,
    /// When the call began.
    #[serde(rename = "a")]
    pub called_at: Timestamp,
    /// The platform's template id.
    #[serde(rename = "t")]
    pub template: String,
    /// What it is about.
    #[serde(rename = "p")]
    pub topic: String,
    /// For a campaign: the variant's id.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

fn key(to: &SubscriberId, id: MessageId) -> Key {
    let person = crate::ledger::key(to);
    Key::new(person.pk.replacen('P', "N", 1), format!("{}#{id}", person.sk))
}

impl Store {
    /// Notes a call whose answer was never heard.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_unknown(&self, to: &SubscriberId, send: &UnknownSend) -> Result<(), StoreError> {
        self.put(&key(to, send.id), send, Some(plus_seconds(send.called_at, KEPT_SECONDS))).await
    }

    /// The calls to a subscriber whose answers were never heard.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn unknown_sends(&self, to: &SubscriberId) -> Result<Vec<UnknownSend>, StoreError> {
        let person = crate::ledger::key(to);
        let partition = person.pk.replacen('P', "N", 1);
        let (from, to) = (format!("{}#", person.sk), format!("{}#{LAST}", person.sk));
        let rows = self.query_all(&Range { from: &from, to: &to, ..Range::all(&partition) }).await?;
        Ok(rows.into_iter().map(|(_, send)| send).collect())
    }

    /// Whether the platform's event has told how a send ended whose call was never answered. If so there is no second try
    /// and no row waits for the event.
    ///
    /// Asked after both were written; `callback` writes the event's receipt and then removes both. So whoever comes second
    /// finds what the other left.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn is_told_by_event(
        &self,
        to: &SubscriberId,
        id: MessageId,
        hour: Timestamp,
        nonce: Nonce,
    ) -> Result<bool, StoreError> {
        let word = self.word_on(&to.channel, id, hour, nonce).await?;
        if word.is_none_or(|entry| entry.ending.outcome == Outcome::Unknown) {
            return Ok(false);
        }
        self.update_person(to, |person| never_again(person, id)).await?;
        self.delete_unknown(to, id).await?;
        Ok(true)
    }

    /// Forgets a call that was settled.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn delete_unknown(&self, to: &SubscriberId, id: MessageId) -> Result<(), StoreError> {
        self.delete(&key(to, id)).await
    }
}
