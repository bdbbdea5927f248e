//! Broadcasts, the weights of business lines, and quintiles of real purchases: who gets a campaign under them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::campaigns::{assert_no_overshoot, know, openids, received, set, start, tagged};
use super::crash::command_path;
use super::world::{NOON, SHIPPED, World, at};

/// Real purchases; not part of the repository.
const PURCHASES: &str = "../../shared/data/cdnow_transactions.txt";

#[tokio::test]
async fn of_seven_campaigns_the_best_five_are_the_broadcasts_of_a_day_and_two_wait_for_the_next() {
    let world = World::at("2026-11-21T10:00:00+08:00").await;
    // Without being told, WeChat's five.
    let shop = world.shop("broadcasts").await;
    let groups: Vec<Vec<String>> = (0..7).map(|n| openids(&format!("g{n}o"), 4)).collect();
    for (n, group) in groups.iter().enumerate() {
        know(&shop, tagged(group, &format!("g{n}"))).await;
        shop.grant_all(group, SHIPPED).await;
    }
    for n in (0..groups.len()).rev() {
        start(&shop, json!({"name": format!("C{n}"), "segment": format!("tag('g{n}')"), "priority": 10 * n})).await;
    }
    world.pass_minutes(5).await;
    assert_eq!(set(&received(&shop).await), set(&groups[2..].concat()));
    let held = world.api.get("/v1/channels/broadcasts/subscribers/g0o1/held-back").await.body;
    assert_eq!(held["items"][0]["reason"], "quota_window", "{held}");
    // Nobody else is sent to on that day, and nobody twice.
    world.pass_minutes(5).await;
    assert_eq!(received(&shop).await.len(), 20);
    // The next day's first minutes are quiet hours.
    world.pass_until("2026-11-22T08:05:00+08:00".parse().unwrap()).await;
    let all = received(&shop).await;
    assert_eq!(set(&all), set(&groups.concat()));
    assert_eq!(all.len(), 28, "nobody twice");
    world.stack.stop().await;
}

