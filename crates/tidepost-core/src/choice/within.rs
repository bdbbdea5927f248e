//! Within one person: which of the campaigns that want them get them.

use crate::choice::rank::Merit;
use crate::decide::{Case, Hold, decide};
use crate::dispatch::{Step, reserve};
use crate::ids::Nonce;
use crate::person::Person;

/// One campaign's offer to the person, and how good it is.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The offer and all that the rules look at.
    pub case: Case<'a>,
    /// What it is compared by.
    pub merit: Merit,
}

/// What becomes of a candidate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It goes.
    Sent,
    /// It might go, but for the candidate at this position, which is better.
    Outbid {
        /// Position of the candidate that took its place.
        winner: usize,
    },
    /// It had this offer before.
    Had,
    /// A rule holds it back, whoever else there is.
    Held(Hold),
}

/// What becomes of all candidates.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// One per candidate, in their order.
    pub fates: Vec<Fate>,
    /// Positions of those that go, the best first.
    pub sent: Vec<usize>,
}

impl Choice {
    /// Positions of those that the candidate at `winner` outbid.
    pub fn outbid_by(&self, winner: usize) -> impl Iterator<Item = usize> {
        let losers = self.fates.iter().enumerate();
        losers.filter(move |(_, fate)| **fate == Fate::Outbid { winner }).map(|(index, _)| index)
    }
}

