//! What a backend tells of a person: zone, attributes, tags, purchases, and who they are elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::Platform;
use crate::ids::{SubscriberId, check_id};
use crate::invalid::Invalid;
use crate::person::Person;
use crate::purchase::{Purchase, parse_cents};
use crate::size::size_bytes;
use crate::time::is_zone;

/// Attributes of one person at the most.
pub const ATTRIBUTES_MAX: usize = 50;

/// Characters of a text attribute at the most.
pub const ATTRIBUTE_CHARACTERS_MAX: usize = 256;

/// Tags of one person at the most.
pub const TAGS_MAX: usize = 50;

/// Characters of a tag at the most.
pub const TAG_CHARACTERS_MAX: usize = 64;

/// Bytes of a person's attributes and tags in storage at the most: they leave the larger part of the item to grants
/// and recent sends.
pub const PROFILE_BYTES_MAX: usize = 2_048;

/// Numbers that storage keeps exactly: far inside what DynamoDB can hold.
const NUMBERS: std::ops::RangeInclusive<f64> = 1e-9..=1e15;

/// One item of `POST /v1/channels/{channel}/subscribers`. What it does not name stays as it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    /// The platform's name for the person.
    pub openid: String,
    /// The platform's name for the person on all of a company's channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub union_id: Option<String>,
    /// The backend's own name for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// IANA zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Texts, numbers, yes or no; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    /// Labels to put on and take off.
    #[serde(default)]
    pub tags: Tags,
    /// What the person bought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purchases: Vec<PurchaseRequest>,
}

/// Labels to put on and take off.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// To put on.
    #[serde(default)]
    pub add: BTreeSet<String>,
    /// To take off.
    #[serde(default)]
    pub remove: BTreeSet<String>,
}

/// One purchase as the backend tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PurchaseRequest {
    /// Makes it count once.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// How much, as a decimal.
    pub amount: String,
    /// How many things; taken and not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
}

/// A request whose fields all hold.
#[derive(Clone, Debug)]
pub struct Profile {
    openid: String,
    union_id: Option<String>,
    user_id: Option<String>,
    time_zone: Option<String>,
    attributes: BTreeMap<String, Value>,
    tags: Tags,
    purchases: Vec<Purchase>,
}

impl ProfileRequest {
    /// Checks the request; `at` is its own path, such as `subscribers[3]`.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn accept(self, at: &str) -> Result<Profile, Vec<Invalid>> {
        let mut wrong = Vec::new();
        wrong.extend(check_id(&format!("{at}.openid"), &self.openid).err());
        for (field, id) in [("union_id", &self.union_id), ("user_id", &self.user_id)] {
            wrong.extend(id.as_deref().and_then(|id| check_id(&format!("{at}.{field}"), id).err()));
        }
        if self.time_zone.as_deref().is_some_and(|zone| !is_zone(zone)) {
            let message = "must be an IANA zone such as Asia/Shanghai";
            wrong.push(Invalid::new(format!("{at}.time_zone"), "time_zone_unknown", message));
        }
        for (name, value) in &self.attributes {
            wrong.extend(check_attribute(&format!("{at}.attributes.{name}"), name, value).err());
        }
        for tag in self.tags.add.union(&self.tags.remove) {
            wrong.extend(check_tag(&format!("{at}.tags"), tag).err());
        }
        let mut purchases = Vec::new();
        for (index, purchase) in self.purchases.iter().enumerate() {
            match purchase.parse(&format!("{at}.purchases[{index}]")) {
                Ok(purchase) => purchases.push(purchase),
                Err(invalid) => wrong.push(invalid),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Profile {
            openid: self.openid,
            union_id: self.union_id,
            user_id: self.user_id,
            time_zone: self.time_zone,
            attributes: self.attributes,
            tags: self.tags,
            purchases,
        })
    }
}

fn check_attribute(at: &str, name: &str, value: &Value) -> Result<(), Invalid> {
    check_id(at, name)?;
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::String(text) if text.chars().count() <= ATTRIBUTE_CHARACTERS_MAX => Ok(()),
        Value::String(_) => {
            let message = format!("at most {ATTRIBUTE_CHARACTERS_MAX} characters");
            Err(Invalid::new(at, "field_too_long", message))
        }
        Value::Number(number) => {
            let holds = number.as_f64().is_some_and(is_number);
            holds.then_some(()).ok_or_else(|| Invalid::new(at, "out_of_range", "must be 0 or between 1e-9 and 1e15"))
        }
        Value::Array(_) | Value::Object(_) => {
            let message = "must be a text, a number, true or false; null removes it";
            Err(Invalid::new(at, "field_malformed", message))
        }
    }
}

