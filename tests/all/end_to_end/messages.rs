//! Transactional messages: what is refused at once, what waits, what arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::{Value, json};
use tidepost::stack::aws::{StandIns, Store};
use tidepost::stack::{ANY_PORT, Aws, Options};

use super::proxy::{Fate, Proxy};
use super::world::{CONFIRMED, NOON, SHIPPED, Shop, TOPIC, World, at, id};

/// The code of a reason, where there is one.
fn reason(message: &Value) -> &str {
    message["reason"]["code"].as_str().unwrap_or_default()
}

fn time(value: &Value) -> Timestamp {
    at(value.as_str().unwrap_or_else(|| panic!("no time: {value}")))
}

/// Asserts that the message waits for this reason until then.
fn assert_waits(message: &Value, code: &str, until: Timestamp) {
    assert_eq!((message["status"].as_str(), reason(message)), (Some("waiting"), code), "{message}");
    assert_eq!(time(&message["next_attempt_at"]), until, "{message}");
}

#[tokio::test]
async fn broken_fields_are_named() {
    let world = World::at(NOON).await;
    let shop = world.shop("fields").await;
    let data = |changes: Value| {
        let mut data = json!({"character_string1": "A1", "thing2": "咖啡"});
        data.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "data": data })
    };
    let after = |minutes: i64| json!(world.now() + minutes.minutes());
    for (changes, code, field) in [
        (json!({"channel": "nobody"}), "channel_unknown", "channel"),
        (json!({"template": "TMPL_NONE"}), "template_unknown", "template"),
        (json!({"openid": "not an id"}), "id_malformed", "openid"),
        (json!({"colour": "red"}), "field_unknown", "colour"),
        (json!({"data": {"character_string1": "A1"}}), "field_missing", "data.thing2"),
        (data(json!({"thing9": "x"})), "field_unknown", "data.thing9"),
        (data(json!({"thing2": "太长".repeat(11)})), "field_too_long", "data.thing2"),
        (data(json!({"character_string1": "中文"})), "field_malformed", "data.character_string1"),
        (data(json!({"thing2": ""})), "field_empty", "data.thing2"),
        (json!({"data": {"character_string1": 1, "thing2": "x"}}), "field_malformed", "data.character_string1"),
        (json!({"page": "/pages/order"}), "field_malformed", "page"),
        (json!({"page": "https://example.com/"}), "field_malformed", "page"),
        (json!({"urgency": "very"}), "field_malformed", "urgency"),
        (json!({"category": "basic"}), "category_too_loose", "category"),
        (json!({"deadline": after(-1)}), "out_of_range", "deadline"),
        (json!({"deadline": after(7 * 24 * 60 + 1)}), "out_of_range", "deadline"),
        (json!({"deadline": after(5), "not_before": after(5)}), "out_of_range", "not_before"),
        (json!({"topic": "no topic"}), "id_malformed", "topic"),
    ] {
        let answer = shop.api.message("key", &shop.wanted("o1", SHIPPED, changes)).await;
        assert_eq!(answer.problem(), (422, code, field), "{}", answer.text);
    }
    assert_eq!(shop.calls_of(super::world::SEND).await, 0);
    world.stack.stop().await;
}

