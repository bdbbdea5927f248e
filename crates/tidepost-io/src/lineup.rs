//! The campaigns of a channel that compete at a time, with everything that sweep and dispatch ask them about people.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use tidepost_core::campaign::{Ended, Live};
use tidepost_core::digest;
use tidepost_core::ids::CampaignId;
use tidepost_core::rfm::Cuts;
use tidepost_core::sweep::Closing;
use tidepost_core::template::Template;
use tidepost_core::time::plus_seconds;

use crate::campaigns::{CampaignRow, RfmCuts};
use crate::channels::ChannelState;
use crate::store::{Store, StoreError};

/// Campaigns as they stand.
#[derive(Clone, Debug)]
pub struct Lineup {
    /// The channel.
    pub state: ChannelState,
    known: Vec<(CampaignId, CampaignRow)>,
    at: Timestamp,
    cuts: Option<RfmCuts>,
}

/// Occurrences that are accounted for at once, at the most: each is counted in the state of every range.
const UNTOLD_MAX: usize = 200;

/// An occurrence that is over and not accounted for.
#[derive(Clone, Debug)]
pub struct Over<'a> {
    /// When it ended, and how.
    pub ended: Ended,
    live: Live<'a>,
    template: Option<&'a Template>,
    /// The campaign's row.
    pub row: &'a CampaignRow,
}

impl<'a> Over<'a> {
    /// Works an occurrence out for its last moment; `None` where this version does not read its segment. `template` is the
    /// campaign's, if there still is one.
    #[must_use]
    pub fn new(id: CampaignId, row: &'a CampaignRow, ended: Ended, template: Option<&'a Template>) -> Option<Self> {
        let at = ended.last_moment();
        let fitting = template.and_then(|template| Some((Live::new(id, &row.campaign, template, at).ok()??, template)));
        let (live, template) = match fitting {
            Some((live, template)) => (live, Some(template)),
            None => (Live::without_words(id, &row.campaign, at).ok()??, None),
        };
        Some(Self { ended, live, template, row })
    }

    /// What tells whom it was for.
    #[must_use]
    pub fn closing(&self) -> Closing<'_> {
        Closing { live: &self.live, template: self.template, ended: self.ended }
    }
}

/// One of them at work.
#[derive(Clone, Debug)]
pub struct Runner<'a> {
    /// The campaign.
    pub live: Live<'a>,
    /// Its template.
    pub template: &'a Template,
    /// Its row.
    pub row: &'a CampaignRow,
}

impl Store {
    /// The campaigns of a channel that run at `at`; `None` without such a channel.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn lineup(&self, channel: &str, at: Timestamp) -> Result<Option<Lineup>, StoreError> {
        self.lineup_since(channel, at, at).await
    }

    /// The same, with those that ended after `since` and may be told of.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn lineup_since(
        &self,
        channel: &str,
        at: Timestamp,
        since: Timestamp,
    ) -> Result<Option<Lineup>, StoreError> {
        let known = self.campaigns_ending_after(channel, since);
        let (state, known) = futures::try_join!(self.channel_state(channel), known)?;
        let Some(state) = state else { return Ok(None) };
        let mut lineup = Lineup { state, known, at, cuts: None };
        if lineup.known.iter().any(|(_, row)| asks_for_quintiles(row)) {
            lineup.cuts = self.rfm_cuts(channel).await?;
        }
        Ok(Some(lineup))
    }

    /// Who of a range of the ledger is on a campaign's list.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn listed(
        &self,
        runner: &Runner<'_>,
        prefixes: RangeInclusive<u8>,
    ) -> Result<BTreeSet<String>, StoreError> {
        if runner.row.campaign.segment.is_some() {
            return Ok(BTreeSet::new());
        }
        self.listed_openids(runner.live.id, runner.row, prefixes).await
    }
}

impl Lineup {
    /// Whether a segment asks where people stand among the channel's buyers.
    #[must_use]
    pub fn asks_for_quintiles(&self) -> bool {
        self.running().any(|(_, row)| asks_for_quintiles(row))
    }

