//! `tidepost up`: the whole stack on this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;
use tidepost_io::config::WECHAT_BASE_URL;
use tidepost_io::secret::Secret;

use crate::commands::Failure;
use crate::commands::signals::Signals;
use crate::stack::data::{ADMIN_KEY_CHARACTERS_MIN, ADMIN_KEY_FILE, ADMIN_KEY_VARIABLE, AdminKey};
use crate::stack::{Aws, Options, Stack};

/// The data folder unless told otherwise.
pub const DATA_FOLDER: &str = ".tidepost";

const EXAMPLES: &str = "\
Examples:
  tidepost up
  tidepost up --memory --no-simulators --api 127.0.0.1:0 --json
  tidepost up --speed 600 --start 2026-11-21T07:55:00+08:00
  tidepost up --aws-endpoint http://127.0.0.1:4566 --api 127.0.0.1:0

Prints one line when everything answers, and ends at SIGTERM or SIGINT.
TIDEPOST_ADMIN_KEY sets the first admin key (at least 32 characters); otherwise one is made at the first start,
printed once and kept in the data folder.";

/// Arguments of `tidepost up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the API answers; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    api: SocketAddr,
    /// Where the simulators answer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8788")]
    simulators: SocketAddr,
    /// Do without simulators: messages go to WeChat itself, or to TIDEPOST_WECHAT_BASE_URL
    #[arg(long, conflicts_with = "simulators")]
    no_simulators: bool,
    /// The data folder
    #[arg(long, value_name = "FOLDER", default_value = DATA_FOLDER)]
    data: PathBuf,
    /// Keep everything in memory
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// How fast the clock may run over spans in which nothing is due
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_speed)]
    speed: f64,
    /// What the clock reads at the start (RFC 3339); the real time unless given
    #[arg(long, value_name = "TIME")]
    start: Option<Timestamp>,
    /// Use table and queues at this endpoint instead of the embedded ones
    #[arg(long, value_name = "URL")]
    aws_endpoint: Option<String>,
    /// Print the ready line as an object
    #[arg(long)]
    json: bool,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if speed.is_finite() && speed >= 1.0 { Ok(speed) } else { Err("must be 1 or more".to_owned()) }
}

impl Args {
    /// Serves until a signal comes.
    ///
    /// # Errors
    /// [`Failure`] when the stack cannot start.
    pub async fn run(self) -> Result<(), Failure> {
        let (json, signals) = (self.json, Signals::catch()?);
        let options = self.options(&|name| std::env::var(name).ok())?;
        let folder = options.data.clone();
        let stack = Stack::start(options).await?;
        if stack.first_key.is_new {
            announce(&stack, folder);
        }
        println!("{}", ready(&stack, json));
        signals.wait().await;
        stack.stop().await;
        Ok(())
    }

    fn options(self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Options, Failure> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        Ok(Options {
            api: self.api,
            simulators: (!self.no_simulators).then_some(self.simulators),
            data: (!self.memory).then_some(self.data),
            aws: self.aws_endpoint.map_or(Aws::Embedded, Aws::Endpoint),
            speed: self.speed,
            start: self.start,
            admin_key: admin_key(variable(ADMIN_KEY_VARIABLE))?,
            wechat_base_url: variable("TIDEPOST_WECHAT_BASE_URL").unwrap_or_else(|| WECHAT_BASE_URL.to_owned()),
            ..Options::default()
        })
    }
}

fn admin_key(given: Option<String>) -> Result<AdminKey, Failure> {
    match given {
        None => Ok(AdminKey::Kept),
        Some(key) if key.chars().count() >= ADMIN_KEY_CHARACTERS_MIN => Ok(AdminKey::Environment(Secret::new(key))),
        Some(_) => Err(Failure::Usage(format!(
            "{ADMIN_KEY_VARIABLE} must have at least {ADMIN_KEY_CHARACTERS_MIN} characters"
        ))),
    }
}

fn announce(stack: &Stack, folder: Option<PathBuf>) {
    let key = stack.admin_key().expose();
    match folder {
        Some(folder) => eprintln!("admin key, shown once, kept in {}: {key}", folder.join(ADMIN_KEY_FILE).display()),
        None => eprintln!("admin key, gone with this process: {key}"),
    }
}

fn ready(stack: &Stack, json: bool) -> String {
    let (api, simulators) = (&stack.api_url, &stack.simulators_url);
    let (aws, lambda) = (&stack.aws_endpoint, &stack.lambda_endpoint);
    match (json, simulators) {
        (true, Some(simulators)) => {
            json!({"api": api, "simulators": simulators, "aws": aws, "lambda": lambda}).to_string()
        }
        (true, None) => json!({"api": api, "aws": aws, "lambda": lambda}).to_string(),
        (false, Some(simulators)) => format!("ready api={api} simulators={simulators}"),
        (false, None) => format!("ready api={api}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: Args,
    }

    fn options(arguments: &[&str], key: Option<&str>) -> Result<Options, Failure> {
        let arguments = [&["up"], arguments].concat();
        let wrapper = Wrapper::try_parse_from(arguments).map_err(|error| Failure::Usage(error.to_string()))?;
        wrapper.args.options(&|name| key.filter(|_| name == ADMIN_KEY_VARIABLE).map(str::to_owned))
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let options = options(&[], None).unwrap();
        assert_eq!(options.api.to_string(), "127.0.0.1:8787");
        assert_eq!(options.simulators.unwrap().to_string(), "127.0.0.1:8788");
        assert_eq!(options.data.unwrap().to_str(), Some(".tidepost"));
        assert_eq!(options.aws, Aws::Embedded);
    }

    #[test]
    fn memory_and_no_simulators_take_them_away() {
        let options = options(&["--memory", "--no-simulators"], None).unwrap();
        assert_eq!((options.data, options.simulators), (None, None));
    }

    #[test]
    fn contradictions_are_wrong_usage() {
        for arguments in [&["--memory", "--data", "x"][..], &["--no-simulators", "--simulators", "127.0.0.1:1"]] {
            assert_eq!(options(arguments, None).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn a_short_admin_key_is_wrong_usage() {
        assert_eq!(options(&[], Some(&"k".repeat(31))).unwrap_err().exit_code(), 2);
        assert!(matches!(options(&[], Some(&"k".repeat(32))).unwrap().admin_key, AdminKey::Environment(_)));
    }
}
