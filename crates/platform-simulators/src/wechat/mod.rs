//! The simulated server API of WeChat's mini programs.
//!
//! Every call takes the same way: read, meet the faults set for it, be decided at once under the app's lock, be
//! logged, then be answered after the latency that the platform takes. So the truth never depends on whether the
//! client waited for the answer.

pub(crate) mod app;
pub(crate) mod call;
pub(crate) mod codes;
pub mod config;
pub mod crypto;
pub(crate) mod event;
pub mod fields;
mod library;
mod quota;
mod send;
mod template;
mod token;
pub mod windows;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use self::app::App;
use self::call::{Answer, Call, Reply};
use self::codes::Refusal;
use crate::faults::{CallPlan, Instead};
use crate::truth::CallRecord;
use crate::world::World;

/// The one call that quotas are about.
pub(crate) const SEND_PATH: &str = "/cgi-bin/message/subscribe/send";

/// The longest a hanging call hangs when its client does not give up.
const HANG_SECONDS: u64 = 120;

type Endpoint = fn(&Arc<World>, &Call) -> Reply;

/// Every path of the platform that is simulated.
pub(crate) const ENDPOINTS: [(&str, Endpoint); 16] = [
    ("/cgi-bin/token", token::plain),
    ("/cgi-bin/stable_token", token::stable),
    (SEND_PATH, send::send),
    ("/cgi-bin/message/template/send", retired),
    ("/cgi-bin/message/wxopen/template/send", retired),
    ("/cgi-bin/openapi/quota/get", quota::get),
    ("/cgi-bin/openapi/quota/clear", quota::clear_path),
    ("/cgi-bin/clear_quota", quota::clear),
    ("/cgi-bin/clear_quota/v2", quota::clear_with_secret),
    ("/wxaapi/newtmpl/getcategory", template::categories),
    ("/wxaapi/newtmpl/getpubtemplatetitles", template::titles),
    ("/wxaapi/newtmpl/getpubtemplatekeywords", template::keywords),
    ("/wxaapi/newtmpl/addtemplate", template::add),
    ("/wxaapi/newtmpl/gettemplate", template::list),
    ("/wxaapi/newtmpl/deltemplate", template::delete),
    ("/cgi-bin/openapi/rid/get", quota::rid),
];

pub(crate) fn router() -> Router<Arc<World>> {
    ENDPOINTS.into_iter().fold(Router::new(), |router, (path, endpoint)| {
        // Every method is taken: the wrong one is refused in the platform's words, not by HTTP.
        router.route(
            path,
            any(move |State(world): State<Arc<World>>, request: Request| handle(world, path, endpoint, request)),
        )
    })
}

async fn handle(world: Arc<World>, path: &'static str, endpoint: Endpoint, request: Request) -> Response {
    let mut call = match Call::read(path, request, world.now()).await {
        Ok(call) => call,
        Err(refusal) => return Answer::Refused(refusal).into_response(&world),
    };
    let mut plan = world.plan_call(path, call.openid());
    if plan.delay_before_milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(plan.delay_before_milliseconds)).await;
        call.at = world.now();
    }
    if let Some(revoke) = plan.revoke
        && let Some(app) = call.token().and_then(|token| world.token_owner(token))
    {
        app.state().tokens.revoke(call.at, revoke.sticky);
    }
    if let Some(instead) = plan.instead.take() {
        return answer_instead(&world, &call, plan, instead).await;
    }
    let reply = endpoint(&world, &call);
    finish(&world, &call, plan, reply).await
}

/// A decided call: log it, tell the callback, wait as long as the platform takes, answer.
async fn finish(world: &Arc<World>, call: &Call, plan: CallPlan, mut reply: Reply) -> Response {
    if let Some(app) = &reply.app {
        let errcode = if plan.hang || plan.cut { None } else { Some(reply.answer.errcode()) };
        log(app, call, errcode, &plan);
        if let Some(event) = reply.event.take() {
            world.deliveries.emit(world, app, event);
        }
    }
    let wait = reply.latency + Duration::from_millis(plan.delay_after_milliseconds);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    drop(reply.hold.take());
    if plan.hang {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(HANG_SECONDS)) => {}
            () = world.closed() => {}
        }
    }
    if plan.hang || plan.cut { cut() } else { reply.answer.into_response(world) }
}

/// A fault answers instead of the platform. The call reached the API all the same, so it counts in the windows.
async fn answer_instead(world: &Arc<World>, call: &Call, plan: CallPlan, instead: Instead) -> Response {
    if let Some(app) = call.token().and_then(|token| world.token_owner(token)) {
        if call.path == SEND_PATH && token::authorise(world, call).is_ok() {
            // Whether it would have fitted does not matter here.
            let _ = app.state().arrive(call.at);
        }
        let errcode = if let Instead::Errcode(code, _) = instead { Some(code) } else { None };
        log(&app, call, errcode, &plan);
    }
    if plan.delay_after_milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(plan.delay_after_milliseconds)).await;
    }
    match instead {
        Instead::Errcode(0, _) => Answer::default().into_response(world),
        Instead::Errcode(code, Some(message)) => Answer::Refused(Refusal::saying(code, message)).into_response(world),
        Instead::Errcode(code, None) => Answer::Refused(Refusal::of(code)).into_response(world),
        Instead::Http(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, status.canonical_reason().unwrap_or("")).into_response()
        }
        Instead::Disconnect => cut(),
    }
}

fn log(app: &Arc<App>, call: &Call, errcode: Option<i64>, plan: &CallPlan) {
    let record = CallRecord {
        at: call.at,
        path: call.path,
        openid: call.openid().map(Arc::from),
        errcode,
        fault: plan.fault.clone(),
    };
    app.state().calls.push(record);
}

/// A response whose body fails before the first byte: hyper then closes the connection without sending anything.
fn cut() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
    Response::new(Body::from_stream(broken))
}

/// The calls that subscription messages replaced.
fn retired(world: &Arc<World>, call: &Call) -> Reply {
    match token::authorise(world, call) {
        Ok(app) => Reply { app: Some(app), answer: Answer::Refused(Refusal::of(45109)), ..Reply::default() },
        Err(refusal) => Reply { answer: Answer::Refused(refusal), ..Reply::default() },
    }
}

/// An endpoint that needs a token and has no more to say than its body.
fn with_token(
    world: &Arc<World>,
    call: &Call,
    decide: impl FnOnce(&Arc<App>) -> Result<serde_json::Value, Refusal>,
) -> Reply {
    match token::authorise(world, call) {
        Ok(app) => {
            let answer = decide(&app).into();
            Reply { app: Some(app), answer, ..Reply::default() }
        }
        Err(refusal) => {
            let app = call.token().and_then(|token| world.token_owner(token));
            Reply { app, answer: Answer::Refused(refusal), ..Reply::default() }
        }
    }
}
