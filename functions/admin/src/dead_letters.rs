//! Dead letters of all queues: looked at, sent again, dropped.
//!
//! SQS shows messages only to those who receive them. So a look hides letters from others for a moment: until it is over, or
//! for half a minute where it dies.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidepost_core::ids::{CampaignId, MessageId};
use tidepost_core::invalid::Invalid;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, json as answer};
use tidepost_io::queue::{BulkTask, DeadQueue, Letter, NowTask, QueueError, SweepStep, SweepTask};

/// Letters of one queue that a call deals with, and ids that it takes, at the most.
const LETTERS_MAX: usize = 500;

/// Letters of one queue among which a call looks for ids, at the most: what it can see before the first comes again.
const LOOKED_MAX: usize = 1_000;

/// Letters that are dealt with at a time.
const CONCURRENCY: usize = 16;

/// How long a look waits for letters, in seconds: with less SQS may show only a part.
const WAIT_SECONDS: i32 = 1;

/// A queue with dead letters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// Single messages.
    Now,
    /// Flights of campaigns.
    Bulk,
    /// Steps of sweeps.
    Sweep,
}

impl Source {
    const ALL: [Self; 3] = [Self::Now, Self::Bulk, Self::Sweep];

    fn dead_queue(self, app: &App) -> &DeadQueue {
        match self {
            Self::Now => &app.dead_queue,
            Self::Bulk => &app.bulk_dead_queue,
            Self::Sweep => &app.sweep_dead_queue,
        }
    }

    /// The one that is asked for, or all.
    fn chosen(queue: Option<Self>) -> Vec<Self> {
        queue.map_or(Self::ALL.into(), |one| vec![one])
    }
}

/// A dead letter as the API shows it: nothing of it names a person.
#[derive(Debug, PartialEq, Serialize)]
struct View {
    id: String,
    queue: Source,
    sent_at: Option<Timestamp>,
    receives: Option<u32>,
    #[serde(flatten)]
    concern: Concern,
    because: Option<String>,
}

/// What a letter is about.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Concern {
    kind: &'static str,
    channel: Option<String>,
    message: Option<MessageId>,
    campaigns: Vec<CampaignId>,
    people: Option<usize>,
    worthless_after: Option<Timestamp>,
}

/// Routes below `/v1/dead-letters`.
pub async fn route(app: &App, request: &Request) -> Answer {
    let (method, path) = request.route();
    match (method, path.get(2..).unwrap_or_default()) {
        ("GET", []) => list(app, request).await,
        ("POST", ["redrive"]) => act(app, request, Act::Redrive).await,
        ("POST", ["drop"]) => act(app, request, Act::Drop).await,
        _ => Err(crate::no_route()),
    }
}

async fn list(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::Administer).await?;
    let limit = request.limit()?;
    let queue = request.query.get("queue").map(|text| queue_named(text)).transpose()?;
    let looks = Source::chosen(queue).into_iter().map(|source| async move {
        let dead = source.dead_queue(app);
        let letters = look(dead, limit).await?;
        let count = dead.count().await?;
        put_back(dead, &letters).await;
        Ok::<_, QueueError>((source, letters, count))
    });
    let looks = try_join_all(looks).await.map_err(unreachable)?;
    let counts: BTreeMap<Source, u64> = looks.iter().map(|(source, _, count)| (*source, *count)).collect();
    let views = looks.iter().flat_map(|(source, letters, _)| letters.iter().map(|letter| view(*source, letter)));
    let items: Vec<View> = views.take(limit).collect();
    Ok(answer(200, &json!({ "items": items, "next_cursor": null, "counts": counts })))
}

fn queue_named(text: &str) -> Result<Source, Problem> {
    serde_json::from_value(Value::from(text))
        .map_err(|_| Problem::invalid(vec![Invalid::new("queue", "out_of_range", "one of now, bulk, sweep")]))
}

fn unreachable(error: QueueError) -> Problem {
    tracing::error!(%error, "a queue of dead letters cannot be reached");
    Problem::unavailable("a queue of dead letters cannot be reached; try again")
}

/// What is done with letters.
#[derive(Clone, Copy)]
enum Act {
    Redrive,
    Drop,
}

/// Which letters are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    ids: Option<BTreeSet<String>>,
    #[serde(default)]
    all: bool,
    queue: Option<Source>,
}

