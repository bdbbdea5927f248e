//! The tables, and their place in `docs/BENCHMARKS.md`.

use std::path::Path;

use jiff::tz::TimeZone;
use tidepost_io::clock::Clock;

use crate::Result;
use crate::count::{Channel, Count, PEOPLE};
use crate::cpu::{BATCH, Costs, IN_FLIGHT};
use crate::meter::{Kind, Tally};

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BENCHMARKS.md");

/// Write units of a message up to its delivery, where an invocation has [`FULL_BATCH`] or more.
const WRITE_UNITS_MAX: f64 = 2.1;
const FULL_BATCH: usize = 20;
/// The same for a message alone.
const WRITE_UNITS_MAX_ALONE: f64 = 4.0;
/// Processor time of dispatch against the plain loop.
const RATIO_MAX: f64 = 1.5;

/// What was run where.
#[must_use]
pub fn machine(arguments: &str) -> String {
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
            format!("| {} | {} | {units:.3} | {} | {quota} |", channel.rules, round.batch, verdict(units, max))
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
        format!("\nThe ratio against the target: {}.\n", verdict(ratio, RATIO_MAX)),
    ]
    .join("\n")
}

fn verdict(value: f64, max: f64) -> String {
    // Compared as it is shown.
    let is_met = (value * 1_000.0).round() <= (max * 1_000.0).round();
    format!("at most {max:.1}: {}", if is_met { "met" } else { "**missed**" })
}

fn figures(count: &Count) -> String {
    let tally = &count.tally;
    let by_item = tally.write_units.iter().map(|(kind, units)| format!("{} {:.3}", kind.name(), per(count, *units)));
    let by_item: Vec<String> = by_item.collect();
    let (requests, writes) = (per(count, tally.requests()), per(count, tally.write_units()));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let reads = tally.read_units / count.of as f64;
    format!("{requests:.2} | {writes:.3} | {reads:.2} | {}", by_item.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
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

/// Puts the figures into the document, in place of those of the last run.
///
/// # Errors
/// When the document cannot be written, or lacks the marks.
pub fn write(figures: &str) -> Result<()> {
    let path = Path::new(DOCUMENT);
    let text =
        replaced(&std::fs::read_to_string(path)?, figures).ok_or("the document lacks the marks of the figures")?;
    Ok(std::fs::write(path, text)?)
}

fn replaced(document: &str, figures: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb");
        let once = replaced(&document, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
        assert_eq!(replaced("no marks", "new"), None);
    }

    #[test]
    fn the_document_has_the_marks() {
        assert!(replaced(&std::fs::read_to_string(DOCUMENT).unwrap(), "").is_some());
    }

    #[test]
    fn a_target_is_met_or_missed() {
        assert_eq!(verdict(2.1, 2.1), "at most 2.1: met");
        assert_eq!(verdict(2.1004, 2.1), "at most 2.1: met");
        assert_eq!(verdict(2.101, 2.1), "at most 2.1: **missed**");
    }
}
