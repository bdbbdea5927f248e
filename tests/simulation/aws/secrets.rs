//! The secrets of the invented accounts.

use serde_json::{Value, json};

use super::Answer;

/// Name and value.
pub(crate) const SECRETS: [(&str, &str); 4] = [
    ("admin", "tp_simulation.0123456789abcdef0123456789abcdef"),
    ("app", "0123456789abcdef0123456789abcdef"),
    ("token", "simulation2026"),
    ("aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
];

pub(super) fn read(body: &[u8]) -> Answer {
    let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = SECRETS.iter().find(|(name, _)| wanted["SecretId"] == *name);
    match found {
        Some((name, secret)) => Answer::ok(&json!({"ARN": name, "Name": name, "SecretString": secret})),
        None => Answer::refused("ResourceNotFoundException"),
    }
}
