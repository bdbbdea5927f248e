//! Segments: who is meant, as an expression over one person.
//!
//! A segment has two forms that say the same. Text: `tag('vip') and rfm.monetary >= 4`. JSON:
//! `{"and":[{"tag":"vip"},{">=":[{"field":"rfm.monetary"},4]}]}`.
//!
//! | text | JSON | true for |
//! | --- | --- | --- |
//! | `a and b`, `a or b`, `not a`, `( )` | `{"and":[…]}`, `{"or":[…]}`, `{"not":…}` | `not` binds tightest, then `and` |
//! | `tag('vip')` | `{"tag":"vip"}` | people with the tag |
//! | `grant('TMPL_B')` | `{"grant":"TMPL_B"}` | people whom the channel may send that template to now |
//! | `received('c_…')`, `clicked('c_…')` | `{"received":"c_…"}` | people who were sent the campaign and did not refuse it, or who clicked it, in any of its occurrences |
//! | `new`, `active`, `silent` | `"new"` | see [`Ready`] |
//! | `field = 1`, `!=` `<` `<=` `>` `>=` | `{"=":[{"field":"…"},1]}` | a known field that compares so |
//! | `field in ['a', 'b']` | `{"in":[{"field":"…"},["a","b"]]}` | a known field equal to one of them |
//! | `field contains 'a'` | `{"contains":[{"field":"…"},"a"]}` | a text with that part |
//! | `field exists` | `{"exists":{"field":"…"}}` | a field that is known |
//!
//! The fields are in [`Field`]. Texts stand in `'…'` or `"…"`, with `\` before a quote or `\` inside; numbers are plain
//! decimals; days are `2026-11-21`, in JSON `{"date":"2026-11-21"}`; `true` and `false`.
//!
//! What is not known equals nothing and is not unequal either: every comparison with it is false, so that `not` turns it to
//! true. The same holds for values of two kinds (a text is neither equal nor unequal to a number), except that a text that
//! is a day (`1990-05-01`) compares with days. Days are counted, and dates read, in the channel's zone.

mod build;
mod error;
mod facts;
mod field;
mod json;
mod lex;
mod show;
mod text;

pub use error::{Place, SegmentError};
pub use facts::Facts;
pub use field::Field;

use jiff::civil::Date;

use crate::ids::CampaignId;

/// Characters of a segment at the most, as given and as [`Segment`]'s own text.
pub const CHARACTERS_MAX: usize = 8_192;

/// How deep `and`, `or`, `not` and parentheses may lie in each other.
pub const DEPTH_MAX: usize = 32;

/// Who is meant. Its text is its `Display`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment(Node);

/// A part of a segment that is true or false for a person.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// Two or more.
    And(Vec<Node>),
    /// Two or more.
    Or(Vec<Node>),
    Not(Box<Node>),
    Tag(String),
    Grant(String),
    /// The campaign as a whole.
    Received(CampaignId),
    /// The campaign as a whole.
    Clicked(CampaignId),
    Ready(Ready),
    Compare(Field, Op, Literal),
    In(Field, Vec<Literal>),
    Contains(Field, String),
    Exists(Field),
}

/// Segments that need no definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ready {
    /// First seen fewer than [`NEW_DAYS`] days ago.
    New,
    /// Active fewer than [`SILENT_DAYS`] days ago.
    Active,
    /// Not active for [`SILENT_DAYS`] days: last active, or first seen and never active, so long ago.
    Silent,
}

/// How long a person is new, in days of the channel's calendar: our choice, as long as it takes to fall silent.
pub const NEW_DAYS: i64 = 7;

/// How long without activity makes a person silent, in days of the channel's calendar: the field's example for WeChat is
/// a coupon that brings back people who did not log in for 7 days.
pub const SILENT_DAYS: i64 = 7;

impl Ready {
    const ALL: [(&'static str, Self); 3] = [("active", Self::Active), ("new", Self::New), ("silent", Self::Silent)];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, ready)| ready)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, ready)| *ready == self).map_or("", |(name, _)| name)
    }
}

/// How a field compares with a literal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Op {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Op {
    const ALL: [(&'static str, Self); 6] = [
        ("!=", Self::Unequal),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        ("=", Self::Equal),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, op)| op)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Text(String),
    /// 0, or 1e-9 to 1e15 with either sign: what an attribute may be.
    Number(f64),
    Bool(bool),
    Date(Date),
}
