//! All live campaigns of a channel and one person: who gets them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::campaign::Live;
use crate::channel::{Channel, Health};
use crate::choice::{Candidate, Fate, Rank, choose};
use crate::decide::{Case, Hold, Offer};
use crate::ids::SubscriberId;
use crate::person::Person;
use crate::reason::ReasonCode;
use crate::rfm::Cuts;
use crate::segment::Facts;
use crate::template::Template;

/// A campaign that competes, with its template.
#[derive(Clone, Copy, Debug)]
pub struct Entrant<'a> {
    /// The campaign.
    pub live: &'a Live<'a>,
    /// The template it uses.
    pub template: &'a Template,
}

/// What all of a channel's people are looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// How it is doing.
    pub health: &'a Health,
    /// Its zone.
    pub zone: &'a TimeZone,
    /// Where its quintiles meet.
    pub cuts: Option<&'a Cuts>,
    /// When a send would start.
    pub now: Timestamp,
}

/// A campaign that may be sent to a person.
#[derive(Clone, Debug)]
pub struct Win {
    /// Its position among the entrants.
    pub entrant: usize,
    /// What is sent.
    pub offer: Offer,
    /// How good it is.
    pub rank: Rank,
    /// Positions of the entrants that it outbid.
    pub losers: Vec<usize>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Contest {
    /// The campaigns that may go, the best first.
    pub wins: Vec<Win>,
    /// When the first that must wait may go, where that is known for many people alike: hours of the day and caps.
    pub ready_at: Option<Timestamp>,
}

impl<'a> Field<'a> {
    /// Lets the entrants compete for a person; `is_listed` tells whether the person is on the list of the entrant at a
    /// position, and is asked of those that have a list.
    #[must_use]
    pub fn contest(
        &self,
        entrants: &[Entrant<'a>],
        person: &Person,
        to: &SubscriberId,
        mut is_listed: impl FnMut(usize) -> bool,
    ) -> Contest {
        let Some(subscriber) = person.subscriber(to) else { return Contest::default() };
        let facts = Facts { person, subscriber, cuts: self.cuts, zone: self.zone, now: self.now };
        let mut is_meant = |index: usize, entrant: &Entrant<'_>| {
            entrant.live.is_for(&facts) && (entrant.live.campaign.segment.is_some() || is_listed(index))
        };
        let meant: Vec<(usize, Offer)> = (entrants.iter().enumerate())
            .filter(|(index, entrant)| is_meant(*index, entrant))
            .map(|(index, entrant)| (index, entrant.live.offer_for(person, to, self.channel, self.now)))
            .collect();
        let candidates: Vec<Candidate<'_>> = meant
            .iter()
            .filter_map(|(index, offer)| {
                let entrant = entrants.get(*index)?;
                Some(Candidate { case: self.case(entrant.template, person, offer), merit: entrant.live.merit(1.0) })
            })
            .collect();
        let choice = choose(&candidates);
        let position = |at: usize| meant.get(at).map(|(index, _)| *index);
        let win = |at: &usize| {
            let losers = choice.outbid_by(*at).filter_map(position).collect();
            let rank = Rank::new(&candidates.get(*at)?.merit);
            Some(Win { entrant: position(*at)?, offer: meant.get(*at)?.1.clone(), rank, losers })
        };
        Contest { wins: choice.sent.iter().filter_map(win).collect(), ready_at: ready_at(&choice.fates) }
    }

    pub(super) fn case<'b>(&'b self, template: &'b Template, person: &'b Person, offer: &'b Offer) -> Case<'b> {
        Case { person, offer, channel: self.channel, health: self.health, template, now: self.now }
    }
}

/// The first time at which one of those that wait may go. Where everybody has a time of their own, as with the minimum gap,
/// the next census comes early enough.
fn ready_at(fates: &[Fate]) -> Option<Timestamp> {
    let waits = fates.iter().filter_map(|fate| match fate {
        Fate::Held(Hold::Wait { until, reason }) => {
            let is_shared = reason.as_ref().is_none_or(|reason| {
                matches!(
                    reason.code,
                    ReasonCode::QuietHours
                        | ReasonCode::CapSubscriber
                        | ReasonCode::CapTopic
                        | ReasonCode::CapBusinessLine
                )
            });
            is_shared.then_some(*until)
        }
        _ => None,
    });
    waits.min()
}
