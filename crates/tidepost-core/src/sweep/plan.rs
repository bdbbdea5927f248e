//! What is handed out in a slot, by whom and from when on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::campaign::{Live, Pace};
use crate::category::Category;
use crate::channel::{Channel, Unit};
use crate::choice::{apportion, plan as threshold, portions};
use crate::ids::MessageId;
use crate::pace::{Supply, Wish, budget};
use crate::quota::Quota;
use crate::sweep::in_flight::FLIES_SECONDS;
use crate::sweep::roster::{Piece, Portion, handed_out, histogram};
use crate::sweep::slot::Slot;
use crate::time::{Period, plus_milliseconds, plus_seconds};

/// The plan of one slot. Never changed once it is stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotPlan {
    /// The roster that it hands out.
    #[serde(rename = "g")]
    pub generation: u32,
    /// The slot.
    #[serde(rename = "s")]
    pub slot: Period,
    /// When the first call starts.
    #[serde(rename = "b")]
    pub begins_at: Timestamp,
    /// Time between two calls, in microseconds.
    #[serde(rename = "c")]
    pub spacing_microseconds: i64,
    /// How many calls start at the slot's very edge, before `begins_at`.
    #[serde(rename = "e", default)]
    pub at_edge: u32,
    /// People of one flight at the most.
    #[serde(rename = "f", default = "flight_max_of_old")]
    pub flight_max: usize,
    /// What each range hands out, in order.
    #[serde(rename = "p")]
    pub portions: Vec<Portion>,
}

/// The recipients of one delivery, as positions in what a range hands out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flight {
    /// The first.
    pub from: usize,
    /// The first that is not in it.
    pub to: usize,
    /// When its first call starts.
    pub starts_at: Timestamp,
}

/// Recipients of one delivery at the most.
pub const FLIGHT_MAX: usize = 200;

/// Recipients of one delivery of a narrow window at the most: fewer cost more requests than they save.
const FLIGHT_NARROW_MAX: usize = 50;

/// The part of the narrowest window that one delivery takes at the most, as a divisor: with one that dies go the units that it
/// had taken and not used.
const FLIGHTS_OF_WINDOW: u32 = 33;

/// Plans of an earlier version say nothing of it.
fn flight_max_of_old() -> usize {
    FLIGHT_MAX
}

fn flight_max(channel: &Channel) -> usize {
    let counted = channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast);
    let narrowest = counted.map(|rule| rule.limit / FLIGHTS_OF_WINDOW).min().unwrap_or(u32::MAX);
    usize::try_from(narrowest).unwrap_or(FLIGHT_MAX).clamp(FLIGHT_NARROW_MAX, FLIGHT_MAX)
}

/// How long the calls of one delivery take at the channel's rate, in microseconds, at the most: the outcomes of one that
/// dies are unknown.
const FLIGHT_MICROSECONDS: i64 = 5_000_000;

impl SlotPlan {
    /// People in all.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.portions.iter().map(Portion::units).sum()
    }

    /// Units that its flights may still take at `now`: those of earlier ones are taken from the windows, or never will be.
    #[must_use]
    pub fn units_to_take(&self, now: Timestamp) -> u64 {
        let done = plus_seconds(now, -FLIES_SECONDS);
        let ranges = self.portions.iter().enumerate();
        let flights = ranges
            .flat_map(|(range, portion)| self.flights(range, usize::try_from(portion.units()).unwrap_or(usize::MAX)));
        flights.filter(|flight| flight.starts_at > done).map(|flight| (flight.to - flight.from) as u64).sum()
    }

    /// The deliveries of `count` people that the range at `range` hands out: one range after the other at the channel's
    /// rate, the first few calls at the edge.
    #[must_use]
    pub fn flights(&self, range: usize, count: usize) -> Vec<Flight> {
        let before: u64 = self.portions.iter().take(range).map(Portion::units).sum();
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let at_edge = usize::try_from(self.at_edge).unwrap_or(0);
        let calls_max = usize::try_from(FLIGHT_MICROSECONDS / self.spacing_microseconds.max(1)).unwrap_or(FLIGHT_MAX);
        let mut flights = Vec::new();
        let mut from = 0;
        while from < count {
            let place = before + from;
            let (starts_at, most) = match place.checked_sub(at_edge) {
                None => (self.slot.opens_at, at_edge - place),
                Some(place) => {
                    let micros = self.spacing_microseconds.saturating_mul(i64::try_from(place).unwrap_or(i64::MAX));
                    (plus_milliseconds(self.begins_at, micros / 1_000), self.flight_max)
                }
            };
            let to = count.min(from + most.min(calls_max).clamp(1, self.flight_max));
            flights.push(Flight { from, to, starts_at });
            from = to;
        }
        flights
    }
}

