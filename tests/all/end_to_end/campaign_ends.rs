//! When campaigns are over: everybody whom they meant was sent them, or has a reason.

use serde_json::{Value, json};

use super::campaigns::{command, know, make, openids, received, set, start, tagged};
use super::world::{CONFIRMED, NOON, SHIPPED, Shop, World, at};

async fn show(shop: &Shop, campaign: &str) -> Value {
    let answer = shop.api.get(&format!("/v1/campaigns/{campaign}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// Why a person did not get one campaign, and which they got instead; `None` where there is nothing to explain.
async fn held_back(shop: &Shop, openid: &str, campaign: &str) -> Option<(Value, Value)> {
    let path = format!("/v1/channels/{}/subscribers/{openid}/held-back", shop.name);
    let answer = shop.api.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let items = answer.body["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["campaign"] == campaign)?;
    Some((item["reason"].clone(), item["winner"].clone()))
}

/// Of 30 people 26 consented, one of them wants nothing, and the hour holds 20 calls.
#[tokio::test]
async fn the_end_explains_everybody_of_the_segment() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 20, "window": {"seconds": 3600}, "basic_share": 0.0});
    let app = json!({"windows": [{"id": "hourly", "unit": "call", "limit": 20, "seconds": 3600}]});
    let shop = world.open("ends", app, json!({"quota_rules": [rule]})).await;
    let vips = openids("vip", 30);
    know(&shop, tagged(&vips, "vip")).await;
    know(&shop, tagged(&openids("other", 7), "other")).await;
    shop.grant_all(&vips[..26], SHIPPED).await;
    let silent = shop.api.put("/v1/channels/ends/subscribers/vip25/preferences", &json!({"stopped": true})).await;
    assert_eq!(silent.status, 200, "{}", silent.text);
    let campaign = start(&shop, json!({"until": "2026-11-21T12:30:00+08:00"})).await;
    world.pass_until(at("2026-11-21T12:29:00+08:00")).await;
    let shown = show(&shop, &campaign).await;
    assert_eq!((&shown["status"], &shown["over"]), (&json!("running"), &Value::Null), "{shown}");
    world.pass_until(at("2026-11-21T12:36:00+08:00")).await;
    let shown = show(&shop, &campaign).await;
    let over = json!({
        "until": "2026-11-21T04:30:00Z", "occurrences": 1, "people": 30, "sent": 20,
        "held_back": {"quota_window": 5, "no_grant": 4, "stopped": 1},
    });
    assert_eq!((&shown["status"], &shown["over"]), (&json!("finished"), &over), "{shown}");
    assert_eq!(shown["counts"]["delivered"], 20, "{shown}");
    // One by one they are told the same; also the next day, when the window has room again.
    let reached = received(&shop).await;
    for time in ["2026-11-21T12:37:00+08:00", "2026-11-22T12:00:00+08:00"] {
        world.pass_until(at(time)).await;
        let mut told = std::collections::BTreeMap::new();
        for openid in &vips {
            if let Some((reason, winner)) = held_back(&shop, openid, &campaign).await {
                assert!(winner.is_null() && !reached.contains(openid), "{openid} {reason}");
                *told.entry(reason.as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(json!(told), over["held_back"], "{time}");
        assert_eq!(held_back(&shop, "other1", &campaign).await, None);
    }
    assert_eq!(show(&shop, &campaign).await["over"], over, "counted once");
    world.stack.stop().await;
}

#[tokio::test]
async fn who_lost_and_whose_campaign_was_stopped_is_told_so_afterwards() {
    let world = World::at(NOON).await;
    let shop = world.shop("stops").await;
    let people = openids("o", 6);
    know(&shop, tagged(&people, "vip")).await;
    shop.grant_all(&people, SHIPPED).await;
    let until = "2026-11-21T12:20:00+08:00";
    let loser = start(&shop, json!({"name": "Loser", "priority": 10, "until": until})).await;
    let winner = start(&shop, json!({"name": "Winner", "priority": 90})).await;
    // Nobody gets it before the evening; o9 is not known.
    let others = openids("e", 3);
    shop.grant_all(&others, SHIPPED).await;
    let list: Vec<&str> = others.iter().map(String::as_str).chain(["o9"]).collect();
    let evening = json!([{"from": "18:00", "to": "20:00"}]);
    let stopped = start(&shop, json!({"segment": null, "list": list, "best_hours": evening})).await;
    world.pass_until(at("2026-11-21T12:10:00+08:00")).await;
    assert_eq!(set(&received(&shop).await), set(&people));
    command(&shop, &stopped, "stop").await;
    let draft = make(&shop, json!({"name": "Draft"})).await;
    command(&shop, &draft, "stop").await;
    world.pass_until(at("2026-11-21T12:26:00+08:00")).await;
    let over = show(&shop, &loser).await["over"].clone();
    assert_eq!((&over["people"], &over["held_back"]), (&json!(6), &json!({"outbid": 6})), "{over}");
    let over = show(&shop, &stopped).await["over"].clone();
    assert_eq!(over["held_back"], json!({"campaign_stopped": 3, "no_grant": 1}), "{over}");
    assert_eq!(show(&shop, &winner).await["over"], Value::Null);
    assert_eq!(show(&shop, &draft).await["over"], Value::Null, "it never ran");
    assert_eq!(held_back(&shop, "o3", &draft).await, None);
    assert_eq!(held_back(&shop, "o3", &loser).await, Some((json!("outbid"), json!(winner))));
    assert_eq!(held_back(&shop, "e1", &stopped).await, Some((json!("campaign_stopped"), Value::Null)));
    world.stack.stop().await;
}

/// Three people with one consent each: the second time nobody has any left.
#[tokio::test]
async fn each_occurrence_of_a_recurring_campaign_is_accounted_for() {
    let world = World::at(NOON).await;
    let shop = world.shop("often").await;
    let people = openids("o", 3);
    know(&shop, tagged(&people, "vip")).await;
    shop.grant_all(&people, SHIPPED).await;
    let schedule = json!({"cron": "*/2 * * * *", "time_zone": "Asia/Shanghai"});
    let wanted = json!({"schedule": schedule, "until": "2026-11-21T12:05:00+08:00"});
    let campaign = start(&shop, wanted).await;
    // A queue's delay before each start passes in real time.
    for start in ["12:02:30", "12:04:30", "12:08:05"] {
        world.pass_until(at(&format!("2026-11-21T{start}+08:00"))).await;
    }
    let over = show(&shop, &campaign).await["over"].clone();
    assert_eq!((&over["occurrences"], &over["people"], &over["sent"]), (&json!(1), &json!(3), &json!(3)), "{over}");
    world.pass_until(at("2026-11-21T12:12:00+08:00")).await;
    let over = show(&shop, &campaign).await["over"].clone();
    let expected = json!({
        "until": "2026-11-21T04:05:00Z", "occurrences": 2, "people": 6, "sent": 3, "held_back": {"no_grant": 3},
    });
    assert_eq!(over, expected);
    assert_eq!(received(&shop).await.len(), 3);
    world.stack.stop().await;
}

/// Two openids, one person: only the second consented. One campaign means both by a tag, the other names both on its list;
/// nobody gets either, because its hours never come.
#[tokio::test]
async fn who_is_known_by_two_openids_is_accounted_for_once() {
    let world = World::at(NOON).await;
    let shop = world.shop("same").await;
    let (twins, others) = (openids("twin", 2), openids("other", 3));
    let report = |(openid, result): (&String, &str)| json!({"event_id": format!("e-{openid}"), "openid": openid, "template": SHIPPED, "result": result, "user_id": "u1"});
    let reports: Vec<Value> = twins.iter().zip(["reject", "accept"]).map(report).collect();
    let told = shop.api.post("/v1/channels/same/grants", &json!({ "grants": reports })).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let all = [twins, others].concat();
    know(&shop, tagged(&all, "vip")).await;
    let usual = json!({"until": "2026-11-21T12:10:00+08:00", "best_hours": [{"from": "18:00", "to": "20:00"}]});
    let of_segment = start(&shop, usual.clone()).await;
    let mut wanted = usual;
    (wanted["segment"], wanted["list"]) = (Value::Null, json!(all));
    let of_list = start(&shop, wanted).await;
    world.pass_until(at("2026-11-21T12:15:00+08:00")).await;
    for campaign in [of_segment, of_list] {
        let over = show(&shop, &campaign).await["over"].clone();
        let expected = (&json!(4), &json!(0), &json!({"no_grant": 3, "deadline_passed": 1}));
        assert_eq!((&over["people"], &over["sent"], &over["held_back"]), expected, "{over}");
    }
    world.stack.stop().await;
}

/// The platform lists the template no more while a campaign uses it: what was not sent by then never can be.
#[tokio::test]
async fn a_campaign_whose_template_is_gone_is_accounted_for() {
    let world = World::at(NOON).await;
    let shop = world.shop("gone").await;
    let people = openids("o", 3);
    know(&shop, tagged(&people, "vip")).await;
    shop.grant_all(&people[..2], SHIPPED).await;
    let campaign = start(&shop, json!({"until": "2026-11-21T12:10:00+08:00"})).await;
    world.pass_until(at("2026-11-21T12:04:00+08:00")).await;
    assert_eq!(received(&shop).await.len(), 2);
    let left = json!({"priTmplId": CONFIRMED, "title": CONFIRMED, "content": "{{thing2.DATA}}", "type": 2});
    shop.configure(json!({"templates": [left]})).await;
    let synced = shop.api.post("/v1/channels/gone/templates/sync", &json!({})).await;
    assert_eq!((synced.status, &synced.body["removed"]), (200, &json!(2)), "{}", synced.text);
    world.pass_until(at("2026-11-21T12:15:00+08:00")).await;
    let over = show(&shop, &campaign).await["over"].clone();
    let expected = json!({
        "until": "2026-11-21T04:10:00Z", "occurrences": 1, "people": 3, "sent": 2, "held_back": {"template_unusable": 1},
    });
    assert_eq!(over, expected);
    let told = held_back(&shop, &people[2], &campaign).await;
    assert_eq!(told, Some((json!("template_unusable"), Value::Null)));
    world.stack.stop().await;
}
