//! For each code of the reference's table of `subscribe/send`, one request written by hand that gets it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{APP, Harness, SEND, code, message};

/// The codes of the table.
const TABLE: [i64; 49] = [
    0, -1, 40001, 40014, 42001, 41001, 40003, 43004, 43019, 43104, 40037, 41030, 47003, 47001, 44002, 43002, 43101,
    43107, 43108, 45168, 45009, 45011, 44990, 44991, 44993, 40038, 48001, 48004, 50002, 40013, 40125, 41004, 40164,
    89503, 89501, 89506, 89507, 40243, 50004, 50007, 61007, 43100, 43102, 43106, 45015, 45047, 43116, 45109, 40002,
];

/// Writes down which codes were seen.
struct Seen {
    harness: Harness,
    codes: BTreeSet<i64>,
    token: String,
}

impl Seen {
    async fn start() -> Self {
        let harness = Harness::start().await;
        let token = harness.token().await;
        Self { harness, codes: BTreeSet::new(), token }
    }

    fn note(&mut self, answer: &serde_json::Value, expected: i64, text: &str) {
        assert_eq!(code(answer), expected, "{answer}");
        let message = answer["errmsg"].as_str().unwrap();
        assert!(message.starts_with(text), "{message}");
        if expected != 0 {
            assert!(message.contains(" rid: "), "{message}");
        }
        self.codes.insert(expected);
    }

    /// Sends a body with a good token.
    async fn send(&mut self, body: &str, expected: i64, text: &str) {
        let answer = self.harness.send(&self.token, body).await;
        self.note(&answer, expected, text);
    }

    /// A right message after a change of the app.
    async fn with(&mut self, changes: serde_json::Value, expected: i64) {
        self.harness.configure(changes).await;
        self.send(&message("oUSER0001"), expected, "").await;
        self.harness.configure(json!({})).await;
    }
}

#[tokio::test]
async fn every_code_of_the_table_is_met() {
    let mut seen = Seen::start().await;
    credentials(&mut seen).await;
    shapes(&mut seen).await;
    people(&mut seen).await;
    content(&mut seen).await;
    account(&mut seen).await;
    limits(&mut seen).await;
    by_fault(&mut seen).await;
    token_calls(&mut seen).await;
    let missing: Vec<i64> = TABLE.into_iter().filter(|code| !seen.codes.contains(code)).collect();
    assert!(missing.is_empty(), "no request got {missing:?}");
}

async fn credentials(seen: &mut Seen) {
    let body = message("oUSER0001");
    let answer = seen.harness.post(SEND, &body).await;
    seen.note(&answer, 41001, "access_token missing");
    let answer = seen.harness.send("", &body).await;
    seen.note(&answer, 41001, "access_token missing");
    let answer = seen.harness.send("not-a-token", &body).await;
    seen.note(&answer, 40014, "invalid access_token");
    let old = seen.token.clone();
    seen.token = seen.harness.token().await;
    seen.harness.advance(301);
    let answer = seen.harness.send(&old, &body).await;
    seen.note(&answer, 40001, "invalid credential");
    seen.harness.advance(7200);
    let answer = seen.harness.send(&seen.token, &body).await;
    seen.note(&answer, 42001, "access_token expired");
    seen.token = seen.harness.token().await;
}

async fn shapes(seen: &mut Seen) {
    let url = format!("{}{SEND}?access_token={}", seen.harness.base, seen.token);
    let response = seen.harness.http.get(url).send().await.unwrap();
    let answer = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    seen.note(&answer, 43002, "require POST method");
    seen.send("", 44002, "empty post data").await;
    for body in ["{", "[]", "touser=oUSER0001&template_id=TMPL_A", "\"text\""] {
        seen.send(body, 47001, "data format error").await;
    }
}

