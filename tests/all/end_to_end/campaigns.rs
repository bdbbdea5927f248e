//! Campaigns, from the API to the people: who gets them, in which order, and who does not.

use std::collections::BTreeSet;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::world::{NOON, SHIPPED, Shop, World, at, id};

/// Asks for a campaign and starts it; `changes` replace what is usual.
pub async fn start(shop: &Shop, changes: Value) -> String {
    let campaign = make(shop, changes).await;
    command(shop, &campaign, "start").await;
    campaign
}

/// Asks for a campaign; `changes` replace what is usual.
pub async fn make(shop: &Shop, changes: Value) -> String {
    let mut wanted = json!({
        "channel": shop.name, "name": "Spring", "template": SHIPPED,
        "data": {"character_string1": "S1", "thing2": "{{attributes.name|您}}的春茶到了"},
        "page": "pages/sale?src=spring", "topic": "sales", "category": "reminder",
        "segment": "tag('vip')", "until": "2026-11-28T22:00:00+08:00",
    });
    for (name, value) in changes.as_object().unwrap() {
        wanted[name] = value.clone();
    }
    let made = shop.api.post("/v1/campaigns", &wanted).await;
    assert_eq!(made.status, 201, "{}", made.text);
    id(&made.body)
}

pub async fn command(shop: &Shop, campaign: &str, verb: &str) -> Value {
    let answer = shop.api.post(&format!("/v1/campaigns/{campaign}/{verb}"), &json!({})).await;
    assert_eq!(answer.status, 200, "{verb}: {}", answer.text);
    answer.body
}

