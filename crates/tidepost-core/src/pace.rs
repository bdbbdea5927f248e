//! How fast: what campaigns may spend in a slot of time, and the rate at which the platform takes it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, Pace};
use crate::category::Category;
use crate::channel::{Channel, Policy};
use crate::time::{DailyHours, Period};

/// What there is to spend in a slot: the part of the windows' time that one release plans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supply {
    /// The slot.
    pub slot: Period,
    /// Units that the windows still hold, the share of `basic` included.
    pub room: u64,
    /// Of these, units that only `basic` may use.
    pub basic_share: u64,
    /// Of these, units that single messages will need: they are not campaigns' to spend.
    pub singles: u64,
    /// Calls per second that the platform takes.
    pub rate_per_second: f64,
}

/// What one campaign asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Its anti-disturbance class.
    pub category: Category,
    /// How it spends the windows.
    pub pace: Pace,
    /// People who are still to get it, as far as is known.
    pub remaining: u64,
    /// Time in the slot in which it may reach people, in seconds: see [`open_seconds`].
    pub open_seconds: i64,
    /// The same from the slot's beginning to the campaign's end.
    pub open_seconds_left: i64,
}

impl Wish {
    /// What a campaign with `remaining` people asks for in `slot`, `occurrence` being when it runs this time.
    #[must_use]
    pub fn of(campaign: &Campaign, occurrence: Period, channel: &Channel, remaining: u64, slot: Period) -> Self {
        let open = |closes_at: Timestamp| {
            let period = Period {
                opens_at: slot.opens_at.max(occurrence.opens_at),
                closes_at: closes_at.min(occurrence.closes_at),
            };
            open_seconds(period, &channel.zone(), &channel.policy, campaign.best_hours.as_deref())
        };
        Self {
            category: campaign.category,
            pace: campaign.pace,
            remaining,
            open_seconds: open(slot.closes_at),
            open_seconds_left: open(occurrence.closes_at),
        }
    }

    /// How many people it wants to reach in the slot: all, or as many as take it evenly to its end.
    fn units(&self) -> u64 {
        let (slot, left) = (count(self.open_seconds), count(self.open_seconds_left));
        match self.pace {
            Pace::Fast => self.remaining,
            _ if slot >= left => self.remaining,
            Pace::Even => {
                let part = u128::from(self.remaining) * u128::from(slot);
                u64::try_from(part.div_ceil(u128::from(left))).unwrap_or(self.remaining)
            }
        }
    }
}

fn count(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}

/// What may be spent in a slot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Budget {
    /// By all campaigns together: what [`plan`](crate::choice::plan) shares.
    pub units: u64,
    /// By each at the most, in the order of the wishes.
    pub rations: Vec<Ration>,
}

/// What one campaign may spend in a slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ration {
    /// Units at the most.
    pub units: u64,
    /// People it has left.
    pub remaining: u64,
}

/// The budget of a slot. It is never more than the windows' room, nor than the rate lets through in the time, without what
/// single messages need of either; and never more than is asked for, so that what is not needed stays free.
#[must_use]
pub fn budget(supply: &Supply, wishes: &[Wish]) -> Budget {
    let for_campaigns = supply.room.min(calls_in(supply)).saturating_sub(supply.singles);
    let for_others = for_campaigns.saturating_sub(supply.basic_share);
    let wanted = |basic: bool| -> u64 {
        let of_kind = wishes.iter().filter(|wish| (wish.category == Category::Basic) == basic);
        of_kind.map(Wish::units).fold(0, u64::saturating_add)
    };
    let basic = wanted(true).min(for_campaigns);
    let others = wanted(false).min(for_others).min(for_campaigns - basic);
    let ration = |wish: &Wish| {
        let most = if wish.category == Category::Basic { for_campaigns } else { for_others };
        Ration { units: wish.units().min(most), remaining: wish.remaining }
    };
    Budget { units: basic + others, rations: wishes.iter().map(ration).collect() }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "calls in a slot are far below 2^52 and not below 0"
)]
fn calls_in(supply: &Supply) -> u64 {
    let milliseconds = supply.slot.closes_at.as_millisecond() - supply.slot.opens_at.as_millisecond();
    (supply.rate_per_second.max(0.0) * milliseconds.max(0) as f64 / 1_000.0) as u64
}

