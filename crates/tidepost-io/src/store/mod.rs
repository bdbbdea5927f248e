//! The one DynamoDB table: typed items, compare-and-swap, pages.

mod item;
mod kind;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

pub use item::{Attributes, PK, SK, Stored, TO, TTL};
use item::{VERSION, encode, next_version, number};
pub use kind::{KINDS, Kind};

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
    known_empty: Option<Arc<dyn KnownEmpty>>,
}

/// Who knows without a request that nothing is in a range: a simulation, most of whose time would go into such reads.
pub trait KnownEmpty: std::fmt::Debug + Send + Sync {
    /// Whether nothing is in it.
    fn is_empty(&self, range: &Range<'_>) -> bool;
}

/// Keys that one BatchGetItem takes.
const BATCH_GET_MAX: usize = 100;

/// Pauses before keys that DynamoDB did not process are asked for again, in milliseconds.
const PAUSES_MILLISECONDS: [u64; 5] = [20, 50, 150, 500, 1_000];

/// The condition of a first write.
const ABSENT: &str = "attribute_not_exists(pk)";

/// The condition of a replacement.
const UNCHANGED: &str = "v = :v";

/// The condition of replacing an item that was put, whatever had been there: such have no version.
const UNVERSIONED: &str = "attribute_exists(pk) AND attribute_not_exists(v)";

/// A version that no item has: they count from 1.
const NO_VERSION: i64 = -1;

impl Store {
    /// A store over one table.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table, known_empty: None }
    }

    /// The same, without the reads of what is known to be empty.
    #[must_use]
    pub fn skipping(self, known_empty: Arc<dyn KnownEmpty>) -> Self {
        Self { known_empty: Some(known_empty), ..self }
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
        answer.item.map(|item| Stored::parse(item).map(|stored| stored.value)).transpose()
    }

