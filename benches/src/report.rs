//! The tables, and their place in `docs/BENCHMARKS.md`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts below 2^52 become figures"
)]

use std::path::Path;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use tidepost_io::clock::Clock;

use crate::Result;
use crate::campaign::Campaign;
use crate::cold::{Cold, Function, Language};
use crate::count::{Channel, Count, PEOPLE};
use crate::cpu::{BATCH, Costs, IN_FLIGHT};
use crate::edges::{Edges, Row};
use crate::meter::{Kind, Tally};
use crate::prices::{self, Used};
use crate::sweep::Look;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BENCHMARKS.md");

/// Write units of a message up to its delivery, where an invocation has [`FULL_BATCH`] or more.
const WRITE_UNITS_MAX: f64 = 2.1;
const FULL_BATCH: usize = 20;
/// The same for a message alone.
const WRITE_UNITS_MAX_ALONE: f64 = 4.0;
/// Processor time of dispatch against the plain loop.
const RATIO_MAX: f64 = 1.5;
/// Write units, read units and requests of SQS of a campaign's message.
const CAMPAIGN_WRITE_UNITS_MAX: f64 = 1.05;
const CAMPAIGN_READ_UNITS_MAX: f64 = 2.0;
const CAMPAIGN_SQS_MAX: f64 = 0.02;
/// Writes of the quota item of a campaign's message.
const LEASE_WRITES_MAX: f64 = 0.02;
/// Parts of a window that are used, without and with a kill in it.
const USED_MIN: f64 = 0.997;
const USED_MIN_NO_SKEW: f64 = 0.999;
const USED_MIN_KILLED: f64 = 0.95;
/// From an edge to the first call, in milliseconds.
const FIRST_MEDIAN_MAX: f64 = 50.0;
const FIRST_LAST_MAX: f64 = 250.0;
/// Time in which a window is spent, against the channel's rate.
const DRAIN_MAX: f64 = 1.15;
/// Peak of memory against a tenth of the people.
const MEMORY_MAX: f64 = 1.1;
/// A function's init against that of the same function in Python and for Node.
const INIT_OF_PYTHON_MAX: f64 = 0.1;
const INIT_OF_NODE_MAX: f64 = 0.2;
/// The first invocation against those after it.
const FIRST_OVER_WARM_MAX: f64 = 1.5;
/// Resident memory, in MB.
const RESIDENT_MAX: f64 = 40.0;

/// What was run where.
#[must_use]
pub fn machine(arguments: &[String]) -> String {
    let profile = if cfg!(debug_assertions) { "" } else { "--release " };
    let arguments = [&[format!("cargo run {profile}-p tidepost-benches --")], arguments].concat().join(" ");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let date = Clock::system().now().to_zoned(TimeZone::UTC).date();
    let build = if cfg!(debug_assertions) { "a debug build, whose times mean nothing" } else { "an optimised build" };
    format!("Run on {date} by `{arguments}`: {cores} cores of {model}, {build}, load {load} before the start.\n")
}

/// Requests and units of messages and consents.
#[must_use]
pub fn counts(channels: &[Channel]) -> String {
    let mut lines = vec![
        "### Requests and units of a message\n".to_owned(),
        format!("Each row is the average of {PEOPLE} messages.\n"),
        "| quota rules | messages per invocation | phase | requests | write units | read units | write units by item |"
            .to_owned(),
        "| ---: | ---: | --- | ---: | ---: | ---: | --- |".to_owned(),
    ];
    for channel in channels {
        for round in &channel.rounds {
            for (phase, count) in
                [("enqueue", &round.enqueue), ("dispatch", &round.dispatch), ("platform's event", &round.event)]
            {
                lines.push(format!("| {} | {} | {phase} | {} |", channel.rules, round.batch, figures(count)));
            }
        }
        lines.push(format!("| {} | any | settling after the deadline | {} |", channel.rules, figures(&channel.settle)));
    }
    lines.push("\nWrite units up to delivery (enqueue and dispatch), against the target:\n".to_owned());
    lines
        .push("| quota rules | messages per invocation | write units | target | quota item, median bytes |".to_owned());
    lines.push("| ---: | ---: | ---: | --- | ---: |".to_owned());
    for channel in channels {
        lines.extend(channel.rounds.iter().map(|round| {
            let units = per(&round.enqueue, round.enqueue.tally.write_units())
                + per(&round.dispatch, round.dispatch.tally.write_units());
            let max = if round.batch >= FULL_BATCH { WRITE_UNITS_MAX } else { WRITE_UNITS_MAX_ALONE };
            let quota = bytes(&round.dispatch.tally, Kind::Quota)
                .map_or_else(|| "none written".to_owned(), |(median, _)| median.to_string());
            format!("| {} | {} | {units:.3} | {} | {quota} |", channel.rules, round.batch, at_most(units, max))
        }));
    }
    lines.push(consents(channels));
    lines.join("\n")
}

