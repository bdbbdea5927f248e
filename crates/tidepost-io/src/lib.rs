//! All of Tidepost's input and output, and none of its decisions.
//!
//! Decisions live in `tidepost-core`; what is here reads and writes: DynamoDB, SQS, secrets, the platforms, HTTP events,
//! the clock and the environment.

pub mod app;
pub mod clock;
pub mod config;
pub mod platform;
pub mod secret;
