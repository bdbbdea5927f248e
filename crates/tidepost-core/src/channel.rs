//! One platform account that Tidepost sends through, and the rules of its owner.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::brake::Thresholds;
use crate::ids::check_id;
use crate::invalid::Invalid;
use crate::quota::{WindowState, WindowView};
use crate::time::{Calendar, DailyHours, Period, calendar_period, fixed_period, is_zone, zone};

/// The platforms whose mini-programs Tidepost serves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// A WeChat mini-program.
    WechatMini,
    /// A WeChat official account.
    WechatOa,
    /// An Alipay mini-program.
    Alipay,
    /// A Douyin mini-program.
    Douyin,
}

impl Platform {
    /// How many broadcasts a day an account may make: what is known from the field (DESIGN, 'Defaults from the field'); no
    /// official source states a number (platforms.md F).
    #[must_use]
    pub fn broadcasts_a_day(self) -> Option<u32> {
        match self {
            Self::WechatMini | Self::WechatOa => Some(5),
            Self::Douyin => Some(3),
            Self::Alipay => None,
        }
    }

    /// Who gives out the union ids of this platform: one id names one person on all its channels.
    #[must_use]
    pub fn union_scope(self) -> &'static str {
        match self {
            Self::WechatMini | Self::WechatOa => "wechat",
            Self::Alipay => "alipay",
            Self::Douyin => "douyin",
        }
    }
}

/// A channel as its owner defines it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Channel {
    /// Which platform.
    pub platform: Platform,
    /// The platform's id of the account.
    pub app_id: String,
    /// Where the app secret is: `env:NAME`, `file:PATH`, `secretsmanager:ARN` or `ssm:NAME`.
    pub secret_ref: String,
    /// How the platform's callbacks are protected; without it callbacks are refused.
    #[serde(default)]
    pub callback: Option<Callback>,
    /// IANA zone of calendar windows, and of people whose own zone is not known.
    #[serde(default = "default_zone")]
    pub time_zone: String,
    /// How long a one-time grant lasts, in seconds; `null`: for ever, as WeChat's documents have it (platforms.md A4).
    #[serde(default)]
    pub grant_expiry_seconds: Option<u32>,
    /// Calls per second at the most.
    #[serde(default = "default_rate")]
    pub rate_limit_per_second: u32,
    /// How far apart the clocks of functions and platform may be, in milliseconds.
    #[serde(default = "default_skew")]
    pub skew_milliseconds: u32,
    /// How long a call may take before its outcome is unknown, in milliseconds.
    #[serde(default = "default_timeout")]
    pub call_timeout_milliseconds: u32,
    /// What the platform allows per window.
    #[serde(default)]
    pub quota_rules: Vec<QuotaRule>,
    /// What people are protected by.
    #[serde(default)]
    pub policy: Policy,
    /// When all its campaigns are paused.
    #[serde(default = "Thresholds::of_channel", deserialize_with = "Thresholds::read_of_channel")]
    pub brake: Thresholds,
}

fn default_zone() -> String {
    "Asia/Shanghai".to_owned()
}

/// Our choice: no platform publishes a per-second limit of subscription messages (platforms.md F).
fn default_rate() -> u32 {
    50
}

fn default_skew() -> u32 {
    2_000
}

fn default_timeout() -> u32 {
    3_000
}

/// Protection of a platform's callbacks (platforms.md B).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Callback {
    /// What the platform's page is set to.
    pub mode: CallbackMode,
    /// Reference to the token that signs.
    pub token_ref: String,
    /// Reference to the key that encrypts; needed unless the mode is `plain`.
    #[serde(default)]
    pub encoding_aes_key_ref: Option<String>,
    /// Refuse callbacks older than this; `null`: never, since a retry may keep its first timestamp (platforms.md B2).
    #[serde(default)]
    pub max_age_seconds: Option<u32>,
}

