//! The brake: campaigns and channels that do harm stop by themselves and say why.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::invalid::Invalid;
use crate::metric::Cell;
use crate::outcome::Outcome;
use crate::time::{hour_of, plus_seconds};

/// When a campaign, or a channel, is paused.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Thresholds {
    /// Part of the sends that failed, from which it is paused.
    #[serde(default = "default_error_rate")]
    pub error_rate: f64,
    /// Part of the sends that the platform or the person refused, from which it is paused.
    #[serde(default = "default_refusal_rate")]
    pub refusal_rate: f64,
    /// Complaints from which it is paused.
    #[serde(default = "default_complaints")]
    pub complaints: u32,
    /// Ended sends from which a rate means something; complaints count from the first.
    #[serde(default = "default_minimum_sample")]
    pub minimum_sample: u64,
}

fn default_error_rate() -> f64 {
    0.2
}

fn default_refusal_rate() -> f64 {
    0.5
}

fn default_complaints() -> u32 {
    WARN_COMPLAINTS
}

/// Below, one failure of one send would brake a campaign at its very first message; with 20 the smallest rate that can be
/// told apart is 5 %.
fn default_minimum_sample() -> u64 {
    20
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            error_rate: default_error_rate(),
            refusal_rate: default_refusal_rate(),
            complaints: default_complaints(),
            minimum_sample: default_minimum_sample(),
        }
    }
}

impl Thresholds {
    /// The thresholds of a whole channel that says nothing of them: it goes on with a warning where a campaign is already
    /// paused.
    #[must_use]
    pub fn of_channel() -> Self {
        Self { complaints: BAN_COMPLAINTS, ..Self::default() }
    }

    /// Reads a channel's thresholds; what is not given is as in [`Self::of_channel`].
    pub(crate) fn read_of_channel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What a newer version keeps beside is passed over; that nobody asks for what is not there, the API sees to.
        #[derive(Deserialize)]
        struct Given {
            error_rate: Option<f64>,
            refusal_rate: Option<f64>,
            complaints: Option<u32>,
            minimum_sample: Option<u64>,
        }
        let (given, usual) = (Given::deserialize(deserializer)?, Self::of_channel());
        Ok(Self {
            error_rate: given.error_rate.unwrap_or(usual.error_rate),
            refusal_rate: given.refusal_rate.unwrap_or(usual.refusal_rate),
            complaints: given.complaints.unwrap_or(usual.complaints),
            minimum_sample: given.minimum_sample.unwrap_or(usual.minimum_sample),
        })
    }

    pub(crate) fn validate(&self) -> Vec<Invalid> {
        let is_rate = |rate: f64| rate > 0.0 && rate <= 1.0;
        let checks = [
            ("brake.error_rate", is_rate(self.error_rate), "must be above 0 and at most 1"),
            ("brake.refusal_rate", is_rate(self.refusal_rate), "must be above 0 and at most 1"),
            ("brake.complaints", self.complaints >= 1, "must be at least 1"),
            ("brake.minimum_sample", self.minimum_sample >= 1, "must be at least 1"),
        ];
        let broken = checks.into_iter().filter(|(_, holds, _)| !holds);
        broken.map(|(field, _, message)| Invalid::new(field, "out_of_range", message)).collect()
    }
}

/// Complaints after which WeChat bans an account for 7 days (DESIGN, 'Defaults from the field'; the period they are
/// counted in is not stated).
pub const BAN_COMPLAINTS: u32 = 3;

/// Complaints that are worth a warning: the next one brings the ban.
pub const WARN_COMPLAINTS: u32 = BAN_COMPLAINTS - 1;

/// What is known of the sends of a campaign, or of a channel in the time the brake looks at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Sends that ended, however they ended.
    pub sent: u64,
    /// Those that the platform or Tidepost failed.
    pub failed: u64,
    /// Those that the platform refused, for want of consent or for the content.
    pub refused: u64,
    /// Complaints of people.
    pub complaints: u32,
}

