//! Campaigns in the table: what they are and where they stand, and the recipients of those that have a list.
//!
//! A campaign's row holds definition and state together and sorts by its end, so that one query finds everything on a
//! channel that is not over yet; a small row leads from the id to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::brake::Baseline;
use tidepost_core::campaign::{Campaign, Control, Ended, Status};
use tidepost_core::ids::{CampaignId, SubscriberId};
use tidepost_core::rfm::Cuts;
use tidepost_core::sweep::{LateFlight, Tally};
use tidepost_core::time::plus_seconds;

use crate::ledger;
use crate::store::{Key, LAST, Range, Store, StoreError, Stored, Swap};

/// The partition that leads from ids to rows.
const CAMPAIGNS: &str = "G";

/// How long a campaign is kept after its end, in seconds: as long as roll-ups.
const KEPT_SECONDS: i64 = 731 * 86_400;

/// How long a list is kept after its campaign's end, in seconds: it names people.
const LIST_KEPT_SECONDS: i64 = 86_400;

/// How often a change is decided again when somebody else was faster.
const UPDATE_TRIES: usize = 12;

/// How long ago a slot may have opened whose last sends are under way, in seconds.
const SLOTS_BACK_SECONDS: i64 = 180;

/// Bytes of openids in one item of a list at the most; DynamoDB takes 400 KB.
const CHUNK_BYTES_MAX: usize = 300_000;

/// Parts that a list may be added up of: each read of a range looks into every part.
pub const LIST_PARTS_MAX: usize = 100;

/// A campaign as it is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CampaignRow {
    /// What it is; never changes.
    #[serde(rename = "d")]
    pub campaign: Campaign,
    /// What was last commanded.
    #[serde(rename = "c")]
    pub control: Control,
    /// Where its recipients are, when it has no segment.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<ListPart>,
    /// Where the brake begins to count; there once it was started.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// What its occurrences that are over were to people; there once it was started.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Accounts>,
    /// Tells a repetition of the request from another one.
    #[serde(rename = "h")]
    pub body_hash: String,
}

/// What occurrences of a campaign that are over were to people.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Accounts {
    /// Those that ended by then are in it; at first the time at which it was started.
    #[serde(rename = "u")]
    pub until: Timestamp,
    /// How many occurrences.
    #[serde(rename = "o", default)]
    pub occurrences: u64,
    /// All of them together.
    #[serde(rename = "t", default)]
    pub tally: Tally,
}

impl Accounts {
    /// Nothing ended by `until` that is to be told of.
    #[must_use]
    pub fn since(until: Timestamp) -> Self {
        Self { until, occurrences: 0, tally: Tally::default() }
    }
}

/// One upload of a campaign's recipients.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListPart {
    /// Never used again, for other people.
    #[serde(rename = "i")]
    pub(crate) id: String,
    /// How many people it names.
    #[serde(rename = "n")]
    pub people: u64,
}

impl CampaignRow {
    /// Where the campaign stands at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        self.control.status(self.campaign.life(), now)
    }

    /// Whether it sends at `time`.
    #[must_use]
    pub fn is_running(&self, time: Timestamp) -> bool {
        self.status(time) == Status::Running
    }

    /// Whether it runs at some time from `from` to `to`, as it stands.
    #[must_use]
    pub fn runs_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.control.runs_between(self.campaign.life(), from, to)
    }

    /// The occurrences that ended by `by` and are not accounted for, the earliest first; none before it is started.
    pub fn untold(&self, id: CampaignId, by: Timestamp) -> impl Iterator<Item = Ended> + use<'_> {
        let all = move |accounts: &Accounts| self.campaign.all_ended_after(id, &self.control, Some(accounts.until), by);
        self.accounts.iter().flat_map(all)
    }

    /// The row once an occurrence that ended at `ended_at` is accounted for; the same where that was done, or where an
    /// earlier one is not accounted for.
    #[must_use]
    pub fn told(&self, id: CampaignId, ended_at: Timestamp, tally: &Tally) -> Self {
        let is_next = self.untold(id, ended_at).next().is_some_and(|ended| ended.at == ended_at);
        let Some(mut accounts) = self.accounts.clone().filter(|_| is_next) else { return self.clone() };
        accounts.until = ended_at;
        accounts.occurrences += 1;
        accounts.tally.merge(tally);
        Self { accounts: Some(accounts), ..self.clone() }
    }

    /// How many people its list names, each upload counted by itself.
    #[must_use]
    pub fn listed(&self) -> u64 {
        self.list.iter().map(|part| part.people).sum()
    }

    /// About how many of them are read for some prefixes of the ledger: people are spread evenly over groups of prefixes.
    #[must_use]
    pub fn listed_within(&self, prefixes: &RangeInclusive<u8>) -> u64 {
        let groups = u64::from(group(*prefixes.end()) - group(*prefixes.start())) + 1;
        self.listed().saturating_mul(groups) / (u64::from(group(u8::MAX)) + 1)
    }
}

