//! A function host that is killed again and again, by SIGKILL, in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::world::{Api, CONFIRMED, NOON, SHIPPED, Shop, Simulator, at, http, id, secrets};

const SEED: u64 = 11;
const KILLS: usize = 10;
/// Each is sent a message: five reminders to one that is `basic`.
const PEOPLE: usize = 300;
/// One in so many lives where it is quiet until noon in Shanghai.
const ABROAD: usize = 3;
/// Calls in a minute: less than what is asked for.
const CALLS_A_MINUTE: u32 = 260;
/// Shortly before noon in Shanghai, which is eight in the morning in Dubai.
const START: &str = "2026-11-21T11:59:42+08:00";
pub const ADMIN_KEY: &str = "an-admin-key-of-a-test-with-more-than-32-characters";
/// For what comes after the last kill.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command, beside this test's own binary; built when it is not there or older than what it is made of.
pub fn command_path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let own = std::env::current_exe().unwrap();
        let path = own.parent().and_then(Path::parent).unwrap().join("tidepost");
        if !is_current(&path) {
            // With this package, so that the dependencies are those that were built for the tests.
            let packages = ["build", "--package", "tidepost", "--package", "tidepost-tests"];
            let built = std::process::Command::new(env!("CARGO")).args(packages).status();
            let is_built = built.unwrap().success() && is_current(&path);
            assert!(is_built, "{} is older than its sources and cannot be built", path.display());
        }
        path
    };
    PATH.get_or_init(find).clone()
}

/// Whether the command is there, and as new as every file that cargo noted beside it as a source of it.
fn is_current(command: &Path) -> bool {
    let changed_at = |path: &Path| path.metadata().and_then(|file| file.modified());
    let Ok(built_at) = changed_at(command) else { return false };
    let Ok(noted) = std::fs::read_to_string(command.with_extension("d")) else { return false };
    let mut sources = noted.split_whitespace().skip(1);
    sources.all(|source| changed_at(Path::new(source)).is_ok_and(|at| at <= built_at))
}

/// A process that said that it is ready.
pub struct Process {
    child: Child,
    pub ready: BTreeMap<String, String>,
}

