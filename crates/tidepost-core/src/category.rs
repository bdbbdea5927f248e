//! The anti-disturbance classes and urgency of a message.

use serde::{Deserialize, Serialize};

/// How closely a message is bound to what the person is doing. Ordered from the loosest to the strictest treatment.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Bound to the main business, its absence hurts the person: order, delivery, buyer and seller messages.
    Basic,
    /// The service works without it, it brings the person back or on: unfinished step, price drop, arrival.
    Reminder,
    /// Made by operations to create a need: promotions.
    Marketing,
}

/// Whether a message may break into quiet hours (where the policy lets its category do so).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It can wait.
    #[default]
    Normal,
    /// It is worthless unless it goes now.
    Urgent,
}
