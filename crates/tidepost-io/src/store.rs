//! The one DynamoDB table: typed items, compare-and-swap, pages.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A raw item.
pub type Attributes = HashMap<String, AttributeValue>;

/// The name of the partition key.
pub const PK: &str = "pk";
/// The name of the sort key.
pub const SK: &str = "sk";
/// The attribute that DynamoDB deletes items by, in seconds of the epoch.
pub const TTL: &str = "ttl";
/// The attribute that compare-and-swap compares.
const VERSION: &str = "v";

/// Where an item is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The partition.
    pub pk: String,
    /// The place in it.
    pub sk: String,
}

impl Key {
    /// Names an item.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    fn attributes(&self) -> Attributes {
        HashMap::from([
            (PK.to_owned(), AttributeValue::S(self.pk.clone())),
            (SK.to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }
}

/// What can go wrong between us and DynamoDB. All of it may be tried again later.
#[derive(Debug, Error)]
pub enum StoreError {
    /// DynamoDB refused or could not be reached.
    #[error("DynamoDB: {operation}: {detail}")]
    Call {
        /// Which call.
        operation: &'static str,
        /// What it said.
        detail: String,
    },
    /// An item does not have the form that this version knows.
    #[error("an item of partition {pk} cannot be read: {detail}")]
    Form {
        /// Its partition.
        pk: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// An item as it was read.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// What it says.
    pub value: T,
    /// The item itself: what this version does not know is carried through from here.
    raw: Attributes,
}

/// What became of a compare-and-swap.
#[derive(Debug)]
pub enum Swap<T> {
    /// The item is as given.
    Done(Stored<T>),
    /// The item was not what was expected; this is what it is.
    Conflict(Option<Stored<T>>),
}

/// A page of a partition.
#[derive(Debug)]
pub struct Page<T> {
    /// Sort keys and items.
    pub items: Vec<(String, T)>,
    /// The sort key to go on after; `None` at the end.
    pub next: Option<String>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
}

/// Keys that one BatchGetItem takes.
const BATCH_GET_MAX: usize = 100;

impl Store {
    /// A store over one table.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads one item, as it is now.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or the item has an unknown form.
    pub async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Stored<T>>, StoreError> {
        let request =
            self.client.get_item().table_name(&self.table).set_key(Some(key.attributes())).consistent_read(true);
        let answer = request.send().await.map_err(|error| call_error("GetItem", &error))?;
        answer.item.map(Stored::parse).transpose()
    }

    /// Reads one item as it was a moment ago, which costs half as much.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or the item has an unknown form.
    pub async fn glance<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key.attributes()));
        let answer = request.send().await.map_err(|error| call_error("GetItem", &error))?;
        answer.item.map(|item| read(item).map(|(_, value)| value)).transpose()
    }

    /// Reads many items, as they are now; absent ones are left out.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or an item has an unknown form.
    pub async fn get_many<T: DeserializeOwned>(&self, keys: &[Key]) -> Result<HashMap<Key, Stored<T>>, StoreError> {
        let items = self.get_items(keys).await?.into_iter();
        items.map(|item| Stored::parse(item).map(|stored| (stored.key(), stored))).collect()
    }

    /// The same of items that will not be replaced by what they are now: only their values.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or an item has an unknown form.
    pub async fn get_values<T: DeserializeOwned>(&self, keys: &[Key]) -> Result<HashMap<Key, T>, StoreError> {
        self.get_items(keys).await?.into_iter().map(read).collect()
    }

