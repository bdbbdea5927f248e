//! Looking at the same thing again and again.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;

/// How often, and how many times.
#[derive(Clone, Debug, clap::Args)]
pub struct Every {
    /// Seconds between two looks
    #[arg(long = "every", value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Look so many times at the most
    #[arg(long, value_name = "NUMBER")]
    times: Option<u64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    if (0.1..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 3600".to_owned()) }
}

/// Asks until what comes back `is_over`; prints each answer that differs from the one before: with `--json` as it is, one a
/// line, else what `human` makes of it.
pub(super) async fn watch(
    args: &ClientArgs,
    every: &Every,
    call: Call<'_>,
    human: impl Fn(&Value) -> String,
    is_over: impl Fn(&Value) -> bool,
) -> Result<(), Failure> {
    let client = Client::new(args)?;
    let mut before = String::new();
    let mut looks = 0;
    loop {
        let answer = client.call(call.clone()).await?;
        let shown = if args.json { answer.to_string() } else { human(&answer) };
        if shown != before {
            println!("{shown}");
            before = shown;
        }
        looks += 1;
        if is_over(&answer) || every.times.is_some_and(|times| looks >= times) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(every.seconds)).await;
    }
}
