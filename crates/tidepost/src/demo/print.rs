//! What a person sees of the demo.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::demo::run::Report;

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

/// The tables and the last lines.
#[must_use]
pub fn text(report: &Report, seed: u64) -> String {
    let findings = &report.findings;
    [
        "Messages: what was asked for, and what came of it".to_owned(),
        messages(report),
        "Windows, as the platform counted them (Asia/Shanghai)".to_owned(),
        windows(report),
        "Calls of the sending API, by the platform's answer".to_owned(),
        calls(report),
        format!("unpaid {}", findings.unpaid),
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

/// The same as one object.
#[must_use]
pub fn object(report: &Report, seed: u64) -> Value {
    let findings = &report.findings;
    json!({
        "overshoot": findings.overshoot, "doubled": findings.doubled, "lost": findings.lost, "seed": seed,
        "invariants_held": findings.held(), "invariants held": findings.held(), "findings": findings,
        "asked": report.told.len(), "received": report.truth.received.len(),
        "outcomes": outcomes(report), "held_back": held_back(report),
        "windows": report.truth.windows.iter().map(|window| json!({
            "rule": window.id, "opens_at": window.opens_at, "limit": window.limit, "calls": window.calls,
            "accepted": window.accepted, "overshoot": window.overshoot,
        })).collect::<Vec<_>>(),
    })
}

fn outcomes(report: &Report) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for told in report.told.values() {
        let reason = told.reason.as_ref().filter(|_| told.status != "delivered");
        let name = reason.map_or_else(|| told.status.clone(), |reason| format!("{}: {reason}", told.status));
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn held_back(report: &Report) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for told in report.told.values().filter(|told| told.first_status == "waiting") {
        *counts.entry(told.first_reason.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

fn messages(report: &Report) -> String {
    let mut table = table(["", "MESSAGES"]);
    table.add_row(["asked".to_owned(), report.told.len().to_string()]);
    for (reason, count) in held_back(report) {
        table.add_row([format!("  held back at first: {reason}"), count.to_string()]);
    }
    table.add_row(["received, by the simulator's truth".to_owned(), report.truth.received.len().to_string()]);
    for (name, count) in outcomes(report) {
        table.add_row([format!("  {name}"), count.to_string()]);
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

fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings);
    table
}

fn indented(table: &Table) -> String {
    table.lines().map(|line| format!("  {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}
