//! The host in a whole stack, in this process.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use tidepost::stack::aws::resources::QueueSettings;
use tidepost::stack::aws::sdk_config;
use tidepost::stack::error::StackError;
use tidepost::stack::{Aws, Options, Stack};

use crate::support::until;

async fn stack() -> Stack {
    Stack::start(Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_started_stack_is_ready() {
    let stack = stack().await;
    let answer = reqwest::get(format!("{}/healthz", stack.api_url)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), serde_json::json!({"status": "ready"}));
    let clock = reqwest::get(format!("{}/sim/clock", stack.simulators_url.clone().unwrap())).await.unwrap();
    assert_eq!(clock.status(), 200);
    stack.stop().await;
}

#[tokio::test]
async fn a_path_without_a_function_is_a_problem() {
    let stack = stack().await;
    let answer = reqwest::get(format!("{}/nowhere", stack.api_url)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(404), Some("not_found")));
    stack.stop().await;
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused_after_it_was_read() {
    let stack = stack().await;
    let call = reqwest::Client::new().post(format!("{}/v1/messages", stack.api_url));
    let answer = call.body(vec![b'x'; 8 << 20]).send().await.unwrap();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(413), Some("body_too_large")));
    stack.stop().await;
}

#[tokio::test]
async fn a_message_is_handled_or_becomes_a_dead_letter() {
    let queues = QueueSettings { visibility_seconds: 1, receive_count_max: 1 };
    let stack = Stack::start(Options { queues, ..Options::default() }).await.unwrap();
    let sqs = aws_sdk_sqs::Client::new(&sdk_config(&stack.aws_endpoint).await);
    let url = &stack.resources.now.url;
    sqs.send_message().queue_url(url).message_body("no payload of ours").send().await.unwrap();
    until("a function has run", async || stack.host().activity().now().begun > 0).await;
    until("the queue is empty", async || {
        let call = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let counts = call.send().await.unwrap().attributes.unwrap();
        let is_none = |name| counts[&name] == "0";
        is_none(QueueAttributeName::ApproximateNumberOfMessages)
            && is_none(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    })
    .await;
    stack.idle().await;
    stack.stop().await;
}

#[tokio::test]
async fn schedules_follow_the_stacks_clock() {
    let stack = stack().await;
    stack.idle().await;
    let before = stack.host().activity().now().begun;
    stack.clock.advance(Duration::from_secs(8 * 3600));
    // One tick of each schedule, counted as its wait and its invocation, however long the jump.
    until("both have fired", async || stack.host().activity().now().begun >= before + 4).await;
    stack.idle().await;
    stack.stop().await;
}

#[tokio::test]
async fn an_idle_stack_runs_ahead() {
    let start = "2026-11-21T02:00:00Z".parse().unwrap();
    let options = Options { speed: 36_000.0, start: Some(start), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    until("two hours have passed", async || stack.clock.now().duration_since(start).as_hours() >= 2).await;
    stack.stop().await;
}

#[tokio::test]
async fn two_hosts_share_one_store() {
    let one = stack().await;
    let aws = Aws::Endpoint(one.aws_endpoint.clone());
    let two = Stack::start(Options { aws, simulators: None, ..Options::default() }).await.unwrap();
    assert_eq!(one.resources.now.url, two.resources.now.url);
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_data_folder_has_one_stack() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Some(folder.path().to_owned()), ..Options::default() };
    let stack = Stack::start(options.clone()).await.unwrap();
    let refused = Stack::start(options.clone()).await.err().unwrap();
    assert!(matches!(refused, StackError::InUse { .. }), "{refused}");
    let key = stack.admin_key().clone();
    stack.stop().await;
    // A process that another test is just starting holds all open files for a moment, this folder's lock too.
    let started = tokio::sync::OnceCell::new();
    let start = || Stack::start(options.clone());
    until("the folder is free", async || started.get_or_try_init(start).await.is_ok()).await;
    let again = started.into_inner().unwrap();
    assert!(*again.admin_key() == key && !again.first_key.is_new);
    again.stop().await;
}
