//! An account at the platform, its channel in Tidepost, and people who agree to be told about their orders.

use std::path::Path;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidepost::stack::host::functions::HttpFunction;
use tidepost_io::app::App;

use crate::Result;
use crate::place::Place;

/// The channel's id.
pub const CHANNEL: &str = "shop";
/// The platform's id of the account.
pub const APP_ID: &str = "wxbench00000000001";
/// Where a tap leads.
pub const PAGE: &str = "pages/order/detail";
/// The fields of every template.
pub const FIELDS: [&str; 2] = ["character_string1", "thing2"];
/// What was ordered.
pub const GOODS: &str = "手冲咖啡两杯";

const TEMPLATES: usize = 5;
/// Items of one call of the API.
const BATCH: usize = 500;
/// Calls at once while things are set up.
const CONCURRENCY: usize = 32;

const SECRETS: [(&str, &str); 3] = [
    ("secret", "0123456789abcdef0123456789abcdef"),
    ("token", "benchmarks2026"),
    ("aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
];

/// What the platform signs its events with.
pub fn token() -> &'static str {
    let [_, (_, token), _] = SECRETS;
    token
}

/// As long as WeChat's own.
pub fn template(number: usize) -> String {
    format!("Ck3TWYgxvkKiGfHtG2wpsq1_3d7vQbrDdbUYfPmCE0{}", number % TEMPLATES)
}

/// As long as WeChat's own.
pub fn openid(number: usize) -> String {
    format!("o6_bmjrPTlm6_2sgVt7hMZ{number:06}")
}

/// A shop that is open.
pub struct Shop<'a> {
    /// Where it is.
    pub place: &'a Place,
    /// How many people it has.
    pub people: usize,
    secrets: TempDir,
}

impl<'a> Shop<'a> {
    /// Sets up both sides: a channel with so many quota rules, so wide that nothing waits; events are sent to `callbacks`
    /// where that is given.
    ///
    /// # Errors
    /// When one of the sides refuses.
    pub async fn open(place: &'a Place, rules: usize, people: usize, callbacks: Option<&str>) -> Result<Self> {
        let wide = json!([{"id": "month", "unit": "message", "limit": 1_000_000_000, "calendar": "month"}]);
        Self::set_up(place, people, account(callbacks, &wide), &wide_channel(rules)).await
    }

    /// Sets up both sides with the same one window, of so many calls in a minute.
    ///
    /// # Errors
    /// When one of the sides refuses.
    pub async fn open_narrow(place: &'a Place, people: usize, narrow: Narrow) -> Result<Self> {
        let Narrow { limit, rate_per_second, skew_milliseconds } = narrow;
        // What comes too much is counted and not refused: an overshoot shows whatever became of the call.
        let window = json!([{"id": "minute", "unit": "call", "limit": limit, "seconds": 60, "enforce": false}]);
        let channel = json!({
            "rate_limit_per_second": rate_per_second, "skew_milliseconds": skew_milliseconds,
            "quota_rules": [{"id": "minute", "unit": "call", "limit": limit, "window": {"seconds": 60}}],
        });
        Self::set_up(place, people, account(None, &window), &channel).await
    }

    async fn set_up(place: &'a Place, people: usize, account: Value, changes: &Value) -> Result<Self> {
        let secrets = tempfile::tempdir()?;
        for (name, secret) in SECRETS {
            std::fs::write(secrets.path().join(name), secret)?;
        }
        place.simulator(Method::PUT, &format!("apps/{APP_ID}"), &account).await?;
        let path = format!("/v1/channels/{CHANNEL}");
        let channel = channel(secrets.path(), changes);
        place.api(HttpFunction::Admin, "PUT", &path, &[], &channel).await?;
        for number in 0..TEMPLATES {
            let fields: Vec<Value> = FIELDS.iter().map(|key| json!({"key": key})).collect();
            let body = json!({"title": "订单通知", "category": "reminder", "topic": "orders", "fields": fields});
            place
                .api(HttpFunction::Admin, "PUT", &format!("{path}/templates/{}", template(number)), &[], &body)
                .await?;
        }
        Ok(Self { place, people, secrets })
    }

