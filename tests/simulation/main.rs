//! `simulate`: runs seeds of the simulation.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use simulation::{Size, checkers, runs};

/// Tools around Tidepost's tests.
#[derive(Parser)]
struct Tools {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Runs the whole system on a virtual clock with faults drawn from a seed, and checks the six invariants.
    Simulate(Simulate),
}

#[derive(clap::Args)]
struct Simulate {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People in each story.
    #[arg(long, default_value_t = Size::default().people)]
    people: usize,
    /// Messages in each story.
    #[arg(long, default_value_t = Size::default().messages)]
    messages: usize,
    /// Campaigns in each story.
    #[arg(long, default_value_t = Size::default().campaigns)]
    campaigns: usize,
    /// Prints the delivery log of the first seed.
    #[arg(long)]
    log: bool,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Tool::Simulate(arguments) = Tools::parse().tool;
    let size = Size { people: arguments.people, messages: arguments.messages, campaigns: arguments.campaigns };
    if arguments.log {
        let history = runs::history(arguments.seed, size, None);
        println!("{}", history.delivery_log());
        println!("{} requests to AWS, {} invocations died", history.requests, history.crashes);
        for finding in checkers::check(&history) {
            println!("{finding}");
        }
        return ExitCode::SUCCESS;
    }
    let since = Instant::now();
    let broken = runs::run(arguments.seed, arguments.seeds, size, None, |done, broken| {
        if let Some(broken) = broken {
            println!("{}", broken.report());
        }
        if done % 10 == 0 {
            eprintln!(
                "{done} of {} seeds, {:.1} per second",
                arguments.seeds,
                done as f64 / since.elapsed().as_secs_f64()
            );
        }
    });
    println!("{} of {} seeds held", arguments.seeds - broken.len() as u64, arguments.seeds);
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
