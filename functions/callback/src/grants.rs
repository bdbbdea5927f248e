//! The subscription webhook: what users answered in the dialog, as backends report it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidepost_core::channel::Channel;
use tidepost_core::digest;
use tidepost_core::grant::{Consent, Source, Terms, expiry};
use tidepost_core::ids::{SubscriberId, check_id};
use tidepost_core::invalid::Invalid;
use tidepost_core::person::{Answer as PersonsAnswer, Heard, HeardStatus, Person, SEEN_MAX};
use tidepost_core::template::{Template, TemplateKind};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{Answer, Problem, Request, from_value, json};
use tidepost_io::ledger::Entry;
use tidepost_io::store::StoreError;

/// Items of one call at the most.
const BATCH_MAX: usize = 500;

/// People changed at a time.
const CONCURRENCY: usize = 32;

/// Reports on one person in one write: a person's item remembers twice as many ids.
const REPORTS_PER_WRITE: usize = SEEN_MAX / 2;

/// How often a write is begun anew because the person's item has come to hold ids that it would forget.
const CROWDED_TRIES: usize = 4;

/// How far in the future a backend's clock may be, in seconds.
const AHEAD_SECONDS: i64 = 600;

/// Longest scene or purpose, in characters.
const NOTE_MAX_CHARACTERS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    grants: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    event_id: String,
    openid: String,
    template: String,
    result: String,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    union_id: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    scene: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
}

#[derive(Serialize)]
struct Outcome {
    event_id: Value,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Invalid>,
}

/// Takes a batch of reports; bad ones do not stop good ones.
pub async fn report(app: &App, id: &str, request: &Request) -> Answer {
    app.authorise(request, Right::Grants).await?;
    let body: Body = request.json()?;
    if body.grants.is_empty() || body.grants.len() > BATCH_MAX {
        return Err(Problem::invalid(vec![Invalid::new("grants", "out_of_range", "1 to 500 items in one call")]));
    }
    let state = app.store.channel_state(id).await?.ok_or_else(|| Problem::not_found("there is no such channel"))?;
    let now = app.clock.now();
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(body.grants.len());
    let mut by_person: BTreeMap<String, Vec<(usize, Report)>> = BTreeMap::new();
    for (index, value) in body.grants.into_iter().enumerate() {
        let event_id = value.get("event_id").cloned().unwrap_or(Value::Null);
        let parsed = parse(value, &format!("grants[{index}]"), now);
        let errors = match parsed {
            Ok(report) => {
                by_person.entry(report.openid.clone()).or_default().push((index, report));
                Vec::new()
            }
            Err(errors) => errors,
        };
        outcomes.push(Outcome { event_id, status: "invalid", available: None, errors });
    }
    let people = by_person.into_iter().map(|(openid, reports)| {
        let (state, to) = (&state, SubscriberId::new(id, openid));
        async move { hear(app, &state.channel, &state.templates, &to, &reports, now).await }
    });
    let heard: Vec<Vec<(usize, HeardStatus)>> =
        stream::iter(people).buffer_unordered(CONCURRENCY).try_collect().await?;
    for (index, status) in heard.into_iter().flatten() {
        if let Some(outcome) = outcomes.get_mut(index) {
            (outcome.status, outcome.available) = match status {
                HeardStatus::Granted { available } => ("granted", Some(available)),
                HeardStatus::Recorded { available } => ("recorded", Some(available)),
                HeardStatus::Duplicate => ("duplicate", None),
            };
        }
    }
    Ok(json(200, &serde_json::json!({ "results": outcomes })))
}

fn parse(value: Value, at: &str, now: Timestamp) -> Result<Report, Vec<Invalid>> {
    let report: Report = from_value(value, at).map_err(|invalid| vec![invalid])?;
    let mut wrong = Vec::new();
    let ids = [
        ("event_id", Some(&report.event_id)),
        ("openid", Some(&report.openid)),
        ("template", Some(&report.template)),
        ("union_id", report.union_id.as_ref()),
        ("user_id", report.user_id.as_ref()),
    ];
    for (name, id) in ids {
        wrong.extend(id.and_then(|id| check_id(&format!("{at}.{name}"), id).err()));
    }
    for (name, note) in [("scene", &report.scene), ("purpose", &report.purpose)] {
        if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_MAX_CHARACTERS) {
            wrong.push(Invalid::new(format!("{at}.{name}"), "field_too_long", "at most 64 characters"));
        }
    }
    if Consent::parse(&report.result).is_none() {
        let message = "must be accept, reject, ban, filter, acceptWithAudio, acceptWithAlert or acceptWithForcePush";
        wrong.push(Invalid::new(format!("{at}.result"), "field_not_in_list", message));
    }
    if report.at.is_some_and(|time| time > plus_seconds(now, AHEAD_SECONDS)) {
        wrong.push(Invalid::new(format!("{at}.at"), "out_of_range", "must not be in the future"));
    }
    if wrong.is_empty() { Ok(report) } else { Err(wrong) }
}

