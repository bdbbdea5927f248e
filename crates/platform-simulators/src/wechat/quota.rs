//! Quota and diagnosis (reference A8).

use std::sync::Arc;

use serde_json::{Value, json};

use super::app::{App, beijing_day, beijing_month};
use super::call::{Answer, Call, Reply};
use super::codes::Refusal;
use super::{ENDPOINTS, SEND_PATH, token, with_token};
use crate::world::World;

const CLEARS_PER_MONTH: u64 = 10;

fn known_path(call: &Call) -> Result<&str, Refusal> {
    let path = call.posted()?.get("cgi_path").and_then(Value::as_str);
    path.filter(|path| ENDPOINTS.iter().any(|(known, _)| known == path)).ok_or_else(|| Refusal::of(76021))
}

/// `POST /cgi-bin/openapi/quota/get`. Of the app's windows the first of an hour or more is the daily quota, the first
/// shorter one the rate limit; without any, the app's `daily_quota`.
pub(super) fn get(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        let path = known_path(call)?;
        let mut state = app.state();
        let total = (state.config.daily_quota, state.sends_today.count(beijing_day(call.at)));
        let (limit, used) = match (path == SEND_PATH, state.windows.standing(call.at, true)) {
            (true, Some(window)) => (window.limit, window.used),
            (true, None) => total,
            (false, _) => (total.0, 0),
        };
        let mut body = json!({
            "errcode": 0, "errmsg": "ok",
            "quota": {"daily_limit": limit, "used": used, "remain": limit.saturating_sub(used)},
        });
        let rate = if path == SEND_PATH { state.windows.standing(call.at, false) } else { None };
        if let (Some(rate), Some(body)) = (rate, body.as_object_mut()) {
            body.insert("rate_limit".to_owned(), json!({"call_count": rate.limit, "refresh_second": rate.seconds}));
        }
        Ok(body)
    })
}

fn clear_all(app: &App, call: &Call) -> Result<Value, Refusal> {
    let mut state = app.state();
    let month = beijing_month(call.at);
    if state.quota_clears.count(month) >= CLEARS_PER_MONTH {
        return Err(Refusal::of(48006));
    }
    state.quota_clears.add(month);
    state.sends_today.clear();
    state.windows.clear(call.at);
    Ok(json!({"errcode": 0, "errmsg": "ok"}))
}

/// `POST /cgi-bin/clear_quota {"appid"}`.
pub(super) fn clear(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        if call.posted()?.get("appid").and_then(Value::as_str) != Some(&app.app_id) {
            return Err(Refusal::of(40013));
        }
        clear_all(app, call)
    })
}

/// `POST /cgi-bin/openapi/quota/clear {"cgi_path"}`.
pub(super) fn clear_path(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        known_path(call)?;
        clear_all(app, call)
    })
}

/// `POST /cgi-bin/clear_quota/v2 {"appid","appsecret"}`: for when no token can be had.
pub(super) fn clear_with_secret(world: &Arc<World>, call: &Call) -> Reply {
    let app = call.posted().and_then(|body| {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        token::identify(world, text("appid"), text("appsecret"))
    });
    match app {
        Ok(app) => {
            let answer = clear_all(&app, call).into();
            Reply { app: Some(app), answer, ..Reply::default() }
        }
        Err(refusal) => Reply { answer: Answer::Refused(refusal), ..Reply::default() },
    }
}

/// `POST /cgi-bin/openapi/rid/get`: request ids are not kept, so every one is unknown.
pub(super) fn rid(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |_| {
        call.posted()?;
        Err(Refusal::of(76001))
    })
}
