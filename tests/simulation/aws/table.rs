//! The table: DynamoDB's operations as the ledger uses them, over a sorted map.
//!
//! Only the conditions that the ledger writes are known; anything else is an error that says so.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::Included;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tidepost_io::store::Range;

use super::Answer;
use crate::planted::{Planted, Treated};

/// The table's name.
pub(crate) const NAME: &str = "tidepost";

const ABSENT: &str = "attribute_not_exists(pk)";
const UNCHANGED: &str = "v = :v";
const UNVERSIONED: &str = "attribute_exists(pk) AND attribute_not_exists(v)";
const BETWEEN: &str = "pk = :pk AND sk BETWEEN :from AND :to";
const CONDITION_FAILED: &str = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
const CANCELED: &str = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";

/// Items by their sort keys.
type Partition = BTreeMap<String, Item>;

#[derive(Debug)]
struct Item {
    /// The version, as DynamoDB writes numbers.
    version: Option<String>,
    /// The item as it is answered.
    text: String,
}

#[derive(Debug)]
pub(super) struct Table {
    partitions: Mutex<HashMap<String, Partition>>,
    planted: Option<Planted>,
}

impl Table {
    pub(super) fn new(planted: Option<Planted>) -> Self {
        Self { partitions: Mutex::default(), planted }
    }

    pub(super) fn apply(&self, operation: &str, body: &[u8]) -> Answer {
        match self.planted.map(|planted| planted.treat(operation, body)) {
            Some(Treated::Nothing) => Answer(200, "{}".to_owned()),
            Some(Treated::Apply(body)) => self.run(operation, &body),
            None => self.run(operation, body),
        }
    }

    pub(super) fn is_empty(&self, range: &Range<'_>) -> bool {
        let partitions = self.partitions();
        let Some(partition) = partitions.get(range.pk) else { return true };
        range.from > range.to || partition.range::<str, _>((Included(range.from), Included(range.to))).next().is_none()
    }

    fn run(&self, operation: &str, body: &[u8]) -> Answer {
        let mut partitions = self.partitions();
        match operation {
            "GetItem" => get(&partitions, &read(body)),
            "PutItem" => put(&mut partitions, read(body)),
            "DeleteItem" => delete(&mut partitions, &read(body)),
            "Query" => query(&partitions, &read(body)),
            "BatchGetItem" => batch_get(&partitions, read(body)),
            "TransactWriteItems" => transact(&mut partitions, read(body)),
            other => Answer(500, format!("the simulation does not know {other}; add it beside the others")),
        }
    }

    fn partitions(&self) -> MutexGuard<'_, HashMap<String, Partition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("the SDK writes requests that the table can read")
}

/// A text of a key, or a number.
#[derive(Deserialize)]
struct Scalar {
    #[serde(rename = "S", alias = "N")]
    text: String,
}

#[derive(Deserialize)]
struct Key {
    pk: Scalar,
    sk: Scalar,
}

impl Key {
    fn find<'a>(&self, partitions: &'a HashMap<String, Partition>) -> Option<&'a Item> {
        partitions.get(&self.pk.text)?.get(&self.sk.text)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get {
    key: Key,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    item: Map<String, Value>,
    condition_expression: Option<String>,
    #[serde(default)]
    expression_attribute_values: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query {
    key_condition_expression: String,
    expression_attribute_values: BTreeMap<String, Scalar>,
    exclusive_start_key: Option<Key>,
    limit: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchGet {
    request_items: BTreeMap<String, Keys>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    transact_items: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    put: Option<Put>,
    condition_check: Option<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    key: Key,
    condition_expression: String,
}

fn text_of<'a>(item: &'a Map<String, Value>, name: &str, kind: &str) -> Option<&'a str> {
    item.get(name)?.get(kind)?.as_str()
}

impl Put {
    fn key(&self) -> Key {
        let text = |name| Scalar { text: text_of(&self.item, name, "S").unwrap_or_default().to_owned() };
        Key { pk: text("pk"), sk: text("sk") }
    }

    fn may_replace(&self, known: Option<&Item>) -> bool {
        let version = self.expression_attribute_values.get(":v").map(|version| &version.text);
        holds(self.condition_expression.as_deref(), known, version)
    }

