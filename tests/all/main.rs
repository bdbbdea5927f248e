//! Everything that is tested across packages, in one binary.

// Tests await whole functions, which await each other's parts: deep futures.
#![recursion_limit = "256"]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

mod end_to_end;
mod fields;
mod simulation;
mod tidy;
mod wechatpy;