    async fn get_items(&self, keys: &[Key]) -> Result<Vec<Attributes>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut unique: Vec<&Key> = keys.iter().collect();
        unique.sort();
        unique.dedup();
        for chunk in unique.chunks(BATCH_GET_MAX) {
            let mut wanted: Vec<Attributes> = chunk.iter().map(|key| key.attributes()).collect();
            while !wanted.is_empty() {
                let (items, left) = self.batch_get(wanted).await?;
                found.extend(items);
                wanted = left;
            }
        }
        Ok(found)
    }

    async fn batch_get(&self, keys: Vec<Attributes>) -> Result<(Vec<Attributes>, Vec<Attributes>), StoreError> {
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let wanted =
            wanted.map_err(|error| StoreError::Call { operation: "BatchGetItem", detail: error.to_string() })?;
        let request = self.client.batch_get_item().request_items(&self.table, wanted);
        let answer = request.send().await.map_err(|error| call_error("BatchGetItem", &error))?;
        let items = answer.responses.and_then(|mut tables| tables.remove(&self.table)).unwrap_or_default();
        let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(&self.table));
        Ok((items, left.map(|keys| keys.keys).unwrap_or_default()))
    }

    /// Stores `value` if the item still is what was read as `old` (`None`: if there is none).
    ///
    /// Attributes of the old item that are not in `known` are carried through, so that an older version of a function does
    /// not lose what a newer one wrote.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn swap<T: Serialize + DeserializeOwned + Clone>(
        &self,
        key: &Key,
        old: Option<&Stored<T>>,
        value: &T,
        known: &[&str],
        expires_at: Option<Timestamp>,
    ) -> Result<Swap<T>, StoreError> {
        let mut item = to_item(key, value)?;
        let version = old.map_or(0, Stored::version);
        for (name, unknown) in old.iter().flat_map(|stored| &stored.raw) {
            if !known.contains(&name.as_str()) && name != TTL && name != TO {
                item.entry(name.clone()).or_insert_with(|| unknown.clone());
            }
        }
        item.insert(VERSION.to_owned(), number(version + 1));
        if let Some(end) = expires_at {
            item.insert(TTL.to_owned(), number(end.as_second()));
        }
        let mut put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        put = match old {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(_) => put.condition_expression("v = :v").expression_attribute_values(":v", number(version)),
        };
        match put.send().await {
            Ok(_) => Ok(Swap::Done(Stored { value: value.clone(), raw: item })),
            Err(error) => Ok(Swap::Conflict(failed_condition(error)?.map(Stored::parse).transpose()?)),
        }
    }

    /// Stores an item, whatever is there.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put<T: Serialize>(
        &self,
        key: &Key,
        value: &T,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut item = to_item(key, value)?;
        if let Some(end) = expires_at {
            item.insert(TTL.to_owned(), number(end.as_second()));
        }
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| call_error("PutItem", &error))
    }

    /// Stores an item unless there is one; returns whether it was stored.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn put_new<T: Serialize>(
        &self,
        key: &Key,
        value: &T,
        expires_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut item = to_item(key, value)?;
        if let Some(end) = expires_at {
            item.insert(TTL.to_owned(), number(end.as_second()));
        }
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => Ok(true),
            Err(error) => failed_condition(error).map(|_| false),
        }
    }

    /// Stores an item unless there is one, or one at `rival`; returns whether it was stored. Costs twice as much as
    /// [`Self::put_new`].
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn put_only<T: Serialize>(
        &self,
        key: &Key,
        value: &T,
        expires_at: Option<Timestamp>,
        rival: &Key,
    ) -> Result<bool, StoreError> {
        use aws_sdk_dynamodb::types::{ConditionCheck, Put, TransactWriteItem};
        const IS_ABSENT: &str = "attribute_not_exists(pk)";
        let mut item = to_item(key, value)?;
        if let Some(end) = expires_at {
            item.insert(TTL.to_owned(), number(end.as_second()));
        }
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| StoreError::Call {
            operation: "TransactWriteItems",
            detail: error.to_string(),
        };
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(IS_ABSENT);
        let check = ConditionCheck::builder().table_name(&self.table).set_key(Some(rival.attributes()));
        let check = check.condition_expression(IS_ABSENT).build().map_err(incomplete)?;
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
            .transact_items(TransactWriteItem::builder().condition_check(check).build());
        match write.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("TransactionCanceledException") => Ok(false),
            Err(error) => Err(call_error("TransactWriteItems", &error)),
        }
    }

    /// Deletes an item, if it is there.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key.attributes()));
        delete.send().await.map(drop).map_err(|error| call_error("DeleteItem", &error))
    }

    /// Reads a page of a partition in the order of the sort key: from `from` (inclusive) up to `to` (inclusive), or after
    /// `after`.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or an item has an unknown form.
    pub async fn query<T: DeserializeOwned>(&self, range: &Range<'_>) -> Result<Page<T>, StoreError> {
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", AttributeValue::S(range.pk.to_owned()))
            .expression_attribute_values(":from", AttributeValue::S(range.from.to_owned()))
            .expression_attribute_values(":to", AttributeValue::S(range.to.to_owned()))
            .consistent_read(true)
            .limit(range.limit);
        if let Some(after) = range.after {
            query = query.set_exclusive_start_key(Some(Key::new(range.pk, after).attributes()));
        }
        let answer = query.send().await.map_err(|error| call_error("Query", &error))?;
        let next = answer.last_evaluated_key.as_ref().map(|key| text(key, SK));
        let parse = |item| match read(item) {
            Ok((key, value)) => Some((key.sk, value)),
            Err(error) => {
                // One item that cannot be read must not stop the others.
                tracing::error!(%error, "an item is passed over");
                None
            }
        };
        Ok(Page { items: answer.items.unwrap_or_default().into_iter().filter_map(parse).collect(), next })
    }

    /// Reads all of a range, page by page.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or an item has an unknown form.
    pub async fn query_all<T: DeserializeOwned>(&self, range: &Range<'_>) -> Result<Vec<(String, T)>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.query(&Range { after: after.as_deref(), ..*range }).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Stores one item and replaces another by a pointer to it, both only if they still are what was read.
    ///
    /// Returns false when one of them changed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the transaction may have happened all the same.
    pub async fn merge<T: Serialize + DeserializeOwned>(
        &self,
        into: (&Key, Option<&Stored<T>>),
        value: &T,
        from: (&Key, Option<&Stored<T>>),
    ) -> Result<bool, StoreError> {
        use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
        let put = |old: Option<&Stored<T>>, mut item: Attributes| {
            let version = old.map_or(0, Stored::version);
            item.insert(VERSION.to_owned(), number(version + 1));
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            let put = match old {
                None => put.condition_expression("attribute_not_exists(pk)"),
                Some(_) => put.condition_expression("v = :v").expression_attribute_values(":v", number(version)),
            };
            let put =
                put.build().map_err(|error| StoreError::Call { operation: "merge", detail: error.to_string() })?;
            Ok(TransactWriteItem::builder().put(put).build())
        };
        let mut pointer = from.0.attributes();
        pointer.insert(TO.to_owned(), AttributeValue::S(into.0.sk.clone()));
        let write = self
            .client
            .transact_write_items()
            .transact_items(put(into.1, to_item(into.0, value)?)?)
            .transact_items(put(from.1, pointer)?);
        match write.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("TransactionCanceledException") => Ok(false),
            Err(error) => Err(call_error("TransactWriteItems", &error)),
        }
    }
}

