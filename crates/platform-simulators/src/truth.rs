//! The ground truth: people with their consents, what they received, and every call and callback.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Calls and callbacks kept per app; older ones are forgotten, the truth about people never is.
const KEPT_RECORDS: usize = 1_000_000;

/// Counts within a period, and starts again in the next.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    period: i64,
    count: u64,
}

impl Tally {
    pub(crate) fn count(&self, period: i64) -> u64 {
        if self.period == period { self.count } else { 0 }
    }

    /// Counts one and returns how many it is now.
    pub(crate) fn add(&mut self, period: i64) -> u64 {
        self.count = self.count(period) + 1;
        self.period = period;
        self.count
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }
}

/// What paid for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    OneTime,
    LongTerm,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneTime => "one_time",
            Self::LongTerm => "long_term",
        }
    }
}

/// What a person allows for one template. `left` is a count for one-time and 0 or 1 for long-term.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) kind: Kind,
    pub(crate) left: u32,
    /// Switched off in the settings page, until accepted again.
    pub(crate) off: bool,
    /// Long-term messages of the current period.
    pub(crate) sent: Tally,
}

impl Grant {
    fn none(kind: Kind) -> Self {
        Self { kind, left: 0, off: false, sent: Tally::default() }
    }

    /// The person accepted in the dialog: one more, or the long-term right.
    pub(crate) fn accept(&mut self) {
        self.off = false;
        self.left = match self.kind {
            Kind::OneTime => self.left.saturating_add(1),
            Kind::LongTerm => 1,
        };
    }

    /// The person switched it off in the settings: what was left is void.
    pub(crate) fn switch_off(&mut self) {
        self.off = true;
        self.left = 0;
    }

    /// The person switched it on again: a long-term right is back, a one-time one needs a new dialog.
    pub(crate) fn switch_on(&mut self) {
        self.off = false;
        if self.kind == Kind::LongTerm {
            self.left = 1;
        }
    }
}

/// One person of one app.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) openid: Arc<str>,
    grants: Vec<(Arc<str>, Grant)>,
    received: Vec<u32>,
}

impl Person {
    pub(crate) fn grant(&mut self, template: &str) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|(id, _)| &**id == template).map(|(_, grant)| grant)
    }

    /// The grant of a template whose dialog the person has answered, made when it is the first answer. A template
    /// that changed its kind starts anew.
    pub(crate) fn answered(&mut self, template: &Arc<str>, kind: Kind) -> Option<&mut Grant> {
        match self.grants.iter().position(|(id, _)| id == template) {
            Some(index) => {
                let grant = self.grants.get_mut(index).map(|(_, grant)| grant)?;
                if grant.kind != kind {
                    *grant = Grant::none(kind);
                }
                Some(grant)
            }
            None => {
                self.grants.push((Arc::clone(template), Grant::none(kind)));
                self.grants.last_mut().map(|(_, grant)| grant)
            }
        }
    }

    fn grant_items(&self) -> impl Iterator<Item = Value> {
        self.grants.iter().map(|(template, grant)| {
            json!({
                "openid": &*self.openid, "template_id": &**template, "kind": grant.kind.name(),
                "left": grant.left, "switched_off": grant.off,
            })
        })
    }
}

/// A message that reached a person.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) at: Timestamp,
    pub(crate) openid: Arc<str>,
    pub(crate) template: Arc<str>,
    pub(crate) message_id: u64,
    /// JSON text, smaller than a tree of values.
    pub(crate) data: Box<str>,
    pub(crate) page: Option<Box<str>>,
    pub(crate) grant: Kind,
}

impl Received {
    fn item(&self) -> Value {
        json!({
            "at": self.at.to_string(), "openid": &*self.openid, "template_id": &*self.template,
            "msgid": self.message_id.to_string(),
            "data": serde_json::from_str::<Value>(&self.data).unwrap_or_default(),
            "page": self.page, "grant": self.grant.name(),
        })
    }
}

/// Everyone the app knows, and what they received.
#[derive(Debug, Default)]
pub(crate) struct People {
    index: HashMap<Arc<str>, usize>,
    list: Vec<Person>,
    received: Vec<Received>,
}

impl People {
    pub(crate) fn knows(&self, openid: &str) -> bool {
        self.index.contains_key(openid)
    }

    pub(crate) fn get(&mut self, openid: &str) -> Option<&mut Person> {
        self.index.get(openid).and_then(|index| self.list.get_mut(*index))
    }

    /// The person, made when new.
    pub(crate) fn meet(&mut self, openid: &str) -> Option<&mut Person> {
        if !self.knows(openid) {
            let openid: Arc<str> = openid.into();
            self.index.insert(Arc::clone(&openid), self.list.len());
            self.list.push(Person { openid, grants: Vec::new(), received: Vec::new() });
        }
        self.get(openid)
    }

