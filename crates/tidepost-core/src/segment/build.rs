//! What both forms have in common: which parts fit together.

use jiff::civil::Date;

use crate::ids::CampaignId;
use crate::profile::is_number;
use crate::segment::error::{Problem, quoted};
use crate::segment::field::{Field, Kind};
use crate::segment::{DEPTH_MAX, Literal, Node, Op};

/// A part and how deep it is.
pub(super) struct Built {
    pub node: Node,
    pub depth: usize,
}

impl Built {
    pub fn leaf(node: Node) -> Self {
        Self { node, depth: 0 }
    }

    /// Several parts in one `and` or `or`; one stays what it is.
    pub fn group(mut parts: Vec<Self>, join: fn(Vec<Node>) -> Node) -> Result<Self, Problem> {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return Ok(only);
        }
        let depth = parts.iter().map(|part| part.depth).max().unwrap_or_default();
        Self::above(depth, join(parts.into_iter().map(|part| part.node).collect()))
    }

    pub fn negated(self) -> Result<Self, Problem> {
        Self::above(self.depth, Node::Not(Box::new(self.node)))
    }

    fn above(depth: usize, node: Node) -> Result<Self, Problem> {
        check_depth(depth + 1)?;
        Ok(Self { node, depth: depth + 1 })
    }
}

pub(super) fn check_depth(depth: usize) -> Result<(), Problem> {
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    let problem = Problem::expected(format!("at most {DEPTH_MAX} levels of and, or, not and parentheses"));
    Err(problem.remedy("merge nested conditions, or use in [..] for many values"))
}

/// A condition that names one thing, as `tag('vip')`.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Clicked,
    Grant,
    Received,
    Tag,
}

impl Call {
    pub const ALL: [(&'static str, Self); 4] =
        [("clicked", Self::Clicked), ("grant", Self::Grant), ("received", Self::Received), ("tag", Self::Tag)];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, call)| call)
    }

    pub fn of(self, text: String) -> Result<Node, Problem> {
        match self {
            Self::Clicked => campaign(&text).map(Node::Clicked),
            Self::Received => campaign(&text).map(Node::Received),
            Self::Tag | Self::Grant if text.is_empty() => Err(Problem::expected("a name").found("an empty text")),
            Self::Grant => Ok(Node::Grant(text)),
            Self::Tag => Ok(Node::Tag(text)),
        }
    }
}

fn campaign(text: &str) -> Result<CampaignId, Problem> {
    CampaignId::parse(text)
        .map(CampaignId::whole)
        .ok_or_else(|| Problem::expected("a campaign's id, c_ and 13 characters").found(quoted(text)))
}

pub(super) fn check_number(number: f64) -> Result<f64, Problem> {
    let problem = || Problem::expected("0 or a number between 1e-9 and 1e15").found(number.to_string());
    is_number(number).then_some(number).ok_or_else(problem)
}

pub(super) fn date(text: &str) -> Option<Date> {
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| is_plain)
}

impl Literal {
    fn describe(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Date(_) => "a date",
        }
    }

    /// Whether a comparison of `field` with this can ever be true.
    pub fn check(&self, field: &Field) -> Result<(), Problem> {
        let expected = match (field.kind(), self) {
            (Kind::Any, _) | (Kind::Number, Self::Number(_)) | (Kind::Date, Self::Date(_)) => return Ok(()),
            (Kind::Number, _) => format!("a number to compare {field} with, such as 4"),
            (Kind::Date, _) => format!("a date to compare {field} with, such as 2026-11-21"),
        };
        Err(Problem::expected(expected).found(self.describe()))
    }
}

/// Checks the literal against the operator; against the field it is checked where it is read.
pub(super) fn compare(field: Field, op: Op, literal: Literal) -> Result<Node, Problem> {
    if matches!(literal, Literal::Bool(_)) && !matches!(op, Op::Equal | Op::Unequal) {
        return Err(Problem::expected("= or != before true or false").found(quoted(op.name())));
    }
    Ok(Node::Compare(field, op, literal))
}

/// Checks that a field can hold texts.
pub(super) fn check_contains(field: &Field) -> Result<(), Problem> {
    if field.kind() == Kind::Any {
        return Ok(());
    }
    Err(Problem::expected("an attribute before contains").found(field.to_string()))
}
