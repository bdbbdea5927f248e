//! A batch of messages as an SQS event source mapping hands it over.

use aws_sdk_sqs::types::Message;
use serde_json::{Value, json};

/// The event's text, from messages as `ReceiveMessage` returned them.
#[must_use]
pub fn event(messages: &[Message], queue_arn: &str) -> String {
    let records: Vec<Value> = messages.iter().map(|message| record(message, queue_arn)).collect();
    json!({"Records": records}).to_string()
}

fn record(message: &Message, queue_arn: &str) -> Value {
    let attributes: serde_json::Map<String, Value> = message
        .attributes
        .iter()
        .flatten()
        .map(|(name, value)| (name.as_str().to_owned(), Value::String(value.clone())))
        .collect();
    json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(':').nth(3),
    })
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::sqs::SqsEvent;
    use aws_sdk_sqs::types::MessageSystemAttributeName as Name;

    use super::*;

    const FIXTURE: &str = include_str!("../../../../../../tests/fixtures/events/sqs.json");

    #[test]
    fn the_event_is_the_documented_one() {
        let message = Message::builder()
            .message_id("059f36b4-87a3-44ab-83d2-661975830a7d")
            .receipt_handle("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a")
            .body(r#"{"v":1}"#)
            .md5_of_body("57c91e3a6ba8dd1b9d4e32ec7cf8a0c4")
            .attributes(Name::ApproximateReceiveCount, "2")
            .attributes(Name::SentTimestamp, "1795226400000")
            .attributes(Name::SenderId, "AIDAIENQZJOLO23YVJ4VO")
            .attributes(Name::ApproximateFirstReceiveTimestamp, "1795226400064")
            .build();
        let event: Value =
            serde_json::from_str(&event(&[message], "arn:aws:sqs:us-east-1:123456789012:tidepost-now")).unwrap();
        assert_eq!(event, serde_json::from_str::<Value>(FIXTURE).unwrap());
    }

    #[test]
    fn lambdas_own_type_reads_it() {
        let event: SqsEvent = serde_json::from_str(FIXTURE).unwrap();
        assert_eq!(event.records[0].attributes["ApproximateReceiveCount"], "2");
        assert_eq!(event.records[0].aws_region.as_deref(), Some("us-east-1"));
    }
}
