//! A function host that is killed by SIGKILL in the middle of a campaign.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::crash::{ADMIN_KEY, Site};
use super::world::{Api, SHIPPED, Shop, at, id};

const PEOPLE: usize = 400;
/// Calls in a second: a flight of up to 200 people takes seconds.
const CALLS_A_SECOND: u32 = 30;
/// From how long before a kill on a call's outcome may not be written down, in milliseconds: an outcome waits a second for
/// others, is known at the latest a second after its call (the time-out), and shares the time with a write.
const UNWRITTEN_MILLISECONDS: i64 = 2_000;
/// Reserved right before the kill, and not called any more: a reservation precedes its call by one write.
const RESERVED_MAX: usize = 5;
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
    let channel =
        json!({"rate_limit_per_second": CALLS_A_SECOND, "call_timeout_milliseconds": 1_000, "quota_rules": [rule]});
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

/// How many people may have been in flight when a host was killed, by the platform's own log.
async fn in_flight(shop: &Shop, killed_at: &[Timestamp]) -> usize {
    let calls: Vec<Timestamp> =
        shop.truth("received").await.iter().map(|one| at(one["at"].as_str().unwrap())).collect();
    let of = |kill: &Timestamp| {
        let from = *kill - UNWRITTEN_MILLISECONDS.milliseconds();
        // What had left the host before is counted when it comes in; the next host needs longer to send.
        let until = *kill + 1.second();
        RESERVED_MAX + calls.iter().filter(|call| from <= **call && **call < until).count()
    };
    killed_at.iter().map(of).sum()
}

/// The campaign's counts once everybody is in them.
async fn settled(shop: &Shop, campaign: &str) -> Value {
    let since = Instant::now();
    loop {
        let shown = shop.api.get(&format!("/v1/campaigns/{campaign}")).await.body;
        let counts = shown["counts"].clone();
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        if count("delivered") + count("unknown") >= PEOPLE as u64 {
            return counts;
        }
        assert!(since.elapsed() < PATIENCE, "not everybody is accounted for: {shown}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_in_the_middle_of_a_campaign_loses_and_doubles_nobody() {
    let site = Site::start(START).await;
    let mut host = site.host(site.now().await, "1").await;
    let (shop, campaign) = set_up(&site).await;
    let started = shop.api.post(&format!("/v1/campaigns/{campaign}/start"), &json!({})).await;
    assert_eq!(started.status, 200, "{}", started.text);
    let mut killed_at = Vec::new();
    // In the middle of its first flights, and again when the next window has begun.
    for count in [40, CALLS_A_MINUTE as usize / 2] {
        until_received(&shop, count).await;
        killed_at.push(site.now().await);
        host.kill().await;
        host = site.host(site.now().await, "1").await;
    }
    until_received(&shop, CALLS_A_MINUTE as usize + 5).await;
    killed_at.push(site.now().await);
    host.kill().await;
    let windows = shop.truth("windows").await;
    // The last host's clock is far ahead, so that whatever a dead one left behind is due.
    let host = site.host(site.now().await + 20.minutes(), "600").await;
    let counts = settled(&shop, &campaign).await;
    host.kill().await;
    let (times, in_flight) = (received(&shop).await, in_flight(&shop, &killed_at).await);
    println!("counts: {counts}; in flight at {} kills: {in_flight} at the most", killed_at.len());
    assert!(times.values().all(|times| *times == 1), "doubled: {times:?}");
    let count = |name: &str| usize::try_from(counts[name].as_u64().unwrap_or(0)).unwrap();
    assert_eq!(count("delivered") + count("unknown"), PEOPLE, "{counts}");
    assert!(times.len() >= count("delivered") && PEOPLE - times.len() <= count("unknown"), "{} {counts}", times.len());
    assert!(count("unknown") <= in_flight, "{counts}, and only {in_flight} were in flight");
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
}
