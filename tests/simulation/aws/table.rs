//! The table: `dynoxide`'s database, called without its HTTP server.

use std::fmt;

use dynoxide::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Answer;
use crate::planted::{Planted, Treated};

/// The table's name.
pub(crate) const NAME: &str = "tidepost";

pub(super) struct Table {
    database: Database,
    planted: Option<Planted>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl Table {
    pub(super) fn new(planted: Option<Planted>) -> Self {
        let table = Self { database: Database::memory().expect("a database in memory opens"), planted };
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

    fn run(&self, operation: &str, body: &[u8]) -> Answer {
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
