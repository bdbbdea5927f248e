//! What a month costs: what messages were measured to use, and what stands there whether or not anything is sent.

use crate::Result;
use crate::campaign::Campaign;
use crate::count::{Channel, Count};
use crate::prices::{GIGABYTES, Prices};

/// Messages a month.
const MONTHS: [f64; 3] = [1e4, 1e6, 1e8];
const HOURS: f64 = 730.0;
const MINUTES: f64 = HOURS * 60.0;
/// From so many messages a month on, dispatch takes 20 and more at a time, and half of the messages are campaigns'.
const BUSY: f64 = 1e5;
const FULL_BATCH: usize = 20;
/// What a mapping receives or deletes with one request.
const TOGETHER: f64 = 10.0;

// What is assumed and not measured.

/// Seconds of an invocation: of an HTTP call, of dispatch beyond its platform's answers, of a tick.
const HTTP_SECONDS: f64 = 0.03;
const DISPATCH_SECONDS: f64 = 0.5;
const TICK_SECONDS: f64 = 0.2;
/// Read units of the two ticks of a minute for a channel.
const TICK_READ_UNITS: f64 = 60.0;
/// The pollers of three mappings on empty queues: five each, a request every 20 s.
const POLLS: f64 = 3.0 * 5.0 * HOURS * 3_600.0 / 20.0;
/// What a message leaves in logs, in the table for a month, and sends to the platform, in gigabytes.
const LOGGED: f64 = 1.5e-6;
const STORED: f64 = 2e-6;
const SENT: f64 = 1.5e-6;
/// Metrics of one deployment, metrics that its alarms watch, its secrets.
const METRICS: f64 = 90.0;
const ALARM_METRICS: f64 = 37.0;
const SECRETS: f64 = 3.0;

/// What one message uses.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    write_units: f64,
    read_units: f64,
    sqs_requests: f64,
    invocations: f64,
    seconds: f64,
    api_requests: f64,
}

impl Use {
    /// A single message with its consent, where dispatch takes `batch` at a time.
    fn single(channel: &Channel, batch: usize) -> Result<Self> {
        let round = channel.rounds.iter().find(|round| round.batch == batch).ok_or("no such round")?;
        let (_, consent) = channel.consents.first().ok_or("no consent")?;
        let counts = [consent, &round.enqueue, &round.dispatch, &round.event, &channel.settle];
        let flights = 1.0 / number(batch);
        Ok(Self {
            write_units: counts.iter().map(|count| writes(count)).sum(),
            read_units: counts.iter().map(|count| count.tally.read_units / number(count.of)).sum(),
            sqs_requests: 1.0 + 2.0 / number(batch).min(TOGETHER),
            // Consent, request, the platform's own event, and the part of a dispatch.
            invocations: 3.0 + flights,
            seconds: 3.0 * HTTP_SECONDS + DISPATCH_SECONDS * flights,
            // Platforms call the function's own address.
            api_requests: 1.0,
        })
    }

    /// A campaign's message with its consent and the platform's own event.
    fn of_campaign(campaign: &Campaign, channel: &Channel) -> Result<Self> {
        let (_, consent) = channel.consents.first().ok_or("no consent")?;
        let event = &channel.rounds.first().ok_or("no round")?.event;
        let per = |sum: usize| number(sum) / number(campaign.of);
        let flight_seconds = 2.0 / 200.0;
        Ok(Self {
            write_units: per(campaign.tally.write_units()) + writes(consent) + writes(event),
            read_units: campaign.tally.read_units / number(campaign.of)
                + consent.tally.read_units / number(consent.of)
                + event.tally.read_units / number(event.of),
            sqs_requests: per(campaign.sqs_requests()),
            invocations: per(campaign.invocations) + 2.0,
            seconds: flight_seconds + 2.0 * HTTP_SECONDS,
            api_requests: 0.0,
        })
    }

