//! The control API below `/sim`: what a test or an operator sets, and the ground truth it reads.
//!
//! | call | what it does |
//! | --- | --- |
//! | `PUT /sim/wechat/apps/{appid}` | sets an app up ([`AppConfig`]); 201 when new, else 200; `GET` shows it |
//! | `POST …/{appid}/subscribe` `{"openid","results":{template: word},"push":true}` | the person answers the dialog; answers `{"callback":{"status","body","attempts"}}` |
//! | `POST …/{appid}/change` | the person changes the settings page; only `reject` is pushed |
//! | `POST …/{appid}/verify` | the platform's GET check of the callback |
//! | `GET …/{appid}/received?openid=` | every message that arrived, with the kind of grant that paid |
//! | `GET …/{appid}/grants?openid=` | what each person allows |
//! | `GET …/{appid}/calls` | every call of the app: when, path, openid, errcode, fault |
//! | `GET …/{appid}/callbacks` | every callback: when, event, attempts, last status |
//! | `GET …/{appid}/windows` | every opening of every quota window |
//! | `POST /sim/wechat/faults` | arms a fault; `GET` lists them, `DELETE` disarms all |
//! | `POST /sim/reset` | forgets everything; `GET /sim/clock` tells the time |
//!
//! Lists take `?limit=100&cursor=…` and answer `{"items":[…],"next_cursor":null}`.
//!
//! Fault kinds beyond the contract's: `drop_callback`, `fail_sent_event {"errcode","status"}`; options beyond it:
//! `errcode {"errmsg"}`, `delay {"before_processing":true}`, `disconnect {"after_processing":true}`,
//! `revoke_token {"sticky":true}` (normal mode keeps returning the void token until forced).
//! For callback faults `match.path` is the event's name or the path of the call that caused it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::FaultRequest;
use crate::problem::{FieldError, Problem, parse};
use crate::truth::page;
use crate::wechat::app::{App, AppState};
use crate::wechat::call::BODY_LIMIT_BYTES;
use crate::wechat::config::AppConfig;
use crate::wechat::event::{Content, Event};
use crate::world::World;

type Shared = State<Arc<World>>;
type Words = Query<HashMap<String, String>>;

const PAGE_LENGTH: usize = 100;
const PAGE_LIMIT: usize = 1000;
/// The words a dialog can answer with.
const WORDS: [&str; 7] =
    ["accept", "reject", "ban", "filter", "acceptWithAudio", "acceptWithAlert", "acceptWithForcePush"];

pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/sim/wechat/apps/{app_id}", put(put_app).get(get_app))
        .route("/sim/wechat/apps/{app_id}/subscribe", post(subscribe))
        .route("/sim/wechat/apps/{app_id}/change", post(change))
        .route("/sim/wechat/apps/{app_id}/verify", post(verify))
        .route("/sim/wechat/apps/{app_id}/received", get(received))
        .route("/sim/wechat/apps/{app_id}/grants", get(grants))
        .route("/sim/wechat/apps/{app_id}/calls", get(calls))
        .route("/sim/wechat/apps/{app_id}/callbacks", get(callbacks))
        .route("/sim/wechat/apps/{app_id}/windows", get(windows))
        .route("/sim/wechat/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/sim/reset", post(reset))
        .route("/sim/clock", get(clock))
}

/// Anything else: a problem below `/sim`, plain 404 where the platform is simulated.
pub(crate) async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/sim") {
        Problem::NotFound(format!("no such path: {}", uri.path())).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn read(body: Body) -> Result<axum::body::Bytes, Problem> {
    to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|_| Problem::TooLarge)
}

fn find(world: &World, app_id: &str) -> Result<Arc<App>, Problem> {
    world.app(app_id).ok_or_else(|| Problem::NotFound(format!("no app {app_id}")))
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

async fn put_app(State(world): Shared, Path(app_id): Path<String>, body: Body) -> Result<Response, Problem> {
    let config: AppConfig = parse(&read(body).await?)?;
    let mut errors = config.check();
    if !is_id(&app_id) {
        errors.push(FieldError::new("appid", "field_invalid", "letters, digits and _.- only"));
    }
    for (index, openid) in config.people.iter().enumerate().filter(|(_, openid)| !is_id(openid)) {
        errors.push(FieldError::new(format!("people[{index}]"), "field_invalid", format!("{openid} is no openid")));
    }
    if !errors.is_empty() {
        return Err(Problem::Fields(errors));
    }
    let (app, is_new) = world.app_or_new(&app_id);
    app.state().configure(config.clone());
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(config)).into_response())
}