    fn store(self, partitions: &mut HashMap<String, Partition>) {
        let Key { pk, sk } = self.key();
        let version = text_of(&self.item, "v", "N").map(str::to_owned);
        let text = Value::Object(self.item).to_string();
        partitions.entry(pk.text).or_default().insert(sk.text, Item { version, text });
    }
}

fn holds(condition: Option<&str>, known: Option<&Item>, version: Option<&String>) -> bool {
    match condition {
        None => true,
        Some(ABSENT) => known.is_none(),
        Some(UNCHANGED) => known.is_some_and(|known| known.version.as_ref() == version),
        Some(UNVERSIONED) => known.is_some_and(|known| known.version.is_none()),
        Some(other) => panic!("the simulation does not know the condition {other}; add it beside the others"),
    }
}

fn get(partitions: &HashMap<String, Partition>, get: &Get) -> Answer {
    match get.key.find(partitions) {
        Some(item) => Answer(200, format!(r#"{{"Item":{}}}"#, item.text)),
        None => Answer(200, "{}".to_owned()),
    }
}

fn put(partitions: &mut HashMap<String, Partition>, put: Put) -> Answer {
    let known = put.key().find(partitions);
    if !put.may_replace(known) {
        let known = known.map(|item| format!(r#","Item":{}"#, item.text)).unwrap_or_default();
        return Answer(
            400,
            format!(r#"{{"__type":"{CONDITION_FAILED}","message":"The conditional request failed"{known}}}"#),
        );
    }
    put.store(partitions);
    Answer(200, "{}".to_owned())
}

fn delete(partitions: &mut HashMap<String, Partition>, delete: &Get) -> Answer {
    if let Some(partition) = partitions.get_mut(&delete.key.pk.text) {
        partition.remove(&delete.key.sk.text);
    }
    Answer(200, "{}".to_owned())
}

fn query(partitions: &HashMap<String, Partition>, query: &Query) -> Answer {
    assert_eq!(query.key_condition_expression, BETWEEN, "add other conditions beside it");
    let value = |name: &str| query.expression_attribute_values.get(name).map_or("", |scalar| &scalar.text);
    let (pk, from, to) = (value(":pk"), value(":from"), value(":to"));
    let after = query.exclusive_start_key.as_ref().map(|key| key.sk.text.as_str());
    let empty = Partition::new();
    let all = partitions.get(pk).unwrap_or(&empty).iter();
    let wanted =
        all.filter(|(sk, _)| (from..=to).contains(&sk.as_str()) && after.is_none_or(|after| sk.as_str() > after));
    let page: Vec<(&String, &Item)> = wanted.take(query.limit).collect();
    let items: Vec<&str> = page.iter().map(|(_, item)| item.text.as_str()).collect();
    // As in DynamoDB a full page says where to go on, also when nothing comes after it.
    let last =
        page.last().filter(|_| page.len() == query.limit).map(|(sk, _)| json!({"pk": {"S": pk}, "sk": {"S": sk}}));
    let last = last.map(|last| format!(r#","LastEvaluatedKey":{last}"#)).unwrap_or_default();
    let count = items.len();
    Answer(200, format!(r#"{{"Items":[{}],"Count":{count},"ScannedCount":{count}{last}}}"#, items.join(",")))
}

fn batch_get(partitions: &HashMap<String, Partition>, mut batch: BatchGet) -> Answer {
    let keys = batch.request_items.remove(NAME).map(|keys| keys.keys).unwrap_or_default();
    assert!(keys.len() <= 100, "DynamoDB reads 100 items at once");
    let items: Vec<&str> = keys.iter().filter_map(|key| key.find(partitions)).map(|item| item.text.as_str()).collect();
    Answer(200, format!(r#"{{"Responses":{{"{NAME}":[{}]}},"UnprocessedKeys":{{}}}}"#, items.join(",")))
}

fn transact(partitions: &mut HashMap<String, Partition>, transaction: Transaction) -> Answer {
    let is_allowed = |part: &Part| {
        let put = part.put.as_ref().is_none_or(|put| put.may_replace(put.key().find(partitions)));
        let check = part.condition_check.as_ref();
        put && check.is_none_or(|check| holds(Some(&check.condition_expression), check.key.find(partitions), None))
    };
    if !transaction.transact_items.iter().all(is_allowed) {
        return Answer::refused(CANCELED);
    }
    transaction.transact_items.into_iter().filter_map(|part| part.put).for_each(|put| put.store(partitions));
    Answer(200, "{}".to_owned())
}
