//! What became of a message.

use serde::{Deserialize, Serialize};

use crate::reason::{Reason, ReasonCode};

/// The four ends a message can have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody can tell whether it arrived.
    Unknown,
    /// The platform or Tidepost failed.
    Failed,
    /// A rule, the person or the platform said no.
    Refused,
    /// The platform accepted it.
    Delivered,
}

impl Outcome {
    /// The outcome that a reason leads to.
    #[must_use]
    pub fn of(reason: ReasonCode) -> Self {
        match reason {
            ReasonCode::ContentRefused
            | ReasonCode::BadRequest
            | ReasonCode::PlatformError
            | ReasonCode::DeadLetter => Self::Failed,
            ReasonCode::Timeout | ReasonCode::Crash => Self::Unknown,
            _ => Self::Refused,
        }
    }
}

/// What the platform said.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PlatformWord {
    /// Its code; 0 is success.
    pub code: i64,
    /// Its words.
    pub message: String,
    /// Its id of the message, where it gave one.
    pub message_id: Option<String>,
}

/// An outcome with what led to it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Ending {
    /// Which of the four.
    pub outcome: Outcome,
    /// Why, unless it was delivered.
    pub reason: Option<Reason>,
    /// What the platform said, where it said anything.
    pub platform: Option<PlatformWord>,
    /// The platform's second word: it had accepted the message and then could not deliver it. Wins over everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_afterthought: bool,
}

impl Ending {
    /// The platform accepted it.
    #[must_use]
    pub fn delivered(word: PlatformWord) -> Self {
        Self { outcome: Outcome::Delivered, reason: None, platform: Some(word), is_afterthought: false }
    }

    /// It was not delivered, or nobody knows.
    #[must_use]
    pub fn because(reason: Reason, platform: Option<PlatformWord>) -> Self {
        Self { outcome: Outcome::of(reason.code), reason: Some(reason), platform, is_afterthought: false }
    }

    /// What a second try comes to whose first is unknown: what the platform refuses now may have arrived before.
    #[must_use]
    pub fn after_unknown(self) -> Self {
        match self.outcome {
            Outcome::Delivered | Outcome::Unknown => self,
            Outcome::Refused | Outcome::Failed => {
                let detail = "the first try is unknown, and the second was not taken";
                Self::because(Reason::new(ReasonCode::Timeout, detail), self.platform)
            }
        }
    }

    /// Whether this word on a message counts more than `other`: delivered, refused, failed, unknown, in this order.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        (self.is_afterthought, self.outcome) > (other.is_afterthought, other.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_a_second_try_does_not_say_that_the_first_never_arrived() {
        let word = PlatformWord { code: 43_101, message: "user refuse".into(), message_id: None };
        let refused = Ending::because(Reason::new(ReasonCode::NoGrant, "none"), Some(word.clone()));
        let ending = refused.after_unknown();
        assert_eq!((ending.outcome, ending.platform.as_ref()), (Outcome::Unknown, Some(&word)));
        let delivered = Ending::delivered(word);
        assert_eq!(delivered.clone().after_unknown(), delivered);
    }
}
