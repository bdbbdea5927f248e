//! All of Tidepost's input and output, and none of its decisions.
//!
//! Decisions live in `tidepost-core`; what is here reads and writes: DynamoDB, SQS, secrets, the platforms, HTTP events,
//! the clock and the environment.

pub mod app;
pub mod auth;
pub mod brakes;
pub mod campaigns;
pub mod channels;
pub mod clock;
pub mod config;
pub mod emf;
pub mod erasure;
pub mod events;
pub mod heard;
pub mod hours;
pub mod http;
pub mod ledger;
pub mod lineup;
pub mod messages;
pub mod platform;
pub mod queue;
pub mod quotas;
pub mod runtime;
pub mod secret;
pub mod secrets;
pub mod settling;
pub mod store;
pub mod sweeps;
pub mod sync;
pub mod tokens;
pub mod unknown;
