//! One delivery at a low rate: it ends in time, and its outcomes are known before.

use std::time::Duration;

use futures::future::join_all;
use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::{Value, json};
use tidepost::stack::Options;
use tidepost::stack::host::HostSettings;
use tidepost_core::decide::Case;
use tidepost_core::dispatch::{Step, reserve};
use tidepost_core::ids::{MessageId, Nonce};
use tidepost_core::time::hour_of;

use super::world::{NOON, SEND, SHIPPED, Shop, World, at, id, until};

const PEOPLE: usize = 32;

async fn count(shop: &Shop, ids: &[String], status: &str) -> usize {
    let messages = join_all(ids.iter().map(|id| shop.api.standing(id))).await;
    messages.iter().filter(|message| message["status"] == status).count()
}

/// At one call a second the first lease holds 12 of the 32 messages, and the delivery has 20 s.
#[tokio::test]
async fn a_slow_delivery_tells_of_each_lease_and_parks_what_it_has_no_time_for() {
    let host = HostSettings { batch_size: 100, batching_window: Duration::from_secs(2), maximum_concurrency: 1 };
    let world = World::with(NOON, Options { host, ..Options::default() }).await;
    let shop = world.open("slow", json!({}), json!({"rate_limit_per_second": 1})).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    let ids = join_all(people.iter().map(|openid| shop.send(openid, SHIPPED))).await;
    let received = async |at_least: usize| {
        let enough = async || (shop.truth("received").await.len() >= at_least).then_some(());
        until(&format!("{at_least} are received"), enough).await;
    };
    received(1).await;
    let begun = world.now();
    world.stack.clock.advance(Duration::from_secs(11));
    received(13).await;
    let delivered = count(&shop, &ids, "delivered").await;
    assert!(delivered >= 12, "{delivered} are known");
    assert!(world.now() < begun + 19.seconds(), "the delivery may have ended");
    world.stack.clock.advance(Duration::from_secs(9));
    world.stack.idle().await;
    let waiting = count(&shop, &ids, "waiting").await;
    assert!((11..20).contains(&waiting), "{waiting} are parked");
    for id in &ids {
        let message = shop.api.standing(id).await;
        assert!(message["status"] == "delivered" || message["reason"]["code"] == "rate", "{message}");
    }
    world.pass_minutes(4).await;
    assert_eq!(count(&shop, &ids, "delivered").await, PEOPLE);
    assert_eq!(shop.truth("received").await.len(), PEOPLE);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_usual_delivery_leaves_one_receipt() {
    let host = HostSettings { batch_size: 100, batching_window: Duration::from_secs(2), maximum_concurrency: 1 };
    let world = World::with(NOON, Options { host, ..Options::default() }).await;
    let shop = world.shop("quick").await;
    let people: Vec<String> = (0..10).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    let ids = join_all(people.iter().map(|openid| shop.send(openid, SHIPPED))).await;
    for id in &ids {
        shop.comes_to(id, "delivered").await;
    }
    let receipts = world.stack.app.store.receipts("quick", hour_of(world.now())).await.unwrap();
    assert_eq!(receipts.len(), 1);
    world.stack.stop().await;
}

/// Reserves a message as another delivery would.
async fn reserve_elsewhere(world: &World, shop: &Shop, message: &str) {
    let (store, id) = (&world.stack.app.store, MessageId::parse(message).unwrap());
    let state = store.channel_state(&shop.name).await.unwrap().unwrap();
    let offer = store.message(id).await.unwrap().unwrap().offer(id);
    let template = &state.templates[&offer.template];
    let (channel, health, now) = (&state.channel, &state.health, world.now());
    let change = |person: &tidepost_core::person::Person| {
        let case = Case { person, offer: &offer, channel, health, template, now };
        match reserve(&case, Nonce([9; 8]), None) {
            Step::Swap(reserved) => Some(reserved.person),
            other => panic!("{other:?}"),
        }
    };
    store.update_person(&offer.to, change).await.unwrap();
}

#[tokio::test]
async fn a_message_that_another_delivery_reserved_meanwhile_is_not_refused() {
    let host = HostSettings { batch_size: 100, batching_window: Duration::from_secs(2), maximum_concurrency: 1 };
    let world = World::with(NOON, Options { host, ..Options::default() }).await;
    let shop = world.shop("meanwhile").await;
    shop.grant("o1", SHIPPED).await;
    shop.grant("o1", SHIPPED).await;
    // The first is answered late, and the answer stops the channel.
    shop.sim.fault("o1", Some(1), json!({"kind": "delay", "milliseconds": 1_500})).await;
    shop.sim.fault("o1", Some(1), json!({"kind": "errcode", "errcode": 48001})).await;
    let soon = json!({"deadline": world.now() + 1.hour()});
    let (first, second) = (id(&shop.ask("o1", SHIPPED, soon).await), shop.send("o1", SHIPPED).await);
    until("the first is called", async || (shop.calls_of(SEND).await == 1).then_some(())).await;
    reserve_elsewhere(&world, &shop, &second).await;
    shop.comes_to(&first, "refused").await;
    world.stack.idle().await;
    assert_eq!(shop.api.standing(&second).await["status"], "queued", "the other delivery tells how it ends");
    world.stack.stop().await;
}

#[tokio::test]
async fn the_channels_of_an_invocation_share_what_it_has_in_flight() {
    const ANSWER_MILLISECONDS: i64 = 2_000;
    let host = HostSettings { batch_size: 200, batching_window: Duration::from_secs(2), maximum_concurrency: 1 };
    let world = World::with(NOON, Options { host, ..Options::default() }).await;
    let people: Vec<String> = (0..60).map(|n| format!("o{n}")).collect();
    let slow = json!({"latency_milliseconds": ANSWER_MILLISECONDS});
    let mut shops = Vec::new();
    for name in ["left", "right"] {
        let shop = world.open(name, slow.clone(), json!({})).await;
        shop.grant_all(&people, SHIPPED).await;
        shops.push(shop);
    }
    let asked = shops.iter().flat_map(|shop| people.iter().map(|openid| shop.send(openid, SHIPPED)));
    join_all(asked).await;
    let mut starts: Vec<Timestamp> = Vec::new();
    for shop in &shops {
        until("all are called", async || (shop.calls_of(SEND).await == people.len()).then_some(())).await;
        let calls = shop.truth("calls").await;
        let sends = calls.iter().filter(|call| call["path"] == SEND);
        starts.extend(sends.map(|call: &Value| at(call["at"].as_str().unwrap())));
    }
    starts.sort();
    // No place is taken twice in less time than an answer takes.
    let span = (ANSWER_MILLISECONDS * 9 / 10).milliseconds();
    let at_once = starts.iter().map(|from| starts.iter().filter(|at| (*from..*from + span).contains(at)).count());
    assert!(at_once.max().unwrap() <= 64);
    world.stack.idle().await;
    world.stack.stop().await;
}

#[tokio::test]
async fn a_channel_that_calls_too_often_rests_as_a_whole() {
    let host = HostSettings { batch_size: 100, batching_window: Duration::from_secs(2), maximum_concurrency: 1 };
    let world = World::with(NOON, Options { host, ..Options::default() }).await;
    for (name, code) in [("second", 44990), ("minute", 45011)] {
        let shop = world.open(name, json!({}), json!({"rate_limit_per_second": 5})).await;
        let people: Vec<String> = (0..20).map(|n| format!("o{n}")).collect();
        shop.grant_all(&people, SHIPPED).await;
        let often = json!({"match": {"path": SEND, "times": 1}, "fault": {"kind": "errcode", "errcode": code}});
        shop.sim.tell(Method::POST, "faults", &often).await;
        let ids = join_all(people.iter().map(|openid| shop.send(openid, SHIPPED))).await;
        world.pass_minutes(4).await;
        for id in &ids {
            shop.comes_to(id, "delivered").await;
        }
        let calls = shop.truth("calls").await;
        let sends: Vec<&Value> = calls.iter().filter(|call| call["path"] == SEND).collect();
        assert_eq!(sends.len(), people.len() + 1, "{name}: nobody else had to find out");
        let starts: Vec<Timestamp> = sends.iter().map(|call| at(call["at"].as_str().unwrap())).collect();
        let refused = sends.iter().position(|call| call["errcode"] == code).unwrap();
        let rest = starts[refused + 1] - starts[refused];
        let least = if code == 44990 { 1.second() } else { 30.seconds() };
        assert!(rest.compare(least).unwrap().is_ge(), "{name}: {rest}");
    }
    world.stack.stop().await;
}