async fn show(shop: &Shop, campaign: &str) -> Value {
    let answer = shop.api.get(&format!("/v1/campaigns/{campaign}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// Tells Tidepost who people are.
pub async fn know(shop: &Shop, people: Vec<Value>) {
    let path = format!("/v1/channels/{}/subscribers", shop.name);
    for people in people.chunks(500) {
        let answer = shop.api.post(&path, &json!({ "subscribers": people })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

pub fn openids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

pub fn tagged(openids: &[String], tag: &str) -> Vec<Value> {
    openids.iter().map(|openid| json!({"openid": openid, "tags": {"add": [tag]}})).collect()
}

/// Who received something, once for each time, in the order of time.
pub async fn received(shop: &Shop) -> Vec<String> {
    let mut received = shop.truth("received").await;
    received.sort_by_key(|one| at(one["at"].as_str().unwrap()));
    received.iter().map(|one| one["openid"].as_str().unwrap().to_owned()).collect()
}

pub fn set(openids: &[String]) -> BTreeSet<String> {
    openids.iter().cloned().collect()
}

pub async fn assert_no_overshoot(shop: &Shop) {
    let windows = shop.truth("windows").await;
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
}

#[tokio::test]
async fn a_campaign_reaches_those_of_its_segment_who_consented() {
    let world = World::at(NOON).await;
    let shop = world.shop("segment").await;
    let (vips, others) = (openids("vip", 40), openids("other", 10));
    know(&shop, tagged(&vips, "vip")).await;
    know(&shop, vec![json!({"openid": "vip0", "attributes": {"name": "小王"}})]).await;
    shop.grant_all(&vips[..30], SHIPPED).await;
    shop.grant_all(&others, SHIPPED).await;
    let campaign = start(&shop, json!({})).await;
    world.pass_minutes(4).await;
    let received = received(&shop).await;
    assert_eq!(received.len(), 30, "{received:?}");
    assert_eq!(set(&received), set(&vips[..30]));
    let shown = show(&shop, &campaign).await;
    assert_eq!((&shown["status"], &shown["counts"]["delivered"]), (&json!("running"), &json!(30)), "{shown}");
    let words = &shop.received("vip0").await[0];
    assert_eq!(words["data"]["thing2"]["value"], "小王的春茶到了", "{words}");
    // Whoever consents later gets it too, and nobody again.
    shop.grant("vip35", SHIPPED).await;
    shop.grant("vip1", SHIPPED).await;
    world.pass_minutes(14).await;
    assert_eq!(shop.received("vip35").await.len(), 1);
    assert_eq!(shop.received("vip1").await.len(), 1);
    world.stack.stop().await;
}

#[tokio::test]
async fn the_best_go_first_when_a_window_cannot_hold_all() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 40, "window": {"seconds": 3600}, "basic_share": 0.0});
    let app = json!({"windows": [{"id": "hourly", "unit": "call", "limit": 40, "seconds": 3600}]});
    let shop = world.open("scarce", app, json!({"quota_rules": [rule]})).await;
    let (gold, tin) = (openids("gold", 30), openids("tin", 30));
    know(&shop, tagged(&gold, "gold")).await;
    know(&shop, tagged(&tin, "tin")).await;
    shop.grant_all(&gold, SHIPPED).await;
    shop.grant_all(&tin, SHIPPED).await;
    start(&shop, json!({"name": "Tin", "segment": "tag('tin')", "priority": 10})).await;
    start(&shop, json!({"name": "Gold", "segment": "tag('gold')", "priority": 90})).await;
    world.pass_minutes(5).await;
    let first = received(&shop).await;
    assert_eq!(first.len(), 40, "{first:?}");
    assert!(set(&first).is_superset(&set(&gold)), "{first:?}");
    let waiting = tin.iter().find(|openid| !first.contains(openid)).unwrap();
    let held = shop.api.get(&format!("/v1/channels/scarce/subscribers/{waiting}/held-back")).await.body;
    assert_eq!(held["items"][0]["reason"], "quota_window", "{held}");
    let edge = at("2026-11-21T13:00:00+08:00");
    world.pass_until(edge + 2.minutes()).await;
    let all = received(&shop).await;
    assert_eq!(set(&all), set(&[gold, tin].concat()));
    assert_eq!(all.len(), 60, "nobody twice: {all:?}");
    assert_no_overshoot(&shop).await;
    world.stack.stop().await;
}

#[tokio::test]
async fn of_two_campaigns_the_better_wins_a_person_and_the_loser_is_told() {
    let world = World::at(NOON).await;
    let shop = world.shop("rivals").await;
    know(&shop, tagged(&["o1".to_owned()], "vip")).await;
    shop.grant("o1", SHIPPED).await;
    let loser = start(&shop, json!({"name": "Loser", "priority": 10, "business_line": "tea"})).await;
    let winner = start(&shop, json!({"name": "Winner", "priority": 20, "business_line": "coffee"})).await;
    world.pass_minutes(4).await;
    assert_eq!(shop.received("o1").await.len(), 1);
    assert_eq!(show(&shop, &winner).await["counts"]["delivered"], 1);
    assert_eq!(show(&shop, &loser).await["counts"]["delivered"], 0);
    let held = shop.api.get(&format!("/v1/channels/{}/subscribers/o1/held-back", shop.name)).await;
    assert_eq!(held.status, 200, "{}", held.text);
    let item = &held.body["items"][0];
    assert_eq!(
        (&item["campaign"], &item["reason"], &item["winner"]),
        (&json!(loser), &json!("outbid"), &json!(winner)),
        "{}",
        held.text
    );
    world.stack.stop().await;
}

/// Plans look further ahead than this campaign lasts, also where another goes on that has nobody left.
#[tokio::test]
async fn a_campaign_of_a_minute_reaches_its_people() {
    let world = World::at(NOON).await;
    let people = openids("brief", 5);
    let shops = [world.shop("alone").await, world.shop("beside").await];
    for shop in &shops {
        know(shop, tagged(&people, "vip")).await;
        know(shop, tagged(&["other".to_owned()], "other")).await;
        shop.grant_all(&[people.clone(), vec!["other".to_owned()]].concat(), SHIPPED).await;
    }
    start(&shops[1], json!({"segment": "tag('other')"})).await;
    world.pass_until(at("2026-11-21T12:00:50+08:00")).await;
    for shop in &shops {
        start(shop, json!({"until": "2026-11-21T12:02:00+08:00"})).await;
    }
    world.pass_until(at("2026-11-21T12:03:00+08:00")).await;
    assert_eq!(set(&received(&shops[0]).await), set(&people));
    assert_eq!(set(&received(&shops[1]).await), set(&[people, vec!["other".to_owned()]].concat()));
    world.stack.stop().await;
}

/// Windows of seconds are a rate: campaigns use one after the other, not one of each minute's, and none too much.
#[tokio::test]
async fn windows_of_seconds_are_used_one_after_the_other() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "short", "unit": "call", "limit": 20, "window": {"seconds": 5}, "basic_share": 0.0});
    let app = json!({"windows": [{"id": "short", "unit": "call", "limit": 20, "seconds": 5}]});
    let shop = world.open("seconds", app, json!({"quota_rules": [rule]})).await;
    let people = openids("vip", 60);
    know(&shop, tagged(&people, "vip")).await;
    shop.grant_all(&people, SHIPPED).await;
    start(&shop, json!({})).await;
    world.pass_minutes(5).await;
    let mut calls = shop.truth("received").await;
    calls.sort_by_key(|one| at(one["at"].as_str().unwrap()));
    let people_reached: Vec<String> = calls.iter().map(|one| one["openid"].as_str().unwrap().to_owned()).collect();
    assert_eq!((calls.len(), set(&people_reached)), (60, set(&people)), "each once");
    assert_no_overshoot(&shop).await;
    let time = |call: &Value| at(call["at"].as_str().unwrap());
    let took = time(&calls[59]) - time(&calls[0]);
    assert!((10..40).contains(&took.get_seconds()), "15 s at the rate: {took}");
    world.stack.stop().await;
}

