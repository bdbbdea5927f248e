//! Misbehaviour on request: which calls and callbacks are hit, and what happens to them.

use std::sync::Arc;

use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `POST /sim/wechat/faults`: what is hit, and by what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    #[serde(rename = "match", default)]
    pub(crate) matches: Match,
    pub(crate) fault: Fault,
}

/// Which calls are hit. A field left out matches everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// A platform path. For callback faults: the event's name, or the path of the call that caused it
    /// (`/cgi-bin/message/subscribe/send` for sent events).
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// The receiver of a send, the person of an event.
    #[serde(default)]
    pub(crate) openid: Option<String>,
    /// Matching calls let through first.
    #[serde(default)]
    pub(crate) after: u64,
    /// Calls hit at most; `null` means no end.
    #[serde(default)]
    pub(crate) times: Option<u64>,
    /// The chance that a matching call is hit.
    #[serde(default = "always")]
    pub(crate) probability: f64,
}

impl Default for Match {
    fn default() -> Self {
        Self { path: None, openid: None, after: 0, times: None, probability: always() }
    }
}

fn always() -> f64 {
    1.0
}

fn once() -> u32 {
    1
}

/// What happens. Struct variants without fields refuse fields they do not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// Answered with this code; nothing else happens.
    Errcode {
        errcode: i64,
        #[serde(default)]
        errmsg: Option<String>,
    },
    /// Answered with this HTTP status and no platform body; nothing else happens.
    Http { status: u16 },
    /// Answered late. `before_processing` delays the call's effect too, so that a client that gives up undoes it.
    Delay {
        milliseconds: u64,
        #[serde(default)]
        before_processing: bool,
    },
    /// Takes full effect, but no answer ever comes: the connection hangs until the client gives up.
    TimeoutAfterDelivery {},
    /// The connection is cut without an answer; `after_processing` lets the call take effect first.
    Disconnect {
        #[serde(default)]
        after_processing: bool,
    },
    /// The app's tokens are void from this call on. `sticky`: `stable_token` goes on returning the void one until it
    /// is called with `force_refresh`.
    RevokeToken {
        #[serde(default)]
        sticky: bool,
    },
    /// The event comes `times` times more.
    DuplicateCallback {
        #[serde(default = "once")]
        times: u32,
    },
    /// The event waits until the app's next one was delivered (or a short while, when there is none).
    ReorderCallbacks {},
    /// The event never comes.
    DropCallback {},
    /// The sent event reports a failure.
    FailSentEvent {
        #[serde(default = "busy")]
        errcode: i64,
        #[serde(default = "system_failed")]
        status: String,
    },
}

fn busy() -> i64 {
    -1
}

fn system_failed() -> String {
    "system failed".to_owned()
}

impl Fault {
    fn hits_callbacks(&self) -> bool {
        matches!(
            self,
            Self::DuplicateCallback { .. }
                | Self::ReorderCallbacks {}
                | Self::DropCallback {}
                | Self::FailSentEvent { .. }
        )
    }
}

#[derive(Debug)]
struct Armed {
    id: Arc<str>,
    request: FaultRequest,
    seen: u64,
    hit: u64,
}

impl Armed {
    /// Whether it hits a call of these names; counts the call.
    fn hits(&mut self, names: &[&str], openid: Option<&str>, random: &mut impl Rng) -> bool {
        let matches = &self.request.matches;
        let path = matches.path.as_deref().is_none_or(|path| names.contains(&path));
        let person = matches.openid.as_deref().is_none_or(|wanted| openid == Some(wanted));
        if !path || !person {
            return false;
        }
        self.seen += 1;
        let spent = matches.times.is_some_and(|times| self.hit >= times);
        if self.seen <= matches.after || spent {
            return false;
        }
        let hit = matches.probability >= 1.0 || random.random::<f64>() < matches.probability;
        self.hit += u64::from(hit);
        hit
    }
}

/// What stands in for the platform's answer.
#[derive(Debug, Clone)]
pub(crate) enum Instead {
    Errcode(i64, Option<String>),
    Http(u16),
    Disconnect,
}

/// All that happens to one call.
#[derive(Debug, Default)]
pub(crate) struct CallPlan {
    pub(crate) fault: Option<Arc<str>>,
    pub(crate) delay_before_milliseconds: u64,
    pub(crate) delay_after_milliseconds: u64,
    pub(crate) revoke: Option<Revoke>,
    pub(crate) instead: Option<Instead>,
    pub(crate) hang: bool,
    pub(crate) cut: bool,
}

/// How tokens are voided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revoke {
    pub(crate) sticky: bool,
}