/// A page of campaigns.
#[derive(Debug)]
pub struct CampaignPage {
    /// Ids and campaigns, by id.
    pub items: Vec<(CampaignId, CampaignRow)>,
    /// The id to go on after; `None` at the end.
    pub next: Option<String>,
}

/// What became of changing a campaign.
#[derive(Debug)]
pub enum Changed<E> {
    /// It is as given.
    Done(Box<CampaignRow>),
    /// The change is not allowed.
    Refused(E),
    /// There is no such campaign.
    Unknown,
}

/// Leads to a campaign's row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Place {
    #[serde(rename = "c")]
    channel: String,
    #[serde(rename = "u")]
    until: Timestamp,
}

impl Place {
    fn key(&self, id: CampaignId) -> Key {
        Key::new(partition(&self.channel), format!("{:010}#{id}", self.until.as_second()))
    }
}

/// Openids of one list whose people are near each other in the ledger, sorted, one to a line.
#[derive(Debug, Deserialize, Serialize)]
struct Chunk {
    #[serde(rename = "o")]
    openids: String,
}

fn partition(channel: &str) -> String {
    format!("{CAMPAIGNS}#{channel}")
}

fn place_key(id: CampaignId) -> Key {
    Key::new(CAMPAIGNS, id.whole().to_string())
}

fn list_partition(id: CampaignId, part: &str) -> String {
    format!("GL#{}#{part}", id.whole())
}

/// Prefixes of the ledger's keys are listed in sixteen groups.
fn group(prefix: u8) -> u8 {
    prefix >> 4
}

fn id_of(sort_key: &str) -> Option<CampaignId> {
    CampaignId::parse(sort_key.rsplit('#').next()?)
}

/// Where the quintiles of a channel's buyers meet, and when that was counted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RfmCuts {
    /// The cuts; `None` while nobody bought anything.
    #[serde(rename = "c")]
    pub cuts: Option<Cuts>,
    /// When counting began.
    #[serde(rename = "a")]
    pub as_of: Timestamp,
}

fn cuts_key(channel: &str) -> Key {
    Key::new("V", channel)
}

impl Store {
    /// Stores a new campaign; returns whether it is there now and says what is given. False: the id stands for another
    /// definition.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; repeating it finishes what was begun.
    pub async fn create_campaign(&self, id: CampaignId, row: &CampaignRow) -> Result<bool, StoreError> {
        let place = Place { channel: row.campaign.channel.clone(), until: row.campaign.until };
        let expires_at = Some(expires_at(&row.campaign));
        if !self.put_new(&place_key(id), &place, expires_at).await? {
            let known: Option<Stored<Place>> = self.get(&place_key(id)).await?;
            if known.is_none_or(|known| known.value != place) {
                return Ok(false);
            }
        }
        match self.swap(&place.key(id), None, row.clone(), expires_at).await? {
            Swap::Done(_) => Ok(true),
            Swap::Conflict(known) => Ok(known.is_some_and(|known| known.value.body_hash == row.body_hash)),
        }
    }

