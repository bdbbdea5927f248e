//! A release finds in place what the one before left: items, and payloads on the queues. And the way back: what a newer one
//! wrote is read, or kept for it.
//!
//! `tests/fixtures/releases` holds, for each release that changed a shape, what it left in the middle of the story that
//! [`live`] tells. `TIDEPOST_FREEZE=<folder> cargo test -p tidepost-tests the_story_of_a_release` writes that of today.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidepost::stack::aws::resources::{self, Queue, QueueSettings, Resources, TABLE};
use tidepost::stack::aws::{REGION, StandIns, Store, sdk_config};
use tidepost::stack::host::event;
use tidepost::stack::host::event::http::Call;
use tidepost::stack::host::functions::{HttpFunction, QueueFunction, ScheduledFunction};
use tidepost::stack::{ANY_PORT, Aws, Options};
use tidepost_core::ids::{Nonce, SubscriberId};
use tidepost_core::quota::Told;
use tidepost_core::receipt::Receipt;
use tidepost_core::sweep::LateFlight;
use tidepost_io::app::App;
use tidepost_io::brakes::ChannelBrake;
use tidepost_io::erasure::Erasure;
use tidepost_io::store::{KINDS, Key, Kind, StoreError};

use super::campaigns::{know, openids, tagged};
use super::world::{NOON, SHIPPED, Shop, World, at, id, until};

/// Calls of an hour, and what the release before used of the first.
const LIMIT: usize = 8;
const USED: usize = 3;
/// People of the campaign.
const VIPS: usize = 10;
/// Where the channel's secrets are for any process of the tests: these run in the folder of their package.
const SECRETS: &str = "fixtures/releases/secrets";

/// What a release leaves behind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Left {
    /// When it stopped.
    now: Timestamp,
    /// What the backend keeps: its key, and ids by what they are.
    key: String,
    ids: BTreeMap<String, String>,
    /// Payloads by queue.
    queues: BTreeMap<String, Vec<String>>,
    /// All items, as DynamoDB writes them in JSON, bytes in base64.
    items: Vec<BTreeMap<String, BTreeMap<String, String>>>,
}

type Item = HashMap<String, AttributeValue>;

fn written(item: &Item) -> BTreeMap<String, BTreeMap<String, String>> {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => ("S".to_owned(), text.clone()),
        AttributeValue::N(digits) => ("N".to_owned(), digits.clone()),
        AttributeValue::B(bytes) => ("B".to_owned(), STANDARD.encode(bytes.as_ref())),
        other => panic!("no part of our items: {other:?}"),
    };
    item.iter().map(|(name, one)| (name.clone(), BTreeMap::from([value(one)]))).collect()
}

fn read(item: &BTreeMap<String, BTreeMap<String, String>>) -> Item {
    let value = |value: &BTreeMap<String, String>| match value.first_key_value().unwrap() {
        (kind, text) if kind == "S" => AttributeValue::S(text.clone()),
        (kind, text) if kind == "N" => AttributeValue::N(text.clone()),
        (_, text) => AttributeValue::B(Blob::new(STANDARD.decode(text).unwrap())),
    };
    item.iter().map(|(name, one)| (name.clone(), value(one))).collect()
}

fn key_of(item: &Item) -> Key {
    Key::new(item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap())
}

/// Stores that outlive the functions' host.
struct Stores {
    stand_ins: StandIns,
    sdk: SdkConfig,
    resources: Resources,
}

impl Stores {
    async fn start() -> Self {
        let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
        let sdk = sdk_config(stand_ins.url()).await;
        let settings = QueueSettings { visibility_seconds: 3, receive_count_max: 3 };
        let resources = resources::create(&sdk, settings).await.unwrap();
        Self { stand_ins, sdk, resources }
    }

    async fn world(&self, start: Timestamp) -> World {
        let options = Options { aws: Aws::Endpoint(self.stand_ins.url().to_owned()), ..Options::default() };
        World::with(&start.to_string(), options).await
    }

