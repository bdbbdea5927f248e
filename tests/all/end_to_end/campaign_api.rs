//! Campaigns as a marketer handles them: made, listed, commanded, given a list; what holds them back; the brake.

use jiff::ToSpan;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Api, NOON, SHIPPED, Shop, World, at, id, until};

/// A campaign for nobody there is; `changes` replace what is usual.
fn definition(shop: &Shop, changes: Value) -> Value {
    let mut definition = json!({
        "channel": shop.name, "name": "Spring", "template": SHIPPED, "topic": "sales",
        "data": {"character_string1": "A1", "thing2": "{{attributes.name|您}}的春茶到了"},
        "segment": "tag('nobody')", "until": "2026-11-28T22:00:00+08:00",
    });
    definition.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    definition
}

/// Makes a campaign and returns its id.
async fn make(shop: &Shop, changes: Value) -> String {
    let answer = shop.api.post("/v1/campaigns", &definition(shop, changes)).await;
    assert_eq!((answer.status, &answer.body["status"]), (201, &json!("draft")), "{}", answer.text);
    id(&answer.body)
}

async fn running(shop: &Shop, changes: Value) -> String {
    let id = make(shop, changes).await;
    assert_eq!(command(&shop.api, &id, "start").await["status"], "running");
    id
}

/// Carries a command out and returns the answer.
async fn command(api: &Api, id: &str, verb: &str) -> Value {
    let answer = api.post(&format!("/v1/campaigns/{id}/{verb}"), &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

async fn refused(api: &Api, id: &str, verb: &str) -> (u16, String) {
    let answer = api.post(&format!("/v1/campaigns/{id}/{verb}"), &Value::Null).await;
    let (status, code, _) = answer.problem();
    (status, code.to_owned())
}

async fn show(api: &Api, id: &str) -> Value {
    let answer = api.get(&format!("/v1/campaigns/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// An API key of a role.
async fn role(shop: &Shop, role: &str) -> Api {
    let key = shop.api.post("/v1/keys", &json!({"role": role, "name": role})).await;
    shop.api.with_key(key.body["key"].as_str().unwrap())
}

#[tokio::test]
async fn a_campaign_is_made_once_and_shown() {
    let world = World::at(NOON).await;
    let shop = world.shop("made").await;
    let wanted = definition(
        &shop,
        json!({"segment": {"and": [{"tag": "vip"}, {">=": [{"field": "rfm.monetary"}, 4]}]},
        "variants": [{"id": "new", "segment": "new", "data": {"thing2": "新客礼"}}], "priority": 70}),
    );
    let post =
        |body: &Value| shop.api.request(Method::POST, "/v1/campaigns").header("Idempotency-Key", "spring").json(body);
    let first = shop.api.ask(post(&wanted)).await;
    assert_eq!((first.status, &first.body["status"]), (201, &json!("draft")), "{}", first.text);
    let again = shop.api.ask(post(&wanted)).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    let other = shop.api.ask(post(&definition(&shop, json!({})))).await;
    assert_eq!(other.problem().0, 409, "{}", other.text);
    assert_eq!(other.problem().1, "idempotency_conflict");
    assert_ne!(make(&shop, json!({})).await, make(&shop, json!({})).await, "without a key each is its own");
    let shown = show(&shop.api, &id(&first.body)).await;
    for (field, value) in [
        ("status", json!("draft")),
        ("paused_because", Value::Null),
        ("priority", json!(70)),
        ("pace", json!("fast")),
        ("category", json!("reminder")),
        ("segment", wanted["segment"].clone()),
        ("brake", json!({"error_rate": 0.2, "refusal_rate": 0.5, "complaints": 2, "minimum_sample": 20})),
        ("counts", json!({"sent": 0, "delivered": 0, "refused": {}, "failed": {}, "unknown": 0, "complained": 0})),
        ("listed", Value::Null),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(shown["variants"][0]["data"]["thing2"], "新客礼");
    world.stack.stop().await;
}

#[tokio::test]
async fn broken_definitions_are_refused_and_only_some_may_make_them() {
    let world = World::at(NOON).await;
    let shop = world.shop("broken").await;
    for (changes, code, field) in [
        (json!({"channel": "nobody"}), "channel_unknown", "channel"),
        (json!({"template": "TMPL_NONE"}), "template_unknown", "template"),
        (json!({"colour": "red"}), "field_unknown", "colour"),
        (json!({"priority": 101}), "out_of_range", "priority"),
        (json!({"category": "marketing"}), "marketing_not_allowed", "category"),
        (json!({"segment": "tag('vip'"}), "segment_malformed", "segment"),
        (json!({"segment": {"and": [{"tag": "vip"}, {"~": []}]}}), "segment_malformed", "segment.and[1]"),
        (
            json!({"data": {"character_string1": "A1", "thing2": "{{attributes.name}}好"}}),
            "fallback_missing",
            "data.thing2",
        ),
        (json!({"until": "2026-11-20T00:00:00Z"}), "out_of_range", "until"),
        (json!({"schedule": {"cron": "soon", "time_zone": "Asia/Shanghai"}}), "cron_malformed", "schedule.cron"),
        (json!({"list": ["o1"]}), "not_applicable", "list"),
    ] {
        let answer = shop.api.post("/v1/campaigns", &definition(&shop, changes)).await;
        assert_eq!(answer.problem(), (422, code, field), "{}", answer.text);
    }
    let made = make(&shop, json!({})).await;
    for (name, may_make, may_see) in
        [("operator", true, true), ("analyst", false, true), ("sender", false, false), ("support", false, false)]
    {
        let api = role(&shop, name).await;
        let make = api.post("/v1/campaigns", &definition(&shop, json!({}))).await.status;
        assert_eq!(make, if may_make { 201 } else { 403 }, "{name}");
        assert_eq!(refused(&api, &made, "resume").await.0, if may_make { 409 } else { 403 }, "{name}");
        let see = api.get(&format!("/v1/campaigns/{made}")).await.status;
        assert_eq!(see, if may_see { 200 } else { 403 }, "{name}");
    }
    for unknown in ["c_none", "c_aaaaaaaaaaaaa", "m_none"] {
        assert_eq!(shop.api.get(&format!("/v1/campaigns/{unknown}")).await.problem().0, 404, "{unknown}");
        assert_eq!(refused(&shop.api, unknown, "start").await.0, 404, "{unknown}");
    }
    assert_eq!(refused(&shop.api, &made, "explode").await.0, 404);
    world.stack.stop().await;
}

#[tokio::test]
async fn campaigns_are_listed_page_by_page() {
    let world = World::at(NOON).await;
    let (one, two) = (world.shop("one").await, world.shop("two").await);
    let mut made = Vec::new();
    for shop in [&one, &two, &one, &one] {
        made.push((make(shop, json!({})).await, shop.name.clone()));
    }
    made.sort();
    let ids = async |query: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = one.api.get(&format!("/v1/campaigns?limit=2{query}{cursor}")).await.body;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2 && items.iter().all(|item| item["status"] == "draft"));
            ids.extend(items.iter().map(id));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    };
    let expected = |channel: Option<&str>| -> Vec<String> {
        let meant = made.iter().filter(|(_, name)| channel.is_none_or(|channel| name == channel));
        meant.map(|(id, _)| id.clone()).collect()
    };
    assert_eq!(ids("").await, expected(None));
    assert_eq!(ids("&channel=one").await, expected(Some("one")));
    assert_eq!(ids("&channel=nobody").await, Vec::<String>::new());
    assert_eq!(one.api.get("/v1/campaigns?limit=0").await.problem(), (422, "out_of_range", "limit"));
    world.stack.stop().await;
}

#[tokio::test]
async fn only_legal_commands_pass() {
    let world = World::at(NOON).await;
    let shop = world.shop("commands").await;
    let illegal = (409, "illegal_state".to_owned());
    let campaign = make(&shop, json!({"from": world.now() + 1.hour(), "until": world.now() + 3.hours()})).await;
    assert_eq!(refused(&shop.api, &campaign, "pause").await, illegal);
    assert_eq!(refused(&shop.api, &campaign, "resume").await, illegal);
    let started = command(&shop.api, &campaign, "start").await;
    assert_eq!(started, json!({"id": campaign, "status": "scheduled", "at_most_more": null}));
    assert_eq!(refused(&shop.api, &campaign, "start").await, illegal);
    let paused = command(&shop.api, &campaign, "pause").await;
    assert_eq!(paused, json!({"id": campaign, "status": "paused", "at_most_more": 0}), "nothing is in flight");
    assert_eq!(show(&shop.api, &campaign).await["paused_because"]["code"], "requested");
    assert_eq!(command(&shop.api, &campaign, "resume").await["status"], "scheduled");
    assert_eq!(show(&shop.api, &campaign).await["paused_because"], Value::Null);
    world.pass_minutes(60).await;
    assert_eq!(show(&shop.api, &campaign).await["status"], "running");
    let other = make(&shop, json!({})).await;
    assert_eq!(command(&shop.api, &other, "stop").await["status"], "stopped", "also a draft");
    assert_eq!(command(&shop.api, &other, "stop").await["at_most_more"], 0, "stopping is repeatable");
    assert_eq!(refused(&shop.api, &other, "resume").await, illegal);
    world.pass_minutes(120).await;
    assert_eq!(show(&shop.api, &campaign).await["status"], "finished");
    assert_eq!(refused(&shop.api, &campaign, "stop").await, illegal);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_campaign_whose_template_changed_does_not_start() {
    let world = World::at(NOON).await;
    let shop = world.shop("changed").await;
    let campaign = make(&shop, json!({})).await;
    let template = json!({"title": "t", "category": "reminder", "topic": "orders",
        "fields": [{"key": "character_string1"}, {"key": "thing2"}, {"key": "number3"}]});
    let path = format!("/v1/channels/{}/templates/{SHIPPED}", shop.name);
    assert_eq!(shop.api.put(&path, &template).await.status, 200);
    let answer = shop.api.post(&format!("/v1/campaigns/{campaign}/start"), &Value::Null).await;
    assert_eq!(answer.problem().1, "illegal_state");
    assert!(answer.text.contains("data.number3"), "{}", answer.text);
    world.stack.stop().await;
}

#[tokio::test]
async fn a_list_takes_what_can_be_read_and_names_the_rest() {
    let world = World::at(NOON).await;
    let shop = world.shop("list").await;
    let campaign = make(&shop, json!({"segment": null})).await;
    assert_eq!(refused(&shop.api, &campaign, "start").await, (409, "illegal_state".to_owned()), "it is for nobody");
    let upload = async |method: Method, id: &str, media_type: &str, text: &str| {
        let request = shop.api.request(method, &format!("/v1/campaigns/{id}/list"));
        shop.api.ask(request.header("content-type", media_type).body(text.to_owned())).await
    };
    let csv =
        upload(Method::PUT, &campaign, "text/csv; charset=utf-8", "openid\no1\nnot an id\no2,x\n\no1\no3\n").await;
    assert_eq!(csv.status, 200, "{}", csv.text);
    assert_eq!((&csv.body["accepted"], &csv.body["repeated"], &csv.body["listed"]), (&json!(2), &json!(1), &json!(2)));
    let lines: Vec<_> = csv.body["rejected"].as_array().unwrap().iter().map(|row| row["line"].as_u64()).collect();
    assert_eq!((lines, &csv.body["rejected_count"]), (vec![Some(3), Some(4)], &json!(2)));
    assert_eq!(csv.body["rejected"][0]["code"], "id_malformed");
    let more = "{\"openid\":\"o4\"}\n{\"openid\":5}\n";
    let added = upload(Method::POST, &campaign, "application/x-ndjson", more).await;
    assert_eq!((&added.body["accepted"], &added.body["listed"]), (&json!(1), &json!(3)), "{}", added.text);
    assert_eq!(added.body["rejected"][0]["line"], 2);
    assert_eq!(command(&shop.api, &campaign, "start").await["status"], "running");
    let replaced = upload(Method::PUT, &campaign, "text/csv", "o9\n").await;
    assert_eq!(replaced.body["listed"], 1, "{}", replaced.text);
    assert_eq!(show(&shop.api, &campaign).await["listed"], 1);
    assert_eq!(upload(Method::PUT, &campaign, "text/plain", "o9\n").await.status, 415);
    assert_eq!(upload(Method::PUT, &campaign, "text/csv", &"o\n".repeat(600_000)).await.status, 413);
    let for_a_segment = make(&shop, json!({})).await;
    assert_eq!(upload(Method::PUT, &for_a_segment, "text/csv", "o9\n").await.problem().1, "illegal_state");
    command(&shop.api, &campaign, "stop").await;
    assert_eq!(upload(Method::PUT, &campaign, "text/csv", "o9\n").await.problem().1, "illegal_state");
    let own = make(&shop, json!({"segment": null, "list": ["o2", "o1", "o2"]})).await;
    assert_eq!(show(&shop.api, &own).await["listed"], 2);
    world.stack.stop().await;
}

async fn held_back(shop: &Shop, openid: &str) -> Vec<(String, String, Value)> {
    let path = format!("/v1/channels/{}/subscribers/{openid}/held-back", shop.name);
    let answer = shop.api.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let item = |item: &Value| (text(&item["campaign"]), text(&item["reason"]), item["winner"].clone());
    let mut items: Vec<_> = answer.body["items"].as_array().unwrap().iter().map(item).collect();
    items.sort_by(|one, other| one.0.cmp(&other.0));
    items
}

#[tokio::test]
async fn who_asks_is_told_what_holds_campaigns_back_from_a_person() {
    let world = World::at(NOON).await;
    let shop = world.shop("held").await;
    let quiet = json!({"best_hours": [{"from": "18:00", "to": "20:00"}]});
    let with = |changes: Value| {
        let mut quiet = quiet.clone();
        quiet.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        quiet
    };
    // None of them sends before the evening.
    let strong = running(&shop, with(json!({"segment": null, "list": ["o1", "o2"], "priority": 90}))).await;
    let weak = running(&shop, with(json!({"segment": "tag('vip')", "priority": 10}))).await;
    running(&shop, with(json!({"segment": null, "list": ["o7"]}))).await;
    make(&shop, with(json!({"segment": null, "list": ["o1"]}))).await;
    let vip = json!({"subscribers": [{"openid": "o1", "tags": {"add": ["vip"]}}, {"openid": "o2"}, {"openid": "o3"}]});
    shop.api.post("/v1/channels/held/subscribers", &vip).await;
    let no_grant = |id: &String| (id.clone(), "no_grant".to_owned(), Value::Null);
    let mut expected = vec![no_grant(&strong), no_grant(&weak)];
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(held_back(&shop, "o1").await, expected);
    assert_eq!(held_back(&shop, "o2").await, [no_grant(&strong)]);
    assert_eq!(held_back(&shop, "o3").await, []);
    let unknown = shop.api.get("/v1/channels/held/subscribers/o99/held-back").await;
    assert_eq!(unknown.problem().0, 404);
    let analyst = role(&shop, "analyst").await.get("/v1/channels/held/subscribers/o1/held-back").await;
    assert_eq!(analyst.status, 403);
    world.stack.stop().await;
}

/// Reports complaints of as many people.
async fn complain(shop: &Shop, campaign: Option<&str>, count: usize) {
    let events: Vec<Value> = (0..count)
        .map(|number| {
            let id = format!("{}-{number}-{}", campaign.unwrap_or("channel"), count);
            json!({"id": id, "type": "complaint", "channel": shop.name, "openid": format!("o{number}"), "source": campaign})
        })
        .collect();
    let answer = shop.api.post("/v1/events", &json!({ "events": events })).await;
    assert!(
        answer.body["results"].as_array().unwrap().iter().all(|one| one["status"] == "accepted"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn complaints_pause_a_campaign_then_warn_of_the_channel_then_pause_all_of_it() {
    let world = World::at(NOON).await;
    let shop = world.shop("complaints").await;
    let (one, two) = (running(&shop, json!({})).await, running(&shop, json!({})).await);
    complain(&shop, Some(&one), 1).await;
    world.pass_minutes(2).await;
    assert_eq!(show(&shop.api, &one).await["status"], "running", "one complaint is not enough");
    complain(&shop, Some(&one), 2).await;
    world.pass_minutes(2).await;
    let braked = show(&shop.api, &one).await;
    assert_eq!((&braked["status"], &braked["paused_because"]["code"]), (&json!("paused"), &json!("complaints")));
    assert_eq!(braked["counts"]["complained"], 3);
    let all = show(&shop.api, &two).await;
    assert_eq!(all["paused_because"]["code"], "complaints", "three complaints of the channel: {all}");
    assert!(all["paused_because"]["detail"].as_str().unwrap().starts_with("the whole channel"), "{all}");
    for id in [&one, &two] {
        assert_eq!(command(&shop.api, id, "resume").await["status"], "running");
    }
    world.pass_minutes(2).await;
    for id in [&one, &two] {
        assert_eq!(show(&shop.api, id).await["status"], "running", "what was seen is not held against them again");
    }
    complain(&shop, None, 2).await;
    world.pass_minutes(2).await;
    let warned = show(&shop.api, &two).await;
    assert_eq!(warned["status"], "running");
    assert!(warned["warning"].as_str().is_some_and(|words| words.starts_with("2 complaints")), "{warned}");
    // A pause that an operator asked for has nothing to do with them.
    command(&shop.api, &one, "pause").await;
    command(&shop.api, &one, "resume").await;
    complain(&shop, None, 1).await;
    world.pass_minutes(2).await;
    let all = show(&shop.api, &two).await;
    assert_eq!(all["paused_because"]["whole_channel"], true, "the third brings the ban: {all}");
    world.stack.stop().await;
}

/// Complaints come when people have read what they were sent: the warning does not wait for the next campaign.
#[tokio::test]
async fn complaints_about_a_campaign_that_is_over_warn_too() {
    let world = World::at(NOON).await;
    let shop = world.shop("afterwards").await;
    let campaign = running(&shop, json!({"until": "2026-11-21T12:02:00+08:00"})).await;
    world.pass_minutes(3).await;
    for (count, words) in [(2, "2 complaints"), (1, "3 complaints")] {
        complain(&shop, Some(&campaign), count).await;
        world.pass_minutes(2).await;
        let warned = show(&shop.api, &campaign).await;
        assert_eq!(warned["status"], "finished");
        assert!(warned["warning"].as_str().is_some_and(|warning| warning.starts_with(words)), "{warned}");
    }
    world.stack.stop().await;
}

/// Three complaints brake a channel also for what begins only then: not a single send waits for the brake's next look.
#[tokio::test]
async fn a_braked_channel_holds_what_is_started_or_about_to_begin() {
    let world = World::at(NOON).await;
    let shop = world.shop("braked").await;
    let scheduled = make(&shop, json!({"segment": "tag('vip')", "from": "2026-11-21T12:20:00+08:00"})).await;
    assert_eq!(command(&shop.api, &scheduled, "start").await["status"], "scheduled");
    let over = running(&shop, json!({"until": "2026-11-21T12:02:00+08:00"})).await;
    shop.grant("vip", SHIPPED).await;
    shop.api
        .post("/v1/channels/braked/subscribers", &json!({"subscribers": [{"openid": "vip", "tags": {"add": ["vip"]}}]}))
        .await;
    world.pass_minutes(3).await;
    complain(&shop, Some(&over), 3).await;
    assert_eq!(refused(&shop.api, &over, "resume").await, (409, "illegal_state".to_owned()));
    // It has forgiven nothing.
    let started = make(&shop, json!({"segment": "tag('vip')"})).await;
    let answer = command(&shop.api, &started, "start").await;
    assert_eq!(
        (&answer["status"], &answer["paused_because"]["whole_channel"]),
        (&json!("paused"), &json!(true)),
        "{answer}"
    );
    let repeated = command(&shop.api, &started, "resume").await;
    assert_eq!(repeated["status"], "paused", "nobody has read why yet: {repeated}");
    world.pass_until(at("2026-11-21T12:19:55+08:00")).await;
    let shown = show(&shop.api, &scheduled).await;
    assert_eq!(
        (&shown["status"], &shown["paused_because"]["code"]),
        (&json!("paused"), &json!("complaints")),
        "{shown}"
    );
    world.pass_minutes(3).await;
    assert!(shop.received("vip").await.is_empty(), "nobody is sent anything");
    let resumed = command(&shop.api, &scheduled, "resume").await;
    assert_eq!((&resumed["status"], &resumed["paused_because"]), (&json!("running"), &Value::Null), "{resumed}");
    world.pass_minutes(4).await;
    assert_eq!(shop.received("vip").await.len(), 1, "who resumes has seen why");
    world.stack.stop().await;
}

/// The channel's own thresholds, and those of a campaign that looks at fewer sends.
#[tokio::test]
async fn a_channel_and_a_campaign_say_themselves_when_they_are_braked() {
    let world = World::at(NOON).await;
    let shop = world.open("careful", json!({}), json!({"brake": {"complaints": 1}})).await;
    let definition = shop.api.get("/v1/channels/careful").await.body;
    let usual = json!({"error_rate": 0.2, "refusal_rate": 0.5, "complaints": 1, "minimum_sample": 20});
    assert_eq!(definition["brake"], usual, "{definition}");
    for (field, brake) in [
        ("brake.error_rate", json!({"error_rate": 0.0})),
        ("brake.complaints", json!({"complaints": 0})),
        ("brake.minimum_sample", json!({"minimum_sample": 0})),
        ("brake.patience", json!({"patience": 1})),
    ] {
        let channel = json!({"platform": "wechat_mini", "app_id": "wx1", "secret_ref": "env:A", "brake": brake});
        let refused = shop.api.put("/v1/channels/careless", &channel).await;
        assert_eq!((refused.status, refused.problem().2), (422, field), "{}", refused.text);
    }
    let (one, two) = (running(&shop, json!({})).await, running(&shop, json!({})).await);
    complain(&shop, Some(&one), 1).await;
    world.pass_minutes(2).await;
    let braked = show(&shop.api, &two).await;
    assert_eq!(braked["paused_because"]["whole_channel"], true, "one complaint is enough here: {braked}");
    command(&shop.api, &one, "resume").await;
    let brake = json!({"error_rate": 0.5, "minimum_sample": 2});
    let own = running(&shop, json!({"segment": null, "list": ["o1", "o2"], "brake": brake})).await;
    for openid in ["o1", "o2"] {
        shop.grant(openid, SHIPPED).await;
        shop.sim.fault(openid, None, json!({"kind": "errcode", "errcode": 47003})).await;
    }
    world.pass_minutes(20).await;
    let braked = show(&shop.api, &own).await;
    assert_eq!(braked["paused_because"]["code"], "error_rate", "{braked}");
    world.stack.stop().await;
}

#[tokio::test]
async fn failing_sends_pause_the_channels_campaigns() {
    let world = World::at(NOON).await;
    let shop = world.shop("failing").await;
    let campaign = running(&shop, json!({})).await;
    let people: Vec<String> = (0..24).map(|number| format!("o{number}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    for openid in people.iter().take(8) {
        shop.sim.fault(openid, None, json!({"kind": "errcode", "errcode": 47003})).await;
    }
    let mut sent = Vec::new();
    for openid in &people {
        sent.push(shop.send(openid, SHIPPED).await);
    }
    for (id, number) in sent.iter().zip(0..) {
        shop.comes_to(id, if number < 8 { "failed" } else { "delivered" }).await;
    }
    world.pass_minutes(2).await;
    let braked = show(&shop.api, &campaign).await;
    assert_eq!((&braked["status"], &braked["paused_because"]["code"]), (&json!("paused"), &json!("error_rate")));
    assert!(braked["paused_because"]["detail"].as_str().unwrap().contains("8 of 24 sends failed"), "{braked}");
    shop.grant("o20", SHIPPED).await;
    let id = shop.send("o20", SHIPPED).await;
    shop.comes_to(&id, "delivered").await;
    world.stack.stop().await;
}

#[tokio::test]
async fn a_ban_of_the_platform_pauses_the_channels_campaigns() {
    let world = World::at(NOON).await;
    let shop = world.shop("banned").await;
    let campaign = running(&shop, json!({})).await;
    shop.grant("o1", SHIPPED).await;
    shop.sim.fault("o1", None, json!({"kind": "errcode", "errcode": 43107})).await;
    shop.send("o1", SHIPPED).await;
    until("the channel is banned", async || {
        let health = shop.api.get("/v1/channels/banned").await.body["health"]["state"].clone();
        (health == "banned").then_some(())
    })
    .await;
    world.pass_minutes(2).await;
    let braked = show(&shop.api, &campaign).await;
    assert_eq!((&braked["status"], &braked["paused_because"]["code"]), (&json!("paused"), &json!("punished")));
    world.stack.stop().await;
}
