//! What `PUT /sim/wechat/apps/{appid}` takes: one app of the simulated platform, with every knob.

use serde::{Deserialize, Serialize};

use super::crypto::AesKey;
use super::fields::FieldType;
use super::windows::WindowConfig;
use crate::problem::FieldError;

/// One app (mini program) as the platform knows it. Only `secret` is required; unknown fields are refused.
///
/// `PUT` replaces all of this, and only this: people, grants, received messages and window counts stay.
///
/// ```json
/// {"secret":"…","token":"…","encoding_aes_key":"43 characters",
///  "callback":{"url":"http://127.0.0.1:8787/callbacks/shop","mode":"safe","format":"json"},
///  "templates":[{"priTmplId":"TMPL_A","title":"订单发货提醒","content":"商品:{{thing1.DATA}}","type":2}],
///  "pages":["pages/order/detail"],
///  "windows":[{"id":"minute","unit":"call","limit":600,"seconds":60},
///             {"id":"daily","unit":"message","limit":5000,"calendar":"day","time_zone":"Asia/Shanghai"}]}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// AppSecret of the token calls.
    pub secret: String,
    /// Token of the message push (3 to 32 letters and digits); needed with `callback`.
    #[serde(default)]
    pub token: String,
    /// EncodingAESKey of the message push; needed for `compat` and `safe`.
    #[serde(default)]
    pub encoding_aes_key: String,
    /// Where events go; without it none are pushed.
    #[serde(default)]
    pub callback: Option<CallbackConfig>,
    /// The app's private templates.
    #[serde(default)]
    pub templates: Vec<TemplateConfig>,
    /// Pages of the released version; when given, any other page is refused with 41030.
    #[serde(default)]
    pub pages: Option<Vec<String>>,
    /// Quota windows of `subscribe/send`.
    #[serde(default)]
    pub windows: Vec<WindowConfig>,

    /// The account's original id (`ToUserName` of events). Default: made from the app id.
    #[serde(default)]
    pub original_id: Option<String>,
    /// Openids that used the app but never answered a subscribe dialog: sends to them get 43101, to unknown ones 40003.
    #[serde(default)]
    pub people: Vec<String>,
    /// `true` treats every well-formed openid as a person of this app. Default: false.
    #[serde(default)]
    pub accept_unknown_openids: bool,
    /// Openids refused with 43019.
    #[serde(default)]
    pub blacklist: Vec<String>,
    /// Words refused with 45168. Default: a short invented list.
    #[serde(default = "sensitive_words")]
    pub sensitive_words: Vec<String>,
    /// `true` refuses keys in `data` that the template does not have (47003). Default: true.
    #[serde(default = "yes")]
    pub strict_fields: bool,
    /// `true` lets emoji through in text fields; how the platform counts them is not documented. Default: false.
    #[serde(default)]
    pub allow_emoji: bool,
    /// How long a send takes; two sends to one openid that overlap get 43108. Default: 5.
    #[serde(default = "latency_milliseconds")]
    pub latency_milliseconds: u64,
    /// Sends of one long-term template to one person a day, then 40038. Default: 5.
    #[serde(default = "long_term_daily_limit")]
    pub long_term_daily_limit: u64,
    /// Sends a day (Beijing time) over all windows, then 45009. Default: 10,000,000.
    #[serde(default = "daily_quota")]
    pub daily_quota: u64,
    /// `GET /cgi-bin/token` calls a day, then 45009. Default: 2,000.
    #[serde(default = "token_daily_limit")]
    pub token_daily_limit: u64,
    /// Private templates the app may have, then 200012. Default: 25.
    #[serde(default = "template_limit")]
    pub template_limit: usize,
    /// Addresses that may fetch tokens, any other gets 40164. Default: all.
    #[serde(default)]
    pub ip_whitelist: Option<Vec<String>>,
    /// Punishments and missing rights: a code that answers every call of a kind.
    #[serde(default)]
    pub blocked: Blocked,
    /// Whether accepted sends are followed by `subscribe_msg_sent_event`. Default: true.
    #[serde(default = "yes")]
    pub sent_events: bool,
    /// How long after an accepted send its `subscribe_msg_sent_event` goes out, in real milliseconds. Default: 1,000, our
    /// choice: the platform's documents state no delay.
    #[serde(default = "sent_event_delay_milliseconds")]
    pub sent_event_delay_milliseconds: u64,
    /// Categories of the account, for `getcategory` and the public library. Default: 1 and 2.
    #[serde(default = "categories")]
    pub categories: Vec<Category>,
}

/// The message push settings of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackConfig {
    /// Where events are POSTed.
    pub url: String,
    /// Default: plain.
    #[serde(default)]
    pub mode: Mode,
    /// Default: json.
    #[serde(default)]
    pub format: Format,
}

/// How much of a push is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Plain,
    /// Both the plain fields and the encrypted copy are sent; `compatible` is taken too.
    #[serde(alias = "compatible")]
    Compat,
    /// Only the encrypted copy is sent.
    Safe,
}

/// How a push is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// XML.
    Xml,
}

/// A private template, in the platform's own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// The template id.
    #[serde(rename = "priTmplId")]
    pub pri_tmpl_id: String,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Lines such as `商品:{{thing1.DATA}}`; they define the fields.
    pub content: String,
    /// An example, only shown.
    #[serde(default)]
    pub example: String,
    /// 2 one-time, 3 long-term; anything else is no subscription template (43102). Default: 2.
    #[serde(rename = "type", default = "one_time")]
    pub kind: i64,
    /// Values of enum fields. An enum field without any takes every value.
    #[serde(rename = "keywordEnumValueList", default)]
    pub keyword_enum_value_list: Vec<EnumValues>,
    /// The code that refuses every send of it, for example 43107 or 43116.
    #[serde(default)]
    pub banned: Option<i64>,
    /// A long-term template's own limit per person, then 40038. Default: the app's `long_term_daily_limit` per day.
    #[serde(default)]
    pub long_term_limit: Option<LongTermLimit>,
}

