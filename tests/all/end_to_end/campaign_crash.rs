//! A function host that is killed by SIGKILL in the middle of a campaign.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::crash::{ADMIN_KEY, Site};
use super::world::{Api, SHIPPED, Shop, at, id};

/// People, and what the channel lets through.
#[derive(Clone, Copy)]
struct Size {
    people: usize,
    calls_a_minute: u32,
    calls_a_second: u32,
}

/// Less in a minute than there are people; a flight of up to 200 people takes seconds.
const SMALL: Size = Size { people: 400, calls_a_minute: 250, calls_a_second: 30 };
/// Three windows are full. A window is spent in a third of its time.
const LARGE: Size = Size { people: 5_000, calls_a_minute: 1_500, calls_a_second: 75 };
/// From how long before a kill on a call's outcome may not be written down, in milliseconds: an outcome waits a second for
/// others, is known at the latest a second after its call (the time-out), and shares the time with a write.
const UNWRITTEN_MILLISECONDS: i64 = 2_000;
/// Reserved right before the kill, and not called any more: a reservation precedes its call by one write.
const RESERVED_MAX: usize = 5;
/// Early in a minute, far from any quiet hour.
const START: &str = "2026-11-21T12:00:08+08:00";
/// For what comes after the last kill.
const PATIENCE: Duration = Duration::from_secs(150);

async fn set_up(site: &Site, size: Size) -> (Shop, String) {
    let Size { people, calls_a_minute, calls_a_second } = size;
    let api = Api::new(&format!("http://{}", site.api), ADMIN_KEY);
    let windows = json!({"windows": [{"id": "minute", "unit": "call", "limit": calls_a_minute, "seconds": 60, "enforce": false}],
        "callback": null});
    let rule = json!({"id": "minute", "unit": "call", "limit": calls_a_minute, "window": {"seconds": 60}});
    let channel =
        json!({"rate_limit_per_second": calls_a_second, "call_timeout_milliseconds": 1_000, "quota_rules": [rule]});
    let shop = Shop::open(&api, &site.sim, site.folder.path(), "killed", windows, channel).await;
    let people: Vec<String> = (0..people).map(|n| format!("o{n}")).collect();
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

/// How many messages the platform has accepted in the windows that opened at a second of the epoch or later.
async fn accepted_since(shop: &Shop, second: i64) -> usize {
    let windows = shop.truth("windows").await;
    let since = windows.iter().filter(|window| at(window["opens_at"].as_str().unwrap()).as_second() >= second);
    since.map(|window| usize::try_from(window["accepted"].as_u64().unwrap()).unwrap()).sum()
}

/// Returns once the platform has accepted so many messages in the windows since then.
async fn until_accepted(shop: &Shop, count: usize, second: i64) {
    let since = Instant::now();
    loop {
        let accepted = accepted_since(shop, second).await;
        if accepted >= count {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "only {accepted} of {count} were received");
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
async fn settled(shop: &Shop, campaign: &str, people: usize) -> Value {
    let since = Instant::now();
    loop {
        let shown = shop.api.get(&format!("/v1/campaigns/{campaign}")).await.body;
        let counts = shown["counts"].clone();
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        if count("delivered") + count("unknown") >= people as u64 {
            return counts;
        }
        assert!(since.elapsed() < PATIENCE, "not everybody is accounted for: {shown}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn start(shop: &Shop, campaign: &str) {
    let started = shop.api.post(&format!("/v1/campaigns/{campaign}/start"), &json!({})).await;
    assert_eq!(started.status, 200, "{}", started.text);
}

/// Everybody has one outcome and nobody got it twice; what is unknown was in flight when a host was killed.
async fn assert_nobody_is_lost_or_doubled(shop: &Shop, counts: &Value, people: usize, killed_at: &[Timestamp]) {
    let (times, in_flight) = (received(shop).await, in_flight(shop, killed_at).await);
    println!("counts: {counts}; in flight at {} kills: {in_flight} at the most", killed_at.len());
    assert!(times.values().all(|times| *times == 1), "doubled: {times:?}");
    let count = |name: &str| usize::try_from(counts[name].as_u64().unwrap_or(0)).unwrap();
    assert_eq!(count("delivered") + count("unknown"), people, "{counts}");
    assert!(times.len() >= count("delivered") && people - times.len() <= count("unknown"), "{} {counts}", times.len());
    assert!(count("unknown") <= in_flight, "{counts}, and only {in_flight} were in flight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_in_the_middle_of_a_campaign_loses_and_doubles_nobody() {
    let site = Site::start(START).await;
    let mut host = site.host(site.now().await, "1").await;
    let (shop, campaign) = set_up(&site, SMALL).await;
    start(&shop, &campaign).await;
    let a_minute = usize::try_from(SMALL.calls_a_minute).unwrap();
    let mut killed_at = Vec::new();
    // In the middle of its first flights, and again when the next window has begun.
    for count in [40, a_minute / 2] {
        until_accepted(&shop, count, 0).await;
        killed_at.push(site.now().await);
        host.kill().await;
        host = site.host(site.now().await, "1").await;
    }
    until_accepted(&shop, a_minute + 5, 0).await;
    killed_at.push(site.now().await);
    host.kill().await;
    let windows = shop.truth("windows").await;
    // The last host's clock is far ahead, so that whatever a dead one left behind is due.
    let host = site.host(site.now().await + 20.minutes(), "600").await;
    let counts = settled(&shop, &campaign, SMALL.people).await;
    host.kill().await;
    assert_nobody_is_lost_or_doubled(&shop, &counts, SMALL.people, &killed_at).await;
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_used_up_and_never_beyond_whatever_dies() {
    let site = Site::start(START).await;
    let host = site.host(site.now().await, "1").await;
    let (shop, campaign) = set_up(&site, LARGE).await;
    start(&shop, &campaign).await;
    // In the second window from its edge on, while it is being spent.
    until_accepted(&shop, 1, 0).await;
    let edge = site.now().await.as_second() / 60 * 60 + 60;
    until_accepted(&shop, 300, edge).await;
    let killed_at = site.now().await;
    host.kill().await;
    let host = site.host(site.now().await, "1").await;
    until_accepted(&shop, LARGE.people - 400, 0).await;
    let windows = shop.truth("windows").await;
    let killed_at = [killed_at, site.now().await];
    host.kill().await;
    let host = site.host(site.now().await + 20.minutes(), "600").await;
    let counts = settled(&shop, &campaign, LARGE.people).await;
    host.kill().await;
    println!("windows: {windows:?}");
    let limit = u64::from(LARGE.calls_a_minute);
    let opens = |window: &Value| at(window["opens_at"].as_str().unwrap()).as_second();
    let used = |second: i64| windows.iter().find(|window| opens(window) == second).unwrap()["calls"].as_u64().unwrap();
    assert!(used(edge) * 100 >= limit * 95, "the window with the kill: {} of {limit}", used(edge));
    assert!(used(edge + 60) * 1_000 >= limit * 997, "the one after it: {} of {limit}", used(edge + 60));
    assert!(windows.iter().all(|window| window["overshoot"] == 0), "{windows:?}");
    assert_nobody_is_lost_or_doubled(&shop, &counts, LARGE.people, &killed_at).await;
}
