//! A platform's message template: typed fields with limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::ids::check_id;
use crate::invalid::Invalid;

/// How the right to send a template is given.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateKind {
    /// Each consent pays for one message.
    #[default]
    OneTime,
    /// One consent pays until it is withdrawn.
    LongTerm,
}

/// How often a long-term consent may be used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LongTermLimit {
    /// Per what.
    pub per: LongTermPeriod,
    /// How many messages.
    pub limit: u16,
}

/// The period of a long-term limit, in the channel's zone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LongTermPeriod {
    /// A day.
    Day,
    /// A calendar month.
    Month,
}

impl LongTermPeriod {
    /// The calendar unit.
    #[must_use]
    pub fn calendar(self) -> crate::time::Calendar {
        match self {
            Self::Day => crate::time::Calendar::Day,
            Self::Month => crate::time::Calendar::Month,
        }
    }
}

/// A template as its channel knows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Template {
    /// The platform's title.
    pub title: String,
    /// How it is paid for.
    #[serde(default)]
    pub kind: TemplateKind,
    /// How often a long-term consent may be used; `null`: as often as one likes.
    #[serde(default)]
    pub long_term_limit: Option<LongTermLimit>,
    /// The loosest category a message of this template may have.
    #[serde(default = "default_category")]
    pub category: Category,
    /// Whether `marketing` may be sent with it (on WeChat only where the platform agreed to it).
    #[serde(default)]
    pub marketing_allowed: bool,
    /// What people switch on and off.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// The fields, in the platform's order.
    pub fields: Vec<Field>,
    /// Values for fields that a message leaves out.
    #[serde(default)]
    pub fallback: BTreeMap<String, String>,
}

fn default_category() -> Category {
    Category::Reminder
}

fn default_topic() -> String {
    "general".to_owned()
}

/// One field of a template.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Field {
    /// The platform's key: the type's name and a number.
    pub key: String,
    /// What an `enum_string` may say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Fields of one template at the most: WeChat lets five keywords be chosen (platforms.md A5); older templates have more.
const FIELDS_MAX: usize = 20;

impl Template {
    /// All that is wrong with the definition.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.title.trim().is_empty() {
            wrong.push(Invalid::new("title", "field_empty", "the platform's title is needed"));
        }
        wrong.extend(check_id("topic", &self.topic).err());
        if self.fields.is_empty() || self.fields.len() > FIELDS_MAX {
            wrong.push(Invalid::new("fields", "out_of_range", "1 to 20 fields"));
        }
        for (index, field) in self.fields.iter().enumerate() {
            wrong.extend(field.validate(&format!("fields[{index}]")));
            if self.fields.iter().take(index).any(|earlier| earlier.key == field.key) {
                wrong.push(Invalid::new(format!("fields[{index}].key"), "duplicate", "another field has this key"));
            }
        }
        if self.long_term_limit.is_some() && self.kind == TemplateKind::OneTime {
            wrong.push(Invalid::new("long_term_limit", "not_applicable", "only a long_term template has one"));
        }
        for (key, value) in &self.fallback {
            let at = format!("fallback.{key}");
            match self.fields.iter().find(|field| field.key == *key) {
                Some(field) => wrong.extend(field.check(&at, value).err()),
                None => wrong.push(Invalid::new(at, "field_unknown", "the template has no such field")),
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Checks that `category` is not laxer than the template's own.
    pub(crate) fn check_category(&self, category: Category) -> Result<(), Invalid> {
        if category >= self.category {
            return Ok(());
        }
        let message = "may only be stricter than the template's: basic, then reminder, then marketing";
        Err(Invalid::new("category", "category_too_loose", message))
    }

    /// The values that go to the platform: the caller's, completed from the fallback.
    ///
    /// # Errors
    /// One [`Invalid`] for each value that is missing, unknown, or breaks its type or limit.
    pub fn fill(&self, data: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        for key in data.keys().filter(|key| !self.fields.iter().any(|field| field.key == **key)) {
            wrong.push(Invalid::new(format!("data.{key}"), "field_unknown", "the template has no such field"));
        }
        let mut filled = BTreeMap::new();
        for field in &self.fields {
            let at = format!("data.{}", field.key);
            match data.get(&field.key).or_else(|| self.fallback.get(&field.key)) {
                None => {
                    wrong.push(Invalid::new(at, "field_missing", "the template needs it and has no fallback for it"))
                }
                Some(value) => match field.check(&at, value) {
                    Ok(()) => drop(filled.insert(field.key.clone(), value.clone())),
                    Err(invalid) => wrong.push(invalid),
                },
            }
        }
        if wrong.is_empty() { Ok(filled) } else { Err(wrong) }
    }
}

/// A template as its platform lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The platform's id.
    pub id: String,
    /// The platform's title.
    pub title: String,
    /// How it is paid for.
    pub kind: TemplateKind,
    /// The fields, in the platform's order.
    pub fields: Vec<Field>,
}