/// How much of a period is neither quiet nor outside the best hours, in seconds, by the clock of `zone`. People of other
/// zones are open at other hours; to spread a campaign evenly this is near enough.
#[must_use]
pub fn open_seconds(period: Period, zone: &TimeZone, policy: &Policy, best: Option<&[DailyHours]>) -> i64 {
    let best = best.unwrap_or_default();
    let mut open = 0;
    let mut at = period.opens_at;
    while at < period.closes_at {
        let is_quiet = policy.quiet_hours.is_some_and(|quiet| quiet.ends_at(zone, at).is_some());
        let is_best = best.is_empty() || best.iter().any(|hours| hours.ends_at(zone, at).is_some());
        let changes = policy.quiet_hours.iter().chain(best).filter_map(|hours| change_after(hours, zone, at));
        let next = changes.min().unwrap_or(period.closes_at).min(period.closes_at);
        if !is_quiet && is_best {
            open += next.as_second() - at.as_second();
        }
        at = next;
    }
    open
}

/// When hours begin or end next.
fn change_after(hours: &DailyHours, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
    hours.ends_at(zone, at).or_else(|| hours.begins_at(zone, at)).filter(|change| *change > at)
}

/// The rate at which a platform takes calls, found out by asking: a rate error halves it, successes raise it again up to
/// the channel's limit.
///
/// Kept in the channel's quota item as two small numbers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct AdaptiveRate(
    /// Thousandths of a call per second; 0: the channel's limit.
    u32,
    /// When it was halved last, in milliseconds of the epoch.
    i64,
);

/// Errors of calls that were under way together speak of one and the same excess: it is halved for once.
const HALVING_GAP_MILLISECONDS: i64 = 1_000;

/// The lowest rate, in thousandths of a call per second: below it a channel would learn too slowly that it may send again.
const FLOOR: u32 = 1_000;

/// How long successes at full speed take to raise the rate from nothing to the limit, in seconds.
const RECOVERY_SECONDS: u64 = 60;

impl AdaptiveRate {
    /// Calls per second, for a channel that allows `limit`.
    #[must_use]
    pub fn per_second(self, limit: u32) -> f64 {
        f64::from(self.thousandths(limit)) / 1_000.0
    }

    /// Time between the starts of two calls, in microseconds.
    #[must_use]
    pub fn spacing_microseconds(self, limit: u32) -> i64 {
        1_000_000_000 / i64::from(self.thousandths(limit))
    }

    /// Whether it is below the channel's limit, so that successes are worth telling.
    #[must_use]
    pub fn is_reduced(self, limit: u32) -> bool {
        self.thousandths(limit) < ceiling(limit)
    }

    /// The rate after the platform said 'too fast' to a call that took `round_trip_milliseconds`.
    #[must_use]
    pub fn after_error(self, limit: u32, round_trip_milliseconds: i64, now: Timestamp) -> Self {
        let gap = round_trip_milliseconds.max(HALVING_GAP_MILLISECONDS);
        // A clock that goes back must not let errors of the same moment halve it again and again.
        if (now.as_millisecond() - self.1).abs() < gap {
            return self;
        }
        Self((self.thousandths(limit) / 2).max(FLOOR), now.as_millisecond())
    }

    /// The rate after `successes` calls went through. Every second at full speed adds the same, so that each success adds
    /// the more, the slower it goes.
    #[must_use]
    pub fn after_successes(self, limit: u32, successes: u32) -> Self {
        let (now, ceiling) = (self.thousandths(limit), ceiling(limit));
        if now >= ceiling {
            return Self(0, self.1);
        }
        let per_second = u64::from(ceiling) / RECOVERY_SECONDS;
        let more = u64::from(successes) * 1_000 * per_second.max(1) / u64::from(now);
        let next = u64::from(now).saturating_add(more);
        Self(if next >= u64::from(ceiling) { 0 } else { u32::try_from(next).unwrap_or(0) }, self.1)
    }

