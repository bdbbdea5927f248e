//! The table: `dynoxide`'s database, called without its HTTP server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use dynoxide::Database;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Answer;
use crate::planted::{Planted, Treated};

/// The table's name.
pub(crate) const NAME: &str = "tidepost";

pub(super) struct Table {
    database: Database,
    planted: Option<Planted>,
    /// Partitions that something was ever put into: of the others the database need not be asked.
    known: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl Table {
    pub(super) fn new(planted: Option<Planted>) -> Self {
        let table = Self {
            database: Database::memory().expect("a database in memory opens"),
            planted,
            known: Mutex::default(),
        };
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let definition = json!({
            "TableName": NAME, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")], "AttributeDefinitions": [text("pk"), text("sk")],
        });
        let Answer(status, text) = table.apply("CreateTable", definition.to_string().as_bytes());
        assert_eq!(status, 200, "{text}");
        table
    }

    pub(super) fn apply(&self, operation: &str, body: &[u8]) -> Answer {
        match self.planted.map(|planted| planted.treat(operation, body)) {
            Some(Treated::Nothing) => Answer(200, "{}".to_owned()),
            Some(Treated::Apply(body)) => self.run(operation, &body),
            None => self.run(operation, body),
        }
    }

    /// Most reads of a tick are of partitions that are empty.
    fn without_looking(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        let concerned: Concerned = serde_json::from_slice(body).ok()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match operation {
            "PutItem" => {
                known.insert(concerned.item?.pk.text);
                None
            }
            "GetItem" => (!known.contains(&concerned.key?.pk.text)).then(|| Answer(200, "{}".to_owned())),
            "Query" => {
                let values = concerned.expression_attribute_values?;
                let partition = values.get(":pk")?.get("S")?.as_str()?;
                let nothing = json!({"Items": [], "Count": 0, "ScannedCount": 0});
                (!known.contains(partition)).then(|| Answer::ok(&nothing))
            }
            "TransactWriteItems" => {
                // Rare: whatever partition it names, it is known from here on.
                let text = String::from_utf8_lossy(body);
                known.extend(text.split('"').filter(|word| word.contains('#')).map(str::to_owned));
                None
            }
            _ => None,
        }
    }

    fn run(&self, operation: &str, body: &[u8]) -> Answer {
        if let Some(answer) = self.without_looking(operation, body) {
            return answer;
        }
        let database = &self.database;
        match operation {
            "CreateTable" => run(body, |request| database.create_table(request)),
            "GetItem" => run(body, |request| database.get_item(request)),
            "PutItem" => run(body, |request| database.put_item(request)),
            "UpdateItem" => run(body, |request| database.update_item(request)),
            "DeleteItem" => run(body, |request| database.delete_item(request)),
            "Query" => run(body, |request| database.query(request)),
            "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
            "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
            other => Answer(500, format!("the simulation does not know {other}; add it beside the others")),
        }
    }
}

/// The partition that a request concerns.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Concerned {
    item: Option<Keyed>,
    key: Option<Keyed>,
    expression_attribute_values: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Keyed {
    pk: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

fn run<Request: DeserializeOwned, Response: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Request) -> Result<Response, dynoxide::DynoxideError>,
) -> Answer {
    let request = serde_json::from_slice(body).expect("the SDK writes requests that the table can read");
    match operation(request) {
        Ok(response) => Answer(200, serde_json::to_string(&response).expect("answers are JSON")),
        Err(error) => Answer(error.status_code(), error.to_json()),
    }
}
