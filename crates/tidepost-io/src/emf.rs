//! What is measured, in CloudWatch's embedded metric format: CloudWatch Logs makes metrics of lines. An invocation leaves one
//! line about itself, and one for each channel, and for the whole deployment, of which it has something to tell.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidepost_core::channel::Platform;

/// Where the metrics are found.
const NAMESPACE: &str = "Tidepost";

/// Everything that is measured. The dashboard and the alarms know it by [`Metric::name`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Metric {
    /// Invocations of a function.
    Invocations,
    /// Those that failed.
    Failures,
    /// How long they took.
    Duration,
    /// Sends that were delivered.
    Delivered,
    /// Sends that were refused.
    Refused,
    /// Sends that failed.
    Failed,
    /// Sends of which nobody knows what became of them.
    Unknown,
    /// Units taken beyond a window's limit, by our own ledger: once for each moment at which windows close, also when 0.
    Overshoot,
    /// Units that nobody used, of those that people of running campaigns were waiting for when windows closed; also when 0.
    UnusedUnits,
    /// Access tokens that a platform did not give out when it was asked.
    TokenFailures,
    /// Campaigns that the brake paused.
    BrakeEngaged,
    /// Erasures that were begun a minute ago or earlier and could not be finished: each minute, also when 0.
    ErasureBacklog,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Invocations,
        Self::Failures,
        Self::Duration,
        Self::Delivered,
        Self::Refused,
        Self::Failed,
        Self::Unknown,
        Self::Overshoot,
        Self::UnusedUnits,
        Self::TokenFailures,
        Self::BrakeEngaged,
        Self::ErasureBacklog,
    ];

    /// Its name in CloudWatch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invocations => "invocations",
            Self::Failures => "failures",
            Self::Duration => "duration",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Overshoot => "Overshoot",
            Self::UnusedUnits => "UnusedUnits",
            Self::TokenFailures => "TokenFailures",
            Self::BrakeEngaged => "BrakeEngaged",
            Self::ErasureBacklog => "ErasureBacklog",
        }
    }

    fn unit(self) -> &'static str {
        if self == Self::Duration { "Milliseconds" } else { "Count" }
    }
}

tokio::task_local! {
    static NOTED: RefCell<Noted>;
}

/// What an invocation noted of itself.
#[derive(Debug, Default)]
struct Noted {
    counts: BTreeMap<Metric, u64>,
    /// Of channels; without one, of the whole deployment.
    elsewhere: BTreeMap<Option<String>, BTreeMap<Metric, u64>>,
    outcome: Option<&'static str>,
    platform: Option<Platform>,
}

/// Adds to a count of this invocation. Without an invocation it does nothing, as do the others.
pub fn count(metric: Metric, by: usize) {
    note(|noted| *noted.counts.entry(metric).or_default() += u64::try_from(by).unwrap_or(u64::MAX));
}

/// Adds to a count of a channel, whichever function counts.
pub fn count_of(channel: &str, metric: Metric, by: u64) {
    note(|noted| noted.add(Some(channel.to_owned()), metric, by));
}

/// Adds to a count of the whole deployment, whichever function counts.
pub fn count_of_all(metric: Metric, by: u64) {
    note(|noted| noted.add(None, metric, by));
}

/// Says how this invocation ended that did not fail: `ok` unless said otherwise. One of a few words: it is a dimension.
pub fn outcome(outcome: &'static str) {
    note(|noted| noted.outcome = Some(outcome));
}

/// Names the platform that this invocation deals with.
pub fn platform(platform: Platform) {
    note(|noted| noted.platform = Some(platform));
}

fn note(change: impl FnOnce(&mut Noted)) {
    // Where nobody observes there is nothing to note.
    let _unobserved = NOTED.try_with(|noted| change(&mut noted.borrow_mut()));
}

impl Noted {
    fn add(&mut self, channel: Option<String>, metric: Metric, by: u64) {
        *self.elsewhere.entry(channel).or_default().entry(metric).or_default() += by;
    }
}

/// The metrics of one invocation.
#[derive(Debug)]
pub struct Measured {
    service: &'static str,
    duration: Duration,
    is_failure: bool,
    noted: Noted,
}

/// Runs an invocation of `service` and measures it.
pub async fn observed<T, E>(
    service: &'static str,
    invocation: impl Future<Output = Result<T, E>>,
) -> (Result<T, E>, Measured) {
    let since = Instant::now();
    let run = async {
        let result = invocation.await;
        let noted = NOTED.with(RefCell::take);
        (result, noted)
    };
    let (result, noted) = NOTED.scope(RefCell::default(), run).await;
    let measured = Measured { service, duration: since.elapsed(), is_failure: result.is_err(), noted };
    (result, measured)
}

impl Measured {
    /// The lines as CloudWatch reads them, for an invocation that ended `at` and belongs to the deployment `stage`.
    #[must_use]
    pub fn lines(&self, stage: &str, at: Timestamp) -> Vec<String> {
        let elsewhere = self.noted.elsewhere.iter();
        let elsewhere = elsewhere.map(|(channel, counts)| self.about_others(stage, channel.as_deref(), counts, at));
        std::iter::once(self.about_itself(stage, at)).chain(elsewhere).collect()
    }

