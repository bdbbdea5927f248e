//! The functions, by what invokes them.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::Error;
use serde_json::Value;
use tidepost_io::app::App;

/// Functions with a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpFunction {
    /// What platforms and backends report.
    Callback,
    /// Messages.
    Enqueue,
    /// Channels, templates, keys, subscribers.
    Admin,
    /// Quota, metrics, reports.
    Report,
}

impl HttpFunction {
    /// Its name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Enqueue => "enqueue",
            Self::Admin => "admin",
            Self::Report => "report",
        }
    }

    /// Runs its handler.
    ///
    /// # Errors
    /// What the handler fails with.
    pub async fn handle(self, app: &App, event: ApiGatewayV2httpRequest) -> Result<ApiGatewayV2httpResponse, Error> {
        match self {
            Self::Callback => tidepost_callback::handle(app, event).await,
            Self::Enqueue => tidepost_enqueue::handle(app, event).await,
            Self::Admin => tidepost_admin::handle(app, event).await,
            Self::Report => tidepost_report::handle(app, event).await,
        }
    }
}

/// Functions that a queue feeds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueFunction {
    /// Sends messages and campaigns.
    Dispatch,
    /// Finds whom campaigns may be sent to.
    Sweep,
}

impl QueueFunction {
    /// Its name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Sweep => "sweep",
        }
    }

    /// Runs its handler.
    ///
    /// # Errors
    /// What the handler fails with: the whole batch comes back.
    pub async fn handle(self, app: &App, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
        match self {
            Self::Dispatch => tidepost_dispatch::handle(app, event).await,
            Self::Sweep => tidepost_sweep::handle(app, event).await,
        }
    }
}

/// Functions that a schedule invokes each minute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScheduledFunction {
    /// Brings back what was parked, plans windows, recovers.
    Release,
    /// Sums receipts up.
    Metrics,
}

impl ScheduledFunction {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Release, Self::Metrics];

    /// Its name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Metrics => "metrics",
        }
    }

    /// Runs its handler.
    ///
    /// # Errors
    /// What the handler fails with: the next tick repeats it.
    pub async fn handle(self, app: &App, event: EventBridgeEvent<Value>) -> Result<(), Error> {
        match self {
            Self::Release => tidepost_release::handle(app, event).await,
            Self::Metrics => tidepost_metrics::handle(app, event).await,
        }
    }
}

/// Functions that an event invokes which is neither a call nor a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventFunction {
    /// Takes an order to a campaign.
    Enqueue,
    /// Takes ticks, and what is told to one by hand.
    Scheduled(ScheduledFunction),
}

impl EventFunction {
    /// The one with a name that the template gives it in the stack `tidepost`.
    #[must_use]
    pub fn deployed_as(name: &str) -> Option<Self> {
        let all = ScheduledFunction::ALL.into_iter().map(Self::Scheduled).chain([Self::Enqueue]);
        let name = name.strip_prefix("tidepost-")?;
        all.into_iter().find(|function| function.name() == name)
    }

    /// Its name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueue => HttpFunction::Enqueue.name(),
            Self::Scheduled(function) => function.name(),
        }
    }

    /// Runs its handler.
    ///
    /// # Errors
    /// What the handler fails with.
    pub async fn handle(self, app: &App, event: Value) -> Result<Value, Error> {
        match self {
            Self::Enqueue => tidepost_enqueue::handle_any(app, event).await,
            Self::Scheduled(function) => {
                function.handle(app, serde_json::from_value(event)?).await.map(|()| Value::Null)
            }
        }
    }
}
