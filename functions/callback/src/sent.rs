//! The platform's second word on a send: it settles what was unknown, and it can take back a success.

use jiff::Timestamp;
use tidepost_core::callback::SendResult;
use tidepost_core::channel::Channel;
use tidepost_core::dispatch::never_again;
use tidepost_core::ids::{Nonce, SubscriberId};
use tidepost_core::outcome::{Ending, PlatformWord};
use tidepost_core::person::Person;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::receipt::{About, Receipt};
use tidepost_core::sends::RecentSend;
use tidepost_core::time::plus_milliseconds;
use tidepost_io::app::App;
use tidepost_io::store::StoreError;
use tidepost_io::unknown::UnknownSend;

/// How long after a call the platform's event may come to be taken for that call's, in milliseconds. It usually comes
/// at once; no source states a bound.
const EVENT_WITHIN_MILLISECONDS: i64 = 600_000;

/// Settles one result. A success of a send that is known to have succeeded changes nothing.
pub async fn settle(
    app: &App,
    channel: &Channel,
    to: &SubscriberId,
    result: &SendResult,
    at: Timestamp,
) -> Result<(), StoreError> {
    let word =
        PlatformWord { code: result.code, message: result.status.clone(), message_id: result.message_id.clone() };
    let unknown = first_unknown(app, channel, to, result, at).await?;
    if unknown.is_none() && result.code == 0 {
        return Ok(());
    }
    let person = app.store.person(to).await?;
    let known = match &result.message_id {
        Some(id) => app.store.send_by_platform_id(&to.channel, person.person(), id).await?,
        None => None,
    };
    match (known, unknown) {
        (Some(_), _) if result.code == 0 => Ok(()),
        (Some((send, about)), _) => take_back(app, to, &send, &about, word, at).await,
        (None, Some(unknown)) => settle_unknown(app, to, person.person(), &unknown, word, at).await,
        (None, None) => {
            tracing::warn!(
                channel = to.channel,
                code = result.code,
                "the platform failed a send that is not remembered"
            );
            Ok(())
        }
    }
}

/// The oldest call of that template that began before the event was made.
async fn first_unknown(
    app: &App,
    channel: &Channel,
    to: &SubscriberId,
    result: &SendResult,
    at: Timestamp,
) -> Result<Option<UnknownSend>, StoreError> {
    // The event's time is in whole seconds, by the platform's clock.
    let latest = plus_milliseconds(at, 1_000 + i64::from(channel.skew_milliseconds));
    let sends = app.store.unknown_sends(to).await?.into_iter();
    let earliest = plus_milliseconds(at, -EVENT_WITHIN_MILLISECONDS);
    let in_time = |send: &UnknownSend| earliest <= send.called_at && send.called_at <= latest;
    let candidates = sends.filter(|send| send.template == result.template && in_time(send));
    Ok(candidates.min_by_key(|send| send.called_at))
}

async fn settle_unknown(
    app: &App,
    to: &SubscriberId,
    person: &Person,
    unknown: &UnknownSend,
    word: PlatformWord,
    at: Timestamp,
) -> Result<(), StoreError> {
    if never_again(person, unknown.id).is_some() {
        app.store.update_person(to, |person| never_again(person, unknown.id)).await?;
    }
    let mut receipt = Receipt::default();
    let about =
        About { template: unknown.template.clone(), topic: unknown.topic.clone(), variant: unknown.variant.clone() };
    receipt.add_send(unknown.id, to, &about, unknown.called_at.max(at), ending(word));
    // Should there have been a second try, its reservation is where the receipts are looked for.
    let nonce = person.sends.find(unknown.id).map_or(unknown.nonce, |send| send.nonce);
    app.store.put_late_receipt(&to.channel, unknown.hour, nonce, &receipt).await?;
    app.store.delete_unknown(to, unknown.id).await
}

async fn take_back(
    app: &App,
    to: &SubscriberId,
    send: &RecentSend,
    about: &About,
    word: PlatformWord,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut receipt = Receipt::default();
    let ending = Ending { is_afterthought: true, ..ending(word) };
    receipt.add_send(send.id, to, about, at, ending);
    let hour = send.hour();
    app.store.put_late_receipt(&to.channel, hour, Nonce(send.nonce.0), &receipt).await
}

fn ending(word: PlatformWord) -> Ending {
    if word.code == 0 {
        return Ending::delivered(PlatformWord { message: "ok".to_owned(), ..word });
    }
    let detail = format!("the platform accepted it and then failed: {}", word.message);
    Ending::because(Reason::new(ReasonCode::PlatformError, detail), Some(word))
}
