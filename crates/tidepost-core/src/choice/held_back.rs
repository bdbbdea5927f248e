//! Why a person did not get a campaign: defeats as they were noted, all else as it is when asked, or as of the campaign's end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::choice::outbid::Outbid;
use crate::choice::within::Fate;
use crate::decide::Hold;
use crate::ids::CampaignId;
use crate::person::Person;
use crate::reason::ReasonCode;

/// One campaign that a person did not get.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct HeldBack {
    /// Which.
    pub campaign: CampaignId,
    /// Why; `None` when it only waits for the hours it was made for.
    pub reason: Option<ReasonCode>,
    /// The campaign that the person got instead.
    pub winner: Option<CampaignId>,
    /// When that was found.
    pub at: Timestamp,
}

/// What holds campaigns back from a person: `known` are the channel's campaigns, `live` those that want the person at
/// `now`, with what [`choose`](crate::choice::choose) says of them, and `over` what those that are over were to the person.
/// The latest first.
#[must_use]
pub fn held_back(
    person: &Person,
    known: &[CampaignId],
    live: &[(CampaignId, Fate)],
    over: Vec<HeldBack>,
    now: Timestamp,
) -> Vec<HeldBack> {
    let mut all: BTreeMap<CampaignId, HeldBack> = BTreeMap::new();
    for one in person.outbids.iter().filter_map(|outbid| noted(outbid, known)).filter(|one| !had_since(person, one)) {
        all.insert(one.campaign, one);
    }
    for one in over {
        all.entry(one.campaign).or_insert(one);
    }
    for (campaign, fate) in live {
        let (reason, winner) = match fate {
            Fate::Sent | Fate::Had => continue,
            Fate::Outbid { winner } => (Some(ReasonCode::Outbid), live.get(*winner).map(|(winner, _)| winner.whole())),
            Fate::Held(Hold::Refuse(reason)) => (Some(reason.code), None),
            Fate::Held(Hold::Wait { reason, .. }) => (reason.as_ref().map(|reason| reason.code), None),
        };
        let campaign = campaign.whole();
        // A defeat says more than what holds the campaign back afterwards, which may well follow from it.
        all.entry(campaign).or_insert(HeldBack { campaign, reason, winner, at: now });
    }
    let mut all: Vec<HeldBack> = all.into_values().collect();
    all.sort_by_key(|one| (std::cmp::Reverse(one.at), one.campaign));
    all
}

/// A defeat with the campaigns' names; `None` when the loser is not known any more.
fn noted(outbid: &Outbid, known: &[CampaignId]) -> Option<HeldBack> {
    let named = |short: [u8; 4]| known.iter().find(|id| id.short() == short).map(|id| id.whole());
    Some(HeldBack {
        campaign: named(outbid.loser)?,
        reason: Some(ReasonCode::Outbid),
        winner: named(outbid.winner),
        at: Timestamp::from_second(i64::from(outbid.at)).ok()?,
    })
}

fn had_since(person: &Person, lost: &HeldBack) -> bool {
    let is_of_it = |id: crate::ids::MessageId| id.campaign().is_some_and(|id| id.whole() == lost.campaign);
    // What is forgotten there was received before the present time, and as a rule after the defeat.
    person.activity.has_received_since(lost.campaign, lost.at)
        || person.sends.iter().any(|send| is_of_it(send.id) && i64::from(send.at) >= lost.at.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Nonce;
    use crate::reason::Reason;
    use crate::sends::{Mark, RecentSend, second};
    use crate::time::plus_seconds;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00+08:00".parse().unwrap()
    }

    fn campaign(name: &str) -> CampaignId {
        CampaignId::derive("shop", "k", name, now())
    }

    fn shown(
        person: &Person,
        live: &[(CampaignId, Fate)],
    ) -> Vec<(CampaignId, Option<ReasonCode>, Option<CampaignId>)> {
        let known = ["a", "b", "c"].map(campaign);
        let later = plus_seconds(now(), 3_600);
        held_back(person, &known, live, Vec::new(), later)
            .into_iter()
            .map(|one| (one.campaign, one.reason, one.winner))
            .collect()
    }

    #[test]
    fn a_noted_defeat_outlasts_what_holds_the_campaign_back_now() {
        let mut person = Person::default();
        person.outbids.note(campaign("a").occurrence(now()), &[campaign("b").short()], now());
        let capped = Fate::Held(Hold::Wait {
            until: plus_seconds(now(), 86_400),
            reason: Some(Reason::new(ReasonCode::CapSubscriber, "")),
        });
        let no_grant = Fate::Held(Hold::Refuse(Reason::new(ReasonCode::NoGrant, "")));
        let live = [(campaign("b"), capped), (campaign("c"), no_grant), (campaign("a").occurrence(now()), Fate::Had)];
        assert_eq!(
            shown(&person, &live),
            [
                (campaign("c"), Some(ReasonCode::NoGrant), None),
                (campaign("b"), Some(ReasonCode::Outbid), Some(campaign("a"))),
            ]
        );
    }

    #[test]
    fn a_campaign_that_came_through_later_is_not_held_back() {
        let mut person = Person::default();
        person.outbids.note(campaign("a"), &[campaign("b").short()], now());
        person.sends.remember(RecentSend {
            id: campaign("b").offer_id(),
            nonce: Nonce([0; 8]),
            at: second(plus_seconds(now(), 60)),
            not_after: u32::MAX,
            mark: Mark::Reserved,
            hours_before: 0,
        });
        assert_eq!(shown(&person, &[(campaign("b"), Fate::Had)]), []);
    }

    #[test]
    fn who_would_be_outbid_now_is_told_so() {
        let live = [(campaign("a"), Fate::Sent), (campaign("b"), Fate::Outbid { winner: 0 })];
        let expected = [(campaign("b"), Some(ReasonCode::Outbid), Some(campaign("a")))];
        assert_eq!(shown(&Person::default(), &live), expected);
    }
}
