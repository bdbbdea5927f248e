//! What alarms watch, as the lines that CloudWatch reads; and dead letters, as an operator deals with them.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::{Value, json};
use tidepost::stack::Options;
use tidepost::stack::aws::resources::{Queue, QueueSettings};
use tidepost::stack::aws::{REGION, sdk_config};
use tidepost::stack::host::event::schedule;
use tidepost::stack::host::functions::ScheduledFunction;
use tidepost_core::ids::SubscriberId;
use tidepost_core::quota::Told;
use tidepost_io::emf::{self, Measured};
use tidepost_io::erasure::Erasure;
use tidepost_io::ledger;
use tidepost_io::store::{Key, Stored};

use super::campaigns::{know, openids, received, start, tagged};
use super::dead_letters::{lost_message, task};
use super::world::{NOON, SHIPPED, World, at, until};

/// Runs a tick of a scheduled function beside the host's own, and returns what it measured.
async fn tick(world: &World, function: ScheduledFunction) -> Vec<Value> {
    let event = schedule::event("id", function.name(), REGION, world.now(), &json!({}));
    let event = serde_json::from_str(&event).unwrap();
    let (done, measured) = emf::observed(function.name(), function.handle(&world.stack.app, event)).await;
    done.unwrap();
    lines(&measured)
}

/// A tick of release, as if none had told of windows that closed after `until`.
async fn late_tick(world: &World, until: &str) -> Vec<Value> {
    let (store, key) = (&world.stack.app.store, Key::new("S", "windows told"));
    store.delete(&key).await.unwrap();
    store.swap(&key, None, Told::until(at(until)), None).await.unwrap();
    tick(world, ScheduledFunction::Release).await
}

