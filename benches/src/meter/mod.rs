//! Counts calls of DynamoDB and SQS, and what DynamoDB would charge for them.
//!
//! ```text
//! price   sizes and units by DynamoDB's rules   (pure)
//! proxy   sees every call at the wire
//! ```
//!
//! The stand-in's own figures are not used: every write of the table passes here, so the size of each item before a write
//! is known, and a failed condition is charged as DynamoDB does.

mod price;
pub mod proxy;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::Result;
use crate::meter::price::{item_bytes, read_units, write_units};

/// A unit costs double inside a transaction.
const TRANSACTION_FACTOR: usize = 2;

/// What was counted since the last look.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests, by operation.
    pub requests: BTreeMap<String, usize>,
    /// Write units, by kind of item.
    pub write_units: BTreeMap<Kind, usize>,
    /// Read units.
    pub read_units: f64,
    /// Bytes of the items written, by kind of item.
    pub written_bytes: BTreeMap<Kind, Vec<usize>>,
    /// Writes whose condition did not hold.
    pub conflicts: usize,
    /// Operations that the meter has no price for. Anything here makes the figures worthless.
    unpriced: BTreeMap<String, usize>,
}

/// What an item is, by its partition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The ledger's item of a person.
    Person,
    /// A message's row.
    Message,
    /// A channel's windows and leases.
    Quota,
    /// A delivery's receipt.
    Receipt,
    /// Everything else: tokens, cursors, links, keys, channels.
    Other,
}

impl Kind {
    fn of(partition: &str) -> Self {
        match partition.split('#').next() {
            Some("P") => Self::Person,
            Some("M") => Self::Message,
            Some("Q") => Self::Quota,
            Some("R") => Self::Receipt,
            _ => Self::Other,
        }
    }

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Message => "row",
            Self::Quota => "quota",
            Self::Receipt => "receipt",
            Self::Other => "other",
        }
    }
}

impl Tally {
    /// Requests of all operations.
    pub fn requests(&self) -> usize {
        self.requests.values().sum()
    }

    /// Write units of all kinds.
    pub fn write_units(&self) -> usize {
        self.write_units.values().sum()
    }

    /// Writes of one kind of item.
    pub fn writes(&self, kind: Kind) -> usize {
        self.written_bytes.get(&kind).map_or(0, Vec::len)
    }
}

/// The counters, shared by proxy and benchmark.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// Bytes of every item in the table.
    table: HashMap<(String, String), usize>,
}

impl Meter {
    /// What was counted since the last call; counting begins anew.
    ///
    /// # Errors
    /// When an operation was seen that has no price here.
    pub fn take(&self) -> Result<Tally> {
        let tally = std::mem::take(&mut self.state().tally);
        if tally.unpriced.is_empty() {
            return Ok(tally);
        }
        Err(format!("the meter does not know the price of {:?}", tally.unpriced).into())
    }

