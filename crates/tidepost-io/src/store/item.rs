//! The form of an item: its key, and all that it says in one attribute, as MessagePack with names.
//!
//! One attribute instead of one per field: a person in nested maps costs the SDK several times the work, on each send.
//! What a later version adds to a shape goes to an attribute of its own beside it, since older versions carry whole
//! attributes through, but nothing inside one.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Key, Kind, StoreError};

/// A raw item.
pub type Attributes = HashMap<String, AttributeValue>;

/// The name of the partition key.
pub const PK: &str = "pk";
/// The name of the sort key.
pub const SK: &str = "sk";
/// The attribute that DynamoDB deletes items by, in seconds of the epoch.
pub const TTL: &str = "ttl";
/// The attribute of a pointer: the sort key of the item that took over.
pub const TO: &str = "to";
/// The attribute that compare-and-swap compares.
pub(super) const VERSION: &str = "v";
/// The attribute with all that the item says.
const DATA: &str = "d";

/// An item as it was read.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// What it says.
    pub value: T,
    pub(super) key: Key,
    pub(super) version: i64,
    to: Option<String>,
    /// Attributes that this version does not know.
    pub(super) carried: Attributes,
}

impl<T> Stored<T> {
    /// Where it is.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// For a pointer: the sort key of the item that took over.
    #[must_use]
    pub fn points_to(&self) -> Option<&str> {
        self.to.as_deref()
    }

    /// What it is after `value` replaced it, or was stored where nothing was.
    pub(super) fn replaced(old: Option<&Self>, key: &Key, value: T) -> Self {
        Self {
            value,
            key: key.clone(),
            version: next_version(old),
            to: None,
            carried: old.map(|old| old.carried.clone()).unwrap_or_default(),
        }
    }
}

impl<T: DeserializeOwned> Stored<T> {
    pub(super) fn parse(mut item: Attributes) -> Result<Self, StoreError> {
        let key = key_of(&item);
        item.retain(|name, _| name != PK && name != SK);
        let version = item.remove(VERSION).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or(0);
        let to = take_text(&mut item, TO);
        item.remove(TTL);
        match decode(&mut item) {
            Ok(value) => Ok(Self { value, key, version, to, carried: item }),
            Err(detail) => Err(StoreError::Form { pk: key.pk, detail }),
        }
    }
}

/// Takes what an item says out of it.
fn decode<T: DeserializeOwned>(item: &mut Attributes) -> Result<T, String> {
    match item.remove(DATA) {
        Some(AttributeValue::B(data)) => rmp_serde::from_slice(data.as_ref()).map_err(|error| error.to_string()),
        Some(_) => Err(format!("{DATA} is not binary")),
        // The first form: one attribute for each field. It has nothing to carry through.
        None => serde_dynamo::from_item(std::mem::take(item)).map_err(|error| error.to_string()),
    }
}

/// The version of what replaces an item.
pub(super) fn next_version<T>(old: Option<&Stored<T>>) -> i64 {
    old.map_or(0, |old| old.version) + 1
}

/// The item that says `value`.
pub(super) fn encode<T: Serialize>(
    key: &Key,
    value: &T,
    expires_at: Option<Timestamp>,
) -> Result<Attributes, StoreError> {
    debug_assert!(Kind::of(key).is_some(), "{key:?} is of no kind of store::kind; add it, with a fixture");
    let data = rmp_serde::to_vec_named(value);
    let data = data.map_err(|error| StoreError::Form { pk: key.pk.clone(), detail: error.to_string() })?;
    let mut item = key.attributes();
    item.insert(DATA.to_owned(), AttributeValue::B(Blob::new(data)));
    if let Some(end) = expires_at {
        item.insert(TTL.to_owned(), number(end.as_second()));
    }
    Ok(item)
}

/// Where a raw item is.
pub(super) fn key_of(item: &Attributes) -> Key {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    Key::new(text(PK), text(SK))
}

pub(super) fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn take_text(item: &mut Attributes, name: &str) -> Option<String> {
    match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

/// Bytes that DynamoDB charges for an item (its developer guide, 'item sizes and formats'): names and values, numbers about
/// half their digits.
#[cfg(test)]
pub(crate) fn size_bytes(item: &Attributes) -> usize {
    let size = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        other => panic!("no part of our items: {other:?}"),
    };
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Value = BTreeMap<String, u32>;

    #[test]
    fn the_first_form_is_read_and_the_second_is_written() {
        let key = Key::new("Y", "shop");
        let mut first = key.attributes();
        first.insert("count".into(), number(3));
        first.insert(VERSION.into(), number(7));
        let stored = Stored::<Value>::parse(first).unwrap();
        assert_eq!((stored.value["count"], stored.version, stored.carried.len()), (3, 7, 0));
        let second = encode(&key, &stored.value, None).unwrap();
        assert_eq!(second.len(), 3, "{second:?}");
        assert_eq!(Stored::<Value>::parse(second).unwrap().value, stored.value);
    }

    #[test]
    fn what_a_newer_version_wrote_beside_is_carried_through() {
        let key = Key::new("Y", "shop");
        let mut newer = encode(&key, &Value::from([("count".into(), 1)]), Some(Timestamp::UNIX_EPOCH)).unwrap();
        newer.insert("e".into(), AttributeValue::S("new".into()));
        let stored = Stored::<Value>::parse(newer).unwrap();
        let next = Stored::replaced(Some(&stored), &key, Value::new());
        assert_eq!(next.carried, Attributes::from([("e".to_owned(), AttributeValue::S("new".into()))]));
    }
}
