//! One flight of a slot: up to 200 people whom live campaigns may be sent to, from an exact start on.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidepost_core::campaign::Pace;
use tidepost_core::category::Category;
use tidepost_core::ids::{CampaignId, MessageId, Nonce, SubscriberId};
use tidepost_core::message::{Message, Standing};
use tidepost_core::quota::{Leased, Need, Shortage};
use tidepost_core::segment::Facts;
use tidepost_core::sweep::{Entrant, FLIES_SECONDS, Field, LateFlight, Slot, Win, is_late};
use tidepost_core::time::{plus_milliseconds, plus_seconds};
use tidepost_io::app::App;
use tidepost_io::clock::random;
use tidepost_io::ledger::{Entry, prefix};
use tidepost_io::lineup::{Lineup, Runner};
use tidepost_io::queue::FlightTask;
use tidepost_io::store::StoreError;
use tokio::sync::{Notify, Semaphore};

use crate::delivery::Delivery;
use crate::plan::{Candidate, Won};

/// How long before its start a flight reads campaigns and people, in milliseconds: late enough to see the last changes,
/// early enough to be ready.
const READ_AHEAD_MILLISECONDS: i64 = 1_500;

/// How long before its start it takes its units, in milliseconds: time for a write. Earlier ones would make single messages
/// wait behind them, and die unused with it.
const LEASE_AHEAD_MILLISECONDS: i64 = 300;

/// How long after its start a flight waits for units or a rate slot, in seconds.
const PATIENCE_SECONDS: i64 = 10;

/// Of lists so many people are read, and so many more for each recipient, to see whom else than the expected winner they
/// hold: more would cost more than a defeat is worth telling.
const LIST_READ: u64 = 10_000;
const LIST_READ_EACH: u64 = 100;

/// Sends to those of a flight who may get something; the others are left as they are.
pub async fn run(app: &App, flight: &FlightTask, in_flight: &Semaphore) -> Result<(), StoreError> {
    app.clock.sleep_until(plus_milliseconds(flight.starts_at, -READ_AHEAD_MILLISECONDS)).await;
    let now = app.clock.now();
    if now >= flight.slot.closes_at {
        tracing::warn!(channel = flight.channel, flight = %flight.id, "a flight came after its slot");
        return Ok(());
    }
    if is_late(flight.starts_at, now) {
        let people = flight.recipients.iter().map(|(_, openids)| openids.len() as u64).sum();
        app.store.put_late_flight(&flight.channel, flight.id, LateFlight { people, came_at: now }).await?;
    }
    let starts_at = flight.starts_at.max(now);
    let Some(lineup) = app.store.lineup(&flight.channel, starts_at).await? else { return Ok(()) };
    let candidates = candidates(app, flight, &lineup, starts_at).await?;
    if candidates.is_empty() {
        return Ok(());
    }
    let mut delivery = Delivery::new(app, &flight.channel, &lineup.state, Nonce(random()), in_flight);
    // A call in the closing band would cost the next window a unit too, which is planned for others.
    let slot = Slot::around(&lineup.state.channel, flight.slot.opens_at).inner(&lineup.state.channel);
    delivery.ends_at = plus_seconds(starts_at, FLIES_SECONDS).min(slot.closes_at).min(flight.slot.closes_at);
    match app.token(&flight.channel, &lineup.state.channel, None).await {
        Ok(token) => *delivery.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = token,
        Err(no_token) => {
            tracing::warn!(channel = flight.channel, %no_token, "a flight does not start");
            return Ok(());
        }
    }
    let flown = delivery.fly(candidates, starts_at).await;
    // Whatever went wrong after the first call: what was seen is written down.
    delivery.book.write(app, &flight.channel, delivery.nonce).await;
    delivery.book.report(&flight.channel);
    flown
}

/// Decides on everybody of a flight with all campaigns together.
async fn candidates<'a>(
    app: &App,
    flight: &FlightTask,
    lineup: &'a Lineup,
    starts_at: Timestamp,
) -> Result<Vec<Candidate<'a>>, StoreError> {
    let runners = lineup.runners(starts_at);
    let to = |openid: &String| SubscriberId::new(&flight.channel, openid);
    let ids: Vec<SubscriberId> = flight.recipients.iter().flat_map(|(_, openids)| openids).map(to).collect();
    let lists = lists(app, &runners, flight, &ids).await?;
    let rivals: Vec<Rival<'_, '_>> = runners.iter().zip(&lists).map(|(runner, list)| Rival { runner, list }).collect();
    let sending = sending(app, flight, lineup, &runners, starts_at).await?;
    let people = app.store.people(&ids).await?;
    let zone = lineup.state.channel.zone();
    let room = Room { lineup, zone: &zone, people: &people, starts_at };
    let mut candidates = Vec::new();
    for (expected, openids) in &flight.recipients {
        // Who spreads itself over time gets nobody but those whose turn it is.
        let may_send = |rival: &Rival<'_, '_>| {
            sending.contains(&rival.runner.live.id)
                && (rival.runner.row.campaign.pace == Pace::Fast || rival.is_of(*expected))
        };
        let (may_send, others): (Vec<Rival<'_, '_>>, Vec<Rival<'_, '_>>) = rivals.iter().copied().partition(may_send);
        candidates
            .extend(openids.iter().filter_map(|openid| room.candidate(&may_send, &others, *expected, &to(openid))));
    }
    // Who was to get two campaigns, of which one does not run any more, or is here with two subscribers, would get the
    // same one twice: to a delivery its own reservation is no hindrance.
    let mut seen = HashSet::new();
    candidates.retain(|candidate: &Candidate<'_>| seen.insert((candidate.id, first_subscriber(candidate))));
    candidates.sort_by_key(|candidate| candidate.message.category != Category::Basic);
    Ok(candidates)
}