impl Process {
    async fn start(folder: &TempDir, arguments: &[&str], wechat: &str) -> Self {
        let mut command = Command::new(command_path());
        for variable in ["TIDEPOST_API_KEY", "TIDEPOST_ENDPOINT"] {
            command.env_remove(variable);
        }
        command.env("TIDEPOST_ADMIN_KEY", ADMIN_KEY).env("TIDEPOST_WECHAT_BASE_URL", wechat).env("TIDEPOST_LOG", "off");
        command.current_dir(folder.path()).args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("a line that says ready");
        let pairs = line.split(' ').filter_map(|word| word.split_once('='));
        Self { child, ready: pairs.map(|(name, url)| (name.to_owned(), url.to_owned())).collect() }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The stores and the platform, which live on while hosts die.
pub struct Site {
    pub folder: TempDir,
    stores: Process,
    pub api: String,
    pub sim: Simulator,
}

impl Site {
    pub async fn start(start: &str) -> Self {
        let folder = secrets();
        let arguments = ["stores", "--memory", "--simulators", "127.0.0.1:0", "--start", start];
        let stores = Process::start(&folder, &arguments, "").await;
        let sim = Simulator::new(&stores.ready["simulators"]);
        // Free now, and again after each host's end.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { folder, stores, api: port.to_string(), sim }
    }

    /// The platform's time, which a host is started with.
    pub async fn now(&self) -> Timestamp {
        let clock = http().get(format!("{}/sim/clock", self.sim.base)).send().await.unwrap();
        at(clock.json::<Value>().await.unwrap()["now"].as_str().unwrap())
    }

    /// Where tables and queues are.
    pub fn aws(&self) -> &str {
        &self.stores.ready["aws"]
    }

    pub async fn host(&self, start: Timestamp, speed: &str) -> Process {
        self.host_via(self.aws(), &self.api, start, speed).await
    }

    /// A host with an address of its own, and with tables and queues at another one.
    pub async fn host_via(&self, aws: &str, api: &str, start: Timestamp, speed: &str) -> Process {
        let start = start.to_string();
        let arguments = ["up", "--memory", "--no-simulators", "--api", api, "--aws-endpoint", aws];
        let arguments = [&arguments[..], &["--start", &start, "--speed", speed]].concat();
        Process::start(&self.folder, &arguments, &self.sim.base).await
    }
}

fn template(n: usize) -> &'static str {
    if n.is_multiple_of(6) { CONFIRMED } else { SHIPPED }
}

async fn set_up(site: &Site) -> Shop {
    let host = site.host(site.now().await, "1").await;
    let api = Api::new(&format!("http://{}", site.api), ADMIN_KEY);
    let windows = json!({"windows": [{"id": "minute", "unit": "call", "limit": CALLS_A_MINUTE, "seconds": 60, "enforce": false}],
        "callback": null});
    let rule = json!({"id": "minute", "unit": "call", "limit": CALLS_A_MINUTE, "window": {"seconds": 60}});
    let channel = json!({"rate_limit_per_second": 40, "call_timeout_milliseconds": 1_000, "quota_rules": [rule]});
    let shop = Shop::open(&api, &site.sim, site.folder.path(), "crash", windows, channel).await;
    let openids = |wanted: &str| -> Vec<String> {
        (0..PEOPLE).filter(|n| template(*n) == wanted).map(|n| format!("o{n}")).collect()
    };
    shop.grant_all(&openids(SHIPPED), SHIPPED).await;
    // A second try of theirs needs a second consent.
    shop.grant_all(&openids(CONFIRMED), CONFIRMED).await;
    shop.grant_all(&openids(CONFIRMED), CONFIRMED).await;
    let abroad =
        (0..PEOPLE).filter(|n| n % ABROAD == 1).map(|n| json!({"openid": format!("o{n}"), "time_zone": "Asia/Dubai"}));
    let abroad = json!({"subscribers": abroad.collect::<Vec<_>>()});
    assert_eq!(api.post("/v1/channels/crash/subscribers", &abroad).await.status, 200);
    host.kill().await;
    shop
}

/// Asks for all messages, each until somebody took it; returns their ids.
async fn ask_for_all(shop: Shop) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..PEOPLE {
        let data = json!({"data": {"character_string1": format!("A{n}"), "thing2": "咖啡"}});
        let body = shop.wanted(&format!("o{n}"), template(n), data);
        let answer = loop {
            match shop.api.try_message(&format!("key{n}"), &body).await {
                Ok(answer) if answer.status == 202 => break answer,
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        ids.push(id(&answer.body));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ids
}

/// The statuses of all messages, once none is under way.
async fn endings(shop: &Shop, ids: &[String]) -> Vec<String> {
    let since = Instant::now();
    let mut endings: Vec<Option<String>> = vec![None; ids.len()];
    loop {
        for (ending, id) in endings.iter_mut().zip(ids).filter(|(ending, _)| ending.is_none()) {
            let status = shop.api.standing(id).await["status"].as_str().unwrap().to_owned();
            *ending = Some(status).filter(|status| !["queued", "waiting"].contains(&status.as_str()));
        }
        let open: Vec<_> = endings.iter().zip(ids).filter(|(ending, _)| ending.is_none()).map(|(_, id)| id).collect();
        if open.is_empty() {
            return endings.into_iter().flatten().collect();
        }
        assert!(since.elapsed() < PATIENCE, "without an end: {open:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_ten_times_loses_and_doubles_nothing() {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let site = Site::start(START).await;
    let shop = Arc::new(set_up(&site).await);
    let asking = tokio::spawn(ask_for_all((*shop).clone()));
    let mut killed = Vec::new();
    for n in 0..KILLS {
        let host = site.host(site.now().await, "1").await;
        let mut span = Duration::from_millis(random.random_range(400..2_800));
        if n == KILLS / 2 {
            // This one dies while what was parked until noon comes back.
            let noon = at(NOON).duration_since(site.now().await);
            span += Duration::try_from(noon).unwrap_or_default();
        }
        tokio::time::sleep(span).await;
        host.kill().await;
        killed.push((site.now().await, shop.truth("received").await.len()));
    }
    let windows = shop.truth("windows").await;
    // The last host's clock is far ahead, so that whatever a dead one left behind is due.
    let later = site.now().await + 20.minutes();
    let host = site.host(later, "600").await;
    let ids = asking.await.unwrap();
    let endings = endings(&shop, &ids).await;
    host.kill().await;

    let received = shop.truth("received").await;
    let mut counts: BTreeMap<(&str, &str, usize), usize> = BTreeMap::new();
    for (n, ending) in endings.iter().enumerate() {
        let key = format!("A{n}");
        let times = received.iter().filter(|one| one["data"]["character_string1"]["value"] == key.as_str()).count();
        *counts.entry((template(n), ending.as_str(), times)).or_default() += 1;
    }
    println!("seed {SEED}; killed at, received so far: {killed:?}; template, status, times received: {counts:?}");
    assert_eq!(received.len(), counts.iter().map(|((_, _, times), count)| times * count).sum::<usize>(), "strangers");
    for (template, ending, times) in counts.keys() {
        let most = if *template == CONFIRMED { 2 } else { 1 };
        let is_true = match *ending {
            "delivered" => (1..=most).contains(times),
            "unknown" => *times <= most,
            _ => false,
        };
        assert!(is_true, "{template} {ending} {times}: {counts:?}");
    }
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
    assert!(killed[0].0 < at(NOON) && killed[KILLS / 2].0 > at(NOON), "nothing was parked while hosts died");
    let is_quiet_for = |one: &Value| {
        let n: usize = one["openid"].as_str().unwrap()[1..].parse().unwrap();
        n % ABROAD == 1 && at(one["at"].as_str().unwrap()) < at(NOON)
    };
    assert!(!received.iter().any(is_quiet_for), "somebody was woken");
    let delivered = endings.iter().filter(|ending| *ending == "delivered").count();
    assert!(delivered > PEOPLE / 2, "{delivered}");
}
