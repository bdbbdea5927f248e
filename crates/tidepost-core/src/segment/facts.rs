//! Whether a segment means a person.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::ids::CampaignId;
use crate::person::{Person, Subscriber};
use crate::rfm::{Cuts, Quintiles};
use crate::segment::build::date;
use crate::segment::{Field, Literal, NEW_DAYS, Node, Op, Ready, SILENT_DAYS, Segment};
use crate::time::local_day;

/// What is known of one person when a segment is asked about them.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The person.
    pub person: &'a Person,
    /// The person on the segment's channel.
    pub subscriber: &'a Subscriber,
    /// Where the quintiles of the channel's buyers meet; without them nobody has any.
    pub cuts: Option<&'a Cuts>,
    /// The channel's zone: the one the cuts were counted in.
    pub zone: &'a TimeZone,
    /// The time at which it is asked.
    pub now: Timestamp,
}

impl Segment {
    /// Whether the person is meant.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.0.matches(facts)
    }
}

impl Node {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(facts)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(facts)),
            Self::Not(part) => !part.matches(facts),
            Self::Tag(tag) => facts.person.tags.contains(tag),
            Self::Grant(template) => facts.holds(template),
            Self::Received(campaign) => facts.received(*campaign),
            Self::Clicked(campaign) => facts.person.activity.has_clicked(*campaign),
            Self::Ready(ready) => facts.is(*ready),
            Self::Compare(field, op, literal) => {
                facts.value(field).and_then(|value| value.compare(literal)).is_some_and(|order| op.holds(order))
            }
            Self::In(field, literals) => facts.value(field).is_some_and(|value| {
                literals.iter().any(|literal| value.compare(literal).is_some_and(Ordering::is_eq))
            }),
            Self::Contains(field, text) => {
                matches!(facts.value(field), Some(Known::Text(known)) if known.contains(text.as_str()))
            }
            Self::Exists(field) => facts.value(field).is_some(),
        }
    }
}

impl Op {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A field's value, where there is one.
enum Known<'a> {
    Text(&'a str),
    Number(f64),
    Bool(bool),
    Date(Date),
}

impl Known<'_> {
    /// How the value compares; `None` for values of two kinds.
    fn compare(&self, literal: &Literal) -> Option<Ordering> {
        match (self, literal) {
            (Self::Text(known), Literal::Text(text)) => Some((*known).cmp(text)),
            (Self::Text(known), Literal::Date(day)) => date(known).map(|known| known.cmp(day)),
            (Self::Number(known), Literal::Number(number)) => known.partial_cmp(number),
            (Self::Bool(known), Literal::Bool(bool)) => Some(known.cmp(bool)),
            (Self::Date(known), Literal::Date(day)) => Some(known.cmp(day)),
            _ => None,
        }
    }
}

impl<'a> Facts<'a> {
    fn value(&self, field: &Field) -> Option<Known<'a>> {
        let activity = &self.person.activity;
        let purchases = &self.person.purchases;
        match field {
            Field::Attribute(name) => known(self.person.attributes.get(name)?),
            Field::FirstSeen => activity.first_seen().map(|time| self.date(time)),
            Field::FirstSeenDays => activity.first_seen().map(|time| days(self.days_since(time.as_second()))),
            Field::LastActive => activity.last_active().map(|time| self.date(time)),
            Field::LastActiveDays => activity.last_active().map(|time| days(self.days_since(time.as_second()))),
            Field::PurchaseFrequency => Some(Known::Number(f64::from(purchases.count()))),
            Field::PurchaseMonetary => Some(Known::Number(amount(purchases.total_cents()))),
            Field::PurchaseRecency => purchases.last_at().map(|at| days(self.days_since(i64::from(at)))),
            Field::RfmFrequency => self.quintile(|quintiles| quintiles.frequency),
            Field::RfmMonetary => self.quintile(|quintiles| quintiles.monetary),
            Field::RfmRecency => self.quintile(|quintiles| quintiles.recency),
        }
    }

    fn date(&self, time: Timestamp) -> Known<'a> {
        Known::Date(self.zone.to_datetime(time).date())
    }

    fn days_since(&self, second: i64) -> i64 {
        local_day(self.zone, self.now.as_second()) - local_day(self.zone, second)
    }

    fn quintile(&self, pick: fn(Quintiles) -> u8) -> Option<Known<'a>> {
        let quintiles = self.cuts?.quintiles(&self.person.purchases, self.zone)?;
        Some(Known::Number(f64::from(pick(quintiles))))
    }

    fn holds(&self, template: &str) -> bool {
        self.subscriber.grants.get(template).is_some_and(|grant| grant.available(self.now) > 0)
    }

    fn received(&self, campaign: CampaignId) -> bool {
        let is_of = |id: Option<CampaignId>| id.map(CampaignId::whole) == Some(campaign);
        let mut sends = self.person.sends.iter().filter(|send| send.may_arrive());
        self.person.activity.has_received(campaign) || sends.any(|send| is_of(send.id.campaign()))
    }

    fn is(&self, ready: Ready) -> bool {
        let days = |time: Option<Timestamp>| time.map(|time| self.days_since(time.as_second()));
        let (seen, active) = (days(self.person.activity.first_seen()), days(self.person.activity.last_active()));
        match ready {
            Ready::New => seen.is_some_and(|days| days < NEW_DAYS),
            Ready::Active => active.is_some_and(|days| days < SILENT_DAYS),
            Ready::Silent => active.or(seen).is_some_and(|days| days >= SILENT_DAYS),
        }
    }
}

fn known(attribute: &Value) -> Option<Known<'_>> {
    match attribute {
        Value::String(text) => Some(Known::Text(text)),
        Value::Number(number) => number.as_f64().map(Known::Number),
        Value::Bool(bool) => Some(Known::Bool(*bool)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "days of calendars are far below 2^53")]
fn days<'a>(days: i64) -> Known<'a> {
    Known::Number(days as f64)
}

/// Cents as units of the currency: the number that the same decimal in a segment is read as.
#[expect(clippy::cast_precision_loss, reason = "exact below 90,000,000,000,000.00")]
fn amount(cents: u64) -> f64 {
    cents as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Nonce, SubscriberId};
    use crate::sends::{Mark, RecentSend};

    #[test]
    fn a_campaign_is_received_unless_the_platform_refused_it() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let campaign = CampaignId::derive("shop", "k_1", "spring", now);
        let received = Segment::parse(&format!("received('{campaign}')")).unwrap();
        let sent = |campaign: CampaignId, mark: Mark| {
            let mut person = Person::new(&SubscriberId::new("shop", "o1"));
            let send = RecentSend {
                id: campaign.offer_id(),
                nonce: Nonce([1; 8]),
                at: 1,
                not_after: 2,
                mark,
                hours_before: 0,
            };
            person.sends.remember(send);
            let subscriber = &person.subscribers[0];
            received.matches(&Facts { person: &person, subscriber, cuts: None, zone: &TimeZone::UTC, now })
        };
        assert!(sent(campaign, Mark::Reserved));
        assert!(sent(campaign.occurrence(now), Mark::Reserved), "one occurrence of it");
        assert!(!sent(campaign, Mark::Refused));
        assert!(!sent(CampaignId::derive("shop", "k_1", "autumn", now), Mark::Reserved));
    }
}
