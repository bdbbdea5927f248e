//! What every function holds between invocations.

use aws_config::SdkConfig;
use jiff::Timestamp;
use thiserror::Error;
use tidepost_core::time::fixed_period;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
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
    /// The queue of sweeps.
    pub sweep_queue: SweepQueue,
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
        Self {
            store: Store::new(dynamodb(aws), config.table.clone()),
            now_queue: NowQueue::new(sqs.clone(), config.now_queue_url.clone()),
            dead_queue: DeadQueue::new(sqs.clone(), config.dead_queue_url.clone()),
            bulk_queue: BulkQueue::new(sqs.clone(), config.bulk_queue_url.clone()),
            sweep_queue: SweepQueue::new(sqs, config.sweep_queue_url.clone()),
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

    /// Builds the clients from the environment and opens the connection to DynamoDB, while the function's start still has
    /// a whole processor.
    ///
    /// # Errors
    /// [`StartError`] names everything that is missing.
    pub async fn from_env() -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let aws = aws_config::load_from_env().await;
        let app = Self::new(config, Clock::system(), &aws)?;
        // Only the open connection is wanted; whether there is a channel of this name does not matter.
        drop(app.store.channel("-").await);
        Ok(app)
    }
}

/// DynamoDB without the watch over slow bodies: each is a few kilobytes, and the watch costs processor time on every call.
fn dynamodb(aws: &SdkConfig) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{Builder, StalledStreamProtectionConfig};
    let watch = StalledStreamProtectionConfig::disabled();
    aws_sdk_dynamodb::Client::from_conf(Builder::from(aws).stalled_stream_protection(watch).build())
}
