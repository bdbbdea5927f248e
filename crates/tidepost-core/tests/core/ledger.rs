//! The ledger against a plain account of what happened, and what people are protected by against their own clocks.

mod account;
mod grants;
mod respect;
mod settled;
