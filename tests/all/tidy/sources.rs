//! What no file may say.

use std::collections::BTreeSet;

use super::{output, read, root};

/// Files of the repository, those that are not added yet included.
fn files() -> Vec<String> {
    // The clone may belong to another user, as in a container.
    let arguments = ["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = output("git", &arguments);
    let files: Vec<String> = listed.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect();
    assert!(files.len() > 100, "{files:?}");
    files
}

fn text_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).ok()?;
        Some((path, text))
    })
}

/// What of a Rust file is shipped: its unit tests stand at its end.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

pub fn shipped_sources(folders: &[&str]) -> Vec<(String, String)> {
    let is_shipped = |path: &str| {
        path.ends_with(".rs")
            && folders.iter().any(|folder| path.starts_with(folder))
            && path.contains("/src/")
            && !path.ends_with("tests.rs")
    };
    text_files().filter(|(path, _)| is_shipped(path)).map(|(path, text)| (path, shipped(&text).to_owned())).collect()
}

/// Lines that contain any of `words`, as `path:line: text`.
fn lines_with(files: impl IntoIterator<Item = (String, String)>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// Functions read it in `config.rs` (settings), `runtime.rs` (logging) and `secrets.rs` (`env:` references); the command
/// at its edge.
#[test]
fn the_environment_is_read_in_few_places() {
    const READERS: [&str; 6] = [
        "crates/tidepost-io/src/config.rs",
        "crates/tidepost-io/src/runtime.rs",
        "crates/tidepost-io/src/secrets.rs",
        "crates/tidepost/src/client.rs",
        "crates/tidepost/src/commands/up.rs",
        "crates/tidepost/src/log.rs",
    ];
    let sources = shipped_sources(&["crates/", "functions/"]);
    let elsewhere = sources.into_iter().filter(|(path, _)| !READERS.contains(&path.as_str()));
    let found = lines_with(elsewhere, &["env::var", "try_from_env(", "from_default_env(", "env = \""]);
    assert!(found.is_empty(), "{found:#?}");
}

/// Each variable that is read is explained in both READMEs, and nothing else is.
#[test]
fn every_environment_variable_is_explained() {
    let names = |text: &str| -> BTreeSet<String> {
        text.split(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'))
            .filter(|word| word.starts_with("TIDEPOST_"))
            .map(str::to_owned)
            .collect()
    };
    let sources = shipped_sources(&["crates/tidepost/", "crates/tidepost-io/", "functions/"]);
    let read_names: BTreeSet<String> = sources.iter().flat_map(|(_, text)| names(text)).collect();
    assert!(read_names.contains("TIDEPOST_TABLE"), "{read_names:?}");
    for path in ["README.md", "README.zh-CN.md"] {
        assert_eq!(names(&read(path)), read_names, "{path}");
    }
}

#[test]
fn core_does_no_io() {
    let words = ["std::fs", "std::net", "std::env", "std::process", "std::thread", "std::io", "println!", "async fn"];
    let found = lines_with(shipped_sources(&["crates/tidepost-core/"]), &words);
    assert!(found.is_empty(), "{found:#?}");
}

/// The words are split, so that this file does not find itself.
#[test]
fn no_file_speaks_of_one_machine() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/tm", "p/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("arti", "factory"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("registry.npm", "js"),
    ];
    let found = lines_with(text_files(), &words);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_left_to_do_in_code() {
    let rust = text_files().filter(|(path, _)| path.ends_with(".rs"));
    let found = lines_with(rust, &[concat!("to", "do!("), concat!("db", "g!("), concat!("unimple", "mented!(")]);
    assert!(found.is_empty(), "{found:#?}");
}

/// A checker that asked the rule it checks would find nothing.
#[test]
fn checkers_know_nothing_of_the_product() {
    let is_checker =
        |path: &str| path.starts_with("tests/simulation/checkers/") || path == "tests/simulation/history.rs";
    let checkers: Vec<_> = text_files().filter(|(path, _)| is_checker(path)).collect();
    assert!(checkers.len() > 6, "{checkers:?}");
    let found = lines_with(checkers, &["tidepost_", "tidepost::", "platform_simulators", "crate::world"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_simulation_replaces_randomness() {
    let callers = text_files().filter(|(path, text)| path.ends_with(".rs") && text.contains("simulate_randomness("));
    let mut callers: Vec<String> = callers.map(|(path, _)| path).collect();
    callers.retain(|path| !path.ends_with("sources.rs"));
    assert_eq!(callers, ["crates/tidepost-io/src/clock.rs", "tests/simulation/world.rs"]);
}
