//! One JSON object a line.

use crate::invalid::Invalid;
use crate::list::{Read, Row, checked};
use crate::profile::ProfileRequest;

/// The requests of a file; blank lines are none.
pub(super) fn subscribers(file: &[u8]) -> Vec<Read<ProfileRequest>> {
    let lines = file.split(|byte| *byte == b'\n').zip(1..);
    let lines = lines.map(|(bytes, line)| (bytes.trim_ascii(), line)).filter(|(bytes, _)| !bytes.is_empty());
    lines.map(|(bytes, line)| Row { line, value: request(bytes) }).collect()
}

fn request(line: &[u8]) -> Result<ProfileRequest, Vec<Invalid>> {
    let request = serde_json::from_slice(line).map_err(|error| {
        let (text, column) = (error.to_string(), error.column());
        // The line of the message is that of a single line.
        let reason = text.split(" at line ").next().unwrap_or_default();
        vec![Invalid::new("row", "row_malformed", format!("{reason}, at column {column}"))]
    })?;
    checked(request)
}