/// The campaigns that have their broadcast, where broadcasts are counted.
async fn sending(
    app: &App,
    flight: &FlightTask,
    lineup: &Lineup,
    runners: &[Runner<'_>],
    starts_at: Timestamp,
) -> Result<HashSet<CampaignId>, StoreError> {
    let channel = &lineup.state.channel;
    let ids = runners.iter().map(|runner| runner.live.id);
    if !channel.counts_broadcasts() {
        return Ok(ids.collect());
    }
    let quota = app.store.quota(&flight.channel).await?;
    Ok(ids.filter(|id| quota.holds_broadcast(channel, *id, starts_at)).collect())
}

fn first_subscriber(candidate: &Candidate<'_>) -> Option<(String, String)> {
    let first = candidate.entry.person().subscribers.first();
    first.map(|first| (first.channel.clone(), first.openid.clone()))
}

/// Who is on the lists of campaigns, as far as that is worth reading: only those matter who are expected to get something
/// else.
async fn lists(
    app: &App,
    runners: &[Runner<'_>],
    flight: &FlightTask,
    ids: &[SubscriberId],
) -> Result<Vec<BTreeSet<String>>, StoreError> {
    let prefixes = ids.iter().map(prefix);
    let range = prefixes.clone().min().unwrap_or(0)..=prefixes.max().unwrap_or(0);
    let readable = LIST_READ + LIST_READ_EACH * ids.len() as u64;
    let mut lists = Vec::with_capacity(runners.len());
    for runner in runners {
        let own = runner.live.occurrence.id.offer_id();
        let is_asked = flight.recipients.iter().any(|(expected, _)| *expected != own);
        lists.push(if is_asked && runner.row.listed_within(&range) <= readable {
            app.store.listed(runner, range.clone()).await?
        } else {
            BTreeSet::new()
        });
    }
    Ok(lists)
}

/// What all recipients of a flight are decided with.
struct Room<'a, 'b> {
    lineup: &'a Lineup,
    zone: &'b TimeZone,
    people: &'b HashMap<SubscriberId, Entry>,
    starts_at: Timestamp,
}

/// A campaign that may want a recipient, with who is on its list.
#[derive(Clone, Copy)]
struct Rival<'a, 'b> {
    runner: &'b Runner<'a>,
    list: &'b BTreeSet<String>,
}

impl Rival<'_, '_> {
    fn is_of(&self, offer: MessageId) -> bool {
        self.runner.live.occurrence.id.offer_id() == offer
    }
}

impl<'a> Room<'a, '_> {
    /// What one person gets: what was expected if it still wins, otherwise the best. The `others` may not send
    /// now: what is worse than what is sent has lost to it all the same.
    fn candidate(
        &self,
        rivals: &[Rival<'a, '_>],
        others: &[Rival<'a, '_>],
        expected: MessageId,
        to: &SubscriberId,
    ) -> Option<Candidate<'a>> {
        let entry = self.people.get(to)?.clone();
        let mut wins = self.wins(rivals, expected, to, &entry);
        let at = wins.iter().position(|win| win.offer.id == expected).unwrap_or(0);
        let win = (at < wins.len()).then(|| wins.swap_remove(at))?;
        let winner = rivals.get(win.entrant)?;
        let runner = winner.runner;
        let facts = Facts {
            person: entry.person(),
            subscriber: entry.person().subscriber(to)?,
            cuts: self.lineup.cuts(),
            zone: self.zone,
            now: self.starts_at,
        };
        let words = runner.live.content_for(entry.person(), runner.live.variant_for(&facts))?;
        let won = Won {
            campaign: runner.live.id,
            variant: words.variant.to_owned(),
            losers: losers(rivals, &win).chain(self.also_lost(*winner, others, expected, to, &entry)).collect(),
        };
        let message = message(&win, words.data, words.page, self.starts_at);
        Some(Candidate {
            id: win.offer.id,
            message,
            offer: win.offer,
            template: runner.template,
            entry,
            won: Some(won),
        })
    }

    fn wins(&self, rivals: &[Rival<'a, '_>], expected: MessageId, to: &SubscriberId, entry: &Entry) -> Vec<Win> {
        let runners = rivals.iter().map(|rival| rival.runner);
        let entrants: Vec<Entrant<'_>> =
            runners.map(|runner| Entrant { live: &runner.live, template: runner.template }).collect();
        let state = &self.lineup.state;
        let field = Field {
            channel: &state.channel,
            health: &state.health,
            zone: self.zone,
            cuts: self.lineup.cuts(),
            now: self.starts_at,
        };
        let is_listed = |index: usize| {
            rivals.get(index).is_some_and(|rival| rival.is_of(expected) || rival.list.contains(&to.openid))
        };
        field.contest(&entrants, entry.person(), to, is_listed).wins
    }

    /// Those that may not send now, are worse than what is sent, and would be sent if it were not for that.
    fn also_lost(
        &self,
        winner: Rival<'a, '_>,
        others: &[Rival<'a, '_>],
        expected: MessageId,
        to: &SubscriberId,
        entry: &Entry,
    ) -> Vec<[u8; 4]> {
        let merit = winner.runner.live.merit(1.0);
        let is_worse = |other: &&Rival<'_, '_>| other.runner.live.merit(1.0).compare(&merit).is_lt();
        let mut all = vec![winner];
        all.extend(others.iter().filter(is_worse));
        if all.len() == 1 {
            return Vec::new();
        }
        let wins = self.wins(&all, expected, to, entry);
        let of_winner = wins.iter().find(|win| win.entrant == 0);
        of_winner.into_iter().flat_map(|win| losers(&all, win)).collect()
    }
}