impl Counts {
    /// Adds the sends of one cell of a roll-up. Single messages that were refused are left out: nearly all of them by
    /// Tidepost's own rules, before anything was sent.
    pub fn add(&mut self, cell: &Cell, count: u64) {
        if cell.campaign.is_none() && cell.outcome == Outcome::Refused {
            return;
        }
        self.sent += count;
        match cell.outcome {
            Outcome::Failed => self.failed += count,
            Outcome::Refused => self.refused += count,
            Outcome::Delivered | Outcome::Unknown => {}
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            failed: self.failed + other.failed,
            refused: self.refused + other.refused,
            complaints: self.complaints + other.complaints,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(other.sent),
            failed: self.failed.saturating_sub(other.failed),
            refused: self.refused.saturating_sub(other.refused),
            complaints: self.complaints.saturating_sub(other.complaints),
        }
    }
}

/// The times that the brake looks back, in seconds: the shorter sees what breaks now among much that went well, the longer
/// sees what fails seldom and steadily. Both begin at a full hour.
const LOOKS_BACK_SECONDS: [i64; 2] = [600, LOOKS_BACK_MAX_SECONDS];

/// The longest time that the brake looks back for sends, in seconds.
pub const LOOKS_BACK_MAX_SECONDS: i64 = 86_400;

/// How long before their begin campaigns are looked at, in seconds: each minute there is a look, and one may be missed.
pub const LOOKS_AHEAD_SECONDS: i64 = 150;

/// How long a complaint counts, in seconds: our choice, no platform states its period.
const COMPLAINT_COUNTS_SECONDS: i64 = 30 * 86_400;

/// Where judging begins: what a person saw and resumed in spite of is not held against it again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Baseline {
    /// When it was started, or resumed.
    #[serde(rename = "s")]
    pub since: Timestamp,
    /// What was counted by then in the full hour of that time.
    #[serde(rename = "n")]
    pub before: Counts,
}

impl Baseline {
    /// Whether a complaint that was noted at `at` counts at `now`.
    #[must_use]
    pub fn counts_complaint(&self, at: Timestamp, now: Timestamp) -> bool {
        at > self.since && plus_seconds(at, COMPLAINT_COUNTS_SECONDS) > now
    }

    /// Judges the sends of full hours and the complaints that count.
    #[must_use]
    pub fn judge(
        &self,
        hours: &[(Timestamp, Counts)],
        complaints: u32,
        thresholds: &Thresholds,
        now: Timestamp,
    ) -> Verdict {
        let first = hour_of(self.since);
        let verdicts = LOOKS_BACK_SECONDS.map(|seconds| {
            let from = hour_of(plus_seconds(now, -seconds));
            let recent = hours.iter().filter(|(hour, _)| *hour >= from.max(first));
            let sum = recent.fold(Counts::default(), |sum, (_, counts)| sum.plus(*counts));
            let sum = if from <= first { sum.minus(self.before) } else { sum };
            judge(&Counts { complaints, ..sum }, thresholds)
        });
        let weight = |verdict: &Verdict| match verdict {
            Verdict::Pause(_) => 2,
            Verdict::Warn(_) => 1,
            Verdict::GoOn => 0,
        };
        let [recent, long] = verdicts;
        if weight(&long) > weight(&recent) { long } else { recent }
    }
}

/// Why a campaign or a channel does not go on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PausedBecause {
    /// The stable code.
    pub code: PauseCode,
    /// What it means here, for a person.
    pub detail: String,
    /// Whether all campaigns of the channel were paused with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_channel: bool,
}

/// Every reason for a pause.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCode {
    /// People complained.
    Complaints,
    /// Too many sends failed.
    ErrorRate,
    /// The platform punished the account.
    Punished,
    /// Too many sends were refused.
    RefusalRate,
    /// Somebody asked for it.
    Requested,
}

impl PausedBecause {
    /// A pause that somebody asked for.
    #[must_use]
    pub fn requested() -> Self {
        Self::of_one(PauseCode::Requested, "paused by an operator".to_owned())
    }

    /// A pause because of the platform's penalty (WeChat's `wxa_punish_event`, platforms.md A6). `words` is what the event
    /// says of it.
    #[must_use]
    pub fn punished(words: &str) -> Self {
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        Self::of_one(PauseCode::Punished, format!("the platform punished the account{said}"))
    }

    fn of_one(code: PauseCode, detail: String) -> Self {
        Self { code, detail, whole_channel: false }
    }

