//! What a person sees of the campaigns.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::demo::print::{indented, table};
use crate::demo::sale::figures::{Campaign, Figures, SECONDS_SHOWN, Window};

/// From nothing to the most.
const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The tables and sparklines.
#[must_use]
pub fn text(figures: &Figures) -> String {
    let meant: usize = figures.campaigns.iter().map(|campaign| campaign.meant).sum();
    let budget: u64 = figures.windows.iter().map(|window| window.budget).sum();
    [
        format!("Three campaigns for {meant} people in all, in windows for {budget}: received, as the platform saw it"),
        campaigns(figures),
        "Held back, as Tidepost tells it when the last window is used".to_owned(),
        held_back(figures),
        format!(
            "The campaigns' windows, as the platform counted them; calls a second from {} s before the opening on",
            -SECONDS_SHOWN.start
        ),
        windows(figures),
    ]
    .join("\n")
}

/// The same as an object.
#[must_use]
pub fn object(figures: &Figures) -> Value {
    let day = |window: &Window| {
        json!({
            "opens_at": window.opens_at, "budget": window.budget, "used": window.used, "overshoot": window.overshoot,
            "received": window.received, "calls_by_second": window.calls_by_second,
            "first_call_milliseconds_after_opening": window.first_after_milliseconds,
        })
    };
    let campaign = |campaign: &Campaign| {
        let wanted = &campaign.wanted;
        json!({
            "name": wanted.name, "business_line": wanted.business_line, "priority": wanted.priority,
            "value": wanted.value, "meant": campaign.meant, "received": campaign.received,
            "held_back": campaign.held_back,
        })
    };
    json!({
        "campaigns": figures.campaigns.iter().map(campaign).collect::<Vec<_>>(),
        "windows": figures.windows.iter().map(day).collect::<Vec<_>>(),
    })
}

/// The day and hour in Shanghai.
#[must_use]
pub fn shown(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(8))).strftime("%m-%d %H:%M").to_string()
}

fn campaigns(figures: &Figures) -> String {
    let days = figures.windows.iter().map(|window| shown(window.opens_at).chars().take(5).collect());
    let headings = ["CAMPAIGN", "LINE", "PRIORITY", "VALUE", "PEOPLE MEANT"].map(str::to_owned).into_iter();
    let headings = headings.chain(days).chain(["RECEIVED".to_owned(), "HELD BACK".to_owned()]);
    let mut table = table(headings.collect::<Vec<String>>());
    for (position, campaign) in figures.campaigns.iter().enumerate() {
        let wanted = &campaign.wanted;
        let what = [wanted.name, wanted.business_line].map(str::to_owned).into_iter();
        let how = [wanted.priority.to_string(), wanted.value.to_string(), campaign.meant.to_string()];
        let days = figures.windows.iter().map(|window| window.received.get(position).copied().unwrap_or(0).to_string());
        let held_back: usize = campaign.held_back.values().sum();
        let sums = [campaign.received.to_string(), held_back.to_string()];
        table.add_row(what.chain(how).chain(days).chain(sums).collect::<Vec<String>>());
    }
    indented(&table)
}

fn held_back(figures: &Figures) -> String {
    let mut table = table(["CAMPAIGN", "REASON", "PEOPLE"]);
    for campaign in &figures.campaigns {
        for (reason, count) in &campaign.held_back {
            table.add_row([campaign.wanted.name.to_owned(), reason.clone(), count.to_string()]);
        }
    }
    indented(&table)
}

fn windows(figures: &Figures) -> String {
    let mut table = table(["OPENS", "BUDGET", "USED", "OVERSHOOT", "CALLS A SECOND", "MOST", "FIRST CALL"]);
    for window in &figures.windows {
        let first = window.first_after_milliseconds.map(|after| format!("{after} ms after the opening"));
        table.add_row([
            shown(window.opens_at),
            window.budget.to_string(),
            window.used.to_string(),
            window.overshoot.to_string(),
            sparkline(&window.calls_by_second),
            window.calls_by_second.iter().max().copied().unwrap_or(0).to_string(),
            first.unwrap_or_else(|| "none".to_owned()),
        ]);
    }
    indented(&table)
}

/// One letter a second, and a line where the window opens.
fn sparkline(calls_by_second: &[u64]) -> String {
    let most = calls_by_second.iter().max().copied().unwrap_or(0).max(1);
    let letter = |calls: u64| {
        // Whatever is not nothing is seen.
        let height = usize::try_from((calls * 8).div_ceil(most)).unwrap_or(0);
        BARS.get(height).copied().unwrap_or('█')
    };
    let mut line = String::new();
    for (second, calls) in SECONDS_SHOWN.zip(calls_by_second) {
        if second == 0 {
            line.push('|');
        }
        line.push(letter(*calls));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_shows_the_edge_and_what_is_small() {
        let mut calls = vec![0; 20];
        calls[5] = 1_000;
        calls[6] = 1;
        calls[7] = 500;
        assert_eq!(sparkline(&calls), "·····|█▁▄············");
    }

    #[test]
    fn without_a_call_it_is_flat() {
        assert_eq!(sparkline(&[0; 20]), "·····|···············");
    }
}