/// How callbacks are sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackMode {
    /// In the clear, signed without the body.
    Plain,
    /// In the clear and encrypted; only the encrypted part counts.
    #[serde(alias = "compatible")]
    Compat,
    /// Encrypted.
    Safe,
}

/// At most `limit` units per window.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct QuotaRule {
    /// The owner's name for it.
    pub id: String,
    /// What is counted.
    pub unit: Unit,
    /// How many fit into a window.
    pub limit: u32,
    /// The windows.
    pub window: Window,
    /// The part of each window that only `basic` messages may use; applies to windows of ten minutes or longer.
    #[serde(default = "default_basic_share")]
    pub basic_share: f64,
}

fn default_basic_share() -> f64 {
    0.05
}

/// Windows shorter than this are rates, in seconds: their edges are not watched, and calls are spread over them.
const WINDOW_MIN_SECONDS: u32 = 60;

impl QuotaRule {
    /// Time between two units, where the windows are so short that they are a rate.
    #[must_use]
    pub fn spacing_microseconds(&self) -> Option<i64> {
        match self.window {
            Window::Seconds(seconds) if seconds < WINDOW_MIN_SECONDS => {
                let limit = i64::from(self.limit.max(1));
                Some((i64::from(seconds) * 1_000_000 + limit - 1) / limit)
            }
            Window::Seconds(_) | Window::Calendar(_) => None,
        }
    }

    /// Whether its windows are so short that they are a rate.
    #[must_use]
    pub fn is_rate(&self) -> bool {
        self.spacing_microseconds().is_some()
    }
}

/// What a quota rule counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Every call that may have reached the platform.
    Call,
    /// Every message asked for.
    Message,
    /// One per campaign and day.
    Broadcast,
}

/// The windows of a quota rule.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A calendar unit in the channel's zone.
    Calendar(Calendar),
    /// A fixed length in seconds, counted from the epoch.
    Seconds(u32),
}

impl Window {
    /// The window around `now`.
    #[must_use]
    pub fn around(&self, zone: &TimeZone, now: Timestamp) -> Period {
        match self {
            Self::Calendar(calendar) => calendar_period(*calendar, zone, now),
            Self::Seconds(seconds) => fixed_period(*seconds, now),
        }
    }
}

/// How people are protected on a channel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Policy {
    /// When people are left alone, in their own zone; `null` switches it off.
    #[serde(default = "default_quiet_hours")]
    pub quiet_hours: Option<DailyHours>,
    /// Least time between two sends to one person.
    #[serde(default)]
    pub minimum_gap_seconds: u32,
    /// How many sends one person gets.
    #[serde(default = "default_caps")]
    pub caps: Vec<Cap>,
    /// What an urgent `basic` message does not wait for.
    #[serde(default = "default_basic_ignores")]
    pub basic_ignores: BTreeSet<Respect>,
    /// How business lines share what cannot hold all of them, whatever their priorities; 1 for a line that is not named.
    /// Without any, lines share alike where their priorities are equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub business_line_weights: BTreeMap<String, f64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            quiet_hours: default_quiet_hours(),
            minimum_gap_seconds: 0,
            caps: default_caps(),
            basic_ignores: default_basic_ignores(),
            business_line_weights: BTreeMap::new(),
        }
    }
}

/// 22:00 to 08:00: our choice, no source states one (DESIGN, 'Defaults from the field').
#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn default_quiet_hours() -> Option<DailyHours> {
    Some(DailyHours { from: jiff::civil::time(22, 0, 0, 0), to: jiff::civil::time(8, 0, 0, 0) })
}

/// Five a day per person: our choice.
fn default_caps() -> Vec<Cap> {
    vec![Cap { scope: CapScope::Subscriber, per: CapPeriod::Day, limit: 5 }]
}

fn default_basic_ignores() -> BTreeSet<Respect> {
    BTreeSet::from([Respect::QuietHours, Respect::Caps, Respect::MinimumGap])
}

