//! Where a campaign stands: what was last commanded, and what that means at a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::brake::PausedBecause;
use crate::time::{Period, plus_seconds};

/// How long after a command was held the same one may still be its repetition, in seconds: callers wait half as
/// long for an answer.
const UNREAD_SECONDS: i64 = 60;

/// What was last commanded; the only part of a campaign that changes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Control {
    /// Nothing yet.
    #[default]
    Draft,
    /// It runs from its beginning to its end.
    Started,
    /// It sends nothing until it is resumed.
    Paused {
        /// Who or what paused it.
        because: PausedBecause,
        /// When; not known of those that an earlier version paused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// When it was let go and held with its channel, if that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_at: Option<Timestamp>,
    },
    /// It sends nothing any more.
    Stopped {
        /// When it was stopped first; not known of those that an earlier version stopped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
    },
}

/// A command, of a person or of the brake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Let it run.
    Start,
    /// Hold it.
    Pause(PausedBecause),
    /// Let it run again.
    Resume,
    /// End it.
    Stop,
}

/// The state of a campaign in a word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was not started.
    Draft,
    /// It was started and its beginning is still to come.
    Scheduled,
    /// It sends.
    Running,
    /// It was paused, by a person or by the brake.
    Paused,
    /// It was stopped.
    Stopped,
    /// Its end has come.
    Finished,
}

/// A command that the state does not allow; `409 illegal_state`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{detail}")]
pub struct IllegalState {
    /// Where the campaign stands.
    pub status: Status,
    /// What stands in the way, for a person.
    pub detail: String,
}

impl Control {
    /// Where a campaign that lives during `life` stands at `now`.
    #[must_use]
    pub fn status(&self, life: Period, now: Timestamp) -> Status {
        match self {
            Self::Stopped { .. } => Status::Stopped,
            Self::Draft => Status::Draft,
            _ if now >= life.closes_at => Status::Finished,
            Self::Paused { .. } => Status::Paused,
            Self::Started if now < life.opens_at => Status::Scheduled,
            Self::Started => Status::Running,
        }
    }

    /// Whether a campaign that lives during `life` runs at some time from `from` to `to`, if nothing is commanded.
    #[must_use]
    pub fn runs_between(&self, life: Period, from: Timestamp, to: Timestamp) -> bool {
        let first = life.opens_at.max(from);
        first <= to && self.status(life, first) == Status::Running
    }

    /// Why it is paused, if it is.
    #[must_use]
    pub fn paused_because(&self) -> Option<&PausedBecause> {
        match self {
            Self::Paused { because, .. } => Some(because),
            Self::Draft | Self::Started | Self::Stopped { .. } => None,
        }
    }

    /// When a campaign that lives during `life` ends, or ended.
    #[must_use]
    pub fn ends_at(&self, life: Period) -> Timestamp {
        match self {
            Self::Stopped { at: Some(at) } => life.closes_at.min(*at),
            Self::Draft | Self::Started | Self::Paused { .. } | Self::Stopped { at: None } => life.closes_at,
        }
    }

    /// Paused with its whole channel instead of let go at `now`.
    #[must_use]
    pub fn held(&self, because: PausedBecause, now: Timestamp) -> Self {
        let (at, held_at) = match self {
            Self::Paused { because: known, at, held_at } if known.tells_the_same(&because) => (*at, *held_at),
            Self::Paused { at, .. } => (*at, Some(now)),
            Self::Draft | Self::Started | Self::Stopped { .. } => (Some(now), Some(now)),
        };
        Self::Paused { because, at, held_at }
    }

    /// Whether whoever resumes it at `now` can have read what speaks against its whole channel: not when the request may be the
    /// repetition of the one that was held.
    #[must_use]
    pub fn has_told(&self, because: &PausedBecause, now: Timestamp) -> bool {
        let Self::Paused { because: known, held_at, .. } = self else { return false };
        known.tells_the_same(because) && held_at.is_none_or(|at| plus_seconds(at, UNREAD_SECONDS) <= now)
    }

