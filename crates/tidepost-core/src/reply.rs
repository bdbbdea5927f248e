//! What a platform answered to a call that can deliver, as the decisions open to dispatch.
//!
//! Each platform's adapter maps its own codes onto [`Reply`]; the classes are those of platforms.md ("Classification
//! used in every table"), split where dispatch has to act differently.

use serde::{Deserialize, Serialize};

/// How one call ended, seen from our side of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CallResult {
    /// The platform answered. Whether to retry depends on [`Answer::reply`].
    Answered(Answer),
    /// The request may have left and no answer of the platform came back (time-out, connection lost, a gateway's error
    /// page). Never retried automatically: the message may be delivered (platforms.md A1: no idempotency key exists).
    Unknown {
        /// Why nothing is known, for the log; holds no address and no token.
        detail: String,
    },
    /// The request has certainly not left (connection refused, name not resolved, bad address). May be retried with the
    /// same grant and the same unit.
    NotSent {
        /// What went wrong, for the log; holds no address and no token.
        detail: String,
    },
}

/// The platform's answer, in its own words and in ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The platform's own code; 0 means accepted.
    pub code: i64,
    /// The platform's own words, cut to a bounded length.
    pub message: String,
    /// What it means to us.
    pub reply: Reply,
}

/// What an answer means: one variant per decision of dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Accepted. Not retried. A later event of the platform may still say that it failed.
    Delivered {
        /// The platform's id of the message, if it gave one (optional by platforms.md A1).
        message_id: Option<String>,
    },
    /// Nothing was delivered and the same call may succeed later. Retried, with a unit of its own for each try.
    Retry {
        /// The earliest useful time of the next try, from now.
        after_seconds: u32,
        /// What to change before trying again.
        reason: RetryReason,
    },
    /// The access token is not valid (any more). Retried once with another token; refused again, the message waits.
    RefreshToken,
    /// The person has no usable grant of this template. Never retried; this one grant stays consumed.
    NoGrant,
    /// The account's quota of the period is used up. Retried in the next window.
    QuotaExhausted {
        /// The window that is closed.
        per: QuotaPeriod,
    },
    /// This person has had this long-term template as often as allowed today. Retried no earlier than the next day.
    TemplateExhausted,
    /// This openid cannot be sent to. Never retried; other people are not concerned.
    TargetUnusable,
    /// This template (or its page) cannot be sent until a person repairs it. Not retried.
    TemplateUnusable,
    /// The platform refuses these words. Never retried with the same content.
    ContentRefused,
    /// The request breaks a rule of the platform. Never retried unchanged.
    BadRequest {
        /// The template field the platform names (`thing1`), if it names one.
        field: Option<String>,
    },
    /// The account may not send at all. Not retried; the channel stops until a person acts.
    ChannelBanned,
    /// Anything else, unknown codes and our own misconfiguration included. Never retried; a person must look.
    PlatformError,
}

/// Why a call may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryReason {
    /// The platform is busy: wait.
    Busy,
    /// Another send to the same person is under way: wait for it, one at a time.
    Concurrent,
    /// Too many calls: wait and lower the channel's rate.
    Rate,
}

/// The length of a platform's quota window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPeriod {
    /// One minute.
    Minute,
    /// One day of the platform's calendar.
    Day,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_a_round_trip() {
        let result = CallResult::Answered(Answer {
            code: 45009,
            message: "reach max api daily quota limit".to_owned(),
            reply: Reply::QuotaExhausted { per: QuotaPeriod::Day },
        });
        let json = serde_json::to_string(&result).unwrap();
        assert_eq!(
            json,
            r#"{"result":"answered","code":45009,"message":"reach max api daily quota limit","reply":{"reply":"quota_exhausted","per":"day"}}"#
        );
        assert_eq!(serde_json::from_str::<CallResult>(&json).unwrap(), result);
    }
}
