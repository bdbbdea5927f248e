//! Two function hosts, one store, and a queue that delivers everything 32 times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use jiff::ToSpan;
use serde_json::{Value, json};
use tidepost::stack::aws::{StandIns, Store, sdk_config};
use tidepost::stack::{ANY_PORT, Aws, Options, Stack};
use tidepost_core::ids::MessageId;

use super::crash::{ADMIN_KEY, Process, Site};
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

/// What one host does at the table.
struct Watched {
    proxy: Proxy,
    /// Batches of rows and people that it read: a delivery begins with them.
    batches: Arc<AtomicU64>,
    host: Process,
}

impl Watched {
    async fn start(site: &Site, noted: &Arc<Mutex<Vec<String>>>) -> Self {
        let (noted, batches) = (Arc::clone(noted), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&batches);
        let proxy = Proxy::start(site.aws(), move |operation, body| {
            counted.fetch_add(u64::from(operation == "BatchGetItem"), Ordering::SeqCst);
            hold_back(operation, body, &noted)
        });
        let proxy = proxy.await;
        let host = site.host_via(&proxy.url, "127.0.0.1:0", site.now().await, "1").await;
        Self { proxy, batches, host }
    }

    fn api(&self) -> Api {
        Api::new(&self.host.ready["api"], ADMIN_KEY)
    }

    fn batches(&self) -> u64 {
        self.batches.load(Ordering::SeqCst)
    }

    /// How often a reservation found that another had come before it: people's keys begin with `P#`.
    fn people_met(&self) -> u64 {
        self.proxy.conflicts().get("P").copied().unwrap_or(0)
    }
}

/// Puts every task on the queue so many times.
async fn deliver_again(aws: &str, bodies: &[String]) {
    let sqs = aws_sdk_sqs::Client::new(&sdk_config(aws).await);
    let queue = sqs.get_queue_url().queue_name("tidepost-now").send().await.unwrap().queue_url.unwrap();
    for chunk in std::iter::repeat_n(bodies.chunks(10), DELIVERIES).flatten() {
        let entry = |(n, body): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body).build().unwrap()
        };
        let entries = chunk.iter().enumerate().map(entry).collect();
        let call = sqs.send_message_batch().queue_url(&queue).set_entries(Some(entries));
        assert!(call.send().await.unwrap().failed.is_empty());
    }
}

fn template(n: usize) -> &'static str {
    if n.is_multiple_of(4) { CONFIRMED } else { SHIPPED }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_deliveries_to_two_hosts_are_one_send() {
    let site = Site::start(NOON).await;
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    // Each in a process of its own: nothing but the table keeps them from sending the same.
    let hosts = [Watched::start(&site, &noted).await, Watched::start(&site, &noted).await];
    let shop = Shop::open(&hosts[0].api(), &site.sim, site.folder.path(), "two", json!({}), json!({})).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    let mut ids = Vec::new();
    for (n, openid) in people.iter().enumerate() {
        // More consents than messages: a second send would be paid for.
        shop.grant(openid, template(n)).await;
        shop.grant(openid, template(n)).await;
        ids.push(id(&shop.ask(openid, template(n), json!({})).await));
    }
    let bodies = noted.lock().unwrap().clone();
    assert_eq!(bodies.len(), PEOPLE);
    assert_eq!(shop.truth("received").await.len(), 0, "nothing is delivered to the hosts yet");
    assert_eq!(hosts.iter().map(Watched::people_met).sum::<u64>(), 0);
    let before = hosts.each_ref().map(Watched::batches);
    deliver_again(site.aws(), &bodies).await;
    for id in &ids {
        shop.comes_to(id, "delivered").await;
    }
    let done = async || {
        let batches = hosts.each_ref().map(Watched::batches);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        (hosts.each_ref().map(Watched::batches) == batches).then_some(batches)
    };
    let batches = until("the queue is worked off", done).await;
    let received = shop.truth("received").await;
    let met: u64 = hosts.iter().map(Watched::people_met).sum();
    println!("deliveries {}, batches read {batches:?}, reservations that met {met}", DELIVERIES * PEOPLE);
    for (n, openid) in people.iter().enumerate() {
        let times = received.iter().filter(|one| one["openid"] == **openid).count();
        assert_eq!(times, 1, "{openid}");
        assert_eq!(shop.answers(openid).await, [json!(0)], "{openid}");
        let left = (shop.available(openid, template(n)).await, shop.left(openid, template(n)).await);
        assert_eq!(left, (1, 1), "{openid}");
    }
    assert!(batches.iter().zip(before).all(|(now, before)| *now > before), "{before:?} {batches:?}");
    assert!(met > 0, "two deliveries never met at one person");
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
