//! The feed of people: attributes, tags, purchases and names, in batches.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidepost_core::channel::Platform;
use tidepost_core::ids::SubscriberId;
use tidepost_core::invalid::Invalid;
use tidepost_core::person::Person;
use tidepost_core::profile::{Profile, ProfileRequest};
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, from_value, json as answer};
use tidepost_io::ledger::Entry;
use tidepost_io::store::StoreError;

/// Items of one call at the most.
const BATCH_MAX: usize = 500;

/// People changed at a time.
const CONCURRENCY: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    subscribers: Vec<Value>,
}

/// What came of one item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Created,
    Updated,
    Unchanged,
    Invalid,
}

#[derive(Serialize)]
struct Outcome {
    openid: Value,
    status: Status,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Invalid>,
}

/// An item with its place in the batch.
type Placed = (usize, Profile);

/// Takes a batch; bad items do not stop good ones.
pub async fn update(app: &App, request: &Request, channel: &str) -> Answer {
    app.authorise(request, Right::Subscribers).await?;
    let body: Body = request.json()?;
    if body.subscribers.is_empty() || body.subscribers.len() > BATCH_MAX {
        let invalid = Invalid::new("subscribers", "out_of_range", "1 to 500 items in one call");
        return Err(Problem::invalid(vec![invalid]));
    }
    let platform = crate::channel_of(app, channel).await?.platform;
    let (mut outcomes, by_person) = parse(body.subscribers);
    let ids: Vec<SubscriberId> = by_person.keys().map(|openid| SubscriberId::new(channel, openid)).collect();
    let known = app.store.people(&ids).await?;
    let people = ids.into_iter().zip(by_person.into_values()).map(|(id, profiles)| {
        let is_known = known.get(&id).is_some_and(Entry::is_known);
        update_person(app, platform, id, is_known, profiles)
    });
    let results: Vec<Vec<(usize, Result<Status, Invalid>)>> =
        stream::iter(people).buffer_unordered(CONCURRENCY).try_collect().await?;
    for (index, result) in results.into_iter().flatten() {
        if let Some(outcome) = outcomes.get_mut(index) {
            match result {
                Ok(status) => outcome.status = status,
                Err(invalid) => outcome.errors.push(invalid),
            }
        }
    }
    Ok(answer(200, &json!({ "results": outcomes })))
}

/// Outcomes of all items, as if none held yet, and those that hold by person.
fn parse(items: Vec<Value>) -> (Vec<Outcome>, BTreeMap<String, Vec<Placed>>) {
    let mut by_person: BTreeMap<String, Vec<Placed>> = BTreeMap::new();
    let mut outcome = |(index, value): (usize, Value)| {
        let at = format!("subscribers[{index}]");
        let openid = value.get("openid").cloned().unwrap_or(Value::Null);
        let request = from_value::<ProfileRequest>(value, &at).map_err(|invalid| vec![invalid]);
        let errors = match request.and_then(|request| request.accept(&at)) {
            Ok(profile) => {
                by_person.entry(profile.openid().to_owned()).or_default().push((index, profile));
                Vec::new()
            }
            Err(errors) => errors,
        };
        Outcome { openid, status: Status::Invalid, errors }
    };
    let outcomes = items.into_iter().enumerate().map(&mut outcome).collect();
    (outcomes, by_person)
}

/// Makes the changes of one person one after the other, in the order of the batch.
async fn update_person(
    app: &App,
    platform: Platform,
    id: SubscriberId,
    mut is_known: bool,
    profiles: Vec<Placed>,
) -> Result<Vec<(usize, Result<Status, Invalid>)>, StoreError> {
    let mut results = Vec::new();
    for (index, profile) in profiles {
        let result = change(app, platform, &id, is_known, (index, &profile)).await?;
        is_known |= result.is_ok();
        results.push((index, result));
    }
    Ok(results)
}

async fn change(
    app: &App,
    platform: Platform,
    id: &SubscriberId,
    is_known: bool,
    (index, profile): (usize, &Profile),
) -> Result<Result<Status, Invalid>, StoreError> {
    let mut result = Ok(Status::Unchanged);
    let now = app.clock.now();
    let decide = |person: &Person| {
        let next = match profile.apply(id, person, &format!("subscribers[{index}]"), now) {
            Ok(next) => next,
            Err(invalid) => {
                result = Err(invalid);
                return None;
            }
        };
        result = Ok(match is_known {
            false => Status::Created,
            true if next == *person => Status::Unchanged,
            true => Status::Updated,
        });
        (result != Ok(Status::Unchanged)).then_some(next)
    };
    let entry = app.store.update_person(id, decide).await?;
    if result.is_err() {
        return Ok(result);
    }
    for link in profile.links(platform).iter().filter(|link| !entry.person().links.contains(*link)) {
        app.store.link(id, link).await?;
        if result == Ok(Status::Unchanged) {
            result = Ok(Status::Updated);
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_items_are_named_by_their_place_and_do_not_stop_good_ones() {
        let items = vec![
            json!({"openid": "o1", "tags": {"add": ["vip"]}}),
            json!({"openid": "o1", "shoe_size": 42}),
            json!(7),
            json!({"openid": "o2", "time_zone": "Mars/Olympus"}),
            json!({"openid": "o1"}),
        ];
        let (outcomes, by_person) = parse(items);
        let fields: Vec<Vec<&str>> =
            outcomes.iter().map(|outcome| outcome.errors.iter().map(|one| one.field.as_str()).collect()).collect();
        let shoe_size = vec!["subscribers[1].shoe_size"];
        assert_eq!(fields, [vec![], shoe_size, vec!["subscribers[2]"], vec!["subscribers[3].time_zone"], vec![]]);
        let places: Vec<usize> = by_person["o1"].iter().map(|(index, _)| *index).collect();
        assert_eq!((places, by_person.len()), (vec![0, 4], 1));
    }
}