    pub(crate) fn receive(&mut self, received: Received) {
        let at = u32::try_from(self.received.len()).unwrap_or(u32::MAX);
        if let Some(person) = self.get(&received.openid) {
            person.received.push(at);
        }
        self.received.push(received);
    }

    /// A page of received messages from position `from`, and the position after it when there is more.
    pub(crate) fn received_items(
        &self,
        openid: Option<&str>,
        from: usize,
        limit: usize,
    ) -> (Vec<Value>, Option<usize>) {
        let Some(openid) = openid else {
            return page(self.received.iter(), self.received.len(), from, limit, Received::item);
        };
        let Some(person) = self.index.get(openid).and_then(|index| self.list.get(*index)) else {
            return (Vec::new(), None);
        };
        let items = person.received.iter().filter_map(|at| self.received.get(usize::try_from(*at).ok()?));
        page(items, person.received.len(), from, limit, Received::item)
    }

    /// A page of grants; positions count people, so a page may hold a few more than `limit`.
    pub(crate) fn grant_items(&self, openid: Option<&str>, from: usize, limit: usize) -> (Vec<Value>, Option<usize>) {
        if let Some(openid) = openid {
            let person = self.index.get(openid).and_then(|index| self.list.get(*index));
            return (person.map(|person| person.grant_items().collect()).unwrap_or_default(), None);
        }
        let mut items = Vec::new();
        for (position, person) in self.list.iter().enumerate().skip(from) {
            if items.len() >= limit {
                return (items, Some(position));
            }
            items.extend(person.grant_items());
        }
        (items, None)
    }
}

/// One call of the app, whatever came of it.
#[derive(Debug)]
pub(crate) struct CallRecord {
    pub(crate) at: Timestamp,
    pub(crate) path: &'static str,
    pub(crate) openid: Option<Arc<str>>,
    /// `None` when no platform answer was given (an HTTP fault, a cut connection).
    pub(crate) errcode: Option<i64>,
    /// The fault that took part.
    pub(crate) fault: Option<Arc<str>>,
}

impl CallRecord {
    fn item(&self) -> Value {
        json!({
            "at": self.at.to_string(), "path": self.path, "openid": self.openid.as_deref(),
            "errcode": self.errcode, "fault": self.fault.as_deref(),
        })
    }
}

/// One callback and how its receiver took it.
#[derive(Debug)]
pub(crate) struct CallbackRecord {
    pub(crate) at: Timestamp,
    pub(crate) event: &'static str,
    pub(crate) openid: Arc<str>,
    pub(crate) attempts: u32,
    /// The last HTTP status; `None` when nobody answered or it was never sent.
    pub(crate) status: Option<u16>,
    pub(crate) note: &'static str,
}

impl CallbackRecord {
    fn item(&self) -> Value {
        json!({
            "at": self.at.to_string(), "event": self.event, "openid": &*self.openid,
            "attempts": self.attempts, "status": self.status, "note": self.note,
        })
    }
}

/// A bounded log whose positions stay valid when old entries go.
#[derive(Debug)]
pub(crate) struct Log<T> {
    dropped: usize,
    entries: VecDeque<T>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { dropped: 0, entries: VecDeque::new() }
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&mut self, entry: T) {
        if self.entries.len() >= KEPT_RECORDS {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
    }

    fn items(&self, from: usize, limit: usize, item: impl Fn(&T) -> Value) -> (Vec<Value>, Option<usize>) {
        let start = from.saturating_sub(self.dropped);
        let (items, next) = page(self.entries.iter(), self.entries.len(), start, limit, item);
        (items, next.map(|next| next + self.dropped))
    }
}

impl Log<CallRecord> {
    pub(crate) fn call_items(&self, from: usize, limit: usize) -> (Vec<Value>, Option<usize>) {
        self.items(from, limit, CallRecord::item)
    }
}

impl Log<CallbackRecord> {
    pub(crate) fn callback_items(&self, from: usize, limit: usize) -> (Vec<Value>, Option<usize>) {
        self.items(from, limit, CallbackRecord::item)
    }
}

/// `limit` of the items from `from`, and where the next page starts. Only those are turned into JSON.
pub(crate) fn page<T>(
    items: impl Iterator<Item = T>,
    total: usize,
    from: usize,
    limit: usize,
    item: impl Fn(T) -> Value,
) -> (Vec<Value>, Option<usize>) {
    let end = from.saturating_add(limit);
    (items.skip(from).take(limit).map(item).collect(), (end < total).then_some(end))
}
