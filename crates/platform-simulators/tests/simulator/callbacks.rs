//! Events as a receiver sees them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use platform_simulators::wechat::crypto::{AesKey, open, signature};
use serde_json::{Value, json};

use crate::harness::{APP, Harness, SEND, message};

const TOKEN: &str = "callbacktoken";
const AES_KEY: &str = "Qm9vdHN0cmFwVGVzdEtleUZvclZlY3RvcnMwMTIzNDU";

struct Pushed {
    query: HashMap<String, String>,
    body: String,
}

#[derive(Default)]
struct Inbox {
    pushed: Vec<Pushed>,
    /// Answers to give, then 200.
    statuses: VecDeque<u16>,
}

type Shared = Arc<Mutex<Inbox>>;

struct Receiver {
    url: String,
    inbox: Shared,
}

async fn take(
    State(inbox): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    body: String,
) -> (StatusCode, &'static str) {
    let mut inbox = inbox.lock().unwrap();
    inbox.pushed.push(Pushed { query, body });
    let status = inbox.statuses.pop_front().unwrap_or(200);
    (StatusCode::from_u16(status).unwrap(), "success")
}

async fn echo(Query(query): Query<HashMap<String, String>>) -> (StatusCode, String) {
    let of = |name: &str| query[name].clone();
    let right = signature([TOKEN, &of("timestamp"), &of("nonce")]) == of("signature");
    if right { (StatusCode::OK, of("echostr")) } else { (StatusCode::FORBIDDEN, String::new()) }
}

impl Receiver {
    async fn start() -> Self {
        let inbox = Shared::default();
        let router = Router::new().route("/callbacks/shop", post(take).get(echo)).with_state(Arc::clone(&inbox));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callbacks/shop", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inbox }
    }

    fn taken(&self) -> Vec<Pushed> {
        std::mem::take(&mut self.inbox.lock().unwrap().pushed)
    }

    async fn harness(&self, mode: &str, format: &str) -> Harness {
        let harness = Harness::bare().await;
        harness.configure(json!({"callback": {"url": self.url, "mode": mode, "format": format}})).await;
        harness
    }
}

async fn subscribe(harness: &Harness, openid: &str, results: Value) -> Value {
    let body = json!({"openid": openid, "results": results, "push": true});
    harness.tell(&format!("/sim/wechat/apps/{APP}/subscribe"), body).await["callback"].clone()
}

/// Checks the signatures and returns the message inside.
fn decrypted(pushed: &Pushed, encrypted: &str) -> String {
    let of = |name: &str| pushed.query[name].as_str();
    assert_eq!(of("encrypt_type"), "aes");
    assert_eq!(signature([TOKEN, of("timestamp"), of("nonce")]), of("signature"));
    let key = AesKey::parse(AES_KEY).unwrap();
    open(&key, APP, [TOKEN, of("timestamp"), of("nonce")], encrypted, of("msg_signature")).unwrap()
}

