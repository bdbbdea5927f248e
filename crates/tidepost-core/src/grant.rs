//! The right to send: what consents gave, what sends used up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::template::{Template, TemplateKind};
use crate::time::{day_number, plus_seconds};

/// How long one source of consents (events or reports) may be ahead of the other before they are taken to tell of
/// different consents, in seconds.
pub const LEAD_SECONDS: i64 = 3_600;

/// What one subscriber has granted for one template.
///
/// A backend's report and the platform's event of the same consent carry no common id. Both are counted, and what is
/// granted is the larger count: `lead` says how far events are ahead of reports (negative: behind), and a consent is
/// granted only when it moves the larger count.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Grant {
    /// What is left of one-time consents, earliest end first; for a long-term consent, one lot that is never used up.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    lots: Vec<Lot>,
    #[serde(rename = "d", default, skip_serializing_if = "is_zero")]
    lead: i16,
    /// Second of the epoch at which the lead last grew.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    lead_at: i64,
    /// How the platform's 'no grant' is followed up: 0 nothing known, 1 it refused once, 2 and a send followed.
    #[serde(rename = "q", default, skip_serializing_if = "is_zero")]
    suspicion: u8,
    /// For long-term consents with a limit: the first day of the period and how many were sent in it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    used: Option<(i32, u16)>,
    /// How often the person said no of late: what was paid before is not given back.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    withdrawals: u8,
    /// Second of the epoch at which the last no was heard.
    #[serde(rename = "w", default, skip_serializing_if = "is_zero")]
    withdrawn_at: i64,
    /// Second of the epoch at which it was said: a consent that is heard later and was given before counts no more.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    refused_at: i64,
}

/// A number of one-time consents that were given alike.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Lot {
    /// How many.
    #[serde(rename = "n")]
    count: u16,
    /// When they end, in seconds of the epoch.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// Where in the mini-program it was given.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    scene: Option<String>,
    /// What it was given for.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Who tells of a consent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// The platform's own callback.
    Event,
    /// The backend, through the webhook.
    Report,
}

/// What a person answered for one template.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Consent {
    /// Yes, in any of the platform's words for it.
    Accept,
    /// No.
    Reject,
    /// Nothing that changes what may be sent: the platform kept the question back.
    Neither,
}

impl Consent {
    /// Reads the platform's word (platforms.md A4 and A6); `None` for a word that is not known.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "accept" | "acceptWithAudio" | "acceptWithAlert" | "acceptWithForcePush" => Some(Self::Accept),
            "reject" => Some(Self::Reject),
            "ban" | "filter" => Some(Self::Neither),
            _ => None,
        }
    }
}

/// How and where a consent was given.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// When it was given, as its teller says; `None` for now.
    pub given_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Where in the mini-program it was given.
    pub scene: Option<String>,
    /// What it was given for.
    pub purpose: Option<String>,
}

/// What one reservation took, so that it can be given back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Payment {
    template: String,
    lot: Option<Lot>,
    period: Option<i32>,
    withdrawals: u8,
}

impl Payment {
    /// The template whose grant paid.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }
}

