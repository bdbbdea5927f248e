//! Campaigns at work: slots are planned one by one, people are looked at in turn, the best are handed out.
//!
//! Looking at people and spending a slot's units are two things, so that the people are not read for every window. A
//! *census* reads everybody and leaves, for each range of the ledger's key prefixes, a roster: those whom some live campaign
//! may be sent to, the best first. Each slot's plan says how many each range hands out, and a range only reads the pieces of
//! its roster that it needs for that.
//!
//! Nobody needs to note who was handed out and what became of them: dispatch reserves in the people's own items, and the
//! next census sees who was not reserved, and whose reservation was left without an outcome.

mod contest;
mod in_flight;
mod plan;
mod progress;
mod roster;
mod slot;
mod tally;

pub use contest::{Contest, Entrant, Field, Win};
pub use in_flight::{FLIES_SECONDS, LateFlight, is_late};
pub use plan::{FLIGHT_MAX, Flight, Outlook, SlotPlan};
pub use progress::{COUNTED, Census, Moment, Progress};
pub use roster::{Cut, Openids, PIECE_MAX, Piece, Portion, handed_out, take};
pub use slot::Slot;
pub use tally::{Account, Closing, RangeTally, SETTLED_SECONDS, Tally, UNTOLD_SECONDS, sum};
