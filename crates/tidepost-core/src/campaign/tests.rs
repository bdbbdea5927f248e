use super::*;
use crate::channel::Channel;
use crate::channel::tests::shop;
use crate::ids::SubscriberId;
use crate::invalid::Invalid;
use crate::person::Person;
use crate::segment::Facts;
use crate::template::Template;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-11-20T12:00:00+08:00";

pub(crate) fn template() -> Template {
    serde_json::from_str(
        r#"{"title":"上新提醒","category":"reminder","topic":"sales","fields":[{"key":"thing1"},{"key":"time2"}],
        "fallback":{"time2":"10:00"}}"#,
    )
    .unwrap()
}

pub(crate) fn id() -> CampaignId {
    CampaignId::derive("shop", "k_1", "spring", at(NOW))
}

/// The contract's campaign, with some fields set otherwise.
fn request(changes: &str) -> CampaignRequest {
    let mut contract: Value = serde_json::from_str(
        r#"{"channel":"shop","name":"Spring","template":"TMPL_B","data":{"thing1":"{{attributes.name|您}}的春茶到了"},
        "page":"pages/sale?src=spring","topic":"sales","category":"reminder","business_line":"retail","priority":50,"value":1.0,
        "segment":"tag('vip') and rfm.monetary >= 4","from":"2026-11-21T08:00:00+08:00","until":"2026-11-28T22:00:00+08:00",
        "pace":"fast","best_hours":null,"schedule":null,"variants":[{"id":"new","segment":"new","data":{"thing1":"新客礼"}}],
        "brake":{"error_rate":0.2,"refusal_rate":0.5,"complaints":2}}"#,
    )
    .unwrap();
    let Value::Object(changes) = serde_json::from_str(changes).unwrap() else { panic!("no object") };
    contract.as_object_mut().unwrap().extend(changes);
    serde_json::from_value(contract).unwrap()
}

pub(crate) fn campaign(changes: &str) -> Campaign {
    request(changes).accept(id(), &shop(), &template(), at(NOW)).unwrap().0
}

fn wrong(changes: &str) -> Vec<(String, String)> {
    let problems: Vec<Invalid> = request(changes).accept(id(), &shop(), &template(), at(NOW)).unwrap_err();
    problems.into_iter().map(|one| (one.field, one.code)).collect()
}

#[test]
fn the_contracts_campaign_is_valid_and_survives_storage() {
    let (campaign, list) = request("{}").accept(id(), &shop(), &template(), at(NOW)).unwrap();
    assert!(list.is_empty());
    let stored = serde_json::to_string(&campaign).unwrap();
    assert_eq!(serde_json::from_str::<Campaign>(&stored).unwrap(), campaign);
    let view = serde_json::to_value(CampaignView::new(id(), &campaign, &Control::Draft, at(NOW))).unwrap();
    assert_eq!((&view["status"], &view["name"]), (&"draft".into(), &"Spring".into()));
    assert_eq!(view["segment"], "tag('vip') and rfm.monetary >= 4");
}

#[test]
fn what_is_not_given_comes_from_the_template() {
    let least = r#"{"channel":"shop","name":"n","template":"T","data":{"thing1":"春茶"},"list":["o2","o1","o2"],"until":"2026-12-01T00:00:00Z"}"#;
    let request: CampaignRequest = serde_json::from_str(least).unwrap();
    let (campaign, list) = request.accept(id(), &shop(), &template(), at(NOW)).unwrap();
    assert_eq!(list.into_iter().collect::<Vec<_>>(), ["o1", "o2"]);
    assert_eq!((campaign.topic.as_str(), campaign.category), ("sales", Category::Reminder));
    assert_eq!((campaign.from, campaign.priority, campaign.segment), (at(NOW), 50, None));
}

#[test]
fn all_problems_are_reported_together_with_their_places() {
    let problems = wrong(
        r#"{"name":" ","topic":"a b","business_line":"","category":"basic","priority":101,"value":-1,"segment":"",
        "list":["o 1"],"until":"2026-11-19T00:00:00Z","best_hours":[{"from":"09:00","to":"09:00"}],
        "schedule":{"cron":"x","time_zone":"Mars"},"data":{"thing1":"{{attributes.name","thing9":"x"},"page":"/a",
        "fallback":{"thing1":"字字字字字字字字字字字字字字字字字字字字字"},"brake":{"complaints":0},
        "variants":[{"id":"a","segment":5,"data":{"time2":"noon"}},{"id":"a","segment":"new"},{"id":"default","segment":"new"}]}"#,
    );
    let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "name",
            "topic",
            "business_line",
            "category",
            "priority",
            "value",
            "brake.complaints",
            "until",
            "best_hours[0]",
            "schedule.time_zone",
            "schedule.cron",
            "list",
            "list[0]",
            "segment",
            "variants[0].segment",
            "variants[1].id",
            "variants[2].id",
            "fallback.thing1",
            "data.thing9",
            "data.thing1",
            "page",
            "variants[0].data.time2",
        ]
    );
}

