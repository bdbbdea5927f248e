//! Reserve, send, receipt: the part that must never be wrong.
//!
//! A reservation is one compare-and-swap of the person's item. [`reserve`] computes the new item; when the swap fails
//! because the item changed, or because an earlier try of the same write had succeeded unheard, [`reserve`] is simply
//! asked again with the item as it is now.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::category::Category;
use crate::channel::{Cap, CapPeriod, CapScope, Channel};
use crate::decide::{Case, Hold, Offer, caps, decide, wait_or_refuse};
use crate::grant::Payment;
use crate::ids::{MessageId, Nonce};
use crate::outcome::{Ending, PlatformWord};
use crate::person::{ITEM_MAX_BYTES, Person, counter_key};
use crate::reason::{Reason, ReasonCode};
use crate::reply::{Answer, CallResult, QuotaPeriod, Reply, RetryReason};
use crate::sends::{Mark, RecentSend, second, second_rounded_up};
use crate::template::TemplateKind;
use crate::time::{Calendar, calendar_period, day_number, hour_of, plus_milliseconds, plus_seconds};

/// How often a reservation is decided again after the item changed, before the message goes back to the queue.
pub const RESERVE_TRIES: usize = 4;

/// How long a delivery waits for an edge or a rate slot rather than park what waits, in seconds.
pub const PATIENCE_SECONDS: i64 = 10;

/// How long a `basic` message with an unknown outcome waits for the platform's event before its second try, in seconds
/// from its first reservation.
pub const REPEAT_SECONDS: i64 = 60;

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
    let (mut mark, mut hours_before) = (Mark::Reserved, 0);
    if let Some(known) = case.person.sends.find(offer.id) {
        match (known.nonce == nonce, held, known.mark) {
            (true, Some(payment), Mark::Reserved | Mark::Repeated) => return Step::Ours(payment.clone()),
            (_, _, Mark::MayRepeat) if offer.category == Category::Basic => {
                if let Some(hold) = repeat_hold(case, known) {
                    return Step::Held(hold);
                }
                let hours = (hour_of(case.now).as_second() - known.hour().as_second()) / 3_600;
                (mark, hours_before) = (Mark::Repeated, u8::try_from(hours).unwrap_or(u8::MAX));
            }
            _ => return Step::Elsewhere(*known),
        }
    }
    if let Some(hold) = decide(case) {
        return Step::Held(hold);
    }
    let mut person = case.person.remembered(case.now);
    let grant = person.subscriber_mut(&offer.to).grants.entry(offer.template.clone()).or_default();
    let Some(payment) = grant.pay(&offer.template, case.template, case.channel, case.now) else {
        return Step::Held(Hold::Refuse(Reason::new(ReasonCode::NoGrant, "no consent for this template is left")));
    };
    count(&mut person, offer, case.channel, case.now);
    person.sends.remember(RecentSend {
        id: offer.id,
        nonce,
        at: second(case.now),
        not_after: second_rounded_up(offer.not_after),
        mark,
        hours_before,
    });
    Step::Swap(Box::new(Reserved { person, payment }))
}

/// Holds a second try back while the platform's event on the first may still come.
fn repeat_hold(case: &Case<'_>, first: &RecentSend) -> Option<Hold> {
    // The ledger keeps whole seconds, rounded down: one more makes the pause never too short.
    let until = plus_seconds(first.reserved_at(), REPEAT_SECONDS + 1);
    let reason = || Reason::new(ReasonCode::InFlight, "the first try is unknown, and its event may still come");
    (case.now < until).then(|| wait_or_refuse(case.offer, until, Some(reason())))
}

/// What a send is counted under: the person's day and week whatever the channel, because another channel of theirs may cap
/// them, and topic and business line where this channel caps those.
fn counters(channel: &Channel, offer: &Offer) -> BTreeSet<(String, Calendar)> {
    let everywhere = [CapPeriod::Day, CapPeriod::Week].map(|per| Cap { scope: CapScope::Subscriber, per, limit: 0 });
    let caps = everywhere.iter().chain(&channel.policy.caps);
    caps.filter_map(|cap| Some((counter_key(cap, caps::subject(cap, offer)?), cap.per.calendar()))).collect()
}

