use serde_json::json;
use tidepost_core::callback::CallbackKind::{Change, Other, Popup, Punish, Sent};

use super::*;
use crate::platform::wechat::crypto::{encrypt, signature};
use crate::platform::wechat::vectors::{Encrypted, Vectors};

const TOKEN: &str = "Zx9TestToken";
const KEY: &str = "Qm9vdHN0cmFwVGVzdEtleUZvclZlY3RvcnMwMTIzNDU";
const APP_ID: &str = "wx0123456789abcdef";

fn key() -> AesKey {
    AesKey::parse(KEY).unwrap()
}

fn settings(mode: Mode) -> CallbackSettings {
    let token = Secret::new(TOKEN.to_owned());
    CallbackSettings { mode, token, app_id: APP_ID.to_owned(), max_age_seconds: None }
}

fn safe() -> CallbackSettings {
    settings(Mode::Safe(key()))
}

fn now() -> Timestamp {
    Timestamp::from_second(1_767_294_250).unwrap()
}

fn plain_query() -> CallbackQuery {
    let (timestamp, nonce) = ("1767294245", "42");
    let signature = signature([TOKEN, timestamp, nonce]);
    CallbackQuery::from_pairs([("signature", signature.as_str()), ("timestamp", timestamp), ("nonce", nonce)])
}

fn signed_query(encrypt: &str) -> CallbackQuery {
    let mut query = plain_query();
    query.encrypt_type = "aes".to_owned();
    query.msg_signature = signature([TOKEN, &query.timestamp, &query.nonce, encrypt]);
    query
}

/// The query and the envelope that WeChat would post.
fn sealed(message: &str, as_xml: bool) -> (CallbackQuery, String) {
    let encrypt = encrypt(message.as_bytes(), &key(), APP_ID, [9; 16]);
    let query = signed_query(&encrypt);
    let body = if as_xml {
        format!("<xml><ToUserName><![CDATA[gh_a1]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
    } else {
        json!({"ToUserName": "gh_a1", "Encrypt": encrypt}).to_string()
    };
    (query, body)
}

fn receive_plain(body: &str) -> Result<CallbackEvent, Refused> {
    receive(&settings(Mode::Plain), &plain_query(), body.as_bytes(), now())
}

/// The event, checked to be the same in the clear and encrypted in both envelopes.
fn event_of(message: &str) -> CallbackEvent {
    let event = receive_plain(message).unwrap();
    for as_xml in [true, false] {
        let (query, body) = sealed(message, as_xml);
        assert_eq!(receive(&safe(), &query, body.as_bytes(), now()).unwrap(), event);
    }
    event
}

fn xml(event: &str, rest: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_a1]]></ToUserName><FromUserName><![CDATA[oUSER0001]]></FromUserName>\
         <CreateTime>1767294245</CreateTime>\n<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event>\n\
         {rest}</xml>"
    )
}

fn json_event(event: &str, list: Value) -> Value {
    json!({"ToUserName": "gh_a1", "FromUserName": "oUSER0001", "CreateTime": "1767294245", "MsgType": "event",
           "Event": event, "List": list})
}

fn consent(template: &str, answer: &str, scene: Option<&str>) -> ConsentAnswer {
    ConsentAnswer { template: template.to_owned(), answer: answer.to_owned(), scene: scene.map(str::to_owned) }
}

