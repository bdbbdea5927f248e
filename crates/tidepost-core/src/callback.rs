//! What a platform's callback can say, free of any platform's format.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest;

/// Bytes of the hash kept in a de-duplication key.
const DEDUPE_KEY_BYTES: usize = 16;

/// One verified event of a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackEvent {
    /// The person it is about; empty for events about the account.
    pub openid: String,
    /// When the platform says it happened.
    pub created_at: Timestamp,
    /// The same for every delivery of the same event, whatever its format or encryption.
    pub dedupe_key: String,
    /// What happened.
    pub kind: CallbackKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallbackKind {
    /// The person answered the subscription dialog (platforms.md A6, popup).
    Popup {
        /// One answer per template of the dialog.
        answers: Vec<ConsentAnswer>,
    },
    /// The person changed the setting in the management page (platforms.md A6, change).
    Change {
        /// One answer per template.
        answers: Vec<ConsentAnswer>,
    },
    /// The platform reports how sends ended (platforms.md A6, sent).
    Sent {
        /// One result per message, almost always one.
        results: Vec<SendResult>,
    },
    /// The platform punishes the account (platforms.md A6, penalty): sending pauses and a person looks.
    Punish {
        /// The event's own fields as `name=value`, sorted.
        detail: String,
    },
    /// Anything that does not concern us: acknowledged and dropped.
    Other {
        /// The platform's name of the event or of the message's type.
        event: String,
        /// The platform's id of the message, where it has one.
        message_id: Option<String>,
    },
}

/// What a person answered about one template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentAnswer {
    /// The platform's template id.
    pub template: String,
    /// The platform's own word (`accept`, `reject`, `ban`, `filter`, `acceptWithAudio`, …).
    pub answer: String,
    /// Where the dialog was shown, as the platform numbers it.
    pub scene: Option<String>,
}

/// How one send ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendResult {
    /// The platform's template id.
    pub template: String,
    /// The id that the send was answered with, if the platform repeats it.
    pub message_id: Option<String>,
    /// The platform's code; 0 means delivered.
    pub code: i64,
    /// The platform's words.
    pub status: String,
}

impl CallbackEvent {
    /// An event with its de-duplication key: a hash of person, time, event and content, because events carry no id and
    /// several may share person and second (platforms.md B2).
    #[must_use]
    pub fn new(openid: String, created_at: Timestamp, kind: CallbackKind) -> Self {
        let dedupe_key = dedupe_key(&openid, created_at, &kind);
        Self { openid, created_at, dedupe_key, kind }
    }
}

fn dedupe_key(openid: &str, created_at: Timestamp, kind: &CallbackKind) -> String {
    let mut parts = vec![openid.to_owned(), created_at.as_second().to_string()];
    match kind {
        CallbackKind::Popup { answers } => add_answers(&mut parts, "popup", answers),
        CallbackKind::Change { answers } => add_answers(&mut parts, "change", answers),
        CallbackKind::Sent { results } => add_results(&mut parts, results),
        CallbackKind::Punish { detail } => parts.extend(["punish".to_owned(), detail.clone()]),
        CallbackKind::Other { event, message_id } => {
            parts.extend(["other".to_owned(), event.clone(), optional(message_id.as_deref())]);
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    HEXLOWER.encode(digest::of(&parts).first_chunk::<DEDUPE_KEY_BYTES>().unwrap_or(&[0; DEDUPE_KEY_BYTES]))
}

fn add_answers(parts: &mut Vec<String>, event: &str, answers: &[ConsentAnswer]) {
    parts.push(event.to_owned());
    for answer in answers {
        parts.extend([answer.template.clone(), answer.answer.clone(), optional(answer.scene.as_deref())]);
    }
}

fn add_results(parts: &mut Vec<String>, results: &[SendResult]) {
    parts.push("sent".to_owned());
    for result in results {
        let message_id = optional(result.message_id.as_deref());
        parts.extend([result.template.clone(), message_id, result.code.to_string(), result.status.clone()]);
    }
}

/// A text that tells an absent value from an empty one.
fn optional(value: Option<&str>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("+{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(template: &str, answer: &str) -> ConsentAnswer {
        ConsentAnswer { template: template.to_owned(), answer: answer.to_owned(), scene: Some("0".to_owned()) }
    }

    fn popup(openid: &str, second: i64, answers: Vec<ConsentAnswer>) -> CallbackEvent {
        let created_at = Timestamp::from_second(second).unwrap();
        CallbackEvent::new(openid.to_owned(), created_at, CallbackKind::Popup { answers })
    }

    #[test]
    fn the_key_does_not_change_between_versions() {
        let event = popup("oUSER0001", 1_767_294_245, vec![answer("TMPL_A", "accept")]);
        assert_eq!(event.dedupe_key, "fd0c3a7d7ed14f67f29c32b4c562d094");
    }

    #[test]
    fn every_part_of_the_content_counts() {
        let answers = vec![answer("TMPL_A", "accept")];
        let base = popup("oUSER0001", 1, answers.clone());
        let change = CallbackKind::Change { answers: answers.clone() };
        let others = [
            popup("oUSER0002", 1, answers.clone()),
            popup("oUSER0001", 2, answers.clone()),
            popup("oUSER0001", 1, vec![answer("TMPL_B", "accept")]),
            popup("oUSER0001", 1, vec![answer("TMPL_A", "reject")]),
            popup("oUSER0001", 1, vec![answer("TMPL_Aa", "ccept")]),
            popup("oUSER0001", 1, Vec::new()),
            CallbackEvent::new("oUSER0001".to_owned(), base.created_at, change),
        ];
        for other in others {
            assert_ne!(other.dedupe_key, base.dedupe_key, "{other:?}");
        }
        assert_eq!(popup("oUSER0001", 1, answers).dedupe_key, base.dedupe_key);
    }
}
