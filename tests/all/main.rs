//! Everything that is tested across packages, in one binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

mod end_to_end;
mod fields;
mod tidy;
mod wechatpy;
