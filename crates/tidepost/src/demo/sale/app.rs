//! The account that the campaigns send through, as the platform has it and as Tidepost is told of it.

use serde_json::{Value, json};

use crate::demo::sale::audience::Wanted;
use crate::demo::shop::SECRETS;

/// The app id.
pub const APP_ID: &str = "wxdem0000000000002";
/// The channel's id.
pub const CHANNEL: &str = "app";
/// The template of all three campaigns: who consented once may be sent one of them.
pub const TEMPLATE: &str = "TMPL_NEWS";
/// When it begins: a Sunday evening in Shanghai.
pub const OPENING: &str = "2026-03-22T20:00:10+08:00";
/// When the first window opens, and when the campaigns begin: the next morning, when the night's quiet ends.
pub const FIRST_WINDOW: &str = "2026-03-23T08:00:00+08:00";
/// How many windows there are until the campaigns end.
pub const WINDOWS: i64 = 3;
/// A day's window is counted from the epoch, so that it opens at midnight in London and at eight in Shanghai.
pub const WINDOW_SECONDS: i64 = 86_400;

const PAGE: &str = "pages/sale";
const RULE: &str = "daily";

/// How small the windows are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages in a window.
    pub messages_a_day: usize,
    /// Calls in a second.
    pub calls_a_second: usize,
}

impl Limits {
    /// A quarter of the people in a day, within about four seconds of its beginning.
    #[must_use]
    pub fn for_people(people: usize) -> Self {
        let messages_a_day = (people / 4).max(8);
        Self { messages_a_day, calls_a_second: (messages_a_day / 4).max(2) }
    }
}

/// How many people there are beside so many of the other part.
#[must_use]
pub fn people_beside(people: usize) -> usize {
    (people / 2).max(30)
}

/// The account at the platform. Without callbacks: the other part shows them.
#[must_use]
pub fn at_the_platform(limits: Limits) -> Value {
    let [(_, secret), (_, token), (_, aes_key)] = SECRETS;
    json!({
        "secret": secret, "token": token, "encoding_aes_key": aes_key, "callback": null, "pages": [PAGE],
        "templates": [{"priTmplId": TEMPLATE, "title": "新品上架提醒", "type": 2,
            "content": "商品:{{thing1.DATA}}\n备注:{{thing2.DATA}}"}],
        "windows": [{"id": RULE, "unit": "message", "limit": limits.messages_a_day, "seconds": WINDOW_SECONDS,
            "time_zone": "Asia/Shanghai"}],
    })
}

/// The channel in Tidepost; `folder` holds the secrets' files. One message a day for each person, nothing kept for `basic`
/// messages, of which there are none, and no skew: stack and simulator share a clock.
#[must_use]
pub fn channel(folder: &std::path::Path, limits: Limits) -> Value {
    json!({
        "platform": "wechat_mini", "app_id": APP_ID,
        "secret_ref": format!("file:{}", folder.join(SECRETS[0].0).display()),
        "rate_limit_per_second": limits.calls_a_second, "skew_milliseconds": 0,
        "quota_rules": [{"id": RULE, "unit": "message", "limit": limits.messages_a_day,
            "window": {"seconds": WINDOW_SECONDS}, "basic_share": 0.0}],
        "policy": {"caps": [{"scope": "subscriber", "per": "day", "limit": 1}]},
    })
}

/// The template in Tidepost.
#[must_use]
pub fn template() -> Value {
    json!({"title": "新品上架提醒", "category": "reminder", "topic": "news",
        "fields": [{"key": "thing1"}, {"key": "thing2"}]})
}

/// What `POST /v1/campaigns` is asked for. The page names the campaign, so that the simulator's truth does.
#[must_use]
pub fn campaign(wanted: &Wanted, until: jiff::Timestamp) -> Value {
    json!({
        "channel": CHANNEL, "name": wanted.name, "template": TEMPLATE,
        "data": {"thing1": wanted.name, "thing2": "点击查看"}, "page": format!("{PAGE}?src={{{{campaign}}}}"),
        "business_line": wanted.business_line, "priority": wanted.priority, "value": wanted.value,
        "segment": format!("tag('{}')", wanted.tag), "from": FIRST_WINDOW, "until": until,
    })
}

/// The campaign that a page names.
#[must_use]
pub fn source(page: &str) -> &str {
    page.rsplit_once("src=").map_or("", |(_, campaign)| campaign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_campaign() {
        assert_eq!(source("pages/sale?src=c_1"), "c_1");
        assert_eq!(source("pages/sale"), "");
    }

    #[test]
    fn windows_open_when_the_night_ends() {
        let opens: jiff::Timestamp = FIRST_WINDOW.parse().unwrap();
        assert_eq!(opens.as_second().rem_euclid(WINDOW_SECONDS), 0);
    }
}
