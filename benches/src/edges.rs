//! A campaign against windows of a minute, in real time: what is used of each, how soon after an edge calls begin, and what
//! a killed host changes of that. Stores and simulators are one process, the function host another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tidepost::stack::stop::Stop;
use tidepost_io::clock::Clock;
use tidepost_io::platform::http_client;

use crate::meter::{Meter, Tally, proxy};
use crate::place::Place;
use crate::processes::{Host, Stores};
use crate::shop::{Narrow, Shop};
use crate::{Result, progress};

/// A window's length, in seconds.
const WINDOW_SECONDS: i64 = 60;
/// Kills come so soon after an edge at the latest, in seconds: while the window is being spent.
const KILL_WITHIN_SECONDS: f64 = 12.0;
/// Windows beyond those that the people fill, until everything has an end.
const WINDOWS_AFTER: i64 = 8;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// People of the campaign
    #[arg(long, default_value_t = 100_000)]
    pub people: usize,
    /// Windows of a minute that it takes to reach them
    #[arg(long, default_value_t = 20)]
    pub windows: usize,
    /// How often the function host is killed
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// How far apart clocks are taken to be, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    pub skew: u32,
    /// Seconds in which a window is spent at the channel's rate
    #[arg(long, default_value_t = 20)]
    pub drain: usize,
    /// When the host is killed
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

impl Args {
    /// The part of the page in which a run stands: what clocks are taken to be apart is kept back at each edge.
    #[must_use]
    pub fn part(&self) -> &'static str {
        if self.skew == 0 { "edges-without-skew" } else { "edges" }
    }
}

/// One window, by the platform's own count.
#[derive(Clone, Debug)]
pub struct Row {
    /// When it opened.
    pub opens_at: Timestamp,
    /// Calls in it.
    pub calls: u64,
    /// Calls beyond its limit.
    pub overshoot: u64,
    /// From its opening to the first call.
    pub first: Option<SignedDuration>,
    /// From its opening to the last call.
    pub last: Option<SignedDuration>,
    /// Whether the host was killed in it.
    pub is_killed: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Edges {
    /// What was run.
    pub args: Args,
    /// Calls that a window holds.
    pub limit: usize,
    /// Calls per second that the channel allows.
    pub rate_per_second: usize,
    /// The windows that the campaign could fill, in their order.
    pub rows: Vec<Row>,
    /// People who received it.
    pub reached: usize,
    /// People who received it more than once.
    pub doubled: usize,
    /// People whose outcome Tidepost calls unknown.
    pub unknown: u64,
    /// People of whom neither the platform nor Tidepost knows anything.
    pub lost: i64,
    /// What the function hosts asked of AWS, from the campaign's start to everybody's outcome.
    pub tally: Tally,
}

impl Args {
    /// Runs the campaign and gathers what the platform saw.
    ///
    /// # Errors
    /// When something does not go as it should: then there is nothing to measure.
    pub async fn measure(self) -> Result<Edges> {
        let stores = Stores::start().await?;
        let place = Place::new(&stores.aws, &stores.aws, &stores.simulators, Clock::system()).await?;
        // The window that is open at the start takes a part, and so does the one in which the last are reached.
        let limit = self.people / self.windows.max(1);
        let narrow = Narrow { limit, rate_per_second: limit.div_ceil(self.drain.max(1)), skew_milliseconds: self.skew };
        let shop = Shop::open_narrow(&place, self.people, narrow).await?;
        progress(&format!("{} people consent", self.people));
        shop.consent(0, 1, "edges").await?;
        let (meter, stop) = (Meter::default(), Stop::default());
        let metered = proxy::start(http_client()?, &stores.aws, meter.clone(), stop.clone()).await?;
        let run = Run { args: self, aws: format!("http://{metered}"), simulators: &stores.simulators, shop: &shop };
        let (campaign, killed) = run.live_through().await?;
        let mut edges = run.look_back(&killed, narrow).await?;
        edges.tally = meter.take()?;
        edges.unknown = shop.campaign_count(&campaign, "unknown").await?;
        let known = i64::try_from(edges.reached)? + i64::try_from(edges.unknown)?;
        edges.lost = (i64::try_from(self.people)? - known).max(0);
        stop.begin();
        Ok(edges)
    }
}

struct Run<'a> {
    args: Args,
    /// Where the meter answers for AWS.
    aws: String,
    simulators: &'a str,
    shop: &'a Shop<'a>,
}

