//! `tidepost stores`: only the stand-ins for AWS, so that function hosts can run, and be killed, in processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, json};
use tidepost_io::clock::Clock;

use crate::commands::Failure;
use crate::commands::signals::Signals;
use crate::commands::up::DATA_FOLDER;
use crate::stack::aws::{StandIns, Store};
use crate::stack::data::{self, Lock};
use crate::stack::simulators::Running;
use crate::stack::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  tidepost stores --memory
  tidepost stores --listen 127.0.0.1:4566 --data shop
  tidepost stores --memory --simulators 127.0.0.1:8788

Then, in another process: tidepost up --memory --no-simulators --aws-endpoint http://127.0.0.1:4566";

/// Arguments of `tidepost stores`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where DynamoDB and SQS answer; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The data folder
    #[arg(long, value_name = "FOLDER", default_value = DATA_FOLDER)]
    data: PathBuf,
    /// Keep everything in memory
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// Run the simulators here too
    #[arg(long, value_name = "ADDRESS")]
    simulators: Option<SocketAddr>,
    /// Do without simulators (the default)
    #[arg(long, conflicts_with = "simulators")]
    no_simulators: bool,
    /// What the simulators' clock reads at the start (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "simulators")]
    start: Option<Timestamp>,
    /// Print the ready line as an object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Serves until a signal comes.
    ///
    /// # Errors
    /// [`Failure`] when the stand-ins cannot start.
    pub async fn run(self) -> Result<(), Failure> {
        let signals = Signals::catch()?;
        let _lock = if self.memory { None } else { Some(self.take_folder()?) };
        let store = if self.memory { Store::Memory } else { Store::Folder(self.data.clone()) };
        let stand_ins = StandIns::start(&store, self.listen).await?;
        let stop = Stop::default();
        let clock = self.start.map_or_else(Clock::system, Clock::starting_at);
        let simulators = match self.simulators {
            Some(address) => Some(Running::start(address, &clock, 1.0, 1, &stop).await?),
            None => None,
        };
        println!("{}", ready(stand_ins.url(), simulators.as_ref().map(|running| running.url.as_str()), self.json));
        signals.wait().await;
        stop.begin();
        if let Some(simulators) = simulators {
            simulators.abort();
        }
        stand_ins.stop().await;
        Ok(())
    }

    fn take_folder(&self) -> Result<Lock, Failure> {
        data::make(&self.data)?;
        Ok(Lock::take(&self.data)?)
    }
}

fn ready(aws: &str, simulators: Option<&str>, json: bool) -> String {
    let parts = [("aws", Some(aws)), ("simulators", simulators)];
    let parts = parts.iter().filter_map(|(name, url)| Some((*name, (*url)?)));
    if json {
        return json!(parts.map(|(name, url)| (name.to_owned(), json!(url))).collect::<Map<_, _>>()).to_string();
    }
    parts.fold("ready".to_owned(), |line, (name, url)| format!("{line} {name}={url}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_what_runs() {
        assert_eq!(ready("http://127.0.0.1:1", None, false), "ready aws=http://127.0.0.1:1");
        assert_eq!(ready("http://a", Some("http://b"), false), "ready aws=http://a simulators=http://b");
        assert_eq!(ready("http://a", None, true), r#"{"aws":"http://a"}"#);
    }
}