    /// Closes it; its secrets stay as long as their folder.
    pub fn into_secrets(self) -> TempDir {
        self.secrets
    }

    /// The functions' own view of the place.
    pub fn app(&self) -> &App {
        &self.place.app
    }

    /// Tells Tidepost what a shop knows of its people: ten attributes, a time zone, a union id.
    ///
    /// # Errors
    /// When somebody is refused.
    pub async fn describe(&self) -> Result<()> {
        let person = |number: usize| {
            json!({"openid": openid(number), "union_id": format!("o6_bmasdasdsad6_2sgVt7{number:07}"),
                "time_zone": "Asia/Shanghai",
                "attributes": {"name": "王小明", "city": "杭州", "level": "gold", "birthday": "0513", "store": "西湖店",
                    "size": "L", "source": "menu", "pet": "cat", "coffee": "手冲", "last_sku": "B-20931"}})
        };
        let people: Vec<Value> = (0..self.people).map(person).collect();
        for people in people.chunks(BATCH) {
            let (path, body) = (format!("/v1/channels/{CHANNEL}/subscribers"), json!({"subscribers": people}));
            let answer = self.place.api(HttpFunction::Admin, "POST", &path, &[], &body).await?;
            expect_each(&answer, &["created", "updated"])?;
        }
        Ok(())
    }

    /// Everybody accepts one more message of template `number`: the platform notes it `times` times, the backend reports it
    /// to Tidepost once. `name` tells this round from others.
    ///
    /// # Errors
    /// When a consent is not taken.
    pub async fn consent(&self, number: usize, times: usize, name: &str) -> Result<()> {
        let path = format!("apps/{APP_ID}/subscribe");
        let accept = |person: usize| {
            let body = json!({"openid": openid(person), "results": {template(number): "accept"}, "push": false});
            let path = &path;
            async move { self.place.simulator(Method::POST, path, &body).await.map(drop) }
        };
        let everybody = (0..times).flat_map(|_| 0..self.people).map(accept);
        stream::iter(everybody).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
        let everybody: Vec<usize> = (0..self.people).collect();
        for people in everybody.chunks(BATCH) {
            self.report(people, number, name).await?;
        }
        Ok(())
    }

    /// One call of the webhook: these people accepted.
    ///
    /// # Errors
    /// When a consent is not taken.
    pub async fn report(&self, people: &[usize], number: usize, name: &str) -> Result<()> {
        let report = |person: &usize| {
            json!({"event_id": format!("{name}-{person}"), "openid": openid(*person), "template": template(number),
                "result": "accept"})
        };
        let body = json!({"grants": people.iter().map(report).collect::<Vec<_>>()});
        let path = format!("/v1/channels/{CHANNEL}/grants");
        let answer = self.place.api(HttpFunction::Callback, "POST", &path, &[], &body).await?;
        expect_each(&answer, &["granted"])
    }

    /// One message to everybody, worthless after `worth`: so many invocations of enqueue.
    ///
    /// # Errors
    /// When a message is not queued at once.
    pub async fn enqueue(&self, number: usize, name: &str, worth: SignedDuration) -> Result<()> {
        let deadline = self.place.now().checked_add(worth)?;
        let ask = |person: usize| async move {
            let key = format!("{name}-{person:06}");
            let [order, goods] = FIELDS;
            let body = json!({"channel": CHANNEL, "openid": openid(person), "template": template(number),
                "data": {order: key, goods: GOODS}, "page": format!("{PAGE}?id={key}"),
                "deadline": deadline});
            let headers = [("idempotency-key", key.as_str())];
            let answer = self.place.api(HttpFunction::Enqueue, "POST", "/v1/messages", &headers, &body).await?;
            match answer.get("status").and_then(Value::as_str) {
                Some("queued") => Ok(()),
                _ => Err(format!("a message is not queued: {answer}").into()),
            }
        };
        stream::iter((0..self.people).map(ask)).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Starts a campaign for everybody who consented to template 0; returns its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn campaign(&self, until: Timestamp) -> Result<String> {
        let [order, goods] = FIELDS;
        // Nothing that happens may stop it: what is measured is what it reaches.
        let brake = json!({"error_rate": 1.0, "refusal_rate": 1.0, "complaints": 2});
        let body = json!({"channel": CHANNEL, "name": "Spring", "template": template(0), "topic": "sales",
            "data": {order: "S1", goods: GOODS}, "page": PAGE, "until": until, "brake": brake,
            "segment": format!("grant('{}')", template(0))});
        let made = self.place.api(HttpFunction::Enqueue, "POST", "/v1/campaigns", &[], &body).await?;
        let id = made.get("id").and_then(Value::as_str).ok_or("a campaign without an id")?.to_owned();
        let start = format!("/v1/campaigns/{id}/start");
        self.place.api(HttpFunction::Enqueue, "POST", &start, &[], &json!({})).await?;
        Ok(id)
    }

    /// How many people a campaign has come to an end with, by outcome.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn campaign_count(&self, campaign: &str, outcome: &str) -> Result<u64> {
        let path = format!("/v1/campaigns/{campaign}");
        let shown = self.place.api(HttpFunction::Enqueue, "GET", &path, &[], &json!({})).await?;
        Ok(shown.pointer(&format!("/counts/{outcome}")).and_then(Value::as_u64).unwrap_or(0))
    }

