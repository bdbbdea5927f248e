//! What release does for channels: closed windows, tokens, templates.

use jiff::ToSpan;
use reqwest::Method;
use serde_json::{Value, json};
use tidepost_core::ids::{MessageId, SubscriberId};
use tidepost_core::message::Standing;
use tidepost_io::ledger;
use tidepost_io::tokens::NoToken;

use super::world::{NOON, SHIPPED, Shop, TOKEN, World, id};

const QUOTA: &str = "/cgi-bin/openapi/quota/get";
const TEMPLATES: &str = "/wxaapi/newtmpl/gettemplate";

async fn fault(shop: &Shop, path: &str, times: Option<u32>, fault: Value) {
    let body = json!({"match": {"path": path, "times": times}, "fault": fault});
    shop.sim.tell(Method::POST, "faults", &body).await;
}

async fn health(shop: &Shop) -> Value {
    shop.api.get(&format!("/v1/channels/{}", shop.name)).await.body["health"].clone()
}

async fn templates(shop: &Shop) -> usize {
    let listed = shop.api.get(&format!("/v1/channels/{}/templates", shop.name)).await;
    listed.body["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_window_is_opened_again_although_the_token_died_meanwhile() {
    let world = World::at(NOON).await;
    let shop = world.shop("revoked").await;
    shop.grant("o1", SHIPPED).await;
    let used_up = json!({"kind": "errcode", "errcode": 45009, "errmsg": "reach max api daily quota limit"});
    shop.sim.fault("o1", Some(1), used_up).await;
    fault(&shop, QUOTA, Some(1), json!({"kind": "revoke_token"})).await;
    let id = shop.send("o1", SHIPPED).await;
    shop.comes_to(&id, "waiting").await;
    world.pass_minutes(3).await;
    shop.comes_to(&id, "delivered").await;
    assert_eq!(shop.calls_of(QUOTA).await, 2, "once with the token that died, once with the next");
    world.stack.stop().await;
}

#[tokio::test]
async fn a_channel_without_a_token_is_degraded_until_it_has_one() {
    let world = World::at(NOON).await;
    let shop = world.shop("secret").await;
    shop.grant("o1", SHIPPED).await;
    assert_eq!(health(&shop).await["state"], "ok");
    shop.configure(json!({"secret": "ffffffffffffffffffffffffffffffff"})).await;
    let id = shop.send("o1", SHIPPED).await;
    shop.comes_to(&id, "waiting").await;
    let told = health(&shop).await;
    assert_eq!((&told["state"], &told["until"]), (&json!("degraded"), &Value::Null), "{told}");
    assert!(told["reasons"][0].as_str().unwrap().contains("access token"), "{told}");
    shop.configure(json!({})).await;
    world.pass_minutes(3).await;
    shop.comes_to(&id, "delivered").await;
    assert_eq!(health(&shop).await["state"], "ok");
    world.stack.stop().await;
}

/// Where another function fetches tokens, from an address that the platform knows, a refusal is told to it.
#[tokio::test]
async fn tokens_can_be_left_to_a_function_of_their_own() {
    let world = World::at(NOON).await;
    let shop = world.shop("elsewhere").await;
    let mut dispatch = world.stack.app.clone();
    dispatch.config.fetches_tokens = false;
    let channel = dispatch.store.channel("elsewhere").await.unwrap().unwrap();
    let tick =
        || serde_json::from_value(json!({"detail-type": "Scheduled Event", "source": "test", "detail": {}})).unwrap();
    let token = async |rejected| dispatch.token("elsewhere", &channel, rejected).await;
    assert!(matches!(token(None).await, Err(NoToken::Later(_))));
    assert_eq!(shop.calls_of(TOKEN).await, 0, "it does not fetch");
    tidepost_tokens::handle(&world.stack.app, tick()).await.unwrap();
    let first = token(None).await.unwrap();
    assert!(matches!(token(Some(&first)).await, Err(NoToken::Later(_))), "refused");
    assert!(matches!(token(None).await, Err(NoToken::Later(_))), "nobody uses it any more");
    // The platform gives the same out again, so the next one is forced.
    for _ in 0..2 {
        tidepost_tokens::handle(&world.stack.app, tick()).await.unwrap();
    }
    assert_ne!(token(None).await.unwrap().expose(), first.expose());
    world.stack.stop().await;
}

#[tokio::test]
async fn a_sync_that_failed_is_tried_again_at_the_next_tick() {
    let world = World::at(NOON).await;
    let shop = world.shop("synced").await;
    world.pass_minutes(2).await;
    fault(&shop, TEMPLATES, Some(1), json!({"kind": "errcode", "errcode": -1})).await;
    world.pass_minutes(24 * 60 + 1).await;
    let first = shop.calls_of(TEMPLATES).await;
    assert!((1..=2).contains(&first), "{first}");
    world.pass_minutes(2).await;
    assert_eq!(shop.calls_of(TEMPLATES).await, 2);
    world.pass_minutes(10).await;
    assert_eq!(shop.calls_of(TEMPLATES).await, 2, "it succeeded");
    assert_eq!(templates(&shop).await, 3);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_list_without_templates_wipes_none() {
    let world = World::at(NOON).await;
    let shop = world.shop("empty").await;
    shop.configure(json!({"templates": []})).await;
    let answer = shop.api.post("/v1/channels/empty/templates/sync", &json!({})).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"added": 0, "changed": 0, "removed": 0})));
    assert_eq!(templates(&shop).await, 3);
    world.stack.stop().await;
}

#[tokio::test]
async fn an_item_that_cannot_be_read_stops_nobody_else() {
    let world = World::at(NOON).await;
    let store = &world.stack.app.store;
    let shop = world.shop("damaged").await;
    let people: Vec<String> = (0..16).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    shop.grant("broken", SHIPPED).await;
    let soon = json!({"deadline": world.now() + 30.minutes()});
    let later = json!({"not_before": world.now() + 5.minutes()});
    let broken = id(&shop.ask("broken", SHIPPED, later.clone()).await);
    let mut asked = Vec::new();
    for (openid, changes) in people.iter().zip([soon, later].iter().cycle()) {
        asked.push(id(&shop.ask(openid, SHIPPED, changes.clone()).await));
    }
    let who = SubscriberId::new("damaged", "broken");
    let item = ledger::key(&who);
    let sound = store.person(&who).await.unwrap().person().clone();
    store.put(&item, &"no person", None).await.unwrap();
    world.pass_minutes(40).await;
    for id in &asked {
        shop.comes_to(id, "delivered").await;
    }
    // The walk went past it: the rows of what is past its deadline are settled.
    for id in asked.iter().step_by(2) {
        let row = store.message(MessageId::parse(id).unwrap()).await.unwrap().unwrap();
        assert!(matches!(row.standing(), Standing::Ended { .. }), "{row:?}");
    }
    // Repaired, it is brought back.
    store.delete(&item).await.unwrap();
    store.update_person(&who, |person| (*person != sound).then(|| sound.clone())).await.unwrap();
    world.pass_minutes(10).await;
    shop.comes_to(&broken, "delivered").await;
    world.stack.stop().await;
}
