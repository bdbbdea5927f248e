//! What a campaign that is over was to people: who was sent it, and why the others were not.
//!
//! Nobody writes a row per person for that. A census that begins once the last sends have come down decides on each person
//! as of the campaign's end, and only counts; the same decision answers for one person who is asked for later.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::campaign::{Ended, Live};
use crate::choice::{HeldBack, Outbid};
use crate::decide::{Case, Hold, decide};
use crate::ids::{CampaignId, MessageId, SubscriberId};
use crate::person::Person;
use crate::reason::ReasonCode;
use crate::recover::DELIVERY_SECONDS;
use crate::segment::Facts;
use crate::sends::KEPT_SECONDS;
use crate::sweep::contest::Field;
use crate::template::Template;
use crate::time::{plus_milliseconds, plus_seconds};

/// How long after a campaign's end its last sends have come down, in seconds.
pub const SETTLED_SECONDS: i64 = DELIVERY_SECONDS + 10;

/// How long after its end a campaign is looked for that was not accounted for, in seconds: as long as its list is kept,
/// less the time that a census takes.
pub const UNTOLD_SECONDS: i64 = 20 * 3_600;

/// An occurrence that is over, with all that is needed to tell whom it meant. Its campaign is worked out for its last
/// moment.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// The campaign.
    pub live: &'a Live<'a>,
    /// Its template; `None` where that is gone, or the campaign does not fit it any more.
    pub template: Option<&'a Template>,
    /// When it ended, and how.
    pub ended: Ended,
}

/// What it was to one person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Account {
    /// They were sent it; how that ended stands in the receipts.
    Sent,
    /// They were not.
    HeldBack {
        /// Why.
        reason: ReasonCode,
        /// [`CampaignId::short`] of the campaign that they got instead.
        winner: Option<[u8; 4]>,
    },
}

impl Closing<'_> {
    /// Whether a tally is of it.
    #[must_use]
    pub fn is_of(&self, tally: &RangeTally) -> bool {
        tally.offer == self.ended.occurrence.id.offer_id() && tally.ended_at == self.ended.at
    }
}

impl Ended {
    /// The last moment at which it could be sent.
    #[must_use]
    pub fn last_moment(&self) -> Timestamp {
        plus_milliseconds(self.at, -1)
    }
}

impl Field<'_> {
    /// What a campaign that is over was to a person, as far as the person's item tells at `self.now`; `None` where it did
    /// not mean them. `is_listed` is asked for one that has a list.
    #[must_use]
    pub fn account(
        &self,
        closing: &Closing<'_>,
        person: &Person,
        to: &SubscriberId,
        is_listed: bool,
    ) -> Option<Account> {
        let (live, at) = (closing.live, closing.ended.last_moment());
        if was_sent(live, closing.ended, person, self.now) {
            return Some(Account::Sent);
        }
        let held_back = |reason| Some(Account::HeldBack { reason, winner: None });
        let has_list = live.campaign.segment.is_none();
        if person.erased_at.is_some() {
            // What segments ask for went with the person.
            return if has_list && is_listed { held_back(ReasonCode::Erased) } else { None };
        }
        let facts = Facts { person, subscriber: person.subscriber(to)?, cuts: self.cuts, zone: self.zone, now: at };
        if !live.is_for(&facts) || (has_list && !is_listed) {
            return None;
        }
        if let Some(lost) = person.outbids.iter().find(|lost| lost_it(lost, live.id, closing.ended)) {
            return Some(Account::HeldBack { reason: ReasonCode::Outbid, winner: Some(lost.winner) });
        }
        let Some(template) = closing.template else { return held_back(ReasonCode::TemplateUnusable) };
        let before = as_of(person, closing.ended.at);
        let offer = live.offer_for(&before, to, self.channel, at);
        held_back(match decide(&Case { now: at, ..self.case(template, &before, &offer) }) {
            Some(Hold::Refuse(reason)) => reason.code,
            _ if closing.ended.was_cut => ReasonCode::CampaignStopped,
            Some(Hold::Wait { reason, .. }) => reason.map_or(ReasonCode::DeadlinePassed, |reason| reason.code),
            // Nothing about the person: the windows did not hold them.
            None => ReasonCode::QuotaWindow,
        })
    }
}

impl Field<'_> {
    /// What it was to a person who is known by several openids, all of them meant: they were sent it under one, or are held
    /// back by what was in the way of the one that came closest.
    #[must_use]
    pub fn account_of_all(&self, closing: &Closing<'_>, person: &Person, openids: &[SubscriberId]) -> Option<Account> {
        let accounts = openids.iter().filter_map(|to| self.account(closing, person, to, true));
        accounts.min_by_key(|account| match account {
            Account::Sent => 0,
            Account::HeldBack { reason: ReasonCode::NoGrant, .. } => 2,
            Account::HeldBack { .. } => 1,
        })
    }
}