    /// Counts one call.
    fn note(&self, operation: &str, request: &Value, answer: &Value, is_success: bool) {
        let mut state = self.state();
        *state.tally.requests.entry(operation.to_owned()).or_default() += 1;
        let failed_by = answer.get("__type").and_then(Value::as_str).unwrap_or_default();
        let has_failed_condition = ["ConditionalCheckFailedException", "TransactionCanceledException"]
            .iter()
            .any(|name| failed_by.ends_with(name));
        if !is_success && !has_failed_condition {
            return;
        }
        state.tally.conflicts += usize::from(!is_success);
        match operation {
            "PutItem" => state.put(request, is_success, 1),
            "DeleteItem" => state.delete(request),
            "TransactWriteItems" => state.transact(request, is_success),
            "GetItem" => state.read(single(request, answer)),
            "BatchGetItem" => state.read(batch(request, answer)),
            "Query" => state.read(query(request, answer)),
            free if SQS.contains(&free) || SET_UP.contains(&free) => {}
            other => *state.tally.unpriced.entry(other.to_owned()).or_default() += 1,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Operations of SQS that the functions use; SQS charges requests and nothing else.
const SQS: [&str; 6] = [
    "SendMessage",
    "SendMessageBatch",
    "ReceiveMessage",
    "DeleteMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibility",
];

/// Operations with which a local host makes what the template makes in AWS.
const SET_UP: [&str; 6] =
    ["CreateTable", "DescribeTable", "UpdateTimeToLive", "CreateQueue", "GetQueueUrl", "GetQueueAttributes"];

impl State {
    /// The larger of old and new item is charged; when the condition fails, the old one.
    fn put(&mut self, request: &Value, is_success: bool, factor: usize) {
        let item = request.get("Item").unwrap_or(&Value::Null);
        let key = key(item);
        let (old, new) = (self.table.get(&key).copied().unwrap_or(0), item_bytes(item));
        let kind = Kind::of(&key.0);
        self.charge(kind, factor * write_units(if is_success { old.max(new) } else { old }));
        if is_success {
            self.tally.written_bytes.entry(kind).or_default().push(new);
            self.table.insert(key, new);
        }
    }

    fn delete(&mut self, request: &Value) {
        let key = key(request.get("Key").unwrap_or(&Value::Null));
        let old = self.table.remove(&key).unwrap_or(0);
        self.charge(Kind::of(&key.0), write_units(old));
    }

    /// Charged whether it happens or not.
    fn transact(&mut self, request: &Value, is_success: bool) {
        for item in request.get("TransactItems").and_then(Value::as_array).into_iter().flatten() {
            match item.get("Put") {
                Some(put) => self.put(put, is_success, TRANSACTION_FACTOR),
                None => *self.tally.unpriced.entry(format!("TransactWriteItems {item}")).or_default() += 1,
            }
        }
    }

    fn charge(&mut self, kind: Kind, units: usize) {
        *self.tally.write_units.entry(kind).or_default() += units;
    }

    fn read(&mut self, units: f64) {
        self.tally.read_units += units;
    }
}

fn key(item: &Value) -> (String, String) {
    let text = |name: &str| item.pointer(&format!("/{name}/S")).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("pk"), text("sk"))
}

fn is_consistent(request: &Value) -> bool {
    request.get("ConsistentRead").and_then(Value::as_bool).unwrap_or(false)
}

fn single(request: &Value, answer: &Value) -> f64 {
    read_units(answer.get("Item").map_or(0, item_bytes), is_consistent(request))
}

/// Each item is rounded up by itself, and one that is not there costs as much as the smallest.
fn batch(request: &Value, answer: &Value) -> f64 {
    let mut units = 0.0;
    for (table, wanted) in request.get("RequestItems").and_then(Value::as_object).into_iter().flatten() {
        let consistent = is_consistent(wanted);
        let keys = wanted.get("Keys").and_then(Value::as_array).map_or(0, Vec::len);
        let found = answer.get("Responses").and_then(|tables| tables.get(table)).and_then(Value::as_array);
        let found = found.map_or(&[][..], Vec::as_slice);
        units += found.iter().map(|item| read_units(item_bytes(item), consistent)).sum::<f64>();
        units += (found.len()..keys).map(|_| read_units(0, consistent)).sum::<f64>();
    }
    units
}

/// The sum of all items of the page is rounded up.
fn query(request: &Value, answer: &Value) -> f64 {
    let items = answer.get("Items").and_then(Value::as_array).into_iter().flatten();
    read_units(items.map(item_bytes).sum(), is_consistent(request))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(key: &str, bytes: usize) -> Value {
        json!({"Item": {"pk": {"S": "P#0"}, "sk": {"S": key}, "x": {"S": "x".repeat(bytes)}}})
    }

    #[test]
    fn the_larger_item_is_charged_and_a_failed_condition_by_what_is_there() {
        let meter = Meter::default();
        meter.note("PutItem", &put("a", 2_000), &json!({}), true);
        meter.note("PutItem", &put("a", 10), &json!({}), true);
        meter.note("PutItem", &put("a", 10), &json!({}), true);
        let failed = json!({"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"});
        meter.note("PutItem", &put("a", 5_000), &failed, false);
        let tally = meter.take().unwrap();
        assert_eq!((tally.write_units(), tally.conflicts, tally.writes(Kind::Person)), (2 + 2 + 1 + 1, 1, 3));
        assert_eq!(meter.take().unwrap().write_units(), 0);
    }

    #[test]
    fn reads_are_rounded_by_item_or_by_page() {
        let meter = Meter::default();
        let item = put("a", 10)["Item"].clone();
        let request = json!({"RequestItems": {"t": {"ConsistentRead": true, "Keys": [{}, {}, {}]}}});
        meter.note("BatchGetItem", &request, &json!({"Responses": {"t": [item, item]}}), true);
        meter.note("Query", &json!({"ConsistentRead": true}), &json!({"Items": [item, item, item]}), true);
        meter.note("GetItem", &json!({}), &json!({}), true);
        assert!((meter.take().unwrap().read_units - 4.5).abs() < f64::EPSILON);
    }

    #[test]
    fn what_has_no_price_is_reported() {
        let meter = Meter::default();
        meter.note("UpdateItem", &json!({}), &json!({}), true);
        assert!(meter.take().unwrap_err().to_string().contains("UpdateItem"));
    }
}