#[tokio::test]
async fn some_platforms_broadcasts_are_counted_without_being_told() {
    let world = World::at(NOON).await;
    let put = async |name: &str, platform: &str, rules: Value| {
        let channel = json!({"platform": platform, "app_id": "a", "secret_ref": "env:A", "quota_rules": rules});
        let answer = world.api.put(&format!("/v1/channels/{name}"), &channel).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let shown = world.api.get(&format!("/v1/channels/{name}")).await.body;
        assert_eq!(
            (&shown["quota_rules"], &answer.body["quota_rules"]),
            (&rules, &rules),
            "the owner's stay as they are"
        );
        let windows = world.api.get(&format!("/v1/channels/{name}/quota")).await.body["windows"].clone();
        let window = |window: &Value| format!("{} {} {}", window["rule"], window["unit"], window["limit"]);
        windows.as_array().unwrap().iter().map(window).collect::<Vec<_>>()
    };
    assert_eq!(put("oa", "wechat_oa", json!([])).await, [r#""broadcasts" "broadcast" 5"#]);
    assert_eq!(put("clips", "douyin", json!([])).await, [r#""broadcasts" "broadcast" 3"#]);
    assert_eq!(put("mini", "wechat_mini", json!([])).await, [r#""broadcasts" "broadcast" 5"#]);
    assert_eq!(put("life", "alipay", json!([])).await, [""; 0]);
    let own =
        json!([{"id": "mine", "unit": "broadcast", "limit": 9, "window": {"calendar": "week"}, "basic_share": 0.05}]);
    assert_eq!(put("own", "douyin", own).await, [r#""mine" "broadcast" 9"#]);
    let mistyped = json!({"platform": "douyin", "app_id": "a", "secret_ref": "env:A", "brake": {"errors": 1}});
    let refused = world.api.put("/v1/channels/own", &mistyped).await;
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["field"]),
        (422, &json!("brake.errors")),
        "{}",
        refused.text
    );
    world.stack.stop().await;
}

/// One broadcast a day. Who comes later and is better, but has none, must not keep people from the one that has it.
#[tokio::test]
async fn a_campaign_without_a_broadcast_takes_nobody_away() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "one", "unit": "broadcast", "limit": 1, "window": {"calendar": "day"}});
    let shop = world.open("barred", json!({}), json!({"quota_rules": [rule]})).await;
    let (early, late) = (openids("early", 3), openids("late", 4));
    know(&shop, tagged(&[early.clone(), late.clone()].concat(), "vip")).await;
    shop.grant_all(&early, SHIPPED).await;
    let first = start(&shop, json!({"name": "First", "priority": 10})).await;
    world.pass_minutes(4).await;
    assert_eq!(set(&received(&shop).await), set(&early));
    start(&shop, json!({"name": "Better", "priority": 90})).await;
    shop.grant_all(&late, SHIPPED).await;
    world.pass_minutes(14).await;
    let sends = shop.truth("received").await;
    assert_eq!(sends.len(), 7, "nobody waits for the campaign that cannot be sent today: {sends:?}");
    let counts = shop.api.get(&format!("/v1/campaigns/{first}")).await.body["counts"]["delivered"].clone();
    assert_eq!(counts, 7);
    let held = world.api.get("/v1/channels/barred/subscribers/late1/held-back").await.body;
    assert_eq!(held["items"][0]["reason"], "no_grant", "the better one has none left to spend: {held}");
    world.stack.stop().await;
}

/// Two broadcasts a day, of which one is gone. Of two that begin together the better gets the other; the people whom the second
/// won as well are wanted by the first of the day.
#[tokio::test]
async fn who_is_barred_after_winning_people_leaves_them_to_others() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "two", "unit": "broadcast", "limit": 2, "window": {"calendar": "day"}});
    let shop = world.open("second", json!({}), json!({"quota_rules": [rule]})).await;
    let [early, best, shared] = ["early", "best", "shared"].map(|name| openids(name, 3));
    for (people, tags) in [(&early, vec!["vip"]), (&best, vec!["best"]), (&shared, vec!["vip", "barred"])] {
        know(&shop, people.iter().map(|openid| json!({"openid": openid, "tags": {"add": tags}})).collect()).await;
    }
    shop.grant_all(&early, SHIPPED).await;
    start(&shop, json!({"name": "First", "priority": 10})).await;
    let from = "2026-11-21T12:10:00+08:00";
    for (name, priority) in [("best", 90), ("barred", 50)] {
        let segment = format!("tag('{name}')");
        start(&shop, json!({"name": name, "segment": segment, "priority": priority, "from": from})).await;
    }
    // In time for the look at everybody that is for all three.
    world.pass_until(at("2026-11-21T12:08:40+08:00")).await;
    shop.grant_all(&[best.clone(), shared.clone()].concat(), SHIPPED).await;
    world.pass_until(at("2026-11-21T12:16:00+08:00")).await;
    assert_eq!(set(&received(&shop).await), set(&[early, best, shared].concat()));
    world.stack.stop().await;
}

#[tokio::test]
async fn a_campaign_that_spreads_itself_over_time_is_told_who_won() {
    let world = World::at(NOON).await;
    let shop = world.shop("spread").await;
    know(&shop, tagged(&["o1".to_owned()], "vip")).await;
    shop.grant("o1", SHIPPED).await;
    let loser = start(&shop, json!({"name": "Loser", "priority": 10, "pace": "even"})).await;
    let winner = start(&shop, json!({"name": "Winner", "priority": 90})).await;
    world.pass_minutes(4).await;
    assert_eq!(received(&shop).await, ["o1"]);
    let held = world.api.get("/v1/channels/spread/subscribers/o1/held-back").await.body;
    let item = held["items"].as_array().unwrap().iter().find(|item| item["campaign"] == loser).unwrap();
    assert_eq!((&item["reason"], &item["winner"]), (&json!("outbid"), &json!(winner)), "{held}");
    world.stack.stop().await;
}

/// One call an hour. Whoever gets none of it leaves the day's only broadcast to the better one that comes later.
#[tokio::test]
async fn a_campaign_that_sends_nothing_takes_no_broadcast() {
    let world = World::at(NOON).await;
    let rules = json!([
        {"id": "two", "unit": "broadcast", "limit": 2, "window": {"calendar": "day"}},
        {"id": "hourly", "unit": "call", "limit": 1, "window": {"seconds": 3600}},
    ]);
    let shop = world.open("unspent", json!({}), json!({ "quota_rules": rules })).await;
    for (name, priority) in [("best", 90), ("worst", 10), ("later", 50)] {
        let people = openids(name, 2);
        know(&shop, tagged(&people, name)).await;
        shop.grant_all(&people, SHIPPED).await;
        if name != "later" {
            start(&shop, json!({"name": name, "segment": format!("tag('{name}')"), "priority": priority})).await;
        }
    }
    world.pass_minutes(4).await;
    start(&shop, json!({"name": "later", "segment": "tag('later')", "priority": 50})).await;
    world.pass_until(at("2026-11-21T15:03:00+08:00")).await;
    let names = received(&shop).await;
    let of = |name: &str| names.iter().filter(|openid| openid.starts_with(name)).count();
    assert_eq!(["best", "later", "worst"].map(of), [2, 2, 0], "{names:?}");
    world.stack.stop().await;
}