    fn queues(&self) -> [(&'static str, &Queue); 3] {
        [("now", &self.resources.now), ("bulk", &self.resources.bulk), ("sweep", &self.resources.sweep)]
    }

    fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk)
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    /// Takes everything off a queue.
    async fn take(&self, queue: &Queue) -> Vec<aws_sdk_sqs::types::Message> {
        let mut all = Vec::new();
        loop {
            let receive = self.sqs().receive_message().queue_url(&queue.url).max_number_of_messages(10);
            let messages = receive.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let delete = self.sqs().delete_message().queue_url(&queue.url);
                delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
                all.push(message);
            }
        }
    }

    async fn put(&self, queue: &Queue, body: &str) {
        self.sqs().send_message().queue_url(&queue.url).message_body(body).send().await.unwrap();
    }

    async fn items(&self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let scan = self.dynamodb().scan().table_name(TABLE).set_exclusive_start_key(start.take());
            let page = scan.send().await.unwrap();
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                items.sort_by_key(key_of);
                return items;
            }
        }
    }

    async fn item(&self, key: &Key) -> Option<Item> {
        let get = self.dynamodb().get_item().table_name(TABLE).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(key.pk.clone())).key("sk", AttributeValue::S(key.sk.clone()));
        get.send().await.unwrap().item
    }

    async fn put_item(&self, item: Item) {
        self.dynamodb().put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }

    /// Everything that a release left, channels last: before there is one, nothing happens.
    async fn restore(&self, left: &Left) {
        let (channels, others): (Vec<Item>, Vec<Item>) =
            left.items.iter().map(read).partition(|item| key_of(item).pk.starts_with('C'));
        for item in others.into_iter().chain(channels) {
            self.put_item(item).await;
        }
        for (name, queue) in self.queues() {
            for body in &left.queues[name] {
                self.put(queue, body).await;
            }
        }
    }

    /// How many messages are on a queue, hidden ones included.
    async fn waiting(&self, name: &str) -> usize {
        use aws_sdk_sqs::types::QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible,
        };
        let counts = [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible];
        let url = self.sqs().get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
        let call = self.sqs().get_queue_attributes().queue_url(url).set_attribute_names(Some(counts.to_vec()));
        let attributes = call.send().await.unwrap().attributes.unwrap();
        counts.iter().map(|name| attributes[name].parse::<usize>().unwrap()).sum()
    }
}

fn rules() -> (Value, Value) {
    let app = json!({"windows": [{"id": "hourly", "unit": "call", "limit": LIMIT, "seconds": 3600}]});
    let rule = json!({"id": "hourly", "unit": "call", "limit": LIMIT, "window": {"seconds": 3600}, "basic_share": 0.0});
    // People are left alone at no time: what is late here is late because of the quota.
    (
        app,
        json!({"quota_rules": [rule], "policy": {"quiet_hours": null, "caps": [], "business_line_weights": {"a": 2.0}}}),
    )
}

/// Whom the platform knows to have consented.
fn consenting() -> Vec<String> {
    [openids("vip", VIPS), ["sent0", "sent1", "lost", "waits", "queued"].map(str::to_owned).to_vec()].concat()
}

/// The functions without their host, one invocation at a time.
struct ByHand<'a> {
    stores: &'a Stores,
    app: App,
    key: String,
}

