//! A segment as text, in one way for each segment: what the parser reads back as the same.

use std::fmt::{self, Display};

use crate::segment::{Literal, Node, Segment};

impl Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) => join(f, parts, " and ", |part| matches!(part, Self::And(_) | Self::Or(_))),
            Self::Or(parts) => join(f, parts, " or ", |part| matches!(part, Self::Or(_))),
            Self::Not(part) => {
                f.write_str("not ")?;
                enclose(f, part, matches!(**part, Self::And(_) | Self::Or(_)))
            }
            Self::Tag(tag) => write!(f, "tag({})", Quoted(tag)),
            Self::Grant(template) => write!(f, "grant({})", Quoted(template)),
            Self::Received(campaign) => write!(f, "received('{campaign}')"),
            Self::Clicked(campaign) => write!(f, "clicked('{campaign}')"),
            Self::Ready(ready) => f.write_str(ready.name()),
            Self::Compare(field, op, literal) => write!(f, "{field} {} {literal}", op.name()),
            Self::In(field, literals) => {
                write!(f, "{field} in [")?;
                for (index, literal) in literals.iter().enumerate() {
                    write!(f, "{}{literal}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Contains(field, text) => write!(f, "{field} contains {}", Quoted(text)),
            Self::Exists(field) => write!(f, "{field} exists"),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[Node], word: &str, in_parentheses: fn(&Node) -> bool) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { word })?;
        enclose(f, part, in_parentheses(part))?;
    }
    Ok(())
}

fn enclose(f: &mut fmt::Formatter<'_>, part: &Node, in_parentheses: bool) -> fmt::Result {
    if in_parentheses { write!(f, "({part})") } else { part.fmt(f) }
}

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Bool(bool) => bool.fmt(f),
            Self::Date(date) => date.fmt(f),
        }
    }
}

/// A text between single quotes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\\', r"\\").replace('\'', r"\'"))
    }
}
