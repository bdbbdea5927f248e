//! A platform's access token: shared by all functions, refreshed by one at a time.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time::{plus_milliseconds, plus_seconds};

/// How long one refresher has before another may try, in milliseconds: longer than the token call's time-out.
pub const REFRESH_LEASE_MILLISECONDS: i64 = 10_000;

/// Two forced refreshes are at least this far apart, in seconds (platforms.md A7).
pub const FORCE_APART_SECONDS: i64 = 30;

/// Forced refreshes in a day at the most. The platform allows 20 (platforms.md A7), and people may force some by hand.
pub const FORCES_A_DAY: u8 = 15;

/// A token's text, which no log shows.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AccessToken(String);

impl AccessToken {
    /// The text itself, for the one who calls the platform with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

/// What a function does that needs a token and leaves fetching to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Borrowed {
    /// Use it.
    Use(AccessToken),
    /// Store this state, which tells the other that its token is refused; then try again later.
    Tell(TokenState),
    /// Try again later.
    Later,
}

/// What is stored of a channel's token.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenState {
    /// The token; empty before the first fetch.
    #[serde(rename = "a", default)]
    pub access_token: AccessToken,
    /// When the platform stops taking it, in seconds of the epoch.
    #[serde(rename = "e", default)]
    pub expires_at: i64,
    /// When it should be fetched anew, in seconds of the epoch.
    #[serde(rename = "r", default)]
    pub refresh_at: i64,
    /// When the refresher's lease ends, in milliseconds of the epoch.
    #[serde(rename = "l", default)]
    pub leased_until: i64,
    /// When it was last fetched by force, in seconds of the epoch.
    #[serde(rename = "f", default)]
    pub forced_at: i64,
    /// The day that forced fetches were last counted in, in days of the epoch, and how many there were.
    #[serde(rename = "n", default)]
    pub forces: (i64, u8),
    /// Why the last fetch failed, if it did.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub failed_because: Option<String>,
    /// Whether the platform refused it to a function that may not fetch another.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
}

/// What a function that needs a token does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenStep {
    /// Use it.
    Use(AccessToken),
    /// Store this state, which takes the lease; then fetch a token, by force where said, and store it.
    Fetch {
        /// The state that takes the lease.
        leased: TokenState,
        /// Whether the platform must be made to give out a new token.
        force: bool,
    },
    /// Somebody else fetches one: look again then.
    Wait {
        /// When to look again.
        until: Timestamp,
    },
}

impl TokenState {
    /// Decides what a function does that needs a token at `now`. `rejected` is the token that the platform just refused,
    /// if it did.
    #[must_use]
    pub fn step(&self, rejected: Option<&str>, now: Timestamp) -> TokenStep {
        let is_rejected = rejected == Some(self.access_token.expose());
        let is_usable = !self.access_token.expose().is_empty() && now.as_second() < self.expires_at && !is_rejected;
        let is_leased = now.as_millisecond() < self.leased_until;
        if is_usable && (now.as_second() < self.refresh_at || is_leased) {
            return TokenStep::Use(self.access_token.clone());
        }
        if is_leased {
            return TokenStep::Wait { until: plus_milliseconds(now, 100) };
        }
        // Normal mode first: it returns the platform's current token. Only when that is the rejected one is it forced.
        let forced_today = if self.forces.0 == day(now) { self.forces.1 } else { 0 };
        let may_force = forced_today < FORCES_A_DAY && now.as_second() >= self.forced_at + FORCE_APART_SECONDS;
        let force = is_rejected && self.refresh_at == 0 && may_force;
        let leased = Self {
            leased_until: plus_milliseconds(now, REFRESH_LEASE_MILLISECONDS).as_millisecond(),
            forced_at: if force { now.as_second() } else { self.forced_at },
            forces: if force { (day(now), forced_today + 1) } else { self.forces },
            ..self.clone()
        };
        TokenStep::Fetch { leased, force }
    }

    /// Decides what a function does that needs a token at `now` and leaves fetching to another; `rejected` as in
    /// [`TokenState::step`].
    #[must_use]
    pub fn borrow(&self, rejected: Option<&str>, now: Timestamp) -> Borrowed {
        let is_there = !self.access_token.expose().is_empty() && now.as_second() < self.expires_at;
        if !is_there || self.is_refused {
            Borrowed::Later
        } else if rejected == Some(self.access_token.expose()) {
            Borrowed::Tell(Self { is_refused: true, ..self.clone() })
        } else {
            Borrowed::Use(self.access_token.clone())
        }
    }

    /// The state after a fetch; `rejected` as in [`TokenState::step`].
    ///
    /// A token that was rejected and came back again is kept, marked so that the next step forces a new one.
    #[must_use]
    pub fn fetched(&self, token: &str, expires_in_seconds: u32, rejected: Option<&str>, now: Timestamp) -> Self {
        let expires_in = i64::from(expires_in_seconds);
        // 5 minutes before the end, at 80 % of its life at the latest (platforms.md A7).
        let refresh_in = (expires_in - 300).min(expires_in * 4 / 5).max(1);
        let same_again = rejected == Some(token);
        Self {
            access_token: AccessToken(token.to_owned()),
            expires_at: plus_seconds(now, expires_in).as_second(),
            refresh_at: if same_again { 0 } else { plus_seconds(now, refresh_in).as_second() },
            leased_until: 0,
            forced_at: self.forced_at,
            forces: self.forces,
            failed_because: None,
            is_refused: same_again,
        }
    }

