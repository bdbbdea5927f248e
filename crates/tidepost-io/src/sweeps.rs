//! The sweeping of channels in the table: where each stands, plans of slots, and rosters.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::campaign::{Control, Status};
use tidepost_core::ids::{Nonce, SubscriberId};
use tidepost_core::person::Person;
use tidepost_core::rfm::Histograms;
use tidepost_core::sweep::{
    Census, Cut, LateFlight, Openids, Piece, Progress, RangeTally, SETTLED_SECONDS, SlotPlan, UNTOLD_SECONDS,
};
use tidepost_core::time::{fixed_period, plus_seconds};

use crate::store::{Key, LAST, Range, Store, StoreError, Stored, Swap};

/// How long rosters and plans are kept, in seconds.
const KEPT_SECONDS: i64 = 2 * 86_400;

/// How often release looks, in seconds.
const TICK_SECONDS: u32 = 60;

/// How long before its start a campaign's people are looked at at the latest, in seconds.
const START_AHEAD_SECONDS: i64 = 5;

/// How long the census that accounts for a campaign may be waited for, in seconds.
const ACCOUNTS_SECONDS: i64 = 300;

/// People in a page at the most; DynamoDB ends a page at 1 MB.
const PAGE_PEOPLE: i32 = 1_000;

/// A range of one census: how far the people of it are looked at, then how far its roster is handed out.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RangeState {
    /// Grows with every task that takes the range over: what an earlier one still writes does not count.
    #[serde(rename = "e", default)]
    pub epoch: u32,
    /// Nobody else takes the range over before this.
    #[serde(rename = "u", default)]
    pub use_by: Option<Timestamp>,
    /// Key prefixes that are done.
    #[serde(rename = "p", default)]
    pub prefixes_done: u16,
    /// The last openid of the next prefix that was looked at.
    #[serde(rename = "a", default)]
    pub after: Option<String>,
    /// Whether everybody was looked at.
    #[serde(rename = "d", default)]
    pub is_done: bool,
    /// People so far.
    #[serde(rename = "n", default)]
    pub people: u64,
    /// When the first of those that must wait may go.
    #[serde(rename = "w", default)]
    pub ready_at: Option<Timestamp>,
    /// What they bought, where a segment asks for it.
    #[serde(rename = "b", default)]
    pub purchases: Option<Histograms>,
    /// What campaigns that are over were to them.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub tallies: Vec<RangeTally>,
    /// The roster.
    #[serde(rename = "r", default)]
    pub pieces: Vec<Piece>,
    /// What was handed out of it for slots that may not be over, the latest last.
    #[serde(rename = "h", default)]
    pub handed_out: Vec<HandedOut>,
}

/// What a range handed out for one slot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HandedOut {
    /// When the slot opens.
    #[serde(rename = "s")]
    pub slot: Timestamp,
    /// When it closes.
    #[serde(rename = "e")]
    pub closes_at: Timestamp,
    /// Who.
    #[serde(rename = "c")]
    pub cuts: Vec<Cut>,
}

impl RangeState {
    /// People left on the roster.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.left())).sum()
    }
}

/// Who is in a piece.
#[derive(Debug, Deserialize, Serialize)]
struct PieceItem {
    #[serde(rename = "o")]
    openids: Openids,
}

/// People of one prefix, and where to go on.
#[derive(Debug)]
pub struct PeoplePage {
    /// Subscribers with their people; `None` where a pointer leads elsewhere.
    pub people: Vec<(SubscriberId, Option<Person>)>,
    /// The openid to go on after; `None` at the end.
    pub next: Option<String>,
}

fn partition(channel: &str) -> String {
    format!("B#{channel}")
}

fn progress_key(channel: &str) -> Key {
    Key::new(partition(channel), "progress")
}

fn slot_key(channel: &str, slot: Timestamp) -> Key {
    Key::new(partition(channel), format!("slot#{:010}", slot.as_second()))
}