#[tokio::test]
async fn calls_that_are_no_messages_are_refused() {
    let world = World::at(NOON).await;
    let shop = world.shop("calls").await;
    let wanted = shop.wanted("o1", SHIPPED, json!({}));
    let post = |key: &str| shop.api.request(Method::POST, "/v1/messages").header("Idempotency-Key", key);
    let json_text = |text: &str| post("k").header("content-type", "application/json").body(text.to_owned());
    assert_eq!(shop.api.ask(json_text("{")).await.problem().0, 400);
    assert_eq!(shop.api.ask(post("k").header("content-type", "text/plain").body(wanted.to_string())).await.status, 415);
    assert_eq!(shop.api.ask(json_text(&" ".repeat((1 << 20) + 1))).await.status, 413);
    let without = shop.api.post("/v1/messages", &wanted).await;
    assert_eq!(without.problem(), (422, "idempotency_key_missing", "Idempotency-Key"));
    assert_eq!(shop.api.ask(post(&"k".repeat(256)).json(&wanted)).await.status, 422);
    assert_eq!(shop.api.with_key("tp_wrong").message("k", &wanted).await.status, 401);
    let nobody = reqwest::Client::new().post(format!("{}/v1/messages", shop.api.base)).json(&wanted);
    assert_eq!(nobody.send().await.unwrap().status(), 401);
    for (role, status) in [("analyst", 403), ("support", 403), ("operator", 403), ("sender", 202)] {
        let key = shop.api.post("/v1/keys", &json!({"role": role, "name": role})).await;
        assert_eq!(key.status, 201, "{}", key.text);
        let api = shop.api.with_key(key.body["key"].as_str().unwrap());
        assert_eq!(api.message("k", &wanted).await.status, status, "{role}");
    }
    for unknown in ["m_none", "m_0000000000000000000000000000"] {
        assert_eq!(shop.api.get(&format!("/v1/messages/{unknown}")).await.problem().0, 404, "{unknown}");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn a_key_stands_for_one_message() {
    let world = World::at(NOON).await;
    let shop = world.shop("keys").await;
    shop.grant("o1", SHIPPED).await;
    shop.grant("o1", SHIPPED).await;
    let wanted = shop.wanted("o1", SHIPPED, json!({}));
    let first = shop.api.message("order-1", &wanted).await;
    assert_eq!((first.status, first.body["status"].as_str()), (202, Some("queued")));
    shop.comes_to(&id(&first.body), "delivered").await;
    for _ in 0..3 {
        let again = shop.api.message("order-1", &wanted).await;
        assert_eq!((again.status, &again.body), (202, &first.body));
    }
    let other = shop.wanted("o1", SHIPPED, json!({"page": "pages/other"}));
    assert_eq!(shop.api.message("order-1", &other).await.problem().1, "idempotency_conflict");
    assert_eq!(shop.api.message("order-1", &other).await.status, 409);
    let (one, two) = tokio::join!(shop.api.message("order-2", &wanted), shop.api.message("order-2", &wanted));
    assert_eq!(one.body["id"], two.body["id"]);
    shop.comes_to(&id(&one.body), "delivered").await;
    world.stack.idle().await;
    assert_eq!(shop.received("o1").await.len(), 2);
    world.stack.stop().await;
}

#[tokio::test]
async fn what_is_asked_for_arrives() {
    let world = World::at(NOON).await;
    let shop = world.shop("arrives").await;
    shop.answer_dialog("o1", json!({SHIPPED: "accept"})).await;
    let answer = shop.ask("o1", SHIPPED, json!({})).await;
    assert_eq!((&answer["status"], &answer["reason"]), (&json!("queued"), &Value::Null));
    let message = shop.comes_to(&id(&answer), "delivered").await;
    let received = shop.received("o1").await;
    assert_eq!(received.len(), 1);
    assert_eq!(message["platform"]["message_id"], received[0]["msgid"], "{message} {received:?}");
    assert_eq!((&message["platform"]["code"], &message["openid"]), (&json!(0), &json!("o1")));
    assert_eq!(
        (&received[0]["template_id"], &received[0]["page"]),
        (&json!(SHIPPED), &json!("pages/order/detail?id=1"))
    );
    assert!(received[0]["data"].to_string().contains("手冲咖啡两杯"), "{received:?}");
    // In whole seconds.
    assert!(time(&message["sent_at"]) > time(&message["accepted_at"]) - 1.second(), "{message}");
    assert_eq!((shop.available("o1", SHIPPED).await, shop.left("o1", SHIPPED).await), (0, 0));
    let person = shop.person("o1").await;
    assert_eq!(person["recent_sends"][0]["id"], message["id"], "{person}");
    world.stack.stop().await;
}

async fn prefer(shop: &Shop, openid: &str, preferences: Value) {
    let path = format!("/v1/channels/{}/subscribers/{openid}/preferences", shop.name);
    let answer = shop.api.put(&path, &preferences).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text);
}

#[tokio::test]
async fn rules_that_say_no_refuse_without_a_call() {
    let world = World::at(NOON).await;
    let shop = world.shop("rules").await;
    for openid in ["off", "stopped", "target"] {
        shop.grant(openid, SHIPPED).await;
    }
    prefer(&shop, "off", json!({"stopped": false, "topics": {TOPIC: false}})).await;
    prefer(&shop, "stopped", json!({"stopped": true, "topics": {}})).await;
    for (openid, changes, code) in [
        ("nobody", json!({}), "no_grant"),
        ("off", json!({}), "topic_off"),
        ("stopped", json!({}), "stopped"),
        ("target", json!({"category": "marketing"}), "marketing_not_allowed"),
    ] {
        let answer = shop.ask(openid, SHIPPED, changes).await;
        assert_eq!((answer["status"].as_str(), reason(&answer)), (Some("refused"), code), "{answer}");
        let message = shop.api.standing(&id(&answer)).await;
        assert_eq!((message["status"].as_str(), reason(&message)), (Some("refused"), code), "{message}");
    }
    let other_topic = id(&shop.ask("off", SHIPPED, json!({"topic": "delivery"})).await);
    shop.comes_to(&other_topic, "delivered").await;
    world.stack.idle().await;
    assert_eq!(shop.calls_of(super::world::SEND).await, 1);
    for openid in ["stopped", "target"] {
        assert_eq!(shop.available(openid, SHIPPED).await, 1, "{openid}");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn the_night_is_quiet() {
    let world = World::at("2026-11-21T23:00:00+08:00").await;
    let shop = world.shop("night").await;
    for openid in ["o1", "o2", "o3", "urumqi"] {
        shop.grant(openid, CONFIRMED).await;
    }
    let urumqi = json!({"subscribers": [{"openid": "urumqi", "time_zone": "Asia/Urumqi"}]});
    assert_eq!(shop.api.post("/v1/channels/night/subscribers", &urumqi).await.status, 200);
    let morning = at("2026-11-22T08:00:00+08:00");
    let waits = shop.ask("o1", CONFIRMED, json!({})).await;
    assert_waits(&waits, "quiet_hours", morning);
    let urgent = id(&shop.ask("o2", CONFIRMED, json!({"urgency": "urgent"})).await);
    shop.comes_to(&urgent, "delivered").await;
    // It is two hours earlier there in law, if not on this clock.
    let elsewhere = id(&shop.ask("urumqi", CONFIRMED, json!({})).await);
    shop.comes_to(&elsewhere, "delivered").await;
    let too_late = shop.ask("o3", CONFIRMED, json!({"deadline": "2026-11-22T07:00:00+08:00"})).await;
    assert_eq!((too_late["status"].as_str(), reason(&too_late)), (Some("refused"), "quiet_hours"));
    // A minute before, release already holds it in the queue with a delay.
    world.pass_until(morning - 2.minutes()).await;
    assert_eq!(shop.received("o1").await.len(), 0);
    world.pass_until(morning + 2.minutes()).await;
    shop.comes_to(&id(&waits), "delivered").await;
    let received = shop.received("o1").await;
    assert_eq!(received.len(), 1);
    assert!(time(&received[0]["at"]) >= morning, "{received:?}");
    world.stack.stop().await;
}

#[tokio::test]
async fn caps_and_gaps_make_a_message_wait() {
    let world = World::at(NOON).await;
    let policy = |policy: Value| json!({ "policy": policy });
    let cap = json!({"quiet_hours": null, "caps": [{"scope": "subscriber", "per": "day", "limit": 1}]});
    let capped = world.open("capped", json!({}), policy(cap)).await;
    let gap = json!({"quiet_hours": null, "minimum_gap_seconds": 600});
    let gapped = world.open("gapped", json!({}), policy(gap)).await;
    for shop in [&capped, &gapped] {
        for _ in 0..3 {
            shop.grant("o1", SHIPPED).await;
        }
        let first = shop.send("o1", SHIPPED).await;
        shop.comes_to(&first, "delivered").await;
    }
    let midnight = at("2026-11-22T00:00:00+08:00");
    let over_cap = capped.ask("o1", SHIPPED, json!({})).await;
    assert_waits(&over_cap, "cap_subscriber", midnight);
    let worthless = capped.ask("o1", SHIPPED, json!({"deadline": "2026-11-21T18:00:00+08:00"})).await;
    assert_eq!((worthless["status"].as_str(), reason(&worthless)), (Some("refused"), "cap_subscriber"));
    let too_soon = gapped.ask("o1", SHIPPED, json!({})).await;
    assert_eq!((too_soon["status"].as_str(), reason(&too_soon)), (Some("waiting"), "minimum_gap"), "{too_soon}");
    world.pass_minutes(15).await;
    gapped.comes_to(&id(&too_soon), "delivered").await;
    let times: Vec<Timestamp> = gapped.received("o1").await.iter().map(|one| time(&one["at"])).collect();
    assert!(times.len() == 2 && times[1].duration_since(times[0]).as_secs() >= 600, "{times:?}");
    assert_eq!(capped.received("o1").await.len(), 1);
    world.pass_until(midnight + 2.minutes()).await;
    capped.comes_to(&id(&over_cap), "delivered").await;
    let received = capped.received("o1").await;
    assert!(received.len() == 2 && time(&received[1]["at"]) >= midnight, "{received:?}");
    assert_eq!((capped.available("o1", SHIPPED).await, capped.left("o1", SHIPPED).await), (1, 1));
    world.stack.stop().await;
}

#[tokio::test]
async fn not_before_means_not_before() {
    let world = World::at(NOON).await;
    let shop = world.shop("later").await;
    shop.grant("o1", SHIPPED).await;
    let then = at("2026-11-21T12:10:30+08:00");
    let answer = shop.ask("o1", SHIPPED, json!({"not_before": then})).await;
    assert_eq!((answer["status"].as_str(), &answer["reason"]), (Some("waiting"), &Value::Null));
    assert_eq!(time(&answer["next_attempt_at"]), then);
    world.pass_minutes(12).await;
    shop.comes_to(&id(&answer), "delivered").await;
    let received = shop.received("o1").await;
    assert!(time(&received[0]["at"]) >= then, "{received:?}");
    world.stack.stop().await;
}

/// One call an hour: of three messages two arrive before their deadline, the third ends with what it waited for.
#[tokio::test]
async fn a_deadline_that_passes_while_waiting_ends_with_the_waits_reason() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 1, "window": {"seconds": 3600}, "basic_share": 0.0});
    let app = json!({"windows": [{"id": "hourly", "unit": "call", "limit": 1, "seconds": 3600}]});
    let shop = world.open("hourly", app, json!({"quota_rules": [rule]})).await;
    // Past the band at the full hour, in which a call could be counted on either side.
    world.pass_minutes(1).await;
    let deadline = at("2026-11-21T13:30:00+08:00");
    let mut ids = Vec::new();
    for openid in ["o1", "o2", "o3"] {
        shop.grant(openid, SHIPPED).await;
        ids.push(id(&shop.ask(openid, SHIPPED, json!({"deadline": deadline})).await));
    }
    world.pass_until(deadline + 3.minutes()).await;
    let mut endings = Vec::new();
    for id in &ids {
        let message = shop.api.standing(id).await;
        endings.push((message["status"].as_str().unwrap().to_owned(), reason(&message).to_owned()));
    }
    endings.sort();
    let delivered = ("delivered".to_owned(), String::new());
    assert_eq!(endings, [delivered.clone(), delivered, ("refused".to_owned(), "quota_window".to_owned())]);
    let windows = shop.truth("windows").await;
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
    assert_eq!(shop.truth("received").await.len(), 2);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_message_for_which_the_window_has_no_room_is_told_when_it_may_go() {
    let world = World::at("2026-11-21T12:10:00+08:00").await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 1, "window": {"seconds": 3600}, "basic_share": 0.0});
    let shop = world.open("full", json!({}), json!({"quota_rules": [rule]})).await;
    for _ in 0..2 {
        shop.grant("o1", SHIPPED).await;
    }
    let first = shop.ask("o1", SHIPPED, json!({})).await;
    assert_eq!(first["status"], "queued", "{first}");
    shop.comes_to(&id(&first), "delivered").await;
    let second = shop.ask("o1", SHIPPED, json!({})).await;
    let edge = at("2026-11-21T13:00:00+08:00");
    assert_waits(&second, "quota_window", edge + 2.seconds());
    assert_eq!(shop.api.standing(&id(&second)).await["status"], "waiting");
    let worthless = shop.ask("o1", SHIPPED, json!({"deadline": edge})).await;
    assert_eq!((worthless["status"].as_str(), reason(&worthless)), (Some("refused"), "quota_window"), "{worthless}");
    world.pass_until(edge + 3.minutes()).await;
    shop.comes_to(&id(&second), "delivered").await;
    world.stack.stop().await;
}