    fn about_itself(&self, stage: &str, at: Timestamp) -> String {
        let outcome = if self.is_failure { "failed" } else { self.noted.outcome.unwrap_or("ok") };
        let mut metrics = self.noted.counts.clone();
        metrics.insert(Metric::Invocations, 1);
        metrics.insert(Metric::Failures, u64::from(outcome == "failed"));
        metrics.insert(Metric::Duration, u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX));
        let mut dimensions = vec![vec!["stage", "service"], vec!["stage", "service", "outcome"]];
        let mut properties = vec![("service", json!(self.service)), ("outcome", json!(outcome))];
        if let Some(platform) = self.noted.platform {
            dimensions.push(vec!["stage", "service", "platform"]);
            properties.push(("platform", json!(platform)));
        }
        line(stage, &dimensions, properties, &metrics, at)
    }

    /// What alarms watch has no function among its dimensions: whoever finds out tells.
    fn about_others(
        &self,
        stage: &str,
        channel: Option<&str>,
        counts: &BTreeMap<Metric, u64>,
        at: Timestamp,
    ) -> String {
        let mut dimensions = vec![vec!["stage"]];
        let mut properties = vec![("service", json!(self.service))];
        if let Some(channel) = channel {
            dimensions.push(vec!["stage", "channel"]);
            properties.push(("channel", json!(channel)));
        }
        line(stage, &dimensions, properties, counts, at)
    }
}

fn line(
    stage: &str,
    dimensions: &[Vec<&str>],
    properties: Vec<(&str, Value)>,
    metrics: &BTreeMap<Metric, u64>,
    at: Timestamp,
) -> String {
    let named = metrics.keys().map(|metric| json!({"Name": metric.name(), "Unit": metric.unit()}));
    let named: Vec<Value> = named.collect();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": named});
    let mut line = Map::new();
    line.insert("_aws".to_owned(), json!({"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive]}));
    line.insert("stage".to_owned(), stage.into());
    line.extend(properties.into_iter().map(|(name, value)| (name.to_owned(), value)));
    line.extend(metrics.iter().map(|(metric, number)| (metric.name().to_owned(), (*number).into())));
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(measured: &Measured, at: Timestamp) -> Vec<Value> {
        measured.lines("live", at).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// As CloudWatch wants it: every dimension is a text of the line, every metric a number.
    fn assert_well_formed(line: &Value) {
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Tidepost");
        for set in directive["Dimensions"].as_array().unwrap() {
            assert!(set.as_array().unwrap().iter().all(|name| line[name.as_str().unwrap()].is_string()), "{line}");
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{line}");
        }
    }

    #[tokio::test]
    async fn a_line_says_what_the_invocation_noted() {
        let invocation = async {
            count(Metric::Delivered, 2);
            tokio::join!(async { count(Metric::Delivered, 1) }, async { platform(Platform::WechatMini) });
            Ok::<_, ()>(7)
        };
        let (result, measured) = observed("dispatch", invocation).await;
        assert_eq!(result, Ok(7));
        let [line] = parsed(&measured, "2026-11-21T04:00:00Z".parse().unwrap()).try_into().unwrap();
        assert_eq!(line["_aws"]["Timestamp"], 1_795_233_600_000_i64);
        assert_well_formed(&line);
        let of = |name: &str| line[name].clone();
        assert_eq!(["service", "outcome", "platform"].map(of), ["dispatch", "ok", "wechat_mini"].map(Value::from));
        assert_eq!(["invocations", "failures", "delivered"].map(of), [1, 0, 3].map(Value::from));
        assert_eq!(line["stage"], "live");
    }

    #[tokio::test]
    async fn a_channels_metrics_are_lines_of_their_own_that_add_up_over_channels() {
        let invocation = async {
            count_of("shop", Metric::UnusedUnits, 30);
            count_of("shop", Metric::UnusedUnits, 12);
            count_of("club", Metric::Overshoot, 0);
            count_of_all(Metric::ErasureBacklog, 2);
            Ok::<_, ()>(())
        };
        let (_, measured) = observed("release", invocation).await;
        let [itself, all, club, shop] = parsed(&measured, Timestamp::UNIX_EPOCH).try_into().unwrap();
        [&itself, &all, &club, &shop].into_iter().for_each(assert_well_formed);
        let dimensions = |line: &Value| line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
        assert_eq!((&itself["service"], &itself["UnusedUnits"]), (&json!("release"), &Value::Null));
        assert_eq!((dimensions(&all), &all["ErasureBacklog"]), (json!([["stage"]]), &json!(2)));
        assert_eq!((&club["channel"], &club["Overshoot"]), (&json!("club"), &json!(0)));
        assert_eq!((&shop["channel"], &shop["UnusedUnits"]), (&json!("shop"), &json!(42)));
        assert_eq!(dimensions(&shop), json!([["stage"], ["stage", "channel"]]));
    }

    #[tokio::test]
    async fn a_failure_is_counted_and_nothing_is_left_for_the_next() {
        count(Metric::Delivered, 1);
        let (failed, measured) = observed("release", async { Err::<(), _>("no table") }).await;
        assert!(failed.is_err());
        let [line] = parsed(&measured, Timestamp::UNIX_EPOCH).try_into().unwrap();
        assert_eq!((&line["outcome"], &line["failures"]), (&json!("failed"), &json!(1)));
        assert!(line.get("delivered").is_none() && line.get("platform").is_none(), "{line}");
    }
}
