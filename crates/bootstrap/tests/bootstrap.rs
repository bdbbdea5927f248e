//! The program as Lambda starts it. (Also what makes `cargo test` build it with the features of all tests, so that the
//! deployment's test need not build anything anew.)

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::process::{Command, Output};

/// Starts it as the function `handler`, with nothing else in its environment.
fn start(handler: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    program.env_clear().env("_HANDLER", handler).output().unwrap()
}

fn errors(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_handler_that_is_no_function_is_named() {
    let said = errors(&start("dispatcher"));
    assert!(said.contains("no function 'dispatcher'"), "{said}");
}

#[test]
fn every_function_asks_for_its_environment() {
    for function in ["admin", "callback", "dispatch", "enqueue", "metrics", "release", "report", "sweep", "tokens"] {
        let said = errors(&start(function));
        assert!(said.contains("TIDEPOST_TABLE"), "{function}: {said}");
    }
}
