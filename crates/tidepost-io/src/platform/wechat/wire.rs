//! The JSON of WeChat's requests and of its list of templates (platforms.md A1, A5, A7, A8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidepost_core::template::TemplateKind;

use super::client::{Send, WechatField, WechatTemplate};

/// The body of `stable_token` (A7).
#[derive(Serialize)]
pub(super) struct TokenRequest<'a> {
    pub(super) grant_type: &'a str,
    pub(super) appid: &'a str,
    pub(super) secret: &'a str,
    pub(super) force_refresh: bool,
}

/// The body of `openapi/quota/get` (A8).
#[derive(Serialize)]
pub(super) struct QuotaRequest<'a> {
    pub(super) cgi_path: &'a str,
}

/// The body of subscribe/send (A1).
///
/// `miniprogram_state` and `lang` have defaults, but the official table calls them required (A1): they are sent.
#[derive(Serialize)]
pub(super) struct SendRequest<'a> {
    touser: &'a str,
    template_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
    miniprogram_state: &'a str,
    lang: &'a str,
    data: BTreeMap<&'a str, FieldValue<'a>>,
}

#[derive(Serialize)]
pub(super) struct FieldValue<'a> {
    value: &'a str,
}

impl<'a> From<&Send<'a>> for SendRequest<'a> {
    fn from(send: &Send<'a>) -> Self {
        let field = |(key, value): (&'a String, &'a String)| (key.as_str(), FieldValue { value });
        Self {
            touser: send.openid,
            template_id: send.template,
            page: send.page,
            miniprogram_state: "formal",
            lang: "zh_CN",
            data: send.data.iter().map(field).collect(),
        }
    }
}

/// A template as `gettemplate` lists it (A5).
#[derive(Deserialize)]
pub(super) struct ListedTemplate {
    #[serde(rename = "priTmplId")]
    id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    content: String,
    #[serde(rename = "type")]
    kind: i64,
    #[serde(default, rename = "keywordEnumValueList")]
    enums: Option<Vec<ListedEnum>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedEnum {
    keyword_code: String,
    #[serde(default)]
    enum_value_list: Vec<String>,
}

impl ListedTemplate {
    /// The template, if subscribe/send serves its kind.
    pub(super) fn template(self) -> Option<WechatTemplate> {
        // `type`: 2 is one-time, 3 long-term (A5).
        let kind = match self.kind {
            2 => TemplateKind::OneTime,
            3 => TemplateKind::LongTerm,
            _ => return None,
        };
        let enums = self.enums.unwrap_or_default();
        let values =
            |key: &str| enums.iter().find(|listed| listed.is_for(key)).map(|listed| listed.enum_value_list.clone());
        let field = |key: &str| WechatField { key: key.to_owned(), values: values(key).unwrap_or_default() };
        let fields = field_keys(&self.content).into_iter().map(field).collect();
        Some(WechatTemplate { id: self.id, title: self.title, kind, fields })
    }
}

impl ListedEnum {
    /// `keywordCode` looks like `enum_string2.DATA` (A5).
    fn is_for(&self, key: &str) -> bool {
        self.keyword_code.trim_end_matches(".DATA") == key
    }
}

/// The keys of `日期:{{date2.DATA}}` in their order, each once (A5).
fn field_keys(content: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    for part in content.split("{{").skip(1) {
        let key = part.split_once(".DATA}}").map(|(key, _)| key);
        let is_word = |key: &&str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        keys.extend(key.filter(is_word).filter(|key| !keys.contains(key)));
    }
    keys
}