/// What a sync has to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sync {
    /// Templates that are new, by id.
    pub added: BTreeMap<String, Template>,
    /// Templates that the platform has changed, by id.
    pub changed: BTreeMap<String, Template>,
    /// Templates that the platform has no more.
    pub removed: Vec<String>,
}

/// Brings what is known of a channel's templates in line with what the platform lists. Title, kind and fields are the
/// platform's; everything else is the owner's and stays as far as it still fits.
///
/// An empty list removes nothing: a platform in trouble answers that too, and templates that are gone are refused by the
/// platform anyway.
#[must_use]
pub fn merge_listed(known: &BTreeMap<String, Template>, listed: Vec<Listed>) -> Sync {
    if listed.is_empty() {
        return Sync::default();
    }
    let mut sync = Sync { removed: known.keys().cloned().collect(), ..Sync::default() };
    for one in listed {
        sync.removed.retain(|id| *id != one.id);
        let id = one.id.clone();
        match known.get(&id) {
            None => drop(sync.added.insert(id, one.merge(Template::unset()))),
            Some(ours) => {
                let merged = one.merge(ours.clone());
                if merged != *ours {
                    sync.changed.insert(id, merged);
                }
            }
        }
    }
    sync
}

impl Template {
    /// A template of which only the defaults are known.
    fn unset() -> Self {
        Self {
            title: String::new(),
            kind: TemplateKind::default(),
            long_term_limit: None,
            category: default_category(),
            marketing_allowed: false,
            topic: default_topic(),
            fields: Vec::new(),
            fallback: BTreeMap::new(),
        }
    }
}

impl Listed {
    fn merge(self, mut ours: Template) -> Template {
        // A platform that lists no values for an enum says nothing of them.
        let known_values = |field: Field| match ours.fields.iter().find(|known| known.key == field.key) {
            Some(known) if field.values.is_empty() => known.clone(),
            _ => field,
        };
        let fields: Vec<Field> = self.fields.into_iter().map(known_values).collect();
        let fits = |key: &str, value: &str| {
            let field = fields.iter().find(|field| field.key == key);
            field.is_some_and(|field| field.check(key, value).is_ok())
        };
        ours.fallback.retain(|key, value| fits(key, value));
        Template {
            title: self.title,
            kind: self.kind,
            long_term_limit: ours.long_term_limit.filter(|_| self.kind == TemplateKind::LongTerm),
            fields,
            ..ours
        }
    }
}

impl Field {
    fn validate(&self, at: &str) -> Option<Invalid> {
        let Some(kind) = FieldType::of(&self.key) else {
            let message = "must be a type of the platform and a number, such as thing1 or time2";
            return Some(Invalid::new(format!("{at}.key"), "field_type_unknown", message));
        };
        (kind == FieldType::Enum && self.values.is_empty())
            .then(|| Invalid::new(format!("{at}.values"), "field_missing", "an enum needs its values"))
    }

