//! What people did: reported once, noted with the person.

use serde_json::{Value, json};

use super::world::{NOON, SHIPPED, Shop, World, id};

fn event(shop: &Shop, id: &str, kind: &str, openid: &str, source: Value) -> Value {
    json!({"id": id, "type": kind, "channel": shop.name, "openid": openid, "source": source})
}

/// Reports events and returns what came of each.
async fn report(shop: &Shop, events: &[Value]) -> Vec<String> {
    let answer = shop.api.post("/v1/events", &json!({ "events": events })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.body["results"].as_array().unwrap();
    results.iter().map(|result| result["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_event_counts_once_and_bad_ones_do_not_stop_good_ones() {
    let world = World::at(NOON).await;
    let shop = world.shop("events").await;
    let good: Vec<Value> = ["open", "click", "conversion", "share", "complaint", "business"]
        .iter()
        .map(|kind| event(&shop, &format!("e-{kind}"), kind, "o1", Value::Null))
        .collect();
    let mut batch = good.clone();
    batch.insert(1, event(&shop, "e-bad", "sneeze", "o1", Value::Null));
    batch.insert(2, event(&shop, "e-far", "open", "o1", json!("not an id")));
    batch.push(json!({"id": "e-attic", "type": "open", "channel": "attic", "openid": "o1"}));
    batch.push(good[0].clone());
    let statuses = report(&shop, &batch).await;
    let (accepted, duplicate, invalid) = ("accepted", "duplicate", "invalid");
    let expected = [accepted, invalid, invalid, accepted, accepted, accepted, accepted, accepted, invalid, duplicate];
    assert_eq!(statuses, expected);
    assert_eq!(report(&shop, &good).await, [duplicate; 6]);
    let full: Vec<Value> =
        (0..500).map(|number| event(&shop, &format!("n{number}"), "open", "o2", json!(null))).collect();
    assert!(report(&shop, &full).await.iter().all(|status| status == accepted));
    assert!(report(&shop, &full).await.iter().all(|status| status == duplicate));
    let too_many: Vec<Value> = full.iter().chain(&good).cloned().collect();
    for events in [too_many, Vec::new()] {
        let answer = shop.api.post("/v1/events", &json!({ "events": events })).await;
        assert_eq!(answer.problem(), (422, "out_of_range", "events"));
    }
    for (role, status) in [("sender", 200), ("operator", 403), ("analyst", 403), ("support", 403)] {
        let key = shop.api.post("/v1/keys", &json!({"role": role, "name": role})).await;
        let api = shop.api.with_key(key.body["key"].as_str().unwrap());
        assert_eq!(api.post("/v1/events", &json!({"events": [good[0]]})).await.status, status, "{role}");
    }
    world.stack.stop().await;
}

/// Whom a campaign means shows in what is held back from them.
#[tokio::test]
async fn who_clicked_is_in_the_segment_of_those_who_clicked() {
    let world = World::at(NOON).await;
    let shop = world.shop("clicks").await;
    let campaign = |segment: String| {
        json!({"channel": shop.name, "name": "Spring", "template": SHIPPED, "segment": segment,
            "data": {"character_string1": "A1", "thing2": "春茶"}, "until": "2026-11-28T22:00:00+08:00"})
    };
    let first = id(&shop.api.post("/v1/campaigns", &campaign("new".to_owned())).await.body);
    let second = id(&shop.api.post("/v1/campaigns", &campaign(format!("clicked('{first}') and active"))).await.body);
    assert_eq!(shop.api.post(&format!("/v1/campaigns/{second}/start"), &Value::Null).await.status, 200);
    let people = json!({"subscribers": [{"openid": "o1"}, {"openid": "o2"}]});
    shop.api.post("/v1/channels/clicks/subscribers", &people).await;
    let clicks = [event(&shop, "e1", "click", "o1", json!(first)), event(&shop, "e2", "open", "o2", json!(first))];
    assert_eq!(report(&shop, &clicks).await, ["accepted", "accepted"]);
    let held_back = async |openid: &str| {
        let answer = shop.api.get(&format!("/v1/channels/clicks/subscribers/{openid}/held-back")).await;
        answer.body["items"].as_array().unwrap().iter().map(|item| item["campaign"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(held_back("o1").await, [json!(second)]);
    assert_eq!(held_back("o2").await, Vec::<Value>::new());
    world.stack.stop().await;
}

#[tokio::test]
async fn nothing_is_kept_of_whom_was_erased() {
    let world = World::at(NOON).await;
    let shop = world.shop("erased").await;
    assert_eq!(report(&shop, &[event(&shop, "e1", "open", "o1", Value::Null)]).await, ["accepted"]);
    assert_ne!(shop.person("o1").await, Value::Null, "who does something is somebody");
    let erase = shop.api.request(reqwest::Method::DELETE, "/v1/channels/erased/subscribers/o1");
    assert_eq!(shop.api.ask(erase).await.status, 202);
    assert_eq!(report(&shop, &[event(&shop, "e2", "click", "o1", Value::Null)]).await, ["accepted"]);
    assert_eq!(shop.person("o1").await, Value::Null);
    world.stack.stop().await;
}
