//! Erasing a person: what was written to them, who they are, what is known of them. An erasure is noted before it begins, so
//! that one whose function died is finished by release.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::erasure::{Begun, begun, is_telling, stripped};
use tidepost_core::ids::{MessageId, SubscriberId};
use tidepost_core::message::{Message, Standing};
use tidepost_core::person::{Person, Subscriber};
use tidepost_core::receipt::{Entry, Receipt};
use tidepost_core::sends::RecentSend;
use tidepost_core::time::plus_seconds;

use crate::app::App;
use crate::ledger::TOMBSTONE_SECONDS;
use crate::settling::Settling;
use crate::store::{Key, Range, Store, StoreError};

/// Message rows changed at a time.
const CONCURRENCY: usize = 16;

/// The partition of erasures that are not finished.
const UNFINISHED: &str = "X";

/// An erasure that was begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Erasure {
    /// Who.
    #[serde(rename = "w")]
    pub who: SubscriberId,
    /// When it was begun.
    #[serde(rename = "a")]
    pub begun_at: Timestamp,
}

fn key(id: &SubscriberId) -> Key {
    Key::new(UNFINISHED, format!("{}#{}", id.channel, id.openid))
}

impl Store {
    async fn note_erasure(&self, erasure: &Erasure) -> Result<(), StoreError> {
        // The first of several stays: it is as old as the wish.
        let expires_at = plus_seconds(erasure.begun_at, TOMBSTONE_SECONDS);
        self.put_new(&key(&erasure.who), erasure, Some(expires_at)).await.map(drop)
    }

    async fn unfinished_erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let all = self.query_all(&Range::all(UNFINISHED)).await?;
        Ok(all.into_iter().map(|(_, erasure)| erasure).collect())
    }
}

/// Erases `person`, who is `id`, and returns the channels they were on.
///
/// The message rows go first: they are found by what the person's own item remembers. Messages that were never reserved
/// are not found so; dispatch and the walk over the messages end those.
///
/// # Errors
/// [`StoreError`] when DynamoDB fails: [`finish`] goes on with it then.
pub async fn erase(app: &App, id: &SubscriberId, person: &Person) -> Result<BTreeSet<String>, StoreError> {
    app.store.note_erasure(&Erasure { who: id.clone(), begun_at: app.clock.now() }).await?;
    let channels = carry_out(app, id, person).await?;
    app.store.delete(&key(id)).await?;
    Ok(channels)
}

/// Finishes erasures whose function died, and returns how many are left that should be finished by now.
///
/// # Errors
/// [`StoreError`] when DynamoDB fails before the first of them is read.
pub async fn finish(app: &App) -> Result<usize, StoreError> {
    let mut left = 0;
    for erasure in app.store.unfinished_erasures().await? {
        if let Err(error) = finish_one(app, &erasure).await {
            tracing::error!(channel = erasure.who.channel, %error, "an erasure could not be finished; it is tried again");
            left += 1;
        }
    }
    Ok(left)
}

async fn finish_one(app: &App, Erasure { who, begun_at }: &Erasure) -> Result<(), StoreError> {
    let entry = app.store.person(who).await?;
    match begun(entry.person(), *begun_at, app.clock.now()) {
        Begun::Leave => return Ok(()),
        Begun::GoOn => drop(carry_out(app, who, entry.person()).await?),
        Begun::Done => {}
    }
    app.store.delete(&key(who)).await
}

async fn carry_out(app: &App, id: &SubscriberId, person: &Person) -> Result<BTreeSet<String>, StoreError> {
    strip(app, person).await?;
    let was = app.store.erase(id, app.clock.now()).await?;
    // What was sent or learnt since the first look.
    strip(app, &was).await?;
    let channels = was.subscribers.iter().map(|subscriber| subscriber.channel.clone());
    Ok(channels.chain([id.channel.clone()]).collect())
}

async fn strip(app: &App, person: &Person) -> Result<(), StoreError> {
    let ids: Vec<MessageId> = person.sends.iter().map(|send| send.id).collect();
    let rows = app.store.messages(&ids).await?.into_iter().map(|(id, message)| async move {
        match person.sends.find(id) {
            Some(send) if is_telling(&message) => strip_message(app, send, &message).await,
            _ => Ok(()),
        }
    });
    stream::iter(rows).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    settle_campaigns(app, person).await?;
    for subscriber in person.subscribers.iter().map(Subscriber::id) {
        for unknown in app.store.unknown_sends(&subscriber).await? {
            app.store.delete_unknown(&subscriber, unknown.id).await?;
        }
    }
    Ok(())
}

/// Campaigns keep no row of a recipient: without the person's memory nobody would know that a delivery died with theirs.
async fn settle_campaigns(app: &App, person: &Person) -> Result<(), StoreError> {
    let channels: BTreeSet<&str> = person.subscribers.iter().map(|subscriber| subscriber.channel.as_str()).collect();
    for channel in channels {
        let mut settling = Settling::new(&app.store, channel);
        settling.see(person, Timestamp::UNIX_EPOCH, Timestamp::MAX);
        settling.settle().await?;
    }
    Ok(())
}

async fn strip_message(app: &App, send: &RecentSend, message: &Message) -> Result<(), StoreError> {
    let receipt = app.store.receipt_of(&message.channel, send).await?;
    let is_untold = receipt.is_none() && !matches!(message.standing(), Standing::Ended { .. });
    let row = stripped(message, receipt);
    if let (true, Standing::Ended { ending, .. }) = (is_untold, row.standing()) {
        // Before the row, which nobody looks at again: roll-ups count receipts.
        let mut receipt = Receipt::default();
        let entry = Entry { id: send.id, at: send.reserved_at(), ending: ending.clone() };
        receipt.add(&message.template, &message.topic, &entry);
        app.store.put_late_receipt(&message.channel, send.hour(), send.nonce, &receipt).await?;
    }
    app.store.rewrite_message(send.id, &row).await
}
