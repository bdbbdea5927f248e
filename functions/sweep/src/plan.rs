//! Sees what is to be done for a channel: a new census, the plans of the slots that come next.

use std::collections::BTreeSet;
use std::convert::Infallible;

use jiff::Timestamp;
use lambda_runtime::Error;
use tidepost_core::campaign::Live;
use tidepost_core::channel::Channel;
use tidepost_core::ids::{CampaignId, MessageId};
use tidepost_core::quota::Quota;
use tidepost_core::rfm::Histograms;
use tidepost_core::sweep::{
    COUNTED, Census, Moment, Outlook, Piece, Progress, RangeTally, SETTLED_SECONDS, Slot, SlotPlan, UNTOLD_SECONDS,
    handed_out, sum, take,
};
use tidepost_core::time::{Period, fixed_period, plus_milliseconds, plus_seconds};
use tidepost_io::app::App;
use tidepost_io::campaigns::{CampaignRow, RfmCuts};
use tidepost_io::lineup::{Lineup, Runner, digest_of};
use tidepost_io::queue::SweepStep;
use tidepost_io::store::StoreError;
use tidepost_io::sweeps::RangeState;

/// How far ahead slots are planned, in seconds: until after the next tick of release.
const AHEAD_SECONDS: i64 = 75;

/// A campaign that runs no longer than this, in seconds, is planned for until its end, and nothing after that, where it is in
/// nobody's way: else plans that look ahead might pass it over.
const SHORT_SECONDS: i64 = 2 * AHEAD_SECONDS;

/// How long a census may take, in seconds, where plans are to wait for it.
const CENSUS_SECONDS: i64 = 30;

/// How long before something can be done it is made ready for, in seconds, when nothing else lets time pass.
const READY_SECONDS: i64 = 4;

/// Slots that a plan looks at, the present one included.
const SLOTS_MAX: usize = 4;

/// How often the channel's state is changed again when others were faster.
const TRIES: usize = 6;

/// Does what is to be done now. Two at once do no harm: a census and a slot's plan are each stored once.
pub async fn run(app: &App, channel: &str) -> Result<(), Error> {
    let now = app.clock.now();
    let Some(definition) = app.store.channel(channel).await? else { return Ok(()) };
    let mut slots = slots(Slot::around(&definition, now), |slot| slot.next(&definition), now);
    let mut horizon = slots.last().map_or(now, |slot| slot.period.opens_at).max(now);
    let since = plus_seconds(now, -UNTOLD_SECONDS);
    let Some(mut lineup) = app.store.lineup_since(channel, horizon, since).await? else { return Ok(()) };
    if let Some(end) = lineup.short_run_ends(now, SHORT_SECONDS) {
        // No plan before this one may have had it, and one for after its end would leave it out.
        let before_end = plus_milliseconds(end, -1).max(now);
        let mut its = slots.clone();
        its.retain(|slot| slot.period.opens_at <= before_end);
        let others = slots.get(its.len()).map(|slot| slot.period.opens_at);
        if lineup.is_idle() || (waits(others, now) && has_open(app, &definition, channel, &its, now).await?) {
            (horizon, slots) = (before_end, its);
            lineup = lineup.at(horizon);
        }
    }
    let runners = lineup.runners(horizon);
    let desk = Desk { app, channel, lineup: &lineup, runners: &runners, live: digest_of(&runners), now, horizon };
    let progress = desk.finish_census().await?;
    let mut states = match &progress.roster {
        Some(roster) => app.store.range_states(channel, roster).await?,
        None => Vec::new(),
    };
    desk.keep_live(&mut states);
    let left = desk.left(&states).await?;
    desk.begin_census(&progress, left).await?;
    let roster = progress.roster.as_ref().filter(|roster| Some(roster.live) == desk.live);
    let planned = match roster {
        Some(roster) => desk.plan(roster, states, &slots).await?,
        None => Planned::default(),
    };
    desk.note(&planned).await
}