impl ByHand<'_> {
    async fn post(&self, key: &str, path: &str, body: &Value) -> Value {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("content-type", "application/json"), ("authorization", &*bearer), ("idempotency-key", key)];
        let (body, at) = (body.to_string(), self.app.clock.now());
        let (body, protocol) = (body.as_bytes(), "HTTP/1.1");
        let (source_ip, request_id) = ("127.0.0.1", "by hand");
        let call =
            Call { method: "POST", path, query: "", protocol, headers: &headers, body, source_ip, request_id, at };
        let event = serde_json::from_str(&call.event()).unwrap();
        let answer = serde_json::to_value(HttpFunction::Enqueue.handle(&self.app, event).await.unwrap()).unwrap();
        assert!(answer["statusCode"].as_u64().unwrap() < 300, "{path}: {answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    async fn tick(&self, function: ScheduledFunction) {
        let event = event::schedule::event("by hand", function.name(), REGION, self.app.clock.now(), &json!({}));
        function.handle(&self.app, serde_json::from_str(&event).unwrap()).await.unwrap();
    }

    /// Does what is on the queue of sweeps, step by step, until there are flights.
    async fn sweep_until_flights(&self) -> Vec<String> {
        for _ in 0..50 {
            let flights = self.stores.take(&self.stores.resources.bulk).await;
            if !flights.is_empty() {
                return flights.into_iter().filter_map(|flight| flight.body).collect();
            }
            let queue = &self.stores.resources.sweep;
            let steps = self.stores.take(queue).await;
            assert!(!steps.is_empty(), "the sweep ends without a flight");
            let event = serde_json::from_str(&event::sqs::event(&steps, &queue.arn)).unwrap();
            let answer = QueueFunction::Sweep.handle(&self.app, event).await.unwrap();
            assert!(answer.batch_item_failures.is_empty(), "{answer:?}");
        }
        panic!("the sweep does not come to an end");
    }
}

/// The story of a release up to where the next one is deployed: messages are delivered, lost, parked and queued, a campaign is
/// on its way, and something of each kind is in the table.
async fn live(stores: &Stores) -> Left {
    let world = stores.world(at(NOON)).await;
    let (app, channel) = rules();
    let shop = Shop::open(&world.api, &world.sim, Path::new(SECRETS), "upgrade", app, channel).await;
    let mut ids = BTreeMap::new();
    know(&shop, tagged(&openids("vip", VIPS), "vip")).await;
    know(&shop, ["twin0", "twin1"].map(|openid| json!({"openid": openid, "union_id": "oTWIN"})).to_vec()).await;
    shop.grant_all(&consenting(), SHIPPED).await;
    for openid in ["sent0", "sent1"] {
        let sent = shop.send(openid, SHIPPED).await;
        shop.comes_to(&sent, "delivered").await;
        ids.insert(openid.to_owned(), sent);
    }
    shop.sim.fault("lost", Some(1), json!({"kind": "disconnect"})).await;
    ids.insert("lost".to_owned(), shop.send("lost", SHIPPED).await);
    shop.comes_to(&ids["lost"], "unknown").await;
    let times = json!({"not_before": "2026-11-21T14:30:00+08:00", "deadline": "2026-11-22T12:00:00+08:00"});
    ids.insert("waits".to_owned(), id(&shop.ask("waits", SHIPPED, times).await));
    let event = |id: &str, kind: &str| json!({"id": id, "type": kind, "channel": shop.name, "openid": "sent0"});
    let events = json!({"events": [event("e1", "click"), event("e2", "complaint")]});
    assert_eq!(shop.api.post("/v1/events", &events).await.status, 200);
    let key = shop.api.post("/v1/keys", &json!({"role": "admin", "name": "shop"})).await.body["key"].clone();
    let key = key.as_str().unwrap().to_owned();
    world.pass_minutes(3).await;
    let app = world.stack.app.clone();
    rare(&app).await;
    world.stack.stop().await;

    let hand = ByHand { stores, app, key: key.clone() };
    let end = "2026-11-23T12:00:00+08:00";
    let campaign = |name: &str, audience: (&str, Value)| {
        json!({"channel": "upgrade", "name": name, "template": SHIPPED, "topic": "sales", "category": "reminder",
            "data": {"character_string1": "S1", "thing2": "春茶到了"}, "until": end, audience.0: audience.1})
    };
    let segment = ("segment", json!("tag('vip') or rfm.monetary >= 4"));
    let running = hand.post("spring", "/v1/campaigns", &campaign("Spring", segment)).await;
    ids.insert("campaign".to_owned(), id(&running));
    hand.post("start", &format!("/v1/campaigns/{}/start", ids["campaign"]), &json!({})).await;
    let draft = campaign("Summer", ("list", json!(["sent0", "sent1"])));
    ids.insert("draft".to_owned(), id(&hand.post("summer", "/v1/campaigns", &draft).await));
    let message = json!({"channel": "upgrade", "openid": "queued", "template": SHIPPED,
        "deadline": "2026-11-22T12:00:00+08:00", "data": {"character_string1": "A1", "thing2": "手冲咖啡两杯"}});
    ids.insert("queued".to_owned(), id(&hand.post("message", "/v1/messages", &message).await));
    late_receipt(&hand.app, "2026-11-21T10:00:00+08:00").await;
    hand.tick(ScheduledFunction::Metrics).await;
    late_receipt(&hand.app, "2026-11-21T09:00:00+08:00").await;
    hand.tick(ScheduledFunction::Release).await;
    let bulk = hand.sweep_until_flights().await;
    hand.tick(ScheduledFunction::Release).await;
    // One whose function died; a tick would finish it.
    let erasure = Erasure { who: SubscriberId::new("upgrade", "gone"), begun_at: hand.app.clock.now() };
    assert!(hand.app.store.put_new(&Key::new("X", "upgrade#gone"), &erasure, None).await.unwrap());

    let mut queues = BTreeMap::from([("bulk".to_owned(), bulk)]);
    for (name, queue) in [("now", &stores.resources.now), ("sweep", &stores.resources.sweep)] {
        let bodies = stores.take(queue).await.into_iter().filter_map(|message| message.body).collect();
        queues.insert(name.to_owned(), bodies);
    }
    let items = stores.items().await.iter().map(written).collect();
    Left { now: hand.app.clock.now(), key, ids, queues, items }
}

