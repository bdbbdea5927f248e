//! The simulator of the whole system: one process, one thread, a virtual clock, one seed.
//!
//! The functions' handlers, the ledger, the queues' and the platforms' clients and the AWS SDKs are the real ones. What
//! differs is below them: the SDKs' HTTP client ends at an in-memory DynamoDB and queues that lose, repeat and delay
//! (`aws/`), calls of the platforms end at the simulators' router and their callbacks at the function (`platform`), the
//! clock is the runtime's paused timer, and random bytes come from the seed.
//!
//! ```text
//! story      what people and backends do            faults       what goes wrong, how often
//! world      the course of a seed                   invocation   a function that may die anywhere, with a clock of its own
//! functions  HTTP calls, schedules                  planted      faults that the checkers must find
//! pumps      queues to functions                    history      what was seen: the checkers' only input
//! campaigns  the part of a story that owners play   runs         many seeds, their verdicts
//! steps      where invocations died
//! checkers/  the six invariants and what they come to for campaigns, restated
//! ```

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "a simulation fails like a test")]

mod aws;
mod campaigns;
pub mod checkers;
mod faults;
mod functions;
pub mod history;
mod invocation;
pub mod planted;
mod platform;
mod pumps;
pub mod runs;
pub mod steps;
mod story;
mod world;

pub use story::Size;
