//! The command's process: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    tidepost::log::init();
    tidepost::commands::run(tidepost::cli::Cli::parse()).await
}