#[test]
fn popup_is_the_same_event_in_every_shape() {
    let from_xml = event_of(&xml(
        "subscribe_msg_popup_event",
        "<SubscribeMsgPopupEvent>\n <List><TemplateId><![CDATA[TMPL_A]]></TemplateId>\
         <SubscribeStatusString><![CDATA[accept]]></SubscribeStatusString><PopupScene>0</PopupScene></List>\n \
         <List><TemplateId><![CDATA[TMPL_B]]></TemplateId><SubscribeStatusString><![CDATA[reject]]>\
         </SubscribeStatusString><PopupScene>0</PopupScene></List>\n</SubscribeMsgPopupEvent>",
    ));
    assert_eq!(from_xml.openid, "oUSER0001");
    assert_eq!(from_xml.created_at.as_second(), 1_767_294_245);
    let answers = vec![consent("TMPL_A", "accept", Some("0")), consent("TMPL_B", "reject", Some("0"))];
    assert_eq!(from_xml.kind, Popup { answers });

    let list = json!([{"TemplateId": "TMPL_A", "SubscribeStatusString": "accept", "PopupScene": "0"},
                      {"TemplateId": "TMPL_B", "SubscribeStatusString": "reject", "PopupScene": 0}]);
    let mut message = json_event("subscribe_msg_popup_event", list.clone());
    assert_eq!(event_of(&message.to_string()), from_xml);
    message["CreateTime"] = json!(1_767_294_245);
    assert_eq!(event_of(&message.to_string()), from_xml);
    message.as_object_mut().unwrap().remove("List");
    message["SubscribeMsgPopupEvent"] = json!({ "List": list });
    assert_eq!(event_of(&message.to_string()), from_xml);
}

#[test]
fn one_item_may_be_an_object_or_an_array() {
    let item = json!({"TemplateId": "TMPL_A", "SubscribeStatusString": "accept", "PopupScene": "0"});
    let one = event_of(&json_event("subscribe_msg_popup_event", item.clone()).to_string());
    let many = event_of(&json_event("subscribe_msg_popup_event", json!([item])).to_string());
    assert_eq!(one, many);
    assert_eq!(one.kind, Popup { answers: vec![consent("TMPL_A", "accept", Some("0"))] });
}

#[test]
fn change_has_no_scene() {
    let from_xml = event_of(&xml(
        "subscribe_msg_change_event",
        "<SubscribeMsgChangeEvent><List><TemplateId><![CDATA[TMPL_A]]></TemplateId><SubscribeStatusString>\
         <![CDATA[reject]]></SubscribeStatusString></List></SubscribeMsgChangeEvent>",
    ));
    assert_eq!(from_xml.kind, Change { answers: vec![consent("TMPL_A", "reject", None)] });
    let list = json!({"TemplateId": "TMPL_A", "SubscribeStatusString": "reject"});
    assert_eq!(event_of(&json_event("subscribe_msg_change_event", list).to_string()), from_xml);
}

#[test]
fn sent_keeps_every_digit_of_the_id() {
    let from_xml = event_of(&xml(
        "subscribe_msg_sent_event",
        "<SubscribeMsgSentEvent><List><TemplateId><![CDATA[TMPL_A]]></TemplateId><MsgID>3248682510344192008</MsgID>\
         <ErrorCode>0</ErrorCode><ErrorStatus><![CDATA[success]]></ErrorStatus></List></SubscribeMsgSentEvent>",
    ));
    let result = SendResult {
        template: "TMPL_A".to_owned(),
        message_id: Some("3248682510344192008".to_owned()),
        code: 0,
        status: "success".to_owned(),
    };
    assert_eq!(from_xml.kind, Sent { results: vec![result] });
    for id in [json!("3248682510344192008"), json!(3_248_682_510_344_192_008_u64)] {
        for code in [json!("0"), json!(0)] {
            let list = json!({"TemplateId": "TMPL_A", "MsgID": id, "ErrorCode": code, "ErrorStatus": "success"});
            assert_eq!(event_of(&json_event("subscribe_msg_sent_event", list).to_string()), from_xml);
        }
    }
}

#[test]
fn a_penalty_keeps_its_own_fields() {
    let from_xml = event_of(&xml("wxa_punish_event", "<Reason>abuse</Reason><Days>7</Days>"));
    assert_eq!(from_xml.kind, Punish { detail: "Days=7, Reason=abuse".to_owned() });
    let message = json!({"FromUserName": "oUSER0001", "CreateTime": 1_767_294_245, "MsgType": "event",
                         "Event": "wxa_punish_event", "Days": 7, "Reason": "abuse"});
    assert_eq!(event_of(&message.to_string()), from_xml);
}