/// The slots that may be planned now.
fn slots(first: Slot, next: impl Fn(&Slot) -> Slot, now: Timestamp) -> Vec<Slot> {
    let end = plus_seconds(now, AHEAD_SECONDS);
    let all = std::iter::successors(Some(first), |slot| Some(next(slot)));
    all.take_while(|slot| slot.period.opens_at <= end).take(SLOTS_MAX).collect()
}

/// Whether a slot can still be planned on time at the next tick, after another census.
fn waits(opens_at: Option<Timestamp>, now: Timestamp) -> bool {
    let planned_at = plus_seconds(fixed_period(60, now).closes_at, CENSUS_SECONDS);
    opens_at.is_none_or(|opens_at| planned_at <= opens_at)
}

/// Whether one of the slots may still be planned, and is not.
async fn has_open(
    app: &App,
    definition: &Channel,
    channel: &str,
    slots: &[Slot],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(first) = slots.first() else { return Ok(false) };
    let plans = app.store.slot_plans(channel, first.period.opens_at).await?;
    let is_planned = |slot: &&Slot| plans.iter().any(|plan| plan.slot.opens_at == slot.period.opens_at);
    Ok(slots.iter().any(|slot| !is_planned(&slot) && slot.usable(definition, now).is_some()))
}

/// What one step knows.
struct Desk<'a> {
    app: &'a App,
    channel: &'a str,
    lineup: &'a Lineup,
    runners: &'a [Runner<'a>],
    live: Option<[u8; 8]>,
    now: Timestamp,
    horizon: Timestamp,
}

/// What came of planning.
#[derive(Default)]
struct Planned {
    /// People handed out by plans that are new.
    units: u64,
    /// When the last slot with a plan ends.
    ends_at: Option<Timestamp>,
    /// People left after all plans, whose campaign may send.
    left: u64,
    /// When the next campaign gets its broadcast that has none.
    barred_until: Option<Timestamp>,
}

/// Campaigns without a broadcast.
#[derive(Default)]
struct Barred {
    offers: Vec<MessageId>,
    /// When the first of them may get one.
    until: Option<Timestamp>,
}