    /// Whether both say of a whole channel that the same stands against it.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        self.whole_channel && other.whole_channel && self.code == other.code
    }

    /// The same, said of each campaign of a channel.
    #[must_use]
    pub fn of_the_channel(&self) -> Self {
        Self { detail: format!("the whole channel: {}", self.detail), whole_channel: true, ..self.clone() }
    }
}

/// What the brake says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing stands against going on.
    GoOn,
    /// It goes on, and a person should look at it.
    Warn(String),
    /// It is paused.
    Pause(PausedBecause),
}

/// Judges counts by thresholds: complaints first, since they cost most.
#[must_use]
pub fn judge(counts: &Counts, thresholds: &Thresholds) -> Verdict {
    let complaints = counts.complaints;
    if complaints >= thresholds.complaints {
        let detail =
            format!("{complaints} complaints, {} are the limit; {BAN_COMPLAINTS} bring a ban", thresholds.complaints);
        return Verdict::Pause(PausedBecause::of_one(PauseCode::Complaints, detail));
    }
    let rates = [
        (PauseCode::ErrorRate, counts.failed, thresholds.error_rate, "failed"),
        (PauseCode::RefusalRate, counts.refused, thresholds.refusal_rate, "were refused"),
    ];
    for (code, count, limit, what) in rates {
        if counts.sent >= thresholds.minimum_sample && exceeds(count, counts.sent, limit) {
            let detail = format!("{count} of {} sends {what}, the limit is {:.1} %", counts.sent, limit * 100.0);
            return Verdict::Pause(PausedBecause::of_one(code, detail));
        }
    }
    if complaints >= WARN_COMPLAINTS {
        return Verdict::Warn(format!("{complaints} complaints; {BAN_COMPLAINTS} bring a ban of the whole channel"));
    }
    Verdict::GoOn
}

