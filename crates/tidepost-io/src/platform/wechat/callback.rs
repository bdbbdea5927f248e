//! What WeChat posts to us, verified and read (platforms.md A6, B1, B2).

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tidepost_core::callback::{CallbackEvent, CallbackKind, ConsentAnswer, SendResult};

use super::crypto::{AesKey, DecryptError, decrypt, is_signed};
use super::document::{integer, leaves, parse, text};
use crate::secret::Secret;

/// The largest body read. WeChat states no limit; its events are under 2 KB.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// What WeChat expects to read, as plain text, when there is nothing else to say (platforms.md B2).
pub const ANSWER: &str = "success";

/// Characters of a penalty's detail that are kept.
const DETAIL_CHARACTERS_MAX: usize = 500;
/// Fields that every event has, which say nothing about a penalty.
const ENVELOPE: [&str; 5] = ["ToUserName", "FromUserName", "CreateTime", "MsgType", "Event"];

/// How one channel's callbacks are protected.
#[derive(Clone, Debug)]
pub struct CallbackSettings {
    /// What the platform's page is set to, with the key where it encrypts.
    pub mode: Mode,
    /// The token that signs.
    pub token: Secret,
    /// Our app id: encrypted messages name it.
    pub app_id: String,
    /// Refuse callbacks whose signed time is further away than this.
    pub max_age_seconds: Option<u32>,
}

/// The three modes of WeChat's page (platforms.md B2).
#[derive(Clone, Debug)]
pub enum Mode {
    /// In the clear; the signature does not cover the body.
    Plain,
    /// In the clear and encrypted: only the encrypted part is read.
    Compat(AesKey),
    /// Encrypted.
    Safe(AesKey),
}

/// The query of a callback; fields that are not there are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CallbackQuery {
    /// Over token, timestamp and nonce.
    pub signature: String,
    /// Seconds since 1970.
    pub timestamp: String,
    /// A random number.
    pub nonce: String,
    /// What a verification wants to hear back.
    pub echostr: String,
    /// `aes` or `raw`.
    pub encrypt_type: String,
    /// Over token, timestamp, nonce and the encrypted text.
    pub msg_signature: String,
}

/// Why a callback was refused, before any side effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Not signed with our token.
    #[error("the signature is wrong or missing")]
    BadSignature,
    /// In the clear where the channel encrypts (a downgrade), or encrypted where it does not.
    #[error("the callback does not have the channel's mode")]
    WrongMode,
    /// Encrypted for another app.
    #[error("the callback is for another app id")]
    WrongAppId,
    /// Signed, but not to be opened with our key.
    #[error("the callback cannot be decrypted")]
    BadCiphertext,
    /// Longer than [`BODY_BYTES_MAX`].
    #[error("the body is longer than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a WeChat message.
    #[error("the callback is not a message of WeChat")]
    Malformed,
    /// Signed too long ago (or ahead) for this channel.
    #[error("the callback's time is too far from now")]
    TooOld,
}

impl Refused {
    /// The HTTP status to answer: 403 for what is not WeChat's or not for us, 413 for length, 400 for content.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadSignature | Self::WrongMode | Self::WrongAppId | Self::TooOld => 403,
            Self::TooLarge => 413,
            Self::BadCiphertext | Self::Malformed => 400,
        }
    }
}

impl From<DecryptError> for Refused {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::BadCiphertext => Self::BadCiphertext,
            DecryptError::WrongAppId => Self::WrongAppId,
        }
    }
}

impl CallbackQuery {
    /// From the decoded pairs of a query; unknown names are ignored, of a repeated name the last counts.
    pub fn from_pairs<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name.as_ref() {
                "signature" => query.signature = value.into(),
                "timestamp" => query.timestamp = value.into(),
                "nonce" => query.nonce = value.into(),
                "echostr" => query.echostr = value.into(),
                "encrypt_type" => query.encrypt_type = value.into(),
                "msg_signature" => query.msg_signature = value.into(),
                _ => {}
            }
        }
        query
    }

    /// Whether the query is signed with the token. An empty token signs nothing: anybody knows it.
    fn is_signed(&self, token: &Secret) -> bool {
        let parts = [token.expose(), &self.timestamp, &self.nonce];
        !parts.contains(&"") && is_signed(&self.signature, parts)
    }

    /// Whether the encrypted text is signed with the token.
    fn is_message_signed(&self, token: &Secret, encrypt: &str) -> bool {
        let parts = [token.expose(), &self.timestamp, &self.nonce, encrypt];
        !parts.contains(&"") && is_signed(&self.msg_signature, parts)
    }
}

/// The `echostr` to answer a verification with, raw and as plain text (platforms.md B1: not encrypted in any mode).
///
/// # Errors
/// [`Refused::BadSignature`], or [`Refused::Malformed`] when there is nothing to echo.
pub fn verify_url(query: &CallbackQuery, token: &Secret) -> Result<String, Refused> {
    if !query.is_signed(token) {
        return Err(Refused::BadSignature);
    }
    if query.echostr.is_empty() {
        return Err(Refused::Malformed);
    }
    Ok(query.echostr.clone())
}

