//! What the walk over the messages does with a row: a queue may lose everything, the rows do not.

use jiff::Timestamp;

use crate::category::Category;
use crate::message::{Message, Standing};
use crate::outcome::{Ending, Outcome};
use crate::reason::{Reason, ReasonCode};
use crate::receipt::Entry;
use crate::sends::{KEPT_SECONDS, Mark, RecentSend};
use crate::time::plus_seconds;

/// How long a queued message may be under way before the walk asks after it, in seconds. A message that is asked for twice
/// is sent once all the same.
pub const TRANSIT_SECONDS: i64 = 90;

/// How long a reservation may be without a receipt before its delivery is taken for dead, in seconds: longer than an
/// invocation may run.
pub const DELIVERY_SECONDS: i64 = 180;

/// How far apart the clocks of functions are at the most, in seconds: the largest skew that a channel may have.
const CLOCKS_APART_SECONDS: i64 = 10;

/// What to do with a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Recovery {
    /// Nothing: it is over, or others are at it.
    Leave,
    /// Put it back on the queue, unless it is parked: then release brings it back as soon as there is room.
    Requeue,
    /// Its delivery died after reserving: leave an `unknown` receipt, and for `basic` allow the second try.
    NoteCrash {
        /// Whether it may be tried once more.
        may_repeat: bool,
    },
    /// Write down how it ended.
    Settle {
        /// What became of it.
        ending: Ending,
        /// When the platform was called.
        sent_at: Option<Timestamp>,
        /// Whether that is told by no receipt yet.
        needs_receipt: bool,
    },
}

/// The outcome of a campaign's reservation whose delivery died before it was noted.
#[must_use]
pub fn unnoted(mark: Mark) -> Ending {
    let reason = match mark {
        Mark::Refused => Reason::new(ReasonCode::PlatformError, "the platform refused it, and its words were lost"),
        _ => Reason::new(ReasonCode::Crash, "the delivery died before its outcome was noted"),
    };
    Ending::because(reason, None)
}

/// Decides on one row. `reserved` is the person's memory of it, `receipt` the best word on it; `is_erased` says that the
/// person asked to be erased; `transit_seconds` is [`TRANSIT_SECONDS`], or 0 when the queue is known to be lost.
#[must_use]
pub fn recover(
    message: &Message,
    reserved: Option<&RecentSend>,
    receipt: Option<&Entry>,
    is_erased: bool,
    transit_seconds: i64,
    now: Timestamp,
) -> Recovery {
    if matches!(message.standing(), Standing::Ended { .. }) {
        return Recovery::Leave;
    }
    let is_past = is_past(message, now);
    match reserved {
        Some(send) if send.mark == Mark::MayRepeat && !is_past && !is_known(receipt) => {
            requeue_when_due(message, transit_seconds, now)
        }
        Some(send) => settle_reserved(message, send, receipt, now),
        None if is_erased => end(ReasonCode::Erased, "the person was erased before it was sent"),
        None if is_forgotten(message, now) => end(ReasonCode::Crash, FORGOTTEN),
        None if is_past => end_unsent(message),
        None => requeue_when_due(message, transit_seconds, now),
    }
}

/// What to do with a task that was found among the dead letters.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetter {
    /// Nothing: its message may still be sent, or the walk is about to end it.
    Leave,
    /// Delete it: its message is over.
    Discard,
    /// End its message so, then delete it.
    End(Ending),
}

/// Decides on a dead letter that is worthless after `not_after`; `message` is its row, if there is one.
#[must_use]
pub fn dead_letter(
    not_after: Timestamp,
    message: Option<&Message>,
    is_reserved: bool,
    is_erased: bool,
    now: Timestamp,
) -> DeadLetter {
    let Some(message) = message else {
        let is_past = now >= plus_seconds(not_after, CLOCKS_APART_SECONDS);
        return if is_past { DeadLetter::Discard } else { DeadLetter::Leave };
    };
    match message.standing() {
        Standing::Ended { .. } => DeadLetter::Discard,
        _ if is_reserved || is_erased || !is_past(message, now) => DeadLetter::Leave,
        _ if is_forgotten(message, now) => {
            DeadLetter::End(Ending::because(Reason::new(ReasonCode::Crash, FORGOTTEN), None))
        }
        _ => {
            let reason = Reason::new(ReasonCode::DeadLetter, "it could not be handled before its deadline");
            DeadLetter::End(Ending::because(reason, None))
        }
    }
}

/// Whether a receipt tells what became of the first try: then there is no second.
fn is_known(receipt: Option<&Entry>) -> bool {
    receipt.is_some_and(|entry| entry.ending.outcome != Outcome::Unknown)
}

fn settle_reserved(message: &Message, send: &RecentSend, receipt: Option<&Entry>, now: Timestamp) -> Recovery {
    let is_past = is_past(message, now);
    if send.mark == Mark::Unsent {
        // Whoever ended it writes receipt and row, or died before.
        return match receipt {
            _ if !is_past => Recovery::Leave,
            None => end_unsent(message),
            Some(entry) => Recovery::Settle { ending: entry.ending.clone(), sent_at: None, needs_receipt: false },
        };
    }
    if let Some(entry) = receipt {
        // Until the deadline the row is left alone: a late word may still better it.
        return if is_past {
            Recovery::Settle { ending: entry.ending.clone(), sent_at: Some(entry.at), needs_receipt: false }
        } else {
            Recovery::Leave
        };
    }
    if now.as_second() < i64::from(send.at) + DELIVERY_SECONDS {
        return Recovery::Leave;
    }
    if send.mark == Mark::Refused {
        return end(ReasonCode::PlatformError, "the platform refused it, and its words were lost");
    }
    Recovery::NoteCrash { may_repeat: message.category == Category::Basic && send.mark == Mark::Reserved && !is_past }
}

