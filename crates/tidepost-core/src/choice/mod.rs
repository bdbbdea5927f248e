//! Choice under scarcity: of several offers to one person, and of all people when a window cannot hold everybody.
//!
//! Within one person the offers are compared as they are. Across people nobody is sorted: every range of the ledger counts
//! its offers by [`Rank`] in a [`Histogram`], the sum of them gives a [`Threshold`], and each range gets its [`Share`].

mod held_back;
mod histogram;
mod outbid;
mod plan;
mod portions;
mod rank;
mod shares;
mod within;

pub use held_back::{HeldBack, held_back};
pub use histogram::{BUCKETS_MAX, Histogram};
pub(crate) use outbid::OUTBIDS_MAX_BYTES;
pub use outbid::{OUTBID_MAX, Outbid, Outbids};
pub use plan::{Threshold, plan};
pub use portions::portions;
pub use rank::{Merit, Rank, lot};
pub(crate) use shares::apportion;
pub use shares::{Share, shares};
pub use within::{Candidate, Choice, Fate, choose};