impl Grant {
    /// Its size in storage at the most, in bytes; see [`crate::person::Person::at_most_bytes`].
    pub(crate) fn at_most_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, |text| 8 + text.len());
        48 + self.lots.iter().map(|lot| 16 + text(&lot.scene) + text(&lot.purpose)).sum::<usize>()
    }

    /// How many messages may still be sent at `now`; a long-term consent counts as one.
    #[must_use]
    pub fn available(&self, now: Timestamp) -> u32 {
        self.live(now).map(|lot| u32::from(lot.count)).sum()
    }

    /// When the first of the live consents ends.
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.live(now).filter_map(|lot| lot.expires_at).min().and_then(|second| Timestamp::from_second(second).ok())
    }

    /// Whether nothing is left that would have to be remembered.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.available(now) == 0
            && self.settled_lead(now) == 0
            && self.suspicion == 0
            && self.used.is_none()
            && !self.may_be_refunded(now)
    }

    /// Whether a send may still be under way that was paid before the person said no.
    fn may_be_refunded(&self, now: Timestamp) -> bool {
        now.as_second() - self.withdrawn_at < LEAD_SECONDS
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Lot> {
        let second = now.as_second();
        self.lots.iter().filter(move |lot| lot.count > 0 && lot.expires_at.is_none_or(|end| second < end))
    }

    /// The lead, forgotten once it is older than [`LEAD_SECONDS`].
    fn settled_lead(&self, now: Timestamp) -> i16 {
        if now.as_second() - self.lead_at >= LEAD_SECONDS { 0 } else { self.lead }
    }

    /// Counts one accepted consent. Returns whether it granted anything, that is, whether the other source had not
    /// told of it before.
    pub fn accept(&mut self, source: Source, kind: TemplateKind, terms: Terms, now: Timestamp) -> bool {
        if terms.given_at.is_some_and(|at| at.as_second() < self.refused_at) {
            return false;
        }
        let lead = self.settled_lead(now);
        let (step, is_news) = match source {
            Source::Event => (1, lead >= 0),
            Source::Report => (-1, lead <= 0),
        };
        self.lead = lead.saturating_add(step);
        self.lead_at = if self.lead == 0 {
            0
        } else if is_news {
            now.as_second()
        } else {
            self.lead_at
        };
        if is_news {
            self.suspicion = 0;
            self.drop_ended(now);
            if kind == TemplateKind::LongTerm {
                self.lots.clear();
            }
            self.add(Lot {
                count: 1,
                expires_at: terms.expires_at.map(Timestamp::as_second),
                scene: terms.scene,
                purpose: terms.purpose,
            });
        }
        is_news
    }

    fn drop_ended(&mut self, now: Timestamp) {
        let second = now.as_second();
        self.lots.retain(|lot| lot.count > 0 && lot.expires_at.is_none_or(|end| second < end));
    }

    fn add(&mut self, new: Lot) {
        let same = self
            .lots
            .iter_mut()
            .find(|lot| lot.expires_at == new.expires_at && lot.scene == new.scene && lot.purpose == new.purpose);
        match same {
            Some(lot) => lot.count = lot.count.saturating_add(new.count),
            None => self.lots.push(new),
        }
        // `None` sorts before `Some`, but what never ends pays last.
        self.lots.sort_by_key(|lot| lot.expires_at.unwrap_or(i64::MAX));
    }

    /// The person said no at `refused_at`: nothing granted before may be used.
    pub fn withdraw(&mut self, refused_at: Timestamp, now: Timestamp) {
        *self = Self {
            used: self.used,
            withdrawals: self.withdrawals.wrapping_add(1),
            withdrawn_at: now.as_second(),
            refused_at: refused_at.as_second().max(self.refused_at),
            ..Self::default()
        };
    }

    /// Whether the limit of a long-term consent lets one more go at `now`; otherwise when it will.
    #[must_use]
    pub fn long_term_wait(&self, template: &Template, channel: &Channel, now: Timestamp) -> Option<Timestamp> {
        let limit = template.long_term_limit.filter(|_| template.kind == TemplateKind::LongTerm)?;
        let zone = channel.zone();
        let period = day_number(limit.per.calendar(), &zone, now);
        let used = self.used.filter(|(first, _)| *first == period).map_or(0, |(_, count)| count);
        (used >= limit.limit).then(|| crate::time::calendar_period(limit.per.calendar(), &zone, now).closes_at)
    }

    /// Takes what one send of `template` costs; `None` when there is nothing to take.
    pub(crate) fn pay(
        &mut self,
        name: &str,
        template: &Template,
        channel: &Channel,
        now: Timestamp,
    ) -> Option<Payment> {
        if self.available(now) == 0 || self.long_term_wait(template, channel, now).is_some() {
            return None;
        }
        self.drop_ended(now);
        self.suspicion = if self.suspicion == 1 { 2 } else { 0 };
        let mut payment = Payment { template: name.to_owned(), lot: None, period: None, withdrawals: self.withdrawals };
        if template.kind == TemplateKind::LongTerm {
            if let Some(limit) = template.long_term_limit {
                let period = day_number(limit.per.calendar(), &channel.zone(), now);
                let used = self.used.filter(|(first, _)| *first == period).map_or(0, |(_, count)| count);
                self.used = Some((period, used.saturating_add(1)));
                payment.period = Some(period);
            }
            return Some(payment);
        }
        let first = self.lots.first_mut()?;
        first.count -= 1;
        payment.lot = Some(Lot { count: 1, ..first.clone() });
        self.lots.retain(|lot| lot.count > 0);
        Some(payment)
    }

    /// Gives back what a send took that certainly did not happen.
    pub(crate) fn refund(&mut self, payment: &Payment) {
        if payment.withdrawals != self.withdrawals {
            return;
        }
        if let Some(lot) = &payment.lot {
            self.add(lot.clone());
        }
        // A send that did not happen breaks no row of refusals.
        if self.suspicion == 2 {
            self.suspicion = 1;
        }
        if let (Some(period), Some((first, count))) = (payment.period, self.used.as_mut())
            && *first == period
        {
            *count = count.saturating_sub(1);
        }
    }

    /// The platform knows of no grant: what paid stays used; a second time in a row nothing is left.
    pub(crate) fn contradict(&mut self, kind: TemplateKind) {
        self.lead = 0;
        self.lead_at = 0;
        if self.suspicion > 0 || kind == TemplateKind::LongTerm {
            self.lots.clear();
            self.suspicion = 0;
        } else {
            self.suspicion = 1;
        }
    }

    /// Joins what two records of one subscriber know.
    pub(crate) fn join(&mut self, other: Self) {
        for lot in other.lots {
            self.add(lot);
        }
        self.lead = self.lead.saturating_add(other.lead);
        self.lead_at = self.lead_at.max(other.lead_at);
        self.suspicion = self.suspicion.max(other.suspicion);
        self.withdrawals = self.withdrawals.max(other.withdrawals);
        self.withdrawn_at = self.withdrawn_at.max(other.withdrawn_at);
        self.refused_at = self.refused_at.max(other.refused_at);
        self.used = match (self.used, other.used) {
            (Some(a), Some(b)) if a.0 == b.0 => Some((a.0, a.1.saturating_add(b.1))),
            (a, b) => a.max(b),
        };
    }
}