/// A rule that a policy may let urgent `basic` messages ignore.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Respect {
    /// [`Policy::caps`].
    Caps,
    /// [`Policy::minimum_gap_seconds`].
    MinimumGap,
    /// [`Policy::quiet_hours`].
    QuietHours,
}

/// At most `limit` sends to one person per period.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cap {
    /// What is counted together.
    pub scope: CapScope,
    /// The period, in the person's zone.
    pub per: CapPeriod,
    /// How many.
    pub limit: u16,
}

/// What a cap counts together, always for one person over all channels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapScope {
    /// Everything the person gets.
    Subscriber,
    /// What the person gets on one topic.
    Topic,
    /// What the person gets from one business line.
    BusinessLine,
}

/// The period of a cap.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapPeriod {
    /// A local day.
    Day,
    /// A local week, from Monday.
    Week,
}

impl CapPeriod {
    /// The calendar unit.
    #[must_use]
    pub fn calendar(self) -> Calendar {
        match self {
            Self::Day => Calendar::Day,
            Self::Week => Calendar::Week,
        }
    }
}

/// Weights of business lines: far enough apart for anybody, near enough for exact shares.
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.001..=1_000.0;

/// The name of the rule that a platform's broadcasts have unless the owner counts them otherwise.
const BROADCASTS: &str = "broadcasts";

/// Rules that an owner may give: open leases plus windows must fit one item.
const QUOTA_RULES_MAX: usize = 8;

impl Channel {
    /// The rule of broadcasts that holds for the channel because of its platform; `None` where its owner counts them, or
    /// the platform states nothing.
    #[must_use]
    pub fn default_rule(&self) -> Option<QuotaRule> {
        let counts_broadcasts = self.quota_rules.iter().any(|rule| rule.unit == Unit::Broadcast);
        let limit = self.platform.broadcasts_a_day().filter(|_| !counts_broadcasts)?;
        Some(QuotaRule {
            id: BROADCASTS.to_owned(),
            unit: Unit::Broadcast,
            limit,
            window: Window::Calendar(Calendar::Day),
            basic_share: 0.0,
        })
    }

    /// The channel with that rule: what decisions go by.
    #[must_use]
    pub fn with_default_rule(mut self) -> Self {
        let rule = self.default_rule();
        self.quota_rules.extend(rule);
        self
    }

