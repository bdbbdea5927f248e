//! A campaign at work: what a sweep offers to whom, and what dispatch then says.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::campaign::content::{Content, Source};
use crate::campaign::text::Filling;
use crate::campaign::{Campaign, DEFAULT_VARIANT, Occurrence, Variant};
use crate::category::Urgency;
use crate::channel::Channel;
use crate::choice::Merit;
use crate::decide::Offer;
use crate::ids::{CampaignId, SubscriberId};
use crate::invalid::Invalid;
use crate::person::Person;
use crate::segment::{Facts, Segment};
use crate::template::Template;

/// A campaign with everything worked out that is the same for all people.
#[derive(Clone, Debug)]
pub struct Live<'a> {
    /// Its id.
    pub id: CampaignId,
    /// Its definition.
    pub campaign: &'a Campaign,
    /// The occurrence under way.
    pub occurrence: Occurrence,
    /// Whom it is for; `None`: those on its list.
    audience: Option<Segment>,
    /// Whom the variants are for, in order.
    variants: Vec<Segment>,
    /// The variants' words, in order; last those for everybody else.
    contents: Vec<Content>,
}

/// What one person is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words<'a> {
    /// The variant's id.
    pub variant: &'a str,
    /// All of the template's fields.
    pub data: BTreeMap<String, String>,
    /// Where a tap leads.
    pub page: Option<String>,
}

impl<'a> Live<'a> {
    /// Works a campaign out for the occurrence under way at `now`; `None` when there is none.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that does not fit the template any more.
    pub fn new(
        id: CampaignId,
        campaign: &'a Campaign,
        template: &Template,
        now: Timestamp,
    ) -> Result<Option<Self>, Vec<Invalid>> {
        let Some(live) = Self::without_words(id, campaign, now)? else { return Ok(None) };
        let nothing = BTreeMap::new();
        let own = Source {
            campaign: id,
            template,
            variant: DEFAULT_VARIANT,
            at: "",
            data: &campaign.data,
            overrides: &nothing,
            fallback: &campaign.fallback,
            page: campaign.page.as_deref(),
        };
        let of_variant = |variant: &Variant| {
            let page = variant.page.as_deref().or(own.page);
            Content::compile(Source { variant: &variant.id, overrides: &variant.data, page, ..own })
        };
        let contents = campaign.variants.iter().map(of_variant).chain([Content::compile(own)]);
        Ok(Some(Self { contents: contents.collect::<Result<_, _>>()?, ..live }))
    }

    /// The same where nothing is said to anybody: whom it is for is known also when its template is gone.
    ///
    /// # Errors
    /// The [`Invalid`] of a segment that this version does not read.
    pub fn without_words(id: CampaignId, campaign: &'a Campaign, now: Timestamp) -> Result<Option<Self>, Vec<Invalid>> {
        let Some(occurrence) = campaign.occurrence(id, now) else { return Ok(None) };
        let audience = campaign.segment.as_ref().map(|segment| segment.parse("segment")).transpose();
        let variants = campaign.variants.iter().map(|variant| variant.segment.parse("variants")).collect();
        match (audience, variants) {
            (Ok(audience), Ok(variants)) => {
                Ok(Some(Self { id, campaign, occurrence, audience, variants, contents: Vec::new() }))
            }
            (Err(invalid), _) | (_, Err(invalid)) => Err(vec![invalid]),
        }
    }

    /// The candidate send for one person at `now`.
    #[must_use]
    pub fn offer_for(&self, person: &Person, to: &SubscriberId, channel: &Channel, now: Timestamp) -> Offer {
        Offer {
            id: self.occurrence.id.offer_id(),
            to: to.clone(),
            template: self.campaign.template.clone(),
            category: self.campaign.category,
            urgency: Urgency::Normal,
            topic: self.campaign.topic.clone(),
            business_line: self.campaign.business_line.clone(),
            not_before: self.next_best_hour(person, channel, now),
            not_after: self.occurrence.period.closes_at,
        }
    }

    /// What its offers are compared by, where people are expected to act on it at `expected_rate`.
    #[must_use]
    pub fn merit(&self, expected_rate: f64) -> Merit {
        Merit {
            category: self.campaign.category,
            priority: self.campaign.priority,
            worth: self.campaign.value * expected_rate,
            deadline: self.occurrence.period.closes_at,
        }
    }

    /// When the person's best hours begin next; `None` when there is no need to wait for them.
    fn next_best_hour(&self, person: &Person, channel: &Channel, now: Timestamp) -> Option<Timestamp> {
        let best = self.campaign.best_hours.as_deref()?;
        let zone = person.zone(channel);
        best.iter().map(|hours| hours.begins_at(&zone, now)).min().flatten()
    }

    /// Whether a person is in the campaign's segment. A campaign for a list has none: then whoever is on the list is meant.
    #[must_use]
    pub fn is_for(&self, facts: &Facts<'_>) -> bool {
        self.audience.as_ref().is_none_or(|segment| segment.matches(facts))
    }

    /// The position of the variant for a person: the first whose segment they are in, beyond the last when in none.
    #[must_use]
    pub fn variant_for(&self, facts: &Facts<'_>) -> usize {
        let first = self.variants.iter().position(|segment| segment.matches(facts));
        first.unwrap_or(self.variants.len())
    }

    /// What a person is told by the variant at `variant` (beyond the last: by the campaign's own words). What is missing
    /// or does not fit a field is replaced by its fallback, so that every field fits.
    #[must_use]
    pub fn content_for(&self, person: &Person, variant: usize) -> Option<Words<'_>> {
        let content = self.contents.get(variant).or_else(|| self.contents.last())?;
        let filling = Filling { attributes: &person.attributes, campaign: self.id.whole(), variant: &content.variant };
        Some(Words { variant: &content.variant, data: content.data(filling), page: content.page(filling) })
    }
}