impl Chosen {
    fn validate(&self) -> Result<(), Problem> {
        let message = match &self.ids {
            Some(_) if self.all => "give ids, or all, and not both".to_owned(),
            None if !self.all => "name letters by their ids, or say \"all\": true".to_owned(),
            Some(ids) if !(1..=LETTERS_MAX).contains(&ids.len()) => format!("1 to {LETTERS_MAX} ids"),
            _ => return Ok(()),
        };
        Err(Problem::invalid(vec![Invalid::new("ids", "out_of_range", message)]))
    }

    fn means(&self, letter: &Letter) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
    }
}

async fn act(app: &App, request: &Request, act: Act) -> Answer {
    app.authorise(request, Right::Administer).await?;
    let chosen: Chosen = request.json()?;
    chosen.validate()?;
    let parts = Source::chosen(chosen.queue).into_iter().map(|source| act_on(app, source, &chosen, act));
    let parts = try_join_all(parts).await.map_err(unreachable)?;
    let may_have_more = parts.iter().any(|part| part.may_have_more);
    let mut done: BTreeMap<String, Value> = parts.into_iter().flat_map(|part| part.done).collect();
    let missing = chosen.ids.iter().flatten().filter(|id| !done.contains_key(*id)).cloned().collect::<Vec<_>>();
    done.extend(missing.into_iter().map(|id| (id.clone(), json!({ "id": id, "status": "not_found" }))));
    let results: Vec<Value> = done.into_values().collect();
    Ok(answer(200, &json!({ "results": results, "more": chosen.all && may_have_more })))
}

/// What was done with the letters of one queue.
struct Part {
    done: Vec<(String, Value)>,
    may_have_more: bool,
}

async fn act_on(app: &App, source: Source, chosen: &Chosen, act: Act) -> Result<Part, QueueError> {
    let dead = source.dead_queue(app);
    let letters = look(dead, if chosen.all { LETTERS_MAX } else { LOOKED_MAX }).await?;
    let may_have_more = letters.len() >= LETTERS_MAX;
    let (meant, others): (Vec<Letter>, Vec<Letter>) = letters.into_iter().partition(|letter| chosen.means(letter));
    put_back(dead, &others).await;
    let done = stream::iter(meant).map(|letter| async move {
        let status = act_on_one(dead, &letter, act).await;
        tracing::info!(record = letter.id, queue = ?source, status, "a dead letter was dealt with");
        let result = json!({ "id": letter.id, "queue": source, "status": status });
        (letter.id, result)
    });
    Ok(Part { done: done.buffer_unordered(CONCURRENCY).collect().await, may_have_more })
}

async fn act_on_one(dead: &DeadQueue, letter: &Letter, act: Act) -> &'static str {
    let acted = match act {
        Act::Redrive => dead.redrive(letter).await.map(|()| "redriven"),
        Act::Drop => dead.discard(letter).await.map(|()| "dropped"),
    };
    acted.unwrap_or_else(|error| {
        tracing::error!(record = letter.id, %error, "a dead letter stays");
        "failed"
    })
}

/// Looks at a queue until `most` letters are seen or no more come; each is seen once.
async fn look(dead: &DeadQueue, most: usize) -> Result<Vec<Letter>, QueueError> {
    let mut seen: BTreeMap<String, Letter> = BTreeMap::new();
    while seen.len() < most {
        let letters = dead.look(WAIT_SECONDS).await?;
        if letters.is_empty() {
            break;
        }
        seen.extend(letters.into_iter().map(|letter| (letter.id.clone(), letter)));
    }
    let mut letters: Vec<Letter> = seen.into_values().collect();
    letters.sort_by_key(|letter| letter.sent_at);
    Ok(letters)
}

async fn put_back(dead: &DeadQueue, letters: &[Letter]) {
    if let Err(error) = dead.put_back(letters).await {
        tracing::warn!(%error, "dead letters stay hidden for half a minute");
    }
}

fn view(queue: Source, letter: &Letter) -> View {
    let concern = match queue {
        Source::Now => serde_json::from_str(&letter.body).map(of_message),
        Source::Bulk => serde_json::from_str(&letter.body).map(of_flight),
        Source::Sweep => serde_json::from_str(&letter.body).map(of_step),
    };
    let (concern, because) = match concern {
        Ok(concern) => (concern, None),
        // The error itself may quote what stands there.
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            let because = format!("this version cannot read it ({:?} error at {place})", error.classify());
            (Concern { kind: "unreadable", ..Concern::default() }, Some(because))
        }
    };
    View { id: letter.id.clone(), queue, sent_at: letter.sent_at, receives: letter.receives, concern, because }
}

fn of_message(NowTask::V1(task): NowTask) -> Concern {
    Concern {
        kind: "message",
        channel: Some(task.to.channel),
        message: Some(task.id),
        people: Some(1),
        worthless_after: Some(task.not_after),
        ..Concern::default()
    }
}