impl Run<'_> {
    /// Until everybody has an outcome; returns the campaign and when the host was killed.
    async fn live_through(&self) -> Result<(String, Vec<Timestamp>)> {
        let mut host = Host::start(&self.aws, self.simulators).await?;
        let windows = i64::try_from(self.args.windows)? + WINDOWS_AFTER;
        let start = self.shop.place.now();
        let until = start.checked_add(SignedDuration::from_secs(windows * WINDOW_SECONDS))?;
        let campaign = self.shop.campaign(until).await?;
        let mut kills = self.kills(start)?;
        let (mut killed, mut shown) = (Vec::new(), 0);
        while self.shop.place.now() < until {
            let next = kills.first().copied();
            let wait = next.map_or(LOOK, |kill| wait_until(kill, self.shop.place.now()).min(LOOK));
            tokio::time::sleep(wait).await;
            if next.is_some_and(|kill| kill <= self.shop.place.now()) {
                kills.remove(0);
                host.kill().await?;
                killed.push(self.shop.place.now());
                host = Host::start(&self.aws, self.simulators).await?;
            }
            let accepted = self.shop.accepted().await?;
            if accepted >= shown + 1_000 {
                shown = accepted;
                progress(&format!("{accepted} of {} reached, {} kills", self.args.people, killed.len()));
            }
            let unknown = if kills.is_empty() { self.shop.campaign_count(&campaign, "unknown").await? } else { 0 };
            if accepted + unknown >= self.args.people as u64 {
                break;
            }
        }
        host.kill().await?;
        Ok((campaign, killed))
    }

    /// When the host is to be killed: each time in another window, soon after its edge.
    fn kills(&self, start: Timestamp) -> Result<Vec<Timestamp>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.args.seed);
        let first = start.as_second().div_euclid(WINDOW_SECONDS) + 2;
        let step = self.args.windows.saturating_sub(1) / self.args.kills.max(1);
        let kill = |number: usize| {
            let window = first + i64::try_from(number * step)?;
            let edge = Timestamp::from_second(window * WINDOW_SECONDS)?;
            Ok(edge.checked_add(SignedDuration::from_secs_f64(random.random_range(0.2..KILL_WITHIN_SECONDS)))?)
        };
        (0..self.args.kills).map(kill).collect()
    }

    async fn look_back(&self, killed: &[Timestamp], narrow: Narrow) -> Result<Edges> {
        let mut starts: BTreeMap<i64, Vec<Timestamp>> = BTreeMap::new();
        for call in self.shop.truth("calls").await? {
            // A call for an access token names nobody.
            if call.get("openid").is_some_and(Value::is_string) {
                let at: Timestamp = text(&call, "at")?.parse()?;
                starts.entry(at.as_second().div_euclid(WINDOW_SECONDS)).or_default().push(at);
            }
        }
        let windows = self.shop.truth("windows").await?;
        let rows = windows.iter().map(|window| row(window, &starts, killed)).collect::<Result<Vec<_>>>()?;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for received in self.shop.truth("received").await? {
            *times.entry(text(&received, "openid")?.to_owned()).or_default() += 1;
        }
        Ok(Edges {
            args: self.args,
            limit: narrow.limit,
            rate_per_second: narrow.rate_per_second,
            rows: filled(rows, self.args.people, narrow.limit),
            reached: times.len(),
            doubled: times.values().filter(|times| **times > 1).count(),
            unknown: 0,
            lost: 0,
            tally: Tally::default(),
        })
    }
}

/// The windows with demand from edge to edge: not the one in which the campaign began, and none that more units were in than
/// people left.
fn filled(mut rows: Vec<Row>, people: usize, limit: usize) -> Vec<Row> {
    rows.sort_by_key(|row| row.opens_at);
    rows.retain(|row| row.calls > 0);
    let mut left = people as u64;
    let mut has_demand = |row: &Row| {
        let has_demand = left >= limit as u64;
        left = left.saturating_sub(row.calls);
        has_demand
    };
    rows.retain(|row| has_demand(row));
    rows.into_iter().skip(1).collect()
}

fn row(window: &Value, starts: &BTreeMap<i64, Vec<Timestamp>>, killed: &[Timestamp]) -> Result<Row> {
    let opens_at: Timestamp = text(window, "opens_at")?.parse()?;
    let number = |name: &str| window.get(name).and_then(Value::as_u64).unwrap_or(0);
    let index = opens_at.as_second().div_euclid(WINDOW_SECONDS);
    let starts: BTreeSet<&Timestamp> = starts.get(&index).into_iter().flatten().collect();
    let after = |at: Option<&&Timestamp>| at.map(|at| at.duration_since(opens_at));
    Ok(Row {
        opens_at,
        calls: number("calls"),
        overshoot: number("overshoot"),
        first: after(starts.first()),
        last: after(starts.last()),
        is_killed: killed.iter().any(|at| at.as_second().div_euclid(WINDOW_SECONDS) == index),
    })
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    Ok(value.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name} in {value}"))?)
}

fn wait_until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