/// What is known when a slot is planned.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// What was taken of its windows.
    pub quota: &'a Quota,
    /// Slots that are planned and not over, with the units that they may still take: what they took is in `quota`.
    pub planned: &'a [(Period, u64)],
    /// Units that single messages will need in the slot.
    pub singles: u64,
    /// The live campaigns.
    pub lives: &'a [&'a Live<'a>],
    /// Occurrences that must not send in the slot.
    pub barred: &'a [MessageId],
    /// The roster's generation.
    pub generation: u32,
    /// What is left of each range's roster.
    pub ranges: &'a [&'a [Piece]],
    /// The time.
    pub now: Timestamp,
}

impl Outlook<'_> {
    /// Plans a slot; `None` when there is nobody to send to, or nothing to spend.
    #[must_use]
    pub fn plan(&self, slot: Slot) -> Option<SlotPlan> {
        let period = slot.usable(self.channel, self.now)?;
        let begins_at = period.opens_at;
        let offer = |live: &&Live<'_>| live.occurrence.id.offer_id();
        // Whom the slot would hand out too early would be off the roster until the next census.
        let is_out =
            |live: &&Live<'_>| self.barred.contains(&offer(live)) || begins_at < live.occurrence.period.opens_at;
        let wish = |live: &&Live<'_>| {
            let left = if is_out(live) { 0 } else { self.left_of(offer(live)) };
            Wish::of(live.campaign, live.occurrence.period, self.channel, left, slot.period)
        };
        let wishes: Vec<Wish> = self.lives.iter().map(wish).collect();
        let budget = budget(&self.supply(period), &wishes);
        let limits: Vec<(MessageId, u64)> = (self.lives.iter().zip(&budget.rations))
            .filter(|(live, _)| live.campaign.pace == Pace::Even || is_out(live))
            .map(|(live, ration)| (offer(live), ration.units))
            .collect();
        let portions = self.portions(budget.units, &limits);
        let is_first = begins_at == slot.inner(self.channel).opens_at;
        let plan = SlotPlan {
            generation: self.generation,
            slot: slot.period,
            begins_at,
            spacing_microseconds: self.quota.pace_microseconds(self.channel),
            at_edge: if is_first { self.at_edge(slot, &portions) } else { 0 },
            flight_max: flight_max(self.channel),
            portions,
        };
        (plan.units() > 0).then_some(plan)
    }

    fn left_of(&self, offer: MessageId) -> u64 {
        let pieces = self.ranges.iter().flat_map(|range| range.iter()).filter(|piece| piece.offer == offer);
        pieces.map(|piece| u64::from(piece.left())).sum()
    }

    fn supply(&self, slot: Period) -> Supply {
        let room = |category: Category| -> u64 {
            let Some(rooms) = self.quota.rooms(self.channel, category, slot.opens_at) else { return 0 };
            let left = rooms.into_iter().map(|(window, room)| {
                let planned = self.planned.iter().filter(|(other, _)| window.contains(other.opens_at));
                u64::from(room).saturating_sub(planned.map(|(_, units)| units).sum())
            });
            left.min().unwrap_or(u64::MAX)
        };
        let (all, others) = (room(Category::Basic), room(Category::Reminder));
        Supply {
            slot,
            room: all,
            basic_share: all.saturating_sub(others),
            singles: self.singles,
            rate_per_second: self.quota.rate_per_second(self.channel),
        }
    }

    /// Calls that may start at the very edge: each holds a unit of the window before too, of which so many are kept back.
    /// Where a day of broadcasts begins they are of any campaign that sends, so that each has to hold both days.
    fn at_edge(&self, slot: Slot, portions: &[Portion]) -> u32 {
        let edge = slot.period.opens_at;
        let may_send = |offer: MessageId| {
            let live = self.lives.iter().find(|live| live.occurrence.id.offer_id() == offer);
            live.is_some_and(|live| {
                live.occurrence.period.opens_at <= edge && self.quota.holds_broadcast(self.channel, live.id, edge)
            })
        };
        if !slot.opens_at_edge || !handed_out(self.ranges, portions).into_iter().all(may_send) {
            return 0;
        }
        let rooms = self.quota.rooms_at_edge(self.channel, slot.period.opens_at);
        let calls =
            i64::from(self.channel.skew_milliseconds) * 1_000 / self.quota.pace_microseconds(self.channel).max(1);
        rooms.min(u32::try_from(calls).unwrap_or(u32::MAX)).min(AT_EDGE_MAX)
    }

    /// Shares units among the ranges.
    fn portions(&self, units: u64, limits: &[(MessageId, u64)]) -> Vec<Portion> {
        let mut all: Vec<Portion> = vec![Portion::default(); self.ranges.len()];
        for (offer, units) in limits {
            let left = |range: &&[Piece]| -> u64 {
                range.iter().filter(|piece| piece.offer == *offer).map(|piece| u64::from(piece.left())).sum()
            };
            let counts: Vec<u64> = self.ranges.iter().map(left).collect();
            for (portion, share) in all.iter_mut().zip(apportion(*units, &counts)) {
                portion.limits.push((*offer, share));
            }
        }
        let limited = |(pieces, portion): (&&[Piece], &Portion)| {
            let mut left: BTreeMap<[u8; MessageId::SIZE_BYTES], u64> =
                portion.limits.iter().map(|(offer, units)| (offer.to_bytes(), *units)).collect();
            histogram(pieces, |offer, count| match left.get_mut(&offer.to_bytes()) {
                None => count,
                Some(left) => {
                    let count = count.min(*left);
                    *left -= count;
                    count
                }
            })
        };
        let ranges: Vec<_> = self.ranges.iter().zip(&all).map(limited).collect();
        let mut total = crate::choice::Histogram::default();
        ranges.iter().for_each(|range| total.merge(range));
        let threshold = threshold(&total, units, &self.channel.policy.business_line_weights);
        for (portion, lines) in all.iter_mut().zip(portions(&ranges, &threshold, units)) {
            portion.lines = lines;
        }
        all
    }
}

