//! One transactional send: what was asked for, what was answered, what became of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::category::{Category, Urgency};
use crate::decide::{Hold, Offer};
use crate::ids::{MessageId, SubscriberId, check_id};
use crate::invalid::Invalid;
use crate::outcome::{Ending, Outcome, PlatformWord};
use crate::reason::{Reason, ReasonCode};
use crate::receipt::Entry;
use crate::sends::{Mark, RecentSend};
use crate::template::Template;
use crate::time::plus_seconds;

/// How long a message may wait when it has no deadline of its own, in seconds.
pub const DEADLINE_DEFAULT_SECONDS: i64 = 86_400;

/// How far off a deadline may be, in seconds.
pub const DEADLINE_MAX_SECONDS: i64 = 7 * 86_400;

/// How long an Idempotency-Key is remembered, in seconds.
pub const IDEMPOTENCY_SECONDS: i64 = 7 * 86_400;

/// The body of `POST /v1/messages`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// The channel's id.
    pub channel: String,
    /// To whom.
    pub openid: String,
    /// The platform's template id.
    pub template: String,
    /// Values for the template's fields.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Where a tap leads.
    #[serde(default)]
    pub page: Option<String>,
    /// The template's topic unless given.
    #[serde(default)]
    pub topic: Option<String>,
    /// The template's category unless given; may only be stricter.
    #[serde(default)]
    pub category: Option<Category>,
    /// Whether it can wait.
    #[serde(default)]
    pub urgency: Urgency,
    /// Who in the company asks for it.
    #[serde(default)]
    pub business_line: Option<String>,
    /// Not before.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Worthless after.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
}

/// A message as it is stored: one row that delivery does not rewrite.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    /// The channel's id.
    #[serde(rename = "c")]
    pub channel: String,
    /// The platform's name for the person.
    #[serde(rename = "o")]
    pub openid: String,
    /// The platform's template id.
    #[serde(rename = "t")]
    pub template: String,
    /// All of the template's fields; dropped when the message has ended.
    #[serde(rename = "d", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Where a tap leads.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// What it is about.
    #[serde(rename = "p")]
    pub topic: String,
    /// Its anti-disturbance class.
    #[serde(rename = "y")]
    pub category: Category,
    /// Whether it can wait.
    #[serde(rename = "u")]
    pub urgency: Urgency,
    /// Who in the company asks for it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub business_line: Option<String>,
    /// Not before.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Worthless after.
    #[serde(rename = "e")]
    pub deadline: Timestamp,
    /// When it was accepted.
    #[serde(rename = "a")]
    pub accepted_at: Timestamp,
    /// Tells another body under the same Idempotency-Key.
    #[serde(rename = "h")]
    pub body_hash: String,
    /// What the caller was told.
    #[serde(rename = "w")]
    pub answer: Standing,
    /// Where it stands, when that was written down after the answer.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// Where a message stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Standing {
    /// It is on its way to dispatch.
    Queued,
    /// It is parked.
    Waiting {
        /// When it may go.
        until: Timestamp,
        /// What holds it back.
        reason: Option<Reason>,
    },
    /// It is over.
    Ended {
        /// What became of it.
        ending: Ending,
        /// When the platform was called, if it was.
        sent_at: Option<Timestamp>,
    },
}

impl Standing {
    /// What a hold amounts to.
    #[must_use]
    pub fn held(hold: Hold) -> Self {
        match hold {
            Hold::Wait { until, reason } => Self::Waiting { until, reason },
            Hold::Refuse(reason) => Self::Ended { ending: Ending::because(reason, None), sent_at: None },
        }
    }
}

impl MessageRequest {
    /// Checks the request against its template and turns it into a message.
    ///
    /// # Errors
    /// One [`Invalid`] for each field that breaks a rule.
    pub fn accept(self, template: &Template, body_hash: String, now: Timestamp) -> Result<Message, Vec<Invalid>> {
        let mut wrong = Vec::new();
        wrong.extend(check_id("openid", &self.openid).err());
        if let Some(topic) = &self.topic {
            wrong.extend(check_id("topic", topic).err());
        }
        if let Some(line) = &self.business_line {
            wrong.extend(check_id("business_line", line).err());
        }
        wrong.extend(self.page.as_deref().and_then(|page| check_page("page", page).err()));
        let category = self.category.unwrap_or(template.category);
        wrong.extend(template.check_category(category).err());
        let deadline = self.deadline.unwrap_or_else(|| {
            plus_seconds(self.not_before.map_or(now, |from| from.max(now)), DEADLINE_DEFAULT_SECONDS)
        });
        wrong.extend(check_times(self.not_before, deadline, now));
        let data = match template.fill(&self.data) {
            Ok(data) => data,
            Err(invalid) => {
                wrong.extend(invalid);
                BTreeMap::new()
            }
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Message {
            channel: self.channel,
            openid: self.openid,
            template: self.template,
            data,
            page: self.page,
            topic: self.topic.unwrap_or_else(|| template.topic.clone()),
            category,
            urgency: self.urgency,
            business_line: self.business_line,
            not_before: self.not_before,
            deadline,
            accepted_at: now,
            body_hash,
            answer: Standing::Queued,
            standing: None,
        })
    }
}

/// Longest page, in bytes: path 128 and query 1,024 in WeChat's links (platforms.md A9).
const PAGE_MAX_BYTES: usize = 1_152;

