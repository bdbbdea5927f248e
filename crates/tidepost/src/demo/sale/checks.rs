//! The campaigns' invariants, restated over what the simulator saw. None of the rules is called here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use crate::demo::checks::Findings;
use crate::demo::sale::app::source;
use crate::demo::sale::audience::Member;
use crate::demo::sale::run::{HeldBack, Told};
use crate::demo::truth::{Received, Truth};

/// Holds what was told against the truth.
#[must_use]
pub fn check(members: &[Member], campaigns: &[Told], held_back: &HeldBack, truth: &Truth) -> Findings {
    let mut times: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for received in &truth.received {
        *times.entry((&received.openid, campaign_of(received))).or_default() += 1;
    }
    Findings {
        overshoot: truth.windows.iter().map(|window| window.overshoot).sum(),
        doubled: times.values().filter(|times| **times > 1).count() as u64,
        lost: campaigns.iter().map(|campaign| unexplained(campaign, members, held_back, &times)).sum(),
        unpaid: unpaid(members, truth),
        strayed: times.keys().filter(|(openid, id)| !is_meant(members, campaigns, openid, id)).count() as u64,
        disturbed: disturbed(truth),
        miscounted: 0,
        misreported: campaigns.iter().map(|campaign| misreported(campaign, truth)).sum(),
    }
}

/// The campaign whose page a message leads to.
#[must_use]
pub fn campaign_of(received: &Received) -> &str {
    received.page.as_deref().map_or("", source)
}

/// People whom a campaign means, who did not get it, and of whom nobody says why; as many as ended unknown may be among them.
fn unexplained(campaign: &Told, members: &[Member], held_back: &HeldBack, times: &BTreeMap<(&str, &str), u64>) -> u64 {
    let is_open = |member: &&Member| {
        member.is_meant_by(&campaign.wanted)
            && !times.contains_key(&(member.openid.as_str(), campaign.id.as_str()))
            && !held_back.contains_key(&(member.openid.clone(), campaign.id.clone()))
    };
    (members.iter().filter(is_open).count() as u64).saturating_sub(campaign.unknown)
}

/// Each consent pays for one message.
fn unpaid(members: &[Member], truth: &Truth) -> u64 {
    let mut owed: BTreeMap<&str, i64> =
        members.iter().map(|member| (member.openid.as_str(), i64::from(member.consents))).collect();
    for received in &truth.received {
        *owed.entry(&received.openid).or_default() -= 1;
    }
    owed.values().filter(|left| **left < 0).count() as u64
}

fn is_meant(members: &[Member], campaigns: &[Told], openid: &str, id: &str) -> bool {
    let campaign = campaigns.iter().find(|campaign| campaign.id == id);
    let member = members.iter().find(|member| member.openid == openid);
    campaign.zip(member).is_some_and(|(campaign, member)| member.is_meant_by(&campaign.wanted))
}

/// Nothing between 22:00 and 08:00 in Shanghai, and nobody more than once on a day there.
fn disturbed(truth: &Truth) -> u64 {
    let zone = TimeZone::fixed(jiff::tz::offset(8));
    let mut days = BTreeSet::new();
    let mut wrong = 0;
    for received in &truth.received {
        let at = received.at.to_zoned(zone.clone());
        let is_first = days.insert((received.openid.as_str(), at.date()));
        wrong += u64::from(!is_first || !(8..22).contains(&at.hour()));
    }
    wrong
}

/// How far a campaign's count is from what was received; where the outcome is unknown it may be either.
fn misreported(campaign: &Told, truth: &Truth) -> u64 {
    let received = truth.received.iter().filter(|received| campaign_of(received) == campaign.id).count() as u64;
    let (least, most) = (campaign.delivered, campaign.delivered + campaign.unknown);
    least.saturating_sub(received) + received.saturating_sub(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sale::audience::CAMPAIGNS;

    fn member(openid: &str, consents: u32) -> Member {
        Member { openid: openid.to_owned(), tags: vec!["tea"], consents }
    }

    fn received(openid: &str, at: &str, campaign: &str) -> Received {
        serde_json::from_value(serde_json::json!({
            "at": at, "openid": openid, "template_id": "T", "data": {}, "page": format!("pages/sale?src={campaign}"),
        }))
        .unwrap()
    }

    fn told(delivered: u64, unknown: u64) -> [Told; 1] {
        [Told { wanted: CAMPAIGNS[0], id: "c_1".to_owned(), delivered, unknown }]
    }

    #[test]
    fn what_went_well_is_not_complained_of() {
        let members = [member("o1", 1), member("o2", 0)];
        let truth = Truth { received: vec![received("o1", "2026-03-23T08:00:00+08:00", "c_1")], ..Truth::default() };
        let held_back = [(("o2".to_owned(), "c_1".to_owned()), "no_grant".to_owned())].into();
        assert_eq!(check(&members, &told(1, 0), &held_back, &truth), Findings::default());
    }

    #[test]
    fn each_broken_invariant_is_found() {
        let members = [member("o1", 1), member("o2", 1)];
        let truth = Truth {
            received: vec![
                received("o1", "2026-03-23T07:59:59+08:00", "c_1"),
                received("o1", "2026-03-23T08:00:01+08:00", "c_1"),
                received("o9", "2026-03-23T08:00:01+08:00", "c_1"),
            ],
            ..Truth::default()
        };
        let findings = check(&members, &told(1, 1), &HeldBack::new(), &truth);
        assert_eq!((findings.doubled, findings.strayed, findings.unpaid), (1, 1, 2), "{findings:?}");
        assert_eq!((findings.disturbed, findings.misreported), (2, 1), "{findings:?}");
        assert_eq!(findings.lost, 0, "one may be unknown");
        assert_eq!(check(&members, &told(2, 0), &HeldBack::new(), &truth).lost, 1);
    }
}
