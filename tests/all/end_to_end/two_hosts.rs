//! Two function hosts, one store, and a queue that delivers everything 32 times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use jiff::ToSpan;
use serde_json::{Value, json};
use tidepost::stack::aws::{StandIns, Store, sdk_config};
use tidepost::stack::host::HostSettings;
use tidepost::stack::{ANY_PORT, Aws, Options, Stack};
use tidepost_core::ids::MessageId;

use super::proxy::{Fate, Proxy};
use super::world::{Api, CONFIRMED, NOON, SHIPPED, Shop, Simulator, at, id, secrets, until};

const DELIVERIES: usize = 32;
const PEOPLE: usize = 20;

/// Every message to the queue is noted and held back for a quarter of an hour.
fn hold_back(operation: &str, body: &Value, noted: &Mutex<Vec<String>>) -> Fate {
    let mut body = body.clone();
    let note = |entry: &mut Value| {
        noted.lock().unwrap().push(entry["MessageBody"].as_str().unwrap().to_owned());
        entry["DelaySeconds"] = json!(900);
    };
    match operation {
        "SendMessage" => note(&mut body),
        "SendMessageBatch" => body["Entries"].as_array_mut().unwrap().iter_mut().for_each(note),
        _ => return Fate::Passes,
    }
    Fate::Becomes(body)
}

/// How often a reservation found that another had come before it: people's keys begin with `P#`.
fn people_met(proxy: &Proxy) -> u64 {
    proxy.conflicts().get("P").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_deliveries_to_two_hosts_are_one_send() {
    let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&noted);
    let proxy = Proxy::start(stand_ins.url(), move |operation, body| hold_back(operation, body, &sink)).await;
    let host = HostSettings { batch_size: PEOPLE, batching_window: Duration::from_millis(100), maximum_concurrency: 8 };
    let options = Options { aws: Aws::Endpoint(proxy.url.clone()), start: Some(at(NOON)), host, ..Options::default() };
    let one = Stack::start(options.clone()).await.unwrap();
    let simulators_url = one.simulators_url.clone().unwrap();
    let two = Options { simulators: None, wechat_base_url: simulators_url.clone(), ..options };
    let two = Stack::start(two).await.unwrap();

    let (folder, sim) = (secrets(), Simulator::new(&simulators_url));
    let shop = Shop::open(&Api::of(&one), &sim, folder.path(), "two", json!({}), json!({})).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    let mut ids = Vec::new();
    for (n, openid) in people.iter().enumerate() {
        let template = if n.is_multiple_of(4) { CONFIRMED } else { SHIPPED };
        // More consents than messages: a second send would be paid for.
        shop.grant(openid, template).await;
        shop.grant(openid, template).await;
        ids.push(id(&shop.ask(openid, template, json!({})).await));
    }
    let bodies = noted.lock().unwrap().clone();
    assert_eq!(bodies.len(), PEOPLE);
    assert_eq!(shop.truth("received").await.len(), 0, "nothing is delivered to the hosts yet");

    assert_eq!(people_met(&proxy), 0);
    let sqs = aws_sdk_sqs::Client::new(&sdk_config(stand_ins.url()).await);
    for _ in 0..DELIVERIES {
        for chunk in bodies.chunks(10) {
            let entry = |(n, body): (usize, &String)| {
                SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body).build().unwrap()
            };
            let entries = chunk.iter().enumerate().map(entry).collect();
            let call = sqs.send_message_batch().queue_url(&one.resources.now.url).set_entries(Some(entries));
            assert!(call.send().await.unwrap().failed.is_empty());
        }
    }
    for id in &ids {
        shop.comes_to(id, "delivered").await;
    }
    let done = async || {
        let counts = [&one, &two].map(|stack| stack.host().activity().now().begun);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let is_quiet = [&one, &two].map(|stack| stack.host().activity().now().begun) == counts;
        is_quiet.then_some(counts)
    };
    let invocations = until("the queue is worked off", done).await;
    let received = shop.truth("received").await;
    let deliveries = DELIVERIES * PEOPLE;
    println!("deliveries {deliveries}, invocations {invocations:?}, conflicts by kind {:?}", proxy.conflicts());
    for openid in &people {
        let times = received.iter().filter(|one| one["openid"] == **openid).count();
        assert_eq!(times, 1, "{openid}");
        assert_eq!(shop.answers(openid).await, [json!(0)], "{openid}");
    }
    assert!(invocations.iter().all(|begun| *begun > 0), "{invocations:?}");
    assert!(people_met(&proxy) > 0, "two deliveries never met at one person");
    for (n, openid) in people.iter().enumerate() {
        let template = if n.is_multiple_of(4) { CONFIRMED } else { SHIPPED };
        assert_eq!((shop.available(openid, template).await, shop.left(openid, template).await), (1, 1), "{openid}");
    }
    two.stop().await;
    one.stop().await;
    stand_ins.stop().await;
}

/// One host's clock is behind a week's turn and the other's is past it; each key is used at both at once, or at one after
/// the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_message_on_both_sides_of_a_weeks_turn() {
    const TURN: &str = "2026-11-19T00:00:00Z";
    let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
    let aws = Aws::Endpoint(stand_ins.url().to_owned());
    let options = |start| Options { aws: aws.clone(), start: Some(start), ..Options::default() };
    let behind = Stack::start(options(at(TURN) - 2.minutes())).await.unwrap();
    let simulators_url = behind.simulators_url.clone().unwrap();
    let ahead =
        Options { simulators: None, wechat_base_url: simulators_url.clone(), ..options(at(TURN) + 2.minutes()) };
    let ahead = Stack::start(ahead).await.unwrap();
    let (folder, sim) = (secrets(), Simulator::new(&simulators_url));
    let admin = Api::of(&behind);
    let policy = json!({"policy": {"quiet_hours": null, "caps": []}});
    let shop = Shop::open(&admin, &sim, folder.path(), "turn", json!({}), policy).await;
    let key = admin.post("/v1/keys", &json!({"role": "sender", "name": "shop"})).await.body["key"].clone();
    let hosts = [&behind, &ahead].map(|stack| Api::of(stack).with_key(key.as_str().unwrap()));
    let people: Vec<String> = (0..24).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    for (n, openid) in people.iter().enumerate() {
        let body = shop.wanted(openid, SHIPPED, json!({}));
        let ask = async |host: &Api| {
            until("the message is taken", async || {
                let answer = host.message(openid, &body).await;
                assert!([202, 503].contains(&answer.status), "{}", answer.text);
                (answer.status == 202).then(|| id(&answer.body))
            })
            .await
        };
        let (one, other) = match n % 3 {
            0 => (ask(&hosts[0]).await, ask(&hosts[1]).await),
            1 => (ask(&hosts[1]).await, ask(&hosts[0]).await),
            _ => tokio::join!(ask(&hosts[0]), ask(&hosts[1])),
        };
        assert_eq!(one, other, "{n}");
        let one = MessageId::parse(&one).unwrap();
        let other = one.across_the_turn(at(TURN)).unwrap();
        let rows = behind.app.store.messages(&[one, other]).await.unwrap();
        assert_eq!(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [one], "{n}: stored in one week only");
    }
    ahead.stop().await;
    behind.stop().await;
    stand_ins.stop().await;
}
