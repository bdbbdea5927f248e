//! The ledger's one item: a person with their grants, caps, recent sends, preferences and attributes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::activity::{ACTIVITY_MAX_BYTES, Activity};
use crate::channel::{Cap, CapScope, Channel};
use crate::choice::{OUTBIDS_MAX_BYTES, Outbids};
use crate::grant::{Consent, Grant, Source, Terms};
use crate::ids::{SubscriberId, check_id};
use crate::invalid::Invalid;
use crate::purchase::Purchases;
use crate::sends::{ENTRY_SIZE_BYTES, RecentSends};
use crate::size::size_bytes;
use crate::template::TemplateKind;
use crate::time::{day_number, zone};

/// How long an event is remembered so that it counts once, in seconds.
pub const EVENT_KEPT_SECONDS: i64 = 7 * 86_400;

/// Events of one person that are remembered at the most; 12 bytes each in storage.
///
/// Beyond, the earliest is forgotten before its time. Should that very event come again it counts once more, and the
/// platform's 'no grant' corrects the count; to refuse the new event instead would lose a consent for certain. Events are
/// repeated within seconds, reports of backends within hours: not after so many others.
pub const SEEN_MAX: usize = 64;

/// How large a person's item may grow, in bytes (DESIGN, 'Memory').
pub const ITEM_MAX_BYTES: usize = 4_096;

/// Bytes of what storage adds to a person: names of the key's parts, the partition, the version and the tombstone's end.
const KEY_BYTES: usize = 32;

/// Everything that must be read and changed together to decide on a send.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Person {
    /// The person on each channel.
    #[serde(rename = "s", default)]
    pub subscribers: Vec<Subscriber>,
    /// What was sent of late.
    #[serde(rename = "r", default)]
    pub sends: RecentSends,
    /// Cap counters: by [`counter_key`], the first day of the period and the count in it.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty", with = "counters")]
    pub counters: BTreeMap<String, (i32, u16)>,
    /// Consents that were counted.
    #[serde(rename = "e", default, skip_serializing_if = "SeenEvents::is_empty")]
    pub seen: SeenEvents,
    /// What the person wants.
    #[serde(rename = "p", default, skip_serializing_if = "Preferences::is_default")]
    pub preferences: Preferences,
    /// What the backend told of the person: texts, numbers, yes or no.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    /// Labels.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// IANA zone, where it is known.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What the person bought.
    #[serde(rename = "b", default, skip_serializing_if = "Purchases::is_empty")]
    pub purchases: Purchases,
    /// What the person did.
    #[serde(rename = "v", default, skip_serializing_if = "Activity::is_empty")]
    pub activity: Activity,
    /// The platforms' ids that are the same on all of a company's channels, as `scope/id`.
    #[serde(rename = "u", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<String>,
    /// Campaigns that lost the person to another of late.
    #[serde(rename = "h", default, skip_serializing_if = "Outbids::is_empty")]
    pub outbids: Outbids,
    /// When the person was erased, in seconds of the epoch: a tombstone that only a new consent replaces.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<i64>,
}

impl Person {
    /// A person of whom only one subscriber is known.
    #[must_use]
    pub fn new(id: &SubscriberId) -> Self {
        Self { subscribers: vec![Subscriber::new(id)], ..Self::default() }
    }

    /// The person on a channel.
    #[must_use]
    pub fn subscriber(&self, id: &SubscriberId) -> Option<&Subscriber> {
        self.subscribers.iter().find(|subscriber| subscriber.is(id))
    }