/// The person without what was sent since, which says nothing of then; what was spent on it nobody can tell any more.
fn as_of(person: &Person, time: Timestamp) -> Cow<'_, Person> {
    let mut sends = person.sends.clone();
    sends.retain_until(time);
    if sends == person.sends { Cow::Borrowed(person) } else { Cow::Owned(Person { sends, ..person.clone() }) }
}

fn was_sent(live: &Live<'_>, ended: Ended, person: &Person, now: Timestamp) -> bool {
    let forgotten_from = plus_seconds(ended.occurrence.period.closes_at, KEPT_SECONDS);
    person.sends.find(ended.occurrence.id.offer_id()).is_some()
        || (now >= forgotten_from
            && person.activity.has_received_since(live.id.whole(), ended.occurrence.period.opens_at))
}

fn lost_it(lost: &Outbid, campaign: CampaignId, ended: Ended) -> bool {
    let during = ended.occurrence.period.opens_at.as_second()..=ended.at.as_second();
    lost.loser == campaign.short() && during.contains(&i64::from(lost.at))
}

/// How many people a campaign's end found how.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tally {
    /// People who were sent it, however that ended.
    #[serde(rename = "s", default)]
    pub sent: u64,
    /// The others whom it meant, by the reason.
    #[serde(rename = "h", default)]
    pub held_back: BTreeMap<ReasonCode, u64>,
}

impl Tally {
    /// Counts one person.
    pub fn add(&mut self, account: &Account) {
        match account {
            Account::Sent => self.sent += 1,
            Account::HeldBack { reason, .. } => self.add_held_back(*reason, 1),
        }
    }

    /// Counts people who were held back for the same reason.
    pub fn add_held_back(&mut self, reason: ReasonCode, people: u64) {
        if people > 0 {
            *self.held_back.entry(reason).or_default() += people;
        }
    }

    /// Adds up two tallies of different people, or of different occurrences.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        other.held_back.iter().for_each(|(reason, people)| self.add_held_back(*reason, *people));
    }

    /// Everybody whom it meant.
    #[must_use]
    pub fn people(&self) -> u64 {
        self.sent + self.held_back.values().sum::<u64>()
    }
}

/// What the people of one range say of an occurrence that is over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RangeTally {
    /// The occurrence.
    #[serde(rename = "o")]
    pub offer: MessageId,
    /// When it ended.
    #[serde(rename = "e")]
    pub ended_at: Timestamp,
    /// People of its list whom the ledger knows.
    #[serde(rename = "l", default)]
    pub listed: u64,
    /// The counts.
    #[serde(rename = "t", default)]
    pub tally: Tally,
}

/// The sum of all ranges, for the occurrences that each of them counted.
#[must_use]
pub fn sum(ranges: &[&[RangeTally]]) -> Vec<RangeTally> {
    let Some((first, others)) = ranges.split_first() else { return Vec::new() };
    let whole = |one: &RangeTally| {
        let mut sum = one.clone();
        for range in others {
            let other = range.iter().find(|other| other.offer == one.offer && other.ended_at == one.ended_at)?;
            sum.listed += other.listed;
            sum.tally.merge(&other.tally);
        }
        Some(sum)
    };
    first.iter().filter_map(whole).collect()
}