async fn get_app(State(world): Shared, Path(app_id): Path<String>) -> Result<Json<Value>, Problem> {
    let app = find(&world, &app_id)?;
    Ok(Json(json!(&*app.config())))
}

/// What a person did in the dialog or in the settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    openid: String,
    #[serde(default)]
    results: BTreeMap<String, String>,
    #[serde(default = "yes")]
    push: bool,
}

fn yes() -> bool {
    true
}

impl Answers {
    fn check(&self, state: &AppState) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if !is_id(&self.openid) {
            errors.push(FieldError::new("openid", "field_invalid", "letters, digits and _.- only"));
        }
        for (template, word) in &self.results {
            let field = format!("results.{template}");
            if state.templates.get(template).is_none_or(|template| template.kind().is_none()) {
                errors.push(FieldError::new(&field, "template_unknown", "no subscription template of this app"));
            }
            if !WORDS.contains(&word.as_str()) {
                errors.push(FieldError::new(&field, "field_invalid", format!("one of {}", WORDS.join(" "))));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::Fields(errors)) }
    }

    fn answers(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        self.results.iter().filter(|(_, word)| wanted(word)).map(|(t, w)| (t.clone(), w.clone())).collect()
    }
}

/// Notes the person's answers in the truth; `apply` says what a word does to a grant.
fn answer(app: &App, answers: &Answers, apply: impl Fn(&mut crate::truth::Grant, &str)) -> Result<(), Problem> {
    let mut state = app.state();
    answers.check(&state)?;
    let AppState { templates, people, .. } = &mut *state;
    let Some(person) = people.meet(&answers.openid) else {
        return Ok(());
    };
    for (template, word) in &answers.results {
        if let Some(template) = templates.get(template)
            && let Some(kind) = template.kind()
            && let Some(grant) = person.answered(&template.id, kind)
        {
            apply(grant, word);
        }
    }
    Ok(())
}

async fn tell(world: &Arc<World>, app: &Arc<App>, openid: &str, content: Content, cause: &str) -> Json<Value> {
    let event = Event { openid: openid.into(), at: world.now(), content };
    let callback = world.deliveries.emit_and_wait(world, app, event, cause).await;
    Json(json!({"callback": callback}))
}

/// The dialog: an accept is one more consent, anything else gives none and takes none.
async fn subscribe(
    State(world): Shared,
    Path(app_id): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let app = find(&world, &app_id)?;
    let answers: Answers = parse(&read(body).await?)?;
    answer(&app, &answers, |grant, word| {
        if word.starts_with("accept") {
            grant.accept();
        }
    })?;
    // `filter` means that the template was not even shown.
    let shown = answers.answers(|word| word != "filter");
    if !answers.push || shown.is_empty() {
        return Ok(Json(json!({"callback": null})));
    }
    Ok(tell(&world, &app, &answers.openid, Content::Popup(shown), uri.path()).await)
}

/// The settings page: `reject` voids what is left until the next accept; only `reject` is pushed.
async fn change(
    State(world): Shared,
    Path(app_id): Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let app = find(&world, &app_id)?;
    let answers: Answers = parse(&read(body).await?)?;
    answer(&app, &answers, |grant, word| match word {
        "reject" | "ban" => grant.switch_off(),
        word if word.starts_with("accept") => grant.switch_on(),
        _ => {}
    })?;
    let rejected = answers.answers(|word| word == "reject");
    if !answers.push || rejected.is_empty() {
        return Ok(Json(json!({"callback": null})));
    }
    Ok(tell(&world, &app, &answers.openid, Content::Change(rejected), uri.path()).await)
}