    /// The person on a channel, made when not known yet.
    pub fn subscriber_mut(&mut self, id: &SubscriberId) -> &mut Subscriber {
        let index = self.subscribers.iter().position(|subscriber| subscriber.is(id)).unwrap_or_else(|| {
            self.subscribers.push(Subscriber::new(id));
            self.subscribers.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.subscribers[index]
    }

    /// The person's zone, or the channel's where it is not known.
    #[must_use]
    pub fn zone(&self, channel: &Channel) -> TimeZone {
        zone(self.time_zone.as_deref().unwrap_or(&channel.time_zone))
    }

    /// What is left after the person asked to be erased: nothing but the memory that keeps old events from counting
    /// again.
    #[must_use]
    pub fn erased(&self, now: Timestamp) -> Self {
        Self { seen: self.seen.clone(), erased_at: Some(now.as_second()), ..Self::default() }
    }

    /// How large the item is in storage, in bytes; a few percent more than it really is.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        // The key names the first subscriber.
        let name = self.subscribers.first().map_or(0, |first| first.channel.len() + 1 + first.openid.len());
        KEY_BYTES + name + size_bytes(self)
    }

    /// More than [`Self::size_bytes`], and much quicker to tell: most items are far from any limit.
    #[must_use]
    pub fn at_most_bytes(&self) -> usize {
        let Self {
            subscribers,
            sends,
            counters,
            seen,
            preferences,
            attributes,
            tags,
            time_zone,
            purchases,
            activity: _,
            links,
            outbids: _,
            erased_at: _,
        } = self;
        let text = |text: &String| 8 + text.len();
        let value = |value: &Value| 12 + value.as_str().map_or(0, str::len);
        let subscriber = |one: &Subscriber| {
            let grants = one.grants.iter().map(|(template, grant)| text(template) + grant.at_most_bytes());
            16 + text(&one.channel) + text(&one.openid) + grants.sum::<usize>()
        };
        let key = subscribers.first().map_or(0, |first| first.channel.len() + 1 + first.openid.len());
        // Each field has a name, and each list a head.
        key + subscribers.iter().map(subscriber).sum::<usize>()
            + sends.iter().count() * ENTRY_SIZE_BYTES
            + seen.0.len() * 12
            + purchases.at_most_bytes()
            + counters.keys().map(|key| 8 + text(key)).sum::<usize>()
            + preferences.topics.keys().map(text).sum::<usize>()
            + attributes.iter().map(|(name, one)| text(name) + value(one)).sum::<usize>()
            + tags.iter().chain(links).chain(time_zone).map(text).sum::<usize>()
            + ACTIVITY_MAX_BYTES
            + OUTBIDS_MAX_BYTES
            + KEY_BYTES
            + 128
    }

    /// The person without what nobody will ask for any more.
    #[must_use]
    pub fn remembered(&self, now: Timestamp) -> Self {
        let mut person = self.clone();
        for send in person.sends.forget(now).into_iter().filter(|send| send.may_arrive()) {
            if let Some(campaign) = send.id.campaign() {
                person.activity.note_received(campaign, send.at);
            }
        }
        person.seen.forget(now);
        person
    }

    /// How many sends `cap` has counted in its current period.
    ///
    /// Where the person's zone is not known, channels of several zones count in one another's days: the later day is taken
    /// for the current one, so that no count begins anew before its time.
    #[must_use]
    pub fn counted(&self, cap: &Cap, subject: &str, zone: &TimeZone, now: Timestamp) -> u16 {
        let today = day_number(cap.per.calendar(), zone, now);
        match self.counters.get(&counter_key(cap, subject)) {
            Some((first_day, count)) if *first_day >= today => *count,
            _ => 0,
        }
    }

    /// Records what a person answered, once per event.
    ///
    /// Returns what came of each answer, in order.
    pub fn hear(&mut self, id: &SubscriberId, heard: &Heard, now: Timestamp) -> Vec<HeardStatus> {
        self.seen.forget(now);
        if self.seen.contains(heard.event) {
            return vec![HeardStatus::Duplicate; heard.answers.len()];
        }
        if let Some(erased_at) = self.erased_at {
            // A consent of before, that is told of late, went with the person. Platforms tell whole seconds.
            let is_new = |answer: &Answer| answer.given_at(now).as_second() >= erased_at;
            if !heard.answers.iter().any(|answer| answer.consent == Consent::Accept && is_new(answer)) {
                self.seen.add(heard.event, now);
                return vec![HeardStatus::Recorded { available: 0 }; heard.answers.len()];
            }
            *self = Self { seen: std::mem::take(&mut self.seen), ..Self::new(id) };
        }
        self.seen.add(heard.event, now);
        let subscriber = self.subscriber_mut(id);
        heard.answers.iter().map(|answer| subscriber.answer(answer, heard.source, now)).collect()
    }

    /// Events that would be forgotten before their time if `count` more were heard. Empty as long as none was.
    #[must_use]
    pub fn events_leaving(&self, count: usize, now: Timestamp) -> Vec<[u8; 8]> {
        let mut seen = self.seen.clone();
        seen.forget(now);
        let beyond = (seen.0.len() + count).saturating_sub(SEEN_MAX);
        seen.0.iter().take(beyond).map(|(event, _)| *event).collect()
    }

    /// Takes over everything that is known of `other`, who turned out to be the same person.
    ///
    /// The order in which records are joined does not change what may be sent.
    pub fn join(&mut self, other: Self) {
        for theirs in other.subscribers {
            match self.subscribers.iter_mut().find(|ours| ours.is(&theirs.id())) {
                Some(ours) => ours.join(theirs),
                None => self.subscribers.push(theirs),
            }
        }
        self.sends.join(other.sends);
        for (key, (day, count)) in other.counters {
            let ours = self.counters.entry(key).or_insert((day, 0));
            *ours = if ours.0 == day { (day, ours.1.saturating_add(count)) } else { (*ours).max((day, count)) };
        }
        self.seen.join(other.seen);
        self.preferences.join(other.preferences);
        for (name, value) in other.attributes {
            self.attributes.entry(name).or_insert(value);
        }
        self.tags.extend(other.tags);
        // Where the records disagree either may be right: the choice only must not depend on the order.
        self.time_zone = [self.time_zone.take(), other.time_zone].into_iter().flatten().min();
        self.purchases.join(other.purchases);
        self.activity.join(other.activity);
        self.links.extend(other.links);
        self.outbids.join(other.outbids);
        self.erased_at = self.erased_at.filter(|_| self.subscribers.is_empty());
    }
}

/// The name under which a cap is counted: `sd`, `td:orders`, `bw:retail`.
#[must_use]
pub fn counter_key(cap: &Cap, subject: &str) -> String {
    let period = match cap.per {
        crate::channel::CapPeriod::Day => 'd',
        crate::channel::CapPeriod::Week => 'w',
    };
    match cap.scope {
        CapScope::Subscriber => format!("s{period}"),
        CapScope::Topic => format!("t{period}:{subject}"),
        CapScope::BusinessLine => format!("b{period}:{subject}"),
    }
}

/// One person on one channel.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Subscriber {
    /// The channel's id.
    #[serde(rename = "c")]
    pub channel: String,
    /// The platform's name for the person.
    #[serde(rename = "o")]
    pub openid: String,
    /// What the person has granted, by template.
    #[serde(rename = "g", default)]
    pub grants: BTreeMap<String, Grant>,
}