/// In the order in which they came.
fn late_text(came_at: Timestamp) -> String {
    format!("late#{:013}", came_at.as_millisecond())
}

fn range_key(channel: &str, generation: u32, range: u16) -> Key {
    Key::new(partition(channel), format!("range#{generation:010}#{range:02}"))
}

fn piece_key(channel: &str, generation: u32, range: u16, number: u32) -> Key {
    Key::new(format!("B#{channel}#{range:02}"), format!("{generation:010}#{number:08}"))
}

impl Store {
    /// Where a channel's sweeping stands.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn progress(&self, channel: &str) -> Result<Option<Stored<Progress>>, StoreError> {
        self.get(&progress_key(channel)).await
    }

    /// Replaces it if nobody else did; returns whether it was replaced.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn swap_progress(
        &self,
        channel: &str,
        old: Option<&Stored<Progress>>,
        progress: Progress,
    ) -> Result<bool, StoreError> {
        let swapped = self.swap(&progress_key(channel), old, progress, None).await?;
        Ok(matches!(swapped, Swap::Done(_)))
    }

    /// The plan of the slot that opens at `slot`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn slot_plan(&self, channel: &str, slot: Timestamp) -> Result<Option<SlotPlan>, StoreError> {
        let stored: Option<Stored<SlotPlan>> = self.get(&slot_key(channel, slot)).await?;
        Ok(stored.map(|stored| stored.value))
    }

    /// Stores a slot's plan; false when it has one already.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; it may be stored all the same.
    pub async fn put_slot_plan(&self, channel: &str, plan: &SlotPlan) -> Result<bool, StoreError> {
        let expires_at = plus_seconds(plan.slot.closes_at, KEPT_SECONDS);
        self.put_new(&slot_key(channel, plan.slot.opens_at), plan, Some(expires_at)).await
    }

    /// The plans of the slots that open from `from` on.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn slot_plans(&self, channel: &str, from: Timestamp) -> Result<Vec<SlotPlan>, StoreError> {
        let partition = partition(channel);
        let (from, to) = (slot_key(channel, from).sk, format!("slot#{LAST}"));
        let rows = self.query_all(&Range { from: &from, to: &to, ..Range::all(&partition) }).await?;
        Ok(rows.into_iter().map(|(_, plan)| plan).collect())
    }

    /// Notes a flight that came late.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_late_flight(&self, channel: &str, flight: Nonce, late: LateFlight) -> Result<(), StoreError> {
        let key = Key::new(partition(channel), format!("{}#{flight}", late_text(late.came_at)));
        self.put(&key, &late, Some(plus_seconds(late.came_at, KEPT_SECONDS))).await
    }

    /// The flights that came late from `from` on.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn late_flights(&self, channel: &str, from: Timestamp) -> Result<Vec<LateFlight>, StoreError> {
        let partition = partition(channel);
        let (from, to) = (late_text(from), format!("late#{LAST}"));
        let rows = self.query_all(&Range { from: &from, to: &to, ..Range::all(&partition) }).await?;
        Ok(rows.into_iter().map(|(_, late)| late).collect())
    }

    /// One range of a census.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn range_state(
        &self,
        channel: &str,
        generation: u32,
        range: u16,
    ) -> Result<Option<Stored<RangeState>>, StoreError> {
        self.get(&range_key(channel, generation, range)).await
    }

    /// All ranges of a census, in order; a range that nobody began is as at its beginning.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn range_states(&self, channel: &str, census: &Census) -> Result<Vec<RangeState>, StoreError> {
        let keys: Vec<Key> = (0..census.ranges).map(|range| range_key(channel, census.generation, range)).collect();
        let mut stored = self.get_many::<RangeState>(&keys).await?;
        Ok(keys.iter().map(|key| stored.remove(key).flatten().map(|stored| stored.value).unwrap_or_default()).collect())
    }

    /// Replaces a range's state if nobody else did.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn swap_range(
        &self,
        channel: &str,
        generation: u32,
        range: u16,
        old: Option<&Stored<RangeState>>,
        state: RangeState,
        now: Timestamp,
    ) -> Result<Swap<RangeState>, StoreError> {
        let key = range_key(channel, generation, range);
        self.swap(&key, old, state, Some(plus_seconds(now, KEPT_SECONDS))).await
    }

    /// Stores who is in a piece.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_piece(
        &self,
        channel: &str,
        generation: u32,
        range: u16,
        number: u32,
        openids: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = piece_key(channel, generation, range, number);
        self.put(&key, &PieceItem { openids: Openids(openids) }, Some(plus_seconds(now, KEPT_SECONDS))).await
    }

    /// Who is in a cut, in order.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or a piece is of an unknown form.
    pub async fn openids(
        &self,
        channel: &str,
        generation: u32,
        range: u16,
        cut: &Cut,
    ) -> Result<Vec<String>, StoreError> {
        let key = piece_key(channel, generation, range, cut.number);
        let stored: Option<Stored<PieceItem>> = self.get(&key).await?;
        let openids = stored.map(|stored| stored.value.openids.0).unwrap_or_default();
        let (from, to) = (usize::try_from(cut.from).unwrap_or(0), usize::try_from(cut.to).unwrap_or(0));
        Ok(openids.into_iter().take(to).skip(from).collect())
    }

    /// When campaigns have something to do next, as far as is known.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn next_sweep(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let tick = fixed_period(TICK_SECONDS, now).closes_at;
        let mut next = Vec::new();
        for channel in self.channels().await?.keys() {
            let rows = self.campaigns_ending_after(channel, plus_seconds(now, -UNTOLD_SECONDS)).await?;
            let untold = rows.iter().filter_map(|(id, row)| row.untold(*id, Timestamp::MAX).next());
            let accounts = untold.map(|ended| plus_seconds(ended.at, SETTLED_SECONDS));
            // One that cannot be accounted for does not keep time from passing.
            let accounts = accounts.filter(|at| now < plus_seconds(*at, ACCOUNTS_SECONDS));
            next.extend(accounts.map(|at| if at > now { at } else { tick }));
            let started = rows.iter().filter(|(_, row)| row.control == Control::Started);
            let starts = started.filter_map(|(_, row)| row.campaign.next_start(now));
            next.extend(starts.map(|at| plus_seconds(at, -START_AHEAD_SECONDS).max(now)));
            let is_running = rows.iter().any(|(_, row)| row.status(now) == Status::Running);
            let progress = self.progress(channel).await?.map(|stored| stored.value);
            let look_at = progress.as_ref().and_then(|progress| progress.look_at);
            next.extend(look_at.map(|at| if at > now { at } else { tick }));
            next.extend((is_running && progress.is_none()).then_some(tick));
        }
        Ok(next.into_iter().min())
    }

    /// A page of the people of a channel whose keys have one prefix. May be a moment old.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn people_page(&self, channel: &str, prefix: u8, after: Option<&str>) -> Result<PeoplePage, StoreError> {
        let partition = format!("P#{prefix:02x}");
        let (from, to) = (format!("{channel}#"), format!("{channel}#{LAST}"));
        let after = after.map(|openid| format!("{channel}#{openid}"));
        let range = Range { pk: &partition, from: &from, to: &to, after: after.as_deref(), limit: PAGE_PEOPLE };
        let (items, next) = self.query_stored::<Person>(&range, false).await?;
        let openid = |sk: &str| sk.strip_prefix(from.as_str()).map(str::to_owned);
        let person = |stored: Stored<Person>| {
            let id = SubscriberId::new(channel, openid(&stored.key().sk)?);
            let is_pointer = stored.points_to().is_some();
            Some((id, (!is_pointer).then_some(stored.value)))
        };
        let next = next.and_then(|sk| openid(&sk));
        Ok(PeoplePage { people: items.into_iter().filter_map(person).collect(), next })
    }
}
