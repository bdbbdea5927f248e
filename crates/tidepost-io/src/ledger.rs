//! The ledger of people: one item each, found by any of the person's subscribers.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tidepost_core::ids::SubscriberId;
use tidepost_core::person::Person;

use crate::store::{Key, Store, StoreError, Stored, Swap, readable};

/// How often a change is decided again when somebody else was faster.
const UPDATE_TRIES: usize = 12;

/// How many pointers are followed: a person's records are merged a few times in a life.
const POINTERS_MAX: usize = 8;

/// How long a tombstone stays, in seconds: longer than any queue and any deadline.
pub const TOMBSTONE_SECONDS: i64 = 30 * 86_400;

/// A person as read, or the place where one would be. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Entry {
    key: Key,
    stored: Option<Arc<Stored<Person>>>,
    nobody: Person,
}

impl Entry {
    fn absent(key: Key, id: &SubscriberId) -> Self {
        Self { key, stored: None, nobody: Person::new(id) }
    }

    /// The person; one without grants when the ledger has none.
    #[must_use]
    pub fn person(&self) -> &Person {
        self.stored.as_ref().map_or(&self.nobody, |stored| &stored.value)
    }

    /// Whether the ledger has the person.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.stored.is_some()
    }
}

/// Where a subscriber's item is: spread over 256 partitions by a hash of the name.
#[must_use]
pub fn key(id: &SubscriberId) -> Key {
    key_of(&format!("{}#{}", id.channel, id.openid))
}

/// Which of the 256 partitions a subscriber's item is in.
#[must_use]
pub fn prefix(id: &SubscriberId) -> u8 {
    prefix_of(&format!("{}#{}", id.channel, id.openid))
}

fn prefix_of(name: &str) -> u8 {
    let [prefix, ..] = tidepost_core::digest::of(&[name.as_bytes()]);
    prefix
}

fn key_of(name: &str) -> Key {
    Key::new(format!("P#{:02x}", prefix_of(name)), name)
}