/// One call an hour: what only waits for room stays parked until then, whatever the walk over the messages sees.
#[tokio::test]
async fn what_waits_for_room_is_left_where_it_is_parked() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 1, "window": {"seconds": 3600}, "basic_share": 0.0});
    let shop = world.open("parked", json!({}), json!({"quota_rules": [rule]})).await;
    world.pass_minutes(1).await;
    let mut ids = Vec::new();
    for openid in ["o1", "o2", "o3", "o4", "o5"] {
        shop.grant(openid, SHIPPED).await;
        ids.push(shop.send(openid, SHIPPED).await);
    }
    world.pass_until(at("2026-11-21T13:01:00+08:00")).await;
    let overdue = async || {
        let mut overdue = Vec::new();
        for id in &ids {
            let message = shop.api.standing(id).await;
            overdue.extend(Some(message).filter(|one| one["next_attempt_at"] == "2026-11-21T05:00:02Z"));
        }
        overdue
    };
    let before = overdue().await;
    assert!(!before.is_empty());
    world.pass_until(at("2026-11-21T13:12:00+08:00")).await;
    assert_eq!(overdue().await, before);
    assert_eq!(shop.truth("received").await.len(), 2);
    world.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_cannot_be_counted_is_not_answered() {
    let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
    let is_down = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&is_down);
    let decide = move |operation: &str, body: &Value| {
        let partition = body.pointer("/Item/pk/S").and_then(Value::as_str).unwrap_or_default();
        let is_receipt = operation == "PutItem" && partition.starts_with("R#");
        if is_receipt && own.load(Ordering::SeqCst) { Fate::Throttled } else { Fate::Passes }
    };
    let proxy = Proxy::start(stand_ins.url(), decide).await;
    let world = World::with(NOON, Options { aws: Aws::Endpoint(proxy.url.clone()), ..Options::default() }).await;
    let shop = world.shop("counted").await;
    let wanted = shop.wanted("nobody", SHIPPED, json!({}));
    is_down.store(true, Ordering::SeqCst);
    assert_eq!(shop.api.message("k", &wanted).await.status, 503);
    is_down.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = shop.api.message("k", &wanted).await;
        assert_eq!((answer.status, reason(&answer.body)), (202, "no_grant"), "{}", answer.text);
    }
    let metrics = shop.api.get("/v1/channels/counted/metrics?by=outcome").await;
    let rows = metrics.body["rows"].as_array().unwrap();
    let counts: Vec<_> = rows.iter().map(|row| (row["outcome"].as_str(), row["count"].as_u64())).collect();
    assert_eq!(counts, [(Some("refused"), Some(1))], "{}", metrics.text);
    world.stack.stop().await;
}
