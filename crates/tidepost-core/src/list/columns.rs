//! Subscribers as rows of cells.
//!
//! | column | holds |
//! | --- | --- |
//! | `openid` | needed |
//! | `union_id`, `user_id`, `time_zone` | as in the API |
//! | `tags`, `tags.remove` | labels to put on and to take off, with `;` between them |
//! | `attributes.<name>` | a text; `attributes.<name>:number` a number, `attributes.<name>:bool` true or false |
//! | `purchases.id`, `purchases.at`, `purchases.amount`, `purchases.items` | one purchase; `items` may be left out |
//!
//! An empty cell leaves things as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use crate::invalid::Invalid;
use crate::list::csv::{Records, check_count};
use crate::list::{Read, Row, checked};
use crate::nearest::nearest;
use crate::profile::{ProfileRequest, PurchaseRequest, Tags};

/// Lines that one record may run over, by line breaks in quoted cells.
const RECORD_LINES_MAX: usize = 50;

/// The requests of a file, one for each row; of a file whose header is wrong, only what is wrong with it.
pub(super) fn subscribers(file: &[u8]) -> Vec<Read<ProfileRequest>> {
    let mut records = Records::new(file, RECORD_LINES_MAX);
    let columns = match records.next(|names| columns(&names)) {
        None => return Vec::new(),
        Some(Row { value: Ok(columns), .. }) => columns,
        Some(Row { line, value: Err(wrong) }) => return vec![Row { line, value: Err(wrong) }],
    };
    std::iter::from_fn(|| records.next(|cells| request(&columns, &cells))).collect()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Bool,
    Number,
    Text,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Column {
    Attribute(String, Kind),
    Plain(&'static str),
}

const OPENID: &str = "openid";
const PURCHASE: [&str; 3] = ["purchases.id", "purchases.at", "purchases.amount"];
const ITEMS: &str = "purchases.items";
const TAGS: &str = "tags";
const TAGS_REMOVE: &str = "tags.remove";
const TIME_ZONE: &str = "time_zone";
const UNION_ID: &str = "union_id";
const USER_ID: &str = "user_id";

const PLAIN: [&str; 10] = [
    OPENID,
    ITEMS,
    "purchases.amount",
    "purchases.at",
    "purchases.id",
    TAGS,
    TAGS_REMOVE,
    TIME_ZONE,
    UNION_ID,
    USER_ID,
];

/// What the columns hold, by the cells of the header.
fn columns(names: &[String]) -> Result<Vec<Column>, Vec<Invalid>> {
    let mut columns = Vec::new();
    let mut wrong = Vec::new();
    for name in names {
        match column(name) {
            Ok(column) if columns.contains(&column) => {
                wrong.push(Invalid::new(name, "duplicate", "this column comes twice"));
            }
            Ok(column) => columns.push(column),
            Err(invalid) => wrong.push(invalid),
        }
    }
    let has = |name: &'static str| columns.contains(&Column::Plain(name));
    if wrong.is_empty() && !has(OPENID) {
        wrong.push(Invalid::new(OPENID, "column_missing", "the first line names the columns; one must be openid"));
    }
    let some = PURCHASE.into_iter().chain([ITEMS]).any(has);
    let missing = PURCHASE.into_iter().filter(|name| some && wrong.is_empty() && !has(name));
    let missing: Vec<Invalid> = missing
        .map(|name| Invalid::new(name, "column_missing", "a purchase has an id, a time and an amount"))
        .collect();
    wrong.extend(missing);
    if wrong.is_empty() { Ok(columns) } else { Err(wrong) }
}

fn column(name: &str) -> Result<Column, Invalid> {
    if let Some(attribute) = name.strip_prefix("attributes.") {
        let (attribute, kind) = attribute.split_once(':').unwrap_or((attribute, "text"));
        let kind = match kind {
            "bool" => Kind::Bool,
            "number" => Kind::Number,
            "text" => Kind::Text,
            _ => return Err(Invalid::new(name, "column_unknown", "after : stands text, number or bool")),
        };
        return Ok(Column::Attribute(attribute.to_owned(), kind));
    }
    let known = PLAIN.into_iter().find(|known| *known == name);
    known.map(Column::Plain).ok_or_else(|| {
        let message = match nearest(name, PLAIN) {
            Some(meant) => format!("no such column; did you mean {meant}?"),
            None => format!("no such column; there are {} and attributes.<name>", PLAIN.join(", ")),
        };
        Invalid::new(name, "column_unknown", message)
    })
}

fn request(columns: &[Column], cells: &[String]) -> Result<ProfileRequest, Vec<Invalid>> {
    check_count(cells, columns.len())?;
    let filled = || columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
    let cell = |name: &'static str| filled().find(|(column, _)| **column == Column::Plain(name)).map(|(_, cell)| cell);
    let labels = |name| -> BTreeSet<String> {
        let labels = cell(name).into_iter().flat_map(|cell| cell.split(';')).map(str::trim);
        labels.filter(|label| !label.is_empty()).map(str::to_owned).collect()
    };
    let mut attributes = BTreeMap::new();
    let mut wrong = Vec::new();
    for (column, cell) in filled() {
        let Column::Attribute(name, kind) = column else { continue };
        match value(name, *kind, cell) {
            Ok(value) => drop(attributes.insert(name.clone(), value)),
            Err(invalid) => wrong.push(invalid),
        }
    }
    let purchase = purchase(cell).map_err(|invalid| wrong.push(invalid)).unwrap_or_default();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    checked(ProfileRequest {
        openid: cell(OPENID).cloned().unwrap_or_default(),
        union_id: cell(UNION_ID).cloned(),
        user_id: cell(USER_ID).cloned(),
        time_zone: cell(TIME_ZONE).cloned(),
        attributes,
        tags: Tags { add: labels(TAGS), remove: labels(TAGS_REMOVE) },
        purchases: purchase.into_iter().collect(),
    })
}

fn value(name: &str, kind: Kind, cell: &str) -> Result<Value, Invalid> {
    let wrong = |message: &str| Invalid::new(format!("attributes.{name}"), "field_malformed", message);
    match kind {
        Kind::Text => Ok(cell.into()),
        Kind::Bool => cell.parse::<bool>().map(Value::from).map_err(|_| wrong("must be true or false")),
        Kind::Number => {
            cell.parse::<Number>().map(Value::Number).map_err(|_| wrong("must be a number such as 4 or 29.33"))
        }
    }
}

/// The purchase of a row, unless its cells are all empty.
fn purchase<'a>(cell: impl Fn(&'static str) -> Option<&'a String>) -> Result<Option<PurchaseRequest>, Invalid> {
    let [id, at, amount] = PURCHASE.map(&cell);
    let items = cell(ITEMS);
    let wrong = |name: &str, message: &str| Invalid::new(name, "field_malformed", message);
    let (Some(id), Some(at), Some(amount)) = (id, at, amount) else {
        let empty = [id, at, amount, items].iter().all(Option::is_none);
        return if empty { Ok(None) } else { Err(wrong("purchases", "id, at and amount belong together")) };
    };
    let at = at.parse().map_err(|_| wrong("purchases.at", "must be a time such as 2026-11-21T10:00:00+08:00"))?;
    let items = items.map(|items| items.parse().map_err(|_| wrong(ITEMS, "must be a whole number"))).transpose()?;
    Ok(Some(PurchaseRequest { id: id.clone(), at, amount: amount.clone(), items }))
}
