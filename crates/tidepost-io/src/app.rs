//! What every function holds between invocations.

use std::time::Duration;

use aws_config::SdkConfig;
use jiff::Timestamp;
use thiserror::Error;
use tidepost_core::ids::SubscriberId;
use tidepost_core::person::Person;
use tidepost_core::time::fixed_period;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::ledger;
use crate::platform::transport::Transport;
use crate::platform::{Platforms, http_client};
use crate::queue::{BulkQueue, DeadQueue, NowQueue, SweepQueue};
use crate::secrets::Secrets;
use crate::store::{Store, StoreError};

/// Clients and settings of one function instance, built once at cold start.
#[derive(Clone)]
pub struct App {
    /// The environment's settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The table.
    pub store: Store,
    /// The queue of single messages.
    pub now_queue: NowQueue,
    /// Its dead letters.
    pub dead_queue: DeadQueue,
    /// The queue of campaigns' sends.
    pub bulk_queue: BulkQueue,
    /// Its dead letters.
    pub bulk_dead_queue: DeadQueue,
    /// The queue of sweeps.
    pub sweep_queue: SweepQueue,
    /// Its dead letters.
    pub sweep_dead_queue: DeadQueue,
    /// The reader of secrets.
    pub secrets: Secrets,
    /// The platforms' clients.
    pub platforms: Platforms,
}

/// Why a function cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The environment is incomplete.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No HTTP client can be built.
    #[error("no HTTP client can be built: {0}")]
    Http(#[from] reqwest::Error),
}

impl App {
    /// Builds the clients. Opens no connection.
    ///
    /// # Errors
    /// [`StartError`] when the machine has no usable TLS.
    pub fn new(config: Config, clock: Clock, aws: &SdkConfig) -> Result<Self, StartError> {
        Ok(Self::over(Transport::network(http_client()?), config, clock, aws))
    }

    /// The same with another way to the platforms.
    #[must_use]
    pub fn over(transport: Transport, config: Config, clock: Clock, aws: &SdkConfig) -> Self {
        let platforms = Platforms::new(transport, &config.wechat_base_url);
        let sqs = aws_sdk_sqs::Client::new(aws);
        let dead_queue =
            |url: &str, source_url: &str| DeadQueue::new(sqs.clone(), url.to_owned(), source_url.to_owned());
        Self {
            store: Store::new(dynamodb(aws), config.table.clone()),
            now_queue: NowQueue::new(sqs.clone(), config.now_queue_url.clone()),
            dead_queue: dead_queue(&config.dead_queue_url, &config.now_queue_url),
            bulk_queue: BulkQueue::new(sqs.clone(), config.bulk_queue_url.clone()),
            bulk_dead_queue: dead_queue(&config.bulk_dead_queue_url, &config.bulk_queue_url),
            sweep_queue: SweepQueue::new(sqs.clone(), config.sweep_queue_url.clone()),
            sweep_dead_queue: dead_queue(&config.sweep_dead_queue_url, &config.sweep_queue_url),
            secrets: Secrets::new(aws),
            platforms,
            config,
            clock,
        }
    }

    /// When the next parked message may go as far as time and windows are concerned, and when campaigns have something to do
    /// next: what the local stack's clock must not jump over.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let (mut next, waiting_for_room) = self.store.next_due(now).await?;
        for id in waiting_for_room {
            let Some(channel) = self.store.channel(&id).await? else { continue };
            let quota = self.store.quota(&id).await?;
            let room_at = quota.closed_until(&channel, now).unwrap_or_else(|| quota.next_room(&channel, now));
            // Where there is room already they wait for the next tick.
            let room_at = if room_at <= now { fixed_period(60, now).closes_at } else { room_at };
            next = Some(next.map_or(room_at, |next| next.min(room_at)));
        }
        let sweep = self.store.next_sweep(now).await?;
        Ok([next, sweep].into_iter().flatten().min())
    }

    /// Builds the clients from the environment.
    ///
    /// # Errors
    /// [`StartError`] names everything that is missing.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let aws = aws_config::load_from_env().await;
        Self::new(config, Clock::system(), &aws)
    }

    /// Opens the connections, and reads the secrets, that the first invocation of `service` would wait for, while the
    /// function's start still has a whole processor. What cannot be reached now may be later: it is logged, and that is all.
    pub async fn warm_up(&self, service: &str) {
        let store = async {
            // Whether there is a channel of this name does not matter: what reads it is needed by every invocation.
            self.store.channel("-").await.map_err(|error| error.to_string())?;
            if service == "callback" { self.prepare_for_events().await } else { Ok(()) }
        };
        // Only dispatch calls the platform in each invocation.
        let platform = async { if service == "dispatch" { self.platforms.open().await } else { Ok(()) } };
        let both = async { <[Result<(), String>; 2]>::from(futures::join!(store, platform)) };
        let opened = tokio::time::timeout(WARM_UP, both).await.unwrap_or_else(|late| [Err(late.to_string()), Ok(())]);
        for error in opened.into_iter().filter_map(Result::err) {
            tracing::warn!(error, "a connection is not open before the first invocation");
        }
    }

    /// Reads the secrets that platforms' events are verified by, and does once what stores a consent: the platform waits for
    /// its answer.
    async fn prepare_for_events(&self) -> Result<(), String> {
        let nobody = SubscriberId::new("-", "");
        let key = ledger::key(&nobody);
        self.store.rehearse(&key, Person::new(&nobody)).await.map_err(|error| error.to_string())?;
        let channels = self.store.channels().await.map_err(|error| error.to_string())?;
        let callbacks = channels.values().filter_map(|channel| channel.callback.as_ref());
        let references =
            callbacks.flat_map(|callback| [Some(&callback.token_ref), callback.encoding_aes_key_ref.as_ref()]);
        for reference in references.flatten().take(SECRETS_MAX) {
            self.secrets.read(reference, self.clock.now()).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Secrets read before the first invocation at the most: two each of the first channels.
const SECRETS_MAX: usize = 8;

/// How long connections may take to open before the first invocation: Lambda ends a start after 10 s.
const WARM_UP: Duration = Duration::from_secs(2);

/// DynamoDB without the watch over slow bodies: each is a few kilobytes, and the watch costs processor time on every call.
fn dynamodb(aws: &SdkConfig) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{Builder, StalledStreamProtectionConfig};
    let watch = StalledStreamProtectionConfig::disabled();
    aws_sdk_dynamodb::Client::from_conf(Builder::from(aws).stalled_stream_protection(watch).build())
}
