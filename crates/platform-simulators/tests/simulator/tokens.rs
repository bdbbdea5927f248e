//! Token semantics over HTTP; the rules themselves are tested beside the code.

use serde_json::{Value, json};

use crate::harness::{APP, Harness, code};

async fn stable(harness: &Harness, force: bool) -> Value {
    let body =
        format!(r#"{{"grant_type":"client_credential","appid":"{APP}","secret":"s3cret","force_refresh":{force}}}"#);
    harness.post("/cgi-bin/stable_token", &body).await
}

fn text(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn both_kinds_work_apart() {
    let harness = Harness::start().await;
    let plain = harness.token().await;
    let answer = stable(&harness, false).await;
    assert_eq!(answer["expires_in"], 7200);
    assert!(answer.get("errcode").is_none(), "{answer}");
    harness.advance(60);
    let same = stable(&harness, false).await;
    assert_eq!((&same["access_token"], &same["expires_in"]), (&answer["access_token"], &json!(7140)));
    let forced = stable(&harness, true).await;
    assert_ne!(forced["access_token"], answer["access_token"]);
    harness.configure(json!({"people": ["o1"]})).await;
    assert_eq!(harness.send_to(&text(&answer), "o1").await, 40001);
    assert_eq!(harness.send_to(&text(&forced), "o1").await, 43101);
    assert_eq!(harness.send_to(&plain, "o1").await, 43101);
    assert_eq!(text(&stable(&harness, true).await), text(&forced), "30 seconds have not passed");
}

#[tokio::test]
async fn the_plain_call_has_a_daily_limit() {
    let harness = Harness::start().await;
    harness.configure(json!({"token_daily_limit": 2})).await;
    harness.token().await;
    harness.token().await;
    let path = format!("/cgi-bin/token?grant_type=client_credential&appid={APP}&secret=s3cret");
    assert_eq!(code(&harness.read(&path).await), 45009);
    harness.advance(14 * 3600);
    harness.token().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_a_new_one_is_to_be_had() {
    let harness = Harness::start().await;
    harness.configure(json!({"people": ["o1"]})).await;
    let old = text(&stable(&harness, false).await);
    harness.fault(r#"{"match":{"times":1},"fault":{"kind":"revoke_token","sticky":true}}"#).await;
    assert_eq!(harness.send_to(&old, "o1").await, 40001);
    assert_eq!(text(&stable(&harness, false).await), old, "sticky: normal mode does not notice");
    let new = text(&stable(&harness, true).await);
    assert_eq!(harness.send_to(&new, "o1").await, 43101);
    harness.fault(r#"{"match":{"times":1},"fault":{"kind":"revoke_token"}}"#).await;
    assert_eq!(harness.send_to(&new, "o1").await, 40001);
    let newest = text(&stable(&harness, false).await);
    assert_eq!(harness.send_to(&newest, "o1").await, 43101);
}

#[tokio::test]
async fn wrong_methods_and_bodies() {
    let harness = Harness::start().await;
    assert_eq!(code(&harness.read("/cgi-bin/stable_token").await), 43002);
    assert_eq!(code(&harness.post("/cgi-bin/stable_token", "").await), 44002);
    assert_eq!(code(&harness.post("/cgi-bin/stable_token", "{").await), 47001);
    assert_eq!(code(&harness.post("/cgi-bin/token", "{}").await), 43001);
}
