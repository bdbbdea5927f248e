//! `POST /cgi-bin/message/subscribe/send` (reference A1 to A3): every check, in the order the platform would make it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::app::{App, AppState, Template};
use super::call::{Answer, Call, Hold, Reply};
use super::codes::Refusal;
use super::config::{AppConfig, LongTermLimit, Period};
use super::event::Event;
use super::fields::{self, Broken};
use super::token;
use crate::truth::{Kind, Received};
use crate::world::World;

/// A send whose shape is right; whether it may go is still open.
struct Request<'a> {
    openid: &'a str,
    template: &'a str,
    page: Option<&'a str>,
    data: &'a Map<String, Value>,
}

/// What is left to do outside the app's lock.
struct Decided {
    outcome: Result<u64, Refusal>,
    template: Option<Arc<str>>,
    holds: bool,
}

impl Decided {
    fn refused(refusal: Refusal) -> Self {
        Self { outcome: Err(refusal), template: None, holds: false }
    }
}

pub(super) fn send(world: &Arc<World>, call: &Call) -> Reply {
    let app = match token::authorise(world, call) {
        Ok(app) => app,
        Err(refusal) => {
            let app = call.token().and_then(|token| world.token_owner(token));
            return Reply { app, answer: Answer::Refused(refusal), ..Reply::default() };
        }
    };
    let mut decided = decide(world, &app, call);
    let config = app.config();
    let openid = call.openid().unwrap_or_default();
    let hold = decided.holds.then(|| Hold::of(&app, openid));
    if matches!(&decided.outcome, Err(refusal) if refusal.code == 40003) && lives_elsewhere(world, &app, openid) {
        decided.outcome = Err(Refusal::of(43104));
    }
    let event = match (&decided.outcome, decided.template) {
        (Ok(message_id), Some(template)) if config.sent_events && config.callback.is_some() => {
            Some(Event::sent(openid, &template, *message_id, call.at))
        }
        _ => None,
    };
    let answer = decided.outcome.map(|id| json!({"errcode": 0, "errmsg": "ok", "msgid": id})).into();
    let latency = Duration::from_millis(if hold.is_some() { config.latency_milliseconds } else { 0 });
    Reply { app: Some(app), answer, hold, latency, event }
}

/// Whether another app knows this openid: openids are per app, so a mix-up of apps shows here.
fn lives_elsewhere(world: &World, own: &App, openid: &str) -> bool {
    !openid.is_empty() && world.apps().iter().any(|app| app.app_id != own.app_id && app.state().people.knows(openid))
}

fn decide(world: &World, app: &Arc<App>, call: &Call) -> Decided {
    let mut state = app.state();
    let entered = state.arrive(call.at).and_then(|()| call.posted()).and_then(|body| {
        state.config.blocked.send.map_or(Ok(()), |code| Err(Refusal::of(code)))?;
        Request::parse(body)
    });
    let request = match entered {
        Ok(request) => request,
        Err(refusal) => return Decided::refused(refusal),
    };
    if let Err(refusal) = check_person(&mut state, request.openid) {
        return Decided::refused(refusal);
    }
    if !state.in_flight.insert(request.openid.to_owned()) {
        return Decided::refused(Refusal::of(43108));
    }
    match check_content(&state, &request) {
        Ok(template) => {
            let outcome = deliver(world, &mut state, &request, &template, call.at);
            Decided { outcome, template: Some(Arc::clone(&template.id)), holds: true }
        }
        Err(refusal) => Decided { outcome: Err(refusal), template: None, holds: true },
    }
}

impl<'a> Request<'a> {
    fn parse(body: &'a Map<String, Value>) -> Result<Self, Refusal> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let openid = text("touser").ok_or_else(|| Refusal::of(40003))?;
        let template = text("template_id").ok_or_else(|| Refusal::of(40037))?;
        let page = match body.get("page") {
            None | Some(Value::Null) => None,
            Some(Value::String(page)) => Some(page.as_str()).filter(|page| !page.is_empty()),
            Some(_) => return Err(Refusal::of(41030)),
        };
        one_of(body, "miniprogram_state", &["developer", "trial", "formal"])?;
        one_of(body, "lang", &["zh_CN", "en_US", "zh_HK", "zh_TW"])?;
        let data = match body.get("data") {
            Some(Value::Object(data)) => data,
            None | Some(Value::Null) => return Err(Refusal::argument("data", "is empty")),
            Some(_) => return Err(Refusal::argument("data", "invalid")),
        };
        Ok(Self { openid, template, page, data })
    }
}