#[test]
fn marketing_and_too_many_are_refused() {
    let one = |field: &str, code: &str| vec![(field.to_owned(), code.to_owned())];
    assert_eq!(wrong(r#"{"category":"marketing"}"#), one("category", "marketing_not_allowed"));
    let many: Vec<String> = (0..21).map(|n| format!(r#"{{"id":"v{n}","segment":"new"}}"#)).collect();
    assert_eq!(wrong(&format!(r#"{{"variants":[{}]}}"#, many.join(","))), one("variants", "too_many"));
    let many: Vec<String> = (0..10_001).map(|n| format!("\"o{n}\"")).collect();
    assert_eq!(wrong(&format!(r#"{{"segment":null,"list":[{}]}}"#, many.join(","))), one("list", "too_many"));
    let yearly = r#"{"schedule":{"cron":"0 0 29 2 *","time_zone":"Asia/Shanghai"}}"#;
    assert_eq!(wrong(yearly), one("schedule.cron", "out_of_range"));
    assert!(serde_json::from_str::<CampaignRequest>(r#"{"channel":"shop","colour":"red"}"#).is_err());
}

#[test]
fn words_that_could_be_missing_or_too_long_need_something_that_stands_in() {
    let one = |code: &str| vec![("data.thing1".to_owned(), code.to_owned())];
    assert_eq!(wrong(r#"{"data":{"thing1":"{{attributes.name}}好"}}"#), one("fallback_missing"));
    assert_eq!(wrong(r#"{"data":{}}"#), one("field_missing"));
    let long = "字".repeat(21);
    assert_eq!(
        wrong(&format!(r#"{{"data":{{"thing1":"{long}"}},"fallback":{{"thing1":"您好"}}}}"#)),
        one("field_too_long")
    );
    campaign(r#"{"data":{"thing1":"{{attributes.name}}好"},"fallback":{"thing1":"您好"}}"#);
}

fn live(campaign: &Campaign, now: &str) -> Option<(CampaignId, Period)> {
    campaign.occurrence(id(), at(now)).map(|occurrence| (occurrence.id, occurrence.period))
}

#[test]
fn a_campaign_without_a_schedule_happens_once() {
    let once = campaign("{}");
    assert_eq!(live(&once, "2026-11-21T07:59:59+08:00"), None);
    assert_eq!(live(&once, "2026-11-21T08:00:00+08:00"), Some((id(), once.life())));
    assert_eq!(live(&once, "2026-11-28T22:00:00+08:00"), None);
    assert_eq!(once.next_start(at(NOW)), Some(once.from));
    assert_eq!(once.next_start(once.from), None);
}

#[test]
fn each_occurrence_of_a_recurring_campaign_is_its_own() {
    let daily = campaign(r#"{"schedule":{"cron":"0 8 * * *","time_zone":"Asia/Shanghai"}}"#);
    let (first, period) = live(&daily, "2026-11-21T08:00:00+08:00").unwrap();
    assert_eq!(period.closes_at, at("2026-11-22T08:00:00+08:00"));
    assert_eq!(live(&daily, "2026-11-22T07:59:59+08:00").unwrap().0, first);
    let (second, _) = live(&daily, "2026-11-22T08:00:00+08:00").unwrap();
    assert_ne!(first, second);
    assert_eq!((first.whole(), second.whole()), (id(), id()));
    let (_, last) = live(&daily, "2026-11-28T21:00:00+08:00").unwrap();
    assert_eq!(last.closes_at, daily.until);
    assert_eq!(daily.next_start(at(NOW)), Some(daily.from), "its first start is its beginning");
    assert_eq!(daily.next_start(daily.from), Some(at("2026-11-22T08:00:00+08:00")));
    assert_eq!(daily.next_start(at("2026-11-28T08:00:00+08:00")), None);
    let later = campaign(r#"{"schedule":{"cron":"0 20 * * *","time_zone":"Asia/Shanghai"}}"#);
    assert_eq!(live(&later, "2026-11-21T19:00:00+08:00"), None, "yesterday's start was before its beginning");
}

fn person(attributes: &str) -> Person {
    Person { attributes: serde_json::from_str(attributes).unwrap(), ..Person::new(&SubscriberId::new("shop", "o1")) }
}

#[test]
fn everybody_gets_words_that_fit_the_template() {
    let campaign = campaign(r#"{"fallback":{"thing1":"春茶到了"},"page":"pages/sale?src={{campaign}}&v={{variant}}"}"#);
    let live = Live::new(id(), &campaign, &template(), campaign.from).unwrap().unwrap();
    let told = |attributes: &str, variant| {
        let words = live.content_for(&person(attributes), variant).unwrap();
        (words.variant.to_owned(), words.data["thing1"].clone(), words.data["time2"].clone())
    };
    let long = format!(r#"{{"name":"{}"}}"#, "王".repeat(20));
    let default = |words: &str| ("default".to_owned(), words.to_owned(), "10:00".to_owned());
    assert_eq!(told(r#"{"name":"小王"}"#, 1), default("小王的春茶到了"));
    assert_eq!(told("{}", 1), default("您的春茶到了"));
    assert_eq!(told(&long, 1), default("春茶到了"), "too long a name");
    assert_eq!(told("{}", 0), ("new".to_owned(), "新客礼".to_owned(), "10:00".to_owned()));
    let page = live.content_for(&person("{}"), 0).unwrap().page.unwrap();
    assert_eq!(page, format!("pages/sale?src={}&v=new", id()));
}

#[test]
fn the_first_variant_that_a_person_belongs_to_counts() {
    let campaign = campaign(
        r#"{"segment":{"tag":"vip"},"variants":[{"id":"a","segment":"tag('gold')"},{"id":"b","segment":{"tag":"silver"}}]}"#,
    );
    let live = Live::new(id(), &campaign, &template(), campaign.from).unwrap().unwrap();
    let zone = shop().zone();
    let found = |tags: &[&str]| {
        let person = Person { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..person("{}") };
        let (subscriber, now) = (&person.subscribers[0], campaign.from);
        let facts = Facts { person: &person, subscriber, cuts: None, zone: &zone, now };
        (live.is_for(&facts), live.variant_for(&facts))
    };
    assert_eq!(found(&["vip", "silver", "gold"]), (true, 0));
    assert_eq!(found(&["vip", "silver"]), (true, 1));
    assert_eq!(found(&["vip"]), (true, 2));
    assert_eq!(found(&["silver"]), (false, 1));
}

#[test]
fn a_template_that_changed_is_found_out() {
    let campaign = campaign("{}");
    let mut changed = template();
    changed.fields.push(serde_json::from_str(r#"{"key":"number3"}"#).unwrap());
    let wrong = Live::new(id(), &campaign, &changed, campaign.from).unwrap_err();
    assert_eq!(wrong.first().map(|one| one.field.as_str()), Some("data.number3"));
}

#[test]
fn an_offer_waits_for_the_best_hours_of_the_persons_own_zone() {
    let campaign = campaign(r#"{"best_hours":[{"from":"08:00","to":"10:00"},{"from":"18:00","to":"20:00"}]}"#);
    let now = at("2026-11-21T12:00:00+08:00");
    let live = Live::new(id(), &campaign, &template(), now).unwrap().unwrap();
    let to = SubscriberId::new("shop", "o1");
    let channel: Channel = shop();
    let not_before = |zone: Option<&str>, now: Timestamp| {
        let person = Person { time_zone: zone.map(Into::into), ..person("{}") };
        live.offer_for(&person, &to, &channel, now).not_before
    };
    assert_eq!(not_before(None, now), Some(at("2026-11-21T18:00:00+08:00")));
    assert_eq!(not_before(Some("Europe/Berlin"), now), Some(at("2026-11-21T08:00:00+01:00")));
    assert_eq!(not_before(None, at("2026-11-21T19:59:59+08:00")), None);
    assert_eq!(not_before(None, at("2026-11-21T20:00:00+08:00")), Some(at("2026-11-22T08:00:00+08:00")));
    let offer = live.offer_for(&person("{}"), &to, &channel, now);
    assert_eq!((offer.id.campaign(), offer.not_after), (Some(id()), campaign.until));
}
