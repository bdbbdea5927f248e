//! What the platform and backends tell of consents, as it arrives over HTTP.

use std::collections::BTreeMap;

use aes::Aes256;
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockEncryptMut, KeyIvInit};
use reqwest::Method;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::world::{CONFIRMED, NOON, SECRETS, SHIPPED, Shop, World};

/// What a callback is answered with.
const SUCCESS: (u16, &str) = (200, "success");

fn signature(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    Sha1::digest(parts.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encrypts as the platform does (16 random bytes, length, message, app id; padded to 32).
fn encrypt(app_id: &str, message: &str) -> String {
    // The last of the 43 characters carries two bits too many.
    let lenient = GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let key = lenient.decode(format!("{}=", SECRETS[2].1)).unwrap();
    let mut plain = b"0123456789abcdef".to_vec();
    plain.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    plain.extend(message.bytes().chain(app_id.bytes()));
    let pad = 32 - plain.len() % 32;
    plain.extend(vec![u8::try_from(pad).unwrap(); pad]);
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).unwrap();
    STANDARD.encode(cipher.encrypt_padded_vec_mut::<NoPadding>(&plain))
}

/// One callback, written by hand.
pub struct Push {
    pub query: String,
    pub body: String,
}

impl Push {
    /// Encrypted and signed as it should be.
    pub fn of(app_id: &str, message: &str) -> Self {
        Self::sealed(&encrypt(app_id, message))
    }

    fn sealed(encrypted: &str) -> Self {
        let (token, timestamp, nonce) = (SECRETS[1].1, "1795233600", "4711");
        let signed = signature(&[token, timestamp, nonce]);
        let sealed = signature(&[token, timestamp, nonce, encrypted]);
        let query =
            format!("signature={signed}&timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={sealed}");
        Self { query, body: json!({"ToUserName": "gh_1", "Encrypt": encrypted}).to_string() }
    }

    pub async fn to(&self, shop: &Shop) -> (u16, String) {
        let url = format!("/callbacks/{}?{}", shop.name, self.query);
        let answer = shop.api.ask(shop.api.request(Method::POST, &url).body(self.body.clone())).await;
        (answer.status, answer.text)
    }
}

fn popup(openid: &str, template: &str, second: u32) -> String {
    json!({"ToUserName": "gh_1", "FromUserName": openid, "CreateTime": 1_795_233_600 + second, "MsgType": "event",
        "Event": "subscribe_msg_popup_event",
        "List": {"TemplateId": template, "SubscribeStatusString": "accept", "PopupScene": "0"}})
    .to_string()
}

#[tokio::test]
async fn an_address_is_verified() {
    let world = World::at(NOON).await;
    let shop = world.shop("verify").await;
    let verified = shop.sim.tell(Method::POST, &format!("apps/{}/verify", shop.app_id), &json!({})).await;
    assert_eq!(verified["status"], 200, "{verified}");
    let signed = signature(&[SECRETS[1].1, "1", "2"]);
    for (query, expected) in [
        (format!("signature={signed}&timestamp=1&nonce=2&echostr=4375120948345356249"), (200, "4375120948345356249")),
        (format!("signature={signed}&timestamp=1&nonce=3&echostr=1"), (403, "")),
        ("timestamp=1&nonce=2&echostr=1".to_owned(), (403, "")),
        ("echostr=1".to_owned(), (403, "")),
    ] {
        let answer = shop.api.get(&format!("/callbacks/{}?{query}", shop.name)).await;
        assert_eq!(answer.status, expected.0, "{query} {}", answer.text);
        assert!(expected.0 != 200 || answer.text == expected.1, "{}", answer.text);
    }
    assert_eq!(shop.api.get(&format!("/callbacks/nobody?signature={signed}&timestamp=1&nonce=2")).await.status, 404);
    world.stack.stop().await;
}

#[tokio::test]
async fn every_mode_and_format_grants() {
    let world = World::at(NOON).await;
    for (mode, format) in
        [("plain", "json"), ("plain", "xml"), ("compat", "json"), ("compat", "xml"), ("safe", "json"), ("safe", "xml")]
    {
        let file = |name: &str| format!("file:{}", world.folder.path().join(name).display());
        let callback = json!({"mode": mode, "token_ref": file("token"), "encoding_aes_key_ref": file("aes_key")});
        let name = format!("{mode}-{format}");
        let shop = world.open(&name, json!({}), json!({"callback": callback})).await;
        let url = format!("{}/callbacks/{name}", shop.api.base);
        shop.configure(json!({"callback": {"url": url, "mode": mode, "format": format}})).await;
        let one = shop.answer_dialog("one", json!({CONFIRMED: "accept"})).await;
        let many = shop.answer_dialog("many", json!({CONFIRMED: "accept", SHIPPED: "accept"})).await;
        for told in [&one, &many] {
            assert_eq!((&told["callback"]["status"], &told["callback"]["body"]), (&json!(200), &json!("success")));
            assert_eq!(told["callback"]["attempts"], 1);
        }
        for (openid, template, expected) in
            [("one", CONFIRMED, 1), ("one", SHIPPED, 0), ("many", CONFIRMED, 1), ("many", SHIPPED, 1)]
        {
            assert_eq!(shop.available(openid, template).await, expected, "{name} {openid} {template}");
            assert_eq!(shop.left(openid, template).await, expected, "{name} {openid} {template}");
        }
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn the_three_events_are_taken() {
    let world = World::at(NOON).await;
    let shop = world.shop("events").await;
    shop.answer_dialog("o1", json!({CONFIRMED: "accept", SHIPPED: "accept"})).await;
    shop.answer_dialog("o2", json!({CONFIRMED: "reject", SHIPPED: "ban"})).await;
    assert_eq!((shop.available("o2", CONFIRMED).await, shop.available("o2", SHIPPED).await), (0, 0));
    let body = json!({"openid": "o1", "results": {CONFIRMED: "reject"}, "push": true});
    shop.sim.tell(Method::POST, &format!("apps/{}/change", shop.app_id), &body).await;
    assert_eq!((shop.available("o1", CONFIRMED).await, shop.available("o1", SHIPPED).await), (0, 1));
    let id = shop.send("o1", SHIPPED).await;
    let before = shop.comes_to(&id, "delivered").await;
    world.stack.idle().await;
    let callbacks = shop.truth("callbacks").await;
    let taken: Vec<_> = callbacks.iter().map(|one| (one["event"].as_str().unwrap(), &one["status"])).collect();
    let taken_well = json!(200);
    for (event, times) in
        [("subscribe_msg_popup_event", 2), ("subscribe_msg_change_event", 1), ("subscribe_msg_sent_event", 1)]
    {
        assert_eq!(taken.iter().filter(|one| **one == (event, &taken_well)).count(), times, "{event} {callbacks:?}");
    }
    assert_eq!(shop.api.standing(&id).await, before, "the event of a known success changes nothing");
    world.stack.stop().await;
}

#[tokio::test]
async fn a_repeated_event_grants_once() {
    let world = World::at(NOON).await;
    let shop = world.shop("repeats").await;
    let fault =
        json!({"match": {"path": "subscribe_msg_popup_event"}, "fault": {"kind": "duplicate_callback", "times": 3}});
    shop.sim.tell(Method::POST, "faults", &fault).await;
    shop.answer_dialog("o1", json!({CONFIRMED: "accept"})).await;
    world.stack.idle().await;
    let callbacks = shop.truth("callbacks").await;
    assert_eq!(callbacks.len(), 4);
    assert!(callbacks.iter().all(|one| one["status"] == 200), "{callbacks:?}");
    assert_eq!(shop.available("o1", CONFIRMED).await, 1);
    // The same content a second later is another consent.
    let shop = world.shop("seconds").await;
    for second in [0, 1, 1, 0] {
        let push = Push::of(&shop.app_id, &popup("o1", CONFIRMED, second));
        assert_eq!(push.to(&shop).await, (SUCCESS.0, SUCCESS.1.to_owned()));
    }
    assert_eq!(shop.available("o1", CONFIRMED).await, 2);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_report_counts_once_however_many_came_after_it() {
    let world = World::at(NOON).await;
    let shop = world.shop("many").await;
    let report =
        |n: usize| json!({"event_id": format!("e{n}"), "openid": "o1", "template": SHIPPED, "result": "accept"});
    let reports: Vec<Value> = (0..150).map(report).collect();
    let statuses = async |reports: &[Value]| -> BTreeMap<String, usize> {
        let mut statuses = BTreeMap::new();
        for result in shop.report(reports).await {
            *statuses.entry(result["status"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        statuses
    };
    assert_eq!(statuses(&reports).await, [("granted".to_owned(), 150)].into());
    assert_eq!(statuses(&reports).await, [("duplicate".to_owned(), 150)].into());
    for report in reports.iter().step_by(20) {
        assert_eq!(statuses(std::slice::from_ref(report)).await, [("duplicate".to_owned(), 1)].into(), "{report}");
    }
    assert_eq!(shop.available("o1", SHIPPED).await, 150);
    world.stack.stop().await;
}

/// Forged, damaged or misdirected callbacks, and how each is refused.
fn refused(app_id: &str) -> Vec<(&'static str, Push, u16)> {
    let message = popup("o1", CONFIRMED, 9);
    let sound = || Push::of(app_id, &message);
    let good = encrypt(app_id, &message);
    let mut tampered = STANDARD.decode(&good).unwrap();
    tampered[40] ^= 1;
    let end = tampered.len() - 1;
    tampered[end] ^= 1;
    let mut cut = STANDARD.decode(&good).unwrap();
    cut.truncate(end - 4);
    let swapped = sound().query.replace("msg_signature=", "m=").replace("signature=", "signature=x&msg_signature=");
    let xml = |inside: &str| {
        let doctype = "<!DOCTYPE xml [<!ENTITY e SYSTEM \"file:///etc/hostname\"><!ENTITY b \"&e;&e;\">]>";
        format!("{doctype}<xml>{inside}</xml>")
    };
    let event = "<FromUserName>o1</FromUserName><CreateTime>1795233611</CreateTime><MsgType>event</MsgType>\
        <Event>subscribe_msg_popup_event</Event><SubscribeMsgPopupEvent><List><TemplateId>TMPL_CONFIRMED</TemplateId>\
        <SubscribeStatusString>accept</SubscribeStatusString></List></SubscribeMsgPopupEvent>";
    let entity = format!("<xml><ToUserName>&e;</ToUserName>{event}</xml>");
    vec![
        ("for another app", Push::of("wxother", &message), 403),
        (
            "signed with another token",
            Push { query: sound().query.replace("nonce=4711", "nonce=4712"), ..sound() },
            403,
        ),
        ("unsigned", Push { query: "timestamp=1&nonce=2&encrypt_type=aes".to_owned(), ..sound() }, 403),
        ("the signature of the query instead of the message's", Push { query: swapped, ..sound() }, 403),
        (
            "another ciphertext under the old signature",
            Push { body: Push::sealed(&encrypt(app_id, "{}")).body, ..sound() },
            403,
        ),
        ("tampered and signed", Push::sealed(&STANDARD.encode(tampered)), 400),
        ("cut short and signed", Push::sealed(&STANDARD.encode(cut)), 400),
        ("not base64, and signed", Push::sealed("=not base64="), 400),
        ("in the clear where the channel encrypts", Push { body: message.clone(), ..sound() }, 400),
        ("no document", Push { body: "hello".to_owned(), ..sound() }, 400),
        ("too long", Push { body: format!("{}{}", sound().body, " ".repeat(70_000)), ..sound() }, 413),
        ("a DOCTYPE around it", Push { body: xml(&format!("<Encrypt>{good}</Encrypt>")), ..sound() }, 400),
        ("a DOCTYPE inside", Push::of(app_id, &xml(event)), 400),
        ("an entity inside", Push::of(app_id, &entity), 400),
    ]
}

#[tokio::test]
async fn what_is_not_the_platforms_changes_nothing() {
    let world = World::at(NOON).await;
    let shop = world.shop("refused").await;
    shop.answer_dialog("o1", json!({CONFIRMED: "accept"})).await;
    let before = shop.person("o1").await;
    let mut wrong = Vec::new();
    for (what, push, status) in refused(&shop.app_id) {
        let (answered, text) = push.to(&shop).await;
        if answered != status {
            wrong.push(format!("{what}: {answered} {text}"));
        }
        assert_eq!(shop.person("o1").await, before, "{what}");
    }
    assert!(wrong.iter().all(|line| line.starts_with("in the clear") && line.contains("403")), "{wrong:#?}");
    let other = json!({"FromUserName": "o1", "CreateTime": 1, "MsgType": "event", "Event": "debug_demo"}).to_string();
    let unknown = Push::of(&shop.app_id, &other);
    assert_eq!(unknown.to(&shop).await, (SUCCESS.0, SUCCESS.1.to_owned()));
    assert_eq!(shop.person("o1").await, before, "an unknown event");
    let right = Push::of(&shop.app_id, &popup("o1", CONFIRMED, 10));
    assert_eq!(right.to(&shop).await.0, 200);
    assert_eq!(shop.available("o1", CONFIRMED).await, 2, "the helper of this test speaks the protocol");
    world.stack.stop().await;
}

#[tokio::test]
async fn age_is_looked_at_only_where_configured() {
    let world = World::at(NOON).await;
    let file = |name: &str| format!("file:{}", world.folder.path().join(name).display());
    let callback = json!({"mode": "safe", "token_ref": file("token"), "encoding_aes_key_ref": file("aes_key"),
        "max_age_seconds": 600});
    let strict = world.open("strict", json!({}), json!({"callback": callback})).await;
    let lenient = world.shop("lenient").await;
    world.stack.clock.advance(std::time::Duration::from_secs(660));
    let old = Push::of(&strict.app_id, &popup("o1", CONFIRMED, 0));
    assert_eq!(old.to(&strict).await.0, 403);
    assert_eq!(Push::of(&lenient.app_id, &popup("o1", CONFIRMED, 0)).to(&lenient).await.0, 200);
    assert_eq!((strict.person("o1").await, lenient.available("o1", CONFIRMED).await), (Value::Null, 1));
    world.stack.stop().await;
}

fn report(event: &str, openid: &str, result: &str) -> Value {
    json!({"event_id": event, "openid": openid, "template": CONFIRMED, "result": result})
}

fn statuses(results: &[Value]) -> Vec<(&str, Option<u64>)> {
    results.iter().map(|result| (result["status"].as_str().unwrap(), result["available"].as_u64())).collect()
}

#[tokio::test]
async fn backends_report_consents() {
    let world = World::at(NOON).await;
    let shop = world.shop("webhook").await;
    let results = shop
        .report(&[
            report("e1", "o1", "accept"),
            report("e2", "o1", "acceptWithAudio"),
            report("e3", "o1", "ban"),
            report("e4", "o1", "filter"),
            report("e5", "o2", "reject"),
            report("e1", "o1", "accept"),
            report("e6", "o1", "maybe"),
            json!({"event_id": "e7", "openid": "o1"}),
            json!("nonsense"),
            json!({"event_id": "e8", "openid": "o1", "template": CONFIRMED, "result": "accept", "colour": "red"}),
            report("e9", "not an openid", "accept"),
            report("e10", "o3", "acceptWithAlert"),
            report("e11", "o3", "acceptWithForcePush"),
        ])
        .await;
    let invalid = ("invalid", None);
    let expected = [
        ("granted", Some(1)),
        ("granted", Some(2)),
        ("recorded", Some(2)),
        ("recorded", Some(2)),
        ("recorded", Some(0)),
        ("duplicate", None),
        invalid,
        invalid,
        invalid,
        invalid,
        invalid,
        ("granted", Some(1)),
        ("granted", Some(2)),
    ];
    assert_eq!(statuses(&results), expected);
    let again = shop.report(&[report("e2", "o1", "acceptWithAudio"), report("e12", "o1", "reject")]).await;
    assert_eq!(statuses(&again), [("duplicate", None), ("recorded", Some(0))]);
    assert_eq!((shop.available("o1", CONFIRMED).await, shop.available("o3", CONFIRMED).await), (0, 2));
    for size in [0, 501] {
        let reports: Vec<Value> = (0..size).map(|n| report(&format!("b{n}"), "o4", "accept")).collect();
        let answer = shop.api.post("/v1/channels/webhook/grants", &json!({"grants": reports})).await;
        assert_eq!(answer.problem(), (422, "out_of_range", "grants"), "{size}");
    }
    assert_eq!(shop.person("o4").await, Value::Null);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_report_and_an_event_of_one_consent_are_one_grant() {
    let world = World::at(NOON).await;
    let shop = world.shop("twice").await;
    shop.answer_dialog("o1", json!({CONFIRMED: "accept"})).await;
    assert_eq!(statuses(&shop.report(&[report("e1", "o1", "accept")]).await), [("recorded", Some(1))]);
    let results = shop.report(&[report("e2", "o2", "accept"), report("e3", "o2", "accept")]).await;
    assert_eq!(statuses(&results), [("granted", Some(1)), ("granted", Some(2))]);
    shop.answer_dialog("o2", json!({CONFIRMED: "accept"})).await;
    assert_eq!((shop.available("o1", CONFIRMED).await, shop.available("o2", CONFIRMED).await), (1, 2));
    world.stack.stop().await;
}
