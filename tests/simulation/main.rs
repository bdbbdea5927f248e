//! `simulate`: runs seeds of the simulation.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use simulation::{Size, checkers, runs, steps};

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
    /// Prints the durable steps, and how often invocations died before and after each.
    #[arg(long)]
    steps: bool,
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
    let verdict = runs::run(arguments.seed, arguments.seeds, size, None, |done, broken| {
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
    if arguments.steps {
        print_steps(&verdict.steps);
    }
    let missed = steps::missed(&verdict.steps);
    for step in &missed {
        println!("no invocation died on both sides of: {step}");
    }
    let deaths: u64 = verdict.steps.values().map(|struck| struck.before + struck.after).sum();
    println!("{deaths} invocations died before or after {} durable steps", verdict.steps.len());
    println!("{} of {} seeds held", arguments.seeds - verdict.broken.len() as u64, arguments.seeds);
    if verdict.broken.is_empty() && missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_steps(steps: &steps::Steps) {
    println!("{:<44} {:>6} {:>6} {:>6}", "durable step", "runs", "before", "after");
    for (step, struck) in steps {
        println!("{step:<44} {:>6} {:>6} {:>6}", struck.runs, struck.before, struck.after);
    }
}