    /// The channel's zone.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        zone(&self.time_zone)
    }

    /// How long before an edge a call may still be counted on the other side: its time-out plus the skew.
    #[must_use]
    pub fn closing_band_milliseconds(&self) -> i64 {
        i64::from(self.call_timeout_milliseconds) + i64::from(self.skew_milliseconds)
    }

    /// All that is wrong with the definition.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = self.validate_account();
        wrong.extend(self.validate_pace());
        wrong.extend(self.brake.validate());
        for (index, rule) in self.quota_rules.iter().enumerate() {
            wrong.extend(rule.validate(&format!("quota_rules[{index}]")));
            if self.quota_rules.iter().take(index).any(|earlier| earlier.id == rule.id) {
                let field = format!("quota_rules[{index}].id");
                wrong.push(Invalid::new(field, "duplicate", "another rule has this id"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn validate_account(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if self.app_id.trim().is_empty() {
            wrong.push(Invalid::new("app_id", "field_empty", "the platform's id of the account is needed"));
        }
        let is_plain = |callback: &Callback| callback.mode == CallbackMode::Plain;
        let callback = self.callback.as_ref();
        let refs = [
            ("secret_ref", is_secret_ref(&self.secret_ref)),
            ("callback.token_ref", callback.is_none_or(|callback| is_secret_ref(&callback.token_ref))),
            (
                "callback.encoding_aes_key_ref",
                callback.is_none_or(|callback| {
                    callback.encoding_aes_key_ref.as_deref().map_or(is_plain(callback), is_secret_ref)
                }),
            ),
        ];
        let broken = refs.into_iter().filter(|(_, holds)| !holds);
        wrong.extend(broken.map(|(field, _)| Invalid::new(field, "secret_ref_malformed", SECRET_REF_FORM)));
        if !is_zone(&self.time_zone) {
            let message = "must be an IANA zone such as Asia/Shanghai";
            wrong.push(Invalid::new("time_zone", "time_zone_unknown", message));
        }
        wrong
    }

    fn validate_pace(&self) -> Vec<Invalid> {
        let has_quiet_time = self.policy.quiet_hours.is_none_or(|DailyHours { from, to }| from != to);
        let ranges = [
            ("rate_limit_per_second", self.rate_limit_per_second >= 1, "must be at least 1"),
            ("skew_milliseconds", self.skew_milliseconds <= 10_000, "must be at most 10000"),
            (
                "call_timeout_milliseconds",
                (100..=10_000).contains(&self.call_timeout_milliseconds),
                "must be 100 to 10000",
            ),
            ("quota_rules", self.quota_rules.len() <= QUOTA_RULES_MAX, "at most 8 rules"),
            ("policy.quiet_hours", has_quiet_time, "from and to are equal; use null for none"),
        ];
        let broken = ranges.into_iter().filter(|(_, holds, _)| !holds);
        let mut wrong: Vec<Invalid> =
            broken.map(|(field, _, message)| Invalid::new(field, "out_of_range", message)).collect();
        for (line, weight) in &self.policy.business_line_weights {
            let at = format!("policy.business_line_weights.{line}");
            wrong.extend(check_id(&at, line).err());
            if !WEIGHTS.contains(weight) {
                wrong.push(Invalid::new(at, "out_of_range", "must be 0.001 to 1000"));
            }
        }
        wrong
    }
}

impl QuotaRule {
    fn validate(&self, at: &str) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        wrong.extend(check_id(&format!("{at}.id"), &self.id).err());
        if self.id == crate::quota::PLATFORM {
            let message = "this name is kept for windows that the platform closes and no rule describes";
            wrong.push(Invalid::new(format!("{at}.id"), "id_reserved", message));
        }
        if self.id == BROADCASTS && self.unit != Unit::Broadcast {
            let message = "this name is kept for a rule that counts broadcasts";
            wrong.push(Invalid::new(format!("{at}.id"), "id_reserved", message));
        }
        if !(0.0..=1.0).contains(&self.basic_share) {
            wrong.push(Invalid::new(format!("{at}.basic_share"), "out_of_range", "must be 0 to 1"));
        }
        if matches!(self.window, Window::Seconds(0)) {
            wrong.push(Invalid::new(format!("{at}.window.seconds"), "out_of_range", "must be at least 1"));
        }
        wrong
    }
}

/// What a secret reference looks like.
pub const SECRET_REF_FORM: &str = "must be env:NAME, file:PATH, secretsmanager:ARN or ssm:NAME";

fn is_secret_ref(text: &str) -> bool {
    text.split_once(':').is_some_and(|(store, name)| {
        matches!(store, "env" | "file" | "secretsmanager" | "ssm") && !name.trim().is_empty()
    })
}

/// How a channel is doing, as the platform's answers tell. What is stored of it is the last ban.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Health {
    /// The state in a word.
    pub state: HealthState,
    /// When the state is looked at again.
    pub until: Option<Timestamp>,
    /// What led to it, for a person.
    pub reasons: Vec<String>,
}

/// A channel's state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing is known against it.
    #[default]
    Ok,
    /// It works, with trouble.
    Degraded,
    /// The platform refuses to send for it.
    Banned,
}

