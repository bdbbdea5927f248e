//! What a caller asks for, and everything that can be wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use crate::brake::Thresholds;
use crate::campaign::content::{Content, Source};
use crate::campaign::schedule::Schedule;
use crate::campaign::{Campaign, DEFAULT_VARIANT, Pace, SegmentSource, Variant};
use crate::category::Category;
use crate::channel::Channel;
use crate::decide::marketing;
use crate::ids::{CampaignId, check_id};
use crate::invalid::Invalid;
use crate::segment::Segment;
use crate::template::Template;
use crate::time::{DailyHours, plus_seconds};

/// Openids in a request's own list at the most; longer lists are uploaded.
pub const LIST_MAX: usize = 10_000;

/// Variants at the most.
pub const VARIANTS_MAX: usize = 20;

/// Characters of a name at the most.
const NAME_CHARACTERS_MAX: usize = 100;

/// Best hours at the most: one range for every hour.
const BEST_HOURS_MAX: usize = 24;

/// How long a campaign may live: people remember its sends until its end.
const LIFE_MAX_SECONDS: i64 = 2 * 366 * 86_400;

/// The body of `POST /v1/campaigns`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignRequest {
    /// The channel's id.
    pub channel: String,
    /// The owner's name for it.
    pub name: String,
    /// The platform's template id.
    pub template: String,
    /// Words for the template's fields, with places for attributes.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Where a tap leads.
    #[serde(default)]
    pub page: Option<String>,
    /// The template's topic unless given.
    #[serde(default)]
    pub topic: Option<String>,
    /// The template's category unless given; may only be stricter.
    #[serde(default)]
    pub category: Option<Category>,
    /// Who in the company asks for it.
    #[serde(default)]
    pub business_line: Option<String>,
    /// 0 to 100, higher goes first.
    #[serde(default = "default_priority")]
    pub priority: i64,
    /// What one conversion is worth.
    #[serde(default = "default_value")]
    pub value: f64,
    /// Whom it is for.
    #[serde(default)]
    pub segment: Option<SegmentSource>,
    /// Whom it is for, one by one. Without segment and list, a list is uploaded later.
    #[serde(default)]
    pub list: Option<Vec<String>>,
    /// When it begins; at once unless given.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// When it ends.
    pub until: Timestamp,
    /// How it spends the windows.
    #[serde(default)]
    pub pace: Pace,
    /// When in a person's day it may arrive.
    #[serde(default)]
    pub best_hours: Option<Vec<DailyHours>>,
    /// When it starts over.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Other words for parts of the audience.
    #[serde(default)]
    pub variants: Vec<VariantRequest>,
    /// What a field says to whom its words do not fit.
    #[serde(default)]
    pub fallback: BTreeMap<String, String>,
    /// When it is paused by itself.
    #[serde(default)]
    pub brake: Option<Thresholds>,
}

/// One variant of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantRequest {
    /// The owner's name for it.
    pub id: String,
    /// Whom it is for.
    pub segment: SegmentSource,
    /// The fields that it says otherwise.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Where a tap leads, where that is different.
    #[serde(default)]
    pub page: Option<String>,
}

fn default_priority() -> i64 {
    50
}

fn default_value() -> f64 {
    1.0
}

