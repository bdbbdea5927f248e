//! Looks at the people of a range, page by page, and leaves a roster of those whom some live campaign may be sent to.
//!
//! Its memory holds a page and a few thousand openids, however many people there are. What it found is written down with
//! the place where to go on, so that another task takes over where one died.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lambda_runtime::Error;
use tidepost_core::choice::Rank;
use tidepost_core::ids::{CampaignId, MessageId, SubscriberId};
use tidepost_core::person::Person;
use tidepost_core::reason::ReasonCode;
use tidepost_core::recover::DELIVERY_SECONDS;
use tidepost_core::sweep::{
    Census, Closing, Entrant, Field, PIECE_MAX, Piece, RangeTally, SETTLED_SECONDS, Tally, UNTOLD_SECONDS,
};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::campaigns::CampaignRow;
use tidepost_io::ledger::prefix;
use tidepost_io::lineup::{Lineup, Over, Runner};
use tidepost_io::queue::SweepStep;
use tidepost_io::settling::Settling;
use tidepost_io::store::{StoreError, Stored, Swap};
use tidepost_io::sweeps::RangeState;

/// How long a task has a range to itself, in seconds; each checkpoint begins it anew.
const OWNED_SECONDS: i64 = 40;

/// How often a task writes down how far it is, in seconds, also where it found nobody.
const CHECKPOINT_SECONDS: i64 = 10;

/// How far the spans of two censuses overlap, in seconds: more than clocks are apart.
const OVERLAP_SECONDS: i64 = 60;

/// People whom a task holds in memory before it writes them down.
const BUFFERED_MAX: usize = 8_000;

/// People who are alike: business line, rank and the campaign that wins them.
type Kind = (String, Rank, MessageId);

/// Looks at a range, unless somebody else is at it or was.
pub async fn run(app: &App, channel: &str, generation: u32, range: u16) -> Result<(), Error> {
    let progress = app.store.progress(channel).await?.map(|stored| stored.value).unwrap_or_default();
    let Some(census) = progress.building.clone().filter(|building| building.generation == generation) else {
        return Ok(());
    };
    let stored = app.store.range_state(channel, generation, range).await?;
    let state = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
    if !state.is_done {
        if state.use_by.is_some_and(|use_by| app.clock.now() < use_by) {
            return Ok(());
        }
        let untold_since = plus_seconds(census.began_at, -UNTOLD_SECONDS);
        let Some(lineup) = app.store.lineup_since(channel, census.as_of, untold_since).await? else { return Ok(()) };
        let since = progress.roster.as_ref().map(|roster| roster.began_at);
        let walk = Walk { app, channel, census: &census, range, lineup: &lineup };
        if !walk.run(stored, state, since).await? {
            return Ok(());
        }
    }
    let states = app.store.range_states(channel, &census).await?;
    if states.iter().all(|state| state.is_done) {
        app.sweep_queue.send(SweepStep::Plan { channel: channel.to_owned() }).await?;
    }
    Ok(())
}

struct Walk<'a> {
    app: &'a App,
    channel: &'a str,
    census: &'a Census,
    range: u16,
    lineup: &'a Lineup,
}

/// What was found and is not written down yet.
#[derive(Default)]
struct Found {
    people: BTreeMap<Kind, Vec<String>>,
    count: usize,
}

