//! The table and the queues, as the template declares them.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::stack::error::StackError;

/// The table's name.
pub const TABLE: &str = "tidepost";
/// The queue of single messages.
pub const NOW_QUEUE: &str = "tidepost-now";
/// The queue of campaigns' sends.
pub const BULK_QUEUE: &str = "tidepost-bulk";
/// The queue of sweeps.
pub const SWEEP_QUEUE: &str = "tidepost-sweep";
/// What is added to a queue's name for where its poisoned messages end.
const DEAD_LETTERS: &str = "-dlq";

/// How long a flight of a campaign is hidden, in seconds: longer than it takes from its receipt, seconds before its start, to
/// its end; and short enough that another delivery flies it within the same minute when the first one died.
const BULK_VISIBILITY_SECONDS: u32 = 30;

/// How the queues behave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueSettings {
    /// How long a received message is hidden from others, in seconds.
    pub visibility_seconds: u32,
    /// After so many receives a message goes to the dead-letter queue.
    pub receive_count_max: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { visibility_seconds: 60, receive_count_max: 5 }
    }
}

/// What functions and their host need to know of them.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The queue of single messages.
    pub now: Queue,
    /// Its dead letters.
    pub now_dead_letters: Queue,
    /// The queue of campaigns' sends.
    pub bulk: Queue,
    /// Its dead letters.
    pub bulk_dead_letters: Queue,
    /// The queue of sweeps.
    pub sweep: Queue,
    /// Its dead letters.
    pub sweep_dead_letters: Queue,
}

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its URL.
    pub url: String,
    /// Its name for policies and events.
    pub arn: String,
}

/// Makes what is not there yet. Several hosts may do so at once.
///
/// # Errors
/// [`StackError::Resource`] names what could not be made.
pub async fn create(aws: &SdkConfig, settings: QueueSettings) -> Result<Resources, StackError> {
    let dynamodb = aws_sdk_dynamodb::Client::new(aws);
    let sqs = aws_sdk_sqs::Client::new(aws);
    let at = |what: &'static str| {
        let endpoint = aws.endpoint_url().unwrap_or("AWS").to_owned();
        move |detail: String| StackError::Resource { what, endpoint, detail }
    };
    create_table(&dynamodb).await.map_err(at("the table"))?;
    expire(&dynamodb).await.map_err(at("the table's expiry"))?;
    let (now, now_dead_letters) = create_pair(&sqs, NOW_QUEUE, settings).await.map_err(at("the queue"))?;
    let bulk_settings = QueueSettings { visibility_seconds: BULK_VISIBILITY_SECONDS, ..settings };
    let (bulk, bulk_dead_letters) = create_pair(&sqs, BULK_QUEUE, bulk_settings).await.map_err(at("the bulk queue"))?;
    let (sweep, sweep_dead_letters) = create_pair(&sqs, SWEEP_QUEUE, settings).await.map_err(at("the sweep queue"))?;
    Ok(Resources { now, now_dead_letters, bulk, bulk_dead_letters, sweep, sweep_dead_letters })
}

/// A queue and its dead letters.
async fn create_pair(sqs: &aws_sdk_sqs::Client, name: &str, settings: QueueSettings) -> Result<(Queue, Queue), String> {
    let visibility = (QueueAttributeName::VisibilityTimeout, settings.visibility_seconds.to_string());
    let dead = create_queue(sqs, &format!("{name}{DEAD_LETTERS}"), &[]).await?;
    let redrive = serde_json::json!({"deadLetterTargetArn": dead.arn, "maxReceiveCount": settings.receive_count_max});
    let redrive = (QueueAttributeName::RedrivePolicy, redrive.to_string());
    Ok((create_queue(sqs, name, &[visibility, redrive]).await?, dead))
}

async fn create_table(dynamodb: &aws_sdk_dynamodb::Client) -> Result<(), String> {
    let mut table = dynamodb.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        table = table
            .key_schema(key.map_err(|error| error.to_string())?)
            .attribute_definitions(definition.build().map_err(|error| error.to_string())?);
    }
    match table.send().await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string()),
    }
}

async fn expire(dynamodb: &aws_sdk_dynamodb::Client) -> Result<(), String> {
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build();
    let ttl = ttl.map_err(|error| error.to_string())?;
    match dynamodb.update_time_to_live().table_name(TABLE).time_to_live_specification(ttl).send().await {
        Ok(_) => Ok(()),
        // It says so when another host, or an earlier start, has switched it on.
        Err(error) if error.code() == Some("ValidationException") => Ok(()),
        Err(error) => Err(aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string()),
    }
}

async fn create_queue(
    sqs: &aws_sdk_sqs::Client,
    name: &str,
    attributes: &[(QueueAttributeName, String)],
) -> Result<Queue, String> {
    let call = sqs.create_queue().queue_name(name).set_attributes(Some(attributes.iter().cloned().collect()));
    if let Err(error) = call.send().await
        // There with other settings: another host made it, and its settings stay.
        && !error.code().is_some_and(|code| code.contains("QueueAlreadyExists") || code.contains("QueueNameExists"))
    {
        return Err(aws_sdk_sqs::error::DisplayErrorContext(error).to_string());
    }
    let url = sqs.get_queue_url().queue_name(name).send().await;
    let url = url.map_err(|error| aws_sdk_sqs::error::DisplayErrorContext(error).to_string())?;
    let url = url.queue_url.ok_or("the queue has no URL")?;
    let call = sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
    let answer = call.send().await.map_err(|error| aws_sdk_sqs::error::DisplayErrorContext(error).to_string())?;
    let arn = answer.attributes.and_then(|mut all| all.remove(&QueueAttributeName::QueueArn));
    Ok(Queue { url, arn: arn.ok_or("the queue has no ARN")? })
}