impl Health {
    /// Whether the platform refuses to send at `now`.
    #[must_use]
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.state == HealthState::Banned && self.until.is_none_or(|until| now < until)
    }

    /// This note after the platform refuses to send until `until`; `None` when it is known to refuse as long.
    #[must_use]
    pub fn banned(&self, until: Timestamp, reason: String) -> Option<Self> {
        let is_known = self.state == HealthState::Banned && self.until.is_none_or(|known| until <= known);
        (!is_known).then(|| Self { state: HealthState::Banned, until: Some(until), reasons: vec![reason] })
    }

    /// The state at `now`, as this note, the channel's windows and what is wrong with its token tell.
    #[must_use]
    pub fn shown(&self, windows: &[WindowView], no_token: Option<&str>, now: Timestamp) -> Self {
        if self.is_banned(now) {
            return self.clone();
        }
        let closed: Vec<&WindowView> =
            windows.iter().filter(|window| window.state == WindowState::ClosedByPlatform).collect();
        let close = |window: &&WindowView| {
            format!("the platform says that the quota of {} is used up, until {}", window.rule, window.closes_at)
        };
        let mut reasons: Vec<String> = closed.iter().map(close).collect();
        reasons.extend(no_token.map(|why| format!("no access token can be had: {why}")));
        if reasons.is_empty() {
            return Self::default();
        }
        // Nobody knows when a token can be had again.
        let until = closed.iter().map(|window| window.closes_at).max().filter(|_| no_token.is_none());
        Self { state: HealthState::Degraded, until, reasons }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The channel of the contract's example.
    pub(crate) fn shop() -> Channel {
        serde_json::from_str(
            r#"{"platform":"wechat_mini","app_id":"wx0123456789abcdef","secret_ref":"env:WX_SECRET",
            "callback":{"mode":"safe","token_ref":"env:WX_TOKEN","encoding_aes_key_ref":"env:WX_AES_KEY","max_age_seconds":null},
            "time_zone":"Asia/Shanghai","grant_expiry_seconds":null,"rate_limit_per_second":50,"skew_milliseconds":2000,
            "call_timeout_milliseconds":3000,
            "quota_rules":[{"id":"daily","unit":"message","limit":5000,"window":{"calendar":"day"},"basic_share":0.05},
                           {"id":"minute","unit":"call","limit":600,"window":{"seconds":60}}],
            "policy":{"quiet_hours":{"from":"22:00","to":"08:00"},"minimum_gap_seconds":0,
                      "caps":[{"scope":"subscriber","per":"day","limit":5},{"scope":"topic","per":"week","limit":3}],
                      "basic_ignores":["quiet_hours","caps","minimum_gap"]}}"#,
        )
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_contracts_channel_is_valid() {
        assert_eq!(shop().validate(), Ok(()));
    }

    #[test]
    fn every_broken_field_is_named() {
        let mut channel = shop();
        channel.app_id.clear();
        channel.secret_ref = "hunter2".into();
        channel.time_zone = "Mars/Olympus".into();
        channel.quota_rules[1].id = "daily".into();
        channel.quota_rules[0].basic_share = 2.0;
        channel.policy.business_line_weights.insert("retail".into(), 0.0);
        channel.brake.error_rate = 1.5;
        let wrong: Vec<String> = channel.validate().unwrap_err().into_iter().map(|invalid| invalid.field).collect();
        let weight = "policy.business_line_weights.retail";
        assert_eq!(
            wrong,
            [
                "app_id",
                "secret_ref",
                "time_zone",
                weight,
                "brake.error_rate",
                "quota_rules[0].basic_share",
                "quota_rules[1].id"
            ]
        );
    }

    #[test]
    fn health_is_what_holds_now() {
        let (now, channel) = (at("2026-11-21T10:00:30Z"), shop());
        let open = crate::quota::Quota::default();
        let closed = open.exhausted(&channel, crate::reply::QuotaPeriod::Day, now).views(&channel, now);
        let ban = Health { state: HealthState::Banned, until: Some(now), reasons: vec!["48001".to_owned()] };
        assert_eq!(ban.shown(&closed, Some("no"), at("2026-11-21T10:00:29Z")), ban, "a ban is worse than all else");
        assert_eq!(ban.shown(&open.views(&channel, now), None, now), Health::default(), "it is over");
        let shown = ban.shown(&closed, None, now);
        assert_eq!((shown.state, shown.until), (HealthState::Degraded, Some(at("2026-11-21T16:00:00Z"))));
        assert!(shown.reasons.len() == 1 && shown.reasons[0].contains("daily"), "{shown:?}");
        let shown = ban.shown(&closed, Some("40125 invalid appsecret"), now);
        assert_eq!((shown.state, shown.until, shown.reasons.len()), (HealthState::Degraded, None, 2));
        assert!(shown.reasons[1].contains("40125"), "{shown:?}");
    }

    #[test]
    fn a_ban_is_never_shortened() {
        let (soon, later) = (at("2026-11-21T11:00:00Z"), at("2026-11-22T10:00:00Z"));
        let punished = Health::default().banned(later, "for a day".to_owned()).unwrap();
        assert_eq!((punished.state, punished.until), (HealthState::Banned, Some(later)));
        assert_eq!(punished.banned(soon, "48001".to_owned()), None);
        assert_eq!(punished.banned(later, "the same again".to_owned()), None);
        let short = Health::default().banned(soon, "48001".to_owned()).unwrap();
        assert_eq!(short.banned(later, "for a day".to_owned()), Some(punished));
    }

    #[test]
    fn a_platforms_broadcasts_are_counted_unless_the_owner_counts_them() {
        let of = |platform, rules: &[QuotaRule]| {
            let channel = Channel { platform, quota_rules: rules.to_vec(), ..shop() }.with_default_rule();
            assert_eq!(channel.clone().with_default_rule(), channel);
            let broadcasts = channel.quota_rules.iter().filter(|rule| rule.unit == Unit::Broadcast);
            broadcasts.map(|rule| (rule.limit, rule.window)).collect::<Vec<_>>()
        };
        let day = Window::Calendar(Calendar::Day);
        let calls = shop().quota_rules;
        assert_eq!(
            [Platform::WechatMini, Platform::WechatOa].map(|of_wechat| of(of_wechat, &calls)),
            [[(5, day)], [(5, day)]]
        );
        assert_eq!(of(Platform::Douyin, &[]), [(3, day)]);
        assert_eq!(of(Platform::Alipay, &calls), []);
        let week = Window::Calendar(Calendar::Week);
        let own = QuotaRule { id: "own".into(), unit: Unit::Broadcast, limit: 9, window: week, basic_share: 0.0 };
        assert_eq!(of(Platform::Douyin, &[own]), [(9, week)]);
    }

    #[test]
    fn what_a_channel_says_of_its_brake_leaves_the_rest_as_usual() {
        let mut text = serde_json::to_value(shop()).unwrap();
        text["brake"] = serde_json::json!({"error_rate": 0.1});
        let channel: Channel = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(channel.brake, Thresholds { error_rate: 0.1, ..Thresholds::of_channel() });
        text["brake"] = serde_json::json!({"errors": 1});
        let of_newer: Channel = serde_json::from_value(text).unwrap();
        assert_eq!(of_newer.brake, Thresholds::of_channel(), "what only a newer version knows is passed over");
    }

    #[test]
    fn a_rule_does_not_take_a_name_that_is_kept() {
        let mut channel = shop();
        for id in ["platform", "broadcasts"] {
            channel.quota_rules[0].id = id.to_owned();
            assert_eq!(channel.validate().unwrap_err()[0].code, "id_reserved");
        }
        channel.quota_rules[0].unit = Unit::Broadcast;
        assert_eq!(channel.validate(), Ok(()));
    }

    #[test]
    fn the_platforms_rule_is_none_of_the_owners_eight() {
        let mut channel = shop();
        let rule = |number: u32| QuotaRule { id: format!("rule{number}"), ..shop().quota_rules[0].clone() };
        channel.quota_rules = (0..8).map(rule).collect();
        assert_eq!(channel.validate(), Ok(()));
        assert_eq!(channel.with_default_rule().quota_rules.len(), 9);
    }
}