/// Records the reports on one person, in as many writes as their ids need, then links the person's names.
async fn hear(
    app: &App,
    channel: &Channel,
    templates: &BTreeMap<String, Template>,
    to: &SubscriberId,
    reports: &[(usize, Report)],
    now: Timestamp,
) -> Result<Vec<(usize, HeardStatus)>, StoreError> {
    let (mut statuses, mut links) = (Vec::new(), BTreeSet::new());
    for some in reports.chunks(REPORTS_PER_WRITE) {
        let heard = some.iter().map(|(_, report)| (report.at, understand(channel, templates, to, report, now)));
        let (entry, heard) = hear_once(app, to, &heard.collect::<Vec<_>>(), now).await?;
        statuses.extend(heard);
        links = entry.person().links.clone();
    }
    for (_, report) in reports {
        let union = report.union_id.as_ref().map(|id| format!("{}/{id}", channel.platform.union_scope()));
        let user = report.user_id.as_ref().map(|id| format!("user/{id}"));
        for link in [union, user].into_iter().flatten().filter(|link| !links.contains(link)) {
            app.store.link(to, &link).await?;
        }
    }
    Ok(reports.iter().map(|(index, _)| *index).zip(statuses).collect())
}

/// Records each report unless it was counted before. A person's item remembers the latest ids, and the table those that
/// the item has no room for.
async fn hear_once(
    app: &App,
    to: &SubscriberId,
    heard: &[(Option<Timestamp>, Heard)],
    now: Timestamp,
) -> Result<(Entry, Vec<HeardStatus>), StoreError> {
    let events: Vec<[u8; 8]> = heard.iter().map(|(_, heard)| heard.event).collect();
    let (mut remembered, mut known) = (HashSet::new(), HashSet::new());
    for _ in 0..CROWDED_TRIES {
        let (mut statuses, mut leaving) = (Vec::new(), Vec::new());
        let change = |person: &Person| {
            leaving = person.events_leaving(events.len(), now);
            leaving.retain(|event| !remembered.contains(event));
            if !leaving.is_empty() {
                return None;
            }
            let mut person = person.clone();
            statuses = heard.iter().map(|(at, heard)| hear_one(&mut person, to, *at, heard, &known, now)).collect();
            statuses.iter().any(|status| *status != HeardStatus::Duplicate).then_some(person)
        };
        let entry = app.store.update_person(to, change).await?;
        if leaving.is_empty() {
            return Ok((entry, statuses));
        }
        // Before the item forgets them: counted once remains counted once, whatever dies here.
        app.store.remember_heard(&to.channel, &leaving, now).await?;
        remembered.extend(leaving);
        known = app.store.heard_before(&to.channel, &events).await?;
    }
    Err(StoreError::Call { operation: "update", detail: "the person changed too often at once".to_owned() })
}

fn hear_one(
    person: &mut Person,
    to: &SubscriberId,
    at: Option<Timestamp>,
    heard: &Heard,
    known: &HashSet<[u8; 8]>,
    now: Timestamp,
) -> HeardStatus {
    if known.contains(&heard.event) {
        return HeardStatus::Duplicate;
    }
    let status = person.hear(to, heard, now).first().copied().unwrap_or(HeardStatus::Duplicate);
    if status != HeardStatus::Duplicate && person.erased_at.is_none() {
        person.activity.note_active(at.unwrap_or(now).min(now));
    }
    status
}

fn understand(
    channel: &Channel,
    templates: &BTreeMap<String, Template>,
    to: &SubscriberId,
    report: &Report,
    now: Timestamp,
) -> Heard {
    let kind = templates.get(&report.template).map_or(TemplateKind::OneTime, |template| template.kind);
    let at = report.at.unwrap_or(now).min(now);
    let answer = PersonsAnswer {
        template: report.template.clone(),
        kind,
        consent: Consent::parse(&report.result).unwrap_or(Consent::Neither),
        terms: Terms {
            given_at: report.at.map(|_| at),
            expires_at: expiry(channel, at).filter(|_| kind == TemplateKind::OneTime),
            scene: report.scene.clone(),
            purpose: report.purpose.clone(),
        },
    };
    Heard {
        event: digest::short(&[b"report", to.channel.as_bytes(), report.event_id.as_bytes()]),
        source: Source::Report,
        answers: vec![answer],
    }
}
