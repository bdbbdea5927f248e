//! The stand-ins for AWS, through the real SDK.

use std::collections::HashMap;
use std::time::Instant;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue::S;
use aws_sdk_dynamodb::types::{
    KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure, TimeToLiveStatus, WriteRequest,
};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures::StreamExt;
use futures::stream;
use tidepost::stack::aws::Store;
use tidepost::stack::aws::resources::{self, QueueSettings, TABLE};

use crate::support::{Stores, until};

type Item = HashMap<String, aws_sdk_dynamodb::types::AttributeValue>;

fn item(sk: &str, name: &str) -> Item {
    [("pk", "p"), ("sk", sk), ("name", name)].map(|(key, value)| (key.to_owned(), S(value.to_owned()))).into()
}

fn key(sk: &str) -> Item {
    [("pk", "p"), ("sk", sk)].map(|(key, value)| (key.to_owned(), S(value.to_owned()))).into()
}

fn put_new(dynamodb: &aws_sdk_dynamodb::Client, item: Item) -> PutItemFluentBuilder {
    dynamodb
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
}

#[tokio::test]
async fn a_failed_condition_returns_what_is_there() {
    let stores = Stores::in_memory().await;
    let dynamodb = stores.dynamodb();
    put_new(&dynamodb, item("a", "first")).send().await.unwrap();
    let error = put_new(&dynamodb, item("a", "second")).send().await.unwrap_err().into_service_error();
    let PutItemError::ConditionalCheckFailedException(failed) = error else { panic!("{error}") };
    assert_eq!(failed.item.unwrap(), item("a", "first"));
}

#[tokio::test]
async fn the_table_expires_items_by_the_attribute_ttl() {
    let stores = Stores::in_memory().await;
    let answer = stores.dynamodb().describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let ttl = answer.time_to_live_description.unwrap();
    assert_eq!(
        (ttl.time_to_live_status, ttl.attribute_name.as_deref()),
        (Some(TimeToLiveStatus::Enabled), Some("ttl"))
    );
}

#[tokio::test]
async fn batches_write_and_read() {
    let stores = Stores::in_memory().await;
    let names: Vec<String> = (0..25).map(|n| format!("i{n:02}")).collect();
    let write = |name: &String| {
        let put = PutRequest::builder().set_item(Some(item(name, name))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let writes = names.iter().map(write).collect();
    stores.dynamodb().batch_write_item().request_items(TABLE, writes).send().await.unwrap();
    let keys = KeysAndAttributes::builder().set_keys(Some(names.iter().map(|name| key(name)).collect())).build();
    let read = stores.dynamodb().batch_get_item().request_items(TABLE, keys.unwrap()).send().await.unwrap();
    assert_eq!(read.responses.unwrap()[TABLE].len(), 25);
}

#[tokio::test]
async fn hosts_that_set_up_at_once_agree() {
    let stores = Stores::in_memory().await;
    let other = QueueSettings { visibility_seconds: 7, receive_count_max: 3 };
    let (one, two) =
        tokio::join!(resources::create(&stores.sdk, QueueSettings::default()), resources::create(&stores.sdk, other));
    assert_eq!(one.unwrap().now.url, two.unwrap().now.url);
}

#[tokio::test]
async fn a_message_that_nobody_deletes_goes_to_the_dead_letters() {
    let settings = QueueSettings { visibility_seconds: 1, receive_count_max: 1 };
    let stores = Stores::start(&Store::Memory, settings).await;
    let (sqs, queues) = (stores.sqs(), &stores.resources);
    sqs.send_message().queue_url(&queues.now.url).message_body("poison").send().await.unwrap();
    let first = sqs.receive_message().queue_url(&queues.now.url).send().await.unwrap();
    assert_eq!(first.messages.unwrap()[0].body.as_deref(), Some("poison"));
    until("the message is a dead letter", async || {
        let again = sqs.receive_message().queue_url(&queues.now.url).send().await.unwrap();
        assert_eq!(again.messages.unwrap_or_default().len(), 0);
        let dead = sqs.receive_message().queue_url(&queues.now_dead_letters.url).send().await.unwrap();
        dead.messages.unwrap_or_default().iter().any(|message| message.body.as_deref() == Some("poison"))
    })
    .await;
}

#[tokio::test]
async fn what_sqs_refuses_is_refused() {
    let stores = Stores::in_memory().await;
    let (sqs, url) = (stores.sqs(), &stores.resources.now.url);
    let entry = |n: i32| SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body("x").build().unwrap();
    let eleven = sqs.send_message_batch().queue_url(url).set_entries(Some((0..11).map(entry).collect()));
    assert!(eleven.send().await.unwrap_err().into_service_error().is_too_many_entries_in_batch_request());
    let large = sqs.send_message().queue_url(url).message_body("x".repeat((1 << 20) + 1)).send().await.unwrap_err();
    assert_eq!(large.code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn a_folder_keeps_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::Folder(folder.path().to_owned());
    let stores = Stores::start(&store, QueueSettings::default()).await;
    put_new(&stores.dynamodb(), item("a", "kept")).send().await.unwrap();
    stores.stand_ins.stop().await;
    let stores = Stores::start(&store, QueueSettings::default()).await;
    let found = stores.dynamodb().get_item().table_name(TABLE).set_key(Some(key("a"))).send().await.unwrap();
    assert_eq!(found.item.unwrap(), item("a", "kept"));
}

/// Prints figures: `cargo test -p tidepost --test stack how_fast -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_fast_the_stand_ins_are() {
    const PUTS: u32 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    for store in [Store::Memory, Store::Folder(folder.path().to_owned())] {
        let stores = Stores::start(&store, QueueSettings::default()).await;
        let dynamodb = stores.dynamodb();
        let since = Instant::now();
        stream::iter(0..PUTS)
            .map(|n| put_new(&dynamodb, item(&n.to_string(), "a name")).send())
            .for_each_concurrent(32, async |put| drop(put.await.unwrap()))
            .await;
        println!("{store:?}: {:.0} conditional puts/s", f64::from(PUTS) / since.elapsed().as_secs_f64());
        let (sqs, url) = (stores.sqs(), &stores.resources.now.url);
        let since = Instant::now();
        stream::iter(0..PUTS)
            .map(|n| sqs.send_message().queue_url(url).message_body(n.to_string()).send())
            .for_each_concurrent(32, async |sent| drop(sent.await.unwrap()))
            .await;
        println!("{store:?}: {:.0} messages sent/s", f64::from(PUTS) / since.elapsed().as_secs_f64());
    }
}
