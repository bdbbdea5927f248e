//! What a command reads from a file or standard input.

use std::io::Read;

use serde_json::Value;
use tidepost_core::list::{Form, Rejected};

use crate::commands::Failure;

/// Reads JSON from `path`; `-` is standard input.
pub(super) fn read_json(path: &str) -> Result<Value, Failure> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Usage(format!("{path} is not JSON: {error}")))
}

/// Reads all of `path`; `-` is standard input.
pub(super) fn read_bytes(path: &str) -> Result<Vec<u8>, Failure> {
    let bytes = if path == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|error| Failure::Usage(format!("{path}: {error}")))
}

/// How a list is written, by its name: NDJSON when it ends so, else CSV.
pub(super) fn form_of(path: &str) -> Form {
    let is_ndjson = [".ndjson", ".jsonl", ".json"].iter().any(|end| path.to_ascii_lowercase().ends_with(end));
    if is_ndjson { Form::Ndjson } else { Form::Csv }
}

/// Names on standard error each row that is left out.
pub(super) fn report_rejected(rejected: &[Rejected]) {
    for one in rejected {
        eprintln!("line {}: {}", one.line, one.reason);
    }
}