    fn mixed(self, other: Self) -> Self {
        let half = |one: f64, other: f64| f64::midpoint(one, other);
        Self {
            write_units: half(self.write_units, other.write_units),
            read_units: half(self.read_units, other.read_units),
            sqs_requests: half(self.sqs_requests, other.sqs_requests),
            invocations: half(self.invocations, other.invocations),
            seconds: half(self.seconds, other.seconds),
            api_requests: half(self.api_requests, other.api_requests),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

fn writes(count: &Count) -> f64 {
    number(count.tally.write_units()) / number(count.of)
}

/// Traces of so many invocations in a month: the first of each second, and a twentieth of the others.
fn traces(invocations: f64) -> f64 {
    let seconds = HOURS * 3_600.0;
    invocations.min(seconds) + (invocations - seconds).max(0.0) / 20.0
}

/// A month of `messages`, part by part, in USD.
fn month(messages: f64, used: Use, prices: &Prices) -> Vec<(&'static str, f64)> {
    let millions = messages / 1e6;
    let ticks = 2.0 * MINUTES;
    let invocations = messages * used.invocations;
    let seconds = messages * used.seconds + ticks * TICK_SECONDS;
    let reads = millions * used.read_units + MINUTES * TICK_READ_UNITS / 1e6;
    let stored = messages * STORED;
    vec![
        ("DynamoDB, writes", millions * used.write_units * prices.write_units),
        ("DynamoDB, reads", reads * prices.read_units),
        (
            "DynamoDB, storage and point-in-time recovery",
            stored * (prices.stored_gigabytes + prices.recoverable_gigabytes),
        ),
        ("SQS", (millions * used.sqs_requests + POLLS / 1e6) * prices.sqs_requests),
        (
            "Lambda",
            (invocations + ticks) / 1e6 * prices.invocations + seconds * GIGABYTES / 1e6 * prices.gigabyte_seconds,
        ),
        ("HTTP API", millions * used.api_requests * prices.api_requests),
        ("logs", messages * LOGGED * prices.log_gigabytes),
        ("traces", (traces(invocations) + ticks) / 1e6 * prices.traces),
        ("to the platform", messages * SENT * prices.sent_gigabytes),
        (
            "metrics, alarms, dashboard, secrets",
            METRICS * prices.metrics
                + ALARM_METRICS * prices.alarm_metrics
                + prices.dashboards
                + SECRETS * prices.secrets,
        ),
    ]
}

/// The table.
///
/// # Errors
/// When prices or figures are missing.
pub fn table(channel: &Channel, campaign: &Campaign) -> Result<String> {
    let prices = Prices::read()?;
    let alone = Use::single(channel, 1)?;
    let busy = Use::single(channel, FULL_BATCH)?.mixed(Use::of_campaign(campaign, channel)?);
    let months = MONTHS.map(|messages| month(messages, if messages < BUSY { alone } else { busy }, &prices));
    let [first, ..] = &months;
    let mut lines = vec![
        "### What a month costs\n".to_owned(),
        "USD. 10 thousand messages are single ones, each alone; of the others half are single ones and half campaigns'.\n".to_owned(),
        "| messages a month | 10 thousand | 1 million | 100 million |".to_owned(),
        "| --- | ---: | ---: | ---: |".to_owned(),
    ];
    for (part, (name, _)) in first.iter().enumerate() {
        let of = months.iter().filter_map(|month| month.get(part)).map(|(_, price)| format!(" {price:.2} |"));
        lines.push(format!("| {name} |{}", of.collect::<String>()));
    }
    let sums = months.each_ref().map(|month| month.iter().map(|(_, price)| price).sum::<f64>());
    lines.push(format!("| together |{}", sums.map(|sum| format!(" {sum:.2} |")).concat()));
    let each = sums.iter().zip(MONTHS).map(|(sum, messages)| format!(" {:.4} |", sum / messages * 1_000.0));
    lines.push(format!("| of a thousand messages |{}", each.collect::<String>()));
    let fixed = HOURS * (prices.nat_hours + prices.address_hours);
    lines.push(format!("\nWith a fixed address for access tokens: {fixed:.2} more."));
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_trace_of_a_second_counts_and_a_twentieth_of_the_rest() {
        let seconds = HOURS * 3_600.0;
        assert!((traces(1_000.0) - 1_000.0).abs() < 1e-9);
        assert!((traces(seconds * 21.0) - seconds * 2.0).abs() < 1e-3);
    }

    #[test]
    fn a_month_without_messages_costs_what_stands_there() {
        let prices = Prices::read().unwrap();
        let parts = month(0.0, Use::default(), &prices);
        let of = |name: &str| parts.iter().find(|(part, _)| *part == name).unwrap().1;
        assert!(of("DynamoDB, writes").abs() < 1e-9 && of("HTTP API").abs() < 1e-9);
        assert!(of("SQS") > 0.0 && of("metrics, alarms, dashboard, secrets") > 20.0);
    }
}