    /// The state after a fetch failed: the next one may try.
    #[must_use]
    pub fn not_fetched(&self, because: String) -> Self {
        Self { leased_until: 0, failed_because: Some(because), ..self.clone() }
    }
}

/// The platform's day, which is counted in China (UTC+8).
fn day(now: Timestamp) -> i64 {
    (now.as_second() + 8 * 3_600).div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn usable(token: &str) -> TokenStep {
        TokenStep::Use(AccessToken(token.to_owned()))
    }

    #[test]
    fn debug_prints_nothing_of_it() {
        let state = TokenState::default().fetched("the-token", 7_200, None, at(0));
        assert!(!format!("{state:?} {:?}", state.step(None, at(1))).contains("the-token"));
    }

    #[test]
    fn a_failed_fetch_is_noted_until_one_succeeds() {
        let state = TokenState::default().not_fetched("40164 invalid ip".to_owned());
        assert_eq!(state.failed_because.as_deref(), Some("40164 invalid ip"));
        assert!(matches!(state.step(None, at(0)), TokenStep::Fetch { .. }), "the next one may try");
        assert_eq!(state.fetched("t1", 7_200, None, at(1)).failed_because, None);
    }

    #[test]
    fn a_refusal_is_told_to_the_one_that_fetches_until_another_token_is_there() {
        assert_eq!(TokenState::default().borrow(None, at(0)), Borrowed::Later);
        let state = TokenState::default().fetched("t1", 7_200, None, at(0));
        let t1 = AccessToken("t1".to_owned());
        assert_eq!(state.borrow(None, at(7_199)), Borrowed::Use(t1.clone()), "also when it is old");
        assert_eq!(state.borrow(Some("t0"), at(1)), Borrowed::Use(t1), "another was refused");
        assert_eq!(state.borrow(None, at(7_200)), Borrowed::Later);
        let Borrowed::Tell(told) = state.borrow(Some("t1"), at(1)) else { panic!() };
        assert_eq!(told.borrow(None, at(2)), Borrowed::Later);
        let same = told.fetched("t1", 7_200, Some("t1"), at(3));
        assert_eq!(same.borrow(None, at(4)), Borrowed::Later, "the platform gave the same again");
        let TokenStep::Fetch { leased, force: true } = same.step(Some("t1"), at(40)) else { panic!() };
        let other = leased.fetched("t2", 7_200, Some("t1"), at(41));
        assert_eq!(other.borrow(None, at(42)), Borrowed::Use(AccessToken("t2".to_owned())));
    }

    #[test]
    fn one_fetches_and_the_others_wait_or_use_what_is_still_good() {
        let empty = TokenState::default();
        let TokenStep::Fetch { leased, force: false } = empty.step(None, at(0)) else { panic!() };
        assert!(matches!(leased.step(None, at(1)), TokenStep::Wait { .. }));
        assert!(matches!(leased.step(None, at(11)), TokenStep::Fetch { .. }), "a dead refresher is replaced");
        let state = leased.fetched("t1", 7_200, None, at(1));
        assert_eq!(state.step(None, at(5_000)), usable("t1"));
        let TokenStep::Fetch { leased, .. } = state.step(None, at(6_000)) else { panic!("80 % of its life is over") };
        assert_eq!(leased.step(None, at(6_001)), usable("t1"), "others go on with the old one meanwhile");
    }

    #[test]
    fn a_rejected_token_is_fetched_normally_and_forced_only_when_it_comes_back() {
        let state = TokenState::default().fetched("t1", 7_200, None, at(0));
        let TokenStep::Fetch { leased, force } = state.step(Some("t1"), at(10)) else { panic!() };
        assert!(!force);
        assert_eq!(leased.fetched("t2", 7_200, Some("t1"), at(11)).step(Some("t1"), at(12)), usable("t2"));
        let same = leased.fetched("t1", 7_000, Some("t1"), at(11));
        let TokenStep::Fetch { leased, force } = same.step(Some("t1"), at(12)) else { panic!() };
        assert!(force);
        let again = leased.fetched("t1", 7_000, Some("t1"), at(13));
        assert!(matches!(again.step(Some("t1"), at(20)), TokenStep::Fetch { force: false, .. }), "not twice in 30 s");
    }

    #[test]
    fn a_token_that_is_refused_all_day_is_forced_a_few_times_only() {
        let mut state = TokenState::default().fetched("t1", 7_200, None, at(0));
        let mut forced = 0;
        for second in (0..8 * 3_600).step_by(31) {
            let TokenStep::Fetch { leased, force } = state.step(Some("t1"), at(second)) else { continue };
            forced += u8::from(force);
            state = leased.fetched("t1", 7_200, Some("t1"), at(second));
        }
        assert_eq!(forced, FORCES_A_DAY);
        let TokenStep::Fetch { force, .. } = state.step(Some("t1"), at(17 * 3_600)) else { panic!() };
        assert!(force, "on the next day in China");
    }
}