impl Account {
    /// The account as a person may ask for it; `None` where there is nothing to explain. `known`: the channel's campaigns.
    #[must_use]
    pub fn told(&self, campaign: CampaignId, ended_at: Timestamp, known: &[CampaignId]) -> Option<HeldBack> {
        let Self::HeldBack { reason, winner } = self else { return None };
        let winner = winner.and_then(|short| known.iter().find(|id| id.short() == short)).map(|id| id.whole());
        Some(HeldBack { campaign: campaign.whole(), reason: Some(*reason), winner, at: ended_at })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::campaign::tests::{campaign, id, template};
    use crate::campaign::{Campaign, Control};
    use crate::channel::tests::shop;
    use crate::channel::{Channel, Health};
    use crate::ids::Nonce;
    use crate::person::{Answer, Heard, Subscriber};
    use crate::sends::{Mark, RecentSend, second};
    use crate::template::TemplateKind;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn to() -> SubscriberId {
        SubscriberId::new("shop", "o1")
    }

    /// Somebody with the tag and so many consents.
    fn vip(grants: u8) -> Person {
        let mut person = Person::new(&to());
        person.tags.insert("vip".to_owned());
        for grant in 0..grants {
            let answer = Answer {
                template: "TMPL_B".into(),
                kind: TemplateKind::OneTime,
                consent: crate::grant::Consent::Accept,
                terms: crate::grant::Terms::default(),
            };
            let heard = Heard { event: [grant; 8], source: crate::grant::Source::Event, answers: vec![answer] };
            person.hear(&to(), &heard, at("2026-11-20T00:00:00Z"));
        }
        person
    }

    fn sent(id: CampaignId, time: Timestamp) -> RecentSend {
        let (at, not_after) = (second(time), second(time));
        RecentSend { id: id.offer_id(), nonce: Nonce([0; 8]), at, not_after, mark: Mark::Reserved, hours_before: 0 }
    }

    struct World {
        channel: Channel,
        campaign: Campaign,
        control: Control,
        has_template: bool,
        /// How long after the end it is asked, in seconds.
        later_seconds: i64,
    }

    impl World {
        fn new(changes: &str) -> Self {
            let mut campaign = campaign(changes);
            campaign.segment = campaign.segment.map(|_| crate::campaign::SegmentSource::Text("tag('vip')".into()));
            Self {
                channel: shop(),
                campaign,
                control: Control::Started,
                has_template: true,
                later_seconds: SETTLED_SECONDS,
            }
        }

        fn ended(&self) -> Ended {
            self.campaign.all_ended_after(id(), &self.control, None, Timestamp::MAX).next().unwrap()
        }

        fn account(&self, person: &Person, is_listed: bool) -> Option<Account> {
            self.looking(|field, closing| field.account(closing, person, &to(), is_listed))
        }

        fn looking<T>(&self, look: impl Fn(&Field<'_>, &Closing<'_>) -> T) -> T {
            let (template, ended, health) = (template(), self.ended(), Health::default());
            let live = Live::new(id(), &self.campaign, &template, ended.last_moment()).unwrap().unwrap();
            let closing = Closing { live: &live, template: self.has_template.then_some(&template), ended };
            let field = Field {
                channel: &self.channel,
                health: &health,
                zone: &TimeZone::UTC,
                cuts: None,
                now: plus_seconds(ended.at, self.later_seconds),
            };
            look(&field, &closing)
        }

        fn reason(&self, person: &Person) -> Option<ReasonCode> {
            match self.account(person, true)? {
                Account::Sent => None,
                Account::HeldBack { reason, .. } => Some(reason),
            }
        }
    }

    #[test]
    fn everybody_of_the_segment_is_sent_it_or_has_a_reason() {
        let world = World::new(r#"{"until":"2026-11-28T20:00:00+08:00"}"#);
        assert_eq!(world.account(&Person::new(&to()), false), None, "not meant");
        assert_eq!(world.reason(&vip(0)), Some(ReasonCode::NoGrant));
        assert_eq!(world.reason(&vip(1)), Some(ReasonCode::QuotaWindow));
        let mut person = vip(1);
        person.sends.remember(sent(id(), at("2026-11-22T12:00:00+08:00")));
        person.tags.clear();
        assert_eq!(world.account(&person, false), Some(Account::Sent), "also when they left the segment since");
        let mut person = vip(1);
        person.preferences.stopped = true;
        assert_eq!(world.reason(&person), Some(ReasonCode::Stopped));
        let mut person = vip(0);
        let winner = CampaignId::derive("shop", "k_1", "autumn", at("2026-11-20T00:00:00Z"));
        person.outbids.note(winner, &[id().short()], at("2026-11-22T12:00:00+08:00"));
        let account = world.account(&person, false).unwrap();
        let told = account.told(id(), world.ended().at, &[winner]).unwrap();
        assert_eq!((told.reason, told.winner, told.at), (Some(ReasonCode::Outbid), Some(winner), world.campaign.until));
        let mut person = vip(0);
        person.outbids.note(winner, &[id().short()], at("2026-11-21T07:59:59+08:00"));
        assert_eq!(world.reason(&person), Some(ReasonCode::NoGrant), "an earlier competition is none of it");
    }

    #[test]
    fn quiet_hours_at_the_end_and_a_stop_are_reasons() {
        let mut world = World::new(r#"{"until":"2026-11-28T23:00:00+08:00"}"#);
        assert_eq!(world.reason(&vip(1)), Some(ReasonCode::QuietHours));
        world.control = Control::Stopped { at: Some(at("2026-11-25T23:00:00+08:00")) };
        assert_eq!(world.reason(&vip(1)), Some(ReasonCode::CampaignStopped), "they might have waited");
        assert_eq!(world.reason(&vip(0)), Some(ReasonCode::NoGrant));
    }

    #[test]
    fn where_the_template_is_gone_that_is_the_reason_of_all_who_were_not_sent_it() {
        let world = World { has_template: false, ..World::new(r#"{"until":"2026-11-28T20:00:00+08:00"}"#) };
        assert_eq!(world.reason(&vip(1)), Some(ReasonCode::TemplateUnusable));
        let mut person = vip(0);
        person.sends.remember(sent(id(), at("2026-11-22T12:00:00+08:00")));
        assert_eq!(world.account(&person, false), Some(Account::Sent));
        assert_eq!(world.account(&Person::new(&to()), false), None, "not meant");
    }

    #[test]
    fn a_person_with_two_openids_is_one() {
        let world = World::new(r#"{"until":"2026-11-28T20:00:00+08:00"}"#);
        let other = SubscriberId::new("shop", "o2");
        let mut person = vip(1);
        let of_other =
            Subscriber { openid: other.openid.clone(), grants: BTreeMap::new(), ..person.subscribers[0].clone() };
        person.subscribers.push(of_other);
        let of = |person: &Person, openids: &[SubscriberId]| match world
            .looking(|field, closing| field.account_of_all(closing, person, openids))
        {
            Some(Account::HeldBack { reason, .. }) => Some(reason),
            Some(Account::Sent) | None => None,
        };
        assert_eq!(of(&person, &[other.clone(), to()]), Some(ReasonCode::QuotaWindow), "the first has no consent");
        assert_eq!(of(&person, std::slice::from_ref(&other)), Some(ReasonCode::NoGrant));
        assert_eq!(of(&person, &[]), None);
        person.sends.remember(sent(id(), at("2026-11-22T12:00:00+08:00")));
        let account = world.looking(|field, closing| field.account_of_all(closing, &person, &[other.clone(), to()]));
        assert_eq!(account, Some(Account::Sent));
    }

    #[test]
    fn what_came_after_the_end_is_no_reason() {
        let mut world = World::new(r#"{"until":"2026-11-28T20:00:00+08:00"}"#);
        world.channel.policy.minimum_gap_seconds = 3_600;
        let mut person = vip(1);
        let other = CampaignId::derive("shop", "k_1", "autumn", at("2026-11-20T00:00:00Z"));
        person.sends.remember(sent(other, plus_seconds(world.campaign.until, 60)));
        assert_eq!(world.reason(&person), Some(ReasonCode::QuotaWindow));
        person.sends.remember(sent(other, plus_seconds(world.campaign.until, -60)));
        assert_eq!(world.reason(&person), Some(ReasonCode::MinimumGap));
    }

    #[test]
    fn of_a_list_also_who_was_erased_is_told_and_long_afterwards_what_was_received() {
        let mut world = World::new(r#"{"segment":null,"list":["o1"],"variants":[]}"#);
        let erased = vip(1).erased(at("2026-11-22T12:00:00+08:00"));
        assert_eq!(world.reason(&erased), Some(ReasonCode::Erased));
        assert_eq!((world.account(&erased, false), world.account(&vip(1), false)), (None, None));
        let mut person = vip(1);
        person.activity.note_received(id(), second(at("2026-11-22T12:00:00+08:00")));
        assert!(world.reason(&person).is_some(), "as long as it is remembered, memory is the record");
        world.later_seconds = KEPT_SECONDS;
        assert_eq!(world.account(&person, true), Some(Account::Sent));
    }

    proptest! {
        /// However the people are divided into ranges, everybody is counted once; what a range did not count is not told.
        #[test]
        fn ranges_add_up(counts in prop::collection::vec((0_u64..50, 0_u64..50, 0_u64..50), 1..8)) {
            let ranges: Vec<Vec<RangeTally>> = counts.iter().map(|(sent, no_grant, outbid)| {
                let mut tally = Tally { sent: *sent, ..Tally::default() };
                tally.add_held_back(ReasonCode::NoGrant, *no_grant);
                tally.add_held_back(ReasonCode::Outbid, *outbid);
                vec![RangeTally { offer: id().offer_id(), ended_at: Timestamp::UNIX_EPOCH, listed: 1, tally }]
            }).collect();
            let mut slices: Vec<&[RangeTally]> = ranges.iter().map(Vec::as_slice).collect();
            let all = sum(&slices);
            let expected: u64 = counts.iter().map(|(a, b, c)| a + b + c).sum();
            prop_assert_eq!((all[0].tally.people(), all[0].listed), (expected, counts.len() as u64));
            slices.push(&[]);
            prop_assert_eq!(sum(&slices), []);
        }
    }
}
