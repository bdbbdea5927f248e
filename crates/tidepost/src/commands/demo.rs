//! `tidepost demo`.

use std::io::IsTerminal;

use crate::commands::Failure;
use crate::demo::{print, run};

/// Arguments of `tidepost demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidepost demo                      2,000 invented people, about a minute
  tidepost demo --people 300         a quick look
  tidepost demo --seed 7 --json      another evening, as one JSON object")]
pub struct Args {
    /// How many people are invented
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    people: u32,
    /// What the story is invented from: one seed is one story
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print only one JSON object on standard output
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Tells the story and checks the invariants.
    ///
    /// # Errors
    /// [`Failure::No`] when an invariant was broken.
    pub async fn run(self) -> Result<(), Failure> {
        let shows_progress = std::io::stderr().is_terminal() && !self.json;
        crate::log::init();
        if !self.json {
            println!("Evening of a shop with {} people: consents, orders, shipping, a night, a morning.", self.people);
        }
        let people = usize::try_from(self.people).unwrap_or(usize::MAX);
        let report = run::run(people, self.seed, shows_progress).await?;
        if self.json {
            println!("{}", print::object(&report, self.seed));
        } else {
            println!("{}", print::text(&report, self.seed));
        }
        if report.findings.held() {
            return Ok(());
        }
        Err(Failure::No(format!("an invariant was broken; replay with --people {} --seed {}", self.people, self.seed)))
    }
}
