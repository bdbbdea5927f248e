//! Erasing a person: what was written to them, who they are, what is known of them.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tidepost_core::ids::{MessageId, SubscriberId};
use tidepost_core::message::{Message, Standing};
use tidepost_core::outcome::Ending;
use tidepost_core::person::{Person, Subscriber};
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{Entry, Receipt};
use tidepost_core::sends::RecentSend;
use tidepost_io::app::App;
use tidepost_io::settling::Settling;
use tidepost_io::store::StoreError;

/// Message rows changed at a time.
const CONCURRENCY: usize = 16;

/// Erases `person`, who is `id`, and returns the channels they were on.
///
/// The message rows go first: they are found by what the person's own item remembers. Messages that were never reserved
/// are not found so; dispatch and the walk over the messages end those.
pub async fn erase(app: &App, id: &SubscriberId, person: &Person) -> Result<BTreeSet<String>, StoreError> {
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

/// Whether a row still says what was written, or depends on the person's memory to tell what became of it.
fn is_telling(message: &Message) -> bool {
    let is_open = !matches!(message.standing(), Standing::Ended { .. });
    is_open || message.page.is_some() || !message.data.is_empty()
}

/// The row of a reserved message without what it said. Its outcome is written down: the memory of the reservation, by
/// which the receipt is found, goes with the person.
fn stripped(message: &Message, receipt: Option<Entry>) -> Message {
    match (message.standing(), receipt) {
        (Standing::Ended { ending, .. }, Some(entry)) if entry.ending.outranks(ending) => {
            message.ended(entry.ending, Some(entry.at))
        }
        (Standing::Ended { .. }, _) => Message { data: BTreeMap::new(), page: None, ..message.clone() },
        (_, Some(entry)) => message.ended(entry.ending, Some(entry.at)),
        (_, None) => {
            let reason = Reason::new(ReasonCode::Crash, "the person was erased before an outcome was noted");
            message.ended(Ending::because(reason, None), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use tidepost_core::message::MessageRequest;
    use tidepost_core::outcome::{Outcome, PlatformWord};
    use tidepost_core::template::Template;

    use super::*;

    fn message() -> Message {
        let template: Template = serde_json::from_str(r#"{"title":"发货","fields":[{"key":"thing1"}]}"#).unwrap();
        let request = r#"{"channel":"shop","openid":"o1","template":"T","data":{"thing1":"咖啡"},"page":"pages/a"}"#;
        let request: MessageRequest = serde_json::from_str(request).unwrap();
        request.accept(&template, "hash".into(), "2026-11-21T10:00:00Z".parse().unwrap()).unwrap()
    }

    fn receipt(ending: Ending) -> Entry {
        let at = "2026-11-21T10:00:01Z".parse().unwrap();
        Entry { id: MessageId::derive("shop", "k", "1", at), at, ending }
    }

    fn outcome(message: &Message) -> Outcome {
        match message.standing() {
            Standing::Ended { ending, .. } => ending.outcome,
            other => panic!("not ended: {other:?}"),
        }
    }

    #[test]
    fn what_was_written_goes_and_the_outcome_stays() {
        let word = PlatformWord { code: 0, message: "ok".into(), message_id: None };
        let delivered = stripped(&message(), Some(receipt(Ending::delivered(word.clone()))));
        assert_eq!(outcome(&delivered), Outcome::Delivered);
        assert!(!is_telling(&delivered));
        let in_flight = stripped(&message(), None);
        assert_eq!(outcome(&in_flight), Outcome::Unknown);
        assert!(!is_telling(&in_flight));
        let known_better = stripped(&in_flight, Some(receipt(Ending::delivered(word))));
        assert_eq!(outcome(&known_better), Outcome::Delivered);
    }
}