impl Subscriber {
    fn new(id: &SubscriberId) -> Self {
        Self { channel: id.channel.clone(), openid: id.openid.clone(), grants: BTreeMap::new() }
    }

    fn is(&self, id: &SubscriberId) -> bool {
        self.channel == id.channel && self.openid == id.openid
    }

    /// The subscriber's name.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        SubscriberId::new(&self.channel, &self.openid)
    }

    fn answer(&mut self, answer: &Answer, source: Source, now: Timestamp) -> HeardStatus {
        match answer.consent {
            Consent::Accept => {
                let grant = self.grants.entry(answer.template.clone()).or_default();
                let granted = grant.accept(source, answer.kind, answer.terms.clone(), now);
                let available = grant.available(now);
                if granted { HeardStatus::Granted { available } } else { HeardStatus::Recorded { available } }
            }
            Consent::Reject => {
                // Also where nothing was granted: the consent that this no takes back may be told of later.
                self.grants.entry(answer.template.clone()).or_default().withdraw(answer.given_at(now), now);
                self.grants.retain(|_, grant| !grant.is_spent(now));
                HeardStatus::Recorded { available: 0 }
            }
            Consent::Neither => {
                let available = self.grants.get(&answer.template).map_or(0, |grant| grant.available(now));
                HeardStatus::Recorded { available }
            }
        }
    }

    fn join(&mut self, other: Self) {
        for (template, theirs) in other.grants {
            match self.grants.entry(template) {
                std::collections::btree_map::Entry::Occupied(mut ours) => ours.get_mut().join(theirs),
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(theirs)),
            }
        }
    }
}

/// One event or report with a person's answers.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What makes it the same event when it comes again.
    pub event: [u8; 8],
    /// Who told.
    pub source: Source,
    /// The answers, one per template.
    pub answers: Vec<Answer>,
}

/// What a person answered for one template.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The platform's template id.
    pub template: String,
    /// How that template is paid for.
    pub kind: TemplateKind,
    /// The answer.
    pub consent: Consent,
    /// How and where it was given.
    pub terms: Terms,
}