/// Bumps every count that concerns the offer, and drops counters of past periods.
fn count(person: &mut Person, offer: &Offer, channel: &Channel, now: Timestamp) {
    let zone = person.zone(channel);
    let oldest = [Calendar::Day, Calendar::Week].map(|period| day_number(period, &zone, now));
    let oldest = oldest.into_iter().min().unwrap_or(i32::MIN);
    person.counters.retain(|_, (first_day, _)| *first_day >= oldest);
    for (key, period) in counters(channel, offer) {
        let today = day_number(period, &zone, now);
        let (day, counted) = person.counters.entry(key).or_insert((today, 0));
        if *day < today {
            (*day, *counted) = (today, 0);
        }
        *counted = counted.saturating_add(1);
    }
}

/// Takes back what [`count`] counted at `reserved_at`, unless its period has passed.
fn uncount(person: &mut Person, offer: &Offer, channel: &Channel, reserved_at: Timestamp) {
    let zone = person.zone(channel);
    for (key, period) in counters(channel, offer) {
        let first_day = day_number(period, &zone, reserved_at);
        if let Some((day, counted)) = person.counters.get_mut(&key)
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
        .filter(|send| send.nonce == nonce && matches!(send.mark, Mark::Reserved | Mark::Repeated))?;
    let reserved_at = own.reserved_at();
    let mut person = person.clone();
    let grant = person.subscriber_mut(&offer.to).grants.entry(payment.template().to_owned()).or_default();
    match settlement {
        Settlement::NoGrant => grant.contradict(kind),
        _ => grant.refund(payment),
    }
    uncount(&mut person, offer, channel, reserved_at);
    match settlement {
        // The first try stays in memory: with its entry gone, a second and a third would be allowed.
        Settlement::Undo if own.mark == Mark::Repeated => drop(person.sends.mark(offer.id, nonce, Mark::MayRepeat)),
        Settlement::Undo => person.sends.remove(offer.id, nonce),
        _ => drop(person.sends.mark(offer.id, nonce, Mark::Refused)),
    }
    Some(person)
}

/// Lets a `basic` message whose first outcome is unknown be tried once more; `None` when it had its second try.
#[must_use]
pub fn may_repeat(person: &Person, id: MessageId, nonce: Nonce) -> Option<Person> {
    person.sends.find(id).filter(|send| send.nonce == nonce && send.mark == Mark::Reserved)?;
    let mut person = person.clone();
    person.sends.mark(id, nonce, Mark::MayRepeat);
    Some(person)
}

/// Forbids the second try of a message whose outcome became known; `None` when none was allowed.
#[must_use]
pub fn never_again(person: &Person, id: MessageId) -> Option<Person> {
    let nonce = person.sends.find(id).filter(|send| send.mark == Mark::MayRepeat)?.nonce;
    let mut person = person.clone();
    person.sends.mark(id, nonce, Mark::Told);
    Some(person)
}

/// What the person's memory says of a message that is to end without a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Uncalled {
    /// Nobody reserved it: it ends and nothing was sent, once the item is swapped for this one. `None` where nobody can
    /// reserve it, because the person was erased.
    Never(Option<Box<Person>>),
    /// Its first try, of the hour given, is unknown, and there will be no second once the item is swapped.
    FirstTry(Box<Person>, Timestamp),
    /// A delivery has it or had it, perhaps another since the item was last read: that delivery tells how it ended.
    Elsewhere,
    /// Nothing more can be remembered of this person: the walk over the messages ends it, when nobody sends it any more.
    NoRoom,
}

/// Ends a message, accepted at `accepted_at`, that `nonce` will not call for. As reserving it would be, that is one swap of
/// the person's item: of a delivery that sends it and one that ends it, one is first.
#[must_use]
pub fn uncalled(person: &Person, offer: &Offer, accepted_at: Timestamp, nonce: Nonce, now: Timestamp) -> Uncalled {
    match person.sends.find(offer.id) {
        Some(first) if first.mark == Mark::MayRepeat => {
            let mut ended = person.clone();
            ended.sends.mark(offer.id, first.nonce, Mark::Told);
            Uncalled::FirstTry(Box::new(ended), first.hour())
        }
        Some(_) => Uncalled::Elsewhere,
        None if person.erased_at.is_some() => Uncalled::Never(None),
        None => {
            let mut ended = person.remembered(now);
            ended.sends.remember(RecentSend {
                id: offer.id,
                nonce,
                at: second(accepted_at),
                not_after: second_rounded_up(offer.not_after),
                mark: Mark::Unsent,
                hours_before: 0,
            });
            // Half of the room is kept for what is sent.
            let has_room = ended.size_bytes() <= ITEM_MAX_BYTES / 2;
            if has_room { Uncalled::Never(Some(Box::new(ended))) } else { Uncalled::NoRoom }
        }
    }
}