    fn thousandths(self, limit: u32) -> u32 {
        if self.0 == 0 { ceiling(limit) } else { self.0.min(ceiling(limit)) }
    }
}

fn ceiling(limit: u32) -> u32 {
    limit.max(1).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::tests::campaign;
    use crate::channel::tests::shop;
    use crate::time::{plus_milliseconds, plus_seconds};
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slot(seconds: i64) -> Period {
        let opens_at = at("2026-11-21T08:00:00+08:00");
        Period { opens_at, closes_at: plus_seconds(opens_at, seconds) }
    }

    fn supply(room: u64) -> Supply {
        Supply { slot: slot(3_600), room, basic_share: 0, singles: 0, rate_per_second: 1_000.0 }
    }

    fn wish(category: Category, pace: Pace, remaining: u64, windows_left: i64) -> Wish {
        Wish { category, pace, remaining, open_seconds: 3_600, open_seconds_left: 3_600 * windows_left }
    }

    use Category::{Basic, Reminder};
    use Pace::{Even, Fast};

    fn units(supply: &Supply, wishes: &[Wish]) -> (u64, Vec<u64>) {
        let budget = budget(supply, wishes);
        (budget.units, budget.rations.iter().map(|ration| ration.units).collect())
    }

    #[test]
    fn fast_campaigns_want_all_and_even_ones_their_part_of_the_time() {
        let wishes = [wish(Reminder, Fast, 500, 10), wish(Reminder, Even, 1_000, 10), wish(Reminder, Even, 7, 10)];
        assert_eq!(units(&supply(5_000), &wishes), (601, vec![500, 100, 1]));
        assert_eq!(units(&supply(300), &wishes).0, 300, "a small window is used up");
        assert_eq!(units(&supply(5_000), &[wish(Reminder, Even, 1_000, 1)]), (1_000, vec![1_000]), "the last window");
    }

    #[test]
    fn single_messages_the_share_of_basic_and_the_rate_come_first() {
        let reminder = [wish(Reminder, Fast, 9_000, 1)];
        let kept = Supply { basic_share: 250, singles: 100, ..supply(5_000) };
        assert_eq!(units(&kept, &reminder).0, 4_650);
        assert_eq!(units(&kept, &[reminder[0], wish(Basic, Fast, 50, 1)]).0, 4_700);
        assert_eq!(units(&kept, &[reminder[0], wish(Basic, Fast, 9_000, 1)]).0, 4_900);
        assert_eq!(units(&Supply { rate_per_second: 1.0, ..kept }, &reminder).0, 3_250);
        assert_eq!(units(&Supply { singles: 6_000, ..kept }, &reminder).0, 0);
    }

    #[test]
    fn an_even_campaign_reaches_everybody_by_its_end_at_a_steady_pace() {
        let (mut remaining, mut sent) = (1_003, Vec::new());
        for windows_left in (1..=7).rev() {
            let (now, _) = units(&supply(1_000), &[wish(Reminder, Even, remaining, windows_left)]);
            remaining -= now;
            sent.push(now);
        }
        assert_eq!((remaining, sent), (0, vec![144, 144, 143, 143, 143, 143, 143]));
    }

    #[test]
    fn quiet_and_other_than_best_hours_do_not_count() {
        let (mut channel, day) = (shop(), slot(86_400));
        let open = |channel: &Channel, best: Option<&[DailyHours]>| {
            open_seconds(day, &channel.zone(), &channel.policy, best) / 3_600
        };
        assert_eq!(open(&channel, None), 14);
        let best =
            campaign(r#"{"best_hours":[{"from":"07:00","to":"10:00"},{"from":"20:00","to":"23:00"}]}"#).best_hours;
        assert_eq!(open(&channel, best.as_deref()), 4, "8 to 10 and 20 to 22");
        channel.policy.quiet_hours = None;
        assert_eq!(open(&channel, None), 24);
        assert_eq!(open(&channel, best.as_deref()), 6);
    }

    #[test]
    fn a_campaigns_wish_counts_its_own_open_hours() {
        let campaign = campaign(r#"{"pace":"even","until":"2026-11-23T08:00:00+08:00"}"#);
        let wish = Wish::of(&campaign, campaign.life(), &shop(), 280, slot(3_600));
        assert_eq!((wish.open_seconds, wish.open_seconds_left), (3_600, 28 * 3_600));
        assert_eq!(wish.units(), 10);
        let night = Period { opens_at: at("2026-11-21T22:00:00+08:00"), closes_at: at("2026-11-21T23:00:00+08:00") };
        assert_eq!(Wish::of(&campaign, campaign.life(), &shop(), 280, night).units(), 0);
    }

    #[test]
    fn what_recurs_spreads_itself_over_each_time_that_it_runs() {
        let campaign = campaign(r#"{"pace":"even","until":"2026-11-23T08:00:00+08:00"}"#);
        let hours = slot(7 * 3_600);
        let wish = Wish::of(&campaign, hours, &shop(), 280, slot(3_600));
        assert_eq!((wish.open_seconds_left, wish.units()), (7 * 3_600, 40));
    }

    #[test]
    fn a_burst_of_errors_halves_once_and_successes_bring_the_rate_back() {
        let now = at("2026-11-21T08:00:00Z");
        let after = |rate: AdaptiveRate, milliseconds| rate.after_error(50, 80, plus_milliseconds(now, milliseconds));
        let once = (0..100).fold(AdaptiveRate::default(), &after);
        assert_eq!((once.per_second(50), once.spacing_microseconds(50)), (25.0, 40_000));
        let twice = after(once, 1_000);
        assert_eq!(twice.per_second(50), 12.5);
        assert_eq!(twice.after_error(50, 5_000, plus_milliseconds(now, 4_000)), twice, "one round trip is one excess");
        let floor = (1..20).fold(twice, |rate, second| after(rate, 1_000 + second * 1_000));
        assert_eq!(floor.per_second(50), 1.0);
        let mut seconds = 0;
        let mut rate = twice;
        while rate.is_reduced(50) {
            rate = (0..rate.per_second(50) as u32).fold(rate, |rate, _| rate.after_successes(50, 1));
            seconds += 1;
        }
        assert!((40..55).contains(&seconds), "three quarters of the way in {seconds} s");
        assert_eq!(rate.per_second(50), 50.0);
    }

    #[test]
    fn a_rate_survives_storage_and_follows_the_channels_limit() {
        let rate = AdaptiveRate::default().after_error(50, 80, at("2026-11-21T08:00:00Z"));
        let stored = serde_json::to_string(&rate).unwrap();
        assert!(stored.len() < 24, "{stored}");
        assert_eq!(serde_json::from_str::<AdaptiveRate>(&stored).unwrap(), rate);
        assert_eq!(rate.per_second(10), 10.0, "the owner lowered the limit");
        assert!(!rate.is_reduced(10));
    }

    proptest! {
        #[test]
        fn a_budget_never_exceeds_what_there_is(
            (room, basic_share, singles) in (0..10_000_u64, 0..1_000_u64, 0..1_000_u64),
            rate_per_second in 0.0..5.0_f64,
            wishes in proptest::collection::vec((any::<bool>(), any::<bool>(), 0..5_000_u64, 0..40_i64), 0..6),
        ) {
            let supply = Supply { basic_share, singles, rate_per_second, ..supply(room) };
            let made = |(basic, even, remaining, windows): &(bool, bool, u64, i64)| {
                wish(if *basic { Basic } else { Reminder }, if *even { Even } else { Fast }, *remaining, *windows)
            };
            let wishes: Vec<Wish> = wishes.iter().map(made).collect();
            let budget = budget(&supply, &wishes);
            let most = room.saturating_sub(singles).min((rate_per_second * 3_600.0) as u64);
            prop_assert!(budget.units <= most);
            if !wishes.iter().any(|wish| wish.category == Basic) {
                prop_assert!(budget.units <= most.saturating_sub(basic_share));
            }
            prop_assert!(budget.units <= budget.rations.iter().map(|ration| ration.units).sum::<u64>());
            prop_assert!(budget.rations.iter().all(|ration| ration.units <= ration.remaining));
        }
    }
}