/// One broadcast a day, and no other rule. Where the day before is not used up, its unit pays for calls that the platform may
/// still count on it; where it is, the first call waits until none can be.
#[tokio::test]
async fn at_midnight_a_campaign_begins_at_once_if_the_day_before_has_a_broadcast_left() {
    let world = World::at("2026-11-21T23:40:00+08:00").await;
    let midnight = at("2026-11-22T00:00:00+08:00");
    let rule = json!({"id": "broadcasts", "unit": "broadcast", "limit": 1, "window": {"calendar": "day"}});
    let channel = json!({"quota_rules": [rule], "policy": {"quiet_hours": null}});
    let mut first_calls = Vec::new();
    let (free, used) =
        (world.open("free", json!({}), channel.clone()).await, world.open("used", json!({}), channel).await);
    for shop in [&free, &used] {
        let (early, late) = (openids("early", 2), openids("late", 5));
        know(shop, [tagged(&early, "early"), tagged(&late, "late")].concat()).await;
        shop.grant_all(&[early, late].concat(), SHIPPED).await;
        let from = "2026-11-22T00:00:00+08:00";
        start(shop, json!({"name": "Late", "segment": "tag('late')", "priority": 90, "from": from})).await;
    }
    let until = "2026-11-21T23:58:00+08:00";
    start(&used, json!({"name": "Early", "segment": "tag('early')", "until": until})).await;
    world.pass_until(midnight + 2.minutes()).await;
    for (shop, before) in [(&free, 0), (&used, 2)] {
        let calls: Vec<Timestamp> =
            shop.truth("received").await.iter().map(|one| at(one["at"].as_str().unwrap())).collect();
        let (yesterday, today): (Vec<Timestamp>, Vec<Timestamp>) = calls.into_iter().partition(|call| *call < midnight);
        assert_eq!((yesterday.len(), today.len()), (before, 5));
        first_calls.push(today.into_iter().min().unwrap() < midnight + 2.seconds());
    }
    assert_eq!(first_calls, [true, false]);
    world.stack.stop().await;
}

#[tokio::test]
async fn who_is_here_twice_gets_a_campaign_once() {
    let world = World::at(NOON).await;
    let shop = world.shop("twice").await;
    let both = openids("twin", 2);
    shop.grant_all(&both, SHIPPED).await;
    let report = |openid: &String| json!({"event_id": format!("e-{openid}"), "openid": openid, "template": SHIPPED, "result": "accept", "user_id": "u1"});
    let reports: Vec<Value> = both.iter().map(report).collect();
    let told = shop.api.post(&format!("/v1/channels/{}/grants", shop.name), &json!({ "grants": reports })).await;
    assert_eq!(told.status, 200, "{}", told.text);
    know(&shop, tagged(&both, "vip")).await;
    let campaign = start(&shop, json!({})).await;
    world.pass_minutes(15).await;
    assert_eq!(received(&shop).await.len(), 1);
    let shown = shop.api.get(&format!("/v1/campaigns/{campaign}")).await.body;
    assert_eq!((&shown["counts"]["sent"], &shown["counts"]["delivered"]), (&json!(1), &json!(1)), "{shown}");
    world.stack.stop().await;
}

