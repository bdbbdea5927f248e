//! DynamoDB that refuses and forgets to answer, a queue with a message that nobody can read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tidepost::stack::aws::resources::QueueSettings;
use tidepost::stack::aws::{StandIns, Store, sdk_config};
use tidepost::stack::{ANY_PORT, Aws, Options};

use super::proxy::{Fate, Proxy};
use super::world::{CONFIRMED, NOON, SHIPPED, World, id, until};

const SEED: u64 = 20_261_121;
const PEOPLE: usize = 40;

/// How often each trouble may strike.
const STRIKES: u64 = 120;

/// What the trouble did.
#[derive(Default)]
struct Trouble {
    is_on: AtomicBool,
    throttled: AtomicU64,
    lost: AtomicU64,
}

impl Trouble {
    fn strikes(count: &AtomicU64) -> bool {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |so_far| (so_far < STRIKES).then(|| so_far + 1)).is_ok()
    }

    /// One in seven calls of DynamoDB is refused, one in seven writes takes effect unheard.
    fn of(&self, operation: &str, chance: f64) -> Fate {
        let is_write = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"].contains(&operation);
        let is_read = ["GetItem", "BatchGetItem", "Query"].contains(&operation);
        if !self.is_on.load(Ordering::SeqCst) {
            return Fate::Passes;
        }
        if (is_write || is_read) && chance < 1.0 / 7.0 && Self::strikes(&self.throttled) {
            return Fate::Throttled;
        }
        if is_write && chance > 6.0 / 7.0 && Self::strikes(&self.lost) {
            return Fate::AnswerLost;
        }
        Fate::Passes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_and_lost_answers_neither_lose_nor_double() {
    let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
    let trouble = Arc::new(Trouble::default());
    let (own, random) = (Arc::clone(&trouble), Mutex::new(ChaCha8Rng::seed_from_u64(SEED)));
    let decide = move |operation: &str, _: &_| own.of(operation, random.lock().unwrap().random());
    let proxy = Proxy::start(stand_ins.url(), decide).await;
    let world = World::with(NOON, Options { aws: Aws::Endpoint(proxy.url.clone()), ..Options::default() }).await;
    let shop = world.shop("throttled").await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    for template in [CONFIRMED, SHIPPED] {
        shop.grant_all(&people, template).await;
        shop.grant_all(&people, template).await;
    }
    trouble.is_on.store(true, Ordering::SeqCst);
    let shop = &shop;
    let wanted = people.iter().flat_map(|openid| [CONFIRMED, SHIPPED].map(|template| (openid, template)));
    let asked = wanted.map(|(openid, template)| async move {
        let (key, body) = (format!("{openid}-{template}"), shop.wanted(openid, template, json!({})));
        // 503 says 'try again'; the key makes that safe.
        let id = until("the message is taken", async || {
            let answer = shop.api.message(&key, &body).await;
            assert!([202, 503].contains(&answer.status), "{}", answer.text);
            (answer.status == 202).then(|| id(&answer.body))
        });
        (openid, template, id.await)
    });
    let asked: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(8).collect().await;
    world.stack.idle().await;
    trouble.is_on.store(false, Ordering::SeqCst);
    // What the trouble kept from its queue comes back with the walk.
    world.pass_minutes(8).await;
    for (openid, template, id) in &asked {
        let message = shop.api.standing(id).await;
        assert_eq!(message["status"], "delivered", "{openid} {template} {message}");
    }
    for openid in &people {
        let mut templates: Vec<_> = shop.received(openid).await.iter().map(|one| one["template_id"].clone()).collect();
        templates.sort_by_key(ToString::to_string);
        assert_eq!(templates, [CONFIRMED, SHIPPED], "{openid}");
        for template in [CONFIRMED, SHIPPED] {
            assert_eq!(shop.available(openid, template).await, 1, "{openid} {template}");
        }
    }
    let received = shop.truth("received").await.len() as u64;
    assert_eq!(shop.outcomes().await, [("delivered".to_owned(), received)], "the metrics tell what the platform saw");
    let (throttled, lost) = (trouble.throttled.load(Ordering::SeqCst), trouble.lost.load(Ordering::SeqCst));
    println!("throttled {throttled}, answers lost {lost}");
    assert!(throttled > 10 && lost > 10, "{throttled} {lost}");
    world.stack.stop().await;
    stand_ins.stop().await;
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_and_the_others_arrive() {
    const POISON: [&str; 3] = ["no payload of ours", "{}", r#"{"v1":{"id":"m_none"}}"#];
    let queues = QueueSettings { receive_count_max: 2, ..QueueSettings::default() };
    let world = World::with(NOON, Options { queues, ..Options::default() }).await;
    let sqs = aws_sdk_sqs::Client::new(&sdk_config(&world.stack.aws_endpoint).await);
    let shop = world.shop("poison").await;
    let people: Vec<String> = (0..10).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    let mut ids = Vec::new();
    for (n, openid) in people.iter().enumerate() {
        if let Some(body) = POISON.get(n) {
            sqs.send_message().queue_url(&world.stack.resources.now.url).message_body(*body).send().await.unwrap();
        }
        ids.push(shop.send(openid, SHIPPED).await);
    }
    for id in &ids {
        shop.comes_to(id, "delivered").await;
    }
    let mut dead = Vec::new();
    while dead.len() < POISON.len() {
        let found = until("a dead letter", async || {
            let call = sqs.receive_message().queue_url(&world.stack.resources.now_dead_letters.url);
            let letters = call.max_number_of_messages(10).send().await.unwrap().messages.unwrap_or_default();
            (!letters.is_empty()).then_some(letters)
        })
        .await;
        dead.extend(found.into_iter().filter_map(|letter| letter.body));
    }
    dead.sort();
    let mut expected = POISON.map(str::to_owned);
    expected.sort();
    assert_eq!(dead, expected);
    for openid in &people {
        assert_eq!(shop.received(openid).await.len(), 1, "{openid}");
    }
    world.stack.stop().await;
}

/// The first write of a person takes effect and its answer is lost; the SDK writes again, and the condition fails.
#[tokio::test]
async fn a_consent_that_was_stored_unheard_is_granted_and_no_duplicate() {
    let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await.unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    let decide = move |operation: &str, body: &serde_json::Value| {
        let is_person = body.pointer("/Item/pk/S").and_then(|pk| pk.as_str()).is_some_and(|pk| pk.starts_with("P#"));
        let is_lost = operation == "PutItem" && is_person && count.fetch_add(1, Ordering::SeqCst) == 0;
        if is_lost { Fate::AnswerLost } else { Fate::Passes }
    };
    let proxy = Proxy::start(stand_ins.url(), decide).await;
    let world = World::with(NOON, Options { aws: Aws::Endpoint(proxy.url.clone()), ..Options::default() }).await;
    let shop = world.shop("unheard").await;
    shop.grant("o1", SHIPPED).await;
    assert_eq!(shop.available("o1", SHIPPED).await, 1);
    assert_eq!((lost.load(Ordering::SeqCst), proxy.conflicts().get("P")), (2, Some(&1)), "the answer was not lost");
    world.stack.stop().await;
    stand_ins.stop().await;
}
