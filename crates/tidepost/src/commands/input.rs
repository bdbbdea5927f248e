//! JSON from a file or standard input.

use std::io::Read;

use serde_json::Value;

use crate::commands::Failure;

/// Reads JSON from `path`; `-` is standard input.
pub(super) fn read_json(path: &str) -> Result<Value, Failure> {
    let text = if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{path} is not JSON: {error}")))
}
