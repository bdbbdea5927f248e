//! What is wrong with a caller's input.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One field that breaks a rule: which, the stable code, and what to do about it.
#[derive(Clone, Debug, Deserialize, Eq, Error, PartialEq, Serialize)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// Path of the field, such as `data.thing1`.
    pub field: String,
    /// A stable code, such as `field_too_long`.
    pub code: String,
    /// The rule and the remedy, for a person.
    pub message: String,
}

impl Invalid {
    /// Names a field, a code and the remedy.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}
