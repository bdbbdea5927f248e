//! Windows that closed: what was taken beyond their limits, and what stayed unused while people of campaigns waited.

use jiff::Timestamp;
use tidepost_core::campaign::Pace;
use tidepost_core::channel::Channel;
use tidepost_core::ids::{CampaignId, MessageId};
use tidepost_core::pace::open_seconds;
use tidepost_core::quota::{Closing, Quota, Told, Waiting};
use tidepost_core::time::{Period, fixed_period, plus_milliseconds, plus_seconds};
use tidepost_io::app::App;
use tidepost_io::campaigns::CampaignRow;
use tidepost_io::emf::{self, Metric};
use tidepost_io::store::{Key, StoreError, Stored, Swap};
use tidepost_io::sweeps::RangeState;

/// How often a tick comes, in seconds.
const TICK_SECONDS: u32 = 60;

fn told_key() -> Key {
    Key::new("S", "windows told")
}

/// Notes what became of the windows that closed until the last full minute but one: by now their last calls are through, and
/// what these did not use was given back. Each is noted once, where its own tick did not come by the next, within the hour; where
/// two ticks are at it at once, by the one that writes first. Those of a tick that dies right after that are not noted.
pub async fn note_closed(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let until = plus_seconds(fixed_period(TICK_SECONDS, now).opens_at, -i64::from(TICK_SECONDS));
    let channels = app.store.channels().await.map_err(|error| error.to_string())?;
    let stored: Option<Stored<Told>> = app.store.get(&told_key()).await.map_err(|error| error.to_string())?;
    let told = stored.as_ref().map(|stored| stored.value.clone());
    let told = told.unwrap_or_else(|| Told::until(plus_seconds(until, -i64::from(TICK_SECONDS))));
    let (mut counts, mut behind, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (id, channel) in &channels {
        match counts_of(app, id, channel, Span { from: told.since(id, now), until, now }).await {
            Ok(of_channel) => counts.extend(of_channel.into_iter().map(|one| (id, one))),
            Err(error) => {
                behind.push(id.as_str());
                failed.push(format!("windows of {id}: {error}"));
            }
        }
    }
    // Also where none closed: a rule that is new must not be asked for windows of before.
    let next = told.advanced(until, &behind, now);
    match app.store.swap(&told_key(), stored.as_ref(), next, None).await {
        Ok(Swap::Done(_)) => counts.iter().for_each(|(id, one)| one.note(id)),
        Ok(Swap::Conflict(_)) => tracing::info!("another tick tells of the windows that closed"),
        Err(error) => failed.push(error.to_string()),
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// What is counted of the windows that closed at one moment.
struct Counts {
    overshoot: u64,
    unused: u64,
}

impl Counts {
    fn note(&self, channel: &str) {
        emf::count_of(channel, Metric::Overshoot, self.overshoot);
        emf::count_of(channel, Metric::UnusedUnits, self.unused);
    }
}

/// The time whose closings a tick notes.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    until: Timestamp,
    now: Timestamp,
}

impl Span {
    fn closings(self, quota: &Quota, channel: &Channel) -> Vec<Closing> {
        quota.closings(channel, self.from, self.until, self.now)
    }
}

async fn counts_of(app: &App, id: &str, channel: &Channel, span: Span) -> Result<Vec<Counts>, StoreError> {
    if span.closings(&Quota::default(), channel).is_empty() {
        return Ok(Vec::new());
    }
    let quota = app.store.quota_of_late(id).await?;
    let mut counts = Vec::new();
    for closing in span.closings(&quota, channel) {
        let unused = if closing.has_room() { unused(app, id, channel, &quota, &closing).await? } else { 0 };
        counts.push(Counts { overshoot: closing.overshoot.into(), unused });
    }
    Ok(counts)
}

/// A campaign that spends as fast as it can, and those who waited for it.
struct Demand {
    row: CampaignRow,
    occurrence: Period,
    people: u64,
}

async fn unused(app: &App, id: &str, channel: &Channel, quota: &Quota, closing: &Closing) -> Result<u64, StoreError> {
    let before = plus_milliseconds(closing.at, -1);
    let (running, health) = futures::try_join!(app.store.live_campaigns(id, before), app.store.health(id))?;
    // In the band of the edge a campaign of this day would need the next one's broadcast too.
    let inside = plus_milliseconds(before, -channel.closing_band_milliseconds());
    let may_send = |(campaign, row): &(CampaignId, CampaignRow)| {
        row.campaign.pace == Pace::Fast && quota.holds_broadcast(channel, *campaign, inside)
    };
    let running: Vec<(CampaignId, CampaignRow)> = running.into_iter().filter(may_send).collect();
    if running.is_empty() || health.is_banned(before) {
        return Ok(0);
    }
    let progress = app.store.progress(id).await?.map(|stored| stored.value).unwrap_or_default();
    let Some(roster) = progress.roster else { return Ok(0) };
    let states = app.store.range_states(id, &roster).await?;
    let demand = |(campaign, row): (CampaignId, CampaignRow)| {
        let occurrence = row.campaign.occurrence(campaign, before)?;
        let people = waited(&states, occurrence.id.offer_id(), closing.at);
        (people > 0).then_some(Demand { row, occurrence: occurrence.period, people })
    };
    let demands: Vec<Demand> = running.into_iter().filter_map(demand).collect();
    Ok(closing.unused(|window| demands.iter().map(|demand| demand.within(channel, window)).collect()))
}

/// How many were on the roster for an offer at `at`: those who still are, and those who were handed out for later slots.
fn waited(states: &[RangeState], offer: MessageId, at: Timestamp) -> u64 {
    let of_range = |state: &RangeState| {
        let left = state.pieces.iter().filter(|piece| piece.offer == offer).map(|piece| piece.left());
        let later = state.handed_out.iter().filter(|one| at <= one.slot).flat_map(|one| &one.cuts);
        let later = later.filter(|cut| cut.offer == offer).map(|cut| cut.to.saturating_sub(cut.from));
        left.chain(later).map(u64::from).sum::<u64>()
    };
    states.iter().map(of_range).sum()
}

impl Demand {
    fn within(&self, channel: &Channel, window: Period) -> Waiting {
        let period = Period {
            opens_at: window.opens_at.max(self.occurrence.opens_at),
            closes_at: window.closes_at.min(self.occurrence.closes_at),
        };
        let best = self.row.campaign.best_hours.as_deref();
        Waiting { people: self.people, open_seconds: open_seconds(period, &channel.zone(), &channel.policy, best) }
    }
}
