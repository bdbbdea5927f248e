//! What one person reads: a variant's words with the person's attributes, made to fit the template's fields.

use std::collections::BTreeMap;

use crate::campaign::text::{Filling, Form, Text};
use crate::ids::CampaignId;
use crate::invalid::Invalid;
use crate::message::check_page;
use crate::template::{Field, Template};

/// The words of one variant, ready to be filled in.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) variant: String,
    fields: Vec<Place>,
    page: Option<Text>,
}

/// One field: its words, and what is said when they do not come out right.
#[derive(Clone, Debug)]
struct Place {
    field: Field,
    text: Text,
    fallback: String,
}

/// What one variant is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) campaign: CampaignId,
    pub(crate) template: &'a Template,
    pub(crate) variant: &'a str,
    /// Path of the variant itself, such as `variants[0].`; empty for the campaign's own words.
    pub(crate) at: &'a str,
    pub(crate) data: &'a BTreeMap<String, String>,
    /// What the variant says otherwise.
    pub(crate) overrides: &'a BTreeMap<String, String>,
    pub(crate) fallback: &'a BTreeMap<String, String>,
    pub(crate) page: Option<&'a str>,
}

impl Content {
    /// Checks that whoever it is for, every field can be filled.
    pub(crate) fn compile(source: Source<'_>) -> Result<Self, Vec<Invalid>> {
        let at = source.at;
        let mut wrong = Vec::new();
        let known = |key: &String| source.template.fields.iter().any(|field| field.key == *key);
        for key in source.overrides.keys().filter(|key| !known(key)) {
            wrong.push(Invalid::new(format!("{at}data.{key}"), "field_unknown", "the template has no such field"));
        }
        let mut fields = Vec::new();
        for field in &source.template.fields {
            match source.place(field) {
                Ok(place) => fields.push(place),
                Err(invalid) => wrong.push(invalid),
            }
        }
        let page = match source.page.map(|page| source.page_text(page)).transpose() {
            Ok(page) => page,
            Err(invalid) => {
                wrong.push(invalid);
                None
            }
        };
        if wrong.is_empty() { Ok(Self { variant: source.variant.to_owned(), fields, page }) } else { Err(wrong) }
    }

    /// The fields for one person. What is missing or does not fit is replaced by the field's fallback.
    pub(crate) fn data(&self, filling: Filling<'_>) -> BTreeMap<String, String> {
        let fill = |place: &Place| {
            let filled = place.text.fill(filling, Form::Plain);
            let fitting = filled.filter(|value| place.field.check("", value).is_ok());
            (place.field.key.clone(), fitting.unwrap_or_else(|| place.fallback.clone()))
        };
        self.fields.iter().map(fill).collect()
    }

    /// Where a tap leads for one person.
    pub(crate) fn page(&self, filling: Filling<'_>) -> Option<String> {
        let text = self.page.as_ref()?;
        let filled = text.fill(filling, Form::Query).filter(|page| check_page("", page).is_ok());
        filled.or_else(|| text.fill_unknown(filling, Form::Query))
    }
}

impl Source<'_> {
    fn filling<'a>(&'a self, nothing: &'a BTreeMap<String, serde_json::Value>) -> Filling<'a> {
        Filling { attributes: nothing, campaign: self.campaign, variant: self.variant }
    }

    fn place(&self, field: &Field) -> Result<Place, Invalid> {
        let key = &field.key;
        let own = self.overrides.get(key);
        let at = if own.is_some() { format!("{}data.{key}", self.at) } else { format!("data.{key}") };
        let stands_in = self.fallback.get(key).or_else(|| self.template.fallback.get(key));
        let Some(words) = own.or_else(|| self.data.get(key)) else {
            let fallback = stands_in.cloned().ok_or_else(|| {
                Invalid::new(&at, "field_missing", "the template needs it and there is no fallback for it")
            })?;
            field.check(&at, &fallback)?;
            return Ok(Place { field: field.clone(), text: Text::parse(&at, "")?, fallback });
        };
        let text = Text::parse(&at, words)?;
        let nothing = BTreeMap::new();
        let to_a_stranger = text.fill_unknown(self.filling(&nothing), Form::Plain);
        // Words that are the same for everybody must fit as they are; others may lean on what stands in for them.
        if let Some(words) = &to_a_stranger
            && (text.is_constant() || stands_in.is_none())
        {
            field.check(&at, words)?;
        }
        let fits = |words: &String| field.check(&at, words).is_ok();
        let own_fallback = self.fallback.get(key).cloned();
        let fallback = own_fallback.or(to_a_stranger.filter(fits)).or_else(|| stands_in.cloned()).ok_or_else(|| {
            let message = "write {{attributes.name|otherwise}} or give a fallback for people without the attribute";
            Invalid::new(&at, "fallback_missing", message)
        })?;
        Ok(Place { field: field.clone(), text, fallback })
    }

    fn page_text(&self, page: &str) -> Result<Text, Invalid> {
        let at = format!("{}page", self.at);
        let text = Text::parse(&at, page)?;
        let nothing = BTreeMap::new();
        let to_a_stranger = text.fill_unknown(self.filling(&nothing), Form::Query).ok_or_else(|| {
            let message = "write {{attributes.name|otherwise}}: a page has no other fallback";
            Invalid::new(&at, "fallback_missing", message)
        })?;
        check_page(&at, &to_a_stranger)?;
        Ok(text)
    }
}