impl Store {
    /// Reads the person that a subscriber is.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn person(&self, id: &SubscriberId) -> Result<Entry, StoreError> {
        let key = key(id);
        let stored = self.get(&key).await?;
        self.follow(id, key, stored).await
    }

    /// Reads the people that many subscribers are, in batches. Whose item cannot be read is left out, unlike somebody
    /// unknown.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn people(&self, ids: &[SubscriberId]) -> Result<HashMap<SubscriberId, Entry>, StoreError> {
        let keys: Vec<Key> = ids.iter().map(key).collect();
        let mut found = self.get_many::<Person>(&keys).await?;
        let mut people = HashMap::new();
        for (id, key) in ids.iter().zip(keys) {
            if people.contains_key(id) {
                continue;
            }
            let stored = match found.remove(&key) {
                None => None,
                Some(Some(stored)) => Some(stored),
                Some(None) => continue,
            };
            match self.follow(id, key, stored).await {
                Err(form @ StoreError::Form { .. }) => drop(readable(Err::<(), _>(form))),
                followed => drop(people.insert(id.clone(), followed?)),
            }
        }
        Ok(people)
    }

    async fn follow(
        &self,
        id: &SubscriberId,
        mut key: Key,
        mut stored: Option<Stored<Person>>,
    ) -> Result<Entry, StoreError> {
        for _ in 0..POINTERS_MAX {
            let Some(to) = stored.as_ref().and_then(Stored::points_to) else {
                break;
            };
            key = key_of(to);
            stored = self.get(&key).await?;
        }
        Ok(match stored {
            Some(stored) => Entry { key, stored: Some(Arc::new(stored)), nobody: Person::default() },
            None => Entry::absent(key, id),
        })
    }

    /// Replaces a person if nobody else did; otherwise returns the person as it is now.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; the write may have happened all the same.
    pub async fn swap_person(
        &self,
        id: &SubscriberId,
        entry: &Entry,
        person: Person,
    ) -> Result<PersonSwap, StoreError> {
        let expires_at = person.erased_at.and_then(|second| Timestamp::from_second(second + TOMBSTONE_SECONDS).ok());
        match self.swap(&entry.key, entry.stored.as_deref(), person, expires_at).await? {
            Swap::Done(stored) => {
                let stored = Some(Arc::new(stored));
                Ok(PersonSwap::Done(Entry { key: entry.key.clone(), stored, nobody: Person::default() }))
            }
            Swap::Conflict(current) => Ok(PersonSwap::Conflict(self.follow(id, entry.key.clone(), current).await?)),
        }
    }

    /// Changes a person, however often others get in between. `change` returns the new person, or `None` to leave it.
    ///
    /// Returns the entry after the change. A write that took effect although its answer was lost is recognised by what it
    /// wrote, so that `change` is not asked about its own work.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times.
    pub async fn update_person(
        &self,
        id: &SubscriberId,
        mut change: impl FnMut(&Person) -> Option<Person>,
    ) -> Result<Entry, StoreError> {
        let mut entry = self.person(id).await?;
        for _ in 0..UPDATE_TRIES {
            let Some(next) = change(entry.person()) else {
                return Ok(entry);
            };
            match self.swap_person(id, &entry, next.clone()).await {
                Ok(PersonSwap::Done(done)) => return Ok(done),
                Ok(PersonSwap::Conflict(current)) => entry = current,
                Err(error) => {
                    entry = self.person(id).await?;
                    if *entry.person() != next {
                        return Err(error);
                    }
                }
            }
            if *entry.person() == next {
                return Ok(entry);
            }
        }
        Err(StoreError::Call { operation: "update", detail: "the person changed too often at once".to_owned() })
    }

    /// Makes one person of two: `from`'s record is joined into `into`'s and leaves a pointer.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails, or when others were faster too many times.
    pub async fn merge_people(&self, into: &SubscriberId, from: &SubscriberId) -> Result<(), StoreError> {
        for _ in 0..UPDATE_TRIES {
            let (ours, theirs) = (self.person(into).await?, self.person(from).await?);
            if ours.key == theirs.key {
                return Ok(());
            }
            if ours.person().erased_at.is_some() || theirs.person().erased_at.is_some() {
                // Nobody comes back from erasure by being linked.
                return Ok(());
            }
            let mut joined = ours.person().clone();
            joined.join(theirs.person().clone());
            let merged =
                self.merge((&ours.key, ours.stored.as_deref()), &joined, (&theirs.key, theirs.stored.as_deref()));
            if merged.await? {
                return Ok(());
            }
        }
        Err(StoreError::Call { operation: "merge", detail: "the people changed too often at once".to_owned() })
    }

    /// Notes that `id` is the person known as `link` (`scope/id`), and merges it with whoever was known so before.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn link(&self, id: &SubscriberId, link: &str) -> Result<(), StoreError> {
        if self.person(id).await?.person().erased_at.is_some() {
            return Ok(());
        }
        let key = link_key(link);
        if !self.put_new(&key, id, None).await? {
            let known: Option<Stored<SubscriberId>> = self.get(&key).await?;
            if let Some(known) = known.filter(|known| known.value != *id) {
                self.merge_people(&known.value, id).await?;
            }
        }
        let remember = |person: &Person| {
            let is_known = person.links.contains(link) || person.erased_at.is_some();
            (!is_known).then(|| {
                let mut person = person.clone();
                person.links.insert(link.to_owned());
                person
            })
        };
        self.update_person(id, remember).await.map(drop)
    }

    /// Erases a person on all channels: a tombstone is left where the person was, links are removed.
    ///
    /// Returns the person as it was. The links go first: erasing again finishes what was begun.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn erase(&self, id: &SubscriberId, now: Timestamp) -> Result<Person, StoreError> {
        for link in &self.person(id).await?.person().links {
            self.delete(&link_key(link)).await?;
        }
        let mut was = Person::default();
        let change = |person: &Person| {
            was = person.clone();
            Some(person.erased(now))
        };
        self.update_person(id, change).await?;
        Ok(was)
    }
}

fn link_key(link: &str) -> Key {
    let [shard, ..] = tidepost_core::digest::of(&[link.as_bytes()]);
    Key::new(format!("L#{shard:02x}"), link)
}

/// What became of replacing a person.
#[derive(Debug)]
pub enum PersonSwap {
    /// It is replaced.
    Done(Entry),
    /// Somebody was faster: the person now.
    Conflict(Entry),
}

#[cfg(test)]
mod tests {
    use tidepost_core::category::{Category, Urgency};
    use tidepost_core::channel::{Channel, Health};
    use tidepost_core::decide::{Case, Offer};
    use tidepost_core::dispatch::{Step, reserve};
    use tidepost_core::grant::{Consent, Source, Terms};
    use tidepost_core::ids::{MessageId, Nonce};
    use tidepost_core::person::{Answer, Heard};
    use tidepost_core::template::TemplateKind;