/// All that happens to one event.
#[derive(Debug, Default)]
pub(crate) struct CallbackPlan {
    pub(crate) extra_copies: u32,
    pub(crate) hold_back: bool,
    pub(crate) drop: bool,
    pub(crate) failure: Option<(i64, String)>,
}

/// The faults set so far, in order. Several may hit one call, the first that answers it wins.
#[derive(Debug, Default)]
pub(crate) struct FaultBook {
    armed: Vec<Armed>,
    made: u64,
}

impl FaultBook {
    pub(crate) fn add(&mut self, request: FaultRequest) -> Arc<str> {
        self.made += 1;
        let id: Arc<str> = format!("f{}", self.made).into();
        self.armed.push(Armed { id: Arc::clone(&id), request, seen: 0, hit: 0 });
        id
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    pub(crate) fn items(&self) -> Vec<Value> {
        self.armed
            .iter()
            .map(|armed| {
                json!({"id": &*armed.id, "match": armed.request.matches, "fault": armed.request.fault, "seen": armed.seen, "hit": armed.hit})
            })
            .collect()
    }

    pub(crate) fn plan_call(&mut self, path: &str, openid: Option<&str>, random: &mut impl Rng) -> CallPlan {
        let mut plan = CallPlan::default();
        for armed in self.armed.iter_mut().filter(|armed| !armed.request.fault.hits_callbacks()) {
            if plan.instead.is_some() || !armed.hits(&[path], openid, random) {
                continue;
            }
            plan.fault.get_or_insert_with(|| Arc::clone(&armed.id));
            match &armed.request.fault {
                Fault::Errcode { errcode, errmsg } => plan.instead = Some(Instead::Errcode(*errcode, errmsg.clone())),
                Fault::Http { status } => plan.instead = Some(Instead::Http(*status)),
                Fault::Delay { milliseconds, before_processing: true } => {
                    plan.delay_before_milliseconds += milliseconds
                }
                Fault::Delay { milliseconds, before_processing: false } => {
                    plan.delay_after_milliseconds += milliseconds
                }
                Fault::TimeoutAfterDelivery {} => plan.hang = true,
                Fault::Disconnect { after_processing: true } => plan.cut = true,
                Fault::Disconnect { after_processing: false } => plan.instead = Some(Instead::Disconnect),
                Fault::RevokeToken { sticky } => plan.revoke = Some(Revoke { sticky: *sticky }),
                _ => {}
            }
        }
        plan
    }

    pub(crate) fn plan_callback(&mut self, names: &[&str], openid: &str, random: &mut impl Rng) -> CallbackPlan {
        let mut plan = CallbackPlan::default();
        for armed in self.armed.iter_mut().filter(|armed| armed.request.fault.hits_callbacks()) {
            if !armed.hits(names, Some(openid), random) {
                continue;
            }
            match &armed.request.fault {
                Fault::DuplicateCallback { times } => plan.extra_copies += times,
                Fault::ReorderCallbacks {} => plan.hold_back = true,
                Fault::DropCallback {} => plan.drop = true,
                Fault::FailSentEvent { errcode, status } => plan.failure = Some((*errcode, status.clone())),
                _ => {}
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn book(body: &str) -> FaultBook {
        let mut book = FaultBook::default();
        book.add(serde_json::from_str(body).unwrap());
        book
    }

    #[test]
    fn after_and_times_count_matching_calls_only() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut book = book(
            r#"{"match":{"path":"/a","openid":"o1","after":1,"times":2},"fault":{"kind":"errcode","errcode":-1}}"#,
        );
        let mut hit = |path: &str, openid| book.plan_call(path, openid, &mut random).instead.is_some();
        assert!(!hit("/b", Some("o1")) && !hit("/a", Some("o2")) && !hit("/a", None));
        let hits: Vec<bool> = (0..5).map(|_| hit("/a", Some("o1"))).collect();
        assert_eq!(hits, [false, true, true, false, false]);
    }

    #[test]
    fn probability_is_seeded_and_roughly_kept() {
        let count = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut book = book(r#"{"match":{"probability":0.25},"fault":{"kind":"http","status":503}}"#);
            (0..1000).filter(|_| book.plan_call("/a", None, &mut random).instead.is_some()).count()
        };
        assert_eq!(count(7), count(7));
        assert!((200..300).contains(&count(7)), "{}", count(7));
    }

    #[test]
    fn unknown_words_are_refused() {
        for body in [
            r#"{"fault":{"kind":"disconnect","x":1}}"#,
            r#"{"fault":{"kind":"timeout_after_delivery","x":1}}"#,
            r#"{"fault":{"kind":"explode"}}"#,
            r#"{"match":{"x":1},"fault":{"kind":"disconnect"}}"#,
        ] {
            assert!(serde_json::from_str::<FaultRequest>(body).is_err(), "{body}");
        }
    }
}
