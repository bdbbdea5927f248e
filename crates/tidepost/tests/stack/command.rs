//! The command as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Any free port.
pub(super) const ANY: &str = "127.0.0.1:0";

pub(super) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidepost"));
    for variable in ["TIDEPOST_ADMIN_KEY", "TIDEPOST_API_KEY", "TIDEPOST_ENDPOINT", "TIDEPOST_LOG"] {
        command.env_remove(variable);
    }
    command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn exit(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(folder, arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A server that printed its first line.
pub(super) struct Server {
    child: Child,
    pub(super) line: String,
}

impl Server {
    pub(super) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, line: line.trim().to_owned() }
    }

    pub(super) fn end(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn up_says_when_it_is_ready_and_ends_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["up", "--memory", "--api", ANY, "--simulators", ANY]);
    let (api, simulators) = server.line.strip_prefix("ready api=").unwrap().split_once(" simulators=").unwrap();
    assert_eq!(reqwest::get(format!("{api}/healthz")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{simulators}/sim/clock")).await.unwrap().status(), 200);
    assert_eq!(server.end("-TERM"), Some(0));
}

#[tokio::test]
async fn a_host_can_use_the_stores_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Server::start(folder.path(), &["stores", "--memory"]);
    let aws = stores.line.strip_prefix("ready aws=").unwrap().to_owned();
    let up = ["up", "--memory", "--no-simulators", "--api", ANY, "--json", "--aws-endpoint", &aws];
    let (one, two) = (Server::start(folder.path(), &up), Server::start(folder.path(), &up));
    let ready: Value = serde_json::from_str(&one.line).unwrap();
    assert!(ready["api"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert_eq!(ready.get("simulators"), None);
    assert_eq!(one.end("-INT"), Some(0));
    assert_eq!(two.end("-TERM"), Some(0));
    assert_eq!(stores.end("-TERM"), Some(0));
}

#[tokio::test]
async fn a_second_process_on_a_folder_says_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let up = ["up", "--no-simulators", "--api", ANY];
    let server = Server::start(folder.path(), &up);
    let (code, said) = exit(folder.path(), &up);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!(".tidepost is in use by process {}", server.child.id())), "{said}");
    assert_eq!(server.end("-TERM"), Some(0));
}

#[test]
fn a_short_admin_key_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = command(folder.path(), &["up", "--memory", "--api", ANY]);
    assert_eq!(up.env("TIDEPOST_ADMIN_KEY", "short").output().unwrap().status.code(), Some(2));
}

#[test]
fn what_is_not_there_has_its_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(exit(folder.path(), &["key", "list"]).0, Some(2));
    let port = std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let (code, said) = exit(folder.path(), &["key", "list", "--key", "k", "--endpoint", &format!("http://{port}")]);
    assert_eq!(code, Some(3), "{said}");
}