    use super::*;
    use crate::store::stored;

    /// As long as WeChat's own: openids have 28 characters, template ids 43.
    const OPENID: &str = "o6_bmjrPTlm6_2sgVt7hMZOPfL2M";

    fn template_id(number: usize) -> String {
        format!("Ck3TWYgxvkKiGfHtG2wpsq1_3d7vQbrDdbUYfPmCE0{number}")
    }

    fn id() -> SubscriberId {
        SubscriberId::new("shop", OPENID)
    }

    /// One channel, five templates with two consents left each, ten recent sends, ten attributes, a zone, a union id.
    fn typical() -> Person {
        let now: Timestamp = "2026-11-21T12:00:00+08:00".parse().unwrap();
        let id = SubscriberId::new("shop", OPENID);
        let channel: Channel =
            serde_json::from_str(r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S"}"#).unwrap();
        let template = serde_json::from_str(r#"{"title":"t","fields":[{"key":"thing1"}]}"#).unwrap();
        let mut person = Person::default();
        for consent in 0..20_u8 {
            let answer = Answer {
                template: template_id(usize::from(consent) % 5),
                kind: TemplateKind::OneTime,
                consent: Consent::Accept,
                terms: Terms::default(),
            };
            let heard = Heard { event: [consent; 8], source: Source::Event, answers: vec![answer] };
            // All but the last five consents are so old that their events are forgotten.
            let days_ago = if consent < 15 { 30 } else { 1 };
            person.hear(&id, &heard, tidepost_core::time::plus_seconds(now, -86_400 * days_ago));
        }
        for send in 0..10_usize {
            let at = tidepost_core::time::plus_seconds(now, i64::try_from(send).unwrap() * 86_400 / 4 - 3 * 86_400);
            let offer = Offer {
                id: MessageId::derive("shop", "k", &send.to_string(), at),
                to: id.clone(),
                template: template_id(send % 5),
                category: Category::Reminder,
                urgency: Urgency::Normal,
                topic: "orders".into(),
                business_line: None,
                not_before: None,
                not_after: tidepost_core::time::plus_seconds(now, 86_400),
            };
            let mut channel = channel.clone();
            channel.policy.quiet_hours = None;
            let case = Case {
                person: &person,
                offer: &offer,
                channel: &channel,
                health: &Health::default(),
                template: &template,
                now: at,
            };
            let Step::Swap(reserved) = reserve(&case, Nonce([7; 8]), None) else { panic!("send {send} may go") };
            person = reserved.person;
        }
        for (name, value) in [
            ("name", "王小明"),
            ("city", "杭州"),
            ("level", "gold"),
            ("birthday", "0513"),
            ("store", "西湖店"),
            ("size", "L"),
            ("source", "menu"),
            ("pet", "cat"),
            ("coffee", "手冲"),
            ("last_sku", "B-20931"),
        ] {
            person.attributes.insert(name.into(), value.into());
        }
        person.time_zone = Some("Asia/Shanghai".into());
        person.links.insert("wechat/o6_bmasdasdsad6_2sgVt7hMZOPfL".into());
        person
    }

    #[test]
    fn a_typical_person_is_under_one_kilobyte_and_survives_storage() {
        let person = typical();
        assert_eq!(person.sends.iter().count(), 10);
        let (read, size_bytes) = stored(&key(&id()), &person);
        assert!(size_bytes < 1_024, "{size_bytes} bytes");
        assert_eq!(read, person);
    }

    #[test]
    fn the_core_knows_how_large_an_item_is() {
        let mut large = typical();
        for number in 0..40 {
            let value = if number % 2 == 0 { number.into() } else { "文".into() };
            large.attributes.insert(format!("attribute{number}"), value);
            large.tags.insert(format!("tag{number}"));
            large.preferences.topics.insert(format!("topic{number}"), false);
            let bought = tidepost_core::purchase::Purchase::new(&number.to_string(), Timestamp::UNIX_EPOCH, 1);
            large.purchases.add(vec![bought]);
        }
        large.join(Person::new(&SubscriberId::new("club", "o2")));
        for person in [Person::new(&SubscriberId::new("shop", OPENID)), typical(), large] {
            let (real, told) = (stored(&key(&id()), &person).1, person.size_bytes());
            assert!(real <= told && told <= real + 32, "{told} told, {real} really");
            let most = person.at_most_bytes();
            assert!(told <= most && most <= 3 * told + 512, "{told} told, {most} at the most");
        }
    }
}
