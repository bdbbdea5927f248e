//! `sweep`: plans the slots of a channel, looks at its people, and hands out whom campaigns may be sent to.
//!
//! ```text
//! release, each minute ─► plan ─► census of each range ─► plan
//!                          └────► emit of each range ───► bulk queue ─► dispatch
//! ```

mod census;
mod emit;
mod plan;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use lambda_runtime::Error;
use tidepost_io::app::App;
use tidepost_io::queue::{SweepStep, SweepTask};

/// Does one step after the other; a step that fails comes back.
///
/// # Errors
/// None: a step that fails is reported as failed.
pub async fn handle(app: &App, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let mut response = SqsBatchResponse::default();
    for record in event.records {
        if let Err(error) = step(app, record.body.as_deref().unwrap_or_default()).await {
            let record = record.message_id.unwrap_or_default();
            tracing::warn!(record, %error, "a step of a sweep goes back to the queue");
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record;
            response.batch_item_failures.push(failure);
        }
    }
    Ok(response)
}

async fn step(app: &App, body: &str) -> Result<(), Error> {
    let SweepTask::V1(step) = serde_json::from_str(body)?;
    match step {
        SweepStep::Plan { channel } => plan::run(app, &channel).await,
        SweepStep::Census { channel, generation, range } => census::run(app, &channel, generation, range).await,
        SweepStep::Emit { channel, slot, range } => emit::run(app, &channel, slot, range).await,
    }
}
