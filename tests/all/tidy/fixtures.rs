//! Every shape that was ever on a queue or in the table can still be read.
//!
//! A fixture is frozen: who changes a shape adds a new fixture beside the old one. That today's code also writes the
//! newest one makes a change of shape visible here.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidepost_core::brake::PauseCode;
use tidepost_core::campaign::Status as CampaignStatus;
use tidepost_core::category::Category;
use tidepost_core::ids::{MessageId, SubscriberId};
use tidepost_core::message::{Message, Status, summary};
use tidepost_core::outcome::Outcome;
use tidepost_core::person::Person;
use tidepost_core::quota::{Quota, Told};
use tidepost_core::reason::ReasonCode;
use tidepost_core::receipt::Receipt;
use tidepost_core::sweep::{Progress, SlotPlan};
use tidepost_io::campaigns::CampaignRow;
use tidepost_io::erasure::Erasure;
use tidepost_io::queue::{BulkTask, NowTask, SweepStep, SweepTask};
use tidepost_io::store::{KINDS, Key, Kind};
use tidepost_io::sweeps::RangeState;

use super::{read, root};

/// The message of all fixtures.
const MESSAGE: &str = "m_bomg7ayoct5r3ecrwo6q";
/// The campaign of all fixtures of sweeps.
const CAMPAIGN: &str = "c_romacaqdaqcqm";

