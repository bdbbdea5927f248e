//! One line of metrics per invocation, in CloudWatch's embedded metric format: CloudWatch Logs makes metrics of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidepost_core::channel::Platform;

/// Where the metrics are found.
const NAMESPACE: &str = "Tidepost";

tokio::task_local! {
    static NOTED: RefCell<Noted>;
}

/// What an invocation noted of itself.
#[derive(Debug, Default)]
struct Noted {
    counts: BTreeMap<&'static str, u64>,
    outcome: Option<&'static str>,
    platform: Option<Platform>,
}

/// Adds to a count of this invocation. Without an invocation it does nothing, as do the others.
pub fn count(name: &'static str, by: usize) {
    note(|noted| *noted.counts.entry(name).or_default() += u64::try_from(by).unwrap_or(u64::MAX));
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

/// The metrics of one invocation.
#[derive(Debug)]
pub struct Line {
    service: &'static str,
    duration: Duration,
    is_failure: bool,
    noted: Noted,
}

/// Runs an invocation of `service` and measures it.
pub async fn observed<T, E>(
    service: &'static str,
    invocation: impl Future<Output = Result<T, E>>,
) -> (Result<T, E>, Line) {
    let since = Instant::now();
    let run = async {
        let result = invocation.await;
        let noted = NOTED.with(RefCell::take);
        (result, noted)
    };
    let (result, noted) = NOTED.scope(RefCell::default(), run).await;
    let line = Line { service, duration: since.elapsed(), is_failure: result.is_err(), noted };
    (result, line)
}

impl Line {
    /// The line as CloudWatch reads it, for an invocation that ended `at`.
    #[must_use]
    pub fn json(&self, at: Timestamp) -> String {
        let outcome = if self.is_failure { "failed" } else { self.noted.outcome.unwrap_or("ok") };
        let failures = u64::from(outcome == "failed");
        let milliseconds = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let mut metrics = vec![("invocations", "Count", 1), ("failures", "Count", failures)];
        metrics.push(("duration", "Milliseconds", milliseconds));
        metrics.extend(self.noted.counts.iter().map(|(name, count)| (*name, "Count", *count)));
        let mut dimensions = vec![vec!["service"], vec!["service", "outcome"]];
        let mut line = Map::new();
        if let Some(platform) = self.noted.platform {
            dimensions.push(vec!["service", "platform"]);
            line.insert("platform".to_owned(), json!(platform));
        }
        let named: Vec<Value> = metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": named});
        let head = json!({"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive]});
        line.insert("_aws".to_owned(), head);
        line.insert("service".to_owned(), self.service.into());
        line.insert("outcome".to_owned(), outcome.into());
        line.extend(metrics.into_iter().map(|(name, _, number)| (name.to_owned(), number.into())));
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_says_what_the_invocation_noted() {
        let invocation = async {
            count("delivered", 2);
            tokio::join!(async { count("delivered", 1) }, async { platform(Platform::WechatMini) });
            Ok::<_, ()>(7)
        };
        let (result, line) = observed("dispatch", invocation).await;
        assert_eq!(result, Ok(7));
        let line: Value = serde_json::from_str(&line.json("2026-11-21T04:00:00Z".parse().unwrap())).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(line["_aws"]["Timestamp"], 1_795_233_600_000_i64);
        assert_eq!(directive["Namespace"], "Tidepost");
        for set in directive["Dimensions"].as_array().unwrap() {
            assert!(set.as_array().unwrap().iter().all(|name| line[name.as_str().unwrap()].is_string()), "{line}");
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{line}");
        }
        let of = |name: &str| line[name].clone();
        assert_eq!(["service", "outcome", "platform"].map(of), ["dispatch", "ok", "wechat_mini"].map(Value::from));
        assert_eq!(["invocations", "failures", "delivered"].map(of), [1, 0, 3].map(Value::from));
    }

    #[tokio::test]
    async fn a_failure_is_counted_and_nothing_is_left_for_the_next() {
        count("delivered", 1);
        let (failed, line) = observed("release", async { Err::<(), _>("no table") }).await;
        assert!(failed.is_err());
        let line: Value = serde_json::from_str(&line.json(Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!((&line["outcome"], &line["failures"]), (&json!("failed"), &json!(1)));
        assert!(line.get("delivered").is_none() && line.get("platform").is_none(), "{line}");
    }
}