    /// Checks one value.
    ///
    /// # Errors
    /// [`Invalid`] at `at`, with what is allowed and what came.
    pub fn check(&self, at: &str, value: &str) -> Result<(), Invalid> {
        if value.trim().is_empty() {
            return Err(Invalid::new(at, "field_empty", "must not be empty"));
        }
        if value.chars().any(breaks_lines) {
            return Err(Invalid::new(at, "field_malformed", "must not contain line breaks or control characters"));
        }
        if value.chars().any(is_emoji) {
            return Err(Invalid::new(at, "field_malformed", "must not contain emoji: the platform may refuse them"));
        }
        let Some(kind) = FieldType::of(&self.key) else {
            return Err(Invalid::new(at, "field_type_unknown", "the field's type is not known; correct the template"));
        };
        if kind == FieldType::Enum {
            let listed = self.values.iter().any(|allowed| allowed == value);
            let message = || format!("must be one of {}", self.values.join(", "));
            return if listed { Ok(()) } else { Err(Invalid::new(at, "field_not_in_list", message())) };
        }
        kind.check(at, value)
    }
}

/// The types of WeChat's template fields (platforms.md A3). A character is one Unicode scalar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldType {
    /// Up to 20 characters of any kind.
    Thing,
    /// Up to 32 digits, a decimal point allowed.
    Number,
    /// Up to 32 letters.
    Letter,
    /// Up to 5 symbols.
    Symbol,
    /// Up to 32 digits, letters and symbols; no Chinese.
    CharacterString,
    /// A time of day, with or without a date; `~` joins a range.
    Time,
    /// A date, with or without a time; `~` joins a range.
    Date,
    /// One currency sign and up to 10 digits, decimals allowed, may end with 元.
    Amount,
    /// Up to 17 digits and symbols.
    PhoneNumber,
    /// Up to 8 characters, Chinese only first and last.
    CarNumber,
    /// Up to 10 characters with Chinese, or 20 without.
    Name,
    /// Up to 5 Chinese characters.
    Phrase,
    /// One of a list.
    Enum,
}

impl FieldType {
    /// The type of a key such as `thing1`.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        let name = key.trim_end_matches(|last: char| last.is_ascii_digit());
        if name.len() == key.len() {
            return None;
        }
        Some(match name {
            "thing" => Self::Thing,
            "number" => Self::Number,
            "letter" => Self::Letter,
            "symbol" => Self::Symbol,
            "character_string" => Self::CharacterString,
            "time" => Self::Time,
            "date" => Self::Date,
            "amount" => Self::Amount,
            "phone_number" => Self::PhoneNumber,
            "car_number" => Self::CarNumber,
            "name" => Self::Name,
            "phrase" => Self::Phrase,
            "enum" | "enum_string" => Self::Enum,
            _ => return None,
        })
    }

    fn check(self, at: &str, value: &str) -> Result<(), Invalid> {
        let longest = self.longest(value);
        let length = match self {
            Self::Number => value.chars().filter(|c| *c != '.').count(),
            _ => value.chars().count(),
        };
        if length > longest {
            let message = format!("at most {longest} characters, got {length}");
            return Err(Invalid::new(at, "field_too_long", message));
        }
        if self.allows(value) {
            return Ok(());
        }
        Err(Invalid::new(at, "field_malformed", format!("must be {}", self.rule())))
    }

    fn longest(self, value: &str) -> usize {
        match self {
            Self::Thing => 20,
            Self::Number | Self::Letter | Self::CharacterString => 32,
            Self::Symbol | Self::Phrase => 5,
            Self::PhoneNumber => 17,
            Self::CarNumber => 8,
            Self::Name if value.chars().any(is_chinese) => 10,
            Self::Name => 20,
            // The widest forms that the rules below let through: two dates with times, or a sign, digits and decimals.
            Self::Time | Self::Date => 64,
            Self::Amount => 16,
            Self::Enum => usize::MAX,
        }
    }

    fn allows(self, value: &str) -> bool {
        let mut characters = value.chars();
        match self {
            Self::Thing | Self::Enum => true,
            Self::Number => is_decimal(value),
            Self::Letter => characters.all(|c| c.is_ascii_alphabetic()),
            Self::Symbol => characters.all(is_symbol),
            Self::CharacterString => characters.all(|c| c.is_ascii_alphanumeric() || c == ' ' || is_symbol(c)),
            Self::Time => is_range(value, |part| is_moment(part, true)),
            Self::Date => is_range(value, |part| is_moment(part, false)),
            Self::Amount => is_amount(value),
            Self::PhoneNumber => is_phone_number(value),
            Self::CarNumber => is_car_number(value),
            Self::Name => characters.all(|c| c.is_ascii_alphabetic() || is_chinese(c) || c == ' ' || is_symbol(c)),
            Self::Phrase => characters.all(is_chinese),
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Thing | Self::Enum => "text",
            Self::Number => "digits, with at most one decimal point",
            Self::Letter => "letters only",
            Self::Symbol => "symbols only",
            Self::CharacterString => "digits, letters and symbols, without Chinese",
            Self::Time => "a 24-hour time such as 15:01, with or without a date before it, two joined by ~ for a range",
            Self::Date => {
                "a date such as 2019年10月1日 or 2019-10-01, with or without a time, two joined by ~ for a range"
            }
            Self::Amount => "one currency sign and at most 10 digits, such as ￥36.00, or digits and 元",
            Self::PhoneNumber => "digits, with ASCII symbols between them",
            Self::CarNumber => "letters and digits; only the first and the last character may be Chinese",
            Self::Name => "letters, Chinese or symbols, without digits",
            Self::Phrase => "Chinese characters only",
        }
    }
}