/// Decides on all offers to one person together: the best go, as many as the person's grants, caps and gaps allow. All
/// candidates must speak of the same person.
#[must_use]
pub fn choose(candidates: &[Candidate<'_>]) -> Choice {
    let mut choice = Choice { fates: candidates.iter().map(alone).collect(), sent: Vec::new() };
    let free = candidates.iter().enumerate().zip(&choice.fates).filter(|(_, fate)| **fate == Fate::Sent);
    let mut ordered: Vec<(usize, &Candidate<'_>)> = free.map(|(candidate, _)| candidate).collect();
    let id = |candidate: &Candidate<'_>| candidate.case.offer.id.to_bytes();
    ordered.sort_by(|(_, a), (_, b)| b.merit.compare(&a.merit).then_with(|| id(a).cmp(&id(b))));
    // The person as they would be after each of those that go.
    let mut after: Vec<(usize, Person)> = Vec::new();
    for (index, candidate) in ordered {
        let blocks = |(_, person): &&(usize, Person)| decide(&Case { person, ..candidate.case }).is_some();
        if let Some((winner, _)) = after.iter().find(blocks) {
            if let Some(fate) = choice.fates.get_mut(index) {
                *fate = Fate::Outbid { winner: *winner };
            }
            continue;
        }
        choice.sent.push(index);
        let person = after.last().map_or(candidate.case.person, |(_, person)| person);
        if let Step::Swap(reserved) = reserve(&Case { person, ..candidate.case }, Nonce([0; 8]), None) {
            after.push((index, reserved.person));
        }
    }
    choice
}

/// What would become of a candidate that is the only one.
fn alone(candidate: &Candidate<'_>) -> Fate {
    let case = &candidate.case;
    if case.person.sends.find(case.offer.id).is_some() {
        return Fate::Had;
    }
    decide(case).map_or(Fate::Sent, Fate::Held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::category::Category;
    use crate::channel::tests::shop;
    use crate::channel::{Cap, CapPeriod, CapScope, Channel, Health};
    use crate::decide::Offer;
    use crate::decide::tests::{NOON, at, offer, person, template};
    use crate::reason::ReasonCode;
    use crate::template::Template;

    struct World {
        person: Person,
        channel: Channel,
        template: Template,
        offers: Vec<(Offer, u8, f64)>,
    }

    impl World {
        /// A person with `grants` consents, at most `cap` sends a day, and offers of (topic, category, priority, worth).
        fn new(grants: u8, cap: u16, offers: &[(&str, Category, u8, f64)]) -> Self {
            let mut channel = shop();
            channel.policy.caps = vec![
                Cap { scope: CapScope::Subscriber, per: CapPeriod::Day, limit: cap },
                Cap { scope: CapScope::Topic, per: CapPeriod::Day, limit: 1 },
            ];
            let made = |(index, (topic, category, priority, worth)): (usize, &(&str, Category, u8, f64))| {
                let offer = Offer { topic: (*topic).into(), category: *category, ..offer(&index.to_string()) };
                (offer, *priority, *worth)
            };
            let offers = offers.iter().enumerate().map(made).collect();
            Self { person: person(grants), channel, template: template(), offers }
        }

        fn choose(&self) -> Choice {
            let health = Health::default();
            let (channel, template, person) = (&self.channel, &self.template, &self.person);
            let candidate = |(offer, priority, worth): &'_ (Offer, u8, f64)| {
                let (category, deadline) = (offer.category, offer.not_after);
                (offer.clone(), Merit { category, priority: *priority, worth: *worth, deadline })
            };
            let offers: Vec<(Offer, Merit)> = self.offers.iter().map(candidate).collect();
            let case = |offer| Case { person, offer, channel, health: &health, template, now: at(NOON) };
            let candidates = offers.iter().map(|(offer, merit)| Candidate { case: case(offer), merit: *merit });
            choose(&candidates.collect::<Vec<_>>())
        }
    }

    use Category::{Basic, Marketing, Reminder};

    #[test]
    fn the_best_win_as_many_as_the_cap_lets_and_the_losers_know_to_whom() {
        let offers = [
            ("a", Marketing, 100, 9.0),
            ("b", Reminder, 10, 1.0),
            ("c", Reminder, 60, 1.0),
            ("d", Basic, 0, 0.0),
            ("e", Reminder, 60, 2.0),
        ];
        let mut world = World::new(9, 2, &offers);
        world.template.marketing_allowed = true;
        let choice = world.choose();
        assert_eq!(choice.sent, [3, 4]);
        assert_eq!(choice.outbid_by(4).collect::<Vec<_>>(), [0, 1, 2], "the last that went took their place");
        assert_eq!(choice.outbid_by(3).count(), 0);
    }

    #[test]
    fn a_loser_names_the_winner_that_stands_in_its_way() {
        let choice =
            World::new(9, 5, &[("x", Reminder, 90, 1.0), ("y", Reminder, 80, 1.0), ("x", Reminder, 70, 1.0)]).choose();
        assert_eq!(choice.sent, [0, 1]);
        assert_eq!(
            choice.fates[2],
            Fate::Outbid { winner: 0 },
            "the topic is taken, though a third send is not too many"
        );
    }

    #[test]
    fn one_grant_pays_for_one_winner() {
        let choice = World::new(1, 5, &[("x", Reminder, 50, 1.0), ("y", Reminder, 50, 3.0)]).choose();
        assert_eq!(choice.sent, [1]);
        assert_eq!(choice.fates[0], Fate::Outbid { winner: 1 });
    }

    #[test]
    fn what_a_rule_holds_back_is_not_outbid() {
        let mut world = World::new(9, 5, &[("x", Marketing, 50, 1.0), ("y", Reminder, 50, 1.0)]);
        let choice = world.choose();
        assert_eq!(choice.sent, [1]);
        assert!(
            matches!(&choice.fates[0], Fate::Held(Hold::Refuse(why)) if why.code == ReasonCode::MarketingNotAllowed)
        );
        world.person = person(0);
        assert!(world.choose().sent.is_empty());
    }

    #[test]
    fn nobody_gets_the_same_again() {
        let mut world = World::new(9, 5, &[("x", Reminder, 50, 1.0), ("y", Reminder, 40, 1.0)]);
        let health = Health::default();
        let case = Case {
            person: &world.person,
            offer: &world.offers[0].0,
            channel: &world.channel,
            health: &health,
            template: &world.template,
            now: at(NOON),
        };
        let Step::Swap(reserved) = reserve(&case, Nonce([0; 8]), None) else { panic!("held") };
        world.person = reserved.person;
        let choice = world.choose();
        assert_eq!((choice.sent.as_slice(), &choice.fates[0]), ([1].as_slice(), &Fate::Had));
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter() {
        let mut world =
            World::new(9, 2, &[("a", Reminder, 50, 1.0), ("b", Reminder, 50, 1.0), ("c", Reminder, 50, 1.0)]);
        let ids =
            |world: &World| -> Vec<_> { world.choose().sent.iter().map(|index| world.offers[*index].0.id).collect() };
        let first = ids(&world);
        world.offers.reverse();
        assert_eq!(ids(&world), first);
    }
}
