//! A function host that is killed by SIGKILL in the middle of a campaign.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::ToSpan;
use serde_json::{Value, json};

use super::crash::{ADMIN_KEY, Site};
use super::world::{Api, SHIPPED, Shop, id};

const PEOPLE: usize = 400;
/// Calls in a minute: less than there are people.
const CALLS_A_MINUTE: u32 = 250;
/// Early in a minute, far from any quiet hour.
const START: &str = "2026-11-21T12:00:08+08:00";
/// For what comes after the last kill.
const PATIENCE: Duration = Duration::from_secs(90);

async fn set_up(site: &Site) -> (Shop, String) {
    let api = Api::new(&format!("http://{}", site.api), ADMIN_KEY);
    let windows = json!({"windows": [{"id": "minute", "unit": "call", "limit": CALLS_A_MINUTE, "seconds": 60, "enforce": false}],
        "callback": null});
    let rule = json!({"id": "minute", "unit": "call", "limit": CALLS_A_MINUTE, "window": {"seconds": 60}});
    let channel = json!({"rate_limit_per_second": 30, "call_timeout_milliseconds": 1_000, "quota_rules": [rule]});
    let shop = Shop::open(&api, &site.sim, site.folder.path(), "killed", windows, channel).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("o{n}")).collect();
    shop.grant_all(&people, SHIPPED).await;
    let wanted = json!({
        "channel": shop.name, "name": "Killed", "template": SHIPPED, "data": {"character_string1": "S1", "thing2": "春茶"},
        "topic": "sales", "segment": format!("grant('{SHIPPED}')"), "until": "2026-11-21T20:00:00+08:00",
        "brake": {"error_rate": 1.0, "refusal_rate": 1.0, "complaints": 2},
    });
    let made = api.post("/v1/campaigns", &wanted).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let campaign = id(&made.body);
    (shop, campaign)
}

async fn received(shop: &Shop) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for one in shop.truth("received").await {
        *times.entry(one["openid"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    times
}

/// Returns once so many people received something.
async fn until_received(shop: &Shop, count: usize) {
    let since = Instant::now();
    while shop.truth("received").await.len() < count {
        assert!(since.elapsed() < PATIENCE, "only {} of {count} received it", received(shop).await.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_in_the_middle_of_a_campaign_loses_and_doubles_nobody() {
    let site = Site::start(START).await;
    let mut host = site.host(site.now().await, "1").await;
    let (shop, campaign) = set_up(&site).await;
    let started = shop.api.post(&format!("/v1/campaigns/{campaign}/start"), &json!({})).await;
    assert_eq!(started.status, 200, "{}", started.text);
    // In the middle of its first flights, and again when the next window has begun.
    for count in [40, CALLS_A_MINUTE as usize / 2] {
        until_received(&shop, count).await;
        host.kill().await;
        host = site.host(site.now().await, "1").await;
    }
    let second_window = CALLS_A_MINUTE as usize + 5;
    until_received(&shop, second_window.min(PEOPLE)).await;
    host.kill().await;
    let (windows, killed_at) = (shop.truth("windows").await, received(&shop).await.len());
    // The last host's clock is far ahead, so that whatever a dead one left behind is due.
    let host = site.host(site.now().await + 20.minutes(), "600").await;
    let since = Instant::now();
    let counts = loop {
        let shown = shop.api.get(&format!("/v1/campaigns/{campaign}")).await.body;
        let counts = shown["counts"].clone();
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        if count("delivered") + count("unknown") >= PEOPLE as u64 {
            break counts;
        }
        assert!(since.elapsed() < PATIENCE, "not everybody is accounted for: {shown}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    host.kill().await;
    let times = received(&shop).await;
    println!("received at the last kill: {killed_at}; counts: {counts}");
    assert!(times.values().all(|times| *times == 1), "doubled: {times:?}");
    let count = |name: &str| usize::try_from(counts[name].as_u64().unwrap_or(0)).unwrap();
    assert_eq!(count("delivered") + count("unknown"), PEOPLE, "{counts}");
    assert!(times.len() >= count("delivered") && PEOPLE - times.len() <= count("unknown"), "{} {counts}", times.len());
    // A kill leaves what its flights had reserved and not noted: never more than a part.
    assert!(count("delivered") > PEOPLE / 2, "{counts}");
    assert!(windows.iter().all(|window: &Value| window["overshoot"] == 0), "{windows:?}");
}
