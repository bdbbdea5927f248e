//! Erasing a person: what is left of the messages that were written to them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::message::{Message, Standing};
use crate::outcome::Ending;
use crate::person::Person;
use crate::reason::{Reason, ReasonCode};
use crate::receipt::Entry;
use crate::time::plus_seconds;

/// How long an erasure may take, in seconds: longer than the function runs that carries it out. What is not finished by then
/// is taken up again.
pub const ERASING_SECONDS: i64 = 60;

/// What to do about an erasure that was begun and not said to be finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begun {
    /// Nothing: it may be under way.
    Leave,
    /// Go on with it.
    GoOn,
    /// Forget it: the person was erased, and may have come back with a new consent since.
    Done,
}

/// Decides on an erasure of `person` that was begun at `begun_at`.
#[must_use]
pub fn begun(person: &Person, begun_at: Timestamp, now: Timestamp) -> Begun {
    if now < plus_seconds(begun_at, ERASING_SECONDS) {
        return Begun::Leave;
    }
    // Whole seconds: who was first heard of in the second of the wish is taken for the one who has it.
    let is_new = person.activity.first_seen().is_some_and(|first| first.as_second() > begun_at.as_second());
    if person.erased_at.is_some() || is_new { Begun::Done } else { Begun::GoOn }
}

/// Whether a row still says what was written, or depends on the person's memory to tell what became of it.
#[must_use]
pub fn is_telling(message: &Message) -> bool {
    let is_open = !matches!(message.standing(), Standing::Ended { .. });
    is_open || message.page.is_some() || !message.data.is_empty()
}

/// The row of a reserved message without what it said. Its outcome is written down: the memory of the reservation, by
/// which the receipt is found, goes with the person.
#[must_use]
pub fn stripped(message: &Message, receipt: Option<Entry>) -> Message {
    match (message.standing(), receipt) {
        (Standing::Ended { ending, .. }, Some(entry)) if entry.ending.outranks(ending) => {
            message.ended(entry.ending, Some(entry.at))
        }
        (Standing::Ended { .. }, _) => Message { data: BTreeMap::new(), page: None, ..message.clone() },
        (_, Some(entry)) => message.ended(entry.ending, Some(entry.at)),
        (_, None) => {
            let reason = Reason::new(ReasonCode::Crash, "the person was erased before an outcome was noted");
            message.ended(Ending::because(reason, None), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, SubscriberId};
    use crate::message::MessageRequest;
    use crate::outcome::{Outcome, PlatformWord};
    use crate::template::Template;

    fn message() -> Message {
        let template: Template = serde_json::from_str(r#"{"title":"发货","fields":[{"key":"thing1"}]}"#).unwrap();
        let request = r#"{"channel":"shop","openid":"o1","template":"T","data":{"thing1":"咖啡"},"page":"pages/a"}"#;
        let request: MessageRequest = serde_json::from_str(request).unwrap();
        request.accept(&template, "hash".into(), "2026-11-21T10:00:00Z".parse().unwrap()).unwrap()
    }

    fn receipt(ending: Ending) -> Entry {
        let at = "2026-11-21T10:00:01Z".parse().unwrap();
        Entry { id: MessageId::derive("shop", "k", "1", at), at, ending }
    }

    fn outcome(message: &Message) -> Outcome {
        match message.standing() {
            Standing::Ended { ending, .. } => ending.outcome,
            other => panic!("not ended: {other:?}"),
        }
    }

    #[test]
    fn what_was_written_goes_and_the_outcome_stays() {
        let word = PlatformWord { code: 0, message: "ok".into(), message_id: None };
        let delivered = stripped(&message(), Some(receipt(Ending::delivered(word.clone()))));
        assert_eq!(outcome(&delivered), Outcome::Delivered);
        assert!(!is_telling(&delivered));
        let in_flight = stripped(&message(), None);
        assert_eq!(outcome(&in_flight), Outcome::Unknown);
        assert!(!is_telling(&in_flight));
        let known_better = stripped(&in_flight, Some(receipt(Ending::delivered(word))));
        assert_eq!(outcome(&known_better), Outcome::Delivered);
    }
    #[test]
    fn an_erasure_that_was_begun_goes_on_unless_the_person_is_gone_or_new() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (begun_at, later) = (at("2026-11-21T10:00:00.5Z"), at("2026-11-21T10:01:01Z"));
        let known = |first: &str| {
            let mut person = Person::new(&SubscriberId::new("shop", "o1"));
            person.activity.note_active(at(first));
            person
        };
        let old = known("2026-11-20T10:00:00Z");
        assert_eq!(begun(&old, begun_at, at("2026-11-21T10:00:59Z")), Begun::Leave);
        assert_eq!(begun(&old, begun_at, later), Begun::GoOn);
        assert_eq!(begun(&old.erased(begun_at), begun_at, later), Begun::Done);
        assert_eq!(begun(&known("2026-11-21T10:00:30Z"), begun_at, later), Begun::Done, "a new consent came");
    }
}
