//! What the functions run on: clients for stores and simulators, wherever those are, and the functions' own events.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost::stack::aws::resources::{self, Queue, QueueSettings, Resources, TABLE};
use tidepost::stack::aws::{REGION, sdk_config};
use tidepost::stack::host::event;
use tidepost::stack::host::event::http::{Answer, Call};
use tidepost::stack::host::functions::{HttpFunction, QueueFunction, ScheduledFunction};
use tidepost_io::app::App;
use tidepost_io::auth::Role;
use tidepost_io::clock::Clock;
use tidepost_io::config::Config;
use tidepost_io::platform::http_client;

use crate::Result;

/// Messages of one receive.
const RECEIVE_MAX: i32 = 10;

/// Functions with everything that they need.
pub struct Place {
    /// What every function holds.
    pub app: App,
    /// An HTTP client like the functions' own.
    pub http: reqwest::Client,
    /// DynamoDB, through the same endpoint as the functions' own client.
    pub dynamodb: aws_sdk_dynamodb::Client,
    simulators: String,
    resources: Resources,
    /// For what an event source mapping does: past any meter.
    sqs: aws_sdk_sqs::Client,
    key: String,
}

impl Place {
    /// Functions whose own calls go to `endpoint`; the queue is emptied through `stores`, which may be the same.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn new(endpoint: &str, stores: &str, simulators: &str, clock: Clock) -> Result<Self> {
        let aws = sdk_config(endpoint).await;
        let resources = resources::create(&sdk_config(stores).await, QueueSettings::default()).await?;
        let config = Config {
            table: TABLE.to_owned(),
            now_queue_url: resources.now.url.clone(),
            dead_queue_url: resources.now_dead_letters.url.clone(),
            bulk_queue_url: resources.bulk.url.clone(),
            bulk_dead_queue_url: resources.bulk_dead_letters.url.clone(),
            sweep_queue_url: resources.sweep.url.clone(),
            sweep_dead_queue_url: resources.sweep_dead_letters.url.clone(),
            admin_key_ref: None,
            wechat_base_url: simulators.to_owned(),
            fetches_tokens: true,
            stage: "benches".to_owned(),
        };
        let app = App::new(config, clock, &aws)?;
        let (_, key) = app.store.make_key(Role::Admin, "benchmark", app.clock.now()).await?;
        Ok(Self {
            http: http_client()?,
            dynamodb: aws_sdk_dynamodb::Client::new(&aws),
            sqs: aws_sdk_sqs::Client::new(&sdk_config(stores).await),
            simulators: simulators.to_owned(),
            app,
            resources,
            key,
        })
    }

    /// The address of a path of the platform.
    pub fn platform_url(&self, path: &str) -> String {
        format!("{}{path}", self.simulators)
    }

    /// Tells the simulator something, or asks it.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn simulator(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = self.platform_url(&format!("/sim/wechat/{path}"));
        let answer = self.http.request(method, url).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("the simulator refuses {path}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// How many messages of an account the platform has accepted so far, by its own count.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn accepted(&self, app_id: &str) -> Result<u64> {
        let windows = self.simulator(Method::GET, &format!("apps/{app_id}/windows"), &json!({})).await?;
        let windows = windows.get("items").and_then(Value::as_array).into_iter().flatten();
        Ok(windows.filter_map(|window| window.get("accepted")?.as_u64()).sum())
    }

    /// One call of the API by a backend; the answer's body.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn api(
        &self,
        function: HttpFunction,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value> {
        let bearer = format!("Bearer {}", self.key);
        let mut all =
            vec![("host", "localhost"), ("content-type", "application/json"), ("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let body = body.to_string();
        let answer = self.invoke(function, method, (path, ""), &all, body.as_bytes()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// One HTTP invocation, through the event's text; the answer's body.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn invoke(
        &self,
        function: HttpFunction,
        method: &str,
        (path, query): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let at = self.app.clock.now();
        let (protocol, source_ip, request_id) = ("HTTP/1.1", "127.0.0.1", "benchmark");
        let call = Call { method, path, query, protocol, headers, body, source_ip, request_id, at };
        let event: ApiGatewayV2httpRequest = serde_json::from_str(&call.event())?;
        let answer = function.handle(&self.app, event).await?;
        let answer: Answer = serde_json::from_value(serde_json::to_value(answer)?)?;
        let status = answer.status_code;
        let body = answer.into_body().unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&body)).into())
    }

    /// Takes what is on the queue of messages and deletes it, as an event source mapping would; one event for each `batch`
    /// messages.
    ///
    /// # Errors
    /// When fewer than `count` messages come.
    pub async fn queued(&self, count: usize, batch: usize) -> Result<Vec<SqsEvent>> {
        let queue = &self.resources.now;
        let mut messages: Vec<Message> = Vec::with_capacity(count);
        while messages.len() < count {
            let received = self.receive(queue, 1).await?;
            if received.is_empty() {
                return Err(format!("the queue holds {} messages instead of {count}", messages.len()).into());
            }
            messages.extend(received);
        }
        messages.chunks(batch).map(|batch| event_of(queue, batch)).collect()
    }

    /// The next task of a sweep, or of a campaign's sends, if one is there.
    ///
    /// # Errors
    /// When the queue does not answer.
    pub async fn next_task(&self, function: QueueFunction) -> Result<Option<SqsEvent>> {
        let queue = match function {
            QueueFunction::Dispatch => &self.resources.bulk,
            QueueFunction::Sweep => &self.resources.sweep,
        };
        let received = self.receive_up_to(queue, 1, 0).await?;
        if received.is_empty() { Ok(None) } else { Ok(Some(event_of(queue, &received)?)) }
    }

    async fn receive(&self, queue: &Queue, wait_seconds: i32) -> Result<Vec<Message>> {
        self.receive_up_to(queue, RECEIVE_MAX, wait_seconds).await
    }

    async fn receive_up_to(&self, queue: &Queue, count: i32, wait_seconds: i32) -> Result<Vec<Message>> {
        let receive = self.sqs.receive_message().queue_url(&queue.url);
        let answer = receive.max_number_of_messages(count).wait_time_seconds(wait_seconds).send().await?;
        let received = answer.messages.unwrap_or_default();
        if !received.is_empty() {
            self.delete(queue, &received).await?;
        }
        Ok(received)
    }

    async fn delete(&self, queue: &Queue, messages: &[Message]) -> Result<()> {
        let entries = messages.iter().enumerate().map(|(index, message)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(message.receipt_handle().unwrap_or_default()).build()
        });
        let entries = entries.collect::<std::result::Result<Vec<_>, _>>()?;
        let delete = self.sqs.delete_message_batch().queue_url(&queue.url);
        delete.set_entries(Some(entries)).send().await?;
        Ok(())
    }

    /// One invocation of a function that a queue feeds.
    ///
    /// # Errors
    /// When something goes back to the queue.
    pub async fn feed(&self, function: QueueFunction, event: SqsEvent) -> Result<()> {
        let answer = function.handle(&self.app, event).await?;
        match answer.batch_item_failures.len() {
            0 => Ok(()),
            back => Err(format!("{back} tasks went back to the queue").into()),
        }
    }

    /// One tick of release.
    ///
    /// # Errors
    /// When the tick fails.
    pub async fn release(&self) -> Result<()> {
        let event = event::schedule::event("benchmark", "tidepost-release", REGION, self.app.clock.now(), &json!({}));
        let event: EventBridgeEvent<Value> = serde_json::from_str(&event)?;
        ScheduledFunction::Release.handle(&self.app, event).await
    }

    /// Lets time pass until `span` from now, and on to the middle of a minute: far from the edges of windows.
    pub fn pass(&self, span: Duration) {
        self.app.clock.advance(span);
        let second = self.app.clock.now().as_second().rem_euclid(60).unsigned_abs();
        self.app.clock.advance(Duration::from_secs((80 - second) % 60));
    }

    /// The time of functions and, where they are in this process, simulators.
    pub fn now(&self) -> Timestamp {
        self.app.clock.now()
    }
}

fn event_of(queue: &Queue, messages: &[Message]) -> Result<SqsEvent> {
    Ok(serde_json::from_str(&event::sqs::event(messages, &queue.arn))?)
}