#[tokio::test]
async fn lines_share_a_window_by_their_weights_whatever_their_priorities() {
    let world = World::at(NOON).await;
    let rule = json!({"id": "hourly", "unit": "call", "limit": 40, "window": {"seconds": 3600}, "basic_share": 0.0});
    let app = json!({"windows": [{"id": "hourly", "unit": "call", "limit": 40, "seconds": 3600}]});
    let policy = json!({"business_line_weights": {"big": 3.0, "small": 1.0}});
    let shop = world.open("weights", app, json!({"quota_rules": [rule], "policy": policy})).await;
    let (big, small) = (openids("big", 80), openids("small", 30));
    for (line, people, priority) in [("big", &big, 90), ("small", &small, 10)] {
        know(&shop, tagged(people, line)).await;
        shop.grant_all(people, SHIPPED).await;
        let segment = format!("tag('{line}')");
        start(&shop, json!({"name": line, "business_line": line, "segment": segment, "priority": priority})).await;
    }
    world.pass_minutes(5).await;
    let first = received(&shop).await;
    let of = |people: &[String]| first.iter().filter(|openid| people.contains(openid)).count();
    assert_eq!((of(&big), of(&small)), (30, 10));
    assert_no_overshoot(&shop).await;
    world.stack.stop().await;
}

/// One buyer's rows of the file.
#[derive(Default)]
struct Buyer {
    purchases: Vec<Value>,
    cents: u64,
}

/// The buyers by their number, read as the file has them: customer, day, pieces, dollars.
fn buyers(text: &str) -> BTreeMap<String, Buyer> {
    let mut buyers: BTreeMap<String, Buyer> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [customer, day, items, dollars] = words[..] else { continue };
        let Ok(items) = items.parse::<u32>() else { continue };
        let (whole, cents) = dollars.split_once('.').unwrap();
        let buyer = buyers.entry(format!("o{customer}")).or_default();
        buyer.cents += whole.parse::<u64>().unwrap() * 100 + cents.parse::<u64>().unwrap();
        let day = format!("{}-{}-{}T12:00:00+08:00", &day[..4], &day[4..6], &day[6..]);
        buyer.purchases.push(json!({"id": format!("p{number}"), "at": day, "amount": dollars, "items": items}));
    }
    buyers
}

/// Those who spent more than the sum that four fifths of the buyers do not exceed.
fn best_fifth(buyers: &BTreeMap<String, Buyer>) -> BTreeSet<String> {
    let mut sums: Vec<u64> = buyers.values().map(|buyer| buyer.cents).collect();
    sums.sort_unstable();
    let cut = sums[(sums.len() * 4).div_ceil(5) - 1];
    buyers.iter().filter(|(_, buyer)| buyer.cents > cut).map(|(openid, _)| openid.clone()).collect()
}

/// Has the command import a file, as a person would.
async fn import(world: &World, channel: &str, file: &Path) {
    let mut command = tokio::process::Command::new(command_path());
    command.args(["subscribers", "import", "--channel", channel, "--endpoint", &world.stack.api_url]).arg(file);
    command.args(["--key", world.stack.admin_key().expose(), "--json"]).stdout(Stdio::piped());
    let imported = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&imported.stdout);
    assert!(imported.status.success(), "{told} {}", String::from_utf8_lossy(&imported.stderr));
    println!("imported: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_fifth_of_real_buyers_is_reached_and_nobody_else() {
    let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PURCHASES)) else {
        println!("skipped: {PURCHASES} is not there");
        return;
    };
    let buyers = buyers(&text);
    let best = best_fifth(&buyers);
    let world = World::at(NOON).await;
    let shop = world.shop("cdnow").await;
    let file = world.folder.path().join("buyers.ndjson");
    let rows = buyers.iter().map(|(openid, buyer)| json!({"openid": openid, "purchases": buyer.purchases}).to_string());
    std::fs::write(&file, rows.collect::<Vec<_>>().join("\n")).unwrap();
    import(&world, &shop.name, &file).await;
    // All of the best consent, and some of the others, whom the campaign must leave out.
    let others = buyers.keys().filter(|openid| !best.contains(*openid)).step_by(40);
    let consenting: Vec<String> = best.iter().chain(others).cloned().collect();
    shop.grant_all(&consenting, SHIPPED).await;
    start(&shop, json!({"segment": "rfm.monetary = 5"})).await;
    // The quintiles are known after the first look at the people.
    let noon = world.now();
    for minute in 1..=20 {
        world.pass_until(noon + minute.minutes()).await;
        if shop.truth("received").await.len() >= best.len() {
            break;
        }
    }
    let all = received(&shop).await;
    println!(
        "{} buyers, {} of the best fifth, {} consented, {} received",
        buyers.len(),
        best.len(),
        consenting.len(),
        all.len()
    );
    assert_eq!(buyers.len(), 23_570);
    assert_eq!(all.len(), best.len(), "nobody twice");
    assert_eq!(set(&all), best);
    world.stack.stop().await;
}
