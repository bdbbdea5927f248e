//! What people did, as backends report it: noted with the person, and complaints for the brake.

use std::collections::{BTreeMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidepost_core::channel::Channel;
use tidepost_core::event::{Event, EventKind, EventRequest};
use tidepost_core::ids::SubscriberId;
use tidepost_core::invalid::Invalid;
use tidepost_core::person::Person;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, from_value, json as answer};
use tidepost_io::store::StoreError;

/// Items of one call at the most.
const BATCH_MAX: usize = 500;

/// People changed at a time.
const CONCURRENCY: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    events: Vec<Value>,
}

/// What came of one item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Accepted,
    Duplicate,
    Invalid,
}

#[derive(Serialize)]
struct Outcome {
    id: Value,
    status: Status,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Invalid>,
}

/// Events by person, each with its place in the batch.
type ByPerson = BTreeMap<SubscriberId, Vec<(usize, Event)>>;

/// Takes a batch; bad items do not stop good ones.
pub async fn report(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::Events).await?;
    let body: Body = request.json()?;
    if body.events.is_empty() || body.events.len() > BATCH_MAX {
        return Err(Problem::invalid(vec![Invalid::new("events", "out_of_range", "1 to 500 items in one call")]));
    }
    let channels = app.store.channels().await?;
    let (mut outcomes, by_person) = parse(body.events, &channels, app.clock.now());
    let people = by_person.into_iter().map(|(who, events)| note(app, who, events));
    let noted: Vec<Vec<(usize, Status)>> = stream::iter(people).buffer_unordered(CONCURRENCY).try_collect().await?;
    for (index, status) in noted.into_iter().flatten() {
        if let Some(outcome) = outcomes.get_mut(index) {
            outcome.status = status;
        }
    }
    Ok(answer(200, &json!({ "results": outcomes })))
}

/// Outcomes of all items, as far as they can be told without the ledger, and the events to note.
fn parse(items: Vec<Value>, channels: &BTreeMap<String, Channel>, now: jiff::Timestamp) -> (Vec<Outcome>, ByPerson) {
    let mut by_person = ByPerson::new();
    let mut known = HashSet::new();
    let mut outcome = |(index, value): (usize, Value)| {
        let at = format!("events[{index}]");
        let id = value.get("id").cloned().unwrap_or(Value::Null);
        let request = from_value::<EventRequest>(value, &at).map_err(|invalid| vec![invalid]);
        let event = request.and_then(|request| request.accept(&at, now)).and_then(|event| {
            let unknown = || vec![Invalid::new(format!("{at}.channel"), "channel_unknown", "there is no such channel")];
            channels.contains_key(&event.who.channel).then_some(event).ok_or_else(unknown)
        });
        match event {
            Ok(event) if !known.insert((event.who.channel.clone(), event.id.clone())) => {
                Outcome { id, status: Status::Duplicate, errors: Vec::new() }
            }
            Ok(event) => {
                by_person.entry(event.who.clone()).or_default().push((index, event));
                Outcome { id, status: Status::Accepted, errors: Vec::new() }
            }
            Err(errors) => Outcome { id, status: Status::Invalid, errors },
        }
    };
    let outcomes = items.into_iter().enumerate().map(&mut outcome).collect();
    (outcomes, by_person)
}

/// Notes all events of one person in one write. That an event is known is written last, so that a repetition finishes what
/// was begun; all that is before it may happen twice.
async fn note(app: &App, who: SubscriberId, events: Vec<(usize, Event)>) -> Result<Vec<(usize, Status)>, StoreError> {
    let change = |person: &Person| {
        let fold =
            |noted: Option<Person>, (_, event): &(usize, Event)| event.note(noted.as_ref().unwrap_or(person)).or(noted);
        events.iter().fold(None, fold)
    };
    app.store.update_person(&who, change).await?;
    let now = app.clock.now();
    let mut statuses = Vec::with_capacity(events.len());
    for (index, event) in &events {
        if event.kind == EventKind::Complaint {
            app.store.put_complaint(event, now).await?;
        }
        let is_new = app.store.remember_event(event, now).await?;
        statuses.push((*index, if is_new { Status::Accepted } else { Status::Duplicate }));
    }
    Ok(statuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_items_are_named_and_repeated_ones_count_once() {
        let shop = r#"{"platform":"wechat_mini","app_id":"wx1","secret_ref":"env:S"}"#;
        let channels = BTreeMap::from([("shop".to_owned(), serde_json::from_str(shop).unwrap())]);
        let event = |id: &str, channel: &str, openid: &str| json!({"id": id, "type": "click", "channel": channel, "openid": openid});
        let items = vec![
            event("e1", "shop", "o1"),
            event("e1", "shop", "o2"),
            event("e2", "attic", "o1"),
            json!({"id": "e3", "type": "sneeze", "channel": "shop", "openid": "o1"}),
            event("e4", "shop", "o1"),
        ];
        let (outcomes, by_person) = parse(items, &channels, jiff::Timestamp::UNIX_EPOCH);
        let statuses: Vec<Status> = outcomes.iter().map(|outcome| outcome.status).collect();
        use Status::{Accepted, Duplicate, Invalid};
        assert_eq!(statuses, [Accepted, Duplicate, Invalid, Invalid, Accepted]);
        assert_eq!(outcomes[2].errors[0].field, "events[2].channel");
        assert_eq!(outcomes[3].errors[0].field, "events[3].type");
        let places: Vec<usize> = by_person[&SubscriberId::new("shop", "o1")].iter().map(|(index, _)| *index).collect();
        assert_eq!((places, by_person.len()), (vec![0, 4], 1));
    }
}
