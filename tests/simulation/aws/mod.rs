//! AWS inside the process: the SDKs' HTTP client that ends at an in-memory table and in-memory queues.

pub(crate) mod queues;
mod secrets;
mod table;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_sqs::config::{Credentials, SharedAsyncSleep, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tidepost_io::clock::Clock;
use tidepost_io::store::{KnownEmpty, Range, Store};

use crate::faults::Chance;
use crate::invocation;
use crate::planted::Planted;
use crate::steps::{self, FIRST_CRASH};
use queues::Queues;
pub(crate) use secrets::SECRETS;
use table::Table;

const ENDPOINT: &str = "http://aws.simulation";
const TARGET: &str = "x-amz-target";
/// How long a caller waits for an answer that never comes, in milliseconds.
const LOST_MILLISECONDS: u64 = 900;

/// Status and body of an answer.
pub(crate) struct Answer(u16, String);

impl Answer {
    fn ok(body: &Value) -> Self {
        Self(200, body.to_string())
    }

    fn refused(kind: &str) -> Self {
        Self(400, json!({"__type": kind, "message": "a fault of the simulation"}).to_string())
    }
}

/// All of AWS.
#[derive(Debug)]
pub(crate) struct Aws {
    chance: Arc<Chance>,
    table: Table,
    pub(crate) queues: Queues,
    requests: AtomicU64,
    /// Those that were refused, or whose answer never came.
    unserved: AtomicU64,
    /// Where invocations died.
    pub(crate) steps: steps::Log,
}

impl KnownEmpty for Aws {
    fn is_empty(&self, range: &Range<'_>) -> bool {
        self.table.is_empty(range)
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fault {
    None,
    CrashBefore,
    CrashAfter,
    Throttle,
    LostRequest,
    LostAnswer,
}

impl Aws {
    pub(crate) fn new(chance: Arc<Chance>, clock: Clock, planted: Option<Planted>) -> Arc<Self> {
        let queues = Queues::new(Arc::clone(&chance), clock);
        let (table, requests, unserved) = (Table::new(planted), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { table, queues, chance, requests, unserved, steps: steps::Log::default() })
    }

    /// SDK settings that end here. Retries are the SDK's own, without their jitter.
    pub(crate) fn sdk_config(self: &Arc<Self>) -> SdkConfig {
        let credentials = Credentials::new("simulation", "simulation", None, None, "simulation");
        self.unsigned().into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
    }

    fn unsigned(self: &Arc<Self>) -> SdkConfig {
        let connector = SharedHttpConnector::new(Connector(Arc::clone(self)));
        let client = http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone());
        let signed_at = Duration::from_secs(1_795_233_600);
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(ENDPOINT)
            .http_client(client)
            .retry_config(RetryConfig::standard().with_use_static_exponential_base(true))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .time_source(StaticTimeSource::from_secs(signed_at.as_secs()))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    /// So many requests came in.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// So many of them were refused, or never answered.
    pub(crate) fn unserved(&self) -> u64 {
        self.unserved.load(Ordering::Relaxed)
    }

    /// The ledger's way here. What protects requests on a network is left out: it takes more time than all the rest.
    pub(crate) fn store(self: &Arc<Self>) -> Store {
        let config = aws_sdk_dynamodb::config::Builder::from(&self.unsigned());
        let config = config.allow_no_auth().endpoint_resolver(Here).build();
        let store = Store::new(aws_sdk_dynamodb::Client::from_conf(config), table::NAME.to_owned());
        store.skipping(Arc::clone(self) as Arc<dyn KnownEmpty>)
    }

    async fn call(&self, target: &str, body: &[u8]) -> Result<Answer, ConnectorError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let step =
            Some(self.chance.rates().crash).filter(|rate| *rate > 0.0).and_then(|_| steps::of_request(target, body));
        let fault = self.draw(step.as_deref());
        let is_unserved = matches!(fault, Fault::Throttle | Fault::LostRequest | Fault::LostAnswer);
        self.unserved.fetch_add(u64::from(is_unserved), Ordering::Relaxed);
        tokio::time::sleep(self.chance.milliseconds(1, 12)).await;
        match fault {
            Fault::CrashBefore => {
                step.iter().for_each(|step| self.steps.strike(step, true));
                invocation::crash().await;
            }
            Fault::Throttle => return Ok(throttled(target, body)),
            Fault::LostRequest => return Err(ConnectorError::io(reset())),
            Fault::None | Fault::CrashAfter | Fault::LostAnswer => {}
        }
        let answer = self.apply(target, body);
        tokio::time::sleep(self.chance.milliseconds(0, 3)).await;
        match fault {
            Fault::CrashAfter => {
                step.iter().for_each(|step| self.steps.strike(step, false));
                invocation::crash().await;
            }
            Fault::LostAnswer => {
                tokio::time::sleep(Duration::from_millis(LOST_MILLISECONDS)).await;
                return Err(ConnectorError::timeout(reset()));
            }
            _ => {}
        }
        Ok(answer)
    }

    fn draw(&self, step: Option<&str>) -> Fault {
        let rates = self.chance.rates();
        let is_first = step.is_some_and(|step| self.steps.meet(step));
        let crash = if is_first { FIRST_CRASH } else { rates.crash / 2.0 };
        let faults = [
            (crash, Fault::CrashBefore),
            (crash, Fault::CrashAfter),
            (rates.throttle, Fault::Throttle),
            (rates.lost_request, Fault::LostRequest),
            (rates.lost_answer, Fault::LostAnswer),
        ];
        faults.into_iter().find(|(rate, _)| self.chance.is(*rate)).map_or(Fault::None, |(_, fault)| fault)
    }

    fn apply(&self, target: &str, body: &[u8]) -> Answer {
        match target.split_once('.') {
            Some((service, operation)) if service.starts_with("DynamoDB") => self.table.apply(operation, body),
            Some(("AmazonSQS", operation)) => self.queues.apply(operation, body),
            Some(("secretsmanager", "GetSecretValue")) => secrets::read(body),
            _ => Answer(500, format!("nothing answers {target} here")),
        }
    }
}

/// A batch of reads is not refused as a whole: keys stay unprocessed.
fn throttled(target: &str, body: &[u8]) -> Answer {
    if target.ends_with("BatchGetItem") {
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        return Answer::ok(&json!({"Responses": {}, "UnprocessedKeys": wanted["RequestItems"]}));
    }
    if target.starts_with("AmazonSQS") {
        return Answer::refused("com.amazonaws.sqs#RequestThrottled");
    }
    Answer::refused("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
}

fn reset() -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(io::Error::from(io::ErrorKind::ConnectionReset))
}

#[derive(Debug)]
struct Connector(Arc<Aws>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let target = request.headers().get(TARGET).unwrap_or_default().to_owned();
            let Some(body) = request.body().bytes() else {
                // None of our calls streams its body.
                return pending().await;
            };
            let Answer(status, text) = aws.call(&target, body).await?;
            let status = status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
            let mut response = HttpResponse::new(status, SdkBody::from(text));
            response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(response)
        })
    }
}

/// Every request of the ledger goes to the same place.
#[derive(Debug)]
struct Here;

impl ResolveEndpoint for Here {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(ENDPOINT).build()))
    }
}