    /// Reads many items, as they are now; absent ones are left out. One that cannot be read does not stop the others:
    /// `None` stands in its place.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        keys: &[Key],
    ) -> Result<HashMap<Key, Option<Stored<T>>>, StoreError> {
        let parse = |item: Attributes| {
            let key = item::key_of(&item);
            (key, readable(Stored::parse(item)))
        };
        Ok(self.get_items(keys).await?.into_iter().map(parse).collect())
    }

    async fn get_items(&self, keys: &[Key]) -> Result<Vec<Attributes>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut unique: Vec<&Key> = keys.iter().collect();
        unique.sort();
        unique.dedup();
        for chunk in unique.chunks(BATCH_GET_MAX) {
            let mut wanted: Vec<Attributes> = chunk.iter().map(|key| key.attributes()).collect();
            let mut pauses = PAUSES_MILLISECONDS.into_iter();
            loop {
                let (items, left) = self.batch_get(wanted).await?;
                found.extend(items);
                if left.is_empty() {
                    break;
                }
                let Some(pause) = pauses.next() else {
                    let detail = format!("{} keys are still not processed after several tries", left.len());
                    return Err(StoreError::Call { operation: "BatchGetItem", detail });
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
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
    /// Attributes of the old item that this version does not know are carried through, so that an older version of a
    /// function does not lose what a newer one wrote.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn swap<T: Serialize + DeserializeOwned>(
        &self,
        key: &Key,
        old: Option<&Stored<T>>,
        value: T,
        expires_at: Option<Timestamp>,
    ) -> Result<Swap<T>, StoreError> {
        let item = replacement(key, old, &value, expires_at)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match old {
            None => put.condition_expression(ABSENT),
            Some(old) if old.version == 0 => put.condition_expression(UNVERSIONED),
            Some(old) => put.condition_expression(UNCHANGED).expression_attribute_values(":v", number(old.version)),
        };
        match put.send().await {
            Ok(_) => Ok(Swap::Done(Stored::replaced(old, key, value))),
            Err(error) => Ok(Swap::Conflict(failed_condition(error)?.map(Stored::parse).transpose()?)),
        }
    }

    /// Does all that [`Self::swap`] does, under a condition that nothing fulfils: the first write waits for less after it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn rehearse<T: Serialize + DeserializeOwned + Clone>(
        &self,
        key: &Key,
        value: T,
    ) -> Result<(), StoreError> {
        let mut never = Stored::replaced(None, key, value.clone());
        never.version = NO_VERSION;
        self.swap(key, Some(&never), value, None).await.map(drop)
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
        let item = encode(key, value, expires_at)?;
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
        let item = encode(key, value, expires_at)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        match put.condition_expression(ABSENT).send().await {
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
        let item = encode(key, value, expires_at)?;
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| StoreError::Call {
            operation: "TransactWriteItems",
            detail: error.to_string(),
        };
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(ABSENT);
        let check = ConditionCheck::builder().table_name(&self.table).set_key(Some(rival.attributes()));
        let check = check.condition_expression(ABSENT).build().map_err(incomplete)?;
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
        let (items, next) = self.query_stored(range, true).await?;
        Ok(Page { items: items.into_iter().map(|Stored { key, value, .. }| (key.sk, value)).collect(), next })
    }

    /// Reads a page with all that is known of its items; unless `consistent` it may be a moment old, at half the price.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn query_stored<T: DeserializeOwned>(
        &self,
        range: &Range<'_>,
        consistent: bool,
    ) -> Result<(Vec<Stored<T>>, Option<String>), StoreError> {
        let (items, next) = self.query_items(range, consistent).await?;
        Ok((items.into_iter().filter_map(|item| readable(Stored::parse(item))).collect(), next))
    }

    async fn query_items(
        &self,
        range: &Range<'_>,
        consistent: bool,
    ) -> Result<(Vec<Attributes>, Option<String>), StoreError> {
        if self.known_empty.as_ref().is_some_and(|known| known.is_empty(range)) {
            return Ok((Vec::new(), None));
        }
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", AttributeValue::S(range.pk.to_owned()))
            .expression_attribute_values(":from", AttributeValue::S(range.from.to_owned()))
            .expression_attribute_values(":to", AttributeValue::S(range.to.to_owned()))
            .consistent_read(consistent)
            .limit(range.limit);
        if let Some(after) = range.after {
            query = query.set_exclusive_start_key(Some(Key::new(range.pk, after).attributes()));
        }
        let answer = query.send().await.map_err(|error| call_error("Query", &error))?;
        let next = answer.last_evaluated_key.and_then(|mut key| item::take_text(&mut key, SK));
        Ok((answer.items.unwrap_or_default(), next))
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

    /// The same where one item that cannot be read must not be passed over: a sum would be stored without it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails or an item has an unknown form.
    pub async fn query_whole<T: DeserializeOwned>(&self, range: &Range<'_>) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let (items, next) = self.query_items(&Range { after: after.as_deref(), ..*range }, true).await?;
            for item in items {
                all.push(Stored::parse(item)?.value);
            }
            match next {
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
        let put = |old: Option<&Stored<T>>, item: Attributes| {
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            let put = match old {
                None => put.condition_expression(ABSENT),
                Some(old) => put.condition_expression(UNCHANGED).expression_attribute_values(":v", number(old.version)),
            };
            let put =
                put.build().map_err(|error| StoreError::Call { operation: "merge", detail: error.to_string() })?;
            Ok(TransactWriteItem::builder().put(put).build())
        };
        let mut pointer = from.0.attributes();
        pointer.insert(TO.to_owned(), AttributeValue::S(into.0.sk.clone()));
        pointer.insert(VERSION.to_owned(), number(next_version(from.1)));
        let write = self
            .client
            .transact_write_items()
            .transact_items(put(into.1, replacement(into.0, into.1, value, None)?)?)
            .transact_items(put(from.1, pointer)?);
        match write.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("TransactionCanceledException") => Ok(false),
            Err(error) => Err(call_error("TransactWriteItems", &error)),
        }
    }
}

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

/// One item that cannot be read must not stop the others: it is passed over.
pub(crate) fn readable<T>(item: Result<T, StoreError>) -> Option<T> {
    item.inspect_err(|error| tracing::error!(%error, "an item is passed over")).ok()
}

/// The item that takes the place of `old`.
fn replacement<T: Serialize>(
    key: &Key,
    old: Option<&Stored<T>>,
    value: &T,
    expires_at: Option<Timestamp>,
) -> Result<Attributes, StoreError> {
    let mut item = encode(key, value, expires_at)?;
    item.insert(VERSION.to_owned(), number(next_version(old)));
    for (name, carried) in old.iter().flat_map(|old| &old.carried) {
        item.entry(name.clone()).or_insert_with(|| carried.clone());
    }
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

/// What is read after `value` was stored where nothing was, and its size in bytes.
#[cfg(test)]
pub(crate) fn stored<T: Serialize + DeserializeOwned>(key: &Key, value: &T) -> (T, usize) {
    let item = replacement(key, None, value, None).expect("it can be written");
    let size_bytes = item::size_bytes(&item);
    (Stored::parse(item).expect("it can be read").value, size_bytes)
}
