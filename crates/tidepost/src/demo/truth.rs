//! What the simulator saw: its own log, read over HTTP.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::commands::Failure;
use crate::demo::shop::KEY_FIELD;

/// The simulator's control API.
#[derive(Clone, Debug)]
pub struct Simulator {
    http: reqwest::Client,
    base: String,
}

/// One message that a person received.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Who.
    pub openid: String,
    /// With which template.
    pub template_id: String,
    /// The fields, as the platform has them.
    pub data: BTreeMap<String, Value>,
    /// Where a tap leads.
    #[serde(default)]
    pub page: Option<String>,
}

impl Received {
    /// The order's key inside the message.
    #[must_use]
    pub fn key(&self) -> String {
        let field = self.data.get(KEY_FIELD);
        let value = field.and_then(|value| value.as_str().or_else(|| value.get("value")?.as_str()));
        value.unwrap_or_default().to_owned()
    }
}

/// What a person may still be sent, by the platform's count.
#[derive(Clone, Debug, Deserialize)]
pub struct Left {
    /// Who.
    pub openid: String,
    /// Of which template.
    pub template_id: String,
    /// How many.
    pub left: u32,
}

/// One window as the platform counted it.
#[derive(Clone, Debug, Deserialize)]
pub struct CountedWindow {
    /// The rule's id.
    pub id: String,
    /// The first moment inside.
    pub opens_at: Timestamp,
    /// The first moment after.
    pub closes_at: Timestamp,
    /// What it holds.
    pub limit: u64,
    /// Calls that came, those over the limit too.
    pub calls: u64,
    /// Messages that the platform took.
    pub accepted: u64,
    /// What came beyond the limit.
    pub overshoot: u64,
}

/// One call of the sending API.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    /// When, by the platform's clock.
    pub at: Timestamp,
    /// Which API.
    pub path: String,
    /// What the platform answered; nothing where it did not answer.
    pub errcode: Option<i64>,
}

/// Everything the simulator knows.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every message received.
    pub received: Vec<Received>,
    /// Every consent that is left.
    pub left: Vec<Left>,
    /// Every window that saw a call.
    pub windows: Vec<CountedWindow>,
    /// Calls of the sending API.
    pub calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Simulator {
    /// The simulator at an address.
    #[must_use]
    pub fn new(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.to_owned() }
    }

    /// Sets something up, or lets a person do something.
    ///
    /// # Errors
    /// [`Failure`] when the simulator refuses.
    pub async fn tell(&self, method: http::Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.http.request(method, format!("{}/sim/wechat/{path}", self.base)).json(body);
        let response = request.send().await.map_err(|error| Failure::No(format!("the simulator: {error}")))?;
        let (status, text) = (response.status(), response.text().await.unwrap_or_default());
        if !status.is_success() {
            return Err(Failure::No(format!("the simulator refuses {path}: {text}")));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Reads everything of one app.
    ///
    /// # Errors
    /// [`Failure`] when the simulator does not answer in the form of the contract.
    pub async fn truth(&self, app_id: &str) -> Result<Truth, Failure> {
        let (received, left, windows, calls) = futures::try_join!(
            self.list(app_id, "received"),
            self.list(app_id, "grants"),
            self.windows(app_id),
            self.list::<Call>(app_id, "calls")
        )?;
        let calls = calls.into_iter().filter(|call| call.path.ends_with("/subscribe/send")).collect();
        Ok(Truth { received, left, windows, calls })
    }

    /// Reads the windows of one app.
    ///
    /// # Errors
    /// [`Failure`] when the simulator does not answer in the form of the contract.
    pub async fn windows(&self, app_id: &str) -> Result<Vec<CountedWindow>, Failure> {
        self.list(app_id, "windows").await
    }

    async fn list<T: DeserializeOwned>(&self, app_id: &str, what: &str) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.http.get(format!("{}/sim/wechat/apps/{app_id}/{what}", self.base));
            request = request.query(&[("limit", "1000")]).query(&cursor.as_ref().map(|cursor| [("cursor", cursor)]));
            let unread = |error: reqwest::Error| Failure::No(format!("the simulator's {what} cannot be read: {error}"));
            let page: Page<T> = request.send().await.map_err(unread)?.json().await.map_err(unread)?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }
}
