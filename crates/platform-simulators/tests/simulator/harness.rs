//! A served simulator with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use platform_simulators::{SimClock, Simulators};
use serde_json::{Value, json};

pub const APP: &str = "wx0123456789abcdef";
pub const SEND: &str = "/cgi-bin/message/subscribe/send";

pub struct Harness {
    pub base: String,
    pub simulators: Simulators,
    pub http: reqwest::Client,
    milliseconds: Arc<AtomicI64>,
}

impl Harness {
    /// Simulators at 2026-11-21 10:00:00 in Beijing, with one usual app.
    pub async fn start() -> Self {
        let harness = Self::bare().await;
        harness.configure(json!({})).await;
        harness
    }

    pub async fn bare() -> Self {
        let start: Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        let milliseconds = Arc::new(AtomicI64::new(start.as_millisecond()));
        let read = Arc::clone(&milliseconds);
        let now = move || Timestamp::from_millisecond(read.load(Ordering::SeqCst)).unwrap();
        let simulators = Simulators::new(SimClock::new(Arc::new(now), 1.0), 42);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(simulators.clone().serve(listener, std::future::pending()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base, simulators, http, milliseconds }
    }

    pub fn advance(&self, seconds: i64) {
        self.milliseconds.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// The usual app with `changes` on top.
    pub async fn configure(&self, changes: Value) {
        let mut app = json!({
            "secret": "s3cret", "token": "callbacktoken", "latency_milliseconds": 0,
            "encoding_aes_key": "Qm9vdHN0cmFwVGVzdEtleUZvclZlY3RvcnMwMTIzNDU",
            "templates": [
                {"priTmplId": "TMPL_A", "title": "订单发货提醒", "content": "商品:{{thing1.DATA}}\n时间:{{time2.DATA}}", "type": 2},
                {"priTmplId": "TMPL_L", "title": "就诊提醒", "content": "科室:{{thing1.DATA}}", "type": 3},
            ],
            "pages": ["pages/order/detail"],
        });
        for (name, value) in changes.as_object().unwrap() {
            app[name] = value.clone();
        }
        let (status, body) = self.put(&format!("/sim/wechat/apps/{APP}"), app).await;
        assert!(status == 200 || status == 201, "{status} {body}");
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.http.put(format!("{}{path}", self.base)).body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// A control call.
    pub async fn tell(&self, path: &str, body: Value) -> Value {
        let response = self.http.post(format!("{}{path}", self.base)).body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn read(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    pub async fn items(&self, list: &str) -> Vec<Value> {
        self.read(&format!("/sim/wechat/apps/{APP}/{list}")).await["items"].as_array().unwrap().clone()
    }

    pub async fn accept(&self, openid: &str, template: &str) {
        let body = json!({"openid": openid, "results": {template: "accept"}, "push": false});
        self.tell(&format!("/sim/wechat/apps/{APP}/subscribe"), body).await;
    }

    pub async fn fault(&self, body: &str) -> String {
        let body = serde_json::from_str(body).unwrap();
        self.tell("/sim/wechat/faults", body).await["id"].as_str().unwrap().to_owned()
    }

    /// POSTs text as it is.
    pub async fn post(&self, path: &str, body: &str) -> Value {
        let response = self.http.post(format!("{}{path}", self.base)).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}: the platform answers 200 even for errors");
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    pub async fn token(&self) -> String {
        let path = format!("/cgi-bin/token?grant_type=client_credential&appid={APP}&secret=s3cret");
        self.read(&path).await["access_token"].as_str().expect("a token").to_owned()
    }

    /// Sends this body with this token.
    pub async fn send(&self, token: &str, body: &str) -> Value {
        self.post(&format!("{SEND}?access_token={token}"), body).await
    }

    /// A right message of the one-time template.
    pub async fn send_to(&self, token: &str, openid: &str) -> i64 {
        code(&self.send(token, &message(openid)).await)
    }
}

pub fn message(openid: &str) -> String {
    format!(
        r#"{{"touser":"{openid}","template_id":"TMPL_A","page":"pages/order/detail?id=42","miniprogram_state":"formal","lang":"zh_CN","data":{{"thing1":{{"value":"手冲咖啡两杯"}},"time2":{{"value":"2026-01-02 15:04"}}}}}}"#
    )
}

pub fn code(answer: &Value) -> i64 {
    answer["errcode"].as_i64().unwrap_or_else(|| panic!("no errcode in {answer}"))
}
