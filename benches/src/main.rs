//! Benchmarks: what a message costs in requests, in units and in processor time.
//!
//! ```text
//! count     requests and units, counted by the meter at the wire
//! cpu       processor time of dispatch against a plain loop
//! meter/    the proxy before the stand-ins, and DynamoDB's prices
//! mailbox   keeps the platform's events until they are wanted
//! place     the functions with their clients, invoked by their own events
//! shop      an account, its channel and its people
//! report    the tables, and their place in docs/BENCHMARKS.md
//! ```

mod count;
mod cpu;
mod mailbox;
mod meter;
mod place;
mod report;
mod shop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Anything that goes wrong ends the benchmarks.
type Result<T> = std::result::Result<T, lambda_runtime::Error>;

/// Measures what a message costs. Without a subcommand: everything.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Put the tables into docs/BENCHMARKS.md too
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    cpu: CpuArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Only requests and units
    Count,
    /// Only processor time
    Cpu(CpuArgs),
    /// Stores and simulators for `cpu`, in a process of their own
    #[command(hide = true)]
    Stores(tidepost::commands::stores::Args),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct CpuArgs {
    /// Messages of a round
    #[arg(long, default_value_t = 2_000)]
    messages: usize,
    /// Rounds of each way
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Cli {
    /// What to type to get the same again.
    fn command_line(&self) -> String {
        let mut words = "cargo run --release -p tidepost-benches".to_owned();
        if self.write {
            words.push_str(" -- --write");
        }
        words
    }
}

fn main() -> ExitCode {
    tidepost::log::init();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let title = report::machine(&cli.command_line());
    match cli.command {
        None => {
            let figures = [title, count()?, cpu(cli.cpu)?].join("\n");
            println!("{figures}");
            if cli.write { report::write(&figures) } else { Ok(()) }
        }
        Some(Command::Count) => {
            println!("{title}\n{}", count()?);
            Ok(())
        }
        Some(Command::Cpu(args)) => {
            println!("{title}\n{}", cpu(args)?);
            Ok(())
        }
        Some(Command::Stores(args)) => Ok(Builder::new_multi_thread().enable_all().build()?.block_on(args.run())?),
    }
}

fn count() -> Result<String> {
    let channels = Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async { Ok::<_, lambda_runtime::Error>([count::channel(1).await?, count::channel(2).await?]) })?;
    Ok(report::counts(&channels))
}

/// On one thread, as the functions run on Lambda.
fn cpu(CpuArgs { messages, rounds }: CpuArgs) -> Result<String> {
    let costs = Builder::new_current_thread().enable_all().build()?.block_on(cpu::measure(messages, rounds))?;
    Ok(report::costs(&costs))
}

/// Says on standard error what is being done.
fn progress(what: &str) {
    eprintln!("{what}");
}