    /// Everything of one of the platform's lists about the account.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn truth(&self, list: &str) -> Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("apps/{APP_ID}/{list}?limit=1000{cursor}");
            let page = self.place.simulator(Method::GET, &path, &json!({})).await?;
            all.extend(page.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// How many messages the platform has accepted so far, by its own count.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn accepted(&self) -> Result<u64> {
        self.place.accepted(APP_ID).await
    }
}

/// The window of both sides.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// Calls in a minute.
    pub limit: usize,
    /// Calls in a second.
    pub rate_per_second: usize,
    /// How far apart clocks may be.
    pub skew_milliseconds: u32,
}

/// The account at the platform.
fn account(callbacks: Option<&str>, windows: &Value) -> Value {
    let [(_, secret), (_, token), (_, aes_key)] = SECRETS;
    let content = FIELDS.map(|field| format!("内容:{{{{{field}.DATA}}}}")).join("\n");
    let template = |number| json!({"priTmplId": template(number), "title": "订单通知", "content": content, "type": 2});
    json!({
        "secret": secret, "token": token, "encoding_aes_key": aes_key, "pages": [PAGE],
        "callback": callbacks.map(|url| json!({"url": url, "mode": "safe", "format": "xml"})),
        "templates": (0..TEMPLATES).map(template).collect::<Vec<_>>(),
        "windows": windows,
    })
}

/// Windows and rate so wide that nothing waits.
fn wide_channel(rules: usize) -> Value {
    let rules: Vec<Value> = [
        json!({"id": "daily", "unit": "message", "limit": 1_000_000, "window": {"calendar": "day"}}),
        json!({"id": "minute", "unit": "call", "limit": 100_000, "window": {"seconds": 60}}),
    ]
    .into_iter()
    .take(rules)
    .collect();
    json!({"rate_limit_per_second": 1_000_000, "quota_rules": rules})
}

/// The channel in Tidepost; `changes` are its windows and rate.
fn channel(secrets: &Path, changes: &Value) -> Value {
    let secret = |name: &str| format!("file:{}", secrets.join(name).display());
    let mut channel = json!({
        "platform": "wechat_mini", "app_id": APP_ID, "secret_ref": secret("secret"),
        "callback": {"mode": "safe", "token_ref": secret("token"), "encoding_aes_key_ref": secret("aes_key")},
        "policy": {"quiet_hours": null, "caps": []},
    });
    if let (Some(channel), Some(changes)) = (channel.as_object_mut(), changes.as_object()) {
        channel.extend(changes.clone());
    }
    channel
}

fn expect_each(answer: &Value, statuses: &[&str]) -> Result<()> {
    let results = answer.get("results").and_then(Value::as_array).into_iter().flatten();
    let other = |result: &&Value| {
        !result.get("status").and_then(Value::as_str).is_some_and(|status| statuses.contains(&status))
    };
    match results.into_iter().find(other) {
        Some(other) => Err(format!("not taken: {other}").into()),
        None => Ok(()),
    }
}