    /// One campaign, by its own id or that of one of its occurrences.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn campaign(&self, id: CampaignId) -> Result<Option<CampaignRow>, StoreError> {
        Ok(self.stored_campaign(id).await?.map(|(_, stored)| stored.value))
    }

    async fn stored_campaign(&self, id: CampaignId) -> Result<Option<(Key, Stored<CampaignRow>)>, StoreError> {
        let place: Option<Stored<Place>> = self.get(&place_key(id)).await?;
        let Some(place) = place else { return Ok(None) };
        let key = place.value.key(id.whole());
        Ok(self.get(&key).await?.map(|stored| (key, stored)))
    }

    /// Campaigns in the order of their ids, from the one after `after`; `channel` leaves out those of others.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn campaigns(
        &self,
        channel: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<CampaignPage, StoreError> {
        let mut places: Vec<(CampaignId, Place)> = Vec::new();
        let mut next = after.map(str::to_owned);
        while places.len() < limit {
            let missing = i32::try_from(limit - places.len()).unwrap_or(i32::MAX);
            let range = Range { after: next.as_deref(), limit: missing, ..Range::all(CAMPAIGNS) };
            let page = self.query::<Place>(&range).await?;
            let wanted = page.items.into_iter().filter(|(_, place)| channel.is_none_or(|one| place.channel == one));
            places.extend(wanted.filter_map(|(id, place)| Some((CampaignId::parse(&id)?, place))));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let keys: Vec<Key> = places.iter().map(|(id, place)| place.key(*id)).collect();
        let mut rows = self.get_many::<CampaignRow>(&keys).await?;
        let row = |((id, _), key): (&(CampaignId, Place), &Key)| Some((*id, rows.remove(key).flatten()?.value));
        Ok(CampaignPage { items: places.iter().zip(&keys).filter_map(row).collect(), next })
    }

    /// The campaigns of a channel that end after `time`, in whatever state, by their end: one query.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn campaigns_ending_after(
        &self,
        channel: &str,
        time: Timestamp,
    ) -> Result<Vec<(CampaignId, CampaignRow)>, StoreError> {
        let partition = partition(channel);
        // Ends within the second of `time` are told apart below.
        let from = format!("{:010}", time.as_second());
        let rows = self.query_all::<CampaignRow>(&Range { from: &from, ..Range::all(&partition) }).await?;
        let rows = rows.into_iter().filter(|(_, row)| row.campaign.until > time);
        Ok(rows.filter_map(|(key, row)| Some((id_of(&key)?, row))).collect())
    }

    /// The campaigns of a channel that run at `time`, which may be that of an edge to come: one query.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn live_campaigns(
        &self,
        channel: &str,
        time: Timestamp,
    ) -> Result<Vec<(CampaignId, CampaignRow)>, StoreError> {
        let mut rows = self.campaigns_ending_after(channel, time).await?;
        rows.retain(|(_, row)| row.is_running(time));
        Ok(rows)
    }

    /// Changes where a campaign stands, however often others get in between.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times.
    pub async fn change_campaign<E>(
        &self,
        id: CampaignId,
        mut change: impl FnMut(&CampaignRow) -> Result<CampaignRow, E>,
    ) -> Result<Changed<E>, StoreError> {
        let Some((key, mut stored)) = self.stored_campaign(id).await? else { return Ok(Changed::Unknown) };
        for _ in 0..UPDATE_TRIES {
            let next = match change(&stored.value) {
                Ok(next) => next,
                Err(refused) => return Ok(Changed::Refused(refused)),
            };
            if next == stored.value {
                return Ok(Changed::Done(Box::new(next)));
            }
            let expires_at = Some(expires_at(&next.campaign));
            match self.swap(&key, Some(&stored), next, expires_at).await? {
                Swap::Done(stored) => return Ok(Changed::Done(Box::new(stored.value))),
                Swap::Conflict(Some(current)) => stored = current,
                Swap::Conflict(None) => return Ok(Changed::Unknown),
            }
        }
        Err(StoreError::Call { operation: "update", detail: "the campaign changed too often at once".to_owned() })
    }

    /// At most how many sends may still start on a channel after campaigns were changed and that is stored by now,
    /// whichever campaign they were of: a flight may give a person another one than was planned.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn at_most_more(&self, channel: &str, now: Timestamp) -> Result<u64, StoreError> {
        let skew_milliseconds = self.channel(channel).await?.map_or(0, |channel| channel.skew_milliseconds);
        let (plans, late) = futures::try_join!(
            self.slot_plans(channel, plus_seconds(now, -SLOTS_BACK_SECONDS)),
            self.late_flights(channel, LateFlight::earliest(now, skew_milliseconds)),
        )?;
        let planned: u64 = plans.iter().map(|plan| plan.in_flight(now, skew_milliseconds)).sum();
        Ok(planned + late.iter().map(|late| late.people).sum::<u64>())
    }

    /// Stores openids as a part of a campaign's list. It counts once the part stands in the campaign's row.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; what was stored meanwhile goes with the campaign.
    pub async fn put_list_part(
        &self,
        id: CampaignId,
        campaign: &Campaign,
        openids: &BTreeSet<String>,
    ) -> Result<ListPart, StoreError> {
        let part = data_encoding::HEXLOWER.encode(&crate::clock::random::<6>());
        let partition = list_partition(id, &part);
        let expires_at = plus_seconds(campaign.until, LIST_KEPT_SECONDS);
        for (sort_key, chunk) in chunks(&campaign.channel, openids) {
            self.put(&Key::new(&partition, sort_key), &chunk, Some(expires_at)).await?;
        }
        Ok(ListPart { id: part, people: openids.len() as u64 })
    }

    /// Deletes what a part of a list said. Done after the part was taken out of the campaign's row.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; what is left goes with the campaign.
    pub async fn delete_list_part(&self, id: CampaignId, part: &ListPart) -> Result<(), StoreError> {
        let partition = list_partition(id, &part.id);
        for (sort_key, _) in self.query_all::<serde::de::IgnoredAny>(&Range::all(&partition)).await? {
            self.delete(&Key::new(&partition, sort_key)).await?;
        }
        Ok(())
    }

    /// The openids of a campaign's list whose keys in the ledger begin with one of `prefixes`; each once.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn listed_openids(
        &self,
        id: CampaignId,
        row: &CampaignRow,
        prefixes: RangeInclusive<u8>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let from = format!("{:x}", group(*prefixes.start()));
        let to = format!("{:x}#{LAST}", group(*prefixes.end()));
        let mut openids = BTreeSet::new();
        for part in &row.list {
            let partition = list_partition(id, &part.id);
            let range = Range { from: &from, to: &to, ..Range::all(&partition) };
            for (_, chunk) in self.query_all::<Chunk>(&range).await? {
                let is_meant = |openid: &&str| prefixes.contains(&prefix(&row.campaign.channel, openid));
                openids.extend(chunk.openids.lines().filter(is_meant).map(str::to_owned));
            }
        }
        Ok(openids)
    }

    /// Where the quintiles of a channel's buyers meet.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn rfm_cuts(&self, channel: &str) -> Result<Option<RfmCuts>, StoreError> {
        let stored: Option<Stored<RfmCuts>> = self.get(&cuts_key(channel)).await?;
        Ok(stored.map(|stored| stored.value))
    }

    /// Notes where the quintiles of a channel's buyers meet.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_rfm_cuts(&self, channel: &str, cuts: &RfmCuts) -> Result<(), StoreError> {
        self.put(&cuts_key(channel), cuts, None).await
    }
}