/// Whether nobody reserves the message any more, whatever their clock says.
fn is_past(message: &Message, now: Timestamp) -> bool {
    now >= plus_seconds(message.deadline, CLOCKS_APART_SECONDS)
}

/// What is said of a message that was looked after too late.
const FORGOTTEN: &str = "it was looked after so late that nobody remembers whether it was sent";

/// Whether the person's memory of the message may be gone, by any clock.
fn is_forgotten(message: &Message, now: Timestamp) -> bool {
    now >= plus_seconds(message.deadline, KEPT_SECONDS - CLOCKS_APART_SECONDS)
}

fn requeue_when_due(message: &Message, transit_seconds: i64, now: Timestamp) -> Recovery {
    match message.standing() {
        Standing::Waiting { until, .. } if now < plus_seconds(*until, transit_seconds) => Recovery::Leave,
        Standing::Queued if transit_seconds > 0 && now < plus_seconds(message.accepted_at, transit_seconds) => {
            Recovery::Leave
        }
        _ => Recovery::Requeue,
    }
}

fn end_unsent(message: &Message) -> Recovery {
    let passed = Reason::new(ReasonCode::DeadlinePassed, "it could not be sent before its deadline");
    let reason = message.unsent_because(passed);
    end(reason.code, &reason.detail)
}

fn end(code: ReasonCode, detail: &str) -> Recovery {
    Recovery::Settle { ending: Ending::because(Reason::new(code, detail), None), sent_at: None, needs_receipt: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A queued message whose deadline is 10:00.
    fn message() -> Message {
        serde_json::from_str(
            r#"{"c":"shop","o":"o1","t":"T","p":"orders","y":"reminder","u":"normal","e":"2026-11-21T10:00:00Z",
            "a":"2026-11-21T09:00:00Z","h":"00","w":{"k":"queued"}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_dead_letter_is_ended_once_nobody_can_send_it_any_more() {
        let message = message();
        let step = |is_reserved, is_erased, now| {
            dead_letter(message.deadline, Some(&message), is_reserved, is_erased, at(now))
        };
        let (before, after) = ("2026-11-21T10:00:09Z", "2026-11-21T10:00:10Z");
        assert_eq!(step(false, false, before), DeadLetter::Leave);
        assert_eq!((step(true, false, after), step(false, true, after)), (DeadLetter::Leave, DeadLetter::Leave));
        let DeadLetter::End(ending) = step(false, false, after) else { panic!() };
        assert_eq!(ending.reason.as_ref().unwrap().code, ReasonCode::DeadLetter);
        let ended = message.ended(ending, None);
        assert_eq!(dead_letter(message.deadline, Some(&ended), false, false, at(before)), DeadLetter::Discard);
    }

    #[test]
    fn what_the_memory_may_have_forgotten_is_not_called_unsent() {
        let message = message();
        let reason = |now: &str| match recover(&message, None, None, false, TRANSIT_SECONDS, at(now)) {
            Recovery::Settle { ending, sent_at: None, needs_receipt: true } => ending.reason.unwrap().code,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason("2026-11-21T15:59:49Z"), ReasonCode::DeadlinePassed);
        assert_eq!(reason("2026-11-21T15:59:50Z"), ReasonCode::Crash);
        let late = at("2026-11-21T15:59:50Z");
        let DeadLetter::End(ending) = dead_letter(message.deadline, Some(&message), false, false, late) else {
            panic!()
        };
        assert_eq!(ending.reason.unwrap().code, ReasonCode::Crash);
    }

    #[test]
    fn what_was_ended_without_a_call_never_becomes_unknown() {
        let message = message();
        let send = RecentSend {
            id: crate::ids::MessageId::derive("shop", "k", "1", message.accepted_at),
            nonce: crate::ids::Nonce([1; 8]),
            at: crate::sends::second(message.accepted_at),
            not_after: crate::sends::second(message.deadline),
            mark: Mark::Unsent,
            hours_before: 0,
        };
        let step = |now| recover(&message, Some(&send), None, false, TRANSIT_SECONDS, at(now));
        assert_eq!(step("2026-11-21T10:00:09Z"), Recovery::Leave);
        let Recovery::Settle { ending, sent_at: None, needs_receipt: true } = step("2026-11-21T10:00:10Z") else {
            panic!()
        };
        assert_eq!(ending.outcome, Outcome::Refused);
    }

    #[test]
    fn a_dead_letter_without_a_message_goes_with_its_deadline() {
        let not_after = at("2026-11-21T10:00:00Z");
        assert_eq!(dead_letter(not_after, None, false, false, at("2026-11-21T09:00:00Z")), DeadLetter::Leave);
        assert_eq!(dead_letter(not_after, None, false, false, at("2026-11-21T11:00:00Z")), DeadLetter::Discard);
    }
}