/// The attribute of a pointer: the sort key of the item that took over.
pub const TO: &str = "to";

/// Part of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// The partition.
    pub pk: &'a str,
    /// The first sort key.
    pub from: &'a str,
    /// The last sort key.
    pub to: &'a str,
    /// Go on after this one.
    pub after: Option<&'a str>,
    /// Items per page at the most.
    pub limit: i32,
}

/// Sorts behind every sort key that starts like it.
pub const LAST: &str = "\u{10ffff}";

impl<'a> Range<'a> {
    /// All of a partition.
    #[must_use]
    pub fn all(pk: &'a str) -> Self {
        Self { pk, from: " ", to: LAST, after: None, limit: 1_000 }
    }
}

impl<T: DeserializeOwned> Stored<T> {
    fn parse(raw: Attributes) -> Result<Self, StoreError> {
        match serde_dynamo::from_item(raw.clone()) {
            Ok(value) => Ok(Self { value, raw }),
            Err(error) => Err(StoreError::Form { pk: text(&raw, PK), detail: error.to_string() }),
        }
    }
}

impl<T> Stored<T> {
    /// Where it is.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(text(&self.raw, PK), text(&self.raw, SK))
    }

    /// For a pointer: the sort key of the item that took over.
    #[must_use]
    pub fn points_to(&self) -> Option<String> {
        self.raw.contains_key(TO).then(|| text(&self.raw, TO))
    }

    fn version(&self) -> i64 {
        self.raw.get(VERSION).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or(0)
    }
}

/// Bytes that DynamoDB charges for an item: names and values.
#[cfg(test)]
pub(crate) fn item_size_bytes(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size_bytes(value)).sum()
}

#[cfg(test)]
/// The size rules of DynamoDB: numbers about half their digits, maps and lists three bytes and one per element.
fn value_size_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(list) => 3 + list.iter().map(|one| 1 + value_size_bytes(one)).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, one)| 1 + name.len() + value_size_bytes(one)).sum::<usize>()
        }
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        _ => 1,
    }
}

/// An item of which only the value is wanted: nothing of it is copied.
fn read<T: DeserializeOwned>(item: Attributes) -> Result<(Key, T), StoreError> {
    let key = Key::new(text(&item, PK), text(&item, SK));
    match serde_dynamo::from_item(item) {
        Ok(value) => Ok((key, value)),
        Err(error) => Err(StoreError::Form { pk: key.pk, detail: error.to_string() }),
    }
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn text(item: &Attributes, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

pub(crate) fn to_item<T: Serialize>(key: &Key, value: &T) -> Result<Attributes, StoreError> {
    let item: Result<Attributes, _> = serde_dynamo::to_item(value);
    let mut item = item.map_err(|error| StoreError::Form { pk: key.pk.clone(), detail: error.to_string() })?;
    item.extend(key.attributes());
    Ok(item)
}

fn call_error<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> StoreError {
    let detail = match (error.code(), error.message()) {
        (Some(code), message) => format!("{code} {}", message.unwrap_or_default()),
        (None, _) => aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string(),
    };
    StoreError::Call { operation, detail }
}

/// The item that stood in the way of a conditional put, if a condition is what failed.
fn failed_condition<R: std::fmt::Debug>(error: SdkError<PutItemError, R>) -> Result<Option<Attributes>, StoreError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item.clone()),
        _ => Err(call_error("PutItem", &error)),
    }
}