/// What happens too seldom for a story.
async fn rare(app: &App) {
    let (store, now) = (&app.store, app.clock.now());
    store.remember_heard("upgrade", &[[7; 8]], now).await.unwrap();
    // Over already, so that it stops nobody.
    store.ban("upgrade", now, "over".to_owned()).await.unwrap();
    let warned = ChannelBrake { warning: Some("look".to_owned()), ..ChannelBrake::default() };
    store.change_channel_brake("upgrade", |_| Some(warned.clone())).await.unwrap();
    store.put_late_flight("upgrade", Nonce([7; 8]), LateFlight { people: 0, came_at: now }).await.unwrap();
    store.swap(&Key::new("S", "windows told"), None, Told::until(now), None).await.unwrap();
}

/// Receipts of hours that are over: one to be added up, and one that comes after that.
async fn late_receipt(app: &App, hour: &str) {
    let receipt: Receipt =
        serde_json::from_str(&std::fs::read_to_string("fixtures/items/receipt_v1.json").unwrap()).unwrap();
    app.store.put_late_receipt("upgrade", at(hour), Nonce([8; 8]), &receipt).await.unwrap();
}

/// The next release, on what the one before left: whatever that had begun comes to its end, and nothing happens twice.
async fn goes_on(stores: &Stores, left: &Left) -> World {
    let world = stores.world(left.now).await;
    let shop = Shop::known(&world.api.with_key(&left.key), &world.sim, "upgrade");
    shop.configure(rules().0).await;
    for openid in consenting() {
        let body = json!({"openid": openid, "results": {SHIPPED: "accept"}, "push": false});
        shop.sim.tell(reqwest::Method::POST, &format!("apps/{}/subscribe", shop.app_id), &body).await;
    }
    stores.restore(left).await;
    world.pass_until(at("2026-11-21T15:10:00+08:00")).await;
    for (openid, status) in
        [("sent0", "delivered"), ("sent1", "delivered"), ("waits", "delivered"), ("queued", "delivered")]
    {
        let message = shop.api.standing(&left.ids[openid]).await;
        assert_eq!(message["status"], status, "{openid}: {message}");
    }
    let received = shop.truth("received").await;
    let edge = at("2026-11-21T13:00:00+08:00");
    let first_hour = received.iter().filter(|one| at(one["at"].as_str().unwrap()) < edge).count();
    assert!((1..=LIMIT - USED).contains(&first_hour), "{USED} of {LIMIT} were used before: {received:?}");
    let mut people: Vec<&str> = received.iter().map(|one| one["openid"].as_str().unwrap()).collect();
    people.sort_unstable();
    let mut wanted = [openids("vip", VIPS), vec!["waits".to_owned(), "queued".to_owned()]].concat();
    wanted.sort_unstable();
    assert_eq!(people, wanted, "each once, and nobody whom the release before had served");
    let windows = shop.truth("windows").await;
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
    let campaign = shop.api.get(&format!("/v1/campaigns/{}", left.ids["campaign"])).await.body;
    assert_eq!(campaign["counts"]["delivered"], VIPS, "{campaign}");
    let draft = shop.api.get(&format!("/v1/campaigns/{}", left.ids["draft"])).await.body;
    assert_eq!((&draft["status"], &draft["listed"]), (&json!("draft"), &json!(2)), "{draft}");
    // The release before put the channel's brake without a version; one complaint was made then.
    let complaint = json!({"id": "e3", "type": "complaint", "channel": "upgrade", "openid": "sent1"});
    assert_eq!(shop.api.post("/v1/events", &json!({"events": [complaint]})).await.status, 200);
    world.pass_minutes(2).await;
    let brake = world.stack.app.store.channel_brake("upgrade").await.unwrap();
    assert!(brake.warning.as_ref().is_some_and(|words| words.starts_with("2 complaints")), "{brake:?}");
    world
}