fn lines(measured: &Measured) -> Vec<Value> {
    let lines = measured.lines("test", Timestamp::UNIX_EPOCH);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A channel's value of a metric.
fn value_of(lines: &[Value], channel: &str, metric: &str) -> Option<u64> {
    let line = lines.iter().find(|line| line["channel"] == channel && line[metric].is_u64())?;
    let dimensions = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
    assert_eq!(dimensions, &json!([["stage"], ["stage", "channel"]]), "{line}");
    line[metric].as_u64()
}

#[tokio::test]
async fn a_token_that_is_not_given_out_is_counted() {
    let world = World::at(NOON).await;
    let shop = world.shop("tokens").await;
    shop.configure(json!({"secret": "ffffffffffffffffffffffffffffffff"})).await;
    let app = &world.stack.app;
    let channel = app.store.channel("tokens").await.unwrap().unwrap();
    let (refused, measured) = emf::observed("dispatch", app.token("tokens", &channel, None)).await;
    assert!(refused.is_err());
    assert_eq!(value_of(&lines(&measured), "tokens", "TokenFailures"), Some(1));
    shop.configure(json!({})).await;
    let (given, measured) = emf::observed("dispatch", app.token("tokens", &channel, None)).await;
    assert!(given.is_ok());
    assert_eq!(value_of(&lines(&measured), "tokens", "TokenFailures"), None);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_campaign_that_the_brake_pauses_is_counted_once() {
    let world = World::at(NOON).await;
    let shop = world.shop("braked").await;
    let campaign = start(&shop, json!({})).await;
    let complaint = |number: u8| {
        json!({"id": format!("e{number}"), "type": "complaint", "channel": "braked", "openid": format!("o{number}"),
            "source": campaign})
    };
    let told = shop.api.post("/v1/events", &json!({"events": [complaint(1), complaint(2)]})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(value_of(&tick(&world, ScheduledFunction::Metrics).await, "braked", "BrakeEngaged"), Some(1));
    assert_eq!(value_of(&tick(&world, ScheduledFunction::Metrics).await, "braked", "BrakeEngaged"), None);
    world.stack.stop().await;
}

/// A limit that is lowered below what was taken is the one way to an overshoot that needs no fault.
#[tokio::test]
async fn a_window_that_holds_more_than_its_limit_is_told_once_it_is_closed() {
    let rule = |limit: u32| json!([{"id": "minute", "unit": "call", "limit": limit, "window": {"seconds": 60}}]);
    let world = World::at("2026-11-21T12:00:10+08:00").await;
    let shop = world.open("lowered", json!({}), json!({"quota_rules": rule(5)})).await;
    let people = openids("o", 5);
    shop.grant_all(&people, SHIPPED).await;
    for openid in &people {
        let sent = shop.send(openid, SHIPPED).await;
        shop.comes_to(&sent, "delivered").await;
    }
    let mut definition = shop.api.get("/v1/channels/lowered").await.body;
    definition.as_object_mut().unwrap().retain(|name, _| !["id", "health"].contains(&name.as_str()));
    definition["quota_rules"] = rule(3);
    let lowered = shop.api.put("/v1/channels/lowered", &definition).await;
    assert_eq!(lowered.status, 200, "{}", lowered.text);
    world.pass_until(at("2026-11-21T12:02:05+08:00")).await;
    let told = late_tick(&world, "2026-11-21T12:00:00+08:00").await;
    assert_eq!(value_of(&told, "lowered", "Overshoot"), Some(2), "{told:?}");
    assert_eq!(value_of(&told, "lowered", "UnusedUnits"), Some(0), "nobody waits");
    world.pass_until(at("2026-11-21T12:03:05+08:00")).await;
    let next = late_tick(&world, "2026-11-21T12:01:00+08:00").await;
    assert_eq!(value_of(&next, "lowered", "Overshoot"), Some(0));
    let again = tick(&world, ScheduledFunction::Release).await;
    assert_eq!(value_of(&again, "lowered", "Overshoot"), None, "the host's own tick has told of all: {again:?}");
    let late = late_tick(&world, "2026-11-21T12:00:00+08:00").await;
    assert_eq!(value_of(&late, "lowered", "Overshoot"), Some(2), "the minute before had no tick: {late:?}");
    world.stack.stop().await;
}

#[tokio::test]
async fn an_erasure_whose_function_died_is_finished_and_counted_until_then() {
    let world = World::at(NOON).await;
    let shop = world.shop("begun").await;
    shop.grant("o1", SHIPPED).await;
    let store = &world.stack.app.store;
    let who = SubscriberId::new("begun", "o1");
    let begun = |minutes: i64| Erasure { who: who.clone(), begun_at: world.now() - minutes.minutes() };
    let note = Key::new("X", "begun#o1");
    let backlog = async || {
        let told = tick(&world, ScheduledFunction::Release).await;
        let of_all = told.iter().find(|line| line["ErasureBacklog"].is_u64()).unwrap().clone();
        assert_eq!(of_all["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["stage"]]));
        of_all["ErasureBacklog"].as_u64().unwrap()
    };
    // The person came after this wish: it was of somebody who is gone.
    store.put(&note, &begun(2), None).await.unwrap();
    assert_eq!(backlog().await, 0);
    assert_eq!(shop.person("o1").await["openid"], "o1");
    world.pass_minutes(5).await;
    // It is under way.
    store.put(&note, &begun(0), None).await.unwrap();
    assert_eq!(backlog().await, 0);
    assert_eq!(shop.person("o1").await["openid"], "o1");
    // Its function died, and what it needs cannot be read at first.
    store.put(&note, &begun(2), None).await.unwrap();
    let (person, entry) = (ledger::key(&who), store.person(&who).await.unwrap());
    store.put(&person, &json!({"s": "no list"}), None).await.unwrap();
    assert_eq!(backlog().await, 1);
    store.delete(&person).await.unwrap();
    store.swap(&person, None, entry.person().clone(), None).await.unwrap();
    assert_eq!(backlog().await, 0);
    assert_eq!(shop.person("o1").await, Value::Null);
    let left: Option<Stored<Erasure>> = store.get(&note).await.unwrap();
    assert!(left.is_none());
    world.stack.stop().await;
}

async fn send(sqs: &Client, queue: &Queue, body: &Value) {
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    sqs.send_message().queue_url(&queue.url).message_body(body).send().await.unwrap();
}

/// The letters of a list, oldest first, as kind and queue.
fn kinds(list: &Value) -> Vec<(&str, &str)> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| (item["queue"].as_str().unwrap(), item["kind"].as_str().unwrap())).collect()
}

fn id_of<'a>(list: &'a Value, kind: &str) -> &'a str {
    let items = list["items"].as_array().unwrap();
    items.iter().find(|item| item["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {list}"))["id"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn letters_of_all_queues_are_listed_sent_again_and_dropped() {
    let world = World::at(NOON).await;
    let sqs = Client::new(&sdk_config(&world.stack.aws_endpoint).await);
    let shop = world.shop("letters").await;
    let deadline = at("2026-11-21T12:20:00+08:00");
    let lost = lost_message(&world, &shop, "oLost", deadline).await;
    let resources = &world.stack.resources;
    let flight = json!({"version": "1", "channel": "letters", "id": [1, 2, 3, 4, 5, 6, 7, 8],
        "slot": {"opens_at": "2026-11-21T03:00:00Z", "closes_at": "2026-11-21T03:01:00Z"},
        "starts_at": "2026-11-21T03:00:02Z", "recipients": [["c_romacaqdaqcqm", ["oFlight1", "oFlight2"]]]});
    send(&sqs, &resources.now_dead_letters, &json!(task(&lost, "oLost", deadline))).await;
    send(&sqs, &resources.now_dead_letters, &json!("no payload of ours, to oNobody")).await;
    send(&sqs, &resources.bulk_dead_letters, &flight).await;
    send(&sqs, &resources.sweep_dead_letters, &json!({"version": "1", "step": "plan", "channel": "letters"})).await;

    let list = async |query: &str| shop.api.get(&format!("/v1/dead-letters{query}")).await;
    let all = list("").await;
    assert_eq!(all.status, 200, "{}", all.text);
    let mut seen = kinds(&all.body);
    seen.sort();
    assert_eq!(seen, [("bulk", "flight"), ("now", "message"), ("now", "unreadable"), ("sweep", "plan")]);
    assert_eq!(all.body["counts"], json!({"now": 2, "bulk": 1, "sweep": 1}));
    for person in ["oLost", "oFlight1", "oNobody"] {
        assert!(!all.text.contains(person), "{}", all.text);
    }
    assert!(all.text.contains(&lost) && all.text.contains("c_romacaqdaqcqm"), "{}", all.text);
    assert_eq!(kinds(&list("?queue=bulk").await.body), [("bulk", "flight")], "a look puts back what it saw");
    assert_eq!(list("?limit=1").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(list("?queue=elsewhere").await.problem(), (422, "out_of_range", "queue"));

    let act = async |act: &str, body: Value| shop.api.post(&format!("/v1/dead-letters/{act}"), &body).await;
    assert_eq!(act("drop", json!({})).await.problem(), (422, "out_of_range", "ids"));
    assert_eq!(act("drop", json!({"ids": ["l1"], "every": true})).await.status, 422);
    // A message that waits needs no task, and this one waits until now.
    world.pass_until(deadline - 40.seconds()).await;
    // Release looks at this queue each minute, and hides what it looked at for half a minute.
    until("the letter is sent again", async || {
        let again = act("redrive", json!({"ids": [id_of(&all.body, "message")]})).await;
        (again.body["results"][0]["status"] == "redriven").then_some(())
    })
    .await;
    shop.comes_to(&lost, "delivered").await;
    let flown = act("redrive", json!({"all": true, "queue": "bulk"})).await;
    assert_eq!((&flown.body["results"][0]["status"], &flown.body["more"]), (&json!("redriven"), &json!(false)));
    world.stack.idle().await;
    assert!(shop.received("oFlight1").await.is_empty(), "its slot is over");
    let unreadable = id_of(&all.body, "unreadable");
    let dropped = until("the letter is seen again", async || {
        let dropped = act("drop", json!({"ids": [unreadable, "l1"]})).await.body["results"].clone();
        let status = |id: &str| {
            let results = dropped.as_array().unwrap();
            results.iter().find(|one| one["id"] == id).map(|one| one["status"].as_str().unwrap().to_owned())
        };
        (status(unreadable)? == "dropped").then(|| status("l1"))
    });
    assert_eq!(dropped.await.as_deref(), Some("not_found"));
    assert_eq!(act("drop", json!({"all": true})).await.body["results"][0]["status"], "dropped");
    assert_eq!(list("").await.body["items"], json!([]));

    let sender = shop.api.post("/v1/keys", &json!({"role": "operator", "name": "n"})).await.body["key"].clone();
    let operator = shop.api.with_key(sender.as_str().unwrap());
    assert_eq!(operator.get("/v1/dead-letters").await.status, 403);
    let drop_all = operator.request(Method::POST, "/v1/dead-letters/drop").json(&json!({"all": true}));
    assert_eq!(operator.ask(drop_all).await.status, 403);
    world.stack.stop().await;
}

/// How much is on a queue: visible, hidden or held back.
async fn load(sqs: &Client, queue: &Queue) -> u64 {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let call = sqs.get_queue_attributes().queue_url(&queue.url).set_attribute_names(Some(names.to_vec()));
    let counts = call.send().await.unwrap().attributes.unwrap();
    names.iter().filter_map(|name| counts.get(name)?.parse::<u64>().ok()).sum()
}

/// For two minutes nothing of the channel can be read: a flight that is on its way and the steps of sweeps die. The window goes
/// by unused, which is told; and everybody gets the campaign all the same, without the letters.
#[tokio::test]
async fn a_dead_flight_and_dead_sweeps_leave_nobody_out() {
    const PEOPLE: usize = 15;
    let queues = QueueSettings { receive_count_max: 1, ..QueueSettings::default() };
    let world = World::with("2026-11-21T12:00:40+08:00", Options { queues, ..Options::default() }).await;
    let sqs = Client::new(&sdk_config(&world.stack.aws_endpoint).await);
    let rules = json!([{"id": "minute", "unit": "call", "limit": 5, "window": {"seconds": 60}}]);
    let shop = world.open("dead", json!({}), json!({"quota_rules": rules})).await;
    let people = openids("o", PEOPLE);
    shop.grant_all(&people, SHIPPED).await;
    know(&shop, tagged(&people, "vip")).await;
    let campaign = start(&shop, json!({})).await;
    let (store, health) = (&world.stack.app.store, Key::new("C#dead", "health"));
    until("the first window is spent and the next one's flight is on its way", async || {
        let next = store.slot_plan("dead", at("2026-11-21T12:01:00+08:00")).await.unwrap();
        let is_handed_out = next.is_some() && load(&sqs, &world.stack.resources.sweep).await == 0;
        (is_handed_out && received(&shop).await.len() == 5).then_some(())
    })
    .await;
    store.put(&health, &json!({"j": "no JSON"}), None).await.unwrap();
    let list = async || shop.api.get("/v1/dead-letters").await.body;
    let has = async |kind: &str| {
        let dead = list().await;
        kinds(&dead).iter().any(|(_, one)| *one == kind).then(|| dead.clone())
    };
    until("a step of the sweep is dead", async || has("plan").await).await;
    let dead = until("the flight is dead", async || has("flight").await).await;
    store.delete(&health).await.unwrap();
    let flight = dead["items"].as_array().unwrap().iter().find(|item| item["kind"] == "flight").unwrap();
    assert_eq!(
        (&flight["channel"], &flight["campaigns"], &flight["people"]),
        (&json!("dead"), &json!([campaign]), &json!(5))
    );

    world.pass_until(at("2026-11-21T12:03:20+08:00")).await;
    let told = late_tick(&world, "2026-11-21T12:01:00+08:00").await;
    assert_eq!(value_of(&told, "dead", "UnusedUnits"), Some(5), "{told:?}");
    let again = shop.api.post("/v1/dead-letters/redrive", &json!({"ids": [flight["id"]]})).await;
    assert_eq!(again.body["results"][0]["status"], "redriven", "{}", again.text);
    for _ in 0..12 {
        world.pass_minutes(1).await;
        if received(&shop).await.len() >= PEOPLE {
            break;
        }
    }
    let mut all = received(&shop).await;
    all.sort();
    let mut expected = people.clone();
    expected.sort();
    assert_eq!(all, expected, "everybody, and once");
    let counts = shop.api.get(&format!("/v1/campaigns/{campaign}")).await.body["counts"].clone();
    assert_eq!(counts["delivered"], PEOPLE, "{counts}");
    world.stack.stop().await;
}