/// The values of one enum field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnumValues {
    /// Such as `enum_string2.DATA`.
    #[serde(rename = "keywordCode")]
    pub keyword_code: String,
    /// What the field may say.
    #[serde(rename = "enumValueList")]
    pub enum_value_list: Vec<String>,
}

/// How often a long-term template may reach one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongTermLimit {
    /// Per day or month, Beijing time.
    pub per: Period,
    /// Messages.
    pub limit: u64,
}

/// A counting period in Beijing time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Midnight to midnight.
    Day,
    /// The first to the first.
    Month,
}

/// Codes that answer every call of a kind; `null` blocks nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Token calls: 40243, 50004, 50007, 89501, 89503, 89506, 89507…
    #[serde(default)]
    pub token: Option<i64>,
    /// `subscribe/send`: 43107, 48001, 48004, 50002, 61007…
    #[serde(default)]
    pub send: Option<i64>,
    /// Template calls: 43106, 200011, 200100…
    #[serde(default)]
    pub templates: Option<i64>,
}

/// A category of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
}

fn yes() -> bool {
    true
}

fn one_time() -> i64 {
    2
}

fn latency_milliseconds() -> u64 {
    5
}

fn sent_event_delay_milliseconds() -> u64 {
    1_000
}

fn long_term_daily_limit() -> u64 {
    5
}

fn daily_quota() -> u64 {
    10_000_000
}

fn token_daily_limit() -> u64 {
    2_000
}

fn template_limit() -> usize {
    25
}

fn sensitive_words() -> Vec<String> {
    ["赌博", "毒品", "色情", "枪支", "代开发票"].map(str::to_owned).to_vec()
}

fn categories() -> Vec<Category> {
    vec![Category { id: 1, name: "商家自营".to_owned() }, Category { id: 2, name: "医疗服务".to_owned() }]
}

impl TemplateConfig {
    /// The keys of `content`, in its order.
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.content.split("{{").skip(1).filter_map(|rest| rest.split_once(".DATA}}").map(|(key, _)| key)).collect()
    }

    /// What an enum field may say; empty when nothing is listed.
    pub(crate) fn values_of(&self, key: &str) -> &[String] {
        self.keyword_enum_value_list
            .iter()
            .find(|values| values.keyword_code.strip_suffix(".DATA").unwrap_or(&values.keyword_code) == key)
            .map_or(&[], |values| values.enum_value_list.as_slice())
    }

    fn check(&self, field: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.pri_tmpl_id.is_empty() {
            errors.push(FieldError::new(format!("{field}.priTmplId"), "field_missing", "must not be empty"));
        }
        let keys = self.keys();
        if keys.is_empty() {
            errors.push(FieldError::new(
                format!("{field}.content"),
                "field_invalid",
                "names no field such as {{thing1.DATA}}",
            ));
        }
        for key in keys.iter().filter(|key| FieldType::of_key(key).is_none()) {
            errors.push(FieldError::new(
                format!("{field}.content"),
                "field_invalid",
                format!("{key} is no field type and number"),
            ));
        }
        errors
    }
}

impl AppConfig {
    /// What an app has before its first `PUT` is stored.
    pub(crate) fn empty() -> Self {
        Self {
            secret: String::new(),
            token: String::new(),
            encoding_aes_key: String::new(),
            callback: None,
            templates: Vec::new(),
            pages: None,
            windows: Vec::new(),
            original_id: None,
            people: Vec::new(),
            accept_unknown_openids: false,
            blacklist: Vec::new(),
            sensitive_words: sensitive_words(),
            strict_fields: true,
            allow_emoji: false,
            latency_milliseconds: latency_milliseconds(),
            long_term_daily_limit: long_term_daily_limit(),
            daily_quota: daily_quota(),
            token_daily_limit: token_daily_limit(),
            template_limit: template_limit(),
            ip_whitelist: None,
            blocked: Blocked::default(),
            sent_events: true,
            sent_event_delay_milliseconds: sent_event_delay_milliseconds(),
            categories: categories(),
        }
    }

    /// Everything that is wrong with it.
    pub(crate) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.secret.is_empty() {
            errors.push(FieldError::new("secret", "field_missing", "must not be empty"));
        }
        if let Some(callback) = &self.callback {
            self.check_callback(callback, &mut errors);
        }
        for (index, template) in self.templates.iter().enumerate() {
            errors.extend(template.check(&format!("templates[{index}]")));
        }
        for (index, window) in self.windows.iter().enumerate() {
            errors.extend(window.check(&format!("windows[{index}]")));
        }
        errors
    }

    fn check_callback(&self, callback: &CallbackConfig, errors: &mut Vec<FieldError>) {
        if !(callback.url.starts_with("http://") || callback.url.starts_with("https://")) {
            errors.push(FieldError::new("callback.url", "field_invalid", "must be an http or https URL"));
        }
        if !(3..=32).contains(&self.token.len()) {
            errors.push(FieldError::new("token", "field_invalid", "must have 3 to 32 characters"));
        }
        if callback.mode != Mode::Plain && AesKey::parse(&self.encoding_aes_key).is_err() {
            errors.push(FieldError::new("encoding_aes_key", "field_invalid", "must be 43 base64 characters"));
        }
    }
}
