//! Calls to WeChat's server API (platforms.md A1, A5, A7, A8).
//!
//! The access token travels in the query, as WeChat wants it: no error of this file carries an address.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tidepost_core::reply::{Answer, CallResult, QuotaPeriod, Reply};
use tidepost_core::template::TemplateKind;

use super::classify::classify;
use super::document::{integer, text};
use super::wire::{ListedTemplate, QuotaRequest, SendRequest, TokenRequest};
use crate::platform::transport::{NoReply, Transport, describe};
use crate::secret::Secret;

/// The path of subscribe/send, also its name in [`WechatClient::quota`] (platforms.md A1).
pub const SEND_PATH: &str = "/cgi-bin/message/subscribe/send";
const TOKEN_PATH: &str = "/cgi-bin/stable_token";
const TEMPLATES_PATH: &str = "/wxaapi/newtmpl/gettemplate";
const QUOTA_PATH: &str = "/cgi-bin/openapi/quota/get";

/// How long a connection may take to open before the first invocation: that one can still open it itself.
const OPENING_TIMEOUT: Duration = Duration::from_secs(1);
/// Time-out of every call but sending, which has the channel's.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest reply read: 50 templates (A5) are far below.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Characters of WeChat's words that are kept, the `rid` at their end included.
const MESSAGE_CHARACTERS_MAX: usize = 300;
/// Our wait after a call that brought no reply.
const NO_REPLY_SECONDS: u32 = 1;

/// The client of one WeChat address. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct WechatClient {
    transport: Transport,
    base_url: String,
}

/// An access token with what is left of its life.
#[derive(Clone, Debug)]
pub struct Token {
    /// Goes into the query of every call.
    pub access_token: Secret,
    /// What is left, 7,200 s at first (platforms.md A7).
    pub expires_in_seconds: u32,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// WeChat is busy or out of reach: try again later.
    #[error("no access token now: {detail}")]
    Retry {
        /// The earliest useful time of the next try, from now.
        after_seconds: u32,
        /// For the log.
        detail: String,
    },
    /// App id, secret, address or account are not accepted: a person must act (platforms.md A7).
    #[error("WeChat refuses an access token: {code} {message}")]
    Refused {
        /// WeChat's code.
        code: i64,
        /// WeChat's words; for 40164 they name the caller's address.
        message: String,
    },
}

/// Why templates or quota could not be read. Reading changes nothing, so it may always be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The access token is not valid: take another one, then try once more.
    #[error("WeChat does not accept the access token: {code} {message}")]
    RefreshToken {
        /// WeChat's code.
        code: i64,
        /// WeChat's words.
        message: String,
    },
    /// WeChat is busy, out of reach, or counts too many calls.
    #[error("WeChat gives no answer now: {detail}")]
    Retry {
        /// The earliest useful time of the next try, from now.
        after_seconds: u32,
        /// For the log.
        detail: String,
    },
    /// WeChat says no: a person must act.
    #[error("WeChat refuses: {code} {message}")]
    Refused {
        /// WeChat's code.
        code: i64,
        /// WeChat's words.
        message: String,
    },
}

/// One subscription message to one person (platforms.md A1).
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The person, of this app.
    pub openid: &'a str,
    /// WeChat's template id (`priTmplId`).
    pub template: &'a str,
    /// Whether the template is a long-term one: 40038 means another thing then (platforms.md A2).
    pub long_term: bool,
    /// The page the card opens; without it the card cannot be clicked.
    pub page: Option<&'a str>,
    /// Field to value.
    pub data: &'a BTreeMap<String, String>,
}

/// A template of the account, as WeChat lists it (platforms.md A5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WechatTemplate {
    /// `priTmplId`.
    pub id: String,
    /// WeChat's title.
    pub title: String,
    /// How consent to it counts.
    pub kind: TemplateKind,
    /// In the order of the card.
    pub fields: Vec<WechatField>,
}

/// One field of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WechatField {
    /// Type and number: `thing1`.
    pub key: String,
    /// The values an `enum` field allows; empty for the others.
    pub values: Vec<String>,
}

/// What is left of a path's quota (platforms.md A8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Quota {
    /// Calls a day.
    pub daily_limit: u64,
    /// Calls made today.
    pub used: u64,
    /// Calls left today.
    pub remain: u64,
}

impl WechatClient {
    /// A client of the API at `base_url` (WeChat's own or a simulator's).
    #[must_use]
    pub fn new(transport: Transport, base_url: String) -> Self {
        Self { transport, base_url: base_url.trim_end_matches('/').to_owned() }
    }