#[tokio::test]
async fn plain_json_has_one_item_as_object_and_several_as_array() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "json").await;
    let answer = subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    assert_eq!(answer, json!({"status": 200, "body": "success", "attempts": 1}));
    subscribe(&harness, "o1", json!({"TMPL_A": "accept", "TMPL_L": "reject"})).await;
    let pushed = receiver.taken();
    let of = |name: &str| pushed[0].query[name].as_str();
    assert_eq!(of("signature"), signature([TOKEN, of("timestamp"), of("nonce")]));
    assert_eq!((of("openid"), of("timestamp")), ("o1", "1795226400"));
    assert!(!pushed[0].query.contains_key("encrypt_type") && !pushed[0].query.contains_key("msg_signature"));
    let one: Value = serde_json::from_str(&pushed[0].body).unwrap();
    assert_eq!((&one["Event"], &one["FromUserName"]), (&json!("subscribe_msg_popup_event"), &json!("o1")));
    assert_eq!(one["List"]["SubscribeStatusString"], "accept");
    let two: Value = serde_json::from_str(&pushed[1].body).unwrap();
    assert_eq!(two["List"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn safe_and_compatible_modes_in_both_formats() {
    for (mode, format) in [("safe", "json"), ("compat", "json"), ("safe", "xml"), ("compat", "xml")] {
        let receiver = Receiver::start().await;
        let harness = receiver.harness(mode, format).await;
        subscribe(&harness, "oUSER0001", json!({"TMPL_A": "accept"})).await;
        let pushed = receiver.taken();
        let body = &pushed[0].body;
        let (encrypted, plain_too) = if format == "json" {
            let body: Value = serde_json::from_str(body).unwrap();
            (body["Encrypt"].as_str().unwrap().to_owned(), body.get("Event").is_some())
        } else {
            let inside = body.split("<Encrypt><![CDATA[").nth(1).unwrap().split("]]>").next().unwrap();
            (inside.to_owned(), body.contains("<Event>"))
        };
        assert_eq!(plain_too, mode == "compat", "{body}");
        assert!(body.contains("ToUserName"));
        let message = decrypted(&pushed[0], &encrypted);
        assert!(message.contains("subscribe_msg_popup_event") && message.contains("TMPL_A"), "{message}");
        assert_eq!(message.starts_with("<xml>"), format == "xml");
    }
}

#[tokio::test]
async fn only_a_reject_in_the_settings_is_pushed() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "xml").await;
    let path = format!("/sim/wechat/apps/{APP}/change");
    let on = harness.tell(&path, json!({"openid": "o1", "results": {"TMPL_A": "accept"}, "push": true})).await;
    assert_eq!(on["callback"], Value::Null);
    harness.tell(&path, json!({"openid": "o1", "results": {"TMPL_A": "reject"}, "push": true})).await;
    let pushed = receiver.taken();
    assert_eq!(pushed.len(), 1);
    let list = "<SubscribeMsgChangeEvent><List><TemplateId><![CDATA[TMPL_A]]></TemplateId><SubscribeStatusString><![CDATA[reject]]></SubscribeStatusString></List></SubscribeMsgChangeEvent>";
    assert!(pushed[0].body.contains(list), "{}", pushed[0].body);
}

#[tokio::test]
async fn a_sent_event_follows_each_accepted_send() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "json").await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    let answer = harness.send(&token, &message("o1")).await;
    assert_eq!(harness.send_to(&token, "o1").await, 43101);
    harness.simulators.idle().await;
    let pushed = receiver.taken();
    assert_eq!(pushed.len(), 1);
    let event: Value = serde_json::from_str(&pushed[0].body).unwrap();
    let item = json!({"TemplateId": "TMPL_A", "MsgID": answer["msgid"].to_string(), "ErrorCode": "0", "ErrorStatus": "success"});
    assert_eq!((&event["Event"], &event["List"]), (&json!("subscribe_msg_sent_event"), &item));
}

#[tokio::test]
async fn three_tries_in_all_byte_for_byte() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("safe", "json").await;
    receiver.inbox.lock().unwrap().statuses = [500, 503].into();
    let answer = subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    assert_eq!(answer, json!({"status": 200, "body": "success", "attempts": 3}));
    let pushed = receiver.taken();
    assert!(pushed.iter().all(|push| push.body == pushed[0].body && push.query == pushed[0].query));
    receiver.inbox.lock().unwrap().statuses = [500, 500, 500].into();
    let answer = subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    assert_eq!((&answer["status"], &answer["attempts"]), (&json!(500), &json!(3)));
    assert_eq!(receiver.taken().len(), 3);
    let log = harness.items("callbacks").await;
    assert_eq!((&log[1]["status"], &log[1]["attempts"]), (&json!(500), &json!(3)));
    assert_eq!(harness.items("grants").await[0]["left"], 2, "the truth does not wait for the receiver");
}

