//! What the tests share.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use tidepost::stack::ANY_PORT;
use tidepost::stack::aws::resources::{self, QueueSettings, Resources};
use tidepost::stack::aws::{StandIns, Store, sdk_config};

/// Long enough for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < DEADLINE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stand-ins with table and queues.
pub struct Stores {
    pub stand_ins: StandIns,
    pub sdk: SdkConfig,
    pub resources: Resources,
}

impl Stores {
    pub async fn start(store: &Store, settings: QueueSettings) -> Self {
        let stand_ins = StandIns::start(store, ANY_PORT).await.unwrap();
        let sdk = sdk_config(stand_ins.url()).await;
        let resources = resources::create(&sdk, settings).await.unwrap();
        Self { stand_ins, sdk, resources }
    }

    pub async fn in_memory() -> Self {
        Self::start(&Store::Memory, QueueSettings::default()).await
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk)
    }
}
