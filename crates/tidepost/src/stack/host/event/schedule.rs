//! A tick as an EventBridge rule hands it over.

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use crate::stack::host::event::ACCOUNT;

/// The event's text: `rule` names the schedule, `at` is the tick's time, `detail` what is said with it (nothing for a tick).
#[must_use]
pub fn event(id: &str, rule: &str, region: &str, at: Timestamp, detail: &Value) -> String {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": at.round(Unit::Second).unwrap_or(at).to_string(),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{ACCOUNT}:rule/{rule}")],
        "detail": detail,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lambda_events::eventbridge::EventBridgeEvent;

    const FIXTURE: &str = include_str!("../../../../../../tests/fixtures/events/eventbridge.json");

    #[test]
    fn the_event_is_the_documented_one() {
        let at = "2026-11-21T02:01:00Z".parse().unwrap();
        let event = event("53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "tidepost-release", "us-east-1", at, &json!({}));
        assert_eq!(serde_json::from_str::<Value>(&event).unwrap(), serde_json::from_str::<Value>(FIXTURE).unwrap());
    }

    #[test]
    fn lambdas_own_type_reads_it() {
        let event: EventBridgeEvent<Value> = serde_json::from_str(FIXTURE).unwrap();
        assert_eq!(event.time.unwrap().timestamp(), 1_795_226_460);
    }
}