    /// Opens a connection by a request that says nothing; what is answered does not matter.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(&self) -> Result<(), String> {
        let request = self.transport.http().head(&self.base_url).timeout(OPENING_TIMEOUT);
        self.transport.call(request).await.map(drop).map_err(|no_reply| no_reply.detail().to_owned())
    }

    /// A stable access token (platforms.md A7). Normal mode answers the same token until WeChat renews it;
    /// `force_refresh` ends the old one (20 a day, 30 s apart) and is for a token that was refused and came again.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn fetch_token(&self, app_id: &str, secret: &Secret, force_refresh: bool) -> Result<Token, TokenError> {
        let body =
            TokenRequest { grant_type: "client_credential", appid: app_id, secret: secret.expose(), force_refresh };
        let request = self.transport.http().post(self.address(TOKEN_PATH));
        let reply = self.exchange(request.json(&body), CALL_TIMEOUT).await;
        let reply = reply.map_err(|no_reply| no_token(no_reply.detail()))?;
        match classify(reply.code, &reply.message, None, false) {
            Reply::Delivered { .. } => token(&reply.fields).ok_or_else(|| no_token("the reply has no token")),
            Reply::Retry { after_seconds, .. } => Err(TokenError::Retry { after_seconds, detail: reply.words() }),
            Reply::QuotaExhausted { per: QuotaPeriod::Minute } => {
                Err(TokenError::Retry { after_seconds: 60, detail: reply.words() })
            }
            _ => Err(TokenError::Refused { code: reply.code, message: reply.message }),
        }
    }

    /// Sends one message: exactly one request, never repeated here. Whatever is not a reply of WeChat itself, an HTTP
    /// error page or a 5xx included, is [`CallResult::Unknown`] once the request may have left.
    pub async fn send(&self, token: &Secret, send: &Send<'_>, timeout: Duration) -> CallResult {
        let request = self.transport.http().post(self.address(SEND_PATH)).query(&[("access_token", token.expose())]);
        match self.exchange(request.json(&SendRequest::from(send)), timeout).await {
            Ok(reply) => CallResult::Answered(reply.answer(send.long_term)),
            Err(NoReply::NotSent(detail)) => CallResult::NotSent { detail },
            Err(NoReply::Unknown(detail)) => CallResult::Unknown { detail },
        }
    }

    /// The account's one-time and long-term templates (platforms.md A5); other kinds, which subscribe/send does not
    /// serve, are left out.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn templates(&self, token: &Secret) -> Result<Vec<WechatTemplate>, ReadError> {
        let request =
            self.transport.http().get(self.address(TEMPLATES_PATH)).query(&[("access_token", token.expose())]);
        let mut fields = self.read(request).await?;
        let data = fields.remove("data").ok_or_else(bad_reply)?;
        let listed: Vec<ListedTemplate> = serde_json::from_value(data).map_err(|_| bad_reply())?;
        Ok(listed.into_iter().filter_map(ListedTemplate::template).collect())
    }

    /// What is left of the quota of a path such as [`SEND_PATH`] (platforms.md A8).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn quota(&self, token: &Secret, cgi_path: &str) -> Result<Quota, ReadError> {
        let request = self.transport.http().post(self.address(QUOTA_PATH)).query(&[("access_token", token.expose())]);
        let mut fields = self.read(request.json(&QuotaRequest { cgi_path })).await?;
        let quota = fields.remove("quota").ok_or_else(bad_reply)?;
        serde_json::from_value(quota).map_err(|_| bad_reply())
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    async fn exchange(&self, request: RequestBuilder, timeout: Duration) -> Result<WechatReply, NoReply> {
        let response = self.transport.call(request.timeout(timeout)).await?;
        let status = response.status();
        let body = read_body(response).await?;
        WechatReply::parse(&body, status.is_success())
            .ok_or_else(|| NoReply::Unknown(format!("HTTP {} without a reply of WeChat", status.as_u16())))
    }

    /// A call that changes nothing.
    async fn read(&self, request: RequestBuilder) -> Result<Map<String, Value>, ReadError> {
        let reply = self.exchange(request, CALL_TIMEOUT).await.map_err(|no_reply| no_answer(no_reply.detail()))?;
        match classify(reply.code, &reply.message, None, false) {
            Reply::Delivered { .. } => Ok(reply.fields),
            Reply::RefreshToken => Err(ReadError::RefreshToken { code: reply.code, message: reply.message }),
            Reply::Retry { after_seconds, .. } => Err(ReadError::Retry { after_seconds, detail: reply.words() }),
            Reply::QuotaExhausted { per: QuotaPeriod::Minute } => {
                Err(ReadError::Retry { after_seconds: 60, detail: reply.words() })
            }
            // A5: 'system error' of the template calls.
            _ if matches!(reply.code, 20001 | 200_001) => Err(no_answer(&reply.words())),
            _ => Err(ReadError::Refused { code: reply.code, message: reply.message }),
        }
    }
}

/// A reply of WeChat itself.
struct WechatReply {
    code: i64,
    message: String,
    fields: Map<String, Value>,
}

impl WechatReply {
    /// Reads a body. Success is `errcode` absent or 0 (A): without it only a 2xx counts as WeChat's own word.
    fn parse(body: &[u8], is_success: bool) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let code = if fields.contains_key("errcode") { integer(&fields, "errcode")? } else { 0 };
        if !is_success && code == 0 {
            return None;
        }
        let message = text(&fields, "errmsg").unwrap_or_default().chars().take(MESSAGE_CHARACTERS_MAX).collect();
        Some(Self { code, message, fields })
    }

    /// `msgid` is optional, a number beyond 2^53 or a text (A1).
    fn answer(self, long_term: bool) -> Answer {
        let message_id = text(&self.fields, "msgid").filter(|id| !id.is_empty());
        let reply = classify(self.code, &self.message, message_id, long_term);
        Answer { code: self.code, message: self.message, reply }
    }

    fn words(&self) -> String {
        format!("{} {}", self.code, self.message)
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, NoReply> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| NoReply::Unknown(describe(error)))? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            return Err(NoReply::Unknown("the reply is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn token(fields: &Map<String, Value>) -> Option<Token> {
    let access_token = text(fields, "access_token").filter(|token| !token.is_empty())?;
    let expires_in_seconds = u32::try_from(integer(fields, "expires_in")?).ok()?;
    Some(Token { access_token: Secret::new(access_token), expires_in_seconds })
}

fn no_token(detail: &str) -> TokenError {
    TokenError::Retry { after_seconds: NO_REPLY_SECONDS, detail: detail.to_owned() }
}

fn no_answer(detail: &str) -> ReadError {
    ReadError::Retry { after_seconds: NO_REPLY_SECONDS, detail: detail.to_owned() }
}

fn bad_reply() -> ReadError {
    no_answer("the reply has not the documented shape")
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
