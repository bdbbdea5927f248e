//! The platform's own callbacks: verified, decrypted, stored, then answered as the platform expects.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tidepost_core::callback::{CallbackEvent, CallbackKind, ConsentAnswer};
use tidepost_core::channel::{CallbackMode, Channel};
use tidepost_core::digest;
use tidepost_core::grant::{Consent, Source, Terms, expiry};
use tidepost_core::ids::SubscriberId;
use tidepost_core::person::{Answer as PersonsAnswer, Heard, HeardStatus};
use tidepost_core::template::{Template, TemplateKind};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::emf;
use tidepost_io::http::{Answer, Problem, Request, text};
use tidepost_io::platform::wechat::callback::{
    ANSWER, CallbackQuery, CallbackSettings, Mode, Refused, receive as read, verify_url,
};
use tidepost_io::platform::wechat::crypto::AesKey;
use tidepost_io::secrets::SecretError;
use tidepost_io::store::StoreError;

use crate::sent;

/// The platform hangs up after 5 s (platforms.md B2) and calls again: better to say so in time.
const TIME_LIMIT: Duration = Duration::from_millis(4_500);

/// How long a channel rests after the platform punished it, in seconds. The notice does not say in a form that could be
/// relied on (platforms.md A6); a person decides what is next.
const PUNISHED_SECONDS: i64 = 86_400;

/// Answers the platform's check of the callback's address.
pub async fn verify(app: &App, channel: &str, request: &Request) -> Answer {
    let settings = settings(app, channel).await?.1;
    let echo = verify_url(&query(request), &settings.token).map_err(refuse)?;
    Ok(text(200, echo))
}

/// Takes one event.
pub async fn receive(app: &App, channel: &str, request: &Request) -> Answer {
    let taken = tokio::time::timeout(TIME_LIMIT, take(app, channel, request)).await;
    taken.map_err(|_| Problem::unavailable("the event could not be stored in time"))??;
    Ok(text(200, ANSWER))
}

async fn take(app: &App, channel: &str, request: &Request) -> Result<(), Problem> {
    let (definition, settings) = settings(app, channel).await?;
    emf::platform(definition.platform);
    let event = read(&settings, &query(request), &request.body, app.clock.now()).map_err(refuse)?;
    store(app, channel, &definition, event).await
}

fn query(request: &Request) -> CallbackQuery {
    CallbackQuery::from_pairs(request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn refuse(refused: Refused) -> Problem {
    tracing::warn!(%refused, "a callback was refused");
    Problem::new(refused.status(), "callback_refused", refused.to_string())
}

async fn settings(app: &App, id: &str) -> Result<(Channel, CallbackSettings), Problem> {
    let unknown = || Problem::not_found("there is no such channel, or it takes no callbacks");
    let channel = app.store.channel(id).await?.ok_or_else(unknown)?;
    let callback = channel.callback.clone().ok_or_else(unknown)?;
    let now = app.clock.now();
    let token = app.secrets.read(&callback.token_ref, now).await.map_err(unreadable)?;
    let key = async || {
        let reference = callback.encoding_aes_key_ref.as_deref().unwrap_or_default();
        let text = app.secrets.read(reference, now).await.map_err(unreadable)?;
        AesKey::parse(text.expose()).map_err(|error| {
            tracing::error!(%error, channel = id, "the callback key of the channel cannot be used");
            Problem::unavailable("the callback key of the channel cannot be used")
        })
    };
    let mode = match callback.mode {
        CallbackMode::Plain => Mode::Plain,
        CallbackMode::Compat => Mode::Compat(key().await?),
        CallbackMode::Safe => Mode::Safe(key().await?),
    };
    let settings =
        CallbackSettings { mode, token, app_id: channel.app_id.clone(), max_age_seconds: callback.max_age_seconds };
    Ok((channel, settings))
}

fn unreadable(error: SecretError) -> Problem {
    tracing::error!(%error, "a callback cannot be verified");
    Problem::unavailable("the channel's secrets cannot be read")
}

async fn store(app: &App, id: &str, channel: &Channel, event: CallbackEvent) -> Result<(), Problem> {
    let now = app.clock.now();
    let to = SubscriberId::new(id, &event.openid);
    match &event.kind {
        CallbackKind::Popup { answers } => hear(app, channel, &to, &event, answers, now).await?,
        CallbackKind::Change { answers } => {
            // Switching a template back on in the settings gives no new one-time consent (platforms.md A6).
            let withdrawals: Vec<_> = answers.iter().filter(|answer| answer.answer == "reject").cloned().collect();
            hear(app, channel, &to, &event, &withdrawals, now).await?;
        }
        CallbackKind::Sent { results } => {
            for result in results {
                sent::settle(app, channel, &to, result, event.created_at).await?;
            }
        }
        CallbackKind::Punish { detail } => punish(app, id, detail, event.created_at, now).await?,
        CallbackKind::Other { .. } => {}
    }
    Ok(())
}

async fn hear(
    app: &App,
    channel: &Channel,
    to: &SubscriberId,
    event: &CallbackEvent,
    answers: &[ConsentAnswer],
    now: Timestamp,
) -> Result<(), StoreError> {
    if answers.is_empty() {
        return Ok(());
    }
    let templates = app.store.templates(&to.channel).await?;
    let heard = Heard {
        event: digest::short(&[event.dedupe_key.as_bytes()]),
        source: Source::Event,
        answers: answers.iter().map(|answer| understand(channel, &templates, answer, event.created_at)).collect(),
    };
    let change = |person: &tidepost_core::person::Person| {
        let mut person = person.clone();
        let statuses = person.hear(to, &heard, now);
        let is_new = statuses.iter().any(|status| *status != HeardStatus::Duplicate);
        if is_new && person.erased_at.is_none() {
            person.activity.note_active(event.created_at.min(now));
        }
        is_new.then_some(person)
    };
    app.store.update_person(to, change).await.map(drop)
}

fn understand(
    channel: &Channel,
    templates: &BTreeMap<String, Template>,
    answer: &ConsentAnswer,
    at: Timestamp,
) -> PersonsAnswer {
    let kind = templates.get(&answer.template).map_or(TemplateKind::OneTime, |template| template.kind);
    PersonsAnswer {
        template: answer.template.clone(),
        kind,
        consent: Consent::parse(&answer.answer).unwrap_or(Consent::Neither),
        terms: Terms {
            given_at: Some(at),
            expires_at: expiry(channel, at).filter(|_| kind == TemplateKind::OneTime),
            scene: answer.scene.clone(),
            purpose: None,
        },
    }
}

async fn punish(app: &App, channel: &str, detail: &str, at: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let until = plus_seconds(at, PUNISHED_SECONDS);
    // Neither an old notice nor one that was heard before is news.
    if until > now && app.store.ban(channel, until, format!("the platform punished the channel: {detail}")).await? {
        tracing::error!(channel, detail, "the platform punished the channel: sending pauses for a day");
    }
    Ok(())
}
