//! Hands out what a slot's plan gives a range: flights with an exact start each.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use lambda_runtime::Error;
use tidepost_core::digest;
use tidepost_core::ids::{MessageId, Nonce};
use tidepost_core::sweep::{Census, Cut, Portion, SlotPlan, take};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::queue::{FlightTask, delay_until};
use tidepost_io::store::{StoreError, Swap};
use tidepost_io::sweeps::{HandedOut, RangeState};

/// How long before its start a flight reaches dispatch, in milliseconds: time for a cold start.
const AHEAD_MILLISECONDS: i64 = 4_000;

/// How long a range remembers what it handed out for a slot that is over, in seconds.
const REMEMBERED_SECONDS: i64 = 600;

/// How often the range's state is changed again when others were faster.
const TRIES: usize = 6;

/// People with the campaigns that win them.
type Recipients = Vec<(MessageId, String)>;

/// Hands out once; when it was done before, by somebody who may have died since, only the flights are queued again.
pub async fn run(app: &App, channel: &str, slot: Timestamp, range: u16) -> Result<(), Error> {
    let Some(plan) = app.store.slot_plan(channel, slot).await? else { return Ok(()) };
    let under_way = under_way(app, channel, &plan, range).await?;
    for _ in 0..TRIES {
        let now = app.clock.now();
        let stored = app.store.range_state(channel, plan.generation, range).await?;
        let Some(stored) = stored.filter(|_| now < plan.slot.closes_at) else { return Ok(()) };
        if let Some(known) = stored.value.handed_out.iter().find(|one| one.slot == slot) {
            let recipients = read(app, channel, &plan, range, &known.cuts, &under_way).await?;
            return queue(app, channel, &plan, range, recipients).await;
        }
        let mut state = stored.value.clone();
        let (cuts, recipients) = choose(app, channel, &plan, range, &mut state, &under_way).await?;
        state.handed_out.retain(|one| now < plus_seconds(one.closes_at, REMEMBERED_SECONDS));
        state.pieces.retain(|piece| piece.left() > 0);
        state.handed_out.push(HandedOut { slot, closes_at: plan.slot.closes_at, cuts });
        let swapped = app.store.swap_range(channel, plan.generation, range, Some(&stored), state, now).await?;
        if let Swap::Done(_) = swapped {
            return queue(app, channel, &plan, range, recipients).await;
        }
    }
    Err("a range changed too often at once".into())
}

/// Takes the range's portion off its roster; whoever is under way already is replaced by the next.
async fn choose(
    app: &App,
    channel: &str,
    plan: &SlotPlan,
    range: u16,
    state: &mut RangeState,
    under_way: &HashSet<String>,
) -> Result<(Vec<Cut>, Recipients), StoreError> {
    let portion = plan.portions.get(usize::from(range)).cloned().unwrap_or_default();
    let line_of = |state: &RangeState, cut: &Cut| {
        let piece = state.pieces.iter().find(|piece| piece.number == cut.number);
        piece.map(|piece| piece.line.clone()).unwrap_or_default()
    };
    let (mut cuts, mut recipients) = (Vec::new(), Vec::new());
    let mut wanted = portion.clone();
    loop {
        let more = take(&mut state.pieces, &wanted);
        if more.is_empty() {
            return Ok((cuts, recipients));
        }
        let mut missing: BTreeMap<String, u64> = BTreeMap::new();
        for cut in more {
            let found = read(app, channel, plan, range, &[cut], under_way).await?;
            let skipped = u64::from(cut.to - cut.from).saturating_sub(found.len() as u64);
            *missing.entry(line_of(state, &cut)).or_default() += skipped;
            recipients.extend(found);
            cuts.push(cut);
        }
        wanted = Portion { lines: missing, limits: portion.limits.clone() };
    }
}

async fn read(
    app: &App,
    channel: &str,
    plan: &SlotPlan,
    range: u16,
    cuts: &[Cut],
    under_way: &HashSet<String>,
) -> Result<Recipients, StoreError> {
    let mut recipients = Vec::new();
    for cut in cuts {
        let openids = app.store.openids(channel, plan.generation, range, cut).await?;
        let free = openids.into_iter().filter(|openid| !under_way.contains(openid));
        recipients.extend(free.map(|openid| (cut.offer, openid)));
    }
    Ok(recipients)
}

/// Whom the roster before this one handed out so late that this one's census could not see them reserved.
async fn under_way(app: &App, channel: &str, plan: &SlotPlan, range: u16) -> Result<HashSet<String>, StoreError> {
    let progress = app.store.progress(channel).await?.map(|stored| stored.value).unwrap_or_default();
    let (Some(roster), Some(before)) = (progress.roster, progress.before) else { return Ok(HashSet::new()) };
    if roster.generation != plan.generation {
        return Ok(HashSet::new());
    }
    let mut openids = HashSet::new();
    for other in overlapping(&roster, range, &before) {
        let state = app.store.range_state(channel, before.generation, other).await?;
        let handed_out = state.map(|state| state.value.handed_out).unwrap_or_default();
        for cut in handed_out.iter().filter(|one| one.closes_at > roster.began_at).flat_map(|one| &one.cuts) {
            openids.extend(app.store.openids(channel, before.generation, other, cut).await?);
        }
    }
    Ok(openids)
}

fn overlapping(census: &Census, range: u16, other: &Census) -> Vec<u16> {
    let prefixes = census.prefixes(range);
    let meets = |range: &u16| {
        let others = other.prefixes(*range);
        others.start() <= prefixes.end() && prefixes.start() <= others.end()
    };
    (0..other.ranges).filter(meets).collect()
}

async fn queue(app: &App, channel: &str, plan: &SlotPlan, range: u16, recipients: Recipients) -> Result<(), Error> {
    let now = app.clock.now();
    let flights = plan.flights(usize::from(range), recipients.len());
    let tasks = flights.into_iter().map(|flight| {
        let place = [i64::from(range), i64::try_from(flight.from).unwrap_or(0)].map(i64::to_be_bytes);
        let slot = plan.slot.opens_at.as_second().to_be_bytes();
        let [range, from] = &place;
        let mut grouped: Vec<(MessageId, Vec<String>)> = Vec::new();
        for (offer, openid) in recipients.iter().take(flight.to).skip(flight.from) {
            match grouped.last_mut().filter(|(last, _)| last == offer) {
                Some((_, openids)) => openids.push(openid.clone()),
                None => grouped.push((*offer, vec![openid.clone()])),
            }
        }
        let task = FlightTask {
            channel: channel.to_owned(),
            id: Nonce(digest::short(&[channel.as_bytes(), &slot, range, from])),
            slot: plan.slot,
            starts_at: flight.starts_at,
            recipients: grouped,
        };
        (task, delay_until(flight.starts_at, AHEAD_MILLISECONDS, now))
    });
    app.bulk_queue.send_all(tasks.collect()).await?;
    Ok(())
}
