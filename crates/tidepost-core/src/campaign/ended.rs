//! Occurrences that are over, one after the other: so that everybody whom they were for is accounted for once.

use jiff::Timestamp;

use crate::campaign::{Campaign, Control, Course, Occurrence, Status};
use crate::ids::CampaignId;

/// An occurrence that is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// Which; its period goes on to the end that was planned.
    pub occurrence: Occurrence,
    /// When it ended: then, or when it was stopped.
    pub at: Timestamp,
    /// Whether somebody had stopped or paused it.
    pub was_cut: bool,
}

impl Campaign {
    /// The occurrences that ended after `since` and by `by`, one after the other; none where it never ran.
    pub fn all_ended_after<'a>(
        &'a self,
        id: CampaignId,
        control: &'a Control,
        since: Option<Timestamp>,
        by: Timestamp,
    ) -> impl Iterator<Item = Ended> + use<'a> {
        let course = self.course();
        let next = move |since| course.as_ref()?.ended_after(id, control, since, by);
        let first = next(since);
        std::iter::successors(first, move |last| next(Some(last.at)))
    }

    /// The last occurrence of a campaign that is over at `now`; `None` where it is not, or never ran.
    #[must_use]
    pub fn last_ended(&self, id: CampaignId, control: &Control, now: Timestamp) -> Option<Ended> {
        if !matches!(control.status(self.life(), now), Status::Stopped | Status::Finished) {
            return None;
        }
        let last_moment = control.ends_at(self.life()).checked_sub(jiff::SignedDuration::from_millis(1)).ok()?;
        self.ended(self.occurrence(id, last_moment)?, control).filter(|ended| ended.at <= now)
    }

    fn ended(&self, occurrence: Occurrence, control: &Control) -> Option<Ended> {
        let at = occurrence.period.closes_at.min(control.ends_at(self.life()));
        let has_run = *control != Control::Draft && occurrence.period.opens_at < at;
        let was_cut = match control {
            Control::Paused { at: paused_at, .. } => paused_at.is_none_or(|paused_at| paused_at < at),
            Control::Stopped { at: stopped_at } => stopped_at.is_none() || at < occurrence.period.closes_at,
            Control::Draft | Control::Started => false,
        };
        has_run.then_some(Ended { occurrence, at, was_cut })
    }
}

impl Course<'_> {
    /// The first occurrence that ended after `since` and by `by`.
    fn ended_after(&self, id: CampaignId, control: &Control, since: Option<Timestamp>, by: Timestamp) -> Option<Ended> {
        let since = since.map_or(self.campaign.from, |since| since.max(self.campaign.from));
        let occurrence = self.occurrence(id, since).or_else(|| self.occurrence(id, self.next_start(since)?))?;
        self.campaign.ended(occurrence, control).filter(|ended| since < ended.at && ended.at <= by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brake::PausedBecause;
    use crate::campaign::tests::{campaign, id};
    use crate::time::plus_seconds;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ends(campaign: &Campaign, control: &Control) -> Vec<(Timestamp, bool)> {
        let all = campaign.all_ended_after(id(), control, None, Timestamp::MAX);
        all.map(|ended| (ended.at, ended.was_cut)).collect()
    }

    #[test]
    fn a_campaign_ends_once_and_not_before_its_time() {
        let campaign = campaign("{}");
        assert_eq!(ends(&campaign, &Control::Started), [(campaign.until, false)]);
        let early = plus_seconds(campaign.until, -1);
        assert_eq!(campaign.all_ended_after(id(), &Control::Started, None, early).next(), None);
        assert_eq!(campaign.last_ended(id(), &Control::Started, early), None);
        assert!(campaign.last_ended(id(), &Control::Started, campaign.until).is_some());
        let paused = |at| Control::Paused { because: PausedBecause::requested(), at, held_at: None };
        assert_eq!(ends(&campaign, &paused(None)), [(campaign.until, true)]);
        assert_eq!(ends(&campaign, &paused(Some(early))), [(campaign.until, true)]);
        assert_eq!(ends(&campaign, &Control::Draft), []);
    }

    #[test]
    fn what_is_stopped_ends_then_unless_it_never_ran() {
        let campaign = campaign("{}");
        let stopped = |at| Control::Stopped { at: Some(at) };
        let noon = at("2026-11-22T12:00:00+08:00");
        assert_eq!(ends(&campaign, &stopped(noon)), [(noon, true)]);
        assert_eq!(ends(&campaign, &stopped(plus_seconds(campaign.from, -60))), []);
        assert_eq!(campaign.last_ended(id(), &stopped(campaign.from), noon), None);
    }

    #[test]
    fn each_occurrence_ends_when_the_next_one_starts_and_the_last_with_the_campaign() {
        let campaign = campaign(
            r#"{"schedule":{"cron":"0 9 * * *","time_zone":"Asia/Shanghai"},"until":"2026-11-24T08:00:00+08:00"}"#,
        );
        let all = ["2026-11-22T09:00:00+08:00", "2026-11-23T09:00:00+08:00", "2026-11-24T08:00:00+08:00"];
        assert_eq!(ends(&campaign, &Control::Started), all.map(|end| (at(end), false)));
        let stopped = Control::Stopped { at: Some(at("2026-11-23T08:00:00+08:00")) };
        assert_eq!(ends(&campaign, &stopped), [(at(all[0]), false), (at("2026-11-23T08:00:00+08:00"), true)]);
        let paused = Control::Paused {
            because: PausedBecause::requested(),
            at: Some(at("2026-11-22T09:01:00+08:00")),
            held_at: None,
        };
        assert_eq!(ends(&campaign, &paused), [(at(all[0]), false), (at(all[1]), true), (at(all[2]), true)]);
        let last = campaign.last_ended(id(), &Control::Started, campaign.until).unwrap();
        assert_eq!(last.occurrence.period.opens_at, at(all[1]));
        // Those of before it was started do not count.
        let since = Some(at("2026-11-22T10:00:00+08:00"));
        let first = campaign.all_ended_after(id(), &Control::Started, since, Timestamp::MAX).next().unwrap();
        assert_eq!(first.at, at(all[1]));
    }
}