fn fixture<T: DeserializeOwned>(path: &str) -> T {
    serde_json::from_str(&read(format!("tests/fixtures/{path}"))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Reads the newest fixture of a shape and shows that it is what is written today.
fn current<T: DeserializeOwned + Serialize>(path: &str) -> T {
    let value: T = fixture(path);
    assert_eq!(serde_json::to_value(&value).unwrap(), fixture::<Value>(path), "{path} is not what is written today");
    value
}

/// Names of the files of a folder of fixtures.
fn names(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(root().join("tests/fixtures").join(folder)).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// Kinds of the items that releases left.
fn kinds_of_releases() -> BTreeSet<&'static str> {
    let releases = names("releases").into_iter().filter(|name| name.ends_with(".json"));
    let items =
        releases.flat_map(|name| fixture::<Value>(&format!("releases/{name}"))["items"].as_array().unwrap().clone());
    let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
    items.map(|item| Kind::of(&Key::new(text(&item, "pk"), text(&item, "sk"))).unwrap().name).collect()
}

/// A kind has an item in what a release left (`end_to_end::upgrade`), or a fixture of its own.
#[test]
fn every_kind_of_item_has_a_fixture() {
    let (left, single) = (kinds_of_releases(), names("items"));
    let has_one = |kind: &str| left.contains(kind) || single.iter().any(|name| name.starts_with(&format!("{kind}_v")));
    let missing: Vec<&str> = KINDS.iter().map(|kind| kind.name).filter(|kind| !has_one(kind)).collect();
    assert!(missing.is_empty(), "freeze an item of these kinds: {missing:?}");
}

/// A version of a payload is a variant's name in the source: `queue/now_v1.json` is the fixture of `NowTask`'s "1".
#[test]
fn every_version_of_a_payload_has_a_fixture() {
    let source = read("crates/tidepost-io/src/queue.rs");
    let mut wanted = BTreeSet::new();
    for part in source.split("#[serde(tag = \"version\")]\npub enum ").skip(1) {
        let (name, rest) = part.split_once("Task {").unwrap();
        let variants = rest.split_once("\n}").unwrap().0;
        let versions: Vec<&str> =
            variants.split("#[serde(rename = \"").skip(1).filter_map(|one| one.split('"').next()).collect();
        assert_eq!(
            variants.matches("),\n").count() + usize::from(variants.ends_with("),")),
            versions.len(),
            "{name}: a variant without a number"
        );
        wanted.extend(versions.iter().map(|version| format!("{}_v{version}.json", name.to_lowercase())));
    }
    assert!(wanted.len() >= 3, "{wanted:?}");
    let there: BTreeSet<String> = names("queue").into_iter().collect();
    assert_eq!(there, wanted);
}

#[test]
fn the_queues_first_payload() {
    let NowTask::V1(task) = current("queue/now_v1.json");
    assert_eq!(task.id.to_string(), MESSAGE);
    assert_eq!(task.to, SubscriberId::new("shop", "oUSER0001"));
    assert_eq!(task.not_after.to_string(), "2026-11-21T10:00:00Z");
}

#[test]
fn the_first_flight_and_the_first_steps_of_sweeps() {
    let BulkTask::V1(flight) = current("queue/bulk_v1.json");
    assert_eq!((flight.recipients[0].0.to_string().as_str(), flight.recipients[0].1.len()), (CAMPAIGN, 2));
    let steps: Vec<SweepTask> = current("queue/sweep_v1.json");
    let SweepTask::V1(last) = steps.last().unwrap();
    assert!(matches!(last, SweepStep::Emit { range: 1, .. }), "{last:?}");
}

#[test]
fn the_first_sweep() {
    // The first plans did not say how big a flight is.
    let first: SlotPlan = fixture("items/slot_plan_v1.json");
    assert_eq!((first.units(), first.flights(0, 205).len()), (205, 2));
    let plan: SlotPlan = current("items/slot_plan_v2.json");
    assert_eq!((plan.units(), plan.flights(0, 205).len()), (205, 3));
    let progress: Progress = current("items/sweep_progress_v1.json");
    assert_eq!(progress.roster.unwrap().ranges, 2);
    // The first ranges did not say what campaigns that are over were to people.
    let first: RangeState = fixture("items/sweep_range_v1.json");
    let range: RangeState = current("items/sweep_range_v2.json");
    assert_eq!((first.left(), range.left()), (195, 195));
    assert_eq!((first.tallies.len(), range.tallies[0].tally.people()), (0, 2));
    let receipt: Receipt = current("items/receipt_campaign_v1.json");
    let (group, entry) = receipt.find_recipient_by_platform_id("3248682510344192008").unwrap();
    assert_eq!((group.offer.to_string().as_str(), group.variant.as_str()), (CAMPAIGN, "new"));
    assert_eq!(entry.ending.outcome, Outcome::Delivered);
}

#[test]
fn the_first_person_and_one_whose_counts_are_numbers() {
    let person: Person = current("items/person_v2.json");
    assert_eq!(fixture::<Person>("items/person_v1.json"), person);
    let subscriber = person.subscriber(&SubscriberId::new("shop", "oUSER0001")).unwrap();
    let available = |template: &str, at: &str| subscriber.grants[template].available(at.parse().unwrap());
    assert_eq!(available("TMPL_A", "2026-11-21T03:00:00Z"), 2);
    assert_eq!(available("TMPL_A", "2026-12-01T00:00:00Z"), 1, "one of the grants expires");
    assert_eq!(available("TMPL_B", "2026-12-01T00:00:00Z"), 1);
    let send = person.sends.find(MessageId::parse(MESSAGE).unwrap()).unwrap();
    assert_eq!(send.nonce.to_string(), "0102030405060708");
    assert_eq!((person.sends.iter().count(), person.counters["sd"].1), (2, 2));
    assert_eq!((person.purchases.count(), person.purchases.total_cents()), (1, 2_933));
    assert_eq!(person.attributes["name"], "小王");
    assert!(!person.preferences.topics["sales"]);
    assert_eq!(person.time_zone.as_deref(), Some("Asia/Urumqi"));
    assert!(person.tags.contains("vip") && person.links.contains("wechat/oUNION1"));
}

#[test]
fn the_first_messages() {
    let waiting: Message = current("items/message_waiting_v1.json");
    let (status, reason, until) = summary(waiting.standing());
    assert_eq!((status, reason.unwrap().code), (Status::Waiting, ReasonCode::QuietHours));
    assert_eq!(until.unwrap().to_string(), "2026-11-21T02:30:00Z");
    assert_eq!((waiting.category, waiting.data["thing1"].as_str()), (Category::Reminder, "手冲咖啡两杯"));

    let ended: Message = current("items/message_ended_v1.json");
    let (status, reason, _) = summary(ended.standing());
    assert_eq!((status, reason.unwrap().code), (Status::Refused, ReasonCode::NoGrant));
    assert_eq!(ended.subscriber(), SubscriberId::new("shop", "oUSER0001"));
    assert!(ended.data.is_empty());
}

#[test]
fn the_first_receipt() {
    let receipt: Receipt = current("items/receipt_v1.json");
    let delivered = receipt.find(MessageId::parse(MESSAGE).unwrap()).unwrap().ending;
    assert_eq!(delivered.outcome, Outcome::Delivered);
    assert_eq!(delivered.platform.unwrap().message_id.as_deref(), Some("3248682510344192008"));
    let (group, _) = receipt.find_platform_id("3248682510344192008").unwrap();
    assert_eq!((group.template.as_str(), group.topic.as_str()), ("TMPL_A", "orders"));
    let unknown = &group.entries()[1].ending;
    assert_eq!((unknown.outcome, unknown.reason.as_ref().unwrap().code), (Outcome::Unknown, ReasonCode::Timeout));
}

#[test]
fn the_first_quota() {
    let quota: Quota = current("items/quota_v1.json");
    assert!(quota.holds("0102030405060708"));
    let back = quota.give_back("0102030405060708", 5).unwrap();
    assert!(!back.holds("0102030405060708"));
}

#[test]
fn the_first_windows_that_were_told() {
    let told: Told = current("items/windows_told_v1.json");
    let now = "2026-11-21T10:02:00Z".parse().unwrap();
    assert_eq!(told.since("another", now).to_string(), "2026-11-21T10:00:00Z");
    assert_eq!(told.since("shop", now).to_string(), "2026-11-21T09:58:00Z");
}

#[test]
fn the_first_erasure() {
    let erasure: Erasure = current("items/erasure_v1.json");
    assert_eq!(erasure.who, SubscriberId::new("shop", "oUSER0001"));
    assert_eq!(erasure.begun_at.to_string(), "2026-11-21T04:00:00Z");
}

#[test]
fn the_first_campaign_and_one_that_is_over() {
    let row: CampaignRow = fixture("items/campaign_v1.json");
    let during = "2026-11-22T00:00:00Z".parse().unwrap();
    assert_eq!((row.status(during), row.listed()), (CampaignStatus::Paused, 3));
    assert_eq!(row.control.paused_because().unwrap().code, PauseCode::Complaints);
    let sent = row.baseline.map(|baseline| baseline.before.sent);
    assert_eq!((sent, row.campaign.variants[0].id.as_str()), (Some(7), "new"));
    assert_eq!(row.campaign.data["thing1"], "{{attributes.name|您}}的春茶到了");
    assert_eq!((row.campaign.brake.minimum_sample, row.accounts), (20, None));

    let over: CampaignRow = current("items/campaign_v2.json");
    assert_eq!(over.status(during), CampaignStatus::Stopped);
    assert_eq!(over.control.ends_at(over.campaign.life()).to_string(), "2026-11-25T04:00:00Z");
    let accounts = over.accounts.unwrap();
    assert_eq!((accounts.occurrences, accounts.tally.people()), (2, 11));
}

/// The vectors are the ones that were handed over, where the folder that they came in is beside the repository.
#[test]
fn the_wechat_vectors_are_unchanged() {
    let original = root().join("../shared/reference/wechat_crypto_vectors.json");
    match std::fs::read_to_string(&original) {
        Ok(text) => assert_eq!(read("tests/fixtures/wechat_crypto_vectors.json"), text),
        Err(_) => eprintln!("skipped: the original vectors are not beside this repository"),
    }
}