fn releases() -> Vec<PathBuf> {
    let folder = std::fs::read_dir("fixtures/releases").unwrap().map(|entry| entry.unwrap().path());
    let mut releases: Vec<PathBuf> = folder.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    releases.sort();
    assert!(!releases.is_empty());
    releases
}

fn frozen(release: &Path) -> Left {
    serde_json::from_str(&std::fs::read_to_string(release).unwrap()).unwrap()
}

#[tokio::test]
async fn the_story_of_a_release_leaves_something_of_each_kind() {
    let stores = Stores::start().await;
    let left = live(&stores).await;
    if let Ok(folder) = std::env::var("TIDEPOST_FREEZE") {
        let path = Path::new(&folder).join("release.json");
        std::fs::write(path, serde_json::to_string_pretty(&left).unwrap() + "\n").unwrap();
    }
    let kinds: BTreeSet<&str> =
        left.items.iter().map(|item| Kind::of(&key_of(&read(item))).expect("of a known kind").name).collect();
    let all: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let missing: Vec<&&str> = all.difference(&kinds).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(left.queues.values().all(|bodies| !bodies.is_empty()), "{:?}", left.queues);
    stores.stand_ins.stop().await;
}

#[tokio::test]
async fn a_release_goes_on_where_the_one_before_stopped() {
    let each = releases().into_iter().map(async |release| {
        let left = frozen(&release);
        let stores = Stores::start().await;
        let world = goes_on(&stores, &left).await;
        world.stack.stop().await;
        stores.stand_ins.stop().await;
    });
    futures::future::join_all(each).await;
}

/// The same item as a newer version writes it: one more field in what it says, one more attribute beside.
fn newer(item: &Item) -> Item {
    let mut item = item.clone();
    if let Some(AttributeValue::B(data)) = item.get("d") {
        let data = with_more(&key_of(&item), data.as_ref());
        item.insert("d".to_owned(), AttributeValue::B(Blob::new(data)));
    }
    item.insert("later".to_owned(), AttributeValue::S("kept".to_owned()));
    item
}