fn consents(channels: &[Channel]) -> String {
    let mut lines = vec![
        "\n### Requests and units of a consent\n".to_owned(),
        "| how | requests | write units | read units | write units by item |".to_owned(),
        "| --- | ---: | ---: | ---: | --- |".to_owned(),
    ];
    let Some(channel) = channels.first() else { return String::new() };
    lines.extend(channel.consents.iter().map(|(how, count)| format!("| {how} | {} |", figures(count))));
    let mut sizes = channel.person_bytes.clone();
    sizes.sort_unstable();
    if let (Some(median), Some(largest)) = (middle(&sizes), sizes.last()) {
        lines.push(format!("\nThe people's items have {median} bytes in the middle and {largest} at the most.\n"));
    }
    lines.join("\n")
}

/// Processor time of dispatch and of the plain loop.
#[must_use]
pub fn costs(costs: &Costs) -> String {
    let ratios: Vec<f64> = costs.dispatch.iter().zip(&costs.plain).map(|(dispatch, plain)| dispatch / plain).collect();
    let row = |what: &str, values: &[f64], digits: usize| {
        let (low, middle, high) = spread(values);
        format!("| {what} | {middle:.digits$} | {low:.digits$} to {high:.digits$} |")
    };
    let (_, ratio, _) = spread(&ratios);
    [
        "### Processor time of a message\n".to_owned(),
        format!("{} rounds of {} messages each, the two ways in turn.\n", costs.dispatch.len(), costs.messages),
        "| | median | range |".to_owned(),
        "| --- | ---: | ---: |".to_owned(),
        row(&format!("dispatch, {BATCH} messages per invocation: µs per message"), &costs.dispatch, 1),
        row(&format!("plain loop, {IN_FLIGHT} messages in flight: µs per message"), &costs.plain, 1),
        row("dispatch over plain loop, round by round", &ratios, 2),
        format!("\nThe ratio against the target: {}.\n", at_most(ratio, RATIO_MAX)),
    ]
    .join("\n")
}

/// What a campaign takes for each of its messages.
#[must_use]
pub fn campaign(campaign: &Campaign) -> String {
    let tally = &campaign.tally;
    let count = Count { of: campaign.of, tally: tally.clone() };
    let per = |sum: usize| per(&count, sum);
    let reads = tally.read_units / campaign.of as f64;
    let sqs = per(campaign.sqs_requests());
    let mut lines = vec![
        "### Requests and units of a campaign's message\n".to_owned(),
        format!(
            "The average of {} messages in one campaign: {} tasks on queues, {} invocations.\n",
            campaign.of, campaign.tasks, campaign.invocations
        ),
        "| what | each message | target |".to_owned(),
        "| --- | ---: | --- |".to_owned(),
        row("write units", per(tally.write_units()), CAMPAIGN_WRITE_UNITS_MAX),
        row("read units", reads, CAMPAIGN_READ_UNITS_MAX),
        row("requests of SQS, the mapping's included", sqs, CAMPAIGN_SQS_MAX),
        row("writes of leases", per(tally.writes(Kind::Quota)), LEASE_WRITES_MAX),
    ];
    lines.extend(tally.write_units.iter().map(|(kind, units)| {
        let name = format!("write units of items of the kind {}", kind.name());
        format!("| {name} | {:.4} | |", per(*units))
    }));
    let used = Used { write_units: per(tally.write_units()), read_units: reads, sqs_requests: sqs };
    lines.push(prices::table(&used, per(campaign.invocations)));
    lines.join("\n")
}

fn row(what: &str, value: f64, max: f64) -> String {
    format!("| {what} | {value:.4} | {} |", at_most(value, max))
}