/// When a one-time consent given at `at` ends on `channel`.
#[must_use]
pub fn expiry(channel: &Channel, at: Timestamp) -> Option<Timestamp> {
    channel.grant_expiry_seconds.map(|seconds| plus_seconds(at, i64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn accept(grant: &mut Grant, source: Source, now: &str) -> bool {
        grant.accept(source, TemplateKind::OneTime, Terms::default(), at(now))
    }

    #[test]
    fn an_event_and_a_report_of_one_consent_grant_once() {
        let mut grant = Grant::default();
        assert!(accept(&mut grant, Source::Report, "2026-11-21T10:00:00Z"));
        assert!(!accept(&mut grant, Source::Event, "2026-11-21T10:00:05Z"));
        assert_eq!(grant.available(at("2026-11-21T10:01:00Z")), 1);
        assert!(accept(&mut grant, Source::Report, "2026-11-21T10:02:00Z"));
        assert_eq!(grant.available(at("2026-11-21T10:03:00Z")), 2, "2 reports and 1 event are 2 consents");
    }

    #[test]
    fn a_lead_is_forgotten_after_an_hour() {
        let mut grant = Grant::default();
        assert!(accept(&mut grant, Source::Report, "2026-11-21T10:00:00Z"));
        assert!(accept(&mut grant, Source::Event, "2026-11-21T11:00:00Z"), "an hour later it is another consent");
    }

    #[test]
    fn the_earliest_ending_lot_pays_first_and_ended_lots_do_not_pay() {
        let (channel, template) = (crate::channel::tests::shop(), crate::decide::tests::template());
        let mut grant = Grant::default();
        let now = at("2026-11-21T10:00:00Z");
        for end in [None, Some(at("2026-11-21T12:00:00Z")), Some(at("2026-11-21T11:00:00Z"))] {
            grant.accept(Source::Event, TemplateKind::OneTime, Terms { expires_at: end, ..Terms::default() }, now);
        }
        assert_eq!(grant.available(now), 3);
        assert_eq!(grant.expires_at(now), Some(at("2026-11-21T11:00:00Z")));
        grant.pay("T", &template, &channel, now).unwrap();
        assert_eq!(grant.expires_at(now), Some(at("2026-11-21T12:00:00Z")));
        assert_eq!(grant.available(at("2026-11-21T12:00:00Z")), 1, "only what never ends is left");
    }

    #[test]
    fn no_grant_leaves_one_consumed_and_twice_in_a_row_empties() {
        let (channel, template) = (crate::channel::tests::shop(), crate::decide::tests::template());
        let now = at("2026-11-21T10:00:00Z");
        let mut grant = Grant::default();
        for _ in 0..5 {
            accept(&mut grant, Source::Event, "2026-11-21T10:00:00Z");
        }
        let mut send = |refused: bool| {
            grant.pay("T", &template, &channel, now).unwrap();
            if refused {
                grant.contradict(TemplateKind::OneTime);
            }
            grant.available(now)
        };
        assert_eq!(
            [send(true), send(false), send(false), send(true)],
            [4, 3, 2, 1],
            "a success between breaks the row"
        );
        assert_eq!(send(true), 0);
    }

    #[test]
    fn a_refund_restores_what_was_paid() {
        let (channel, template) = (crate::channel::tests::shop(), crate::decide::tests::template());
        let now = at("2026-11-21T10:00:00Z");
        let mut grant = Grant::default();
        grant.accept(
            Source::Event,
            TemplateKind::OneTime,
            Terms { scene: Some("checkout".into()), ..Terms::default() },
            now,
        );
        let before = grant.clone();
        let payment = grant.pay("T", &template, &channel, now).unwrap();
        assert_eq!(grant.available(now), 0);
        grant.refund(&payment);
        assert_eq!(grant, before);
    }

    #[test]
    fn a_limited_long_term_grant_is_used_up_until_the_next_period() {
        let channel = crate::channel::tests::shop();
        let mut template = crate::decide::tests::template();
        template.kind = TemplateKind::LongTerm;
        template.long_term_limit =
            Some(crate::template::LongTermLimit { per: crate::template::LongTermPeriod::Day, limit: 1 });
        let now = at("2026-11-21T10:00:00Z");
        let mut grant = Grant::default();
        grant.accept(Source::Event, TemplateKind::LongTerm, Terms::default(), now);
        assert!(grant.pay("T", &template, &channel, now).is_some());
        assert!(grant.pay("T", &template, &channel, now).is_none());
        let midnight = at("2026-11-21T16:00:00Z");
        assert_eq!(grant.long_term_wait(&template, &channel, now), Some(midnight));
        assert!(grant.pay("T", &template, &channel, midnight).is_some());
    }
}