/// MessagePack with one more name in the outermost map; where that is JSON in a text, also in each object of the JSON.
fn with_more(key: &Key, data: &[u8]) -> Vec<u8> {
    if matches!(Kind::of(key).unwrap().name, "channel" | "health" | "template") {
        let row: BTreeMap<String, String> = rmp_serde::from_slice(data).unwrap();
        let mut json = serde_json::from_str(&row["j"]).unwrap();
        more_everywhere(&mut json);
        return rmp_serde::to_vec_named(&BTreeMap::from([("j", json.to_string()), ("colour", "red".to_owned())]))
            .unwrap();
    }
    // A map of up to 15 entries has their number in its first byte, one of more in the two bytes after that.
    let (count, entries) = match data[0] {
        first @ 0x80..0x8f => (vec![first + 1], &data[1..]),
        0x8f => (vec![0xde, 0, 16], &data[1..]),
        0xde => ([&[0xde][..], &(u16::from_be_bytes([data[1], data[2]]) + 1).to_be_bytes()].concat(), &data[3..]),
        // Not a map: a form that cannot grow.
        _ => return data.to_vec(),
    };
    let more = [&[0xa6][..], b"colour", &[0xa3], b"red"].concat();
    [&count[..], entries, &more].concat()
}

fn more_everywhere(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            // Maps by names of the owner's, and `{"seconds": 60}`, whose only field is a word of a fixed set.
            let is_fixed = !fields.contains_key("seconds") && !fields.contains_key("calendar");
            for (name, value) in fields.iter_mut() {
                if !matches!(name.as_str(), "business_line_weights" | "fallback") {
                    more_everywhere(value);
                }
            }
            if is_fixed {
                fields.insert("colour".to_owned(), "red".into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(more_everywhere),
        _ => {}
    }
}

#[tokio::test]
async fn a_release_that_is_rolled_back_reads_what_the_newer_one_wrote_and_keeps_what_it_cannot_read() {
    let stores = Stores::start().await;
    let mut left = frozen(releases().last().unwrap());
    left.items = left.items.iter().map(|item| written(&newer(&read(item)))).collect();
    for bodies in left.queues.values_mut() {
        for body in bodies.iter_mut() {
            let mut task: Value = serde_json::from_str(body).unwrap();
            task["colour"] = "red".into();
            *body = task.to_string();
        }
    }
    // A person in words that only the newer version knows.
    let future = SubscriberId::new("upgrade", "future");
    let key = tidepost_io::ledger::key(&future);
    let data = rmp_serde::to_vec_named(&json!({"p": "in another form"})).unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let person = Item::from([
        ("pk".to_owned(), text(&key.pk)),
        ("sk".to_owned(), text(&key.sk)),
        ("d".to_owned(), AttributeValue::B(Blob::new(data))),
    ]);
    stores.put_item(person.clone()).await;

    let world = goes_on(&stores, &left).await;
    let changed = tidepost_io::ledger::key(&SubscriberId::new("upgrade", "vip0"));
    assert_eq!(stores.item(&changed).await.unwrap()["later"], text("kept"), "it was replaced since, with what it had");
    let report = json!({"grants": [{"event_id": "e9", "openid": "future", "template": SHIPPED, "result": "accept"}]});
    let refused = world.api.post("/v1/channels/upgrade/grants", &report).await;
    assert_eq!(refused.status, 503, "the backend asks again later: {}", refused.text);
    let update = world.stack.app.store.update_person(&future, |person| Some(person.clone())).await;
    assert!(matches!(update, Err(StoreError::Form { .. })), "{update:?}");
    assert_eq!(stores.item(&key).await, Some(person), "nothing is written over what cannot be read");
    unreadable_tasks_are_kept(&stores).await;
    world.stack.stop().await;
    stores.stand_ins.stop().await;
}

/// What a newer version means to be done in another way comes to the dead letters, from where it can be sent back.
async fn unreadable_tasks_are_kept(stores: &Stores) {
    for (_, queue) in stores.queues() {
        stores.put(queue, &json!({"version": "9", "id": "m_1"}).to_string()).await;
    }
    // A flight is hidden for half a minute each time: too long to wait for.
    for name in ["now", "sweep"] {
        let dead = format!("tidepost-{name}-dlq");
        until("the task is a dead letter", async || (stores.waiting(&dead).await == 1).then_some(())).await;
    }
    let bulk = stores.waiting("tidepost-bulk").await + stores.waiting("tidepost-bulk-dlq").await;
    assert_eq!(bulk, 1, "the flight is kept too");
}
