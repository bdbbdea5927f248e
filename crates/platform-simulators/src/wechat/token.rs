//! Access tokens (reference A7): `/cgi-bin/token`, `/cgi-bin/stable_token`, and whether a token is still good.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::app::{App, beijing_day, minute};
use super::call::{Answer, Call, Reply};
use super::codes::Refusal;
use crate::truth::Tally;
use crate::world::World;

const LIFE_SECONDS: i64 = 7200;
/// A replaced token works this long; a stable one is renewed when it has no more than this left.
const OVERLAP_SECONDS: i64 = 300;
const FORCE_GAP_SECONDS: i64 = 30;
const FORCES_PER_DAY: u64 = 20;
const STABLE_PER_MINUTE: u64 = 10_000;
const STABLE_PER_DAY: u64 = 500_000;
/// Dead tokens are remembered this long, to be called expired or replaced; then they are unknown.
const REMEMBERED_SECONDS: i64 = 24 * 3600;
const TOKEN_LENGTH: usize = 136;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Stable,
}

#[derive(Debug)]
struct Token {
    value: String,
    kind: Kind,
    expires_at: Timestamp,
    /// Set when it was replaced or revoked: from then on it is invalid, not expired.
    ended_at: Option<Timestamp>,
    /// What normal mode of `stable_token` returns.
    current: bool,
}

/// All tokens of one app.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: Vec<Token>,
    plain_today: Tally,
    stable_minute: Tally,
    stable_today: Tally,
    forced_today: Tally,
    last_forced: Option<Timestamp>,
}

/// A token as the caller gets it.
struct Issued {
    value: String,
    expires_in: i64,
    is_new: bool,
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

impl Tokens {
    /// Whether calls with this token are let in.
    fn check(&self, value: &str, now: Timestamp) -> Result<(), Refusal> {
        let token = self.issued.iter().rev().find(|token| token.value == value).ok_or_else(|| Refusal::of(40014))?;
        if token.ended_at.is_some_and(|ended| ended <= now) {
            return Err(Refusal::of(40001));
        }
        if token.expires_at <= now {
            return Err(Refusal::of(42001));
        }
        Ok(())
    }

    /// Every call makes a new one; the one before lives on for five minutes.
    fn issue_plain(&mut self, value: String, now: Timestamp) -> Issued {
        let end = later(now, OVERLAP_SECONDS);
        for token in self.issued.iter_mut().filter(|token| token.kind == Kind::Plain && token.ended_at.is_none()) {
            token.ended_at = Some(end);
        }
        self.issue(value, Kind::Plain, now)
    }

    /// Normal mode returns the current token as long as it has more than five minutes left.
    fn issue_stable(&mut self, value: String, force: bool, now: Timestamp) -> Issued {
        let day = beijing_day(now);
        let current = self.issued.iter_mut().find(|token| token.kind == Kind::Stable && token.current);
        let rested =
            self.last_forced.is_none_or(|at| now.duration_since(at) >= SignedDuration::from_secs(FORCE_GAP_SECONDS));
        let force = force && rested && self.forced_today.count(day) < FORCES_PER_DAY;
        if let Some(token) = current {
            let left = token.expires_at.duration_since(now).as_secs();
            if !force && left > OVERLAP_SECONDS {
                return Issued { value: token.value.clone(), expires_in: left, is_new: false };
            }
            token.current = false;
            if force {
                token.ended_at = Some(now);
            }
        }
        if force {
            self.last_forced = Some(now);
            self.forced_today.add(day);
        }
        self.issue(value, Kind::Stable, now)
    }

    fn issue(&mut self, value: String, kind: Kind, now: Timestamp) -> Issued {
        let expires_at = later(now, LIFE_SECONDS);
        self.issued.push(Token {
            value: value.clone(),
            kind,
            expires_at,
            ended_at: None,
            current: kind == Kind::Stable,
        });
        Issued { value, expires_in: LIFE_SECONDS, is_new: true }
    }

