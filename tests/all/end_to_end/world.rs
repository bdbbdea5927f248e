//! A stack, a shop on it, and what people do there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidepost::stack::aws::resources::QueueSettings;
use tidepost::stack::{Options, Stack};

/// Noon in Shanghai: no quiet hours anywhere near.
pub const NOON: &str = "2026-11-21T12:00:00+08:00";
/// A template of category `basic`.
pub const CONFIRMED: &str = "TMPL_CONFIRMED";
/// A template of category `reminder`.
pub const SHIPPED: &str = "TMPL_SHIPPED";
/// A long-term template of category `reminder`.
pub const VISIT: &str = "TMPL_VISIT";
/// The topic of all of them unless a message says otherwise.
pub const TOPIC: &str = "orders";
/// The path of the platform that sends.
pub const SEND: &str = "/cgi-bin/message/subscribe/send";
/// The path of the platform that gives tokens.
pub const TOKEN: &str = "/cgi-bin/stable_token";

/// Secrets of the invented account.
pub const SECRETS: [(&str, &str); 3] = [
    ("secret", "0123456789abcdef0123456789abcdef"),
    ("token", "endToEnd2026"),
    ("aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
];

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(45);

/// A time in the test.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client that asks nobody but whom it is told to.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A folder with the secrets' files.
pub fn secrets() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, secret) in SECRETS {
        std::fs::write(folder.path().join(name), secret).unwrap();
    }
    folder
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok(Self { status, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }

    /// The status, the problem's code and the first field that is wrong.
    pub fn problem(&self) -> (u16, &str, &str) {
        let text = |at: &str| self.body.pointer(at).and_then(Value::as_str).unwrap_or_default();
        (self.status, text("/code"), text("/errors/0/field"))
    }
}

/// Tidepost's API.
#[derive(Clone)]
pub struct Api {
    pub base: String,
    key: String,
    http: reqwest::Client,
}

impl Api {
    pub fn new(base: &str, key: &str) -> Self {
        Self { base: base.to_owned(), key: key.to_owned(), http: http() }
    }

    pub fn of(stack: &Stack) -> Self {
        Self::new(&stack.api_url, stack.admin_key().expose())
    }

    /// The same API with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A call with the key, to be completed.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    pub async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::of(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(self.request(Method::GET, path)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// Asks for a message; an error where nobody answers.
    pub async fn try_message(&self, key: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        Answer::of(self.request(Method::POST, "/v1/messages").header("Idempotency-Key", key).json(body)).await
    }

    /// Asks for a message.
    pub async fn message(&self, key: &str, body: &Value) -> Answer {
        self.try_message(key, body).await.unwrap()
    }

    /// A message as it stands.
    pub async fn standing(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/messages/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }
}

/// The simulator's control API.
#[derive(Clone)]
pub struct Simulator {
    pub base: String,
    http: reqwest::Client,
}

impl Simulator {
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), http: http() }
    }

    pub async fn tell(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.http.request(method, format!("{}/sim/wechat/{path}", self.base)).json(body);
        let answer = Answer::of(request).await.unwrap();
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
        answer.body
    }

    /// Arms a fault of sends to one person.
    pub async fn fault(&self, openid: &str, times: Option<u32>, fault: Value) {
        let body = json!({"match": {"path": SEND, "openid": openid, "times": times}, "fault": fault});
        self.tell(Method::POST, "faults", &body).await;
    }

    /// A whole list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let url = format!("{}/sim/wechat/{path}{joint}limit=1000{cursor}", self.base);
            let page = Answer::of(self.http.get(url)).await.unwrap().body;
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// One account at the platform and its channel in Tidepost. Its name is the channel's id.
#[derive(Clone)]
pub struct Shop {
    pub api: Api,
    pub sim: Simulator,
    pub name: String,
    pub app_id: String,
    asked: Arc<AtomicU64>,
}