/// Whether a number may be an attribute's.
pub(crate) fn is_number(number: f64) -> bool {
    number == 0.0 || NUMBERS.contains(&number.abs())
}

fn check_tag(at: &str, tag: &str) -> Result<(), Invalid> {
    let has_length = (1..=TAG_CHARACTERS_MAX).contains(&tag.chars().count());
    if has_length && !tag.chars().any(|c| c.is_control() || matches!(c, '\'' | '"')) {
        return Ok(());
    }
    let message = format!("a tag has 1 to {TAG_CHARACTERS_MAX} characters and no quotes or line breaks");
    Err(Invalid::new(at, "field_malformed", message))
}

impl PurchaseRequest {
    fn parse(&self, at: &str) -> Result<Purchase, Invalid> {
        check_id(&format!("{at}.id"), &self.id)?;
        let cents = parse_cents(&self.amount).ok_or_else(|| {
            let message = "must be a decimal from 0 to 10000000 with at most two places, such as \"29.33\"";
            Invalid::new(format!("{at}.amount"), "field_malformed", message)
        })?;
        Ok(Purchase::new(&self.id, self.at, cents))
    }
}

impl Profile {
    /// The platform's name for the person.
    #[must_use]
    pub fn openid(&self) -> &str {
        &self.openid
    }

    /// What the person is known as beyond the channel, as `scope/id`.
    #[must_use]
    pub fn links(&self, platform: Platform) -> Vec<String> {
        let scope = platform.union_scope();
        let union = self.union_id.iter().map(|id| format!("{scope}/{id}"));
        union.chain(self.user_id.iter().map(|id| format!("user/{id}"))).collect()
    }

