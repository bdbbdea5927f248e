//! A real third-party SDK works against the WeChat simulator.

use std::path::{Path, PathBuf};

use platform_simulators::{SimClock, Simulators};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Where `./check` has made it, which says so; otherwise in the target folder.
fn environment() -> PathBuf {
    let made = std::env::var_os("TIDEPOST_WECHATPY").map(PathBuf::from);
    made.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("venv"))
}

/// Runs to the end; what it printed is worth reading only when it failed.
async fn run(mut command: Command) {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wechatpy_and_the_simulator_agree() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("wechatpy");
    let mut prepare = Command::new("bash");
    prepare.arg(scripts.with_file_name("prepare-python")).arg(scripts.join("requirements.txt")).arg(environment());
    run(prepare).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Simulators::new(SimClock::system(), 1).serve(listener, std::future::pending()));
    let mut drive = Command::new(environment().join("bin/python"));
    drive.arg(scripts.join("drive.py")).arg("--base-url").arg(base_url);
    run(drive).await;
}