#[tokio::test]
async fn a_list_is_reached_and_what_is_paused_sends_nothing_until_it_is_resumed() {
    let world = World::at(NOON).await;
    let shop = world.shop("paused").await;
    let people = openids("o", 20);
    shop.grant_all(&people, SHIPPED).await;
    let wanted = json!({"segment": null, "list": &people[..12], "from": "2026-11-21T12:20:00+08:00"});
    let campaign = start(&shop, wanted).await;
    // Before anything is planned: nothing can be under way.
    world.pass_until(at("2026-11-21T12:10:00+08:00")).await;
    assert!(received(&shop).await.is_empty());
    let paused = command(&shop, &campaign, "pause").await;
    assert_eq!(paused["status"], "paused", "{paused}");
    assert_eq!(paused["at_most_more"], 0, "{paused}");
    world.pass_until(at("2026-11-21T12:25:00+08:00")).await;
    assert!(received(&shop).await.is_empty());
    command(&shop, &campaign, "resume").await;
    world.pass_minutes(4).await;
    assert_eq!(set(&received(&shop).await), set(&people[..12]));
    world.stack.stop().await;
}

/// The morning's first send starts with the morning, and not before.
#[tokio::test]
async fn the_night_is_quiet_and_the_morning_begins_on_time() {
    let world = World::at("2026-11-21T23:00:00+08:00").await;
    let shop = world.shop("morning").await;
    let people = openids("o", 15);
    know(&shop, tagged(&people, "vip")).await;
    shop.grant_all(&people, SHIPPED).await;
    start(&shop, json!({})).await;
    let morning = at("2026-11-22T08:00:00+08:00");
    world.pass_until(morning - 4.minutes()).await;
    assert!(received(&shop).await.is_empty());
    world.pass_until(morning + 1.minutes()).await;
    assert_eq!(set(&received(&shop).await), set(&people));
    let times: Vec<Timestamp> =
        shop.truth("received").await.iter().map(|one| at(one["at"].as_str().unwrap())).collect();
    assert!(times.iter().all(|time| *time >= morning), "{times:?}");
    world.stack.stop().await;
}
