//! The ledger of people: one item each, found by any of the person's subscribers.

use std::collections::HashMap;

use jiff::Timestamp;
use tidepost_core::ids::SubscriberId;
use tidepost_core::person::Person;

use crate::store::{Key, Store, StoreError, Stored, Swap};

/// How often a change is decided again when somebody else was faster.
const UPDATE_TRIES: usize = 12;

/// How many pointers are followed: a person's records are merged a few times in a life.
const POINTERS_MAX: usize = 8;

/// How long a tombstone stays, in seconds: longer than any queue and any deadline.
pub const TOMBSTONE_SECONDS: i64 = 30 * 86_400;

/// A person as read, or the place where one would be.
#[derive(Clone, Debug)]
pub struct Entry {
    key: Key,
    stored: Option<Stored<Person>>,
    nobody: Person,
}

impl Entry {
    fn absent(key: Key, id: &SubscriberId) -> Self {
        Self {
            key,
            stored: None,
            nobody: Person::new(id),
        }
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

    /// The size of the item, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, Stored::size_bytes)
    }
}

/// Where a subscriber's item is: spread over 256 partitions by a hash of the name.
#[must_use]
pub fn key(id: &SubscriberId) -> Key {
    key_of(&format!("{}#{}", id.channel, id.openid))
}

fn key_of(name: &str) -> Key {
    let [shard, ..] = tidepost_core::digest::of(&[name.as_bytes()]);
    Key::new(format!("P#{shard:02x}"), name)
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

    /// Reads the people that many subscribers are, in batches.
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
            let stored = found.remove(&key);
            people.insert(id.clone(), self.follow(id, key, stored).await?);
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
            key = key_of(&to);
            stored = self.get(&key).await?;
        }
        Ok(match stored {
            Some(stored) => Entry {
                key,
                stored: Some(stored),
                nobody: Person::default(),
            },
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
        person: &Person,
    ) -> Result<PersonSwap, StoreError> {
        let expires_at = person
            .erased_at
            .and_then(|second| Timestamp::from_second(second + TOMBSTONE_SECONDS).ok());
        match self
            .swap(
                &entry.key,
                entry.stored.as_ref(),
                person,
                &Person::ATTRIBUTES,
                expires_at,
            )
            .await?
        {
            Swap::Done(stored) => Ok(PersonSwap::Done(Entry {
                key: entry.key.clone(),
                stored: Some(stored),
                nobody: Person::default(),
            })),
            Swap::Conflict(current) => Ok(PersonSwap::Conflict(self.follow(id, entry.key.clone(), current).await?)),
        }
    }

    /// Changes a person, however often others get in between. `change` returns the new person, or `None` to leave it.
    ///
    /// Returns the entry after the change.
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
            match self.swap_person(id, &entry, &next).await? {
                PersonSwap::Done(done) => return Ok(done),
                PersonSwap::Conflict(current) => entry = current,
            }
        }
        Err(StoreError::Call {
            operation: "update",
            detail: "the person changed too often at once".to_owned(),
        })
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
            let mut joined = ours.person().clone();
            joined.join(theirs.person().clone());
            let merged = self.merge(
                (&ours.key, ours.stored.as_ref()),
                &joined,
                (&theirs.key, theirs.stored.as_ref()),
            );
            if merged.await? {
                return Ok(());
            }
        }
        Err(StoreError::Call {
            operation: "merge",
            detail: "the people changed too often at once".to_owned(),
        })
    }

    /// Notes that `id` is the person known as `link` (`scope/id`), and merges it with whoever was known so before.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn link(&self, id: &SubscriberId, link: &str) -> Result<(), StoreError> {
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

    /// Erases a person on all channels: tombstones are left for every subscriber, links are removed.
    ///
    /// Returns the person as it was.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails; erasing again finishes what was begun.
    pub async fn erase(&self, id: &SubscriberId, now: Timestamp) -> Result<Person, StoreError> {
        let mut was = Person::default();
        let change = |person: &Person| {
            was = person.clone();
            Some(person.erased(now))
        };
        self.update_person(id, change).await?;
        for link in &was.links {
            self.delete(&link_key(link)).await?;
        }
        for subscriber in was
            .subscribers
            .iter()
            .map(tidepost_core::person::Subscriber::id)
            .filter(|other| other != id)
        {
            self.update_person(&subscriber, |person| {
                person.erased_at.is_none().then(|| person.erased(now))
            })
            .await?;
        }
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