#[tokio::test]
async fn nobody_listening_is_told_so() {
    let harness = Harness::start().await;
    harness.configure(json!({"callback": {"url": "http://127.0.0.1:1/"}})).await;
    let answer = subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    assert_eq!(answer, json!({"status": null, "body": null, "attempts": 3}));
}

#[tokio::test]
async fn duplicates_drops_and_failures() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "json").await;
    let token = harness.token().await;
    harness.fault(r#"{"match":{"path":"subscribe_msg_popup_event","openid":"o1"},"fault":{"kind":"duplicate_callback","times":2}}"#).await;
    subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    harness.simulators.idle().await;
    let pushed = receiver.taken();
    assert_eq!(pushed.len(), 3);
    assert!(pushed.iter().all(|push| push.body == pushed[0].body));
    harness
        .fault(r#"{"match":{"path":"/cgi-bin/message/subscribe/send","times":1},"fault":{"kind":"fail_sent_event"}}"#)
        .await;
    harness.fault(r#"{"match":{"path":"subscribe_msg_sent_event","after":1},"fault":{"kind":"drop_callback"}}"#).await;
    harness.accept("o1", "TMPL_A").await;
    for _ in 0..2 {
        assert_eq!(harness.send_to(&token, "o1").await, 0);
    }
    harness.simulators.idle().await;
    let pushed = receiver.taken();
    assert_eq!(pushed.len(), 1);
    let event: Value = serde_json::from_str(&pushed[0].body).unwrap();
    assert_eq!((&event["List"]["ErrorCode"], &event["List"]["ErrorStatus"]), (&json!("-1"), &json!("system failed")));
}

#[tokio::test]
async fn a_held_back_event_is_overtaken() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "json").await;
    harness.fault(r#"{"match":{"times":1},"fault":{"kind":"reorder_callbacks"}}"#).await;
    let first = subscribe(&harness, "o1", json!({"TMPL_A": "accept"})).await;
    assert_eq!(first["fault"], "held_back");
    subscribe(&harness, "o2", json!({"TMPL_A": "accept"})).await;
    harness.simulators.idle().await;
    let people: Vec<String> = receiver.taken().iter().map(|push| push.query["openid"].clone()).collect();
    assert_eq!(people, ["o2", "o1"]);
    harness.fault(r#"{"match":{"times":1},"fault":{"kind":"reorder_callbacks"}}"#).await;
    subscribe(&harness, "o3", json!({"TMPL_A": "accept"})).await;
    harness.simulators.idle().await;
    assert_eq!(receiver.taken().len(), 1, "with nothing to overtake it, it still comes");
    assert_eq!(harness.simulators.pending_callbacks(), 0);
}

#[tokio::test]
async fn the_address_is_verified_as_the_platform_does() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("safe", "json").await;
    let answer = harness.tell(&format!("/sim/wechat/apps/{APP}/verify"), json!({})).await;
    assert_eq!((&answer["verified"], &answer["status"]), (&json!(true), &json!(200)));
    harness.configure(json!({"callback": {"url": receiver.url, "mode": "safe"}, "token": "another"})).await;
    let answer = harness.tell(&format!("/sim/wechat/apps/{APP}/verify"), json!({})).await;
    assert_eq!((&answer["verified"], &answer["status"]), (&json!(false), &json!(403)));
}

#[tokio::test]
async fn a_time_out_after_delivery_still_tells_the_callback() {
    let receiver = Receiver::start().await;
    let harness = receiver.harness("plain", "json").await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    harness.fault(&format!(r#"{{"match":{{"path":"{SEND}"}},"fault":{{"kind":"timeout_after_delivery"}}}}"#)).await;
    let url = format!("{}{SEND}?access_token={token}", harness.base);
    let call = tokio::spawn(harness.http.post(url).body(message("o1")).send());
    while receiver.inbox.lock().unwrap().pushed.is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
}
