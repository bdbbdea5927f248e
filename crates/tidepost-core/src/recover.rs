//! What the walk over the messages does with a row: a queue may lose everything, the rows do not.

use jiff::Timestamp;

use crate::category::Category;
use crate::message::{Message, Standing};
use crate::outcome::Ending;
use crate::reason::{Reason, ReasonCode};
use crate::receipt::Entry;
use crate::sends::{Mark, RecentSend};
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
    /// Put it back on the queue.
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
        Some(send) if send.mark == Mark::MayRepeat && !is_past => requeue_when_due(message, transit_seconds, now),
        Some(send) => settle_reserved(message, send, receipt, now),
        None if is_erased => end(ReasonCode::Erased, "the person was erased before it was sent"),
        None if is_past => end_unsent(message),
        None => requeue_when_due(message, transit_seconds, now),
    }
}

fn settle_reserved(message: &Message, send: &RecentSend, receipt: Option<&Entry>, now: Timestamp) -> Recovery {
    let is_past = is_past(message, now);
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
