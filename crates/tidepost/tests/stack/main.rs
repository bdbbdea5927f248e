//! The embedded stack from outside: through AWS's own SDK, over HTTP, and as a process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod campaign;
mod command;
mod host;
mod stand_ins;
mod support;