/// Calls at an edge at the most: they are one delivery.
const AT_EDGE_MAX: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::tests::{campaign, id, template};
    use crate::campaign::{Campaign, Live};
    use crate::channel::tests::shop;
    use crate::choice::Rank;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const NOW: &str = "2026-11-21T12:00:10+08:00";

    struct World {
        channel: Channel,
        campaign: Campaign,
        barred: Vec<MessageId>,
        planned: Vec<(Period, u64)>,
        quota: Quota,
        now: &'static str,
    }

    impl World {
        fn new(changes: &str) -> Self {
            let mut channel = shop();
            channel.quota_rules.retain(|rule| rule.id == "minute");
            Self {
                channel,
                campaign: campaign(changes),
                barred: Vec::new(),
                planned: Vec::new(),
                quota: Quota::default(),
                now: NOW,
            }
        }

        /// Plans the slot after the present one, for ranges of so many people.
        fn plan(&self, ranges: &[u32]) -> Option<SlotPlan> {
            let now = at(self.now);
            let live = Live::new(id(), &self.campaign, &template(), plus_seconds(now, 110)).unwrap().unwrap();
            let piece = |count: &u32| Piece {
                number: 0,
                line: "retail".into(),
                rank: Rank::new(&live.merit(1.0)),
                offer: live.occurrence.id.offer_id(),
                count: *count,
                taken: 0,
            };
            let pieces: Vec<[Piece; 1]> = ranges.iter().map(|count| [piece(count)]).collect();
            let ranges: Vec<&[Piece]> = pieces.iter().map(<[Piece; 1]>::as_slice).collect();
            let outlook = Outlook {
                channel: &self.channel,
                quota: &self.quota,
                planned: &self.planned,
                singles: 0,
                lives: &[&live],
                barred: &self.barred,
                generation: 1,
                ranges: &ranges,
                now,
            };
            outlook.plan(Slot::around(&self.channel, now).next(&self.channel))
        }
    }

    #[test]
    fn a_slot_hands_out_what_its_window_holds_one_call_after_the_other() {
        let plan = World::new("{}").plan(&[700, 300]).unwrap();
        assert_eq!(plan.portions.iter().map(Portion::units).collect::<Vec<_>>(), [420, 180]);
        assert_eq!(plan.begins_at, at("2026-11-21T12:01:02+08:00"), "past the band of the edge");
        let flights = |range, count| -> Vec<(usize, i64)> {
            let flights = plan.flights(range, count).into_iter();
            let after = |start: Timestamp| start.as_millisecond() - plan.begins_at.as_millisecond();
            flights.map(|flight| (flight.to - flight.from, after(flight.starts_at))).collect()
        };
        let whole = |after: i64| (50, after * 1_000);
        assert_eq!(flights(0, 120), [whole(0), whole(1), (20, 2_000)]);
        assert_eq!(flights(1, 180), [(50, 8_400), (50, 9_400), (50, 10_400), (30, 11_400)]);
    }

    #[test]
    fn what_windows_keep_back_goes_right_at_the_edge() {
        let mut world = World::new("{}");
        world.channel.quota_rules[0].limit = 5_000;
        world.channel.rate_limit_per_second = 1_000;
        let plan = world.plan(&[9_000]).unwrap();
        assert_eq!((plan.at_edge, plan.units()), (5, 4_995));
        let flights = plan.flights(0, 4_995);
        assert_eq!((flights[0].to, flights[0].starts_at), (5, plan.slot.opens_at));
        assert_eq!((flights[1].to, flights[1].starts_at), (156, plan.begins_at), "a 33rd of the window");
    }

    #[test]
    fn at_midnight_calls_of_both_days_broadcasts_go_right_at_the_edge() {
        let mut world = World::new(r#"{"until":"2026-11-28T20:00:00+08:00"}"#);
        (world.channel.quota_rules[0].limit, world.channel.rate_limit_per_second) = (5_000, 1_000);
        let minute = world.channel.quota_rules[0].clone();
        world.channel = Channel { quota_rules: vec![minute], ..world.channel }.with_default_rule();
        world.now = "2026-11-21T23:59:10+08:00";
        assert_eq!(world.channel.quota_rules.last().unwrap().unit, Unit::Broadcast);
        let mut at_edge = |taken: &[&str]| {
            world.quota = taken.iter().fold(Quota::default(), |quota, time| {
                quota.take_broadcast(&world.channel, id(), at(time)).unwrap().unwrap_or(quota)
            });
            let plan = world.plan(&[9_000]).unwrap();
            (plan.at_edge, plan.units())
        };
        let (yesterday, today) = ("2026-11-21T23:59:00+08:00", "2026-11-22T00:00:02+08:00");
        assert_eq!(at_edge(&[today]), (0, 4_995), "a call there may be of yesterday's broadcast");
        assert_eq!(at_edge(&[yesterday, today]), (5, 4_995));
        assert_eq!(at_edge(&["2026-11-22T00:00:00+08:00"]), (5, 4_995), "a call there takes both");
    }

    #[test]
    fn what_is_planned_already_is_not_there_any_more() {
        let mut world = World::new("{}");
        world.channel.quota_rules[0].window = crate::channel::Window::Seconds(3_600);
        world.channel.quota_rules[0].basic_share = 0.0;
        let slot = Period { opens_at: at("2026-11-21T12:00:00+08:00"), closes_at: at("2026-11-21T12:01:00+08:00") };
        world.planned.push((slot, 550));
        assert_eq!(world.plan(&[700]).unwrap().units(), 50);
        world.planned.push((slot, 50));
        assert_eq!(world.plan(&[700]), None);
    }

    /// Ten seconds hold 50 calls, a minute 300, of which 54 s are safely inside.
    #[test]
    fn windows_of_seconds_are_a_rate() {
        let mut world = World::new("{}");
        world.channel.quota_rules[0].window = crate::channel::Window::Seconds(10);
        world.channel.quota_rules[0].limit = 50;
        let plan = world.plan(&[1_000]).unwrap();
        assert_eq!((plan.spacing_microseconds, plan.at_edge), (200_000, 0));
        let mut longer = world.channel.quota_rules[0].clone();
        (longer.window, longer.limit) = (crate::channel::Window::Seconds(60), 100_000);
        world.channel.quota_rules.push(longer);
        assert_eq!(world.plan(&[1_000]).unwrap().at_edge, 10, "what two seconds hold");
        assert!((250..=300).contains(&plan.units()), "{}", plan.units());
        for flights in plan.flights(0, 250).windows(2) {
            let apart = flights[1].starts_at.as_millisecond() - flights[0].starts_at.as_millisecond();
            assert_eq!(apart, 200 * (flights[0].to - flights[0].from) as i64);
        }
    }

    /// Of 550 units that the slot before was to take, all were taken: the day holds 50 more.
    #[test]
    fn what_an_earlier_slot_took_is_counted_once() {
        let mut world = World::new("{}");
        world.channel.quota_rules[0].window = crate::channel::Window::Seconds(86_400);
        world.channel.quota_rules[0].basic_share = 0.0;
        let begins_at = at("2026-11-21T11:59:00+08:00");
        let before = SlotPlan {
            generation: 1,
            slot: Period { opens_at: begins_at, closes_at: plus_seconds(begins_at, 60) },
            begins_at,
            spacing_microseconds: 20_000,
            at_edge: 0,
            flight_max: FLIGHT_MAX,
            portions: vec![Portion { lines: BTreeMap::from([("retail".to_owned(), 550)]), limits: Vec::new() }],
        };
        let to_take = |seconds| before.units_to_take(plus_seconds(begins_at, seconds));
        assert_eq!([to_take(-60), to_take(15), to_take(20), to_take(24)], [550, 550, 150, 0]);
        let started = plus_seconds(begins_at, 60);
        let need =
            crate::quota::Need { id: "", units: 550, category: Category::Reminder, use_by: plus_seconds(started, 60) };
        world.quota = world.quota.lease(&world.channel, need, plus_seconds(started, 2)).unwrap().0;
        world.planned.push((before.slot, before.units_to_take(at(NOW))));
        assert_eq!(world.plan(&[700]).unwrap().units(), 50);
    }

    #[test]
    fn who_spreads_itself_or_is_barred_hands_out_less() {
        let until = plus_seconds(at(NOW), 110 + 3_600 * 2);
        let mut world = World::new(&format!(r#"{{"pace":"even","until":"{until}"}}"#));
        let units = world.plan(&[600, 600]).unwrap().units();
        assert!((10..=11).contains(&units), "{units}: 120 minutes for 1,200 people");
        world.barred.push(id().offer_id());
        assert_eq!(world.plan(&[600, 600]), None);
    }

    #[test]
    fn a_campaign_that_begins_after_the_slot_hands_nobody_out() {
        let from = |from: &str| World::new(&format!(r#"{{"from":"{from}"}}"#)).plan(&[100]);
        assert_eq!(from("2026-11-21T12:02:00+08:00"), None);
        assert!(from("2026-11-21T12:01:00+08:00").is_some());
    }
}
