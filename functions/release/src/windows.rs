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
use tidepost_io::store::{Key, StoreError};
use tidepost_io::sweeps::RangeState;

/// How often a tick comes, in seconds.
const TICK_SECONDS: u32 = 60;

fn told_key() -> Key {
    Key::new("S", "windows told")
}

/// Notes what became of the windows that closed until the last full minute but one: by now their last calls are through, and
/// what these did not use was given back. Each is noted once, where its own tick did not come by the next, within the hour.
pub async fn note_closed(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let until = plus_seconds(fixed_period(TICK_SECONDS, now).opens_at, -i64::from(TICK_SECONDS));
    let channels = app.store.channels().await.map_err(|error| error.to_string())?;
    let told: Option<Told> = app.store.glance(&told_key()).await.map_err(|error| error.to_string())?;
    let told = told.unwrap_or_else(|| Told::until(plus_seconds(until, -i64::from(TICK_SECONDS))));
    let (mut noted, mut behind, mut failed) = (0, Vec::new(), Vec::new());
    for (id, channel) in &channels {
        match note_of(app, id, channel, Span { from: told.since(id, now), until, now }).await {
            Ok(closings) => noted += closings,
            Err(error) => {
                behind.push(id.as_str());
                failed.push(format!("windows of {id}: {error}"));
            }
        }
    }
    // Written only where it says something new: most minutes of a channel with windows of an hour close none.
    if noted > 0 || !behind.is_empty() {
        let told = told.advanced(until, &behind, now);
        failed.extend(app.store.put(&told_key(), &told, None).await.err().map(|error| error.to_string()));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
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

/// Returns how many moments were noted at which windows closed.
async fn note_of(app: &App, id: &str, channel: &Channel, span: Span) -> Result<usize, StoreError> {
    if span.closings(&Quota::default(), channel).is_empty() {
        return Ok(0);
    }
    let quota = app.store.quota_of_late(id).await?;
    let mut counts = Vec::new();
    for closing in span.closings(&quota, channel) {
        let unused = if closing.has_room() { unused(app, id, channel, &quota, &closing).await? } else { 0 };
        counts.push((closing.overshoot, unused));
    }
    // All or none: what is counted is not looked at again.
    for (overshoot, unused) in &counts {
        emf::count_of(id, Metric::Overshoot, (*overshoot).into());
        emf::count_of(id, Metric::UnusedUnits, *unused);
    }
    Ok(counts.len())
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