fn expires_at(campaign: &Campaign) -> Timestamp {
    plus_seconds(campaign.until, KEPT_SECONDS)
}

fn prefix(channel: &str, openid: &str) -> u8 {
    ledger::prefix(&SubscriberId::new(channel, openid))
}

/// Openids in items that fit the table, by the groups of their keys in the ledger.
fn chunks(channel: &str, openids: &BTreeSet<String>) -> Vec<(String, Chunk)> {
    let mut groups: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for openid in openids {
        let texts = groups.entry(group(prefix(channel, openid))).or_default();
        match texts.last_mut().filter(|text| text.len() + openid.len() < CHUNK_BYTES_MAX) {
            Some(text) => {
                text.push('\n');
                text.push_str(openid);
            }
            None => texts.push(openid.clone()),
        }
    }
    let named = |(group, texts): (u8, Vec<String>)| {
        let numbered = texts.into_iter().enumerate();
        numbered.map(move |(number, openids)| (format!("{group:x}#{number:04}"), Chunk { openids }))
    };
    groups.into_iter().flat_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_into_items_that_fit_and_lose_nobody() {
        let openids: BTreeSet<String> =
            (0..200_000).map(|number| format!("o6_bmjrPTlm6_2sgVt7hM{number:07}")).collect();
        let chunks = chunks("shop", &openids);
        assert!(chunks.iter().all(|(_, chunk)| chunk.openids.len() <= CHUNK_BYTES_MAX));
        assert_eq!(chunks.len(), 32, "12,500 openids of 29 bytes in each of 16 groups");
        let back: Vec<&str> = chunks.iter().flat_map(|(_, chunk)| chunk.openids.lines()).collect();
        assert_eq!(back.len(), openids.len());
        assert!(back.iter().all(|openid| openids.contains(*openid)));
        let (first, chunk) = &chunks[0];
        assert_eq!(first, "0#0000");
        assert!(chunk.openids.lines().all(|openid| prefix("shop", openid) < 16));
    }
}
