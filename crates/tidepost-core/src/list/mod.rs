//! Files of people: openids for a campaign, or what a backend knows of its subscribers.
//!
//! Each comes as CSV (RFC 4180) or as NDJSON, one object a line as in `POST /v1/channels/{channel}/subscribers`. What is
//! wrong with a row is reported with its line and does not stop the rest.

mod columns;
mod csv;
mod ndjson;

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;

use crate::ids::check_id;
use crate::invalid::Invalid;
use crate::profile::ProfileRequest;

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Rows of cells: for openids one column, with or without a header; for subscribers with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Import<T> {
    /// One for each person, in the order of the file.
    pub rows: Vec<Row<T>>,
    /// What is not among the rows, and why; a line with several faults comes several times.
    pub rejected: Vec<Rejected>,
    /// Lines that named somebody again.
    pub repeated: usize,
}

/// Something that stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<T> {
    /// The first line that it comes from, from 1.
    pub line: usize,
    /// What stands there.
    pub value: T,
}

/// One fault of a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// From 1.
    pub line: usize,
    /// The column and the reason.
    #[serde(flatten)]
    pub reason: Invalid,
}

/// Rows, each of them readable or not, with the lines they begin at.
type Read<T> = Row<Result<T, Vec<Invalid>>>;

/// The openids of a file, each once.
#[must_use]
pub fn openids(file: &[u8], form: Form) -> Import<String> {
    let rows = match (form, utf8(file)) {
        (_, Err(unreadable)) => vec![unreadable],
        (Form::Csv, Ok(file)) => csv::openids(file),
        (Form::Ndjson, Ok(file)) => ndjson::subscribers(file)
            .into_iter()
            .map(|row| Row { line: row.line, value: row.value.map(|request| request.openid) })
            .collect(),
    };
    collect(rows, String::clone, |_, _| None)
}

/// The subscribers of a file. Lines that name the same person, such as one line for each purchase, become one request in
/// which the later line counts where they disagree.
#[must_use]
pub fn subscribers(file: &[u8], form: Form) -> Import<ProfileRequest> {
    let rows = match (form, utf8(file)) {
        (_, Err(unreadable)) => vec![unreadable],
        (Form::Csv, Ok(file)) => columns::subscribers(file),
        (Form::Ndjson, Ok(file)) => ndjson::subscribers(file),
    };
    collect(rows, |request| request.openid.clone(), merge)
}

/// The file without its byte order mark.
fn utf8<T>(file: &[u8]) -> Result<&[u8], Read<T>> {
    if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) {
        let message = "the file is UTF-16; save it as UTF-8";
        return Err(Row { line: 1, value: Err(vec![Invalid::new("file", "not_utf8", message)]) });
    }
    Ok(file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file))
}

fn not_utf8(field: &str) -> Invalid {
    Invalid::new(field, "not_utf8", "must be UTF-8; save the file as UTF-8")
}

/// Sorts rows by whether they can be read. `merge` puts a person's later row into the earlier one, or hands it back where
/// that is full.
fn collect<T, K: Eq + Hash>(
    rows: Vec<Read<T>>,
    key: impl Fn(&T) -> K,
    merge: impl Fn(&mut T, T) -> Option<T>,
) -> Import<T> {
    let mut import = Import { rows: Vec::new(), rejected: Vec::new(), repeated: 0 };
    let mut places: HashMap<K, usize> = HashMap::new();
    for Row { line, value } in rows {
        let value = match value {
            Ok(value) => value,
            Err(reasons) => {
                import.rejected.extend(reasons.into_iter().map(|reason| Rejected { line, reason }));
                continue;
            }
        };
        let place = places.entry(key(&value)).or_insert(import.rows.len());
        let rest = match import.rows.get_mut(*place) {
            Some(known) => {
                import.repeated += 1;
                merge(&mut known.value, value)
            }
            None => Some(value),
        };
        if let Some(value) = rest {
            *place = import.rows.len();
            import.rows.push(Row { line, value });
        }
    }
    import
}

/// Purchases of one request at the most, so that a request stays far below the size of a body.
const PURCHASES_MAX: usize = 500;

fn merge(known: &mut ProfileRequest, later: ProfileRequest) -> Option<ProfileRequest> {
    if known.purchases.len() + later.purchases.len() > PURCHASES_MAX {
        return Some(later);
    }
    known.union_id = later.union_id.or_else(|| known.union_id.take());
    known.user_id = later.user_id.or_else(|| known.user_id.take());
    known.time_zone = later.time_zone.or_else(|| known.time_zone.take());
    known.attributes.extend(later.attributes);
    known.tags.add.retain(|tag| !later.tags.remove.contains(tag));
    known.tags.remove.retain(|tag| !later.tags.add.contains(tag));
    known.tags.add.extend(later.tags.add);
    known.tags.remove.extend(later.tags.remove);
    known.purchases.extend(later.purchases);
    None
}

/// Whether all of a row's fields hold.
fn checked(request: ProfileRequest) -> Result<ProfileRequest, Vec<Invalid>> {
    const AT: &str = "row";
    let unprefixed = |mut invalid: Invalid| {
        invalid.field = invalid.field.trim_start_matches(AT).trim_start_matches('.').to_owned();
        invalid
    };
    match request.clone().accept(AT) {
        Ok(_) => Ok(request),
        Err(wrong) => Err(wrong.into_iter().map(unprefixed).collect()),
    }
}

/// An openid as it stands in a cell.
fn openid(cell: &str) -> Result<String, Vec<Invalid>> {
    check_id("openid", cell).map_err(|invalid| vec![invalid])?;
    Ok(cell.to_owned())
}