#[test]
fn unknown_events_and_messages_are_other() {
    let message = xml("debug_demo", "<debug_str>hello world</debug_str>");
    assert_eq!(event_of(&message).kind, Other { event: "debug_demo".to_owned(), message_id: None });
    let text =
        json!({"FromUserName": "o1", "CreateTime": 1, "MsgType": "text", "MsgId": 4_561_255_354_251_345_929_u64});
    let expected = Other { event: "text".to_owned(), message_id: Some("4561255354251345929".to_owned()) };
    assert_eq!(event_of(&text.to_string()).kind, expected);
    let undated = json!({"FromUserName": "o1", "MsgType": "event", "Event": "debug_demo"});
    assert_eq!(event_of(&undated.to_string()).created_at, now());
    // A third-party platform's push names no person.
    assert!(matches!(event_of("<xml><AppId>wx</AppId><CreateTime>1</CreateTime></xml>").kind, Other { .. }));
}

#[test]
fn events_that_lack_what_they_need_are_malformed() {
    let item = json!({"TemplateId": "T", "SubscribeStatusString": "accept"});
    let mut nobody = json_event("subscribe_msg_popup_event", item.clone());
    nobody["FromUserName"] = json!("");
    let mut undated = json_event("subscribe_msg_popup_event", item.clone());
    undated["CreateTime"] = json!("soon");
    let mut far = json_event("subscribe_msg_popup_event", item);
    far["CreateTime"] = json!(i64::MAX);
    let cases = [
        nobody,
        undated,
        far,
        json!({}),
        json!({"FromUserName": "o1", "CreateTime": 1, "Event": "subscribe_msg_popup_event"}),
        json_event("subscribe_msg_popup_event", json!("TMPL_A")),
        json_event("subscribe_msg_popup_event", json!([1])),
        json_event("subscribe_msg_popup_event", json!({"TemplateId": "", "SubscribeStatusString": "accept"})),
        json_event("subscribe_msg_popup_event", json!({"TemplateId": "T"})),
        json_event("subscribe_msg_sent_event", json!({"TemplateId": "T", "MsgID": "1"})),
    ];
    for case in cases {
        assert_eq!(receive_plain(&case.to_string()), Err(Refused::Malformed), "{case}");
    }
}

fn vector_settings(vector: &Encrypted) -> CallbackSettings {
    CallbackSettings {
        mode: Mode::Safe(AesKey::parse(&vector.encoding_aes_key).unwrap()),
        token: Secret::new(vector.token.clone()),
        app_id: vector.appid.clone(),
        max_age_seconds: None,
    }
}

fn vector_query(vector: &Encrypted) -> CallbackQuery {
    CallbackQuery::from_pairs([
        ("timestamp", vector.timestamp.as_str()),
        ("nonce", &vector.nonce),
        ("encrypt_type", "aes"),
        ("msg_signature", &vector.msg_signature),
    ])
}

fn receive_vector(vector: &Encrypted) -> Result<CallbackEvent, Refused> {
    let body = json!({"ToUserName": "gh", "Encrypt": vector.encrypt}).to_string();
    receive(&vector_settings(vector), &vector_query(vector), body.as_bytes(), now())
}

#[test]
fn recorded_callbacks_are_received() {
    let mut events = 0;
    for vector in Vectors::read().encrypted {
        match (vector.format.as_str(), vector.plaintext.contains("CreateTime")) {
            ("xml" | "json", true) => {
                let event = receive_vector(&vector).unwrap();
                assert!(!event.openid.is_empty(), "{}", vector.name);
                events += 1;
            }
            _ => assert_eq!(receive_vector(&vector), Err(Refused::Malformed), "{}", vector.name),
        }
    }
    assert!(events >= 10, "{events}");
    let popup = receive_vector(&Vectors::encrypted("gen_popup_json_single_object")).unwrap();
    assert_eq!(popup.kind, Popup { answers: vec![consent("TPL_one", "accept", Some("0"))] });
    let change = receive_vector(&Vectors::encrypted("gen_change_json")).unwrap();
    assert_eq!(change.kind, Change { answers: vec![consent("TPL_one", "reject", None)] });
    let sent = receive_vector(&Vectors::encrypted("gen_sent_xml_utf8")).unwrap();
    assert!(matches!(sent.kind, Sent { results } if results.len() == 1));
    let array = receive_vector(&Vectors::encrypted("gen_popup_json_array")).unwrap();
    assert!(matches!(array.kind, Popup { answers } if answers.len() == 2));
    let in_xml = receive_vector(&Vectors::encrypted("gen_popup_xml")).unwrap();
    assert!(matches!(in_xml.kind, Popup { answers } if answers.len() == 2));
}

