//! The shop's account: as the platform has it, and as Tidepost is told of it.

use serde_json::{Value, json};

/// The app id.
pub const APP_ID: &str = "wxdem0000000000001";
/// The channel's id.
pub const CHANNEL: &str = "shop";
/// The template of order confirmations.
pub const CONFIRMED: &str = "TMPL_ORDER_CONFIRMED";
/// The template of shipping notices.
pub const SHIPPED: &str = "TMPL_ORDER_SHIPPED";
/// The topic of shipping notices.
pub const SHIPPING: &str = "shipping";

const PAGE: &str = "pages/order/detail";

/// Secrets of the invented account; written to files of the run's own folder.
pub const SECRETS: [(&str, &str); 3] = [
    ("secret", "0123456789abcdef0123456789abcdef"),
    ("token", "demoToken2026"),
    ("aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
];

/// The limits of an account that is a little too small for the evening.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls in a minute.
    pub calls_a_minute: usize,
    /// Messages in a day.
    pub messages_a_day: usize,
}

impl Limits {
    /// Five eighths of the people in a minute, and less than two messages each in a day.
    #[must_use]
    pub fn for_people(people: usize) -> Self {
        Self { calls_a_minute: (people * 5 / 8).max(10), messages_a_day: (people * 5 / 4).max(20) }
    }
}

/// The account at the platform.
#[must_use]
pub fn at_the_platform(api_url: &str, limits: Limits) -> Value {
    let [(_, secret), (_, token), (_, aes_key)] = SECRETS;
    json!({
        "secret": secret, "token": token, "encoding_aes_key": aes_key,
        "callback": {"url": format!("{api_url}/callbacks/{CHANNEL}"), "mode": "safe", "format": "xml"},
        "pages": [PAGE],
        "templates": [
            {"priTmplId": CONFIRMED, "title": "下单成功通知", "type": 2,
             "content": "订单号:{{character_string1.DATA}}\n商品:{{thing2.DATA}}\n金额:{{amount3.DATA}}"},
            {"priTmplId": SHIPPED, "title": "订单发货提醒", "type": 2,
             "content": "订单号:{{character_string1.DATA}}\n商品:{{thing2.DATA}}"},
        ],
        "windows": [
            {"id": "minute", "unit": "call", "limit": limits.calls_a_minute, "seconds": 60},
            {"id": "daily", "unit": "message", "limit": limits.messages_a_day, "calendar": "day", "time_zone": "Asia/Shanghai"},
        ],
    })
}

/// The channel in Tidepost; `folder` holds the secrets' files.
#[must_use]
pub fn channel(folder: &std::path::Path, limits: Limits) -> Value {
    let secret = |name: &str| format!("file:{}", folder.join(name).display());
    json!({
        "platform": "wechat_mini", "app_id": APP_ID, "secret_ref": secret("secret"),
        "callback": {"mode": "safe", "token_ref": secret("token"), "encoding_aes_key_ref": secret("aes_key")},
        "rate_limit_per_second": 1_000,
        "quota_rules": [
            {"id": "daily", "unit": "message", "limit": limits.messages_a_day, "window": {"calendar": "day"}},
            {"id": "minute", "unit": "call", "limit": limits.calls_a_minute, "window": {"seconds": 60}},
        ],
    })
}

/// The templates in Tidepost, by id.
#[must_use]
pub fn templates() -> [(&'static str, Value); 2] {
    [
        (
            CONFIRMED,
            json!({"title": "下单成功通知", "category": "basic", "topic": "orders",
            "fields": [{"key": "character_string1"}, {"key": "thing2"}, {"key": "amount3"}]}),
        ),
        (
            SHIPPED,
            json!({"title": "订单发货提醒", "category": "reminder", "topic": SHIPPING,
            "fields": [{"key": "character_string1"}, {"key": "thing2"}]}),
        ),
    ]
}

/// The field that carries the order's key, by which the truth is matched.
pub const KEY_FIELD: &str = "character_string1";

/// What is in a message.
#[must_use]
pub fn content(template: &str, key: &str) -> (Value, String) {
    let data = match template {
        CONFIRMED => json!({KEY_FIELD: key, "thing2": "手冲咖啡两杯", "amount3": "￥36.00"}),
        _ => json!({KEY_FIELD: key, "thing2": "手冲咖啡两杯"}),
    };
    (data, format!("{PAGE}?id={key}"))
}
