//! What people did with what they got, as backends report it: opens, clicks, conversions, shares, complaints, and events of
//! the business itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{CampaignId, MessageId, SubscriberId, check_id};
use crate::invalid::Invalid;
use crate::person::Person;
use crate::purchase::parse_cents;
use crate::time::plus_seconds;

/// How far in the future a backend's clock may be, in seconds.
const AHEAD_SECONDS: i64 = 600;

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The message was opened.
    Open,
    /// Its page was opened by a tap.
    Click,
    /// The person reached the goal.
    Conversion,
    /// The person sent it on.
    Share,
    /// The person complained.
    Complaint,
    /// Something of the business that is about the person.
    Business,
}

/// One item of `POST /v1/events`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
    /// Makes it count once.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The channel's id.
    pub channel: String,
    /// The platform's name for the person.
    pub openid: String,
    /// The message or the campaign that led to it.
    #[serde(default)]
    pub source: Option<String>,
    /// When; now unless given.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Which goal was reached.
    #[serde(default)]
    pub goal: Option<String>,
    /// What it was worth, as a decimal.
    #[serde(default)]
    pub amount: Option<String>,
}

/// An event whose fields all hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Makes it count once on its channel.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// Who did it.
    pub who: SubscriberId,
    /// The campaign that led to it.
    pub campaign: Option<CampaignId>,
    /// When; not after it was reported.
    pub at: Timestamp,
}

impl EventRequest {
    /// Checks the request; `at` is its own path, such as `events[3]`.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn accept(self, at: &str, now: Timestamp) -> Result<Event, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let ids = [
            ("id", Some(&self.id)),
            ("channel", Some(&self.channel)),
            ("openid", Some(&self.openid)),
            ("goal", self.goal.as_ref()),
        ];
        for (name, id) in ids {
            wrong.extend(id.and_then(|id| check_id(&format!("{at}.{name}"), id).err()));
        }
        let source = self.source.as_deref();
        let campaign = source.and_then(CampaignId::parse).map(CampaignId::whole);
        if source.is_some_and(|source| campaign.is_none() && MessageId::parse(source).is_none()) {
            let message = "must be the id of a message or of a campaign";
            wrong.push(Invalid::new(format!("{at}.source"), "id_malformed", message));
        }
        if self.at.is_some_and(|time| time > plus_seconds(now, AHEAD_SECONDS)) {
            wrong.push(Invalid::new(format!("{at}.at"), "out_of_range", "must not be in the future"));
        }
        if self.amount.as_deref().is_some_and(|amount| parse_cents(amount).is_none()) {
            let message = "must be a decimal such as 29.33, up to ten million";
            wrong.push(Invalid::new(format!("{at}.amount"), "field_malformed", message));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let who = SubscriberId::new(self.channel, self.openid);
        Ok(Event { id: self.id, kind: self.kind, who, campaign, at: self.at.unwrap_or(now).min(now) })
    }
}

impl Event {
    /// The person with the event noted; `None` when it changes nothing, as when it was noted before or the person was
    /// erased.
    #[must_use]
    pub fn note(&self, person: &Person) -> Option<Person> {
        if person.erased_at.is_some() {
            return None;
        }
        let mut noted = person.clone();
        noted.subscriber_mut(&self.who);
        match (self.kind, self.campaign) {
            (EventKind::Click, Some(campaign)) => noted.activity.note_click(campaign, self.at),
            // Who complains did not come to the business.
            (EventKind::Complaint, _) => noted.activity.note_known(self.at),
            _ => noted.activity.note_active(self.at),
        }
        (noted != *person).then_some(noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn accept(text: &str) -> Result<Event, Vec<String>> {
        let request: EventRequest = serde_json::from_str(text).unwrap();
        request.accept("events[0]", now()).map_err(|wrong| wrong.into_iter().map(|one| one.field).collect())
    }

    fn event(kind: &str, more: &str) -> Event {
        accept(&format!(r#"{{"id":"e1","type":"{kind}","channel":"shop","openid":"o1"{more}}}"#)).unwrap()
    }

    #[test]
    fn every_broken_field_is_named() {
        let wrong = accept(
            r#"{"id":"a b","type":"click","channel":"shop","openid":"","source":"x","at":"2026-11-21T10:10:01Z",
            "goal":"","amount":"-1"}"#,
        );
        let fields = ["id", "openid", "goal", "source", "at", "amount"].map(|field| format!("events[0].{field}"));
        assert_eq!(wrong.unwrap_err(), fields);
        let request = r#"{"id":"e1","type":"purchase","channel":"shop","openid":"o1"}"#;
        assert!(serde_json::from_str::<EventRequest>(request).is_err());
    }

    #[test]
    fn what_people_do_makes_them_active_and_clicks_are_remembered_by_campaign() {
        let id = SubscriberId::new("shop", "o1");
        let campaign = CampaignId::derive("shop", "k_1", "spring", now());
        let click = event("click", &format!(r#","source":"{}""#, campaign.occurrence(now())));
        let clicked = click.note(&Person::new(&id)).unwrap();
        assert!(clicked.activity.has_clicked(campaign));
        assert_eq!(clicked.activity.last_active(), Some(now()));
        assert_eq!(click.note(&clicked), None, "a repetition changes nothing");
        let complaint = event("complaint", "").note(&Person::default()).unwrap();
        assert_eq!((complaint.activity.last_active(), complaint.activity.first_seen()), (None, Some(now())));
        assert!(complaint.subscriber(&id).is_some());
    }

    #[test]
    fn nothing_is_noted_of_whom_was_erased_and_nothing_in_the_future() {
        let erased = Person::default().erased(now());
        assert_eq!(event("open", "").note(&erased), None);
        assert_eq!(event("open", r#","at":"2026-11-21T10:09:00Z""#).at, now());
    }
}
