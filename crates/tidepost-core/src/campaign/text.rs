//! Words with places for a person's attributes: `{{attributes.name|您}}的春茶到了`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ids::{CampaignId, is_id};
use crate::invalid::Invalid;

/// Words that are filled in for one person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Words(String),
    Attribute { name: String, otherwise: Option<String> },
    Campaign,
    Variant,
}

/// What fills the places of a text.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// The person's attributes.
    pub attributes: &'a BTreeMap<String, Value>,
    /// What `{{campaign}}` stands for.
    pub campaign: CampaignId,
    /// What `{{variant}}` stands for.
    pub variant: &'a str,
}

/// How values are written into a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As they are.
    Plain,
    /// Percent-encoded, as part of a page's query.
    Query,
}

const FORM: &str = "a place is written {{attributes.name}} or {{attributes.name|otherwise}}, in a page also {{campaign}} \
                    and {{variant}}";

impl Text {
    /// Reads a text and names `field` when a place in it is malformed.
    ///
    /// # Errors
    /// [`Invalid`] for a place that is not closed, or that names something else than an attribute, the campaign or the
    /// variant.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let malformed = |what: &str| Invalid::new(field, "place_malformed", format!("{what}; {FORM}"));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((words, place)) = rest.split_once("{{") {
            let (inside, after) = place.split_once("}}").ok_or_else(|| malformed("a {{ is not closed"))?;
            if !words.is_empty() {
                parts.push(Part::Words(words.to_owned()));
            }
            parts.push(place_of(inside).ok_or_else(|| malformed(&format!("{{{{{inside}}}}} is not known")))?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Words(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text for one person; `None` when an attribute is missing that nothing stands in for.
    #[must_use]
    pub fn fill(&self, filling: Filling<'_>, form: Form) -> Option<String> {
        self.0.iter().map(|part| part.fill(Some(filling.attributes), filling, form)).collect()
    }

    /// The text for a person of whom nothing is known; `None` when an attribute has nothing that stands in for it.
    #[must_use]
    pub fn fill_unknown(&self, filling: Filling<'_>, form: Form) -> Option<String> {
        self.0.iter().map(|part| part.fill(None, filling, form)).collect()
    }

    /// Whether it is the same for everybody.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Attribute { .. }))
    }
}

impl Part {
    fn fill(&self, attributes: Option<&BTreeMap<String, Value>>, filling: Filling<'_>, form: Form) -> Option<String> {
        let value = match self {
            Self::Words(words) => return Some(words.clone()),
            Self::Attribute { name, otherwise } => {
                let known = attributes.and_then(|known| known.get(name)).map(written).filter(|value| !value.is_empty());
                known.or_else(|| otherwise.clone())?
            }
            Self::Campaign => filling.campaign.to_string(),
            Self::Variant => filling.variant.to_owned(),
        };
        Some(if form == Form::Query { percent_encoded(&value) } else { value })
    }
}

fn place_of(inside: &str) -> Option<Part> {
    let (name, otherwise) = match inside.split_once('|') {
        Some((name, otherwise)) => (name.trim(), Some(otherwise.trim().to_owned())),
        None => (inside.trim(), None),
    };
    match (name, &otherwise) {
        ("campaign", None) => return Some(Part::Campaign),
        ("variant", None) => return Some(Part::Variant),
        _ => {}
    }
    let name = name.strip_prefix("attributes.").filter(|name| is_id(name))?;
    Some(Part::Attribute { name: name.to_owned(), otherwise })
}

/// An attribute as people write it: storage knows no difference between 3 and 3.0.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string().trim_end_matches(".0").to_owned(),
        other => other.to_string(),
    }
}

fn percent_encoded(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let encoded = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, attributes: &Value, form: Form) -> Option<String> {
        let attributes = serde_json::from_value(attributes.clone()).unwrap();
        let campaign = CampaignId::derive("shop", "k", "c", jiff::Timestamp::UNIX_EPOCH);
        let text = Text::parse("data.thing1", text).unwrap();
        text.fill(Filling { attributes: &attributes, campaign, variant: "new" }, form)
    }

    #[test]
    fn attributes_fill_their_places_and_missing_ones_are_stood_in_for() {
        let known = serde_json::json!({"name": "小王", "points": 3.0, "age": 30, "vip": true, "empty": " "});
        let cases = [
            ("{{attributes.name|您}}的春茶到了", Some("小王的春茶到了")),
            ("{{attributes.nick|您}}的春茶到了", Some("您的春茶到了")),
            ("{{ attributes.empty | 您 }}", Some("您")),
            ("{{attributes.points}}/{{attributes.age}} {{attributes.vip}}", Some("3/30 true")),
            ("{{attributes.nick}}好", None),
            ("{{attributes.nick|}}好", Some("好")),
            ("a } b { c", Some("a } b { c")),
        ];
        for (text, expected) in cases {
            assert_eq!(fill(text, &known, Form::Plain).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn values_in_a_page_are_encoded() {
        let known = serde_json::json!({"city": "成都&x=1"});
        let page = fill("pages/a?city={{attributes.city}}&v={{variant}}", &known, Form::Query);
        assert_eq!(page.as_deref(), Some("pages/a?city=%E6%88%90%E9%83%BD%26x%3D1&v=new"));
    }

    #[test]
    fn malformed_places_are_named() {
        for text in ["{{attributes.name", "{{tags}}", "{{attributes.}}", "{{attributes.a b}}", "{{}}", "{{campaign|x}}"]
        {
            let invalid = Text::parse("data.thing1", text).unwrap_err();
            assert_eq!((invalid.field.as_str(), invalid.code.as_str()), ("data.thing1", "place_malformed"), "{text}");
        }
    }
}