    /// What a command makes of a campaign that lives during `life`. Stopping is repeatable: an answer that was lost must not
    /// leave a doubt.
    ///
    /// # Errors
    /// [`IllegalState`] when the state does not allow it.
    pub fn after(&self, command: Command, life: Period, now: Timestamp) -> Result<Self, IllegalState> {
        let status = self.status(life, now);
        let has_ended = now >= life.closes_at;
        let (verb, next) = match command {
            Command::Start if status == Status::Draft && has_ended => {
                let detail = format!("its end, {}, has passed; make a new campaign", life.closes_at);
                return Err(IllegalState { status, detail });
            }
            Command::Start => ("started", (status == Status::Draft).then_some(Self::Started)),
            Command::Pause(because) => {
                let may = matches!(status, Status::Scheduled | Status::Running);
                ("paused", may.then_some(Self::Paused { because, at: Some(now), held_at: None }))
            }
            Command::Resume => ("resumed", (status == Status::Paused).then_some(Self::Started)),
            Command::Stop if status == Status::Stopped => ("stopped", Some(self.clone())),
            Command::Stop => ("stopped", (status != Status::Finished).then_some(Self::Stopped { at: Some(now) })),
        };
        next.ok_or_else(|| {
            let word = format!("{status:?}").to_lowercase();
            IllegalState { status, detail: format!("a campaign that is {word} cannot be {verb}") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Period {
        Period {
            opens_at: "2026-11-21T08:00:00+08:00".parse().unwrap(),
            closes_at: "2026-11-28T22:00:00+08:00".parse().unwrap(),
        }
    }

    fn paused() -> Control {
        Control::Paused { because: PausedBecause::requested(), at: None, held_at: None }
    }

    fn stopped() -> Control {
        Control::Started.after(Command::Stop, life(), life().opens_at).unwrap()
    }

    #[test]
    fn time_alone_takes_a_started_campaign_from_scheduled_to_finished() {
        let life = life();
        let times = [plus_seconds(life.opens_at, -1), life.opens_at, plus_seconds(life.closes_at, -1), life.closes_at];
        let statuses = |control: &Control| times.map(|now| control.status(life, now));
        use Status::{Draft, Finished, Paused, Running, Scheduled, Stopped};
        assert_eq!(statuses(&Control::Started), [Scheduled, Running, Running, Finished]);
        assert_eq!(statuses(&paused()), [Paused, Paused, Paused, Finished]);
        assert_eq!(statuses(&Control::Draft), [Draft; 4]);
        assert_eq!(statuses(&stopped()), [Stopped; 4]);
    }

    #[test]
    fn a_campaign_may_run_between_two_times_and_at_neither() {
        let (life, hours) = (life(), |hours: i64| plus_seconds(life().opens_at, hours * 3_600));
        let runs = |control: Control, from, to| control.runs_between(life, hours(from), hours(to));
        assert!(runs(Control::Started, -1, 1_000) && runs(Control::Started, -1, 0) && runs(Control::Started, 5, 5));
        assert!(!runs(Control::Started, -2, -1) && !runs(Control::Started, 999, 1_000));
        assert!(!runs(paused(), -1, 1_000) && !runs(Control::Draft, -1, 1_000));
    }

    #[test]
    fn a_repetition_of_what_was_held_has_read_nothing() {
        let (at, banned) = (life().opens_at, PausedBecause::punished("").of_the_channel());
        let later = |seconds| plus_seconds(at, seconds);
        let braked = Control::Started.after(Command::Pause(banned.clone()), life(), at).unwrap();
        assert!(braked.has_told(&banned, at), "the brake paused it");
        for before in [Control::Draft, paused()] {
            let held = before.held(banned.clone(), at);
            assert!(!held.has_told(&banned, later(50)) && held.has_told(&banned, later(60)), "{held:?}");
            let again = held.held(banned.clone(), later(50));
            assert!(again.has_told(&banned, later(60)), "asking again does not put it off");
            let other = PausedBecause::requested().of_the_channel();
            assert!(!again.has_told(&other, later(60)), "something else speaks against it now");
            assert!(!again.held(other.clone(), later(60)).has_told(&other, later(61)));
        }
        assert!(!paused().has_told(&PausedBecause::requested(), later(60)), "it was paused alone");
    }

    /// Which of start, pause, resume and stop each state allows.
    #[test]
    fn only_the_legal_commands_pass() {
        let during = life().opens_at;
        let after = life().closes_at;
        let commands = || [Command::Start, Command::Pause(PausedBecause::requested()), Command::Resume, Command::Stop];
        for (control, now, allowed) in [
            (Control::Draft, during, [true, false, false, true]),
            (Control::Draft, after, [false, false, false, true]),
            (Control::Started, during, [false, true, false, true]),
            (Control::Started, after, [false, false, false, false]),
            (paused(), during, [false, false, true, true]),
            (paused(), after, [false, false, false, false]),
            (stopped(), during, [false, false, false, true]),
        ] {
            let came = commands().map(|command| control.after(command, life(), now).is_ok());
            assert_eq!(came, allowed, "{control:?} at {now}");
        }
        let refused = stopped().after(Command::Resume, life(), during).unwrap_err();
        assert_eq!(refused.to_string(), "a campaign that is stopped cannot be resumed");
    }

    #[test]
    fn a_campaign_ends_when_it_was_stopped_first() {
        let again = stopped().after(Command::Stop, life(), plus_seconds(life().opens_at, 60)).unwrap();
        assert_eq!((again.ends_at(life()), paused().ends_at(life())), (life().opens_at, life().closes_at));
        let of_old: Control = serde_json::from_str(r#"{"state":"stopped"}"#).unwrap();
        assert_eq!(of_old.ends_at(life()), life().closes_at);
    }
}