    /// The person after the change; equal to the person before when there is no news.
    ///
    /// # Errors
    /// [`Invalid`] when the person was erased, or would have too many or too long attributes or tags.
    pub fn apply(&self, id: &SubscriberId, person: &Person, at: &str, now: Timestamp) -> Result<Person, Invalid> {
        if person.erased_at.is_some() {
            let message = "the person was erased; only a new consent brings them back";
            return Err(Invalid::new(format!("{at}.openid"), "erased", message));
        }
        let mut next = person.clone();
        next.subscriber_mut(id);
        for (name, value) in &self.attributes {
            if value.is_null() {
                next.attributes.remove(name);
            } else {
                next.attributes.insert(name.clone(), value.clone());
            }
        }
        next.tags.extend(self.tags.add.iter().cloned());
        next.tags.retain(|tag| !self.tags.remove.contains(tag));
        next.time_zone = self.time_zone.clone().or(next.time_zone);
        next.purchases.add(self.purchases.clone());
        next.activity.note_known(now);
        for at in self.purchases.iter().filter_map(|one| Timestamp::from_second(i64::from(one.at)).ok()) {
            next.activity.note_active(at.min(now));
        }
        let sizes = [("attributes", next.attributes.len(), ATTRIBUTES_MAX), ("tags", next.tags.len(), TAGS_MAX)];
        match sizes.into_iter().find(|(_, count, most)| count > most) {
            None if size_bytes(&(&next.attributes, &next.tags)) > PROFILE_BYTES_MAX && next != *person => {
                let message = format!("a person's attributes and tags have at most {PROFILE_BYTES_MAX} bytes");
                Err(Invalid::new(format!("{at}.attributes"), "too_many", message))
            }
            None => Ok(next),
            Some((field, count, most)) => {
                let message = format!("a person has at most {most} {field}, this would make {count}");
                Err(Invalid::new(format!("{at}.{field}"), "too_many", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> ProfileRequest {
        serde_json::from_str(json).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn id() -> SubscriberId {
        SubscriberId::new("shop", "o1")
    }

    const CONTRACT: &str = r#"{"openid":"o1","union_id":"u1","user_id":"42","time_zone":"Asia/Urumqi",
        "attributes":{"name":"小王"},"tags":{"add":["vip"],"remove":[]},
        "purchases":[{"id":"p1","at":"1997-01-12T00:00:00+08:00","amount":"29.33","items":2}]}"#;

    #[test]
    fn the_contracts_item_changes_a_person_once() {
        let profile = request(CONTRACT).accept("subscribers[0]").unwrap();
        assert_eq!(profile.links(Platform::WechatOa), ["wechat/u1", "user/42"]);
        let once = profile.apply(&id(), &Person::new(&id()), "s", now()).unwrap();
        assert_eq!(once.attributes["name"], "小王");
        assert_eq!((once.purchases.count(), once.purchases.total_cents()), (1, 2_933));
        assert_eq!(profile.apply(&id(), &once, "s", now()).unwrap(), once, "the same again is no news");
        let bought_at = "1997-01-12T00:00:00+08:00".parse().ok();
        assert_eq!((once.activity.first_seen(), once.activity.last_active()), (bought_at, bought_at));
    }

    #[test]
    fn nothing_is_stored_of_what_is_not_there() {
        let profile = request(CONTRACT).accept("s").unwrap();
        let person = profile.apply(&id(), &Person::new(&id()), "s", now()).unwrap();
        let names = |person: &Person| match serde_json::to_value(person).unwrap() {
            Value::Object(item) => item.keys().cloned().collect::<Vec<_>>(),
            other => panic!("no item: {other}"),
        };
        assert_eq!(names(&person), ["a", "b", "r", "s", "t", "v", "z"]);
        assert_eq!(names(&Person::new(&id())), ["r", "s"]);
    }

    #[test]
    fn null_removes_an_attribute_and_what_is_not_named_stays() {
        let mut person = Person::new(&id());
        person.attributes.insert("city".into(), "成都".into());
        person.attributes.insert("age".into(), 30.into());
        person.tags.insert("vip".into());
        let change = request(r#"{"openid":"o1","attributes":{"age":null},"tags":{"remove":["vip"]}}"#);
        let next = change.accept("s").unwrap().apply(&id(), &person, "s", now()).unwrap();
        assert_eq!(next.attributes.keys().collect::<Vec<_>>(), ["city"]);
        assert!(next.tags.is_empty());
    }

    #[test]
    fn every_broken_field_is_named() {
        let broken = request(
            r#"{"openid":"o 1","union_id":"","time_zone":"Mars/Olympus","attributes":{"a b":1,"list":[1],"big":1e300},
            "tags":{"add":["it's"]},"purchases":[{"id":"p1","at":"1997-01-12T00:00:00+08:00","amount":"1.234"}]}"#,
        );
        let wrong: Vec<String> = broken.accept("s[3]").unwrap_err().into_iter().map(|one| one.field).collect();
        assert_eq!(
            wrong,
            [
                "s[3].openid",
                "s[3].union_id",
                "s[3].time_zone",
                "s[3].attributes.a b",
                "s[3].attributes.big",
                "s[3].attributes.list",
                "s[3].tags",
                "s[3].purchases[0].amount"
            ]
        );
    }

    #[test]
    fn too_many_attributes_and_erased_people_are_refused() {
        let many: Vec<String> = (0..51).map(|number| format!("\"a{number}\":1")).collect();
        let change = request(&format!(r#"{{"openid":"o1","attributes":{{{}}}}}"#, many.join(",")));
        let refused = change.accept("s").unwrap().apply(&id(), &Person::new(&id()), "s", now()).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.code.as_str()), ("s.attributes", "too_many"));
        let long: Vec<String> = (0..10).map(|number| format!("\"a{number}\":\"{}\"", "字".repeat(80))).collect();
        let change = request(&format!(r#"{{"openid":"o1","attributes":{{{}}}}}"#, long.join(",")));
        let refused = change.accept("s").unwrap().apply(&id(), &Person::new(&id()), "s", now()).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.code.as_str()), ("s.attributes", "too_many"));
        let erased = Person::new(&id()).erased(Timestamp::UNIX_EPOCH);
        let refused = request(CONTRACT).accept("s").unwrap().apply(&id(), &erased, "s", now()).unwrap_err();
        assert_eq!(refused.code, "erased");
    }
}
