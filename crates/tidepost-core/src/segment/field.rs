//! What can be asked of a person.

use crate::ids::is_id;
use crate::nearest::nearest;
use crate::segment::error::{Problem, quoted};

/// What can be asked of a person and compared with a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    /// `attributes.<name>`: what the backend told, a text, a number, or true or false.
    Attribute(String),
    /// `first_seen`: the day the person was first heard of.
    FirstSeen,
    /// `first_seen_days`: days since then; 0 is today.
    FirstSeenDays,
    /// `last_active`: the day the person last did something.
    LastActive,
    /// `last_active_days`: days since then; 0 is today.
    LastActiveDays,
    /// `purchases.frequency`: how many; 0 without any.
    PurchaseFrequency,
    /// `purchases.monetary`: how much all of them cost, in units of the currency; 0 without any.
    PurchaseMonetary,
    /// `purchases.recency`: days since the last one; not known without any.
    PurchaseRecency,
    /// `rfm.frequency`: 1 to 5 among the channel's buyers, 5 bought most often; not known without a purchase.
    RfmFrequency,
    /// `rfm.monetary`: 1 to 5, 5 spent most.
    RfmMonetary,
    /// `rfm.recency`: 1 to 5, 5 bought most recently.
    RfmRecency,
}

const ATTRIBUTE: &str = "attributes.";

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Any,
    Date,
    Number,
}

impl Field {
    const ALL: [(&'static str, Self); 10] = [
        ("first_seen", Self::FirstSeen),
        ("first_seen_days", Self::FirstSeenDays),
        ("last_active", Self::LastActive),
        ("last_active_days", Self::LastActiveDays),
        ("purchases.frequency", Self::PurchaseFrequency),
        ("purchases.monetary", Self::PurchaseMonetary),
        ("purchases.recency", Self::PurchaseRecency),
        ("rfm.frequency", Self::RfmFrequency),
        ("rfm.monetary", Self::RfmMonetary),
        ("rfm.recency", Self::RfmRecency),
    ];

    /// The names of all fields, and what begins the name of an attribute.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(|(name, _)| name).chain([ATTRIBUTE])
    }

    /// Reads a field's name.
    pub(super) fn parse(name: &str) -> Result<Self, Problem> {
        if let Some(attribute) = name.strip_prefix(ATTRIBUTE) {
            let problem =
                || Problem::expected("a name of 1 to 64 of the characters A-Z a-z 0-9 _ . - after attributes.");
            return is_id(attribute).then(|| Self::Attribute(attribute.to_owned())).ok_or_else(problem);
        }
        let known = Self::ALL.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, field)| field).ok_or_else(|| {
            let problem = Problem::expected("a field").found(quoted(name));
            match nearest(name, Self::names()) {
                None if is_id(name) => problem.remedy(format!("an attribute is written attributes.{name}")),
                meant => problem.meant(meant),
            }
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Attribute(_) => Kind::Any,
            Self::FirstSeen | Self::LastActive => Kind::Date,
            Self::FirstSeenDays
            | Self::LastActiveDays
            | Self::PurchaseFrequency
            | Self::PurchaseMonetary
            | Self::PurchaseRecency
            | Self::RfmFrequency
            | Self::RfmMonetary
            | Self::RfmRecency => Kind::Number,
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "{ATTRIBUTE}{name}"),
            other => {
                let known = Self::ALL.iter().find(|(_, field)| field == other);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}
