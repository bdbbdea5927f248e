//! What tables and plot show: counted from what the simulator saw, but for the reasons, which only Tidepost knows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::demo::sale::app::source;
use crate::demo::sale::audience::Wanted;
use crate::demo::sale::checks::campaign_of;
use crate::demo::sale::run::{Report, Told};
use crate::demo::truth::CountedWindow;

/// The first second around an edge that is shown, and the first that is not.
pub const SECONDS_SHOWN: std::ops::Range<i64> = -5..15;

/// All of it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The windows, in the order in which they opened.
    pub windows: Vec<Window>,
    /// The campaigns.
    pub campaigns: Vec<Campaign>,
}

/// One window of the platform.
#[derive(Clone, Debug)]
pub struct Window {
    /// When it opened.
    pub opens_at: Timestamp,
    /// How many messages it may hold.
    pub budget: u64,
    /// How many it held.
    pub used: u64,
    /// What came beyond.
    pub overshoot: u64,
    /// When the first call came, in milliseconds after the opening.
    pub first_after_milliseconds: Option<i64>,
    /// Calls in each of [`SECONDS_SHOWN`].
    pub calls_by_second: Vec<u64>,
    /// What was received of each campaign.
    pub received: Vec<u64>,
}

/// One campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// What was asked for.
    pub wanted: Wanted,
    /// For how many people it is.
    pub meant: usize,
    /// How many of them received it.
    pub received: u64,
    /// Why the others did not, and how many.
    pub held_back: BTreeMap<String, usize>,
}

/// Counts.
#[must_use]
pub fn figures(report: &Report) -> Figures {
    Figures {
        windows: report.truth.windows.iter().map(|one| window(report, one)).collect(),
        campaigns: report.campaigns.iter().map(|one| campaign(report, one)).collect(),
    }
}

fn window(report: &Report, window: &CountedWindow) -> Window {
    let is_inside = |at: Timestamp| window.opens_at <= at && at < window.closes_at;
    let milliseconds_after = |at: Timestamp| at.as_millisecond() - window.opens_at.as_millisecond();
    let calls: Vec<i64> = report.truth.calls.iter().map(|call| milliseconds_after(call.at)).collect();
    let inside = report.truth.calls.iter().filter(|call| is_inside(call.at));
    let in_second = |second: i64| calls.iter().filter(|after| after.div_euclid(1_000) == second).count() as u64;
    let of = |campaign: &Told| {
        let received = report.truth.received.iter().filter(|one| is_inside(one.at));
        received.filter(|one| campaign_of(one) == campaign.id).count() as u64
    };
    Window {
        opens_at: window.opens_at,
        budget: window.limit,
        used: window.accepted,
        overshoot: window.overshoot,
        first_after_milliseconds: inside.map(|call| milliseconds_after(call.at)).min(),
        calls_by_second: SECONDS_SHOWN.map(in_second).collect(),
        received: report.campaigns.iter().map(of).collect(),
    }
}

fn campaign(report: &Report, told: &Told) -> Campaign {
    let page = |page: &Option<String>| page.as_deref().is_some_and(|page| source(page) == told.id);
    let received: BTreeSet<&str> =
        report.truth.received.iter().filter(|one| page(&one.page)).map(|one| one.openid.as_str()).collect();
    let mut held_back: BTreeMap<String, usize> = BTreeMap::new();
    for ((openid, id), reason) in &report.held_back {
        if *id == told.id && !received.contains(openid.as_str()) {
            *held_back.entry(reason.clone()).or_default() += 1;
        }
    }
    Campaign {
        wanted: told.wanted,
        meant: report.members.iter().filter(|member| member.is_meant_by(&told.wanted)).count(),
        received: received.len() as u64,
        held_back,
    }
}
