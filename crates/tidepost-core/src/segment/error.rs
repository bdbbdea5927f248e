//! What is wrong with a segment, and where.

use std::fmt;

use thiserror::Error;

use crate::invalid::Invalid;

/// What is wrong with a segment: the place, what was expected there, what was found and what to do about it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{place}: {problem}")]
pub struct SegmentError {
    /// Where.
    pub place: Place,
    problem: Problem,
}

/// A place in a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In text.
    Text {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// In JSON: the path from the segment, such as `and[1].>=[0]`; empty for the segment itself.
    Json(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line, column } => write!(f, "line {line}, column {column}"),
            Self::Json(path) if path.is_empty() => f.write_str("the segment"),
            Self::Json(path) => f.write_str(path),
        }
    }
}

impl SegmentError {
    /// The error as one of a request whose segment stands in `field`.
    #[must_use]
    pub fn into_invalid(self, field: &str) -> Invalid {
        match &self.place {
            Place::Text { .. } => Invalid::new(field, CODE, self.to_string()),
            Place::Json(path) if path.is_empty() => Invalid::new(field, CODE, self.problem.to_string()),
            Place::Json(path) => Invalid::new(format!("{field}.{path}"), CODE, self.problem.to_string()),
        }
    }
}

const CODE: &str = "segment_malformed";

/// What is wrong, without the place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    expected: String,
    found: Option<String>,
    remedy: Option<String>,
}

impl Problem {
    pub fn expected(what: impl Into<String>) -> Self {
        Self { expected: what.into(), found: None, remedy: None }
    }

    pub fn found(self, what: impl Into<String>) -> Self {
        Self { found: Some(what.into()), ..self }
    }

    pub fn remedy(self, what: impl Into<String>) -> Self {
        Self { remedy: Some(what.into()), ..self }
    }

    /// Offers the name that was probably meant, where there is one.
    pub fn meant(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.remedy(format!("did you mean {name}?")),
            None => self,
        }
    }

    pub fn at(self, place: Place) -> SegmentError {
        SegmentError { place, problem: self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)?;
        if let Some(found) = &self.found {
            write!(f, ", found {found}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// A caller's own words in an error, cut where they are long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("'{}…'", text.get(..end).unwrap_or_default()),
        None => format!("'{text}'"),
    }
}
