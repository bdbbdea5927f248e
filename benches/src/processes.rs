//! Processes of their own: what they cost, and how they die, is not this one's.

use std::process::Stdio;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Result;

/// Stores and simulators.
pub struct Stores {
    /// Where DynamoDB and SQS answer.
    pub aws: String,
    /// Where the simulators answer.
    pub simulators: String,
    _process: Child,
}

#[derive(Deserialize)]
struct StoresReady {
    aws: String,
    simulators: String,
}

impl Stores {
    /// Starts them; they end with this value.
    ///
    /// # Errors
    /// When they do not say that they are ready.
    pub async fn start() -> Result<Self> {
        let mut command = this_program()?;
        command.args(["stores", "--memory", "--simulators", "127.0.0.1:0", "--json"]);
        let (StoresReady { aws, simulators }, process) = ready(command).await?;
        Ok(Self { aws, simulators, _process: process })
    }
}

/// A host of the functions.
pub struct Host(Child);

#[derive(Deserialize)]
struct HostReady {}

impl Host {
    /// Starts one, with the addresses of AWS and of the platform; it ends with this value.
    ///
    /// # Errors
    /// When it does not say that it is ready.
    pub async fn start(aws: &str, simulators: &str) -> Result<Self> {
        let mut command = this_program()?;
        command.args(["up", "--memory", "--no-simulators", "--api", "127.0.0.1:0", "--json"]);
        command.args(["--aws-endpoint", aws]).env("TIDEPOST_WECHAT_BASE_URL", simulators);
        let (HostReady {}, process) = ready(command).await?;
        Ok(Self(process))
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.0.kill().await?)
    }
}

/// Another process of this program, which also has the command's `stores` and `up`.
fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// Waits for the line that says that a process is ready.
async fn ready<T: DeserializeOwned>(mut command: Command) -> Result<(T, Child)> {
    let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = process.stdout.take().ok_or("the process has no output")?;
    let line = BufReader::new(output).lines().next_line().await?.ok_or("the process did not start")?;
    Ok((serde_json::from_str(&line)?, process))
}