/// An optional argument with listed values.
fn one_of(body: &Map<String, Value>, name: &str, allowed: &[&str]) -> Result<(), Refusal> {
    match body.get(name) {
        None => Ok(()),
        Some(Value::String(given)) if allowed.contains(&given.as_str()) => Ok(()),
        Some(_) => Err(Refusal::argument(name, "invalid")),
    }
}

fn check_person(state: &mut AppState, openid: &str) -> Result<(), Refusal> {
    let well_formed =
        openid.len() <= 128 && openid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if !well_formed {
        return Err(Refusal::of(40003));
    }
    if state.config.accept_unknown_openids {
        state.people.meet(openid);
    }
    if !state.people.knows(openid) {
        return Err(Refusal::of(40003));
    }
    if state.blacklist.contains(openid) {
        return Err(Refusal::of(43019));
    }
    Ok(())
}

fn check_content(state: &AppState, request: &Request<'_>) -> Result<Arc<Template>, Refusal> {
    let template = state.templates.get(request.template).ok_or_else(|| Refusal::of(40037))?;
    if let Some(code) = template.config.banned {
        return Err(Refusal::of(code));
    }
    if template.kind().is_none() {
        return Err(Refusal::of(43102));
    }
    check_page(&state.config, request.page)?;
    check_data(&state.config, template, request.data)?;
    Ok(Arc::clone(template))
}

fn check_page(config: &AppConfig, page: Option<&str>) -> Result<(), Refusal> {
    let (Some(pages), Some(page)) = (&config.pages, page) else {
        return Ok(());
    };
    let path = page.split_once('?').map_or(page, |(path, _)| path);
    if pages.iter().any(|known| known == path) { Ok(()) } else { Err(Refusal::of(41030)) }
}

fn check_data(config: &AppConfig, template: &Template, data: &Map<String, Value>) -> Result<(), Refusal> {
    let mut sensitive = false;
    for (key, kind) in &template.fields {
        let value = value_of(data, key)?;
        fields::check(*kind, value, template.config.values_of(key), config.allow_emoji).map_err(
            |broken| match broken {
                Broken::Empty => Refusal::argument(&format!("data.{key}.value"), "is empty"),
                Broken::Invalid => Refusal::argument(&format!("data.{key}.value"), "invalid"),
            },
        )?;
        sensitive |= config.sensitive_words.iter().any(|word| !word.is_empty() && value.contains(word.as_str()));
    }
    if config.strict_fields
        && let Some(extra) = data.keys().find(|key| !template.fields.iter().any(|(known, _)| known == *key))
    {
        return Err(Refusal::argument(&format!("data.{extra}.value"), "invalid"));
    }
    if sensitive { Err(Refusal::of(45168)) } else { Ok(()) }
}

/// `{"value": "<string>"}` below the key.
fn value_of<'a>(data: &'a Map<String, Value>, key: &str) -> Result<&'a str, Refusal> {
    let field = format!("data.{key}.value");
    match data.get(key) {
        None | Some(Value::Null) => Err(Refusal::argument(&field, "is empty")),
        Some(Value::Object(inner)) => match inner.get("value") {
            None | Some(Value::Null) => Err(Refusal::argument(&field, "is empty")),
            Some(Value::String(value)) => Ok(value),
            Some(_) => Err(Refusal::argument(&field, "invalid")),
        },
        Some(_) => Err(Refusal::argument(&field, "invalid")),
    }
}

/// Takes the consent that pays, and writes the message down as received.
fn deliver(
    world: &World,
    state: &mut AppState,
    request: &Request<'_>,
    template: &Template,
    now: Timestamp,
) -> Result<u64, Refusal> {
    let default = LongTermLimit { per: Period::Day, limit: state.config.long_term_daily_limit };
    let limit = template.config.long_term_limit.unwrap_or(default);
    let kind = template.kind().ok_or_else(|| Refusal::of(43102))?;
    let person = state.people.get(request.openid).ok_or_else(|| Refusal::of(40003))?;
    let openid = Arc::clone(&person.openid);
    let usable = |grant: &&mut crate::truth::Grant| grant.kind == kind && grant.left > 0 && !grant.off;
    let grant = person.grant(request.template).filter(usable).ok_or_else(|| Refusal::of(43101))?;
    match kind {
        Kind::OneTime => grant.left -= 1,
        Kind::LongTerm => {
            let period = limit.period(now);
            if grant.sent.count(period) >= limit.limit {
                return Err(Refusal::of(40038));
            }
            grant.sent.add(period);
        }
    }
    let message_id = world.next_message_id();
    state.windows.accept(now);
    state.people.receive(Received {
        at: now,
        openid,
        template: Arc::clone(&template.id),
        message_id,
        data: Value::Object(request.data.clone()).to_string().into(),
        page: request.page.map(Into::into),
        grant: kind,
    });
    Ok(message_id)
}
