//! The core as its callers see it: a model check of the send protocol, and properties over generated histories.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that is wrong about its own data fails there"
)]

mod choice;
mod fields;
mod ledger;
mod lists;
mod protocol;
mod quintiles;
mod segments;
mod windows;
