//! The queue of dead letters, which release looks at.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tidepost::stack::aws::sdk_config;

use super::world::{NOON, SHIPPED, Shop, World, at, id, until};

/// What is on the queue of single messages for a message.
pub fn task(id: &str, openid: &str, deadline: Timestamp) -> String {
    json!({"version": "1", "id": id, "to": {"channel": "letters", "openid": openid}, "not_after": deadline}).to_string()
}

/// A message that nobody knows of any more but its row: its parked row is lost.
pub async fn lost_message(world: &World, shop: &Shop, openid: &str, deadline: Timestamp) -> String {
    shop.grant(openid, SHIPPED).await;
    let times = json!({"not_before": deadline - 1.minute(), "deadline": deadline});
    let id = id(&shop.ask(openid, SHIPPED, times).await);
    for (_, key, parked) in world.stack.app.store.due(deadline).await.unwrap() {
        if parked.id.to_string() == id {
            world.stack.app.store.delete(&key).await.unwrap();
        }
    }
    id
}

async fn bury(sqs: &Client, world: &World, letter: &str) {
    let send = sqs.send_message().queue_url(&world.stack.resources.now_dead_letters.url).message_body(letter);
    send.send().await.unwrap();
}

/// All letters, hidden ones included.
async fn letters(sqs: &Client, world: &World) -> usize {
    let names =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let call = sqs.get_queue_attributes().queue_url(&world.stack.resources.now_dead_letters.url);
    let counts = call.set_attribute_names(Some(names.to_vec())).send().await.unwrap().attributes.unwrap();
    names.iter().map(|name| counts[name].parse::<usize>().unwrap()).sum()
}

fn ending(message: &Value) -> (&str, &str) {
    (message["status"].as_str().unwrap(), message["reason"]["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_dead_letter_is_settled_at_its_deadline_and_never_sent() {
    let world = World::at(NOON).await;
    let sqs = Client::new(&sdk_config(&world.stack.aws_endpoint).await);
    let shop = world.shop("letters").await;
    let (soon, later) = (at("2026-11-21T12:20:00+08:00"), at("2026-11-21T18:00:00+08:00"));
    shop.grant("sent", SHIPPED).await;
    let sent = shop.send("sent", SHIPPED).await;
    shop.comes_to(&sent, "delivered").await;
    let dead = lost_message(&world, &shop, "dead", soon).await;
    let walked = lost_message(&world, &shop, "walked", soon).await;
    let open = lost_message(&world, &shop, "open", later).await;
    bury(&sqs, &world, &task(&open, "open", later)).await;
    bury(&sqs, &world, "no payload of ours").await;
    world.pass_minutes(2).await;
    assert_eq!(letters(&sqs, &world).await, 2, "nothing is over yet");
    // Only now: the queue hides what was looked at for half a minute, in which this clock runs for hours.
    bury(&sqs, &world, &task(&dead, "dead", soon)).await;
    world.pass_until(soon + 3.minutes()).await;
    assert_eq!(ending(&shop.api.standing(&dead).await), ("failed", "dead_letter"));
    assert_eq!(ending(&shop.api.standing(&walked).await), ("refused", "deadline_passed"), "only the walk knew of it");
    assert_eq!(ending(&shop.api.standing(&open).await).0, "waiting");
    // Letters of messages that are over already change nothing.
    bury(&sqs, &world, &task(&walked, "walked", soon)).await;
    bury(&sqs, &world, &task(&dead, "dead", soon)).await;
    world.pass_until(later - 2.hours()).await;
    let left = until("two letters are left", async || Some(letters(&sqs, &world).await).filter(|left| *left == 2));
    assert_eq!(left.await, 2, "the open one and the one that nobody can read");
    assert_eq!(ending(&shop.api.standing(&walked).await), ("refused", "deadline_passed"));
    let metrics = shop.api.get("/v1/channels/letters/metrics?by=outcome").await.body["rows"].clone();
    let counts = ["delivered", "failed", "refused"].map(|outcome| {
        let rows = metrics.as_array().unwrap().iter().filter(|row| row["outcome"] == outcome);
        rows.map(|row| row["count"].as_u64().unwrap()).sum::<u64>()
    });
    assert_eq!(counts, [1, 1, 1], "{metrics}");
    for openid in ["dead", "walked", "open"] {
        assert!(shop.received(openid).await.is_empty(), "{openid}");
    }
    world.stack.stop().await;
}

#[tokio::test]
async fn of_two_that_end_a_message_the_first_decides() {
    use tidepost_core::outcome::Ending;
    use tidepost_core::reason::{Reason, ReasonCode};
    use tidepost_core::receipt::Entry;

    let world = World::at(NOON).await;
    let shop = world.shop("ended").await;
    let text = lost_message(&world, &shop, "o1", at("2026-11-21T12:20:00+08:00")).await;
    let store = &world.stack.app.store;
    let id = tidepost_core::ids::MessageId::parse(&text).unwrap();
    let message = store.message(id).await.unwrap().unwrap();
    let entry = |code| Entry { id, at: at(NOON), ending: Ending::because(Reason::new(code, "so"), None) };
    let (first, second) = (entry(ReasonCode::DeadLetter), entry(ReasonCode::DeadlinePassed));
    assert_eq!(store.put_ending(&message, first.clone()).await.unwrap(), first);
    assert_eq!(store.put_ending(&message, second).await.unwrap(), first);
    let receipts = store.receipts("ended", tidepost_core::time::hour_of(message.accepted_at)).await.unwrap();
    assert_eq!(receipts.len(), 1);
    world.stack.stop().await;
}
