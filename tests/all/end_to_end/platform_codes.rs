//! Every code that the platform can answer a send with: what becomes of message and consent, and how often it is called.

use jiff::ToSpan;
use reqwest::Method;
use serde_json::{Value, json};
use tidepost_core::ids::MessageId;

use super::callback::Push;
use super::world::{CONFIRMED, NOON, SEND, SHIPPED, Shop, TOKEN, VISIT, World, at, id, until};

/// One answer for all sends to the person: so many times, or always.
async fn answer(shop: &Shop, openid: &str, times: Option<u32>, code: i64) {
    shop.sim.fault(openid, times, json!({"kind": "errcode", "errcode": code})).await;
}

/// Status and reason.
fn ending(message: &Value) -> (&str, &str) {
    (message["status"].as_str().unwrap(), message["reason"]["code"].as_str().unwrap_or_default())
}

/// Asserts that the answers to sends to this person were these.
async fn assert_answers(shop: &Shop, openid: &str, expected: &[Value]) {
    assert_eq!(shop.answers(openid).await, expected, "{openid}");
}

/// How the channel is doing, as the API tells.
async fn health(shop: &Shop) -> Value {
    shop.api.get(&format!("/v1/channels/{}", shop.name)).await.body["health"].clone()
}

#[tokio::test]
async fn a_final_code_is_called_for_once() {
    let world = World::at(NOON).await;
    let shop = world.shop("final").await;
    let (target, template) = (("refused", "target_unusable"), ("refused", "template_unusable"));
    let (bad, no_grant) = (("failed", "bad_request"), ("refused", "no_grant"));
    let (content, error) = (("failed", "content_refused"), ("failed", "platform_error"));
    let table: [(&[i64], (&str, &str)); 6] = [
        (&[40003, 43004, 43019, 43104], target),
        (&[40037, 41030, 43102, 43116], template),
        (&[47003, 47001, 44002, 43002, 40038], bad),
        (&[43101, 45015, 45047], no_grant),
        (&[45168], content),
        (&[40013, 40125, 41004, 40164, 89503, 89501, 89506, 89507, 43106, 45109, 20001, 200_014, 99_999], error),
    ];
    let mut asked = Vec::new();
    for (codes, expected) in table {
        for code in codes {
            let openid = format!("o{code}");
            shop.grant(&openid, SHIPPED).await;
            answer(&shop, &openid, None, *code).await;
            asked.push((*code, expected, openid.clone(), shop.send(&openid, SHIPPED).await));
        }
    }
    for (code, expected, _, id) in &asked {
        let message = shop.comes_to(id, expected.0).await;
        assert_eq!(ending(&message), *expected, "{code}");
        assert_eq!(message["platform"]["code"], *code, "{message}");
    }
    // Nobody comes back to any of them.
    world.pass_minutes(10).await;
    for (code, expected, openid, id) in &asked {
        assert_answers(&shop, openid, &[json!(code)]).await;
        assert_eq!(ending(&shop.api.standing(id).await), *expected, "{code}");
        let given_back = u64::from(*expected != no_grant);
        assert_eq!(shop.available(openid, SHIPPED).await, given_back, "{code}");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn a_code_about_the_account_stops_the_channel() {
    let world = World::at(NOON).await;
    let mut shops = Vec::new();
    for code in [43107, 48001, 48004, 50002, 40243, 50004, 50007, 61007] {
        let shop = world.shop(&format!("banned{code}")).await;
        for openid in ["o1", "o2"] {
            shop.grant(openid, SHIPPED).await;
        }
        answer(&shop, "o1", Some(1), code).await;
        let first = shop.send("o1", SHIPPED).await;
        assert_eq!(ending(&shop.comes_to(&first, "refused").await), ("refused", "channel_banned"), "{code}");
        let banned = until("the channel is banned", async || {
            Some(health(&shop).await).filter(|health| health["state"] == "banned")
        });
        let banned = banned.await;
        assert!(banned["reasons"].to_string().contains(&code.to_string()), "{banned}");
        let second = shop.ask("o2", SHIPPED, json!({})).await;
        assert_eq!(ending(&second), ("refused", "channel_banned"), "{code}");
        assert_eq!(shop.calls_of(SEND).await, 1, "{code}");
        assert_eq!((shop.available("o1", SHIPPED).await, shop.available("o2", SHIPPED).await), (1, 1), "{code}");
        shops.push(shop);
    }
    world.pass_minutes(61).await;
    for shop in shops {
        assert_eq!(health(&shop).await, json!({"state": "ok", "until": null, "reasons": []}), "the ban is over");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn the_platforms_own_state_is_told_from_ours() {
    let world = World::at(NOON).await;
    let shop = world
        .open("state", json!({"blacklist": ["black"], "people": ["cold"], "pages": ["pages/order/detail"]}), json!({}))
        .await;
    for openid in ["black", "o1", "o2", "twice"] {
        shop.grant(openid, SHIPPED).await;
    }
    // Consents that only the backend knows of.
    for (n, openid) in ["cold", "cold", "stranger", "twice"].into_iter().enumerate() {
        let report = json!({"event_id": format!("only{n}"), "openid": openid, "template": SHIPPED, "result": "accept"});
        assert_eq!(shop.report(&[report]).await[0]["status"], "granted");
    }
    for (openid, changes, expected, code) in [
        ("black", json!({}), ("refused", "target_unusable"), 43019),
        ("stranger", json!({}), ("refused", "target_unusable"), 40003),
        ("o1", json!({"page": "pages/nowhere"}), ("refused", "template_unusable"), 41030),
        (
            "o2",
            json!({"data": {"character_string1": "A1", "thing2": "代开发票"}}),
            ("failed", "content_refused"),
            45168,
        ),
        ("cold", json!({}), ("refused", "no_grant"), 43101),
    ] {
        let message = shop.comes_to(&id(&shop.ask(openid, SHIPPED, changes).await), expected.0).await;
        assert_eq!(ending(&message), expected, "{openid} {message}");
        assert_answers(&shop, openid, &[json!(code)]).await;
    }
    // One 43101 costs one consent, not the person's others; a second in a row all of them.
    assert_eq!(shop.available("cold", SHIPPED).await, 1);
    let again = shop.send("cold", SHIPPED).await;
    assert_eq!(ending(&shop.comes_to(&again, "refused").await).1, "no_grant");
    assert_eq!(shop.available("cold", SHIPPED).await, 0);
    let first = shop.send("twice", SHIPPED).await;
    shop.comes_to(&first, "delivered").await;
    let second = shop.send("twice", SHIPPED).await;
    shop.comes_to(&second, "refused").await;
    assert_answers(&shop, "twice", &[json!(0), json!(43101)]).await;
    world.stack.stop().await;
}

#[tokio::test]
async fn a_passing_trouble_is_waited_out_in_the_same_delivery() {
    let world = World::at(NOON).await;
    let shop = world.shop("passing").await;
    let mut asked = Vec::new();
    for code in [-1, 43108, 44990] {
        let openid = format!("o{code}");
        shop.grant(&openid, SHIPPED).await;
        answer(&shop, &openid, Some(1), code).await;
        asked.push((code, openid.clone(), shop.send(&openid, SHIPPED).await));
    }
    for (code, openid, id) in &asked {
        shop.comes_to(id, "delivered").await;
        assert_answers(&shop, openid, &[json!(code), json!(0)]).await;
        assert_eq!((shop.available(openid, SHIPPED).await, shop.received(openid).await.len()), (0, 1));
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn a_longer_trouble_parks_the_message() {
    let world = World::at(NOON).await;
    let mut asked = Vec::new();
    for (code, times, reason) in [(-1_i64, 3, "rate"), (43108, 3, "in_flight"), (45011, 1, "rate"), (44991, 1, "rate")]
    {
        let (shop, openid) = (world.shop(&format!("longer{}", code.abs())).await, format!("o{code}"));
        shop.grant(&openid, SHIPPED).await;
        answer(&shop, &openid, Some(times), code).await;
        let id = shop.send(&openid, SHIPPED).await;
        let waits = shop.comes_to(&id, "waiting").await;
        assert_eq!(ending(&waits), ("waiting", reason), "{code}");
        assert_eq!(shop.available(&openid, SHIPPED).await, 1, "{code}: nothing is paid while it waits");
        asked.push((shop, code, times, openid, id));
    }
    let shop = world.shop("longest").await;
    shop.grant("tomorrow", SHIPPED).await;
    answer(&shop, "tomorrow", None, 43100).await;
    let tomorrow = shop.send("tomorrow", SHIPPED).await;
    assert_eq!(ending(&shop.comes_to(&tomorrow, "refused").await), ("refused", "rate"), "a day is past its deadline");
    world.pass_minutes(4).await;
    for (shop, code, times, openid, id) in &asked {
        shop.comes_to(id, "delivered").await;
        let mut expected = vec![json!(code); *times as usize];
        expected.push(json!(0));
        assert_answers(shop, openid, &expected).await;
        assert_eq!((shop.available(openid, SHIPPED).await, shop.received(openid).await.len()), (0, 1));
    }
    assert_answers(&shop, "tomorrow", &[json!(43100)]).await;
    assert_eq!(shop.available("tomorrow", SHIPPED).await, 1);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_token_that_dies_in_mid_batch_is_fetched_once() {
    const PEOPLE: usize = 40;
    let world = World::at(NOON).await;
    let shop = world.open("expiry", json!({}), json!({"rate_limit_per_second": 100})).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    let fault = json!({"match": {"path": SEND, "after": 15, "times": 1}, "fault": {"kind": "revoke_token"}});
    shop.sim.tell(Method::POST, "faults", &fault).await;
    let asked = futures::future::join_all(people.iter().map(|openid| shop.send(openid, SHIPPED))).await;
    for id in &asked {
        shop.comes_to(id, "delivered").await;
    }
    let mut refused = 0;
    for openid in &people {
        let answers = shop.answers(openid).await;
        refused += answers.len() - 1;
        assert!(answers.len() <= 2 && answers.last() == Some(&json!(0)), "{openid} {answers:?}");
        assert_eq!(shop.received(openid).await.len(), 1, "{openid}");
    }
    assert!(refused >= 1, "the token died unnoticed");
    assert_eq!(shop.calls_of(TOKEN).await, 2, "the first and one more");
    world.stack.stop().await;
}

#[tokio::test]
async fn each_code_of_a_bad_token_brings_a_new_one() {
    let world = World::at(NOON).await;
    for code in [40001, 40014, 42001, 41001] {
        let shop = world.shop(&format!("token{code}")).await;
        for openid in ["o1", "o2"] {
            shop.grant(openid, SHIPPED).await;
        }
        answer(&shop, "o1", Some(1), code).await;
        let id = shop.send("o1", SHIPPED).await;
        shop.comes_to(&id, "delivered").await;
        assert_answers(&shop, "o1", &[json!(code), json!(0)]).await;
        // The first, the same once more, a new one by force.
        assert_eq!(shop.calls_of(TOKEN).await, 3, "{code}");
        // Refused again before another may be forced: the message waits, and the platform is not stormed.
        answer(&shop, "o2", Some(1), code).await;
        let waits = shop.send("o2", SHIPPED).await;
        let message = shop.comes_to(&waits, "waiting").await;
        assert_eq!(ending(&message), ("waiting", "rate"), "{code} {message}");
        let calls = shop.calls_of(TOKEN).await;
        assert!(calls <= 6, "{code}: {calls} calls for a token");
        if code == 40001 {
            world.pass_minutes(3).await;
            shop.comes_to(&waits, "delivered").await;
            assert_answers(&shop, "o2", &[json!(code), json!(0)]).await;
        }
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn the_end_of_the_days_quota_closes_the_window_until_midnight() {
    let world = World::at(NOON).await;
    let app = json!({"windows": [{"id": "day", "unit": "message", "limit": 2, "calendar": "day"}]});
    let policy = json!({"policy": {"quiet_hours": null}});
    let shop = world.open("daily", app, policy).await;
    let mut asked = Vec::new();
    for openid in ["o1", "o2", "o3", "o4"] {
        shop.grant(openid, SHIPPED).await;
        let id = shop.send(openid, SHIPPED).await;
        let expected = if asked.len() < 2 { "delivered" } else { "waiting" };
        let message = shop.comes_to(&id, expected).await;
        if expected == "waiting" {
            assert_eq!(ending(&message).1, "quota_window");
            // The window may open before its end: release looks every minute.
            let next = at(message["next_attempt_at"].as_str().unwrap());
            assert!(next > world.now() && next < world.now() + 2.minutes(), "{message}");
        }
        asked.push(id);
    }
    world.pass_minutes(60).await;
    assert_answers(&shop, "o3", &[json!(45009)]).await;
    assert_answers(&shop, "o4", &[]).await;
    assert_eq!((shop.available("o3", SHIPPED).await, shop.available("o4", SHIPPED).await), (1, 1));
    world.pass_until(at("2026-11-22T00:04:00+08:00")).await;
    for id in &asked {
        shop.comes_to(id, "delivered").await;
    }
    assert_eq!(shop.calls_of(SEND).await, 5);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_window_that_the_platform_opens_again_is_used_again() {
    let world = World::at(NOON).await;
    let soon = json!({"deadline": world.now() + 20.minutes()});
    for (name, code, words) in
        [("day", 45009, "reach max api daily quota limit"), ("frequency", 44993, "reach max frequency per day")]
    {
        let shop = world.open(name, json!({}), json!({"policy": {"quiet_hours": null}})).await;
        for openid in ["o1", "o2", "o3"] {
            shop.grant(openid, SHIPPED).await;
        }
        let fault = json!({"kind": "errcode", "errcode": code, "errmsg": words});
        shop.sim.fault("o1", Some(1), fault).await;
        // Worthless long before the window's end.
        let first = id(&shop.ask("o1", SHIPPED, soon.clone()).await);
        assert_eq!(ending(&shop.comes_to(&first, "waiting").await).1, "quota_window");
        let second = shop.send("o2", SHIPPED).await;
        assert_eq!(ending(&shop.comes_to(&second, "waiting").await).1, "quota_window");
        assert_answers(&shop, "o2", &[]).await;
        let windows = shop.api.get(&format!("/v1/channels/{name}/quota")).await.body["windows"].clone();
        assert_eq!((&windows[0]["rule"], &windows[0]["state"]), (&json!("platform"), &json!("closed_by_platform")));
        assert_eq!(health(&shop).await["state"], "degraded");
        // The platform's own count says that there is room: release opens the window.
        world.pass_minutes(3).await;
        for id in [&first, &second] {
            shop.comes_to(id, "delivered").await;
        }
        assert_eq!(health(&shop).await, json!({"state": "ok", "until": null, "reasons": []}));
        let third = shop.send("o3", SHIPPED).await;
        shop.comes_to(&third, "delivered").await;
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn the_end_of_a_minutes_quota_lasts_a_minute() {
    let world = World::at(NOON).await;
    let shop = world.shop("minute").await;
    shop.grant("o1", SHIPPED).await;
    let fault = json!({"kind": "errcode", "errcode": 45009, "errmsg": "reach max api minute quota limit"});
    shop.sim.fault("o1", Some(1), fault).await;
    let id = shop.send("o1", SHIPPED).await;
    let message = shop.comes_to(&id, "waiting").await;
    assert_eq!(ending(&message).1, "quota_window");
    assert!(at(message["next_attempt_at"].as_str().unwrap()) <= world.now() + 2.minutes(), "{message}");
    world.pass_minutes(4).await;
    shop.comes_to(&id, "delivered").await;
    assert_answers(&shop, "o1", &[json!(45009), json!(0)]).await;
    world.stack.stop().await;
}

#[tokio::test]
async fn a_long_term_template_may_be_used_up_for_the_day() {
    let world = World::at(NOON).await;
    let policy = json!({"policy": {"quiet_hours": null}});
    let shop = world.open("visits", json!({"long_term_daily_limit": 1}), policy).await;
    shop.grant("o1", VISIT).await;
    let first = shop.send("o1", VISIT).await;
    shop.comes_to(&first, "delivered").await;
    let second = shop.send("o1", VISIT).await;
    assert_eq!(ending(&shop.comes_to(&second, "waiting").await).1, "quota_window");
    assert_answers(&shop, "o1", &[json!(0), json!(40038)]).await;
    assert_eq!(shop.available("o1", VISIT).await, 1);
    world.pass_until(at("2026-11-22T00:03:00+08:00")).await;
    shop.comes_to(&second, "delivered").await;
    assert_answers(&shop, "o1", &[json!(0), json!(40038), json!(0)]).await;
    world.stack.stop().await;
}

/// A shop whose calls give up soon and whose sent events a test writes itself.
async fn silent(world: &World, name: &str) -> Shop {
    let shop = world.open(name, json!({"sent_events": false}), json!({"call_timeout_milliseconds": 700})).await;
    for _ in 0..3 {
        shop.grant("o1", SHIPPED).await;
        shop.grant("o1", CONFIRMED).await;
    }
    shop
}

/// The platform's event on the person's `nth` message.
async fn sent_event(world: &World, shop: &Shop, nth: usize, code: i64) {
    let received = shop.received("o1").await;
    let result = json!({"TemplateId": received[nth]["template_id"], "MsgID": received[nth]["msgid"],
        "ErrorCode": code.to_string(), "ErrorStatus": if code == 0 { "success" } else { "system failed" }});
    let event = json!({"ToUserName": "gh_1", "FromUserName": "o1", "CreateTime": world.now().as_second(),
        "MsgType": "event", "Event": "subscribe_msg_sent_event", "List": result});
    assert_eq!(Push::of(&shop.app_id, &event.to_string()).to(shop).await.0, 200);
}

#[tokio::test]
async fn an_unknown_reminder_is_never_called_again_and_its_event_settles_it() {
    let world = World::at(NOON).await;
    for (name, fault, arrives) in [
        ("hangs", json!({"kind": "timeout_after_delivery"}), 1),
        ("cut", json!({"kind": "disconnect", "after_processing": true}), 1),
        ("http", json!({"kind": "http", "status": 503}), 0),
    ] {
        let shop = silent(&world, name).await;
        shop.sim.fault("o1", None, fault).await;
        let id = shop.send("o1", SHIPPED).await;
        let message = shop.comes_to(&id, "unknown").await;
        assert_eq!(ending(&message), ("unknown", "timeout"), "{message}");
        world.pass_minutes(5).await;
        assert_eq!((shop.calls_of(SEND).await, shop.received("o1").await.len()), (1, arrives), "{name}");
        assert_eq!(ending(&shop.api.standing(&id).await).0, "unknown");
        assert_eq!(shop.available("o1", SHIPPED).await, 2, "{name}: it may have been used");
        if arrives == 1 {
            sent_event(&world, &shop, 0, 0).await;
            let message = shop.comes_to(&id, "delivered").await;
            assert_eq!(message["platform"]["message_id"], shop.received("o1").await[0]["msgid"], "{message}");
        }
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn an_unknown_basic_message_is_called_twice_at_most() {
    let world = World::at(NOON).await;
    let hangs = || json!({"kind": "timeout_after_delivery"});
    let (never, second, told) =
        (silent(&world, "never").await, silent(&world, "second").await, silent(&world, "told").await);
    never.sim.fault("o1", None, hangs()).await;
    let mut ids = vec![never.send("o1", CONFIRMED).await];
    until("it was called", async || (never.calls_of(SEND).await == 1).then_some(())).await;
    never.comes_to(&ids[0], "waiting").await;
    world.pass_minutes(4).await;
    never.comes_to(&ids[0], "unknown").await;
    world.pass_minutes(10).await;
    assert_answers(&never, "o1", &[Value::Null, Value::Null]).await;
    assert_eq!(never.available("o1", CONFIRMED).await, 1, "each call has a consent of its own");
    let clear = async || never.sim.tell(Method::DELETE, "faults", &json!({})).await;

    clear().await;
    second.sim.fault("o1", Some(1), hangs()).await;
    ids.push(second.send("o1", CONFIRMED).await);
    second.comes_to(&ids[1], "waiting").await;
    clear().await;
    told.sim.fault("o1", Some(1), hangs()).await;
    ids.push(told.send("o1", CONFIRMED).await);
    told.comes_to(&ids[2], "waiting").await;
    sent_event(&world, &told, 0, 0).await;
    world.pass_minutes(4).await;
    second.comes_to(&ids[1], "delivered").await;
    assert_answers(&second, "o1", &[Value::Null, json!(0)]).await;
    // The event came before the second try, so there is none.
    told.comes_to(&ids[2], "delivered").await;
    assert_answers(&told, "o1", &[Value::Null]).await;
    assert_eq!((told.available("o1", CONFIRMED).await, told.left("o1", CONFIRMED).await), (2, 2));
    world.stack.stop().await;
}

#[tokio::test]
async fn an_event_on_the_first_try_during_the_second_ends_it() {
    let world = World::at(NOON).await;
    let shop = silent(&world, "during").await;
    shop.sim.fault("o1", Some(1), json!({"kind": "timeout_after_delivery"})).await;
    let id = shop.send("o1", CONFIRMED).await;
    shop.comes_to(&id, "waiting").await;
    shop.sim.tell(Method::DELETE, "faults", &json!({})).await;
    // The platform is busy for as long as the second try lasts.
    shop.sim.fault("o1", Some(3), json!({"kind": "delay", "milliseconds": 300})).await;
    answer(&shop, "o1", Some(3), -1).await;
    let told = async {
        until("the second try has begun", async || (shop.calls_of(SEND).await > 1).then_some(())).await;
        sent_event(&world, &shop, 0, 0).await;
    };
    tokio::join!(world.pass_minutes(3), told);
    shop.comes_to(&id, "delivered").await;
    world.pass_minutes(5).await;
    assert_answers(&shop, "o1", &[Value::Null, json!(-1), json!(-1), json!(-1)]).await;
    assert_eq!(shop.received("o1").await.len(), 1);
    assert_eq!(shop.outcomes().await, [("delivered".to_owned(), 1)]);
    world.stack.stop().await;
}

#[tokio::test]
async fn an_event_that_may_speak_of_two_sends_settles_neither() {
    let world = World::at(NOON).await;
    for (name, code) in [("success", 0), ("failure", -1)] {
        let shop = silent(&world, name).await;
        shop.sim.fault("o1", Some(1), json!({"kind": "timeout_after_delivery"})).await;
        let first = shop.send("o1", SHIPPED).await;
        shop.comes_to(&first, "unknown").await;
        shop.sim.fault("o1", Some(1), json!({"kind": "delay", "milliseconds": 550})).await;
        let second = shop.send("o1", SHIPPED).await;
        until("the second is called", async || (shop.received("o1").await.len() == 2).then_some(())).await;
        sent_event(&world, &shop, 1, code).await;
        world.stack.idle().await;
        shop.comes_to(&second, "delivered").await;
        shop.comes_to(&first, "unknown").await;
        // From now on the platform's id tells the second from the first.
        sent_event(&world, &shop, 0, 0).await;
        let message = shop.comes_to(&first, "delivered").await;
        assert_eq!(message["platform"]["message_id"], shop.received("o1").await[0]["msgid"], "{message}");
        shop.sim.tell(Method::DELETE, "faults", &json!({})).await;
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn what_was_written_to_a_person_erased_in_mid_call_is_not_kept() {
    let world = World::at(NOON).await;
    let shop = silent(&world, "gone").await;
    shop.sim.fault("o1", Some(1), json!({"kind": "timeout_after_delivery"})).await;
    let id = shop.send("o1", CONFIRMED).await;
    until("it was called", async || (shop.calls_of(SEND).await == 1).then_some(())).await;
    let erased = shop.api.ask(shop.api.request(Method::DELETE, "/v1/channels/gone/subscribers/o1")).await;
    assert_eq!(erased.status, 202, "{}", erased.text);
    world.stack.idle().await;
    shop.comes_to(&id, "unknown").await;
    let row = world.stack.app.store.message(MessageId::parse(&id).unwrap()).await.unwrap().unwrap();
    assert!(row.data.is_empty() && row.page.is_none(), "{row:?}");
    world.stack.stop().await;
}

#[tokio::test]
async fn a_failure_after_success_wins() {
    let world = World::at(NOON).await;
    let shop = silent(&world, "late").await;
    let id = shop.send("o1", SHIPPED).await;
    shop.comes_to(&id, "delivered").await;
    world.stack.idle().await;
    sent_event(&world, &shop, 0, -1).await;
    let message = until("the failure wins", async || {
        let message = shop.api.standing(&id).await;
        (message["status"] == "failed").then_some(message)
    })
    .await;
    assert_eq!(ending(&message), ("failed", "platform_error"), "{message}");
    assert_answers(&shop, "o1", &[json!(0)]).await;
    world.stack.stop().await;
}

/// A shop whose platform tells of each send before it answers.
async fn eager(world: &World, name: &str, changes: Value) -> Shop {
    let mut app = json!({"sent_event_delay_milliseconds": 0});
    app.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let shop = world.open(name, app, json!({"call_timeout_milliseconds": 2_000})).await;
    for template in [SHIPPED, CONFIRMED] {
        shop.grant("o1", template).await;
        shop.grant("o1", template).await;
    }
    shop
}

#[tokio::test]
async fn an_event_before_the_time_out_settles_the_send_and_forbids_a_second_try() {
    let world = World::at(NOON).await;
    for (name, template) in [("early", SHIPPED), ("earlybasic", CONFIRMED)] {
        let shop = eager(&world, name, json!({})).await;
        shop.sim.fault("o1", Some(1), json!({"kind": "timeout_after_delivery"})).await;
        let asked_at = world.now();
        let id = shop.send("o1", template).await;
        let message = shop.comes_to(&id, "delivered").await;
        assert!(world.now() < asked_at + 2.seconds(), "the delivery has given up: the event was not early");
        assert_eq!(message["platform"]["message_id"], shop.received("o1").await[0]["msgid"], "{message}");
        world.pass_minutes(5).await;
        assert_eq!(shop.comes_to(&id, "delivered").await["platform"], message["platform"]);
        assert_answers(&shop, "o1", &[Value::Null]).await;
        assert_eq!((shop.available("o1", template).await, shop.left("o1", template).await), (1, 1), "{name}");
        assert_eq!(shop.outcomes().await, [("delivered".to_owned(), 1)], "{name}");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn a_failure_event_before_the_receipt_wins() {
    let world = World::at(NOON).await;
    let shop = eager(&world, "earlyfailure", json!({"latency_milliseconds": 600})).await;
    let fault = json!({"match": {"path": "subscribe_msg_sent_event"}, "fault": {"kind": "fail_sent_event"}});
    shop.sim.tell(Method::POST, "faults", &fault).await;
    let id = shop.send("o1", SHIPPED).await;
    let message = shop.comes_to(&id, "failed").await;
    assert_eq!(ending(&message), ("failed", "platform_error"), "{message}");
    world.pass_minutes(5).await;
    assert_answers(&shop, "o1", &[json!(0)]).await;
    shop.comes_to(&id, "failed").await;
    assert_eq!(shop.outcomes().await, [("failed".to_owned(), 1)]);
    world.stack.stop().await;
}

#[tokio::test]
async fn an_ordinary_event_writes_nothing() {
    let world = World::at(NOON).await;
    let shop = world.shop("ordinary").await;
    let now = world.now();
    for openid in ["o1", "o2"] {
        shop.grant(openid, SHIPPED).await;
        let id = shop.send(openid, SHIPPED).await;
        shop.comes_to(&id, "delivered").await;
    }
    world.stack.idle().await;
    assert_eq!(shop.truth("callbacks").await.len(), 2);
    let receipts = world.stack.app.store.receipts("ordinary", tidepost_core::time::hour_of(now)).await.unwrap();
    assert_eq!(receipts.len(), 2, "the deliveries' own");
    world.stack.stop().await;
}
