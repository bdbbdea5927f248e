//! Which package may know which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{output, read, root};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Package {
    /// The folder that the package is in: `crates`, `functions` or the root.
    fn is_function(&self) -> bool {
        self.manifest_path.starts_with(root().join("functions").to_str().unwrap())
    }

    /// Packages of ours that it depends on.
    fn ours(&self) -> BTreeSet<&str> {
        let ours = self.dependencies.iter().filter(|dependency| dependency.path.is_some());
        ours.map(|dependency| dependency.name.as_str()).collect()
    }
}

fn packages() -> Vec<Package> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    serde_json::from_str::<Metadata>(&output(env!("CARGO"), &arguments)).unwrap().packages
}

/// tests, benches → tidepost → functions → tidepost-io → tidepost-core, and the simulators know nothing of ours.
#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let functions: BTreeSet<&str> =
        packages.iter().filter(|package| package.is_function()).map(|package| package.name.as_str()).collect();
    assert!(functions.len() >= 7, "{functions:?}");
    for package in &packages {
        let allowed: BTreeSet<&str> = match package.name.as_str() {
            "tidepost-core" | "platform-simulators" => BTreeSet::new(),
            "tidepost-io" => BTreeSet::from(["tidepost-core"]),
            "tidepost-bootstrap" => functions.iter().copied().chain(["tidepost-io"]).collect(),
            "tidepost" => {
                let below = ["tidepost-core", "tidepost-io", "platform-simulators"];
                functions.iter().copied().chain(below).collect()
            }
            "tidepost-benches" | "tidepost-tests" => packages.iter().map(|package| package.name.as_str()).collect(),
            _ if package.is_function() => BTreeSet::from(["tidepost-core", "tidepost-io"]),
            other => panic!("{other}: say here what the new package may depend on"),
        };
        let forbidden: Vec<&str> = package.ours().difference(&allowed).copied().collect();
        assert!(forbidden.is_empty(), "{} must not depend on {forbidden:?}", package.name);
    }
}

/// With nothing else at hand, the core can do no I/O but the standard library's, which `core_does_no_io` looks for.
#[test]
fn the_core_depends_on_nothing_that_does_io() {
    const ALLOWED: [&str; 9] =
        ["croner", "csv-core", "data-encoding", "jiff", "rmp-serde", "serde", "serde_json", "sha2", "thiserror"];
    let packages = packages();
    let core = packages.iter().find(|package| package.name == "tidepost-core").unwrap();
    let normal = core.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    for dependency in normal {
        assert!(ALLOWED.contains(&dependency.name.as_str()), "tidepost-core uses {}", dependency.name);
    }
}

/// The folder's name is the function's, and its handler is a library: the local stack runs it, and so does the one binary that
/// is deployed. Binaries have names of their own, since Lambda packages by binary.
#[test]
fn every_function_has_a_handler_and_a_place_in_the_binary() {
    let bootstrap = read("crates/bootstrap/src/main.rs");
    let mut binaries: BTreeMap<String, String> = BTreeMap::new();
    let mut folders = BTreeSet::new();
    for package in packages() {
        let kinds =
            |kind: &str| package.targets.iter().filter(|target| target.kind.iter().any(|one| one == kind)).count();
        if package.is_function() {
            let folder = package.manifest_path.rsplit('/').nth(1).unwrap();
            folders.insert(folder.to_owned());
            assert_eq!(package.name, format!("tidepost-{folder}"));
            assert_eq!((kinds("lib"), kinds("bin")), (1, 0), "{folder}");
            let file = root().join("functions").join(folder).join("src/lib.rs");
            assert!(file.is_file(), "{folder} has no src/lib.rs");
            let (arm, handler) = (format!("\"{folder}\" =>"), format!("tidepost_{folder}::handle"));
            assert!(bootstrap.contains(&arm) && bootstrap.contains(&handler), "the binary has no {folder}");
        }
        let bins = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bin"));
        for target in bins {
            let other = binaries.insert(target.name.clone(), package.name.clone());
            assert_eq!(other, None, "{} has the binary name {} too", package.name, target.name);
        }
    }
    let on_disk: BTreeSet<String> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, on_disk, "folders in functions/ that are no package");
}