/// The event inside a callback. Unknown events are [`CallbackKind::Other`], never an error.
///
/// # Errors
/// See [`Refused`].
pub fn receive(
    settings: &CallbackSettings,
    query: &CallbackQuery,
    body: &[u8],
    now: Timestamp,
) -> Result<CallbackEvent, Refused> {
    let document = document(body)?;
    let message = match &settings.mode {
        Mode::Plain => open_plain(settings, query, document)?,
        Mode::Compat(key) | Mode::Safe(key) => open_encrypted(settings, key, query, &document)?,
    };
    check_age(settings.max_age_seconds, query, now)?;
    event(&message, now).ok_or(Refused::Malformed)
}

fn document(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let text = str::from_utf8(body).map_err(|_| Refused::Malformed)?;
    parse(text).ok_or(Refused::Malformed)
}

fn open_plain(
    settings: &CallbackSettings,
    query: &CallbackQuery,
    document: Map<String, Value>,
) -> Result<Map<String, Value>, Refused> {
    if !query.is_signed(&settings.token) {
        return Err(Refused::BadSignature);
    }
    let is_raw = query.encrypt_type.is_empty() || query.encrypt_type == "raw";
    if is_raw { Ok(document) } else { Err(Refused::WrongMode) }
}

/// Only what is under `Encrypt` and covered by `msg_signature` is read; `signature` does not cover the body.
fn open_encrypted(
    settings: &CallbackSettings,
    key: &AesKey,
    query: &CallbackQuery,
    envelope: &Map<String, Value>,
) -> Result<Map<String, Value>, Refused> {
    let encrypt = text(envelope, "Encrypt").ok_or(Refused::WrongMode)?;
    if !query.is_message_signed(&settings.token, &encrypt) {
        return Err(Refused::BadSignature);
    }
    document(&decrypt(&encrypt, key, &settings.app_id)?)
}

fn check_age(max_age_seconds: Option<u32>, query: &CallbackQuery, now: Timestamp) -> Result<(), Refused> {
    let Some(max_age_seconds) = max_age_seconds else {
        return Ok(());
    };
    let signed_at: i64 = query.timestamp.parse().map_err(|_| Refused::Malformed)?;
    if signed_at.abs_diff(now.as_second()) > u64::from(max_age_seconds) {
        return Err(Refused::TooOld);
    }
    Ok(())
}

/// `None` when a field that the event needs is missing or of the wrong kind.
fn event(message: &Map<String, Value>, now: Timestamp) -> Option<CallbackEvent> {
    let created_at = integer(message, "CreateTime").and_then(|second| Timestamp::from_second(second).ok());
    let openid = text(message, "FromUserName").unwrap_or_default();
    let name = text(message, "Event").or_else(|| text(message, "MsgType")).unwrap_or_default();
    let kind = match name.as_str() {
        "subscribe_msg_popup_event" => CallbackKind::Popup { answers: answers(message, "SubscribeMsgPopupEvent")? },
        "subscribe_msg_change_event" => CallbackKind::Change { answers: answers(message, "SubscribeMsgChangeEvent")? },
        "subscribe_msg_sent_event" => CallbackKind::Sent { results: results(message)? },
        "wxa_punish_event" => CallbackKind::Punish { detail: detail(message) },
        _ => CallbackKind::Other { event: name, message_id: text(message, "MsgId") },
    };
    let needs_person =
        matches!(kind, CallbackKind::Popup { .. } | CallbackKind::Change { .. } | CallbackKind::Sent { .. });
    let has_time_and_person = created_at.is_some() && !openid.is_empty();
    // Whatever is not understood needs no more than an answer.
    (!needs_person || has_time_and_person).then(|| CallbackEvent::new(openid, created_at.unwrap_or(now), kind))
}

/// The objects called `List`, one or many, at the top level or under the event's wrapper (platforms.md A6).
fn list<'a>(message: &'a Map<String, Value>, wrapper: &str) -> Option<Vec<&'a Map<String, Value>>> {
    let list = message.get("List").or_else(|| message.get(wrapper)?.get("List"))?;
    match list {
        Value::Object(item) => Some(vec![item]),
        Value::Array(items) => items.iter().map(Value::as_object).collect(),
        _ => None,
    }
}

fn answers(message: &Map<String, Value>, wrapper: &str) -> Option<Vec<ConsentAnswer>> {
    list(message, wrapper)?.into_iter().map(answer).collect()
}

fn answer(item: &Map<String, Value>) -> Option<ConsentAnswer> {
    Some(ConsentAnswer {
        template: required(item, "TemplateId")?,
        answer: required(item, "SubscribeStatusString")?,
        scene: required(item, "PopupScene"),
    })
}

fn results(message: &Map<String, Value>) -> Option<Vec<SendResult>> {
    list(message, "SubscribeMsgSentEvent")?.into_iter().map(result).collect()
}

fn result(item: &Map<String, Value>) -> Option<SendResult> {
    Some(SendResult {
        template: required(item, "TemplateId")?,
        message_id: required(item, "MsgID"),
        code: integer(item, "ErrorCode")?,
        status: text(item, "ErrorStatus").unwrap_or_default(),
    })
}

/// A text that is there and not empty.
fn required(item: &Map<String, Value>, name: &str) -> Option<String> {
    text(item, name).filter(|text| !text.is_empty())
}

fn detail(message: &Map<String, Value>) -> String {
    let own = message.iter().filter(|(name, _)| !ENVELOPE.contains(&name.as_str()));
    let own = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    leaves(&own).join(", ").chars().take(DETAIL_CHARACTERS_MAX).collect()
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