impl Desk<'_> {
    /// Takes the roster that was being made into use once all its ranges are done; queues what got stuck again.
    async fn finish_census(&self) -> Result<Progress, StoreError> {
        let stored = self.app.store.progress(self.channel).await?;
        let progress = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
        let Some(building) = progress.building.clone() else { return Ok(progress) };
        let states = self.app.store.range_states(self.channel, &building).await?;
        if !states.iter().all(|state| state.is_done) {
            if progress.is_stuck(self.now) {
                let open = states.iter().zip(0..).filter(|(state, _)| !state.is_done).map(|(_, range)| range);
                self.queue_census(&building, open.collect()).await;
            }
            return Ok(progress);
        }
        let mut census = Census {
            people: states.iter().map(|state| state.people).sum(),
            candidates: states.iter().map(RangeState::left).sum(),
            ready_at: states.iter().filter_map(|state| state.ready_at).min(),
            ..building
        };
        if self.count_buyers(&progress, &census, &states).await? {
            census.live = COUNTED;
        }
        self.tell(&states).await?;
        let finished = progress.finished(census);
        if self.app.store.swap_progress(self.channel, stored.as_ref(), finished.clone()).await? {
            return Ok(finished);
        }
        Ok(self.app.store.progress(self.channel).await?.map(|stored| stored.value).unwrap_or_default())
    }

    /// Writes down what campaigns that are over were to people, now that everybody was looked at.
    async fn tell(&self, states: &[RangeState]) -> Result<(), StoreError> {
        let ranges: Vec<&[RangeTally]> = states.iter().map(|state| state.tallies.as_slice()).collect();
        for told in sum(&ranges) {
            let Some(id) = told.offer.campaign() else { continue };
            let change = |row: &CampaignRow| Ok::<_, Infallible>(row.told(id, told.ended_at, &told.tally));
            self.app.store.change_campaign(id, change).await?;
            tracing::info!(channel = self.channel, campaign = %id, people = told.tally.people(), "a campaign is over");
        }
        Ok(())
    }

    /// Keeps the cuts between the quintiles; true when these campaigns' people were looked at for the first time, and by
    /// other cuts.
    async fn count_buyers(
        &self,
        progress: &Progress,
        census: &Census,
        states: &[RangeState],
    ) -> Result<bool, StoreError> {
        if !self.lineup.asks_for_quintiles() {
            return Ok(false);
        }
        let mut all = Histograms::default();
        states.iter().filter_map(|state| state.purchases.as_ref()).for_each(|purchases| all.merge(purchases));
        let cuts = RfmCuts { cuts: all.cuts(), as_of: census.began_at };
        let used = self.lineup.rfm_cuts();
        // Somebody who died here may have kept them already.
        let is_other = used.and_then(|used| used.cuts.as_ref()) != cuts.cuts.as_ref()
            || used.is_some_and(|used| used.as_of == cuts.as_of);
        self.app.store.put_rfm_cuts(self.channel, &cuts).await?;
        Ok(is_other && progress.is_first_for(census.live))
    }

    /// Takes those off the roster whose campaign does not run.
    fn keep_live(&self, states: &mut [RangeState]) {
        let live: BTreeSet<[u8; MessageId::SIZE_BYTES]> =
            self.runners.iter().map(|runner| runner.live.occurrence.id.offer_id().to_bytes()).collect();
        for state in states {
            state.pieces.retain(|piece| live.contains(&piece.offer.to_bytes()));
        }
    }

    /// How many people are on the roster whose campaign may send. Those of one that got no broadcast since are not: others
    /// may want them.
    async fn left(&self, states: &[RangeState]) -> Result<u64, StoreError> {
        let channel = &self.lineup.state.channel;
        if !channel.counts_broadcasts() {
            return Ok(states.iter().map(RangeState::left).sum());
        }
        let quota = self.app.store.quota(self.channel).await?;
        let may_send = |piece: &&Piece| {
            piece.offer.campaign().is_none_or(|id| quota.barred_until(channel, id, self.now).is_none())
        };
        let pieces = states.iter().flat_map(|state| &state.pieces);
        Ok(pieces.filter(may_send).map(|piece| u64::from(piece.left())).sum())
    }

    /// Whether a campaign is over that is not accounted for.
    async fn has_untold(&self) -> Result<bool, StoreError> {
        let settled = plus_seconds(self.now, -SETTLED_SECONDS);
        if self.lineup.untold(settled).is_empty() {
            return Ok(false);
        }
        // It may have been told of since the campaigns were read, by this very step.
        let since = plus_seconds(self.now, -UNTOLD_SECONDS);
        let lineup = self.app.store.lineup_since(self.channel, self.horizon, since).await?;
        Ok(lineup.is_some_and(|lineup| !lineup.untold(settled).is_empty()))
    }

    async fn begin_census(&self, progress: &Progress, left: u64) -> Result<(), StoreError> {
        let closes = self.has_untold().await?;
        let moment = Moment { live: self.live, left, closes, horizon: self.horizon, now: self.now };
        let Some(census) = progress.next_census(moment) else { return Ok(()) };
        let stored = self.app.store.progress(self.channel).await?;
        if stored.as_ref().map(|stored| &stored.value).unwrap_or(&Progress::default()) != progress {
            return Ok(());
        }
        let next = Progress { building: Some(census.clone()), ..progress.clone() };
        if self.app.store.swap_progress(self.channel, stored.as_ref(), next).await? {
            tracing::info!(channel = self.channel, generation = census.generation, ranges = census.ranges, "census");
            self.queue_census(&census, (0..census.ranges).collect()).await;
        }
        Ok(())
    }

    async fn queue_census(&self, census: &Census, ranges: Vec<u16>) {
        let task = |range| {
            let channel = self.channel.to_owned();
            (SweepStep::Census { channel, generation: census.generation, range }, 0)
        };
        if let Err(error) = self.app.sweep_queue.send_all(ranges.into_iter().map(task).collect()).await {
            tracing::warn!(channel = self.channel, %error, "a census could not be queued and will be again");
        }
    }

    /// Plans the slots that have no plan yet, and queues what they hand out.
    async fn plan(&self, roster: &Census, states: Vec<RangeState>, slots: &[Slot]) -> Result<Planned, Error> {
        let first = slots.first().map_or(self.now, |slot| slot.period.opens_at);
        let mut plans = self.app.store.slot_plans(self.channel, first).await?;
        let (mut ranges, missing) = self.remaining(roster, states, &plans);
        self.queue_emits(missing).await?;
        let quota = self.app.store.quota(self.channel).await?;
        let lives: Vec<&Live<'_>> = self.runners.iter().map(|runner| &runner.live).collect();
        let mut planned = Planned::default();
        let mut barred = Barred::default();
        for slot in slots {
            if plans.iter().any(|plan| plan.slot.opens_at == slot.period.opens_at) {
                continue;
            }
            let known: Vec<(Period, u64)> =
                plans.iter().map(|plan| (plan.slot, plan.units_to_take(self.now))).collect();
            let pieces: Vec<&[Piece]> = ranges.iter().map(Vec::as_slice).collect();
            let outlook = Outlook {
                channel: &self.lineup.state.channel,
                quota: &quota,
                planned: &known,
                singles: self.singles(slot.period).await?,
                lives: &lives,
                barred: &[],
                generation: roster.generation,
                ranges: &pieces,
                now: self.now,
            };
            let (plan, without) = self.with_broadcasts(outlook, slot).await?;
            barred = without;
            let Some(plan) = plan else { continue };
            if !self.app.store.put_slot_plan(self.channel, &plan).await? {
                // Another planner was faster: what it left is seen next time.
                return Ok(planned);
            }
            tracing::info!(channel = self.channel, slot = %plan.slot.opens_at, units = plan.units(), "planned");
            self.queue_emits(emits(&plan)).await?;
            for (pieces, portion) in ranges.iter_mut().zip(&plan.portions) {
                take(pieces, portion);
            }
            planned.units += plan.units();
            plans.push(plan);
        }
        planned.ends_at = plans.iter().map(|plan| plan.slot.closes_at).max();
        let may_send = ranges.iter().flatten().filter(|piece| !barred.offers.contains(&piece.offer));
        planned.left = may_send.map(|piece| u64::from(piece.left())).sum();
        planned.barred_until = barred.until;
        Ok(planned)
    }

    /// Plans a slot, and takes the broadcasts of the campaigns that it hands out, the best first; those that get none are
    /// left out, so that others get their place.
    async fn with_broadcasts(
        &self,
        outlook: Outlook<'_>,
        slot: &Slot,
    ) -> Result<(Option<SlotPlan>, Barred), StoreError> {
        let (channel, mut barred) = (outlook.channel, Barred::default());
        let mut quota = outlook.quota.clone();
        loop {
            let outlook = Outlook { quota: &quota, barred: &barred.offers, ..outlook };
            let plan = match outlook.plan(*slot) {
                Some(plan) if channel.counts_broadcasts() => plan,
                plan => return Ok((plan, barred)),
            };
            let (begins_at, edge) = (plan.begins_at, slot.period.opens_at);
            let pays_edge = self.now < edge && channel.broadcasts_end_at(edge);
            let (mut has_taken, mut without) = (false, Vec::new());
            let mut next = quota.clone();
            for offer in handed_out(outlook.ranges, &plan.portions) {
                let Some(campaign) = offer.campaign() else { continue };
                has_taken |= self.take_broadcast(campaign, begins_at, &mut next).await?;
                if let Some(until) = next.barred_until(channel, campaign, begins_at) {
                    barred.until = Some(barred.until.map_or(until, |known| known.min(until)));
                    without.push(offer);
                } else if pays_edge {
                    // The first calls are paid in the day before too, whose units are worth nothing else by now.
                    has_taken |= self.take_broadcast(campaign, edge, &mut next).await?;
                }
            }
            // With what was taken now, calls may start at the very edge.
            if without.is_empty() && !has_taken {
                return Ok((Some(plan), barred));
            }
            quota = next;
            barred.offers.extend(without);
        }
    }

    /// True when the campaign has its broadcast only now; `quota` is then as it is afterwards.
    async fn take_broadcast(&self, campaign: CampaignId, at: Timestamp, quota: &mut Quota) -> Result<bool, StoreError> {
        let channel = &self.lineup.state.channel;
        if quota.holds_broadcast(channel, campaign, at) {
            return Ok(false);
        }
        let take = |quota: &Quota| quota.take_broadcast(channel, campaign, at).ok().flatten();
        self.app.store.update_quota(self.channel, take).await?;
        *quota = self.app.store.quota(self.channel).await?;
        Ok(quota.holds_broadcast(channel, campaign, at))
    }

    /// Units that parked messages will need in a slot: they go before campaigns.
    async fn singles(&self, slot: Period) -> Result<u64, StoreError> {
        let due = self.app.store.due(slot.closes_at).await?;
        Ok(due.iter().filter(|(_, _, parked)| parked.channel == self.channel).count() as u64)
    }

    /// What the ranges hold once everything that is planned is handed out, and what of it is not handed out yet.
    fn remaining(
        &self,
        roster: &Census,
        states: Vec<RangeState>,
        plans: &[SlotPlan],
    ) -> (Vec<Vec<Piece>>, Vec<(Timestamp, u16)>) {
        let mut missing = Vec::new();
        let mut ranges = Vec::with_capacity(states.len());
        for (mut state, range) in states.into_iter().zip(0_u16..) {
            for plan in plans.iter().filter(|plan| plan.generation == roster.generation) {
                let slot = plan.slot.opens_at;
                let portion = plan.portions.get(usize::from(range)).filter(|portion| portion.units() > 0);
                let Some(portion) = portion else { continue };
                if !state.handed_out.iter().any(|one| one.slot == slot) {
                    take(&mut state.pieces, portion);
                    missing.push((slot, range));
                }
            }
            ranges.push(state.pieces);
        }
        (ranges, missing)
    }

    async fn queue_emits(&self, emits: Vec<(Timestamp, u16)>) -> Result<(), Error> {
        let task = |(slot, range)| (SweepStep::Emit { channel: self.channel.to_owned(), slot, range }, 0);
        Ok(self.app.sweep_queue.send_all(emits.into_iter().map(task).collect()).await?)
    }

    /// Notes what was handed out, and when to look again.
    async fn note(&self, planned: &Planned) -> Result<(), Error> {
        for _ in 0..TRIES {
            let stored = self.app.store.progress(self.channel).await?;
            let known = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            let look_at = self.look_at(&known, planned).await?;
            let next = Progress {
                handed_out: known.handed_out + planned.units,
                sends_end: known.sends_end.max(planned.ends_at),
                look_at,
                ..known.clone()
            };
            if next == known || self.app.store.swap_progress(self.channel, stored.as_ref(), next).await? {
                return Ok(());
            }
        }
        Err("the state of a channel changed too often at once".into())
    }

    /// When something is to be done next for the live campaigns.
    async fn look_at(&self, progress: &Progress, planned: &Planned) -> Result<Option<Timestamp>, StoreError> {
        if self.live.is_none() {
            return Ok(progress.settles_at());
        }
        let ready_at = progress.roster.as_ref().and_then(|roster| roster.ready_at);
        let mut next: Vec<Timestamp> = ready_at.map(|at| plus_seconds(at, -READY_SECONDS)).into_iter().collect();
        if planned.left > 0 && planned.units == 0 {
            let quota = self.app.store.quota(self.channel).await?;
            let channel = &self.lineup.state.channel;
            // Calls begin at the edge, before the room beyond its band.
            let room_at = plus_milliseconds(quota.next_room(channel, self.now), -i64::from(channel.skew_milliseconds));
            next.push(plus_seconds(room_at, -READY_SECONDS).max(plus_seconds(self.now, 1)));
        }
        next.extend(planned.barred_until.map(|at| plus_seconds(at, -READY_SECONDS)));
        next.extend(planned.ends_at);
        Ok(next.into_iter().filter(|at| *at > self.now).min())
    }
}

/// The ranges that hand something out.
fn emits(plan: &SlotPlan) -> Vec<(Timestamp, u16)> {
    let portions = plan.portions.iter().zip(0..).filter(|(portion, _)| portion.units() > 0);
    portions.map(|(_, range)| (plan.slot.opens_at, range)).collect()
}