/// Control characters, and the two separators that are none and break lines all the same.
fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Pictographs, and what joins and styles them: how the platform counts them is not confirmed (platforms.md A3).
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1fbff}' | '\u{200d}' | '\u{20e3}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}')
}

/// Whether a character is a Chinese ideograph.
fn is_chinese(c: char) -> bool {
    matches!(c, '\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

fn is_symbol(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !is_chinese(c)
}

fn is_phone_number(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_digit() || (c.is_ascii() && is_symbol(c));
    text.chars().all(is_allowed) && text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

fn is_amount(text: &str) -> bool {
    let text = text.strip_suffix('元').unwrap_or(text);
    let text = text.strip_prefix(|first| "￥¥$€£₩₽₹฿".contains(first)).unwrap_or(text);
    is_decimal(text) && text.bytes().filter(u8::is_ascii_digit).count() <= 10
}

fn is_car_number(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let last = characters.len().saturating_sub(1);
    characters
        .iter()
        .enumerate()
        .all(|(index, c)| if is_chinese(*c) { index == 0 || index == last } else { c.is_ascii_alphanumeric() })
}

fn is_range(text: &str, part: impl Fn(&str) -> bool) -> bool {
    let mut parts = text.split('~');
    let ends = (parts.next(), parts.next(), parts.next());
    matches!(ends, (Some(one), None, None) if part(one))
        || matches!(ends, (Some(from), Some(to), None) if part(from) && part(to))
}

/// A date, a time, or a date and a time with a space between. A `time` field needs the time, a `date` field the date.
fn is_moment(text: &str, needs_time: bool) -> bool {
    match text.split_once(' ') {
        Some((date, time)) => is_date(date) && is_time_of_day(time),
        None if needs_time => is_time_of_day(text),
        None => is_date(text),
    }
}

fn is_time_of_day(text: &str) -> bool {
    let parts: Option<Vec<u32>> =
        text.split(':').enumerate().map(|(index, part)| clock_digits(part, index > 0)).collect();
    matches!(parts.as_deref(), Some([hour, minute] | [hour, minute, 0..=59]) if *hour < 24 && *minute < 60)
}

/// The hour may have one digit, minutes and seconds have two.
fn clock_digits(text: &str, needs_two: bool) -> Option<u32> {
    let fits = text.len() == 2 || (text.len() == 1 && !needs_two);
    (fits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `2019年10月1日`, or year, month and day, year and month, or month and day with one of the separators.
fn is_date(text: &str) -> bool {
    if let Some(rest) = text.strip_suffix('日') {
        let parts = rest.split_once('年').and_then(|(year, rest)| Some((year, rest.split_once('月')?)));
        return parts.is_some_and(|(year, (month, day))| is_day(year, month, day));
    }
    let Some(separator) = text.chars().find(|c| ['-', '/', '.'].contains(c)) else { return false };
    match *text.split(separator).collect::<Vec<&str>>() {
        [year, month, day] => is_day(year, month, day),
        [year, month] if year.len() == 4 => is_day(year, month, "1"),
        [month, day] => is_day(LEAP_YEAR, month, day),
        _ => false,
    }
}

/// Stands for the year of a date without one: 29 February may be meant.
const LEAP_YEAR: &str = "2024";

/// Whether there is such a day, written with four digits for the year and one or two for the others.
fn is_day(year: &str, month: &str, day: &str) -> bool {
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    let small = |part: &str| number(part).filter(|_| part.len() <= 2).and_then(|number: i16| i8::try_from(number).ok());
    let year = number(year).filter(|_| year.len() == 4);
    matches!((year, small(month), small(day)), (Some(y), Some(m), Some(d)) if jiff::civil::Date::new(y, m, d).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, title: &str, keys: &[&str]) -> Listed {
        let field = |key: &&str| Field { key: (*key).into(), values: vec![] };
        Listed {
            id: id.into(),
            title: title.into(),
            kind: TemplateKind::OneTime,
            fields: keys.iter().map(field).collect(),
        }
    }

    #[test]
    fn a_sync_adds_changes_and_removes_and_repeats_to_nothing() {
        let first =
            merge_listed(&BTreeMap::new(), vec![listed("A", "发货", &["thing1"]), listed("B", "旧", &["time2"])]);
        assert_eq!(first.added.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(first.added["A"].category, Category::Reminder);
        assert_eq!(first.added["A"].topic, "general");
        let known = first.added;
        let news = vec![listed("A", "订单发货", &["thing1"]), listed("C", "新", &["thing1"])];
        let second = merge_listed(&known, news);
        assert_eq!(second.added.keys().collect::<Vec<_>>(), ["C"]);
        assert_eq!(second.changed.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(second.removed, ["B"]);
        let again = vec![listed("A", "发货", &["thing1"]), listed("B", "旧", &["time2"])];
        assert_eq!(merge_listed(&known, again), Sync::default());
        assert_eq!(merge_listed(&known, Vec::new()), Sync::default(), "an empty list wipes nothing");
    }

    #[test]
    fn a_sync_keeps_what_is_the_owners_as_far_as_it_fits() {
        let mut ours = listed("A", "发货", &["thing1", "thing2", "enum_string3"]).merge(Template::unset());
        ours.category = Category::Basic;
        ours.topic = "orders".into();
        ours.marketing_allowed = true;
        ours.fields[2].values = vec!["顺丰".into()];
        ours.fallback = BTreeMap::from([("thing1".into(), "您的订单".into()), ("thing2".into(), "再见".into())]);
        let known = BTreeMap::from([("A".to_owned(), ours)]);
        let sync = merge_listed(&known, vec![listed("A", "发货", &["thing1", "enum_string3"])]);
        let merged = &sync.changed["A"];
        assert_eq!((merged.category, merged.topic.as_str()), (Category::Basic, "orders"));
        assert!(merged.marketing_allowed);
        assert_eq!(merged.fields[1].values, ["顺丰"]);
        assert_eq!(merged.fallback.keys().collect::<Vec<_>>(), ["thing1"]);
        assert_eq!(merged.validate(), Ok(()));
    }

    #[test]
    fn a_template_that_becomes_one_time_loses_its_long_term_limit() {
        let mut ours = listed("A", "发货", &["thing1"]).merge(Template::unset());
        ours.kind = TemplateKind::LongTerm;
        ours.long_term_limit = Some(LongTermLimit { per: LongTermPeriod::Day, limit: 1 });
        let sync = merge_listed(&BTreeMap::from([("A".to_owned(), ours)]), vec![listed("A", "发货", &["thing1"])]);
        assert_eq!(sync.changed["A"].long_term_limit, None);
    }

    fn check(key: &str, value: &str) -> Result<(), String> {
        let field = Field { key: key.into(), values: vec!["顺丰".into(), "京东".into()] };
        field.check("data.x", value).map_err(|invalid| invalid.code)
    }

    #[test]
    fn each_type_takes_what_the_platform_takes() {
        for (key, value) in [
            ("thing1", "手冲咖啡两杯"),
            ("thing1", &"字".repeat(20)),
            ("number1", "12.5"),
            ("letter1", "abc"),
            ("symbol1", "#!"),
            ("character_string1", "SF-1029/x"),
            ("time2", "15:01"),
            ("time2", "2019年10月1日 15:01"),
            ("time2", "2026-01-02 15:04:05"),
            ("time2", "09:00~18:00"),
            ("date1", "2019年10月1日"),
            ("date1", "2018-01"),
            ("date1", "01-01"),
            ("date1", "2018.01.01 10:00~2018/01/02"),
            ("date1", "02-29"),
            ("amount1", "￥36.00"),
            ("amount1", "36元"),
            ("phone_number1", "+86-0766-66888866"),
            ("car_number1", "粤A8Z888挂"),
            ("name1", "王小明"),
            ("name1", "Ada Lovelace"),
            ("phrase1", "已发货"),
            ("enum_string3", "京东"),
        ] {
            assert_eq!(check(key, value), Ok(()), "{key} {value}");
        }
    }

    #[test]
    fn each_type_refuses_what_the_platform_refuses() {
        for (key, value, code) in [
            ("thing1", &*"字".repeat(21), "field_too_long"),
            ("thing1", "  ", "field_empty"),
            ("thing1", "a\nb", "field_malformed"),
            ("number1", "1.2.3", "field_malformed"),
            ("number1", &"1".repeat(33), "field_too_long"),
            ("letter1", "a1", "field_malformed"),
            ("symbol1", "######", "field_too_long"),
            ("character_string1", "单号1", "field_malformed"),
            ("time2", "25:00", "field_malformed"),
            ("time2", "下午三点", "field_malformed"),
            ("date1", "2019-02-30", "field_malformed"),
            ("date1", "tomorrow", "field_malformed"),
            ("date1", "02019年10月1日", "field_malformed"),
            ("date1", "0002-29", "field_malformed"),
            ("date1", "2019年010月1日", "field_malformed"),
            ("date1", "2019月10年1日", "field_malformed"),
            ("amount1", "￥￥3", "field_malformed"),
            ("amount1", "12345678901", "field_malformed"),
            ("phone_number1", "12345678901234567890", "field_too_long"),
            ("car_number1", "粤A京888", "field_malformed"),
            ("name1", &"王".repeat(11), "field_too_long"),
            ("phrase1", "sent", "field_malformed"),
            ("phrase1", "已经发货了吧", "field_too_long"),
            ("enum_string3", "圆通", "field_not_in_list"),
            ("colour1", "x", "field_type_unknown"),
        ] {
            assert_eq!(check(key, value), Err(code.to_owned()), "{key} {value}");
        }
    }

    #[test]
    fn fill_completes_from_the_fallback_and_names_every_problem() {
        let template: Template = serde_json::from_str(
            r#"{"title":"订单发货提醒","fields":[{"key":"thing1"},{"key":"time2"},{"key":"number3"}],"fallback":{"thing1":"您的订单"}}"#,
        )
        .unwrap();
        let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let filled = template.fill(&data(&[("time2", "15:04"), ("number3", "2")])).unwrap();
        assert_eq!(filled["thing1"], "您的订单");
        let wrong = template.fill(&data(&[("time2", "noon"), ("thing9", "x")])).unwrap_err();
        let codes: Vec<_> = wrong.iter().map(|w| (w.field.as_str(), w.code.as_str())).collect();
        assert_eq!(
            codes,
            [("data.thing9", "field_unknown"), ("data.time2", "field_malformed"), ("data.number3", "field_missing")]
        );
    }
}