#[test]
fn negative_vectors_are_refused() {
    let base = Vectors::read().encrypted.remove(0);
    for negative in Vectors::read().negative {
        let mut vector = base.clone();
        vector.msg_signature = negative.msg_signature.unwrap_or(vector.msg_signature);
        vector.appid = negative.appid.unwrap_or(vector.appid);
        vector.encrypt = negative.encrypt.unwrap_or(vector.encrypt);
        if negative.encoding_aes_key.is_some() {
            continue; // Refused by `AesKey::parse`, see crypto.rs.
        }
        let expected = if negative.name == "wrong_appid" { Refused::WrongAppId } else { Refused::BadSignature };
        assert_eq!(receive_vector(&vector), Err(expected), "{}: {}", negative.name, negative.expect);
    }
}

#[test]
fn the_address_is_verified_with_the_raw_echo() {
    let vector = Vectors::read().url_signature.remove(0);
    let echo = vector.echostr.unwrap();
    let pairs = [
        ("signature", &vector.signature),
        ("timestamp", &vector.timestamp),
        ("nonce", &vector.nonce),
        ("echostr", &echo),
    ];
    let mut query = CallbackQuery::from_pairs(pairs);
    let token = Secret::new(vector.token);
    assert_eq!(verify_url(&query, &token).unwrap(), "4375120948345356249");
    assert_eq!(verify_url(&query, &Secret::new("AAAAB".to_owned())), Err(Refused::BadSignature));
    query.nonce.push('0');
    assert_eq!(verify_url(&query, &token), Err(Refused::BadSignature));
    assert_eq!(verify_url(&CallbackQuery::default(), &token), Err(Refused::BadSignature));
}

#[test]
fn a_recorded_plain_post_is_received() {
    let vector = Vectors::read().url_signature.into_iter().find(|vector| vector.body.is_some()).unwrap();
    let mut settings = settings(Mode::Plain);
    settings.token = Secret::new(vector.token);
    let pairs = [("signature", &vector.signature), ("timestamp", &vector.timestamp), ("nonce", &vector.nonce)];
    let body = vector.body.unwrap().to_string();
    let event = receive(&settings, &CallbackQuery::from_pairs(pairs), body.as_bytes(), now()).unwrap();
    assert_eq!(event.openid, "o9AgO5Kd5ggOC-bXrbNODIiE3bGY");
}

#[test]
fn an_empty_token_signs_nothing() {
    let mut settings = settings(Mode::Plain);
    settings.token = Secret::new(String::new());
    let mut query = plain_query();
    query.signature = signature(["", &query.timestamp, &query.nonce]);
    query.echostr = "1".to_owned();
    let body = xml("debug_demo", "");
    assert_eq!(receive(&settings, &query, body.as_bytes(), now()), Err(Refused::BadSignature));
    assert_eq!(verify_url(&query, &settings.token), Err(Refused::BadSignature));
}

#[test]
fn a_channel_that_encrypts_refuses_the_clear() {
    let body = xml("debug_demo", "");
    for settings in [safe(), settings(Mode::Compat(key()))] {
        assert_eq!(receive(&settings, &plain_query(), body.as_bytes(), now()), Err(Refused::WrongMode));
    }
    let (query, body) = sealed(&body, true);
    assert_eq!(receive(&settings(Mode::Plain), &query, body.as_bytes(), now()), Err(Refused::WrongMode));
}

