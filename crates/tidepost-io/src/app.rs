//! What every function holds between invocations.

use aws_config::SdkConfig;

use crate::clock::Clock;
use crate::config::Config;

/// Clients and settings of one function instance, built once at cold start.
#[derive(Clone)]
pub struct App {
    /// The environment's settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
}

impl App {
    /// Builds the clients. Opens no connection.
    #[must_use]
    pub fn new(config: Config, clock: Clock, aws: &SdkConfig) -> Self {
        let _ = aws;
        Self { config, clock }
    }
}
