//! What a person sees of the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::demo::run::{Demo, Report};
use crate::demo::sale;
use crate::demo::sale::figures::Figures;
use crate::demo::truth::Received;

/// A bar on standard error; hidden where nobody looks.
#[must_use]
pub fn bar(what: &str, length: usize, is_shown: bool) -> ProgressBar {
    if !is_shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64).with_message(what.to_owned());
    let style = ProgressStyle::with_template("{msg:45} {bar:30} {pos}/{len} {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Bars of what goes on at the same time; hidden where nobody looks.
#[must_use]
pub fn bars(is_shown: bool) -> MultiProgress {
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
}

/// The tables and the last lines.
#[must_use]
pub fn text(demo: &Demo, figures: &Figures, plot: &Path, seed: u64) -> String {
    let findings = demo.findings();
    [
        shop(&demo.shop),
        sale::print::text(figures),
        format!("plot {}", plot.display()),
        format!("unpaid {}", findings.unpaid),
        format!("strayed {}", findings.strayed),
        format!("disturbed {}", findings.disturbed),
        format!("ledger differs {}", findings.miscounted),
        format!("metrics differ {}", findings.misreported),
        format!("overshoot {}", findings.overshoot),
        format!("doubled {}", findings.doubled),
        format!("lost {}", findings.lost),
        format!("seed {seed}"),
        if findings.held() { "invariants held".to_owned() } else { "invariants broken".to_owned() },
    ]
    .join("\n")
}

fn shop(report: &Report) -> String {
    [
        format!("Messages: {} were asked for; held back at first, as Tidepost tells it", report.told.len()),
        waits(report),
        format!("What came of them; {} were received, as the platform saw it", report.truth.received.len()),
        endings(report),
        "Windows, as the platform counted them (Asia/Shanghai)".to_owned(),
        windows(report),
        "Calls of the sending API, by the platform's answer".to_owned(),
        calls(report),
    ]
    .join("\n")
}

/// The same as one object.
#[must_use]
pub fn object(demo: &Demo, figures: &Figures, seed: u64) -> Value {
    let (report, findings) = (&demo.shop, demo.findings());
    json!({
        "overshoot": findings.overshoot, "doubled": findings.doubled, "lost": findings.lost, "seed": seed,
        "invariants_held": findings.held(), "invariants held": findings.held(), "findings": findings,
        "asked": report.told.len(),
        "as_tidepost_tells_it": {
            "held_back": held_back(report), "outcomes": by_outcome(report, |row| Some(row.told)),
        },
        "as_the_platform_saw_it": {
            "received": report.truth.received.len(), "received_by_outcome": by_outcome(report, |row| Some(row.received)),
        },
        "difference": by_outcome(report, |row| row.difference),
        "windows": report.truth.windows.iter().map(|window| json!({
            "rule": window.id, "opens_at": window.opens_at, "limit": window.limit, "calls": window.calls,
            "accepted": window.accepted, "overshoot": window.overshoot,
        })).collect::<Vec<_>>(),
        "sale": sale::print::object(figures),
    })
}

/// Messages of which Tidepost tells the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Row {
    told: usize,
    /// How many of them were received, as the platform saw it.
    received: usize,
    /// How many of them ended otherwise than Tidepost tells; nothing where it does not claim to know.
    difference: Option<usize>,
}

fn outcomes(report: &Report) -> BTreeMap<String, Row> {
    let received: BTreeSet<String> = report.truth.received.iter().map(Received::key).collect();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (key, told) in &report.told {
        let reason = told.reason.as_ref().filter(|_| told.status != "delivered");
        let name = reason.map_or_else(|| told.status.clone(), |reason| format!("{}: {reason}", told.status));
        let row = rows.entry(name).or_default();
        let came = received.contains(key);
        row.told += 1;
        row.received += usize::from(came);
        if told.status != "unknown" {
            let differs = came != (told.status == "delivered");
            row.difference = Some(row.difference.unwrap_or_default() + usize::from(differs));
        }
    }
    rows
}

fn by_outcome(report: &Report, what: impl Fn(&Row) -> Option<usize>) -> BTreeMap<String, Option<usize>> {
    outcomes(report).into_iter().map(|(name, row)| (name, what(&row))).collect()
}

fn held_back(report: &Report) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for told in report.told.values().filter(|told| told.first_status == "waiting") {
        *counts.entry(told.first_reason.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

fn waits(report: &Report) -> String {
    let mut table = table(["REASON", "MESSAGES"]);
    for (reason, count) in held_back(report) {
        table.add_row([reason, count.to_string()]);
    }
    indented(&table)
}

fn endings(report: &Report) -> String {
    let mut table = table(["AS TIDEPOST TELLS IT", "MESSAGES", "RECEIVED, AS THE PLATFORM SAW IT", "DIFFERENCE"]);
    for (name, row) in outcomes(report) {
        let difference = row.difference.map_or_else(|| "may be either".to_owned(), |count| count.to_string());
        table.add_row([name, row.told.to_string(), row.received.to_string(), difference]);
    }
    indented(&table)
}

fn windows(report: &Report) -> String {
    let mut table = table(["RULE", "OPENS", "LIMIT", "CALLS", "ACCEPTED", "OVERSHOOT"]);
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    for window in &report.truth.windows {
        table.add_row([
            window.id.clone(),
            window.opens_at.to_zoned(zone.clone()).strftime("%m-%d %H:%M").to_string(),
            window.limit.to_string(),
            window.calls.to_string(),
            window.accepted.to_string(),
            window.overshoot.to_string(),
        ]);
    }
    indented(&table)
}

fn calls(report: &Report) -> String {
    let mut counts: BTreeMap<Option<i64>, usize> = BTreeMap::new();
    for call in &report.truth.calls {
        *counts.entry(call.errcode).or_default() += 1;
    }
    let mut table = table(["CODE", "CALLS"]);
    for (code, count) in counts {
        table.add_row([code.map_or_else(|| "no answer".to_owned(), |code| code.to_string()), count.to_string()]);
    }
    indented(&table)
}

/// An empty table.
pub(super) fn table(headings: impl Into<comfy_table::Row>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings);
    table
}

/// The table as lines.
pub(super) fn indented(table: &Table) -> String {
    table.lines().map(|line| format!("  {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::checks::{Findings, Told};
    use crate::demo::story::invent;
    use crate::demo::truth::Truth;

    #[test]
    fn what_was_told_stands_beside_what_was_received() {
        let told = |status: &str| Told {
            status: status.to_owned(),
            reason: None,
            first_status: "queued".to_owned(),
            first_reason: None,
        };
        let received = |key: &str| -> Received {
            serde_json::from_value(json!({"at": "2026-03-20T12:00:00Z", "openid": "o", "template_id": "T",
                "data": {"character_string1": {"value": key}}}))
            .unwrap()
        };
        let all = [("A", "delivered"), ("B", "delivered"), ("C", "refused"), ("D", "unknown"), ("E", "unknown")];
        let report = Report {
            story: invent(1, 1),
            told: all.map(|(key, status)| (key.to_owned(), told(status))).into(),
            truth: Truth { received: ["A", "C", "D"].map(received).into(), ..Truth::default() },
            findings: Findings::default(),
        };
        let row = |told, received, difference| Row { told, received, difference };
        let expected =
            [("delivered", row(2, 1, Some(1))), ("refused", row(1, 1, Some(1))), ("unknown", row(2, 1, None))];
        assert_eq!(outcomes(&report), expected.map(|(name, row)| (name.to_owned(), row)).into());
    }
}
