//! The `tidepost` command: the embedded local stack and the client of the HTTP API.
//!
//! [`stack`] runs the very handlers of `functions/` in one process against stand-ins that speak AWS's own protocols, so
//! the AWS SDK code is the production code. Everything else here is the edge of the command: arguments in [`cli`], one
//! file per subcommand in [`commands`], the API's client in [`client`].

pub mod cli;
pub mod client;
pub mod commands;
pub mod demo;
pub mod log;
pub mod output;
pub mod stack;
