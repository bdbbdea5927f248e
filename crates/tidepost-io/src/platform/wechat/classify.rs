//! What each of WeChat's codes means (platforms.md A2), in one table.

use tidepost_core::reply::{QuotaPeriod, Reply, RetryReason};

/// Our wait after 'busy' and after a concurrent send: A2 says 'back off' and 'short delay' without a number.
const SHORT_SECONDS: u32 = 1;
const MINUTE_SECONDS: u32 = 60;
const DAY_SECONDS: u32 = 24 * 60 * 60;

/// The decision that a code of subscribe/send (or a general one) leads to.
///
/// `message` is WeChat's `errmsg`, read only where A2 says so; `long_term` is the kind of the template sent.
#[must_use]
pub fn classify(code: i64, message: &str, message_id: Option<String>, long_term: bool) -> Reply {
    match code {
        0 => Reply::Delivered { message_id },
        -1 => retry(SHORT_SECONDS, RetryReason::Busy),
        40001 | 40014 | 41001 | 42001 => Reply::RefreshToken,
        40003 | 43004 | 43019 | 43104 => Reply::TargetUnusable,
        // 41030 is the page of the message; A2 counts it as configuration of the template.
        40037 | 41030 | 43102 | 43116 => Reply::TemplateUnusable,
        40038 => limit_or_format(message, long_term),
        43002 | 44002 | 47001 => Reply::BadRequest { field: None },
        47003 => Reply::BadRequest { field: field(message) },
        // The last two: customer-service calls only.
        43101 | 45015 | 45047 => Reply::NoGrant,
        43100 => retry(DAY_SECONDS, RetryReason::Busy),
        43108 => retry(SHORT_SECONDS, RetryReason::Concurrent),
        44990 => retry(SHORT_SECONDS, RetryReason::Rate),
        44991 | 45011 => retry(MINUTE_SECONDS, RetryReason::Rate),
        44993 => Reply::QuotaExhausted { per: QuotaPeriod::Day },
        45009 => Reply::QuotaExhausted { per: period(message) },
        45168 => Reply::ContentRefused,
        // The account, or the API for this account: every further send would be refused alike. A2 leaves open whether
        // 43107 is about the app or one template: the whole channel stops, which is the safe side.
        40243 | 43107 | 48001 | 48004 | 50002 | 50004 | 50007 | 61007 => Reply::ChannelBanned,
        // Our own configuration: app id, secret, addresses, calls that this app may not make.
        40013 | 40125 | 40164 | 41004 | 43106 | 45109 | 89501 | 89503 | 89506 | 89507 => Reply::PlatformError,
        _ => Reply::PlatformError,
    }
}

const fn retry(after_seconds: u32, reason: RetryReason) -> Reply {
    Reply::Retry { after_seconds, reason }
}

/// 40038 has two conflicting descriptions (A2): a long-term template's daily limit, or an invalid request format.
fn limit_or_format(message: &str, long_term: bool) -> Reply {
    let is_format = message.to_lowercase().contains("invalid");
    if long_term && !is_format { Reply::TemplateExhausted } else { Reply::BadRequest { field: None } }
}

/// 45009 is the day's quota unless its words say minute (A2).
fn period(message: &str) -> QuotaPeriod {
    let is_minute = message.to_lowercase().contains("minute");
    if is_minute { QuotaPeriod::Minute } else { QuotaPeriod::Day }
}

/// The field that 47003 names: `argument invalid! data.thing3.value invalid` (A2).
fn field(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("data.")?;
    let field: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!field.is_empty()).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    use Reply::{
        ChannelBanned, ContentRefused, NoGrant, PlatformError, RefreshToken, TargetUnusable, TemplateUnusable,
    };

    const BAD: Reply = Reply::BadRequest { field: None };
    const DAY: Reply = Reply::QuotaExhausted { per: QuotaPeriod::Day };
    const MINUTE: Reply = Reply::QuotaExhausted { per: QuotaPeriod::Minute };

    /// Every code of platforms.md A2, for a one-time template.
    const TABLE: &[(&[i64], &str, Reply)] = &[
        (&[0], "ok", Reply::Delivered { message_id: None }),
        (&[-1], "system error", retry(1, RetryReason::Busy)),
        (&[40001, 40014, 42001, 41001], "invalid credential", RefreshToken),
        (&[40003, 43004, 43019, 43104], "invalid openid", TargetUnusable),
        (&[40037, 41030, 43102, 43116], "template_id is invalid", TemplateUnusable),
        (&[47003], "argument invalid!", BAD),
        (&[47001, 44002, 43002], "data format error", BAD),
        (&[43101], "user refuse to accept the msg", NoGrant),
        (&[43107], "subscribe message capability is banned", ChannelBanned),
        (&[43108], "no concurrent calls to one openid", retry(1, RetryReason::Concurrent)),
        (&[45168], "sensitive", ContentRefused),
        (&[45009], "reach max api daily quota limit", DAY),
        (&[45009], "reach max api Minute quota limit", MINUTE),
        (&[45011], "api minute-quota reach limit", retry(60, RetryReason::Rate)),
        (&[44990], "reach max api second frequence limit", retry(1, RetryReason::Rate)),
        (&[44991], "reach max api minute frequence limit", retry(60, RetryReason::Rate)),
        (&[44993], "reach max api day frequence limit", DAY),
        (&[40038], "invalid request format", BAD),
        (&[40038], "over limit", BAD),
        (&[48001, 48004, 50002, 40243, 50004, 50007, 61007], "unauthorized", ChannelBanned),
        (&[40013, 40125, 41004, 40164], "invalid appid", PlatformError),
        (&[89501, 89503, 89506, 89507], "ip not confirmed", PlatformError),
        (&[43100], "template modified too often", retry(86_400, RetryReason::Busy)),
        (&[43106, 45109], "not supported", PlatformError),
        (&[45015, 45047], "response out of time limit", NoGrant),
        (&[1, -2, 99_999, 200_014, 20_001, i64::MAX, i64::MIN], "who knows", PlatformError),
    ];

    #[test]
    fn every_code_of_the_reference_has_its_decision() {
        for (codes, message, expected) in TABLE {
            for code in *codes {
                assert_eq!(classify(*code, message, None, false), *expected, "{code} {message}");
            }
        }
    }

    #[test]
    fn the_field_is_the_one_that_the_words_name() {
        for (message, field) in [
            ("argument invalid! data.thing3.value invalid rid: 5f1-2a3-4b5", Some("thing3")),
            ("argument invalid! data.enum_string2.value is empty", Some("enum_string2")),
            ("argument invalid! data. invalid", None),
            ("argument invalid!", None),
        ] {
            let expected = Reply::BadRequest { field: field.map(str::to_owned) };
            assert_eq!(classify(47003, message, None, false), expected, "{message}");
        }
    }

    #[test]
    fn a_long_term_template_may_be_used_up_for_the_day() {
        assert_eq!(classify(40038, "reach daily limit", None, true), Reply::TemplateExhausted);
        assert_eq!(classify(40038, "invalid request", None, true), Reply::BadRequest { field: None });
    }

    #[test]
    fn delivered_keeps_the_message_id() {
        let message_id = Some("3248682510344192008".to_owned());
        let expected = Reply::Delivered { message_id: message_id.clone() };
        assert_eq!(classify(0, "ok", message_id, false), expected);
    }
}