/// Calls of one reservation at the most: the first and the retries of definite refusals.
pub const CALLS_MAX: u32 = 3;

/// The longest that a delivery waits before it calls again, in seconds; what takes longer is parked.
const AGAIN_WITHIN_SECONDS: u32 = 3;

/// How long a message is parked when the platform or the way to it is down, in seconds.
const DOWN_SECONDS: i64 = 30;

/// What a delivery does after a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FollowUp {
    /// The platform took it: note it, write nothing else.
    Done(Ending),
    /// It is refused for good: settle the reservation and note the ending.
    Settle(Settlement, Ending),
    /// It certainly did not deliver: call again under the same reservation, with a unit of its own.
    Again {
        /// How long to wait before.
        after_seconds: u32,
        /// Whether the token is to be fetched anew first.
        refresh_token: bool,
    },
    /// It certainly did not deliver and will not soon: undo the reservation and park the message.
    Park {
        /// When to try again; `None`: when the quota allows it.
        until: Option<Timestamp>,
        /// Why.
        reason: Reason,
        /// Which of the platform's quotas is used up, if that is why.
        exhausted: Option<QuotaPeriod>,
    },
    /// Nobody can tell whether it was delivered: note it, and never call again unless it is `basic`.
    Unknown(Ending),
}

/// Decides what follows a call. `calls` is how many were made under this reservation, this one included.
#[must_use]
pub fn follow_up(result: &CallResult, calls: u32, channel: &Channel, now: Timestamp) -> FollowUp {
    let answer = match result {
        CallResult::Answered(answer) => answer,
        CallResult::Unknown { detail } => {
            return FollowUp::Unknown(Ending::because(Reason::new(ReasonCode::Timeout, detail.clone()), None));
        }
        CallResult::NotSent { detail } => return park_in(DOWN_SECONDS, ReasonCode::Rate, detail, now),
    };
    let word = PlatformWord { code: answer.code, message: answer.message.clone(), message_id: None };
    match &answer.reply {
        Reply::Delivered { message_id } => {
            FollowUp::Done(Ending::delivered(PlatformWord { message_id: message_id.clone(), ..word }))
        }
        Reply::Retry { after_seconds, .. } if calls < CALLS_MAX && *after_seconds <= AGAIN_WITHIN_SECONDS => {
            FollowUp::Again { after_seconds: *after_seconds, refresh_token: false }
        }
        Reply::Retry { after_seconds, reason } => {
            let code = if *reason == RetryReason::Concurrent { ReasonCode::InFlight } else { ReasonCode::Rate };
            park_in(i64::from(*after_seconds).max(DOWN_SECONDS), code, &answer.message, now)
        }
        Reply::RefreshToken if calls == 1 => FollowUp::Again { after_seconds: 0, refresh_token: true },
        // A new token that is refused speaks of the channel's secret, not of the message: until a person repairs it, whoever
        // is to hear of their order loses nothing by the wait.
        Reply::RefreshToken => park_in(DOWN_SECONDS, ReasonCode::Rate, "the platform refuses the access token", now),
        Reply::QuotaExhausted { per } => FollowUp::Park {
            until: None,
            reason: Reason::new(ReasonCode::QuotaWindow, "the platform says that the quota is used up"),
            exhausted: Some(*per),
        },
        Reply::TemplateExhausted => {
            let detail = "the platform takes no more of this template for this person today";
            FollowUp::Park {
                until: Some(calendar_period(Calendar::Day, &channel.zone(), now).closes_at),
                reason: Reason::new(ReasonCode::QuotaWindow, detail),
                exhausted: None,
            }
        }
        Reply::NoGrant => {
            let reason = Reason::new(ReasonCode::NoGrant, "the platform knows of no consent that is left");
            FollowUp::Settle(Settlement::NoGrant, Ending::because(reason, Some(word)))
        }
        refusal => FollowUp::Settle(Settlement::Refused, Ending::because(final_refusal(refusal), Some(word))),
    }
}

/// Until when the whole channel rests, if the platform says that it calls too often: to the end of a second, or of the
/// minute where the platform counts those (platforms.md A2, 45011 and 44990 to 44991). Calls that are refused together
/// ask for the same rest.
#[must_use]
pub fn rest(result: &CallResult, channel: &Channel, now: Timestamp) -> Option<Timestamp> {
    let CallResult::Answered(Answer { reply: Reply::Retry { after_seconds, reason: RetryReason::Rate }, .. }) = result
    else {
        return None;
    };
    if *after_seconds < 60 {
        let end = Timestamp::from_second(now.as_second() + 1).unwrap_or(Timestamp::MAX);
        return Some(plus_seconds(end, i64::from(*after_seconds)));
    }
    let minute = calendar_period(Calendar::Minute, &channel.zone(), now);
    Some(plus_milliseconds(minute.closes_at, i64::from(channel.skew_milliseconds)))
}

