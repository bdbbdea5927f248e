//! What SQS refuses and its stand-in would accept.

use std::collections::HashSet;

use serde::Deserialize;

/// Bytes of a message, and of all messages of a batch together.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Entries of a batch, and messages of one receive.
pub const BATCH_MAX: usize = 10;

/// An answer in SQS's own words.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Refused {
    /// The error's name in the JSON protocol.
    pub shape: &'static str,
    /// Its name in the older query protocol, which the SDKs still report.
    pub code: &'static str,
    /// For a person.
    pub message: String,
}

impl Refused {
    fn new(shape: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { shape, code, message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Send {
    #[serde(default)]
    message_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(default)]
    message_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    max_number_of_messages: Option<usize>,
}

/// Checks one call before the stand-in sees it. A call that is not understood is left to the stand-in.
pub(super) fn check(operation: &str, body: &[u8]) -> Result<(), Refused> {
    if operation.ends_with("Batch") {
        return serde_json::from_slice(body).map_or(Ok(()), |batch| check_batch(&batch));
    }
    match operation {
        "SendMessage" => serde_json::from_slice(body).map_or(Ok(()), |send| check_send(&send)),
        "ReceiveMessage" => serde_json::from_slice(body).map_or(Ok(()), |receive| check_receive(&receive)),
        _ => Ok(()),
    }
}

fn check_send(send: &Send) -> Result<(), Refused> {
    if send.message_body.is_empty() {
        let message = "The request must contain the parameter MessageBody.";
        return Err(Refused::new("MissingRequiredParameterException", "MissingParameter", message));
    }
    if send.message_body.len() > MESSAGE_BYTES_MAX {
        let message = "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.";
        return Err(Refused::new("InvalidParameterValueException", "InvalidParameterValue", message));
    }
    Ok(())
}

fn check_batch(batch: &Batch) -> Result<(), Refused> {
    let count = batch.entries.len();
    let size: usize = batch.entries.iter().map(|entry| entry.message_body.len()).sum();
    let ids: HashSet<&str> = batch.entries.iter().map(|entry| entry.id.as_str()).collect();
    if count == 0 {
        let message = "There should be at least one SendMessageBatchRequestEntry in the request.";
        return Err(Refused::new("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", message));
    }
    if count > BATCH_MAX {
        let message = format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {count}.");
        let code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
        return Err(Refused::new("TooManyEntriesInBatchRequest", code, message));
    }
    if ids.len() < count {
        let code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
        return Err(Refused::new("BatchEntryIdsNotDistinct", code, "Two or more batch entries have the same Id."));
    }
    if size > MESSAGE_BYTES_MAX {
        let message =
            format!("Batch requests cannot be longer than {MESSAGE_BYTES_MAX} bytes. You have sent {size} bytes.");
        return Err(Refused::new("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", message));
    }
    Ok(())
}

fn check_receive(receive: &Receive) -> Result<(), Refused> {
    match receive.max_number_of_messages {
        Some(count) if !(1..=BATCH_MAX).contains(&count) => {
            let message = format!(
                "Value {count} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and {BATCH_MAX}, if provided."
            );
            Err(Refused::new("InvalidParameterValueException", "InvalidParameterValue", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(operation: &str, body: &serde_json::Value) -> Option<&'static str> {
        check(operation, body.to_string().as_bytes()).err().map(|refused| refused.shape)
    }

    fn batch(count: usize, body: &str) -> serde_json::Value {
        let entries = (0..count).map(|n| serde_json::json!({"Id": n.to_string(), "MessageBody": body}));
        serde_json::json!({"QueueUrl": "q", "Entries": entries.collect::<Vec<_>>()})
    }

    #[test]
    fn a_batch_of_ten_passes_and_of_eleven_does_not() {
        assert_eq!(shape("SendMessageBatch", &batch(10, "x")), None);
        assert_eq!(shape("SendMessageBatch", &batch(11, "x")), Some("TooManyEntriesInBatchRequest"));
        assert_eq!(shape("DeleteMessageBatch", &batch(0, "")), Some("EmptyBatchRequest"));
    }

    #[test]
    fn sizes_count_for_the_message_and_for_the_batch() {
        let largest = "x".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(shape("SendMessage", &serde_json::json!({"MessageBody": largest})), None);
        let larger = serde_json::json!({"MessageBody": format!("{largest}x")});
        assert_eq!(shape("SendMessage", &larger), Some("InvalidParameterValueException"));
        let half = "x".repeat(MESSAGE_BYTES_MAX / 2 + 1);
        assert_eq!(shape("SendMessageBatch", &batch(1, &half)), None);
        assert_eq!(shape("SendMessageBatch", &batch(2, &half)), Some("BatchRequestTooLong"));
    }

    #[test]
    fn a_receive_takes_one_to_ten() {
        assert_eq!(shape("ReceiveMessage", &serde_json::json!({"MaxNumberOfMessages": 10})), None);
        let eleven = serde_json::json!({"MaxNumberOfMessages": 11});
        assert_eq!(shape("ReceiveMessage", &eleven), Some("InvalidParameterValueException"));
    }

    #[test]
    fn equal_ids_are_refused() {
        let entries = serde_json::json!({"Entries": [{"Id": "1"}, {"Id": "1"}]});
        assert_eq!(shape("DeleteMessageBatch", &entries), Some("BatchEntryIdsNotDistinct"));
    }
}
