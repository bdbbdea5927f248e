//! The simulator over real HTTP. Every request is written by hand from the platform's documentation, as text, so that
//! nothing here shares a mistake with a client of ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests are tests too")]

mod callbacks;
mod codes;
mod control;
mod faults;
mod harness;
mod sending;
mod templates;
mod tokens;
