//! The invariants, restated over what the simulator saw and what the API answered. None of the rules is called here.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::demo::story::Story;
use crate::demo::truth::Truth;

/// What the API says of one message in the end.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its status.
    pub status: String,
    /// The code of its reason.
    pub reason: Option<String>,
    /// Reasons for which it waited on the way, as the first answer said.
    pub first_status: String,
    /// The reason of the first answer.
    pub first_reason: Option<String>,
}

/// What the ledger says a person may still be sent, by openid and template.
pub type Ledger = BTreeMap<(String, String), u32>;

/// How often each invariant was broken. All zero is what is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Findings {
    /// Units beyond the limit of a window, as the platform counted them.
    pub overshoot: u64,
    /// Messages that a person received more than once.
    pub doubled: u64,
    /// Messages without an end, or whose end is not what happened.
    pub lost: u64,
    /// Messages received without a consent to pay for them.
    pub unpaid: u64,
    /// Messages received by somebody for whom they were not.
    pub strayed: u64,
    /// Messages that came at night though they could wait, or beyond what a person gets in a day.
    pub disturbed: u64,
    /// Consents that ledger and platform count differently.
    pub miscounted: u64,
    /// Messages that the metrics count differently.
    pub misreported: u64,
}

impl Findings {
    /// Whether every invariant held.
    #[must_use]
    pub fn held(&self) -> bool {
        *self == Self::default()
    }

    /// Those of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            overshoot: self.overshoot + other.overshoot,
            doubled: self.doubled + other.doubled,
            lost: self.lost + other.lost,
            unpaid: self.unpaid + other.unpaid,
            strayed: self.strayed + other.strayed,
            disturbed: self.disturbed + other.disturbed,
            miscounted: self.miscounted + other.miscounted,
            misreported: self.misreported + other.misreported,
        }
    }
}

/// Holds the story, the answers and the metrics against the truth. `told` is by key, `metrics` by outcome.
#[must_use]
pub fn check(
    story: &Story,
    told: &BTreeMap<String, Told>,
    ledger: &Ledger,
    metrics: &BTreeMap<String, u64>,
    truth: &Truth,
) -> Findings {
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for received in &truth.received {
        *times.entry(received.key()).or_default() += 1;
    }
    Findings {
        overshoot: truth.windows.iter().map(|window| window.overshoot).sum(),
        doubled: times.values().filter(|times| **times > 1).count() as u64,
        lost: lost(story, told, &times),
        unpaid: unpaid(story, truth),
        strayed: strayed(story, truth),
        disturbed: disturbed(story, truth),
        miscounted: miscounted(told, ledger, truth, story),
        misreported: misreported(told, metrics),
    }
}

fn lost(story: &Story, told: &BTreeMap<String, Told>, times: &BTreeMap<String, u64>) -> u64 {
    let is_lost = |key: &String| {
        let came = times.get(key).copied().unwrap_or(0) > 0;
        match told.get(key).map(|told| told.status.as_str()) {
            Some("delivered") => !came,
            Some("refused" | "failed") => came,
            Some("unknown") => false,
            _ => true,
        }
    };
    let asked = story.messages.iter().filter(|message| is_lost(&message.key)).count();
    let never_asked = times.keys().filter(|key| !told.contains_key(*key)).count();
    (asked + never_asked) as u64
}

/// Each accepted consent pays for one message.
fn unpaid(story: &Story, truth: &Truth) -> u64 {
    let mut owed: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for person in &story.people {
        for (template, answer) in &person.answers {
            owed.insert((&person.openid, template), i64::from(*answer == "accept"));
        }
    }
    for received in &truth.received {
        *owed.entry((&received.openid, &received.template_id)).or_default() -= 1;
    }
    owed.values().filter(|left| **left < 0).count() as u64
}

/// The key inside a message names the person who ordered.
fn strayed(story: &Story, truth: &Truth) -> u64 {
    let owners: BTreeMap<&str, &str> =
        story.messages.iter().map(|message| (message.key.as_str(), message.openid.as_str())).collect();
    let is_stray = |received: &&crate::demo::truth::Received| {
        owners.get(received.key().as_str()).is_none_or(|openid| *openid != received.openid)
    };
    truth.received.iter().filter(is_stray).count() as u64
}

/// Quiet hours are 22:00 to 08:00 in Shanghai; only the urgent confirmations may come then.
fn disturbed(story: &Story, truth: &Truth) -> u64 {
    let zone = TimeZone::fixed(jiff::tz::offset(8));
    let urgent: std::collections::BTreeSet<&str> =
        story.messages.iter().filter(|message| message.is_urgent).map(|message| message.key.as_str()).collect();
    let at_night = |at: jiff::Timestamp| !(8..22).contains(&at.to_zoned(zone.clone()).hour());
    let wrong =
        truth.received.iter().filter(|received| at_night(received.at) && !urgent.contains(received.key().as_str()));
    wrong.count() as u64
}

/// Where the outcome is unknown the ledger may count one less than the platform, never more.
fn miscounted(told: &BTreeMap<String, Told>, ledger: &Ledger, truth: &Truth, story: &Story) -> u64 {
    let mut unknown: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for message in &story.messages {
        if told.get(&message.key).is_some_and(|told| told.status == "unknown") {
            *unknown.entry((&message.openid, message.template)).or_default() += 1;
        }
    }
    let differs = |left: &&crate::demo::truth::Left| {
        let ours = ledger.get(&(left.openid.clone(), left.template_id.clone())).copied().unwrap_or(0);
        let slack = unknown.get(&(left.openid.as_str(), left.template_id.as_str())).copied().unwrap_or(0);
        ours > left.left || ours + slack < left.left
    };
    truth.left.iter().filter(differs).count() as u64
}

fn misreported(told: &BTreeMap<String, Told>, metrics: &BTreeMap<String, u64>) -> u64 {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for told in told.values() {
        *ends.entry(&told.status).or_default() += 1;
    }
    let differs =
        |outcome: &str| ends.get(outcome).copied().unwrap_or(0).abs_diff(metrics.get(outcome).copied().unwrap_or(0));
    ["delivered", "refused", "failed", "unknown"].into_iter().map(differs).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::story::invent;

    fn told(status: &str) -> Told {
        Told { status: status.into(), reason: None, first_status: "queued".into(), first_reason: None }
    }

    fn received(key: &str, openid: &str, at: &str) -> crate::demo::truth::Received {
        serde_json::from_value(serde_json::json!({
            "at": at, "openid": openid, "template_id": "T", "data": {"character_string1": {"value": key}},
        }))
        .unwrap()
    }

    #[test]
    fn each_broken_invariant_is_found() {
        let story = invent(1, 1);
        let (key, openid) = (story.messages[0].key.clone(), story.people[0].openid.clone());
        let other = story.messages[1].key.clone();
        let truth = Truth {
            received: vec![
                received(&key, &openid, "2026-03-20T20:01:00+08:00"),
                received(&key, &openid, "2026-03-20T20:01:01+08:00"),
                received(&other, &openid, "2026-03-20T23:01:01+08:00"),
            ],
            ..Truth::default()
        };
        let answers = [(key, told("delivered")), (other, told("queued"))].into();
        let findings = check(&story, &answers, &Ledger::new(), &BTreeMap::new(), &truth);
        assert_eq!((findings.doubled, findings.lost, findings.disturbed, findings.misreported), (1, 1, 1, 1));
        assert_eq!(findings.strayed, 0);
        assert_eq!(findings.unpaid, 1, "nobody consented to template T");
        assert!(!findings.held());
    }
}