/// What a campaign made of its windows.
#[must_use]
pub fn edges(edges: &Edges) -> String {
    let milliseconds = |at: SignedDuration| at.as_secs_f64() * 1_000.0;
    let used = |row: &Row| row.calls as f64 / edges.limit as f64;
    let whole = || edges.rows.iter().filter(|row| !row.is_killed);
    let drain = |row: &Row| {
        let calls = row.calls.saturating_sub(1) as f64;
        Some((row.last? - row.first?).as_secs_f64() * edges.rate_per_second as f64 / calls)
    };
    let lowest = |rows: &mut dyn Iterator<Item = f64>| rows.fold(f64::INFINITY, f64::min);
    let mut firsts: Vec<f64> = whole().filter_map(|row| row.first).map(milliseconds).collect();
    firsts.sort_by(f64::total_cmp);
    let drains: Vec<f64> = whole().filter_map(drain).collect();
    let used_min = if edges.args.skew == 0 { USED_MIN_NO_SKEW } else { USED_MIN };
    let overshoot: u64 = edges.rows.iter().map(|row| row.overshoot).sum();
    let (kept, killed) = (lowest(&mut whole().map(used)), edges.rows.iter().filter(|row| row.is_killed).map(used));
    let mut lines = vec![
        "### Windows of a minute\n".to_owned(),
        format!(
            "{} people, {} calls a window, {} calls a second, {} kills of the function host, clocks taken to be {} ms \
             apart; {} windows with demand from edge to edge. By the simulator's own count; first \
             calls and time without the windows with a kill:\n",
            edges.args.people,
            edges.limit,
            edges.rate_per_second,
            edges.args.kills,
            edges.args.skew,
            edges.rows.len()
        ),
        "| what | figure | target |".to_owned(),
        "| --- | ---: | --- |".to_owned(),
        format!("| calls beyond a window's limit | {overshoot} | {} |", verdict("0", overshoot == 0)),
        format!("| people who received it twice | {} | {} |", edges.doubled, verdict("0", edges.doubled == 0)),
        format!("| people of whom nothing is known in the end | {} | {} |", edges.lost, verdict("0", edges.lost == 0)),
        format!("| people reached, and people whose outcome is unknown | {}, {} | |", edges.reached, edges.unknown),
        format!("| least used part of a window | {:.2} % | {} |", kept * 100.0, at_least(kept, used_min)),
    ];
    if edges.args.kills > 0 {
        let used = lowest(&mut killed.into_iter());
        let verdict = at_least(used, USED_MIN_KILLED);
        lines.push(format!("| the same of windows with a kill | {:.2} % | {verdict} |", used * 100.0));
    }
    let per_message = |units: f64| units / edges.reached.max(1) as f64;
    let (reads, writes) = (per_message(edges.tally.read_units), per_message(edges.tally.write_units() as f64));
    lines.extend([
        format!("| read units of a message | {reads:.3} | {} |", at_most(reads, CAMPAIGN_READ_UNITS_MAX)),
        format!("| write units of a message | {writes:.3} | |"),
    ]);
    let (_, median, _) = spread(&firsts);
    let high = percentile(&firsts, 0.99);
    let (_, drain, _) = spread(&drains);
    lines.extend([
        format!("| first call after the edge, p50 | {median:.1} ms | {} |", at_most(median, FIRST_MEDIAN_MAX)),
        format!("| first call after the edge, p99 | {high:.1} ms | {} |", at_most(high, FIRST_LAST_MAX)),
        format!("| time to spend a window against the rate, median | {drain:.3} | {} |", at_most(drain, DRAIN_MAX)),
        "\n| window | calls | used | overshoot | first call, ms | last call, s | kill |".to_owned(),
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |".to_owned(),
    ]);
    lines.extend(edges.rows.iter().map(|row| {
        let first = row.first.map_or_else(String::new, |at| format!("{:.1}", milliseconds(at)));
        let last = row.last.map_or_else(String::new, |at| format!("{:.2}", at.as_secs_f64()));
        let kill = if row.is_killed { "yes" } else { "" };
        let used = used(row) * 100.0;
        format!("| {} | {} | {used:.2} % | {} | {first} | {last} | {kill} |", row.opens_at, row.calls, row.overshoot)
    }));
    lines.join("\n")
}

/// A look at many people, and at ten times as many.
#[must_use]
pub fn sweep(looks: &[Look]) -> String {
    let mut lines = vec![
        "### A look at all people\n".to_owned(),
        "Three campaigns compete for each.\n".to_owned(),
        "| people | candidates | seconds | µs for each | peak of memory, KB |".to_owned(),
        "| ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    lines.extend(looks.iter().map(|look| {
        let each = look.seconds * 1e6 / look.people as f64;
        format!("| {} | {} | {:.2} | {each:.2} | {} |", look.people, look.candidates, look.seconds, look.peak_kilobytes)
    }));
    if let [small, large] = looks {
        let ratio = large.peak_kilobytes as f64 / small.peak_kilobytes as f64;
        lines.push(format!("\nPeak of the larger over the smaller: {ratio:.3}; {}.\n", at_most(ratio, MEMORY_MAX)));
    }
    lines.join("\n")
}

