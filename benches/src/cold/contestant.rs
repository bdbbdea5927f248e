//! The same function in three languages, each a process that Lambda would start.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::Result;
use crate::cold::runtime_api::RuntimeApi;

/// What it is written in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Language {
    /// This repository's functions.
    Rust,
    /// `boto3` and AWS's own runtime client.
    Python,
    /// AWS's SDK for JavaScript and a runtime loop of a few lines.
    Node,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Node];

    /// Its name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Node => "Node",
        }
    }
}

/// The functions that are compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Function {
    /// A consent as the platform reports it.
    Callback,
    /// One message.
    Dispatch,
}

impl Function {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Callback, Self::Dispatch];

    /// Its name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Dispatch => "dispatch",
        }
    }

    /// Whether an answer says that the work is done.
    fn is_done(self, answer: &[u8]) -> bool {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        match self {
            Self::Callback => answer.get("statusCode").and_then(Value::as_u64) == Some(200),
            Self::Dispatch => answer
                .get("batchItemFailures")
                .is_some_and(|failures| failures.is_null() || failures.as_array().is_some_and(Vec::is_empty)),
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program that is deployed.
    pub bootstrap: PathBuf,
    /// The folder that `tests/cold_start/prepare` filled.
    pub prepared: PathBuf,
}

impl Programs {
    /// Where a build in this bench's own profile puts it.
    ///
    /// # Errors
    /// When this program's own place is not known.
    pub fn default_bootstrap() -> Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name("bootstrap"))
    }

    /// Of Python and Node.
    ///
    /// # Errors
    /// When one of them cannot be asked.
    pub fn versions(&self) -> Result<String> {
        let version = |program: &Path| {
            let output = std::process::Command::new(program).arg("--version").output()?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let python = version(&self.prepared.join("venv/bin/python"))?;
        Ok(format!("{python}, Node {}", version(Path::new("node"))?))
    }

    fn command(&self, language: Language, function: Function) -> Command {
        let name = function.name();
        match language {
            Language::Rust => Command::new(&self.bootstrap),
            Language::Python => {
                let mut command = Command::new(self.prepared.join("venv/bin/python"));
                command.args(["-m", "awslambdaric", &format!("{name}.handler")]);
                command.current_dir(self.prepared.join("python"));
                command
            }
            Language::Node => {
                let mut command = Command::new("node");
                command.args(["runtime.mjs", name]).current_dir(self.prepared.join("node"));
                command
            }
        }
    }
}

/// What one start was measured to take.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the start of the process until it asks for its first invocation.
    pub init: Duration,
    /// The first invocation.
    pub first: Duration,
    /// The median of those after it.
    pub warm: Duration,
    /// The most memory that was resident, in KB.
    pub resident_kilobytes: u64,
}

/// Starts a process, and lets it handle `events`, at least two.
///
/// # Errors
/// When it does not start, or does not do its work.
pub async fn start(
    programs: &Programs,
    language: Language,
    function: Function,
    environment: &[(String, String)],
    events: Vec<String>,
) -> Result<Start> {
    let mut api = RuntimeApi::start().await?;
    let mut command = programs.command(language, function);
    command.env_clear().envs(environment.iter().cloned());
    command.envs(std::env::var("PATH").map(|path| ("PATH", path)));
    command.env("AWS_LAMBDA_RUNTIME_API", &api.address).env("_HANDLER", function.name());
    let what = format!("{} for {}", language.name(), function.name());
    let begun = Instant::now();
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn();
    let mut process = process.map_err(|error| format!("{what}: {command:?}: {error}"))?;
    let init = asked_or_ended(&mut api, &mut process, &what).await?.duration_since(begun);
    let mut spent = Vec::with_capacity(events.len());
    for event in events {
        let (duration, answer) = api.invoke(event).await.map_err(|error| format!("{what}: {error}"))?;
        if !function.is_done(&answer) {
            return Err(format!("{what} answers {}", String::from_utf8_lossy(&answer)).into());
        }
        spent.push(duration);
    }
    let resident_kilobytes = resident_kilobytes(&process)?;
    process.kill().await?;
    let (first, warm) = spent.split_first_mut().ok_or("no event")?;
    warm.sort_unstable();
    let warm = warm.get(warm.len() / 2).ok_or("only one event")?;
    Ok(Start { init, first: *first, warm: *warm, resident_kilobytes })
}

/// The first thing that a process says, unless it ends before.
async fn asked_or_ended(api: &mut RuntimeApi, process: &mut Child, what: &str) -> Result<Instant> {
    tokio::select! {
        asked = api.asked() => asked,
        ended = process.wait() => Err(format!("{what} ends at once: {}", ended?).into()),
    }
}

/// The peak of resident memory, as Linux counts it.
fn resident_kilobytes(process: &Child) -> Result<u64> {
    let id = process.id().ok_or("the process has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak of memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