    /// Voids every token at once. When `sticky`, normal mode does not notice.
    pub(crate) fn revoke(&mut self, now: Timestamp, sticky: bool) {
        for token in &mut self.issued {
            token.ended_at = Some(token.ended_at.map_or(now, |ended| ended.min(now)));
            token.current &= sticky;
        }
    }

    /// Tokens that died long ago.
    fn forget(&mut self, now: Timestamp) -> Vec<String> {
        let dead = |token: &Token| later(token.expires_at, REMEMBERED_SECONDS) <= now;
        let (old, kept) = std::mem::take(&mut self.issued).into_iter().partition(dead);
        self.issued = kept;
        old.into_iter().map(|token: Token| token.value).collect()
    }
}

/// The app behind the call's token.
pub(crate) fn authorise(world: &World, call: &Call) -> Result<Arc<App>, Refusal> {
    let token = call.token().filter(|token| !token.is_empty()).ok_or_else(|| Refusal::of(41001))?;
    let app = world.token_owner(token).ok_or_else(|| Refusal::of(40014))?;
    app.state().tokens.check(token, call.at)?;
    Ok(app)
}

/// The app that an id and a secret name.
pub(crate) fn identify(world: &World, app_id: Option<&str>, secret: Option<&str>) -> Result<Arc<App>, Refusal> {
    let app = app_id.and_then(|id| world.app(id)).ok_or_else(|| Refusal::of(40013))?;
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or_else(|| Refusal::of(41004))?;
    if app.config().secret == secret { Ok(app) } else { Err(Refusal::of(40125)) }
}

fn admit(app: &App, call: &Call) -> Result<(), Refusal> {
    let config = app.config();
    if let Some(code) = config.blocked.token {
        return Err(Refusal::of(code));
    }
    let peer = call.peer.map_or_else(|| "127.0.0.1".to_owned(), |peer| peer.to_string());
    match &config.ip_whitelist {
        Some(list) if !list.contains(&peer) => {
            Err(Refusal::saying(40164, format!("invalid ip {peer} ipv6 ::ffff:{peer}, not in whitelist")))
        }
        _ => Ok(()),
    }
}

fn reply(app: Result<Arc<App>, Refusal>, decide: impl FnOnce(&Arc<App>) -> Result<Value, Refusal>) -> Reply {
    match app {
        Ok(app) => {
            let answer = decide(&app).into();
            Reply { app: Some(app), answer, ..Reply::default() }
        }
        Err(refusal) => Reply { answer: Answer::Refused(refusal), ..Reply::default() },
    }
}

fn grant_type(given: Option<&str>) -> Result<(), Refusal> {
    if given == Some("client_credential") { Ok(()) } else { Err(Refusal::of(40002)) }
}

/// `GET /cgi-bin/token`.
pub(super) fn plain(world: &Arc<World>, call: &Call) -> Reply {
    let app = call
        .must_be_get()
        .and_then(|()| grant_type(call.query("grant_type")))
        .and_then(|()| identify(world, call.query("appid"), call.query("secret")));
    reply(app, |app| {
        admit(app, call)?;
        hand_out(world, app, call.at, |tokens, limit, value| {
            if tokens.plain_today.add(beijing_day(call.at)) > limit {
                return Err(Refusal::of(45009));
            }
            Ok(tokens.issue_plain(value, call.at))
        })
    })
}

/// `POST /cgi-bin/stable_token`.
pub(super) fn stable(world: &Arc<World>, call: &Call) -> Reply {
    let text = |name: &str| call.posted().ok().and_then(|body| body.get(name)).and_then(Value::as_str);
    let app = call
        .posted()
        .and_then(|_| grant_type(text("grant_type")))
        .and_then(|()| identify(world, text("appid"), text("secret")));
    reply(app, |app| {
        admit(app, call)?;
        let force = match call.posted()?.get("force_refresh") {
            None => false,
            Some(Value::Bool(force)) => *force,
            Some(_) => return Err(Refusal::of(47001)),
        };
        hand_out(world, app, call.at, |tokens, _, value| {
            if tokens.stable_minute.add(minute(call.at)) > STABLE_PER_MINUTE {
                return Err(Refusal::of(45011));
            }
            if tokens.stable_today.add(beijing_day(call.at)) > STABLE_PER_DAY {
                return Err(Refusal::of(45009));
            }
            Ok(tokens.issue_stable(value, force, call.at))
        })
    })
}

fn hand_out(
    world: &World,
    app: &Arc<App>,
    now: Timestamp,
    issue: impl FnOnce(&mut Tokens, u64, String) -> Result<Issued, Refusal>,
) -> Result<Value, Refusal> {
    let value = world.random_text(TOKEN_LENGTH);
    let (issued, dead) = {
        let mut state = app.state();
        let limit = state.config.token_daily_limit;
        let dead = state.tokens.forget(now);
        (issue(&mut state.tokens, limit, value)?, dead)
    };
    world.register_tokens(app, issued.is_new.then(|| issued.value.clone()), &dead);
    Ok(json!({"access_token": issued.value, "expires_in": issued.expires_in}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn code(tokens: &Tokens, value: &str, seconds: i64) -> i64 {
        tokens.check(value, at(seconds)).err().map_or(0, |refusal| refusal.code)
    }

    #[test]
    fn a_plain_token_replaces_the_one_before_after_five_minutes() {
        let mut tokens = Tokens::default();
        tokens.issue_plain("a".into(), at(0));
        tokens.issue_plain("b".into(), at(100));
        assert_eq!([code(&tokens, "a", 399), code(&tokens, "a", 400)], [0, 40001]);
        assert_eq!([code(&tokens, "b", 7299), code(&tokens, "b", 7300), code(&tokens, "c", 0)], [0, 42001, 40014]);
    }

    #[test]
    fn stable_normal_mode_renews_in_the_last_five_minutes_and_overlaps() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.issue_stable("a".into(), false, at(0)).value, "a");
        let again = tokens.issue_stable("b".into(), false, at(6_899));
        assert_eq!((again.value.as_str(), again.expires_in), ("a", 301));
        let renewed = tokens.issue_stable("c".into(), false, at(6_900));
        assert_eq!((renewed.value.as_str(), renewed.expires_in), ("c", 7200));
        assert_eq!([code(&tokens, "a", 7_199), code(&tokens, "a", 7_200)], [0, 42001]);
    }

    #[test]
    fn forcing_is_limited_and_voids_the_old_one_at_once() {
        let mut tokens = Tokens::default();
        tokens.issue_stable("a".into(), false, at(0));
        assert_eq!(tokens.issue_stable("b".into(), true, at(1)).value, "b");
        assert_eq!(code(&tokens, "a", 1), 40001);
        assert_eq!(tokens.issue_stable("c".into(), true, at(30)).value, "b");
        assert_eq!(tokens.issue_stable("d".into(), true, at(31)).value, "d");
        for n in 2..20 {
            assert!(tokens.issue_stable(format!("e{n}"), true, at(31 + 30 * n)).is_new);
        }
        assert!(!tokens.issue_stable("f".into(), true, at(31 + 30 * 20)).is_new);
    }

    #[test]
    fn both_kinds_are_apart_and_revoking_hits_both() {
        let mut tokens = Tokens::default();
        tokens.issue_stable("s".into(), false, at(0));
        tokens.issue_plain("p".into(), at(0));
        tokens.issue_plain("q".into(), at(0));
        assert_eq!(code(&tokens, "s", 1000), 0);
        tokens.issue_stable("t".into(), true, at(1000));
        assert_eq!(code(&tokens, "q", 1000), 0);
        tokens.revoke(at(2000), true);
        assert_eq!([code(&tokens, "q", 2000), code(&tokens, "t", 2000)], [40001, 40001]);
        assert_eq!(tokens.issue_stable("u".into(), false, at(2000)).value, "t");
        assert_eq!(tokens.issue_stable("v".into(), true, at(2001)).value, "v");
        tokens.revoke(at(3000), false);
        assert_eq!(tokens.issue_stable("w".into(), false, at(3000)).value, "w");
    }
}
