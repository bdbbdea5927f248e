//! Consents, the truth about what arrived, and windows.

use serde_json::{Value, json};

use crate::harness::{APP, Harness, code, message};

#[tokio::test]
async fn a_consent_pays_once_and_the_truth_says_so() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    harness.accept("o1", "TMPL_A").await;
    assert_eq!(harness.items("grants?openid=o1").await[0]["left"], 2);
    let answer = harness.send(&token, &message("o1")).await;
    let id = answer["msgid"].as_u64().unwrap();
    assert!(id > 1 << 53, "{id}");
    assert_eq!(harness.send_to(&token, "o1").await, 0);
    assert_eq!(harness.send_to(&token, "o1").await, 43101);
    let received = harness.items("received?openid=o1").await;
    assert_eq!(received.len(), 2);
    assert_eq!(received[0]["msgid"], id.to_string());
    assert_eq!(received[0]["data"]["thing1"]["value"], "手冲咖啡两杯");
    assert_eq!((&received[0]["page"], &received[0]["grant"]), (&json!("pages/order/detail?id=42"), &json!("one_time")));
    let left = json!({"openid": "o1", "template_id": "TMPL_A", "kind": "one_time", "left": 0, "switched_off": false});
    assert_eq!(harness.items("grants?openid=o1").await, [left]);
    let codes: Vec<Value> = harness.items("calls").await.iter().map(|call| call["errcode"].clone()).collect();
    assert_eq!(codes, [json!(0), json!(0), json!(0), json!(43101)], "the token call, then the sends");
}

#[tokio::test]
async fn switching_off_voids_what_is_left() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    let reject = json!({"openid": "o1", "results": {"TMPL_A": "reject"}});
    let refused = harness.tell(&format!("/sim/wechat/apps/{APP}/subscribe"), reject.clone()).await;
    assert_eq!(refused["callback"], Value::Null, "no callback is configured");
    assert_eq!(harness.send_to(&token, "o1").await, 0, "a refused dialog takes nothing away");
    harness.accept("o1", "TMPL_A").await;
    harness.tell(&format!("/sim/wechat/apps/{APP}/change"), reject).await;
    assert_eq!(harness.send_to(&token, "o1").await, 43101);
    harness.accept("o1", "TMPL_A").await;
    assert_eq!(harness.send_to(&token, "o1").await, 0);
}

#[tokio::test]
async fn long_term_lasts_until_switched_off_within_its_limit() {
    let harness = Harness::start().await;
    let limited = json!({"templates": [{"priTmplId": "TMPL_L", "content": "{{thing1.DATA}}", "type": 3, "long_term_limit": {"per": "month", "limit": 1}}]});
    harness.configure(limited).await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_L").await;
    let body = r#"{"touser":"o1","template_id":"TMPL_L","data":{"thing1":{"value":"口腔科"}}}"#;
    assert_eq!(code(&harness.send(&token, body).await), 0);
    assert_eq!(code(&harness.send(&token, body).await), 40038);
    harness.advance(10 * 24 * 3600);
    let token = harness.token().await;
    assert_eq!(code(&harness.send(&token, body).await), 0, "December");
    let off = json!({"openid": "o1", "results": {"TMPL_L": "reject"}});
    harness.tell(&format!("/sim/wechat/apps/{APP}/change"), off).await;
    assert_eq!(code(&harness.send(&token, body).await), 43101);
    assert_eq!(harness.items("received?openid=o1").await[0]["grant"], "long_term");
}

#[tokio::test]
async fn windows_count_every_call_and_show_the_overshoot() {
    let harness = Harness::start().await;
    harness
        .configure(json!({"people": ["o1"], "windows": [
            {"id": "minute", "unit": "call", "limit": 3, "seconds": 60, "time_zone": "Asia/Shanghai"},
            {"id": "day", "unit": "message", "limit": 1, "calendar": "day"},
        ]}))
        .await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    assert_eq!(code(&harness.send(&token, "").await), 44002);
    assert_eq!(harness.send_to(&token, "o1").await, 0);
    assert_eq!(harness.send_to(&token, "o1").await, 45009);
    assert_eq!(harness.send_to(&token, "o1").await, 45011);
    assert_eq!(harness.send_to("unknown", "o1").await, 40014);
    let windows = harness.items("windows").await;
    let counts = |index: usize| ["calls", "accepted", "overshoot"].map(|name| windows[index][name].as_u64().unwrap());
    assert_eq!((counts(0), counts(1)), ([4, 1, 1], [4, 1, 2]));
    assert_eq!(windows[0]["opens_at"], "2026-11-21T10:00:00+08:00");
    let quota = harness
        .post(
            &format!("/cgi-bin/openapi/quota/get?access_token={token}"),
            r#"{"cgi_path":"/cgi-bin/message/subscribe/send"}"#,
        )
        .await;
    assert_eq!(quota["quota"], json!({"daily_limit": 1, "used": 1, "remain": 0}));
    assert_eq!(quota["rate_limit"], json!({"call_count": 3, "refresh_second": 60}));
    harness.advance(60);
    let cleared =
        harness.post(&format!("/cgi-bin/clear_quota?access_token={token}"), &format!(r#"{{"appid":"{APP}"}}"#)).await;
    assert_eq!(code(&cleared), 0);
    harness.accept("o1", "TMPL_A").await;
    assert_eq!(harness.send_to(&token, "o1").await, 0);
    assert_eq!(harness.items("windows").await.len(), 3, "two minutes and a day");
}

#[tokio::test]
async fn quota_calls_refuse_what_is_wrong() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    let get = format!("/cgi-bin/openapi/quota/get?access_token={token}");
    assert_eq!(code(&harness.post(&get, r#"{"cgi_path":"/cgi-bin/nothing"}"#).await), 76021);
    let clear = format!("/cgi-bin/clear_quota?access_token={token}");
    assert_eq!(code(&harness.post(&clear, r#"{"appid":"wxother"}"#).await), 40013);
    let own = format!(r#"{{"appid":"{APP}"}}"#);
    for _ in 0..10 {
        assert_eq!(code(&harness.post(&clear, &own).await), 0);
    }
    assert_eq!(code(&harness.post(&clear, &own).await), 48006);
    let by_secret = format!(r#"{{"appid":"{APP}","appsecret":"wrong"}}"#);
    assert_eq!(code(&harness.post("/cgi-bin/clear_quota/v2", &by_secret).await), 40125);
}

#[tokio::test]
async fn concurrent_sends_never_pass_a_window_or_a_consent_twice() {
    let harness = Harness::start().await;
    harness.configure(json!({"latency_milliseconds": 1, "windows": [{"id": "d", "unit": "message", "limit": 40, "calendar": "day"}]})).await;
    let token = harness.token().await;
    for person in 0..50 {
        harness.accept(&format!("o{person}"), "TMPL_A").await;
    }
    let sends = (0..200).map(|n| {
        let body = message(&format!("o{}", n % 50));
        let url = format!("{}{}?access_token={token}", harness.base, crate::harness::SEND);
        tokio::spawn(harness.http.post(url).body(body).send())
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
    let received = harness.items("received?limit=1000").await;
    let mut people: Vec<&str> = received.iter().map(|message| message["openid"].as_str().unwrap()).collect();
    people.sort_unstable();
    people.dedup();
    assert_eq!((received.len(), people.len()), (40, 40));
    let day = &harness.items("windows").await[0];
    assert_eq!((&day["calls"], &day["accepted"]), (&json!(200), &json!(40)));
}
