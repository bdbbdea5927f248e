//! Everything that is measured stands in one table, which the dashboard and the alarms are matched with.

use tidepost_io::emf::Metric;

use super::sources::shipped_sources;

/// Dashboards and alarms know these names: who renames one changes them too.
#[test]
fn every_metric_has_the_name_that_dashboards_know() {
    let names = Metric::ALL.map(Metric::name);
    let of_invocations = ["invocations", "failures", "duration"];
    let of_sends = ["delivered", "refused", "failed", "unknown"];
    let of_alarms = ["Overshoot", "UnusedUnits", "TokenFailures", "BrakeEngaged", "ErasureBacklog"];
    assert_eq!(names.to_vec(), [&of_invocations[..], &of_sends, &of_alarms].concat());
}

/// What no function tells, no dashboard can show. Those of every invocation are told where invocations are measured.
#[test]
fn every_metric_is_told_by_some_function() {
    let sources = shipped_sources(&["crates/tidepost-io/", "functions/"]);
    let tells = |metric: &Metric| {
        let told = format!("Metric::{metric:?}");
        let is_own = [Metric::Invocations, Metric::Failures, Metric::Duration].contains(metric);
        sources.iter().any(|(path, text)| text.contains(&told) && path.ends_with("/emf.rs") == is_own)
    };
    let untold: Vec<Metric> = Metric::ALL.into_iter().filter(|metric| !tells(metric)).collect();
    assert!(untold.is_empty(), "{untold:?}");
}

/// A metric that is written by hand is in no table.
#[test]
fn only_one_place_writes_metrics() {
    let sources = shipped_sources(&["crates/tidepost/", "crates/tidepost-core/", "crates/tidepost-io/", "functions/"]);
    let writers: Vec<&str> =
        sources.iter().filter(|(_, text)| text.contains("CloudWatchMetrics")).map(|(path, _)| path.as_str()).collect();
    assert_eq!(writers, ["crates/tidepost-io/src/emf.rs"]);
}
