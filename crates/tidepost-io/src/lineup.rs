//! The campaigns of a channel that compete at a time, with everything that sweep and dispatch ask them about people.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use tidepost_core::campaign::Live;
use tidepost_core::digest;
use tidepost_core::ids::CampaignId;
use tidepost_core::rfm::Cuts;
use tidepost_core::template::Template;

use crate::campaigns::{CampaignRow, RfmCuts};
use crate::channels::ChannelState;
use crate::store::{Store, StoreError};

/// Campaigns as they stand.
#[derive(Clone, Debug)]
pub struct Lineup {
    /// The channel.
    pub state: ChannelState,
    rows: Vec<(CampaignId, CampaignRow)>,
    cuts: Option<RfmCuts>,
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
        let (state, rows) = futures::try_join!(self.channel_state(channel), self.live_campaigns(channel, at))?;
        let Some(state) = state else { return Ok(None) };
        let mut lineup = Lineup { state, rows, cuts: None };
        if lineup.asks_for_quintiles() {
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
        let asks = |row: &CampaignRow| {
            let variants = row.campaign.variants.iter().map(|variant| &variant.segment);
            row.campaign
                .segment
                .iter()
                .chain(variants)
                .any(|segment| serde_json::to_string(segment).is_ok_and(|text| text.contains("rfm.")))
        };
        self.rows.iter().any(|(_, row)| asks(row))
    }

    /// Where the quintiles meet, if a segment asks for them.
    #[must_use]
    pub fn cuts(&self) -> Option<&Cuts> {
        self.cuts.as_ref()?.cuts.as_ref()
    }

    /// Whether quintiles are asked for that nobody has counted yet.
    #[must_use]
    pub fn lacks_quintiles(&self) -> bool {
        self.cuts.is_none() && self.asks_for_quintiles()
    }

    /// The campaigns whose words still fit their templates, worked out for `at`.
    #[must_use]
    pub fn runners(&self, at: Timestamp) -> Vec<Runner<'_>> {
        self.rows.iter().filter_map(|(id, row)| self.runner(*id, row, at)).collect()
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