/// The campaigns that a win is won over.
fn losers(rivals: &[Rival<'_, '_>], win: &Win) -> impl Iterator<Item = [u8; 4]> {
    win.losers.iter().filter_map(|index| rivals.get(*index)).map(|rival| rival.runner.live.id.short())
}

/// The message that a recipient is sent; no row is kept of it.
fn message(
    win: &Win,
    data: std::collections::BTreeMap<String, String>,
    page: Option<String>,
    accepted_at: Timestamp,
) -> Message {
    let offer = &win.offer;
    Message {
        channel: offer.to.channel.clone(),
        openid: offer.to.openid.clone(),
        template: offer.template.clone(),
        data,
        page,
        topic: offer.topic.clone(),
        category: offer.category,
        urgency: offer.urgency,
        business_line: offer.business_line.clone(),
        not_before: offer.not_before,
        deadline: offer.not_after,
        accepted_at,
        body_hash: String::new(),
        answer: Standing::Queued,
        standing: None,
    }
}

impl Delivery<'_> {
    /// Sends to all for whom there are units, from `starts_at` on.
    async fn fly(&self, mut waiting: Vec<Candidate<'_>>, starts_at: Timestamp) -> Result<(), StoreError> {
        let patience_ends = plus_seconds(starts_at, PATIENCE_SECONDS).min(self.ends_at);
        let mut at = starts_at;
        while let Some(first) = waiting.first() {
            self.app.clock.sleep_until(plus_milliseconds(at, -LEASE_AHEAD_MILLISECONDS)).await;
            at = at.max(self.app.clock.now());
            if at > patience_ends {
                // The queue would take the flight for dead, and who stops a campaign counts on its end.
                tracing::info!(channel = self.channel, people = waiting.len(), "a flight takes too long");
                break;
            }
            let category = first.message.category;
            let is_basic = category == Category::Basic;
            let alike = waiting.iter().take_while(|one| (one.message.category == Category::Basic) == is_basic).count();
            match self.lease_for(alike, category, at).await? {
                Ok((lease, leased)) => {
                    let rest = waiting.split_off(usize::try_from(leased.units).unwrap_or(usize::MAX).min(alike));
                    self.send_noting(std::mem::replace(&mut waiting, rest), &lease, &leased).await;
                }
                Err(shortage) if shortage.until < patience_ends => at = shortage.until.max(at),
                Err(shortage) => {
                    tracing::info!(channel = self.channel, people = alike, reason = shortage.reason.detail, "not sent");
                    waiting = waiting.split_off(alike);
                }
            }
        }
        Ok(())
    }

    /// Sends under a lease, and writes outcomes down meanwhile: the calls of one lease take seconds, and those of a
    /// delivery that dies are unknown as far as they are not written.
    async fn send_noting(&self, candidates: Vec<Candidate<'_>>, lease: &str, leased: &Leased) {
        let sent = Notify::new();
        let sending = async {
            self.send_leased(candidates, lease, leased).await;
            sent.notify_one();
        };
        let writing = async {
            loop {
                let is_over = tokio::select! {
                    () = sent.notified() => true,
                    () = self.book.ripe(&self.app.clock) => false,
                };
                self.book.write(self.app, self.channel, self.nonce).await;
                if is_over {
                    return;
                }
            }
        };
        futures::join!(sending, writing);
    }

    async fn lease_for(
        &self,
        units: usize,
        category: Category,
        starts_at: Timestamp,
    ) -> Result<Result<(String, Leased), Shortage>, StoreError> {
        let id = Nonce(random()).to_string();
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let need = Need { id: &id, units, category, use_by: self.ends_at };
        let (now, channel) = (self.app.clock.now(), &self.state.channel);
        let leased = self.app.store.lease_from(self.channel, channel, need, starts_at, now).await?;
        Ok(leased.map(|leased| (id, leased)))
    }
}