fn of_flight(BulkTask::V1(flight): BulkTask) -> Concern {
    let campaigns = flight.recipients.iter().filter_map(|(offer, _)| offer.campaign());
    Concern {
        kind: "flight",
        channel: Some(flight.channel),
        campaigns: campaigns.map(CampaignId::whole).collect::<BTreeSet<_>>().into_iter().collect(),
        people: Some(flight.recipients.iter().map(|(_, openids)| openids.len()).sum()),
        worthless_after: Some(flight.slot.closes_at),
        ..Concern::default()
    }
}

fn of_step(SweepTask::V1(step): SweepTask) -> Concern {
    let (kind, channel) = match step {
        SweepStep::Plan { channel } => ("plan", channel),
        SweepStep::Census { channel, .. } => ("census", channel),
        SweepStep::Emit { channel, .. } => ("emit", channel),
    };
    Concern { kind, channel: Some(channel), ..Concern::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(queue: Source, body: &str) -> Value {
        let sent_at = "2026-11-21T04:00:00Z".parse().ok();
        let letter =
            Letter { id: "l1".to_owned(), body: body.to_owned(), sent_at, receives: Some(6), handle: "h".to_owned() };
        serde_json::to_value(view(queue, &letter)).unwrap()
    }

    fn is_without_people(shown: &Value) -> bool {
        !shown.to_string().contains("oUSER")
    }

    #[test]
    fn a_message_is_named_and_its_person_is_not() {
        let body = r#"{"version":"1","id":"m_bomg7ayoct5r3ecrwo6q","to":{"channel":"shop","openid":"oUSER0001"},
            "not_after":"2026-11-21T10:00:00Z"}"#;
        let shown = shown(Source::Now, body);
        let expected = json!({
            "id": "l1", "queue": "now", "sent_at": "2026-11-21T04:00:00Z", "receives": 6, "kind": "message",
            "channel": "shop", "message": "m_bomg7ayoct5r3ecrwo6q", "campaigns": [], "people": 1,
            "worthless_after": "2026-11-21T10:00:00Z", "because": null,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_flight_tells_its_campaigns_and_how_many_people() {
        let body = r#"{"version":"1","channel":"shop","id":[1,2,3,4,5,6,7,8],
            "slot":{"opens_at":"2026-11-21T04:00:00Z","closes_at":"2026-11-21T04:01:00Z"},
            "starts_at":"2026-11-21T04:00:02Z","recipients":[["c_romacaqdaqcqm",["oUSER0001","oUSER0002"]]]}"#;
        let shown = shown(Source::Bulk, body);
        assert_eq!((&shown["kind"], &shown["people"]), (&json!("flight"), &json!(2)));
        assert_eq!(shown["campaigns"], json!(["c_romacaqdaqcqm"]));
        assert_eq!(shown["worthless_after"], "2026-11-21T04:01:00Z");
        assert!(is_without_people(&shown), "{shown}");
    }

    #[test]
    fn a_step_of_a_sweep_tells_its_channel() {
        let shown = shown(
            Source::Sweep,
            r#"{"version":"1","step":"emit","channel":"shop","slot":"2026-11-21T04:00:00Z","range":1}"#,
        );
        assert_eq!((&shown["kind"], &shown["channel"]), (&json!("emit"), &json!("shop")));
    }

    #[test]
    fn what_cannot_be_read_says_where_and_quotes_nothing() {
        for body in ["no payload of ours", r#"{"version":"9","to":"oUSER0001"}"#, r#"{"version":"1","id":"oUSER0001"}"#]
        {
            let shown = shown(Source::Now, body);
            assert_eq!((&shown["kind"], &shown["channel"]), (&json!("unreadable"), &Value::Null));
            assert!(shown["because"].as_str().unwrap().starts_with("this version cannot read it"), "{shown}");
            assert!(is_without_people(&shown), "{shown}");
        }
    }

    #[test]
    fn letters_are_named_or_all_and_not_both() {
        let problem = |body: Value| {
            let chosen: Chosen = serde_json::from_value(body).unwrap();
            chosen.validate().err().map(|problem| problem.status)
        };
        assert_eq!(problem(json!({"ids": ["l1"]})), None);
        assert_eq!(problem(json!({"all": true, "queue": "bulk"})), None);
        for bad in [json!({}), json!({"ids": []}), json!({"ids": ["l1"], "all": true}), json!({"all": false})] {
            assert_eq!(problem(bad.clone()), Some(422), "{bad}");
        }
    }
}
