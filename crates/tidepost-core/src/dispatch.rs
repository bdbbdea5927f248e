//! Reserve, send, receipt: the part that must never be wrong.
//!
//! A reservation is one compare-and-swap of the person's item. [`reserve`] computes the new item; when the swap fails
//! because the item changed, or because an earlier try of the same write had succeeded unheard, [`reserve`] is simply
//! asked again with the item as it is now.

use jiff::Timestamp;

use crate::category::Category;
use crate::channel::Channel;
use crate::decide::{Case, Hold, Offer, caps, decide};
use crate::grant::Payment;
use crate::ids::{MessageId, Nonce};
use crate::person::{Person, counter_key};
use crate::reason::{Reason, ReasonCode};
use crate::sends::{Mark, RecentSend, second, second_rounded_up};
use crate::template::TemplateKind;
use crate::time::day_number;

/// How often a reservation is decided again after the item changed, before the message goes back to the queue.
pub const RESERVE_TRIES: usize = 4;

/// What the ledger says to a delivery that wants to send.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// Swap the item for this one; if that succeeds, call the platform.
    Swap(Box<Reserved>),
    /// This delivery holds the reservation already: an earlier swap succeeded unheard. Call the platform.
    Ours(Payment),
    /// Another delivery reserved it, now or before. Do not call.
    Elsewhere(RecentSend),
    /// A rule says no. Do not call.
    Held(Hold),
}

/// A person with one send paid for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reserved {
    /// The item to store.
    pub person: Person,
    /// What was taken.
    pub payment: Payment,
}

/// Decides what a delivery named `nonce` does with an offer. `held` is what this delivery tried to store before, if it
/// did: with it an unheard success is known for what it is.
#[must_use]
pub fn reserve(case: &Case<'_>, nonce: Nonce, held: Option<&Payment>) -> Step {
    let offer = case.offer;
    let mut mark = Mark::Reserved;
    if let Some(known) = case.person.sends.find(offer.id) {
        match (known.nonce == nonce, held, known.mark) {
            (true, Some(payment), _) => return Step::Ours(payment.clone()),
            (_, _, Mark::MayRepeat) if offer.category == Category::Basic => mark = Mark::Repeated,
            _ => return Step::Elsewhere(*known),
        }
    }
    if let Some(hold) = decide(case) {
        return Step::Held(hold);
    }
    let mut person = case.person.clone();
    person.sends.forget(case.now);
    let grant = person
        .subscriber_mut(&offer.to)
        .grants
        .entry(offer.template.clone())
        .or_default();
    let Some(payment) = grant.pay(&offer.template, case.template, case.channel, case.now) else {
        return Step::Held(Hold::Refuse(Reason::new(
            ReasonCode::NoGrant,
            "no consent for this template is left",
        )));
    };
    count(&mut person, offer, case.channel, case.now);
    person.sends.remember(RecentSend {
        id: offer.id,
        nonce,
        at: second(case.now),
        not_after: second_rounded_up(offer.not_after),
        mark,
    });
    Step::Swap(Box::new(Reserved { person, payment }))
}

/// Bumps every cap of the channel that concerns the offer, and drops counters of past periods.
fn count(person: &mut Person, offer: &Offer, channel: &Channel, now: Timestamp) {
    let zone = person.zone(channel);
    let oldest = [crate::time::Calendar::Day, crate::time::Calendar::Week].map(|period| day_number(period, &zone, now));
    let oldest = oldest.into_iter().min().unwrap_or(i32::MIN);
    person.counters.retain(|_, (first_day, _)| *first_day >= oldest);
    for cap in &channel.policy.caps {
        let Some(subject) = caps::subject(cap, offer) else {
            continue;
        };
        let counted = person.counted(cap, subject, &zone, now).saturating_add(1);
        person.counters.insert(
            counter_key(cap, subject),
            (day_number(cap.per.calendar(), &zone, now), counted),
        );
    }
}

/// Takes back what [`count`] counted at `reserved_at`, unless its period has passed.
fn uncount(person: &mut Person, offer: &Offer, channel: &Channel, reserved_at: Timestamp) {
    let zone = person.zone(channel);
    for cap in &channel.policy.caps {
        let Some(subject) = caps::subject(cap, offer) else {
            continue;
        };
        let first_day = day_number(cap.per.calendar(), &zone, reserved_at);
        if let Some((day, counted)) = person.counters.get_mut(&counter_key(cap, subject))
            && *day == first_day
        {
            *counted = counted.saturating_sub(1);
        }
    }
}

/// What a reservation becomes when the call certainly did not deliver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// It will be tried again later: entry, grant and counts are taken back.
    Undo,
    /// It is refused for good: the entry stays and is marked, grant and counts are given back.
    Refused,
    /// The platform knows of no grant: the entry stays and is marked, counts are given back, the grant stays consumed.
    NoGrant,
    /// The outcome is unknown and the message is `basic`: it may be tried once more.
    MayRepeat,
}

/// The person after a reservation of `nonce` was settled; `None` when there is nothing to change.
#[must_use]
pub fn settle(
    person: &Person,
    offer: &Offer,
    channel: &Channel,
    kind: TemplateKind,
    nonce: Nonce,
    payment: &Payment,
    settlement: Settlement,
) -> Option<Person> {
    let own = person
        .sends
        .find(offer.id)
        .filter(|send| send.nonce == nonce && send.mark != Mark::Refused)?;
    let reserved_at = Timestamp::from_second(i64::from(own.at)).ok()?;
    if settlement == Settlement::MayRepeat {
        return may_repeat(person, offer.id, nonce);
    }
    let mut person = person.clone();
    let grant = person
        .subscriber_mut(&offer.to)
        .grants
        .entry(payment.template().to_owned())
        .or_default();
    match settlement {
        Settlement::NoGrant => grant.contradict(kind),
        _ => grant.refund(payment),
    }
    uncount(&mut person, offer, channel, reserved_at);
    match settlement {
        Settlement::Undo => person.sends.remove(offer.id, nonce),
        _ => drop(person.sends.mark(offer.id, nonce, Mark::Refused)),
    }
    Some(person)
}

/// Lets a `basic` message whose first outcome is unknown be tried once more; `None` when it had its second try.
#[must_use]
pub fn may_repeat(person: &Person, id: MessageId, nonce: Nonce) -> Option<Person> {
    person
        .sends
        .find(id)
        .filter(|send| send.nonce == nonce && send.mark == Mark::Reserved)?;
    let mut person = person.clone();
    person.sends.mark(id, nonce, Mark::MayRepeat);
    Some(person)
}