impl Answer {
    fn given_at(&self, now: Timestamp) -> Timestamp {
        self.terms.given_at.unwrap_or(now)
    }
}

/// What came of an answer. `available` is what may be sent now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeardStatus {
    /// It gave the right to one more message.
    Granted {
        /// Messages that may be sent.
        available: u32,
    },
    /// It gave no right, or the other source had told of it before.
    Recorded {
        /// Messages that may be sent.
        available: u32,
    },
    /// This very event was heard before.
    Duplicate,
}

/// What the person wants. Everything that is not switched off is on.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Preferences {
    /// Nothing at all may be sent.
    #[serde(default)]
    pub stopped: bool,
    /// Topics that were switched on or off.
    #[serde(default)]
    pub topics: BTreeMap<String, bool>,
}

/// Topics that one person may switch.
const TOPICS_MAX: usize = 100;

impl Preferences {
    /// All that is wrong with what a person wants.
    ///
    /// # Errors
    /// One [`Invalid`] for each topic that is no id, or for too many of them.
    pub fn validate(&self) -> Result<(), Vec<Invalid>> {
        let topic = |name: &String| check_id(&format!("topics.{name}"), name).err();
        let mut wrong: Vec<Invalid> = self.topics.keys().filter_map(topic).collect();
        if self.topics.len() > TOPICS_MAX {
            let message = format!("at most {TOPICS_MAX} topics");
            wrong.push(Invalid::new("topics", "too_many", message));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Where the two disagree, the one that protects the person holds.
    fn join(&mut self, other: Self) {
        self.stopped |= other.stopped;
        for (topic, on) in other.topics {
            let ours = self.topics.entry(topic).or_insert(on);
            *ours = *ours && on;
        }
    }
}

/// Events that were counted, 12 bytes each in storage.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct SeenEvents(Vec<([u8; 8], u32)>);

impl SeenEvents {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, event: [u8; 8]) -> bool {
        self.0.iter().any(|(seen, _)| *seen == event)
    }

    fn add(&mut self, event: [u8; 8], now: Timestamp) {
        self.0.push((event, crate::sends::second(now)));
        self.limit();
    }

    /// Forgets the earliest beyond [`SEEN_MAX`].
    fn limit(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(SEEN_MAX));
    }

    fn forget(&mut self, now: Timestamp) {
        self.0.retain(|(_, at)| i64::from(*at) + EVENT_KEPT_SECONDS > now.as_second());
    }

    fn join(&mut self, other: Self) {
        for (event, at) in other.0 {
            if !self.contains(event) {
                self.0.push((event, at));
            }
        }
        self.0.sort_unstable_by_key(|(event, at)| (*at, *event));
        self.limit();
    }
}

impl Serialize for SeenEvents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packed: Vec<u8> =
            self.0.iter().flat_map(|(event, at)| event.iter().copied().chain(at.to_be_bytes())).collect();
        serializer.serialize_bytes(&packed)
    }
}

impl<'de> Deserialize<'de> for SeenEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = crate::packed::bytes(deserializer)?;
        let entry = |chunk: &[u8]| {
            let (event, at) = chunk.split_first_chunk::<8>()?;
            Some((*event, u32::from_be_bytes(at.try_into().ok()?)))
        };
        let entries = packed.chunks(12).map(entry).collect::<Option<_>>();
        entries.map(Self).ok_or_else(|| serde::de::Error::custom("seen events of an unknown form"))
    }
}

mod counters {
    //! A period's first day and its count as one number, two thirds of the bytes of a pair; pairs are read as well, from
    //! items written before.

    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Counter {
        Number(i64),
        Pair(i32, u16),
    }

    pub fn serialize<S: Serializer>(counters: &BTreeMap<String, (i32, u16)>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(counters.iter().map(|(key, (day, count))| (key, i64::from(*day) << 16 | i64::from(*count))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, (i32, u16)>, D::Error> {
        let counters = BTreeMap::<String, Counter>::deserialize(deserializer)?;
        let unpack = |counter| match counter {
            Counter::Number(number) => Some((i32::try_from(number >> 16).ok()?, u16::try_from(number & 0xffff).ok()?)),
            Counter::Pair(day, count) => Some((day, count)),
        };
        let unpacked = counters.into_iter().map(|(key, counter)| Some((key, unpack(counter)?)));
        unpacked.collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("counters of an unknown form"))
    }
}