impl Shop {
    /// Sets both up; `app` and `channel` replace what is usual. Without quota rules and with fast calls unless they say so.
    pub async fn open(api: &Api, sim: &Simulator, folder: &Path, name: &str, app: Value, channel: Value) -> Self {
        let shop = Self::known(api, sim, name);
        shop.configure(app).await;
        let secret = |name: &str| format!("file:{}", folder.join(name).display());
        let definition = json!({
            "platform": "wechat_mini", "app_id": shop.app_id, "secret_ref": secret("secret"),
            "callback": {"mode": "safe", "token_ref": secret("token"), "encoding_aes_key_ref": secret("aes_key")},
            "rate_limit_per_second": 1_000,
        });
        let path = format!("/v1/channels/{name}");
        let answer = api.put(&path, &merged(definition, channel)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        for (id, kind, category) in
            [(CONFIRMED, "one_time", "basic"), (SHIPPED, "one_time", "reminder"), (VISIT, "long_term", "reminder")]
        {
            let template = json!({"title": id, "kind": kind, "category": category, "topic": TOPIC,
                "fields": [{"key": "character_string1"}, {"key": "thing2"}]});
            assert_eq!(api.put(&format!("{path}/templates/{id}"), &template).await.status, 201);
        }
        shop
    }

    /// One whose channel is there already.
    pub fn known(api: &Api, sim: &Simulator, name: &str) -> Self {
        let (api, sim, name) = (api.clone(), sim.clone(), name.to_owned());
        Self { api, sim, app_id: format!("wx{name}"), name, asked: Arc::default() }
    }

    /// Tells the platform of the account; `changes` replace what is usual.
    pub async fn configure(&self, changes: Value) {
        let [(_, secret), (_, token), (_, aes_key)] = SECRETS;
        let content = "订单号:{{character_string1.DATA}}\n商品:{{thing2.DATA}}";
        let template = |id: &str, kind: u8| json!({"priTmplId": id, "title": id, "content": content, "type": kind});
        let account = json!({
            "secret": secret, "token": token, "encoding_aes_key": aes_key,
            "callback": {"url": format!("{}/callbacks/{}", self.api.base, self.name), "mode": "safe", "format": "json"},
            "templates": [template(CONFIRMED, 2), template(SHIPPED, 2), template(VISIT, 3)],
        });
        self.sim.tell(Method::PUT, &format!("apps/{}", self.app_id), &merged(account, changes)).await;
    }

    /// The person answers the platform's dialog, and the platform tells Tidepost.
    pub async fn answer_dialog(&self, openid: &str, results: Value) -> Value {
        let body = json!({"openid": openid, "results": results, "push": true});
        self.sim.tell(Method::POST, &format!("apps/{}/subscribe", self.app_id), &body).await
    }

    /// The person accepts; the backend reports it.
    pub async fn grant(&self, openid: &str, template: &str) {
        self.grant_all(&[openid.to_owned()], template).await;
    }

    /// Several people accept; the backend reports them together.
    pub async fn grant_all(&self, openids: &[String], template: &str) {
        let path = format!("apps/{}/subscribe", self.app_id);
        let mut reports = Vec::new();
        for openid in openids {
            let body = json!({"openid": openid, "results": {template: "accept"}, "push": false});
            self.sim.tell(Method::POST, &path, &body).await;
            let event_id = format!("e{}", self.asked.fetch_add(1, Ordering::SeqCst));
            reports.push(json!({"event_id": event_id, "openid": openid, "template": template, "result": "accept"}));
        }
        for reports in reports.chunks(500) {
            for result in self.report(reports).await {
                assert_eq!(result["status"], "granted", "{result}");
            }
        }
    }

    /// The backend reports what people answered.
    pub async fn report(&self, reports: &[Value]) -> Vec<Value> {
        let answer = self.api.post(&format!("/v1/channels/{}/grants", self.name), &json!({"grants": reports})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["results"].as_array().unwrap().clone()
    }

    /// What a message asks for; `changes` replace what is usual.
    pub fn wanted(&self, openid: &str, template: &str, changes: Value) -> Value {
        let wanted = json!({
            "channel": self.name, "openid": openid, "template": template,
            "data": {"character_string1": "A1", "thing2": "手冲咖啡两杯"}, "page": "pages/order/detail?id=1",
        });
        merged(wanted, changes)
    }

    /// Asks for a message under a fresh key.
    pub async fn ask(&self, openid: &str, template: &str, changes: Value) -> Value {
        let key = format!("k{}", self.asked.fetch_add(1, Ordering::SeqCst));
        let answer = self.api.message(&key, &self.wanted(openid, template, changes)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.body
    }

    /// Asks for a message and returns its id.
    pub async fn send(&self, openid: &str, template: &str) -> String {
        id(&self.ask(openid, template, json!({})).await)
    }

    /// The message once its status is `status`.
    pub async fn comes_to(&self, id: &str, status: &str) -> Value {
        until(&format!("{id} is {status}"), async || {
            let message = self.api.standing(id).await;
            let last = message["status"].as_str().unwrap().to_owned();
            let is_over = !["queued", "waiting", "unknown"].contains(&last.as_str());
            assert!(last == status || !is_over, "{message} instead of {status}");
            (last == status).then_some(message)
        })
        .await
    }

    /// What Tidepost says of a person; `Null` for somebody unknown.
    pub async fn person(&self, openid: &str) -> Value {
        let answer = self.api.get(&format!("/v1/channels/{}/subscribers/{openid}", self.name)).await;
        assert!([200, 404].contains(&answer.status), "{}", answer.text);
        if answer.status == 200 { answer.body } else { Value::Null }
    }

    /// How many messages the ledger would still let go.
    pub async fn available(&self, openid: &str, template: &str) -> u64 {
        let person = self.person(openid).await;
        let grants = person["grants"].as_array().cloned().unwrap_or_default();
        let grant = grants.iter().find(|grant| grant["template"] == template);
        grant.map_or(0, |grant| grant["available"].as_u64().unwrap())
    }

    /// How many messages the platform would still let go.
    pub async fn left(&self, openid: &str, template: &str) -> u64 {
        let grants = self.truth(&format!("grants?openid={openid}")).await;
        let grant = grants.iter().find(|grant| grant["template_id"] == template);
        grant.map_or(0, |grant| grant["left"].as_u64().unwrap())
    }

    /// What the person received.
    pub async fn received(&self, openid: &str) -> Vec<Value> {
        self.truth(&format!("received?openid={openid}")).await
    }

    /// The platform's answers to sends to this person; `Null` where it gave none.
    pub async fn answers(&self, openid: &str) -> Vec<Value> {
        let calls = self.truth("calls").await;
        let to_them = calls.iter().filter(|call| call["path"] == SEND && call["openid"] == openid);
        to_them.map(|call| call["errcode"].clone()).collect()
    }

    /// How often a path of the platform was called.
    pub async fn calls_of(&self, path: &str) -> usize {
        self.truth("calls").await.iter().filter(|call| call["path"] == path).count()
    }

    /// How many messages ended how, as the metrics tell.
    pub async fn outcomes(&self) -> Vec<(String, u64)> {
        let metrics = self.api.get(&format!("/v1/channels/{}/metrics?by=outcome", self.name)).await;
        let rows = metrics.body["rows"].as_array().unwrap();
        rows.iter().map(|row| (row["outcome"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
    }

    /// A list of the simulator's about this account.
    pub async fn truth(&self, list: &str) -> Vec<Value> {
        self.sim.list(&format!("apps/{}/{list}", self.app_id)).await
    }
}

/// The id in an answer.
pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// The fields of `changes` in place of those of `usual`.
fn merged(mut usual: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        usual[name] = value.clone();
    }
    usual
}

/// A stack whose clock stands still but for real time, until a test lets time pass.
pub struct World {
    pub stack: Stack,
    pub api: Api,
    pub sim: Simulator,
    pub folder: TempDir,
}

impl World {
    pub async fn at(start: &str) -> Self {
        Self::with(start, Options::default()).await
    }

    /// A stack with these options, whose clock jumps over idle spans when a test says so.
    pub async fn with(start: &str, options: Options) -> Self {
        let start = at(start);
        let queues = QueueSettings { visibility_seconds: 3, ..options.queues };
        let options = Options { start: Some(start), speed: 200_000.0, appointment: Some(start), queues, ..options };
        let stack = Stack::start(options).await.unwrap();
        let api = Api::of(&stack);
        let sim = Simulator::new(stack.simulators_url.as_deref().unwrap());
        Self { stack, api, sim, folder: secrets() }
    }

    /// An account as usual, but for `app` and `channel`.
    pub async fn open(&self, name: &str, app: Value, channel: Value) -> Shop {
        Shop::open(&self.api, &self.sim, self.folder.path(), name, app, channel).await
    }

    /// An account as usual.
    pub async fn shop(&self, name: &str) -> Shop {
        self.open(name, json!({}), json!({})).await
    }

    pub fn now(&self) -> Timestamp {
        self.stack.clock.now()
    }

    /// Lets the clock run on so far, and what is in flight come down.
    pub async fn pass_minutes(&self, minutes: i64) {
        self.pass_until(self.now() + minutes.minutes()).await;
    }

    pub async fn pass_until(&self, at: Timestamp) {
        tokio::time::timeout(PATIENCE * 2, self.stack.pass_until(at)).await.unwrap_or_else(|_| {
            panic!("the stack does not come down: it is {}, {:?}", self.now(), self.stack.host().activity().now())
        });
    }
}