/// Starts of functions, against the same in other languages.
#[must_use]
pub fn cold(cold: &Cold) -> String {
    let starts = cold.starts.values().map(Vec::len).max().unwrap_or(0);
    let mut lines = vec![
        "### Starts of functions\n".to_owned(),
        format!(
            "Medians of {starts} starts each, in turn; warm: {} invocations after the first. {}.\n",
            cold.warm, cold.versions
        ),
        "| function | language | init, ms | first, ms | warm, ms | first over warm | resident, MB |".to_owned(),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    for function in Function::ALL {
        lines.extend(Language::ALL.iter().map(|language| {
            let of = cold.medians(function, *language);
            format!(
                "| {} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.1} |",
                function.name(),
                language.name(),
                of.init,
                of.first,
                of.warm,
                of.first_over_warm,
                of.resident_megabytes
            )
        }));
    }
    lines.extend(["\n| what of Rust | figure | target |".to_owned(), "| --- | ---: | --- |".to_owned()]);
    for function in Function::ALL {
        let [ours, python, node] = Language::ALL.map(|language| cold.medians(function, language));
        lines.extend(
            [
                ("init over Python's", ours.init / python.init, INIT_OF_PYTHON_MAX),
                ("init over Node's", ours.init / node.init, INIT_OF_NODE_MAX),
                ("first invocation over a warm one", ours.first_over_warm, FIRST_OVER_WARM_MAX),
                ("resident memory, MB", ours.resident_megabytes, RESIDENT_MAX),
            ]
            .map(|(what, value, max)| {
                format!("| {}: {what} | {value:.3} | {} |", function.name(), at_most(value, max))
            }),
        );
    }
    lines.join("\n")
}

fn at_most(value: f64, max: f64) -> String {
    // Compared as it is shown.
    let is_met = (value * 1_000.0).round() <= (max * 1_000.0).round();
    verdict(&format!("at most {max}"), is_met)
}

fn at_least(part: f64, min: f64) -> String {
    verdict(&format!("at least {} %", min * 100.0), part >= min)
}

fn verdict(target: &str, is_met: bool) -> String {
    format!("{target}: {}", if is_met { "met" } else { "**missed**" })
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    let index = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn figures(count: &Count) -> String {
    let tally = &count.tally;
    let by_item = tally.write_units.iter().map(|(kind, units)| format!("{} {:.3}", kind.name(), per(count, *units)));
    let by_item: Vec<String> = by_item.collect();
    let (requests, writes) = (per(count, tally.requests()), per(count, tally.write_units()));
    let reads = tally.read_units / count.of as f64;
    format!("{requests:.2} | {writes:.3} | {reads:.2} | {}", by_item.join(", "))
}

fn per(count: &Count, sum: usize) -> f64 {
    sum as f64 / count.of as f64
}

fn bytes(tally: &Tally, kind: Kind) -> Option<(usize, usize)> {
    let mut sizes = tally.written_bytes.get(&kind)?.clone();
    sizes.sort_unstable();
    Some((middle(&sizes)?, *sizes.last()?))
}

fn middle(sorted: &[usize]) -> Option<usize> {
    sorted.get(sorted.len() / 2).copied()
}

/// The least, the median, the most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// Puts the figures of a part into the document, in place of those of the last run.
///
/// # Errors
/// When the document cannot be written, or lacks the marks.
pub fn write(part: &str, figures: &str) -> Result<()> {
    let path = Path::new(DOCUMENT);
    let text = replaced(&std::fs::read_to_string(path)?, part, figures)
        .ok_or_else(|| format!("the document lacks the marks of the part {part}"))?;
    Ok(std::fs::write(path, text)?)
}

fn replaced(document: &str, part: &str, figures: &str) -> Option<String> {
    let marks = ["begin", "end"].map(|mark| format!("<!-- {part}: {mark} -->"));
    let [begin, end] = &marks;
    let (before, rest) = document.split_once(begin.as_str())?;
    let (_, after) = rest.split_once(end.as_str())?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_of_a_part_is_replaced() {
        let document = "a\n<!-- cpu: begin -->\nold\n<!-- cpu: end -->\nb";
        let once = replaced(document, "cpu", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- cpu: begin -->\n\nnew\n\n<!-- cpu: end -->\nb");
        assert_eq!(replaced(&once, "cpu", "new").unwrap(), once);
        assert_eq!(replaced(&once, "edges", "new"), None);
    }

    #[test]
    fn the_document_has_the_marks_of_every_part() {
        let document = std::fs::read_to_string(DOCUMENT).unwrap();
        for part in ["count", "campaign", "cpu", "sweep", "cold", "edges"] {
            assert!(replaced(&document, part, "").is_some(), "{part}");
        }
    }

    #[test]
    fn a_target_is_met_or_missed() {
        assert_eq!(at_most(2.1, 2.1), "at most 2.1: met");
        assert_eq!(at_most(2.1004, 2.1), "at most 2.1: met");
        assert_eq!(at_most(2.101, 2.1), "at most 2.1: **missed**");
        assert_eq!(at_least(0.9971, 0.997), "at least 99.7 %: met");
    }

    #[test]
    fn the_highest_of_a_few_is_their_p99() {
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.99), 3.0);
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.5), 2.0);
    }
}