async fn verify(State(world): Shared, Path(app_id): Path<String>) -> Result<Json<Value>, Problem> {
    let app = find(&world, &app_id)?;
    Ok(Json(world.deliveries.verify(&world, &app).await))
}

/// Where a page starts and how long it is.
fn paging(words: &HashMap<String, String>) -> Result<(usize, usize), Problem> {
    let limit = match words.get("limit") {
        None => PAGE_LENGTH,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE_LIMIT).contains(limit))
            .ok_or_else(|| Problem::field(FieldError::new("limit", "field_invalid", "1 to 1000")))?,
    };
    let from = match words.get("cursor") {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| Problem::field(FieldError::new("cursor", "field_invalid", "not a cursor")))?
        }
    };
    Ok((from, limit))
}

fn listed((items, next): (Vec<Value>, Option<usize>)) -> Json<Value> {
    Json(json!({"items": items, "next_cursor": next.map(|next| next.to_string())}))
}

async fn received(
    State(world): Shared,
    Path(app_id): Path<String>,
    Query(words): Words,
) -> Result<Json<Value>, Problem> {
    let (from, limit) = paging(&words)?;
    let app = find(&world, &app_id)?;
    let items = app.state().people.received_items(words.get("openid").map(String::as_str), from, limit);
    Ok(listed(items))
}

async fn grants(State(world): Shared, Path(app_id): Path<String>, Query(words): Words) -> Result<Json<Value>, Problem> {
    let (from, limit) = paging(&words)?;
    let app = find(&world, &app_id)?;
    let items = app.state().people.grant_items(words.get("openid").map(String::as_str), from, limit);
    Ok(listed(items))
}

async fn calls(State(world): Shared, Path(app_id): Path<String>, Query(words): Words) -> Result<Json<Value>, Problem> {
    let (from, limit) = paging(&words)?;
    let app = find(&world, &app_id)?;
    let items = app.state().calls.call_items(from, limit);
    Ok(listed(items))
}

async fn callbacks(
    State(world): Shared,
    Path(app_id): Path<String>,
    Query(words): Words,
) -> Result<Json<Value>, Problem> {
    let (from, limit) = paging(&words)?;
    let app = find(&world, &app_id)?;
    let items = app.state().callbacks.callback_items(from, limit);
    Ok(listed(items))
}

async fn windows(
    State(world): Shared,
    Path(app_id): Path<String>,
    Query(words): Words,
) -> Result<Json<Value>, Problem> {
    let (from, limit) = paging(&words)?;
    let app = find(&world, &app_id)?;
    let items = app.state().windows.items(world.now());
    let total = items.len();
    Ok(listed(page(items.into_iter(), total, from, limit, |item| item)))
}

async fn add_fault(State(world): Shared, body: Body) -> Result<Response, Problem> {
    let request: FaultRequest = parse(&read(body).await?)?;
    if !(0.0..=1.0).contains(&request.matches.probability) {
        return Err(Problem::field(FieldError::new("match.probability", "field_invalid", "0 to 1")));
    }
    if let crate::faults::Fault::Http { status } = request.fault
        && !(200..=599).contains(&status)
    {
        return Err(Problem::field(FieldError::new("fault.status", "field_invalid", "200 to 599")));
    }
    let id = world.faults().add(request);
    Ok((StatusCode::CREATED, Json(json!({"id": &*id}))).into_response())
}

async fn list_faults(State(world): Shared) -> Json<Value> {
    let items = world.faults().items();
    listed((items, None))
}

async fn clear_faults(State(world): Shared) -> StatusCode {
    world.faults().clear();
    StatusCode::NO_CONTENT
}

async fn reset(State(world): Shared) -> StatusCode {
    world.reset();
    StatusCode::NO_CONTENT
}

async fn clock(State(world): Shared) -> Json<Value> {
    let speed = world.clock.speed();
    // A whole speed is shown without a fraction, as the contract shows it.
    #[expect(clippy::cast_possible_truncation, reason = "whole and small, checked in the same line")]
    let speed = if speed.fract() == 0.0 && speed.abs() < 1e9 { json!(speed as i64) } else { json!(speed) };
    Json(json!({"now": world.now().to_string(), "speed": speed}))
}