#[test]
fn the_plain_signature_does_not_stand_for_the_encrypted_one() {
    let (mut query, body) = sealed(&xml("debug_demo", ""), true);
    query.msg_signature = query.signature.clone();
    assert_eq!(receive(&safe(), &query, body.as_bytes(), now()), Err(Refused::BadSignature));
    query.msg_signature.clear();
    assert_eq!(receive(&safe(), &query, body.as_bytes(), now()), Err(Refused::BadSignature));
}

#[test]
fn compatible_mode_reads_only_the_encrypted_part() {
    let inner = json_event("subscribe_msg_change_event", json!({"TemplateId": "T", "SubscribeStatusString": "reject"}));
    let (query, body) = sealed(&inner.to_string(), false);
    let mut forged =
        json_event("subscribe_msg_popup_event", json!({"TemplateId": "T", "SubscribeStatusString": "accept"}));
    forged["Encrypt"] = serde_json::from_str::<Value>(&body).unwrap()["Encrypt"].clone();
    let event = receive(&settings(Mode::Compat(key())), &query, forged.to_string().as_bytes(), now()).unwrap();
    assert_eq!(event.kind, Change { answers: vec![consent("T", "reject", None)] });
}

#[test]
fn another_key_or_app_is_refused() {
    let (query, body) = sealed(&xml("debug_demo", ""), true);
    let mut other_app = safe();
    other_app.app_id = "wxfedcba9876543210".to_owned();
    assert_eq!(receive(&other_app, &query, body.as_bytes(), now()), Err(Refused::WrongAppId));
    let other_key = settings(Mode::Safe(AesKey::parse(&"A".repeat(43)).unwrap()));
    assert_eq!(receive(&other_key, &query, body.as_bytes(), now()), Err(Refused::BadCiphertext));
}

#[test]
fn size_and_text_are_checked_before_anything_else() {
    let padded = format!("{}{}", xml("debug_demo", ""), " ".repeat(BODY_BYTES_MAX));
    assert_eq!(receive_plain(&padded), Err(Refused::TooLarge));
    assert!(receive_plain(&padded[..BODY_BYTES_MAX]).is_ok());
    assert_eq!(receive(&safe(), &plain_query(), b"<xml>\xff</xml>", now()), Err(Refused::Malformed));
    assert_eq!(receive_plain(""), Err(Refused::Malformed));
}

#[test]
fn entity_tricks_are_refused_in_the_clear_and_inside() {
    let trick = format!("<!DOCTYPE xml [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}", xml("&e;", ""));
    assert_eq!(receive_plain(&trick), Err(Refused::Malformed));
    let (query, body) = sealed(&trick, true);
    assert_eq!(receive(&safe(), &query, body.as_bytes(), now()), Err(Refused::Malformed));
    let reference = xml("debug_demo", "<A>&e;</A>");
    assert_eq!(receive_plain(&reference), Err(Refused::Malformed));
}

#[test]
fn age_counts_only_where_it_is_configured() {
    let body = xml("debug_demo", "");
    let mut settings = settings(Mode::Plain);
    let later = Timestamp::from_second(1_767_294_245 + 601).unwrap();
    assert!(receive(&settings, &plain_query(), body.as_bytes(), later).is_ok());
    settings.max_age_seconds = Some(601);
    assert!(receive(&settings, &plain_query(), body.as_bytes(), later).is_ok());
    settings.max_age_seconds = Some(600);
    assert_eq!(receive(&settings, &plain_query(), body.as_bytes(), later), Err(Refused::TooOld));
    let before = Timestamp::from_second(1_767_294_245 - 601).unwrap();
    assert_eq!(receive(&settings, &plain_query(), body.as_bytes(), before), Err(Refused::TooOld));
}

#[test]
fn every_refusal_has_a_status() {
    use Refused::{BadCiphertext, BadSignature, Malformed, TooLarge, TooOld, WrongAppId, WrongMode};
    let all = [BadSignature, WrongMode, WrongAppId, TooOld, BadCiphertext, Malformed, TooLarge];
    assert_eq!(all.map(Refused::status), [403, 403, 403, 403, 400, 400, 413]);
}
