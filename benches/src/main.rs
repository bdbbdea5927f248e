//! Benchmarks: what a message costs in requests, in units and in processor time, and what campaigns make of windows.
//!
//! ```text
//! count     requests and units of messages, counted by the meter at the wire
//! campaign  the same of a campaign, and its price
//! cpu       processor time of dispatch against a plain loop
//! edges     a campaign against windows in real time, its host killed now and then
//! sweep     a look at very many people: time and memory
//! months    what a month costs, by what messages were counted to use
//! cold/     starts of functions, against the same in Python and for Node
//! meter/    the proxy before the stand-ins, and DynamoDB's prices
//! mailbox   keeps the platform's events until they are wanted
//! place     the functions with their clients, invoked by their own events
//! shop      an account, its channel and its people
//! prices    what requests and units cost
//! processes stores and hosts of their own
//! report    the tables, and their place in docs/BENCHMARKS.md
//! ```

mod campaign;
mod cold;
mod count;
mod cpu;
mod edges;
mod mailbox;
mod meter;
mod months;
mod place;
mod prices;
mod processes;
mod report;
mod shop;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Anything that goes wrong ends the benchmarks.
type Result<T> = std::result::Result<T, lambda_runtime::Error>;

/// Measures what messages and campaigns cost. Without a subcommand: everything, in about three quarters of an hour.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Put the tables into docs/BENCHMARKS.md too
    #[arg(long, global = true)]
    write: bool,
}

const EXAMPLES: &str = "\
Examples:
  tidepost-bench --write
  tidepost-bench cpu --messages 500 --rounds 1
  tidepost-bench cold --starts 3 --bootstrap target/debug/bootstrap
  tidepost-bench edges --people 3000 --windows 3 --kills 1";

#[derive(Debug, Subcommand)]
enum Command {
    /// Requests and units of messages and consents
    Count,
    /// Requests, units and price of a campaign
    Campaign,
    /// Processor time of a message
    Cpu(CpuArgs),
    /// A campaign against windows of a minute, in real time
    Edges(edges::Args),
    /// What a month of messages costs
    Months,
    /// A look at very many people
    Sweep(sweep::Args),
    /// Starts of functions, against the same in Python and for Node
    Cold(cold::Args),
    /// Stores and simulators, in a process of their own
    #[command(hide = true)]
    Stores(tidepost::commands::stores::Args),
    /// A host of the functions, in a process of its own
    #[command(hide = true)]
    Up(tidepost::commands::up::Args),
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
    let commands = match cli.command {
        Some(Command::Stores(args)) => return Ok(threads()?.block_on(args.run())?),
        Some(Command::Up(args)) => return Ok(threads()?.block_on(args.run())?),
        Some(Command::Sweep(args)) if args.is_once() => {
            println!("{}", serde_json::to_string(&args.look()?)?);
            return Ok(());
        }
        Some(command) => vec![command],
        None => everything(),
    };
    for command in commands {
        let (part, figures) = measure(command)?;
        println!("{figures}");
        if cli.write {
            report::write(part, &figures)?;
        }
    }
    Ok(())
}

/// A shorter run with clocks that agree.
const WITHOUT_SKEW: &str = "edges --people 25000 --windows 5 --kills 0 --skew 0";

/// All parts, as their own commands measure them when nothing else is said.
fn everything() -> Vec<Command> {
    let parts = ["count", "campaign", "months", "cpu", "sweep", "cold", "edges", WITHOUT_SKEW];
    let parsed = |part: &str| Cli::try_parse_from(["tidepost-bench"].into_iter().chain(part.split(' '))).ok()?.command;
    parts.into_iter().filter_map(parsed).collect()
}

/// The name of a part of the page, and what stands there.
fn measure(command: Command) -> Result<(&'static str, String)> {
    let title = report::machine(&std::env::args().skip(1).collect::<Vec<_>>());
    let (part, figures) = match command {
        Command::Count => ("count", count()?),
        Command::Campaign => ("campaign", report::campaign(&threads()?.block_on(campaign::count())?)),
        Command::Months => ("months", months()?),
        Command::Cpu(args) => ("cpu", cpu(args)?),
        Command::Edges(args) => (args.part(), report::edges(&threads()?.block_on(args.measure())?)),
        Command::Sweep(args) => ("sweep", report::sweep(&threads()?.block_on(args.measure())?)),
        Command::Cold(args) => ("cold", report::cold(&threads()?.block_on(args.measure())?)),
        Command::Stores(_) | Command::Up(_) => return Err("not a measurement".into()),
    };
    Ok((part, format!("{title}\n{figures}")))
}

fn threads() -> Result<tokio::runtime::Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn count() -> Result<String> {
    let channels = threads()?
        .block_on(async { Ok::<_, lambda_runtime::Error>([count::channel(1).await?, count::channel(2).await?]) })?;
    Ok(report::counts(&channels))
}

fn months() -> Result<String> {
    let counted = async { Ok::<_, lambda_runtime::Error>((count::channel(1).await?, campaign::count().await?)) };
    let (channel, campaign) = threads()?.block_on(counted)?;
    months::table(&channel, &campaign)
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
