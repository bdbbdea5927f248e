//! One delivery at a low rate: it ends in time, and its outcomes are known before.

use std::time::Duration;

use futures::future::join_all;
use jiff::ToSpan;
use serde_json::json;
use tidepost::stack::Options;
use tidepost::stack::host::HostSettings;
use tidepost_core::time::hour_of;

use super::world::{NOON, SHIPPED, Shop, World, until};

const PEOPLE: usize = 32;

async fn count(shop: &Shop, ids: &[String], status: &str) -> usize {
    let messages = join_all(ids.iter().map(|id| shop.api.standing(id))).await;
    messages.iter().filter(|message| message["status"] == status).count()
}

/// At one call a second the first lease holds 20 of the 32 messages, and the delivery has 25 s.
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
    world.stack.clock.advance(Duration::from_secs(18));
    received(21).await;
    let delivered = count(&shop, &ids, "delivered").await;
    assert!(delivered >= 20, "{delivered} are known");
    assert!(world.now() < begun + 24.seconds(), "the delivery may have ended");
    world.stack.clock.advance(Duration::from_secs(8));
    world.stack.idle().await;
    let waiting = count(&shop, &ids, "waiting").await;
    assert!((5..12).contains(&waiting), "{waiting} are parked");
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
