//! The control API's own manners.

use serde_json::{Value, json};

use crate::harness::{APP, Harness};

#[tokio::test]
async fn an_app_is_created_replaced_and_shown() {
    let harness = Harness::bare().await;
    let path = format!("/sim/wechat/apps/{APP}");
    let (status, body) = harness.put(&path, json!({"secret": "a"})).await;
    assert_eq!((status, &body["secret"], &body["latency_milliseconds"]), (201, &json!("a"), &json!(5)));
    assert_eq!(harness.put(&path, json!({"secret": "b"})).await.0, 200);
    assert_eq!(harness.read(&path).await["secret"], "b");
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let harness = Harness::start().await;
    let path = format!("/sim/wechat/apps/{APP}");
    for (body, field, code) in [
        (json!({"secret": "a", "colour": 1}), "colour", "unknown_field"),
        (json!({}), "secret", "field_missing"),
        (json!({"secret": 1}), "secret", "field_invalid"),
        (
            json!({"secret": "a", "token": "abc", "callback": {"url": "http://x", "mood": 1}}),
            "callback.mood",
            "unknown_field",
        ),
        (
            json!({"secret": "a", "token": "abc", "callback": {"url": "http://x", "mode": "safe"}}),
            "encoding_aes_key",
            "field_invalid",
        ),
        (json!({"secret": "a", "callback": {"url": "ftp://x"}, "token": "abc"}), "callback.url", "field_invalid"),
        (
            json!({"secret": "a", "templates": [{"priTmplId": "T", "content": "{{what1.DATA}}"}]}),
            "templates[0].content",
            "field_invalid",
        ),
        (
            json!({"secret": "a", "windows": [{"id": "w", "unit": "call", "limit": 1}]}),
            "windows[0].seconds",
            "field_invalid",
        ),
        (
            json!({"secret": "a", "windows": [{"id": "w", "unit": "call", "limit": 1, "seconds": 1, "time_zone": "Mars"}]}),
            "windows[0].time_zone",
            "field_invalid",
        ),
    ] {
        let (status, problem) = harness.put(&path, body).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (422, &json!(field), &json!(code)),
            "{problem}"
        );
        assert_eq!(problem["type"], "about:blank");
    }
    let faults = [
        (r#"{"fault":{"kind":"disconnect","colour":1}}"#, "fault.colour"),
        (r#"{"fault":{"kind":"disconnect"},"colour":1}"#, "colour"),
        (r#"{"match":{"colour":1},"fault":{"kind":"disconnect"}}"#, "match.colour"),
        (r#"{"match":{"probability":2},"fault":{"kind":"disconnect"}}"#, "match.probability"),
    ];
    for (body, field) in faults {
        let response =
            harness.http.post(format!("{}/sim/wechat/faults", harness.base)).body(body).send().await.unwrap();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test]
async fn other_errors_have_their_status() {
    let harness = Harness::start().await;
    let post = |path: &str, body: String| harness.http.post(format!("{}{path}", harness.base)).body(body).send();
    assert_eq!(post("/sim/wechat/faults", "{".to_owned()).await.unwrap().status(), 400);
    assert_eq!(post("/sim/wechat/faults", "x".repeat(1 << 21)).await.unwrap().status(), 413);
    assert_eq!(
        post("/sim/wechat/apps/wxnobody/subscribe", r#"{"openid":"o1"}"#.to_owned()).await.unwrap().status(),
        404
    );
    assert_eq!(post("/sim/nothing", String::new()).await.unwrap().status(), 404);
    assert_eq!(post("/cgi-bin/nothing", String::new()).await.unwrap().status(), 404);
    let wrong = json!({"openid": "o1", "results": {"TMPL_A": "perhaps", "TMPL_Z": "accept"}}).to_string();
    let problem: Value = serde_json::from_str(
        &post(&format!("/sim/wechat/apps/{APP}/subscribe"), wrong).await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
}

#[tokio::test]
async fn lists_have_pages() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    for person in 0..7 {
        harness.accept(&format!("o{person}"), "TMPL_A").await;
        assert_eq!(harness.send_to(&token, &format!("o{person}")).await, 0);
    }
    for (list, total) in [("received", 7), ("grants", 7), ("calls", 8)] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = harness.read(&format!("/sim/wechat/apps/{APP}/{list}?limit=3{cursor}")).await;
            seen.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), total, "{list}");
    }
    let bad = harness.http.get(format!("{}/sim/wechat/apps/{APP}/calls?limit=0", harness.base)).send().await.unwrap();
    assert_eq!(bad.status(), 422);
}

#[tokio::test]
async fn the_clock_is_shown_and_reset_forgets() {
    let harness = Harness::start().await;
    assert_eq!(harness.read("/sim/clock").await, json!({"now": "2026-11-21T02:00:00Z", "speed": 1}));
    let token = harness.token().await;
    harness.fault(r#"{"fault":{"kind":"disconnect"}}"#).await;
    harness.tell("/sim/reset", json!({})).await;
    assert_eq!(harness.send_to(&token, "o1").await, 40014);
    let gone = harness.http.get(format!("{}/sim/wechat/apps/{APP}", harness.base)).send().await.unwrap();
    assert_eq!(gone.status(), 404);
}