/// Why the platform refuses for good.
fn final_refusal(reply: &Reply) -> Reason {
    let (code, detail) = match reply {
        Reply::TargetUnusable => (ReasonCode::TargetUnusable, "the platform does not know this openid"),
        Reply::TemplateUnusable => (ReasonCode::TemplateUnusable, "the platform does not take this template or page"),
        Reply::ContentRefused => (ReasonCode::ContentRefused, "the platform refuses the content; change the words"),
        Reply::BadRequest { field: Some(field) } => {
            return Reason::new(ReasonCode::BadRequest, format!("the platform finds {field} malformed"));
        }
        Reply::BadRequest { field: None } => (ReasonCode::BadRequest, "the platform finds the request malformed"),
        Reply::ChannelBanned => (ReasonCode::ChannelBanned, "the platform does not let this channel send"),
        _ => (ReasonCode::PlatformError, "the platform refuses, and trying again does not help"),
    };
    Reason::new(code, detail)
}

fn park_in(seconds: i64, code: ReasonCode, detail: &str, now: Timestamp) -> FollowUp {
    FollowUp::Park { until: Some(plus_seconds(now, seconds)), reason: Reason::new(code, detail), exhausted: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Health;
    use crate::channel::tests::shop;
    use crate::decide::tests::{NOON, at, offer, person, template};
    use crate::ids::CampaignId;

    /// Noon of another day, without quiet hours and caps in the way.
    fn reserved(person: &Person, offer: &Offer, now: &str) -> Person {
        let (channel, health, template) = (shop(), Health::default(), template());
        let case = Case { person, offer, channel: &channel, health: &health, template: &template, now: at(now) };
        match reserve(&case, Nonce([1; 8]), None) {
            Step::Swap(reserved) => reserved.person,
            other => panic!("not reserved: {other:?}"),
        }
    }

    #[test]
    fn of_sending_and_ending_only_one_happens() {
        let (channel, health, template) = (shop(), Health::default(), template());
        let (offer, fresh) = (offer("a"), person(5));
        let end = |person: &Person| uncalled(person, &offer, at(NOON), Nonce([2; 8]), at(NOON));
        assert_eq!(end(&reserved(&fresh, &offer, NOON)), Uncalled::Elsewhere);
        let Uncalled::Never(Some(ended)) = end(&fresh) else { panic!("nobody had reserved it") };
        assert_eq!(ended.sends.last_at(), None, "it counts for no gap");
        let case = Case {
            person: &ended,
            offer: &offer,
            channel: &channel,
            health: &health,
            template: &template,
            now: at(NOON),
        };
        assert!(matches!(reserve(&case, Nonce([1; 8]), None), Step::Elsewhere(_)));
        assert_eq!(end(&ended), Uncalled::Elsewhere, "it is ended once");
    }

    #[test]
    fn a_second_try_that_never_comes_is_ended_in_the_hour_of_the_first() {
        let offer = offer("a");
        let first = reserved(&person(5), &offer, NOON);
        let waiting = may_repeat(&first, offer.id, Nonce([1; 8])).unwrap();
        let later = at("2026-11-21T14:30:00+08:00");
        let Uncalled::FirstTry(ended, hour) = uncalled(&waiting, &offer, at(NOON), Nonce([2; 8]), later) else {
            panic!("its first try is unknown")
        };
        assert_eq!(hour, at(NOON));
        assert_eq!(ended.sends.find(offer.id).unwrap().mark, Mark::Told);
    }

    #[test]
    fn a_campaign_whose_reservation_is_forgotten_was_received_all_the_same() {
        let campaign = CampaignId::derive("shop", "k", "spring", at(NOON));
        let sent = Offer { id: campaign.offer_id(), ..offer("a") };
        let remembered = reserved(&person(5), &sent, NOON);
        assert!(!remembered.activity.has_received(campaign), "while it is remembered the memory is the record");
        let later = Offer { not_after: at("2026-12-24T12:00:00+08:00"), ..offer("b") };
        let forgotten = reserved(&remembered, &later, "2026-12-21T12:00:00+08:00");
        assert!(forgotten.sends.find(campaign.offer_id()).is_none());
        assert!(forgotten.activity.has_received(campaign));
    }
}