#[expect(clippy::cast_precision_loss, reason = "counts of sends stay far below 2^52")]
fn exceeds(count: u64, of: u64, limit: f64) -> bool {
    count as f64 >= limit * of as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CampaignId;

    fn code(counts: Counts, thresholds: &Thresholds) -> Option<PauseCode> {
        match judge(&counts, thresholds) {
            Verdict::Pause(because) => Some(because.code),
            Verdict::GoOn | Verdict::Warn(_) => None,
        }
    }

    #[test]
    fn rates_brake_at_their_limit_and_not_before_the_sample_is_big_enough() {
        let thresholds = Thresholds::default();
        let counts = |sent, failed, refused| Counts { sent, failed, refused, complaints: 0 };
        assert_eq!(code(counts(1, 1, 0), &thresholds), None, "one failure of one");
        assert_eq!(code(counts(19, 19, 0), &thresholds), None);
        assert_eq!(code(counts(20, 4, 0), &thresholds), Some(PauseCode::ErrorRate));
        assert_eq!(code(counts(20, 3, 9), &thresholds), None);
        assert_eq!(code(counts(20, 3, 10), &thresholds), Some(PauseCode::RefusalRate));
        assert_eq!(judge(&counts(1_000_000, 199_999, 0), &thresholds), Verdict::GoOn);
        let careful = Thresholds { error_rate: 0.5, minimum_sample: 2, ..thresholds };
        assert_eq!(code(counts(1, 1, 0), &careful), None);
        assert_eq!(code(counts(2, 1, 0), &careful), Some(PauseCode::ErrorRate));
    }

    #[test]
    fn two_complaints_pause_a_campaign_and_warn_of_the_channel_and_three_pause_it() {
        let counts = |complaints| Counts { sent: 5, complaints, ..Counts::default() };
        assert_eq!(judge(&counts(1), &Thresholds::default()), Verdict::GoOn);
        assert_eq!(code(counts(2), &Thresholds::default()), Some(PauseCode::Complaints));
        assert!(matches!(judge(&counts(2), &Thresholds::of_channel()), Verdict::Warn(_)));
        assert_eq!(code(counts(3), &Thresholds::of_channel()), Some(PauseCode::Complaints));
    }

    #[test]
    fn a_pause_says_what_was_counted_against_what_limit() {
        let counts = Counts { sent: 40, failed: 10, refused: 0, complaints: 0 };
        let Verdict::Pause(because) = judge(&counts, &Thresholds::default()) else { panic!("no pause") };
        assert_eq!(because.detail, "10 of 40 sends failed, the limit is 20.0 %");
        assert_eq!(serde_json::to_value(&because).unwrap()["code"], "error_rate");
        assert_eq!(PausedBecause::punished("7 days").code, PauseCode::Punished);
    }

    #[test]
    fn messages_that_a_rule_refused_were_not_sent() {
        let cell = |outcome, campaign| Cell {
            template: "T".into(),
            topic: "orders".into(),
            outcome,
            reason: None,
            campaign,
            variant: None,
        };
        let campaign = CampaignId::derive("shop", "k", "spring", at(NOON));
        let mut counts = Counts::default();
        counts.add(&cell(Outcome::Refused, None), 90);
        counts.add(&cell(Outcome::Refused, Some(campaign)), 2);
        counts.add(&cell(Outcome::Failed, None), 3);
        counts.add(&cell(Outcome::Unknown, None), 1);
        assert_eq!(counts, Counts { sent: 6, failed: 3, refused: 2, complaints: 0 });
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const NOON: &str = "2026-11-21T12:00:00Z";

    fn verdict(baseline: Baseline, hours: &[(&str, u64, u64)], now: &str) -> Option<PauseCode> {
        let counts = |sent, failed| Counts { sent, failed, ..Counts::default() };
        let hours: Vec<_> = hours.iter().map(|(hour, sent, failed)| (at(hour), counts(*sent, *failed))).collect();
        match baseline.judge(&hours, 0, &Thresholds::default(), at(now)) {
            Verdict::Pause(because) => Some(because.code),
            Verdict::GoOn | Verdict::Warn(_) => None,
        }
    }

    #[test]
    fn what_breaks_now_is_seen_behind_much_that_went_well_and_so_is_what_fails_seldom_and_steadily() {
        let (before, after) = ("2026-11-21T11:00:00Z", "2026-11-21T12:15:00Z");
        let baseline = Baseline::default();
        assert_eq!(verdict(baseline, &[(before, 1_000_000, 0), (NOON, 40, 40)], after), Some(PauseCode::ErrorRate));
        assert_eq!(verdict(baseline, &[(before, 1_000_000, 0), (NOON, 19, 19)], after), None);
        assert_eq!(verdict(baseline, &[(before, 10, 10), (NOON, 10, 10)], after), Some(PauseCode::ErrorRate));
        assert_eq!(verdict(baseline, &[("2026-11-20T11:00:00Z", 99, 99)], after), None, "more than a day ago");
    }

    #[test]
    fn what_was_counted_before_it_was_resumed_is_not_held_against_it() {
        let before = Counts { sent: 50, failed: 50, ..Counts::default() };
        let baseline = Baseline { since: at("2026-11-21T12:10:00Z"), before };
        let earlier = ("2026-11-21T11:00:00Z", 500, 500);
        assert_eq!(verdict(baseline, &[earlier, (NOON, 69, 69)], "2026-11-21T12:20:00Z"), None);
        assert_eq!(verdict(baseline, &[earlier, (NOON, 70, 70)], "2026-11-21T12:20:00Z"), Some(PauseCode::ErrorRate));
        let next = ("2026-11-21T13:00:00Z", 20, 20);
        assert_eq!(verdict(baseline, &[(NOON, 50, 50), next], "2026-11-21T13:20:00Z"), Some(PauseCode::ErrorRate));
        assert!(!baseline.counts_complaint(at(NOON), at("2026-11-21T13:20:00Z")));
        assert!(baseline.counts_complaint(at("2026-11-21T12:11:00Z"), at("2026-11-21T13:20:00Z")));
        assert!(!baseline.counts_complaint(at("2026-11-21T12:11:00Z"), at("2026-12-22T13:20:00Z")));
    }

    #[test]
    fn thresholds_out_of_range_are_named() {
        let wrong = Thresholds { error_rate: 0.0, refusal_rate: f64::NAN, complaints: 0, minimum_sample: 0 }.validate();
        let fields: Vec<_> = wrong.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["brake.error_rate", "brake.refusal_rate", "brake.complaints", "brake.minimum_sample"]);
    }
}
