//! What requests and units cost: list prices of us-east-1, on demand, without the free tier. China regions bill in CNY by
//! lists of their own.

use serde::Deserialize;

/// The prices, as data.
const PRICES: &str = include_str!("../prices.json");

/// Prices in USD: of a million unless it says otherwise.
#[derive(Debug, Deserialize)]
pub struct Prices {
    /// Write units of DynamoDB.
    pub write_units: f64,
    /// Read units of DynamoDB.
    pub read_units: f64,
    /// Requests of SQS.
    pub sqs_requests: f64,
    /// Invocations of Lambda.
    pub invocations: f64,
    /// GB-seconds of Lambda on arm64.
    pub gigabyte_seconds: f64,
    /// Requests of an HTTP API.
    pub api_requests: f64,
    /// Traces of X-Ray.
    pub traces: f64,
    /// A gigabyte of logs, once.
    pub log_gigabytes: f64,
    /// A gigabyte in DynamoDB for a month.
    pub stored_gigabytes: f64,
    /// The same for point-in-time recovery.
    pub recoverable_gigabytes: f64,
    /// A gigabyte that leaves AWS.
    pub sent_gigabytes: f64,
    /// A metric that an alarm watches, for a month.
    pub alarm_metrics: f64,
    /// A metric, for a month.
    pub metrics: f64,
    /// A dashboard, for a month.
    pub dashboards: f64,
    /// A secret, for a month.
    pub secrets: f64,
    /// An hour of a NAT gateway.
    pub nat_hours: f64,
    /// An hour of a public address.
    pub address_hours: f64,
}

impl Prices {
    /// The list.
    ///
    /// # Errors
    /// When it is not complete.
    pub fn read() -> Result<Self, serde_json::Error> {
        serde_json::from_str(PRICES)
    }
}

/// Memory of a function, in GB, and how long it runs for each message of a flight, in seconds: 200 people in the two seconds
/// around their starts.
pub const GIGABYTES: f64 = 0.25;
const SECONDS_PER_MESSAGE: f64 = 2.0 / 200.0;

/// What one message uses.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Write units.
    pub write_units: f64,
    /// Read units.
    pub read_units: f64,
    /// Requests of SQS.
    pub sqs_requests: f64,
}

/// What a million messages cost.
#[must_use]
pub fn table(used: &Used, invocations: f64) -> String {
    let Ok(prices) = Prices::read() else { return String::new() };
    let compute = GIGABYTES * SECONDS_PER_MESSAGE;
    let rows = [
        ("DynamoDB, writes", used.write_units * prices.write_units),
        ("DynamoDB, reads", used.read_units * prices.read_units),
        ("SQS", used.sqs_requests * prices.sqs_requests),
        ("Lambda, invocations", invocations * prices.invocations),
        ("Lambda, time of dispatch", compute * prices.gigabyte_seconds),
    ];
    let sum: f64 = rows.iter().map(|(_, price)| price).sum();
    let row = |(what, price): (&str, f64)| format!("| {what} | {price:.4} |");
    let head = ["", "| of a million messages | USD |", "| --- | ---: |"].map(str::to_owned);
    head.into_iter().chain(rows.map(row)).chain([row(("together", sum))]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_can_be_read_and_are_added_up() {
        let used = Used { write_units: 1.0, read_units: 0.0, sqs_requests: 0.0 };
        let table = table(&used, 0.0);
        assert!(table.contains("| DynamoDB, writes | 0.6250 |"), "{table}");
        assert!(table.contains("| together | 0.6"), "{table}");
    }
}
