//! Misbehaviour over the wire.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{APP, Harness, SEND, code, message};

#[tokio::test]
async fn http_errors_and_own_texts() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    let id = harness.fault(r#"{"match":{"path":"/cgi-bin/message/subscribe/send","openid":"o1","times":1},"fault":{"kind":"http","status":503}}"#).await;
    let url = format!("{}{SEND}?access_token={token}", harness.base);
    let response = harness.http.post(&url).body(message("o1")).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let own = r#"{"match":{"times":1},"fault":{"kind":"errcode","errcode":45009,"errmsg":"reach max api minute quota limit"}}"#;
    harness.fault(own).await;
    let answer = harness.send(&token, &message("o1")).await;
    assert!(answer["errmsg"].as_str().unwrap().starts_with("reach max api minute quota limit rid: "), "{answer}");
    assert!(harness.items("received").await.is_empty());
    let calls = harness.items("calls").await;
    assert_eq!((&calls[1]["errcode"], &calls[1]["fault"]), (&Value::Null, &json!(id)));
    assert_eq!(harness.send_to(&token, "o1").await, 0, "the consent is still there");
}

#[tokio::test]
async fn a_cut_connection_carries_no_byte() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    for (fault, arrived) in [(r#"{"kind":"disconnect"}"#, 0), (r#"{"kind":"disconnect","after_processing":true}"#, 1)] {
        harness.fault(&format!(r#"{{"match":{{"path":"{SEND}","times":1}},"fault":{fault}}}"#)).await;
        let body = message("o1");
        let request = format!(
            "POST {SEND}?access_token={token} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(harness.base.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end: nothing came.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
        assert_eq!(harness.items("received").await.len(), arrived);
    }
}

#[tokio::test]
async fn a_time_out_after_delivery_delivers() {
    let harness = Harness::start().await;
    harness.configure(json!({"windows": [{"id": "m", "unit": "message", "limit": 5, "seconds": 60}]})).await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    harness.accept("o1", "TMPL_A").await;
    harness.fault(r#"{"match":{"path":"/cgi-bin/message/subscribe/send","times":1},"fault":{"kind":"timeout_after_delivery"}}"#).await;
    let url = format!("{}{SEND}?access_token={token}", harness.base);
    let hanging = tokio::spawn(harness.http.post(url).body(message("o1")).send());
    while harness.items("received").await.is_empty() {}
    assert_eq!(harness.items("windows").await[0]["accepted"], 1);
    // The platform is done with the person, although the first caller still waits for its answer.
    loop {
        match harness.send_to(&token, "o1").await {
            43108 => {}
            other => break assert_eq!(other, 0),
        }
    }
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn delays_come_before_or_after_the_effect() {
    let harness = Harness::start().await;
    let token = harness.token().await;
    harness.accept("o1", "TMPL_A").await;
    let url = format!("{}{SEND}?access_token={token}", harness.base);
    for (before, arrived) in [(true, 0), (false, 1)] {
        harness.fault(&format!(r#"{{"match":{{"path":"{SEND}","times":1}},"fault":{{"kind":"delay","milliseconds":60000,"before_processing":{before}}}}}"#)).await;
        let call = harness.http.post(&url).body(message("o1")).timeout(Duration::from_millis(100)).send().await;
        assert!(call.unwrap_err().is_timeout());
        assert_eq!(harness.items("received").await.len(), arrived);
    }
}

#[tokio::test]
async fn a_fault_counts_in_the_windows_and_can_be_taken_back() {
    let harness = Harness::start().await;
    harness
        .configure(json!({"people": ["o1"], "windows": [{"id": "m", "unit": "call", "limit": 1, "seconds": 60}]}))
        .await;
    let token = harness.token().await;
    harness.fault(r#"{"fault":{"kind":"errcode","errcode":-1}}"#).await;
    assert_eq!(harness.send_to(&token, "o1").await, -1);
    assert_eq!(harness.send_to(&token, "o1").await, -1);
    assert_eq!(harness.items("windows").await[0]["overshoot"], 1);
    assert_eq!(harness.read("/sim/wechat/faults").await["items"][0]["hit"], 2);
    let response = harness.http.delete(format!("{}/sim/wechat/faults", harness.base)).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(code(&harness.send(&token, &message("o1")).await), 45011);
}

#[tokio::test]
async fn a_hanging_call_does_not_keep_the_server_from_stopping() {
    let harness = Harness::bare().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(harness.simulators.clone().serve(listener, async {
        let _ = stopped.await;
    }));
    harness.configure(json!({})).await;
    harness.fault(r#"{"match":{"times":1},"fault":{"kind":"timeout_after_delivery"}}"#).await;
    let url = format!("{base}/cgi-bin/token?grant_type=client_credential&appid={APP}&secret=s3cret");
    let call = tokio::spawn(harness.http.get(url).send());
    while harness.items("calls").await.is_empty() {}
    stop.send(()).unwrap();
    assert!(call.await.unwrap().is_err());
    server.await.unwrap().unwrap();
}