    /// Where the quintiles meet, if a segment asks for them.
    #[must_use]
    pub fn cuts(&self) -> Option<&Cuts> {
        self.cuts.as_ref()?.cuts.as_ref()
    }

    /// The same, with when that was counted.
    #[must_use]
    pub fn rfm_cuts(&self) -> Option<&RfmCuts> {
        self.cuts.as_ref()
    }

    /// The campaigns whose words still fit their templates, worked out for `at`.
    #[must_use]
    pub fn runners(&self, at: Timestamp) -> Vec<Runner<'_>> {
        self.running().filter_map(|(id, row)| self.runner(*id, row, at)).collect()
    }

    /// Whether none runs at the moment that this is of.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running().next().is_none()
    }

    /// When the first campaign ends that runs at `now`, but not at the moment that this is of any more, and was let go at most
    /// `seconds` before its end.
    #[must_use]
    pub fn short_run_ends(&self, now: Timestamp, seconds: i64) -> Option<Timestamp> {
        let end = |(_, row): &(CampaignId, CampaignRow)| {
            let life = row.campaign.life();
            let since = row.baseline.map_or(life.opens_at, |baseline| baseline.since.max(life.opens_at));
            let is_left_out = row.is_running(now) && life.closes_at <= self.at;
            let is_short = since >= plus_seconds(life.closes_at, -seconds);
            (is_left_out && is_short).then_some(life.closes_at)
        };
        self.known.iter().filter_map(end).min()
    }

    /// The same campaigns, those that run at `at`.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    fn running(&self) -> impl Iterator<Item = &(CampaignId, CampaignRow)> {
        self.known.iter().filter(|(_, row)| row.is_running(self.at))
    }

    /// Occurrences that ended by `by` and are not accounted for, the earliest first; as many as are counted at once.
    #[must_use]
    pub fn untold(&self, by: Timestamp) -> Vec<Over<'_>> {
        let mut all: Vec<(CampaignId, &CampaignRow, Ended)> = Vec::new();
        for (id, row) in &self.known {
            all.extend(row.untold(*id, by).take(UNTOLD_MAX).map(|ended| (*id, row, ended)));
        }
        all.sort_by_key(|(.., ended)| ended.at);
        let template = |row: &CampaignRow| self.state.templates.get(&row.campaign.template);
        let first = all.into_iter().take(UNTOLD_MAX);
        first.filter_map(|(id, row, ended)| Over::new(id, row, ended, template(row))).collect()
    }

    fn runner<'a>(&'a self, id: CampaignId, row: &'a CampaignRow, at: Timestamp) -> Option<Runner<'a>> {
        let Some(template) = self.state.templates.get(&row.campaign.template) else {
            tracing::warn!(campaign = %id, "a campaign waits: its template is gone");
            return None;
        };
        match Live::new(id, &row.campaign, template, at) {
            Ok(live) => live.map(|live| Runner { live, template, row }),
            Err(invalid) => {
                tracing::warn!(campaign = %id, ?invalid, "a campaign waits: it does not fit its template any more");
                None
            }
        }
    }
}

fn asks_for_quintiles(row: &CampaignRow) -> bool {
    let variants = row.campaign.variants.iter().map(|variant| &variant.segment);
    let mut segments = row.campaign.segment.iter().chain(variants);
    segments.any(|segment| serde_json::to_string(segment).is_ok_and(|text| text.contains("rfm.")))
}

/// Tells one set of campaigns from another: occurrences and lists.
#[must_use]
pub fn digest_of(runners: &[Runner<'_>]) -> Option<[u8; 8]> {
    let mut parts: Vec<Vec<u8>> = runners
        .iter()
        .map(|runner| {
            // Another list has other parts, also where it is as long.
            let parts: Vec<&[u8]> = runner.row.list.iter().map(|part| part.id.as_bytes()).collect();
            [&runner.live.occurrence.id.offer_id().to_bytes()[..], &parts.concat()[..]].concat()
        })
        .collect();
    parts.sort();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    (!parts.is_empty()).then(|| digest::short(&parts))
}