/// Checks where a tap leads and names `field` when it is wrong.
pub(crate) fn check_page(field: &str, page: &str) -> Result<(), Invalid> {
    let is_path = !page.is_empty() && !page.starts_with('/') && !page.contains("://");
    if page.len() > PAGE_MAX_BYTES {
        let message = format!("at most {PAGE_MAX_BYTES} bytes, got {}", page.len());
        return Err(Invalid::new(field, "field_too_long", message));
    }
    if !is_path || page.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message =
            "must be a path inside the mini-program without a leading slash, such as pages/order/detail?id=42";
        return Err(Invalid::new(field, "field_malformed", message));
    }
    Ok(())
}

fn check_times(not_before: Option<Timestamp>, deadline: Timestamp, now: Timestamp) -> Vec<Invalid> {
    let mut wrong = Vec::new();
    if deadline <= now {
        wrong.push(Invalid::new("deadline", "out_of_range", "must be in the future"));
    }
    if deadline > plus_seconds(now, DEADLINE_MAX_SECONDS) {
        wrong.push(Invalid::new("deadline", "out_of_range", "at most 7 days from now"));
    }
    if not_before.is_some_and(|from| from >= deadline) {
        wrong.push(Invalid::new("not_before", "out_of_range", "must be before the deadline"));
    }
    wrong
}

impl Message {
    /// The subscriber it goes to.
    #[must_use]
    pub fn subscriber(&self) -> SubscriberId {
        SubscriberId::new(&self.channel, &self.openid)
    }

    /// The candidate send that it is.
    #[must_use]
    pub fn offer(&self, id: MessageId) -> Offer {
        Offer {
            id,
            to: self.subscriber(),
            template: self.template.clone(),
            category: self.category,
            urgency: self.urgency,
            topic: self.topic.clone(),
            business_line: self.business_line.clone(),
            not_before: self.not_before,
            not_after: self.deadline,
        }
    }

    /// Where it stands as far as its own row tells.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        self.standing.as_ref().unwrap_or(&self.answer)
    }

    /// Why it ends unsent: what it was waiting for when its deadline went by, otherwise `reason`.
    #[must_use]
    pub fn unsent_because(&self, reason: Reason) -> Reason {
        match self.standing() {
            Standing::Waiting { reason: Some(waited), .. } if reason.code == ReasonCode::DeadlinePassed => {
                waited.clone()
            }
            _ => reason,
        }
    }

    /// The row of a message that is over: what it said is dropped.
    #[must_use]
    pub fn ended(&self, ending: Ending, sent_at: Option<Timestamp>) -> Self {
        Self { data: BTreeMap::new(), page: None, standing: Some(Standing::Ended { ending, sent_at }), ..self.clone() }
    }
}

/// The state of a message in a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On its way.
    Queued,
    /// Parked until a known time.
    Waiting,
    /// The platform accepted it.
    Delivered,
    /// A rule, the person or the platform said no.
    Refused,
    /// The platform or Tidepost failed.
    Failed,
    /// Nobody can tell.
    Unknown,
}

/// A message as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// The channel's id.
    pub channel: String,
    /// To whom.
    pub openid: String,
    /// The platform's template id.
    pub template: String,
    /// Where it stands.
    pub status: Status,
    /// Why it waits or was not delivered.
    pub reason: Option<Reason>,
    /// When it is tried next.
    pub next_attempt_at: Option<Timestamp>,
    /// What the platform said.
    pub platform: Option<PlatformWord>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the platform was called.
    pub sent_at: Option<Timestamp>,
}

/// Status, reason and next time of a standing.
#[must_use]
pub fn summary(standing: &Standing) -> (Status, Option<Reason>, Option<Timestamp>) {
    match standing {
        Standing::Queued => (Status::Queued, None, None),
        Standing::Waiting { until, reason } => (Status::Waiting, reason.clone(), Some(*until)),
        Standing::Ended { ending, .. } => {
            let status = match ending.outcome {
                Outcome::Delivered => Status::Delivered,
                Outcome::Refused => Status::Refused,
                Outcome::Failed => Status::Failed,
                Outcome::Unknown => Status::Unknown,
            };
            (status, ending.reason.clone(), None)
        }
    }
}

/// What is known of a message: its row, joined with the person's memory of it and the receipt of its delivery.
#[must_use]
pub fn view(id: MessageId, message: &Message, reserved: Option<&RecentSend>, receipt: Option<&Entry>) -> MessageView {
    let told = receipt.map(|entry| Standing::Ended { ending: entry.ending.clone(), sent_at: Some(entry.at) });
    let standing = match (message.standing(), told) {
        (Standing::Ended { ending, .. }, Some(Standing::Ended { ending: late, sent_at })) if late.outranks(ending) => {
            Standing::Ended { ending: late, sent_at }
        }
        (ended @ Standing::Ended { .. }, _) => ended.clone(),
        (_, Some(told)) if reserved.is_none_or(|send| send.mark != Mark::MayRepeat) => told,
        // Reserved, and the outcome is still to come.
        (_, None) if reserved.is_some_and(|send| send.mark != Mark::MayRepeat) => Standing::Queued,
        (standing, _) => standing.clone(),
    };
    let (status, reason, next_attempt_at) = summary(&standing);
    let (platform, sent_at) = match standing {
        Standing::Ended { ending, sent_at } => (ending.platform, sent_at),
        Standing::Queued | Standing::Waiting { .. } => (None, None),
    };
    MessageView {
        id,
        channel: message.channel.clone(),
        openid: message.openid.clone(),
        template: message.template.clone(),
        status,
        reason,
        next_attempt_at,
        platform,
        accepted_at: message.accepted_at,
        sent_at,
    }
}