async fn people(seen: &mut Seen) {
    seen.send(&message("oNOBODY"), 40003, "invalid openid").await;
    seen.send(r#"{"template_id":"TMPL_A","data":{}}"#, 40003, "invalid openid").await;
    seen.send(&message("o USER"), 40003, "invalid openid").await;
    let other = json!({"secret": "x", "people": ["oOTHERAPP"]});
    seen.harness.put("/sim/wechat/apps/wxother", other).await;
    seen.send(&message("oOTHERAPP"), 43104, "").await;
    seen.with(json!({"people": ["oUSER0001"], "blacklist": ["oUSER0001"]}), 43019).await;
    seen.send(&message("oUSER0001"), 43101, "user refuse to accept the msg").await;
    seen.harness.accept("oUSER0001", "TMPL_A").await;
    seen.send(&message("oUSER0001"), 0, "ok").await;
    seen.send(&message("oUSER0001"), 43101, "user refuse to accept the msg").await;
}

async fn content(seen: &mut Seen) {
    let with = |template: &str, page: &str, data: &str| {
        format!(r#"{{"touser":"oUSER0001","template_id":"{template}","page":"{page}","data":{data}}}"#)
    };
    let good = r#"{"thing1":{"value":"茶"},"time2":{"value":"15:01"}}"#;
    let page = "pages/order/detail";
    seen.send(&with("TMPL_Z", page, good), 40037, "invalid template_id").await;
    seen.send(&with("TMPL_A", "pages/unknown?id=1", good), 41030, "invalid page").await;
    for (data, text) in [
        (r#""{\"thing1\":{\"value\":\"a\"}}""#, "argument invalid! data invalid"),
        ("null", "argument invalid! data is empty"),
        (r#"{"thing1":{"value":"茶"}}"#, "argument invalid! data.time2.value is empty"),
        (r#"{"thing1":{"value":""},"time2":{"value":"15:01"}}"#, "argument invalid! data.thing1.value is empty"),
        (r#"{"thing1":{"value":"茶"},"time2":{"value":"3pm"}}"#, "argument invalid! data.time2.value invalid"),
        (
            r#"{"thing1":{"value":"一二三四五六七八九十一二三四五六七八九十一"},"time2":{"value":"15:01"}}"#,
            "argument invalid! data.thing1.value invalid",
        ),
        (r#"{"thing1":{"value":7},"time2":{"value":"15:01"}}"#, "argument invalid! data.thing1.value invalid"),
        (r#"{"thing1":"茶","time2":{"value":"15:01"}}"#, "argument invalid! data.thing1.value invalid"),
        (
            r#"{"thing1":{"value":"茶"},"time2":{"value":"15:01"},"thing9":{"value":"x"}}"#,
            "argument invalid! data.thing9.value invalid",
        ),
    ] {
        seen.send(&with("TMPL_A", page, data), 47003, text).await;
    }
    let lang = r#"{"touser":"oUSER0001","template_id":"TMPL_A","lang":"de_DE","data":{"thing1":{"value":"茶"},"time2":{"value":"15:01"}}}"#;
    seen.send(lang, 47003, "argument invalid! lang invalid").await;
    seen.send(&with("TMPL_A", page, r#"{"thing1":{"value":"代开发票"},"time2":{"value":"15:01"}}"#), 45168, "").await;
    // None of these took anything: the next consent still pays for a right one.
    seen.harness.accept("oUSER0001", "TMPL_A").await;
    seen.send(&with("TMPL_A", page, good), 0, "ok").await;
}

async fn account(seen: &mut Seen) {
    for code in [43107, 48001, 48004, 50002, 61007, 43106] {
        seen.with(json!({"blocked": {"send": code}}), code).await;
    }
    let template = |extra: serde_json::Value| {
        let mut template = json!({"priTmplId": "TMPL_A", "content": "{{thing1.DATA}}{{time2.DATA}}"});
        template.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"templates": [template, {"priTmplId": "TMPL_L", "content": "{{thing1.DATA}}", "type": 3}]})
    };
    for code in [43116, 43107, 43100] {
        seen.with(template(json!({"banned": code})), code).await;
    }
    seen.with(template(json!({"type": 1})), 43102).await;
    let path = format!("/cgi-bin/message/template/send?access_token={}", seen.token);
    let answer = seen.harness.post(&path, "{}").await;
    seen.note(&answer, 45109, "");
}

async fn limits(seen: &mut Seen) {
    let window = |changes: serde_json::Value| {
        let mut window = json!({"id": "w", "unit": "call", "limit": 0});
        window.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"windows": [window]})
    };
    seen.with(window(json!({"calendar": "day"})), 45009).await;
    seen.with(window(json!({"seconds": 60})), 45011).await;
    for code in [44990, 44991, 44993] {
        seen.with(window(json!({"seconds": 1, "refuse_with": code})), code).await;
    }
    seen.harness.accept("oUSER0001", "TMPL_L").await;
    let long_term = r#"{"touser":"oUSER0001","template_id":"TMPL_L","data":{"thing1":{"value":"口腔科"}}}"#;
    for _ in 0..5 {
        seen.send(long_term, 0, "ok").await;
    }
    seen.send(long_term, 40038, "").await;
    concurrent(seen).await;
}

/// Two sends to one person at the same time.
async fn concurrent(seen: &mut Seen) {
    seen.harness.accept("oTWICE", "TMPL_A").await;
    seen.harness.accept("oTWICE", "TMPL_A").await;
    seen.harness.configure(json!({"latency_milliseconds": 600_000})).await;
    let url = format!("{}{SEND}?access_token={}", seen.harness.base, seen.token);
    let slow = tokio::spawn(seen.harness.http.post(url).body(message("oTWICE")).send());
    // The message is with the person before the answer is with the caller.
    while seen.harness.items("received?openid=oTWICE").await.is_empty() {}
    seen.send(&message("oTWICE"), 43108, "can not make concurrent calls to the same OpenID").await;
    seen.harness.configure(json!({})).await;
    slow.abort();
    // The slow caller gave up; as soon as the platform notices, the person is free again.
    loop {
        match seen.harness.send_to(&seen.token, "oTWICE").await {
            43108 => {}
            other => break assert_eq!(other, 0),
        }
    }
}

async fn by_fault(seen: &mut Seen) {
    for code in [-1, 43004, 45015, 45047] {
        let fault =
            format!(r#"{{"match":{{"path":"{SEND}","times":1}},"fault":{{"kind":"errcode","errcode":{code}}}}}"#);
        seen.harness.fault(&fault).await;
        seen.send(&message("oUSER0001"), code, "").await;
    }
}

async fn token_calls(seen: &mut Seen) {
    for (query, expected) in [
        (format!("grant_type=authorization_code&appid={APP}&secret=s3cret"), 40002),
        ("grant_type=client_credential&appid=wxnobody&secret=s3cret".to_owned(), 40013),
        (format!("grant_type=client_credential&appid={APP}"), 41004),
        (format!("grant_type=client_credential&appid={APP}&secret=wrong"), 40125),
    ] {
        let answer = seen.harness.read(&format!("/cgi-bin/token?{query}")).await;
        seen.note(&answer, expected, "");
    }
    let right = format!(r#"{{"grant_type":"client_credential","appid":"{APP}","secret":"s3cret"}}"#);
    for expected in [89503, 89501, 89506, 89507, 40243, 50004, 50007] {
        seen.harness.configure(json!({"blocked": {"token": expected}})).await;
        let answer = seen.harness.post("/cgi-bin/stable_token", &right).await;
        seen.note(&answer, expected, "");
    }
    seen.harness.configure(json!({"ip_whitelist": ["192.0.2.1"]})).await;
    let answer = seen.harness.post("/cgi-bin/stable_token", &right).await;
    seen.note(&answer, 40164, "invalid ip 127.0.0.1");
    seen.harness.configure(json!({"ip_whitelist": ["127.0.0.1"]})).await;
    assert!(seen.harness.post("/cgi-bin/stable_token", &right).await["access_token"].is_string());
}