impl Walk<'_> {
    /// Walks to the end; false when somebody else took over.
    async fn run(
        &self,
        mut stored: Option<Stored<RangeState>>,
        mut state: RangeState,
        since: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        state.epoch += 1;
        if !self.checkpoint(&mut stored, &mut state).await? {
            return Ok(false);
        }
        let (runners, barred_until) = self.competing().await?;
        let mut lists = Vec::with_capacity(runners.len());
        for runner in &runners {
            lists.push(self.app.store.listed(runner, self.census.prefixes(self.range)).await?);
        }
        let entrants: Vec<Entrant<'_>> =
            runners.iter().map(|runner| Entrant { live: &runner.live, template: runner.template }).collect();
        let zone = self.lineup.state.channel.zone();
        let untold = self.lineup.untold(plus_seconds(self.census.began_at, -SETTLED_SECONDS));
        let closings = self.closings(&untold).await?;
        let look = Look { walk: self, entrants, lists, closings, zone: &zone };
        look.begin(&mut state);
        state.ready_at = [state.ready_at, barred_until].into_iter().flatten().min();
        // Those reserved before were looked at by the census before.
        let span = DELIVERY_SECONDS + OVERLAP_SECONDS;
        let unsettled_from = since.map_or(Timestamp::UNIX_EPOCH, |at| plus_seconds(at, -span));
        let mut settling = Settling::new(&self.app.store, self.channel);
        let mut found = Found::default();
        let mut written_at = self.app.clock.now();
        for prefix in self.census.prefixes(self.range).skip(usize::from(state.prefixes_done)) {
            loop {
                let page = self.app.store.people_page(self.channel, prefix, state.after.as_deref()).await?;
                for (to, person) in page.people {
                    let person = match person {
                        Some(person) => person,
                        None => self.app.store.person(&to).await?.person().clone(),
                    };
                    look.account(&to, &person, &mut state.tallies).await?;
                    look.at(&to, &person, &mut state, &mut found);
                    settling.see(&person, unsettled_from, plus_seconds(self.app.clock.now(), -DELIVERY_SECONDS));
                }
                settling.settle().await?;
                state.after = page.next;
                let is_end = state.after.is_none();
                state.prefixes_done += u16::from(is_end);
                let now = self.app.clock.now();
                if found.count >= BUFFERED_MAX || now >= plus_seconds(written_at, CHECKPOINT_SECONDS) {
                    if !self.write(&mut stored, &mut state, &mut found).await? {
                        return Ok(false);
                    }
                    written_at = now;
                }
                if is_end {
                    break;
                }
            }
        }
        look.end(&mut state);
        state.is_done = true;
        self.write(&mut stored, &mut state, &mut found).await
    }

    /// The campaigns that compete for people; one that has no broadcast and gets none yet would win people whom it cannot
    /// send to. Also when the first of those gets one.
    async fn competing(&self) -> Result<(Vec<Runner<'_>>, Option<Timestamp>), StoreError> {
        let mut runners = self.lineup.runners(self.census.as_of);
        let channel = &self.lineup.state.channel;
        if !channel.counts_broadcasts() {
            return Ok((runners, None));
        }
        let quota = self.app.store.quota(self.channel).await?;
        let barred = |runner: &Runner<'_>| quota.barred_until(channel, runner.live.id, self.census.as_of);
        let until = runners.iter().filter_map(barred).min();
        runners.retain(|runner| barred(runner).is_none());
        Ok((runners, until))
    }

    /// The occurrences that are over, by campaign: all of one have the same list.
    async fn closings<'b>(&self, untold: &'b [Over<'b>]) -> Result<Vec<Endings<'b>>, StoreError> {
        let mut all: Vec<Endings<'b>> = Vec::new();
        for over in untold {
            let closing = over.closing();
            match all.iter_mut().find(|one| one.id == closing.live.id) {
                Some(known) => known.closings.push(closing),
                None => {
                    let (id, prefixes) = (closing.live.id, self.census.prefixes(self.range));
                    let list = self.app.store.listed_openids(id, over.row, prefixes).await?;
                    all.push(Endings { id, row: over.row, list, closings: vec![closing] });
                }
            }
        }
        Ok(all)
    }

    /// Writes down what was found, then where to go on: pieces that no state names do not count.
    async fn write(
        &self,
        stored: &mut Option<Stored<RangeState>>,
        state: &mut RangeState,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        let now = self.app.clock.now();
        // Numbers of two tasks that work on the same range do not meet.
        let mut number = (state.epoch << 20) + u32::try_from(state.pieces.len()).unwrap_or(0);
        for ((line, rank, offer), openids) in std::mem::take(found).people {
            for part in openids.chunks(PIECE_MAX) {
                let generation = self.census.generation;
                let openids = part.to_vec();
                self.app.store.put_piece(self.channel, generation, self.range, number, openids, now).await?;
                let count = u32::try_from(part.len()).unwrap_or(0);
                state.pieces.push(Piece { number, line: line.clone(), rank, offer, count, taken: 0 });
                number += 1;
            }
        }
        self.checkpoint(stored, state).await
    }

    /// False when somebody else took over.
    async fn checkpoint(
        &self,
        stored: &mut Option<Stored<RangeState>>,
        state: &mut RangeState,
    ) -> Result<bool, StoreError> {
        let now = self.app.clock.now();
        state.use_by = Some(plus_seconds(now, OWNED_SECONDS));
        let (generation, next) = (self.census.generation, state.clone());
        let store = &self.app.store;
        match store.swap_range(self.channel, generation, self.range, stored.as_ref(), next, now).await? {
            Swap::Done(done) => {
                *stored = Some(done);
                Ok(true)
            }
            Swap::Conflict(_) => Ok(false),
        }
    }
}

/// What people are looked at with.
struct Look<'a, 'b> {
    walk: &'a Walk<'a>,
    entrants: Vec<Entrant<'b>>,
    lists: Vec<BTreeSet<String>>,
    closings: Vec<Endings<'b>>,
    zone: &'a TimeZone,
}

/// Occurrences of a campaign that are over.
struct Endings<'a> {
    id: CampaignId,
    row: &'a CampaignRow,
    /// Who of the range is on its list.
    list: BTreeSet<String>,
    closings: Vec<Closing<'a>>,
}