impl CampaignRequest {
    /// Checks the request against its channel and template and turns it into the campaign `id` and the openids of its
    /// own list, sorted, each once.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn accept(
        self,
        id: CampaignId,
        channel: &Channel,
        template: &Template,
        now: Timestamp,
    ) -> Result<(Campaign, BTreeSet<String>), Vec<Invalid>> {
        let category = self.category.unwrap_or(template.category);
        let mut wrong = self.wrong_names();
        wrong.extend(wrong_category(channel, template, category));
        wrong.extend(self.wrong_numbers());
        wrong.extend(self.wrong_times(now));
        wrong.extend(self.wrong_audience());
        wrong.extend(self.wrong_variants());
        wrong.extend(self.wrong_words(id, template));
        let Ok(priority) = u8::try_from(self.priority) else { return Err(wrong) };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let variant =
            |one: VariantRequest| Variant { id: one.id, segment: one.segment, data: one.data, page: one.page };
        let campaign = Campaign {
            channel: self.channel,
            name: self.name,
            template: self.template,
            data: self.data,
            page: self.page,
            topic: self.topic.unwrap_or_else(|| template.topic.clone()),
            category,
            business_line: self.business_line,
            priority,
            value: self.value,
            segment: self.segment,
            from: self.from.unwrap_or(now),
            until: self.until,
            pace: self.pace,
            best_hours: self.best_hours,
            schedule: self.schedule,
            variants: self.variants.into_iter().map(variant).collect(),
            fallback: self.fallback,
            brake: self.brake.unwrap_or_default(),
            created_at: now,
        };
        Ok((campaign, self.list.into_iter().flatten().collect()))
    }

    fn wrong_names(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if self.name.trim().is_empty() {
            wrong.push(Invalid::new("name", "field_empty", "a name is needed"));
        }
        let length = self.name.chars().count();
        if length > NAME_CHARACTERS_MAX {
            let message = format!("at most {NAME_CHARACTERS_MAX} characters, got {length}");
            wrong.push(Invalid::new("name", "field_too_long", message));
        }
        for (field, id) in [("topic", &self.topic), ("business_line", &self.business_line)] {
            wrong.extend(id.as_deref().and_then(|id| check_id(field, id).err()));
        }
        wrong
    }

    fn wrong_numbers(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if !(0..=100).contains(&self.priority) {
            wrong.push(Invalid::new("priority", "out_of_range", "must be 0 to 100"));
        }
        if !(self.value.is_finite() && self.value >= 0.0) {
            wrong.push(Invalid::new("value", "out_of_range", "must be 0 or more"));
        }
        wrong.extend(self.brake.iter().flat_map(Thresholds::validate));
        wrong
    }

    fn wrong_times(&self, now: Timestamp) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        let from = self.from.unwrap_or(now);
        let checks = [
            (self.until > now, "must be in the future"),
            (self.until > from, "must be after from"),
            (self.until <= plus_seconds(from, LIFE_MAX_SECONDS), "at most two years after from"),
        ];
        let broken = checks.into_iter().find(|(holds, _)| !holds);
        wrong.extend(broken.map(|(_, message)| Invalid::new("until", "out_of_range", message)));
        let hours = self.best_hours.as_deref();
        if hours.is_some_and(|hours| hours.is_empty() || hours.len() > BEST_HOURS_MAX) {
            wrong.push(Invalid::new("best_hours", "out_of_range", "1 to 24 ranges; use null for any hour"));
        }
        for (index, hours) in hours.iter().copied().flatten().enumerate().filter(|(_, hours)| hours.from == hours.to) {
            let message = format!("{} to {} is no time; use null for any hour", hours.from, hours.to);
            wrong.push(Invalid::new(format!("best_hours[{index}]"), "out_of_range", message));
        }
        match self.schedule.as_ref().map(Schedule::parse) {
            Some(Ok(starts)) if starts.at_or_before(from) != Some(from) => {
                if starts.after(from).is_none_or(|start| start >= self.until) {
                    let message = "it never starts between from and until";
                    wrong.push(Invalid::new("schedule.cron", "out_of_range", message));
                }
            }
            Some(Err(invalid)) => wrong.extend(invalid),
            Some(Ok(_)) | None => {}
        }
        wrong
    }

    fn wrong_audience(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        let list = self.list.as_deref().unwrap_or_default();
        if self.segment.is_some() && self.list.is_some() {
            wrong.push(Invalid::new("list", "not_applicable", "give a segment or a list, not both"));
        }
        if list.len() > LIST_MAX {
            let message = format!("at most {LIST_MAX} openids, got {}; upload longer lists as CSV", list.len());
            wrong.push(Invalid::new("list", "too_many", message));
        }
        let openids = list.iter().take(LIST_MAX).enumerate();
        wrong.extend(openids.filter_map(|(index, openid)| check_id(&format!("list[{index}]"), openid).err()));
        wrong.extend(self.segment.as_ref().and_then(|segment| segment.parse("segment").err()));
        wrong
    }

    fn wrong_variants(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if self.variants.len() > VARIANTS_MAX {
            let message = format!("at most {VARIANTS_MAX} variants, got {}", self.variants.len());
            wrong.push(Invalid::new("variants", "too_many", message));
        }
        for (index, variant) in self.variants.iter().enumerate() {
            let at = format!("variants[{index}]");
            wrong.extend(check_id(&format!("{at}.id"), &variant.id).err());
            let earlier = self.variants.iter().take(index).map(|earlier| earlier.id.as_str());
            if earlier.chain([DEFAULT_VARIANT]).any(|taken| taken == variant.id) {
                let message = "another variant has this id; default is whoever is in no variant";
                wrong.push(Invalid::new(format!("{at}.id"), "duplicate", message));
            }
            wrong.extend(variant.segment.parse(&format!("{at}.segment")).err());
        }
        wrong
    }

    fn wrong_words(&self, id: CampaignId, template: &Template) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        for (key, words) in &self.fallback {
            let at = format!("fallback.{key}");
            match template.fields.iter().find(|field| field.key == *key) {
                Some(field) => wrong.extend(field.check(&at, words).err()),
                None => wrong.push(Invalid::new(at, "field_unknown", "the template has no such field")),
            }
        }
        let own = Source {
            campaign: id,
            template,
            variant: DEFAULT_VARIANT,
            at: "",
            data: &BTreeMap::new(),
            overrides: &self.data,
            fallback: &self.fallback,
            page: self.page.as_deref(),
        };
        let before = wrong.len();
        wrong.extend(Content::compile(own).err().into_iter().flatten());
        let own_holds = wrong.len() == before;
        for (index, variant) in self.variants.iter().enumerate().take(VARIANTS_MAX) {
            let at = format!("variants[{index}].");
            let (data, overrides, page) = (&self.data, &variant.data, variant.page.as_deref());
            let theirs = Source { variant: &variant.id, at: &at, data, overrides, page, ..own };
            let broken = Content::compile(theirs).err().into_iter().flatten();
            // What a variant takes over from the campaign was complained of already.
            wrong.extend(broken.filter(|invalid| own_holds || invalid.field.starts_with(&at)));
        }
        wrong
    }
}

fn wrong_category(channel: &Channel, template: &Template, category: Category) -> Vec<Invalid> {
    let mut wrong: Vec<Invalid> = template.check_category(category).err().into_iter().collect();
    if marketing::is_refused(channel.platform, template, category) {
        wrong.push(Invalid::new("category", "marketing_not_allowed", marketing::REMEDY));
    }
    wrong
}

impl SegmentSource {
    /// Reads the segment that stands in `field`.
    ///
    /// # Errors
    /// [`Invalid`] with the place in it that is malformed.
    pub fn parse(&self, field: &str) -> Result<Segment, Invalid> {
        let segment = match self {
            Self::Text(text) => Segment::parse(text),
            Self::Json(json) => Segment::from_json(json),
        };
        segment.map_err(|error| error.into_invalid(field))
    }
}
