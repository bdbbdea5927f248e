//! `tidepost demo`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::commands::Failure;
use crate::demo::sale::{figures, plot};
use crate::demo::{print, run};

/// Arguments of `tidepost demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidepost demo                      2,000 invented people and three campaigns, about a minute and a half
  tidepost demo --people 300         a quick look
  tidepost demo --plot windows.svg   the campaigns' windows as a picture in this file
  tidepost demo --seed 7 --json      another evening, as one JSON object")]
pub struct Args {
    /// How many people are invented; half as many are for the campaigns
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    people: u32,
    /// What the story is invented from: one seed is one story
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the campaigns' windows are drawn, as SVG
    #[arg(long, value_name = "FILE", default_value = ".tidepost/demo.svg")]
    plot: PathBuf,
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
        // Before anything else, so that nobody waits for a picture that cannot be kept.
        write(&self.plot, "")?;
        if !self.json {
            println!(
                "Evening of a shop with {} people: consents, orders, shipping, a night, a morning; then three campaigns.",
                self.people
            );
        }
        let people = usize::try_from(self.people).unwrap_or(usize::MAX);
        let demo = run::run(people, self.seed, shows_progress).await?;
        let figures = figures::figures(&demo.sale);
        let picture = plot::svg(&figures).map_err(|error| Failure::No(format!("the plot: {error}")))?;
        write(&self.plot, &picture)?;
        if self.json {
            let mut object = print::object(&demo, &figures, self.seed);
            if let Some(object) = object.as_object_mut() {
                object.insert("plot".to_owned(), self.plot.display().to_string().into());
            }
            println!("{object}");
        } else {
            println!("{}", print::text(&demo, &figures, &self.plot, self.seed));
        }
        if demo.findings().held() {
            return Ok(());
        }
        Err(Failure::No(format!("an invariant was broken; replay with --people {} --seed {}", self.people, self.seed)))
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(file, text)).map_err(|error| Failure::No(format!("{}: {error}", file.display())))
}