impl Look<'_, '_> {
    /// Makes room for what campaigns that are over were to people, unless a task before did. One that was stopped since the
    /// census began, or is told of by now, is as it was to that task.
    fn begin(&self, state: &mut RangeState) {
        for closing in self.closings.iter().flat_map(|endings| &endings.closings) {
            let (offer, ended_at) = (closing.ended.occurrence.id.offer_id(), closing.ended.at);
            let is_new = state.people == 0 && !state.tallies.iter().any(|one| one.offer == offer);
            if is_new {
                state.tallies.push(RangeTally { offer, ended_at, listed: 0, tally: Tally::default() });
            }
        }
    }

    /// Who is on a list and not in the ledger never gave a consent.
    fn end(&self, state: &mut RangeState) {
        for one in &mut state.tallies {
            let has_it = |endings: &&Endings<'_>| endings.closings.iter().any(|closing| closing.is_of(one));
            let listed = self.closings.iter().find(has_it).map_or(0, |endings| endings.list.len() as u64);
            one.tally.add_held_back(ReasonCode::NoGrant, listed.saturating_sub(one.listed));
        }
    }

    /// Counts what the occurrences that are over were to a person, once for all openids by which they are known here.
    async fn account(&self, to: &SubscriberId, person: &Person, tallies: &mut [RangeTally]) -> Result<(), StoreError> {
        for endings in &self.closings {
            let is_listed = endings.list.contains(&to.openid);
            let openids = self.meant(endings, to, person).await?;
            for closing in &endings.closings {
                let Some(one) = tallies.iter_mut().find(|one| closing.is_of(one)) else { continue };
                one.listed += u64::from(is_listed);
                if let Some(account) = self.field().account_of_all(closing, person, &openids) {
                    one.tally.add(&account);
                }
            }
        }
        Ok(())
    }

    /// The openids that may have got it, at the first of them; none at the others.
    async fn meant(
        &self,
        endings: &Endings<'_>,
        to: &SubscriberId,
        person: &Person,
    ) -> Result<Vec<SubscriberId>, StoreError> {
        let has_segment = endings.row.campaign.segment.is_some();
        if !has_segment && !endings.list.contains(&to.openid) {
            return Ok(Vec::new());
        }
        let mut meant = Vec::new();
        for openid in person.subscribers.iter().filter(|one| one.channel == to.channel).map(|one| &one.openid) {
            let openid = SubscriberId::new(&to.channel, openid);
            if has_segment || openid == *to || self.is_listed(endings, &openid).await? {
                meant.push(openid);
            }
        }
        Ok(match meant.first() {
            Some(first) if first == to => meant,
            Some(_) => Vec::new(),
            // Who was erased is known by none any more, and went out of all segments.
            None if has_segment => Vec::new(),
            None => vec![to.clone()],
        })
    }

    /// Whether another openid is on the list; it may be of another range. Hardly anybody has two on a channel.
    async fn is_listed(&self, endings: &Endings<'_>, to: &SubscriberId) -> Result<bool, StoreError> {
        let (prefix, walk) = (prefix(to), self.walk);
        if walk.census.prefixes(walk.range).contains(&prefix) {
            return Ok(endings.list.contains(&to.openid));
        }
        let listed = walk.app.store.listed_openids(endings.id, endings.row, prefix..=prefix).await?;
        Ok(listed.contains(&to.openid))
    }

    fn field(&self) -> Field<'_> {
        let lineup = self.walk.lineup;
        Field {
            channel: &lineup.state.channel,
            health: &lineup.state.health,
            zone: self.zone,
            cuts: lineup.cuts(),
            now: self.walk.census.as_of,
        }
    }

    fn at(&self, to: &SubscriberId, person: &Person, state: &mut RangeState, found: &mut Found) {
        let lineup = self.walk.lineup;
        state.people += 1;
        if lineup.asks_for_quintiles() && is_counted_here(to, person) {
            state.purchases.get_or_insert_default().add(&person.purchases, self.zone);
        }
        let field = self.field();
        let is_listed = |index: usize| self.lists.get(index).is_some_and(|list| list.contains(&to.openid));
        let contest = field.contest(&self.entrants, person, to, is_listed);
        state.ready_at = [state.ready_at, contest.ready_at].into_iter().flatten().min();
        for win in contest.wins {
            let line = win.offer.business_line.unwrap_or_default();
            found.people.entry((line, win.rank, win.offer.id)).or_default().push(to.openid.clone());
            found.count += 1;
        }
    }
}

/// A person with several subscribers on a channel is counted with the first.
fn is_counted_here(to: &SubscriberId, person: &Person) -> bool {
    let first = person.subscribers.iter().find(|subscriber| subscriber.channel == to.channel);
    first.is_some_and(|subscriber| subscriber.openid == to.openid)
}
