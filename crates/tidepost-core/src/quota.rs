//! The units of a channel's quota windows: who took how many, so that no window ever holds more than its limit.
//!
//! All live windows of a channel and their open leases are one item. A lease covers every rule of the channel in one
//! compare-and-swap: there is no state in which a call is paid in one window and not in another.

mod ahead;
mod broadcast;
mod closing;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::channel::{Channel, QuotaRule, Unit, Window};
use crate::pace::AdaptiveRate;
use crate::reason::{Reason, ReasonCode};
use crate::reply::QuotaPeriod;
use crate::time::{Calendar, Period, fixed_period, plus_milliseconds, plus_seconds};

pub use closing::{Closing, Told, Waiting};

/// Leases that may be open at once on a channel; a debit beyond them is made without an entry.
pub const LEASES_MAX: usize = 64;

/// Units from which a lease leaves an entry, so that what is unused can be given back: below, the write that closes it
/// costs more than the units are worth.
const ENTRY_MIN_UNITS: u32 = 32;

/// Windows this long or longer keep a share for `basic`, in seconds.
const SHARE_MIN_SECONDS: i64 = 600;

/// The share of a window that is kept for calls in its closing band (DESIGN, 'Edges'). A window of fewer than 1,000 units
/// keeps none: there its calls wait for the band to end.
const KEPT_BACK: u32 = 1_000;

/// How far ahead of the present the rate may be booked, in milliseconds: less than a delivery's time, so that a slow one
/// tells of what it has sent before it ends.
const RATE_AHEAD_MILLISECONDS: i64 = 12_000;

/// How often release asks the platform whether a window that it closed takes calls again, in seconds: at full minutes.
const LOOK_SECONDS: u32 = 60;

/// A full minute nearer than this is not waited for, in seconds: release asks in the course of it.
const LOOK_LEAD_SECONDS: i64 = 10;

/// Everything taken from a channel's live windows.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Quota {
    /// The windows that are open, were a moment ago, or are about to be.
    #[serde(rename = "w", default)]
    windows: Vec<Taken>,
    /// Leases that were not closed.
    #[serde(rename = "l", default)]
    leases: Vec<Lease>,
    /// When the next call may start under the channel's rate, in microseconds of the epoch.
    #[serde(rename = "n", default)]
    next_start: i64,
    /// How fast the platform takes calls, where that is slower than the channel's own limit.
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    rate: AdaptiveRate,
    /// Units of campaigns, each for a day.
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    broadcasts: Vec<broadcast::Broadcast>,
}

/// What was taken from one window.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
struct Taken {
    #[serde(rename = "r")]
    rule: String,
    /// Seconds of the epoch.
    #[serde(rename = "o")]
    opens_at: i64,
    #[serde(rename = "c")]
    closes_at: i64,
    #[serde(rename = "t")]
    units: u32,
    /// The platform said that the quota is used up.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    /// How often it said so, and was taken at its word.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    closings: u32,
    /// When the platform is believed again that it takes calls, in seconds of the epoch.
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    reopens_at: i64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Units taken for one delivery, of every window in `windows`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
struct Lease {
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "u")]
    units: u32,
    /// Milliseconds of the epoch.
    #[serde(rename = "b")]
    use_by: i64,
    /// Rule and opening second of each window.
    #[serde(rename = "w")]
    windows: Vec<(String, i64)>,
}

/// What a delivery asks for.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Names the lease; fresh for every lease.
    pub id: &'a str,
    /// How many calls, each for one message.
    pub units: u32,
    /// Only `basic` may use a window's whole limit.
    pub category: Category,
    /// When the delivery gives up at the latest.
    pub use_by: Timestamp,
}

/// What a delivery got.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Leased {
    /// How many calls may be made: at least 1, at most what was asked for.
    pub units: u32,
    /// The first call may start then.
    pub first_start: Timestamp,
    /// Time between two starts, in microseconds.
    pub spacing_microseconds: i64,
    /// No call may start at or after this.
    pub use_by: Timestamp,
    /// Whether an entry tells whose the units are, so that they can be given back.
    pub has_entry: bool,
    /// Whether the channel calls more slowly than its limit, so that it is worth telling which calls were taken.
    pub is_slowed: bool,
}

impl Leased {
    /// When the call with number `index` (from 0) may start.
    #[must_use]
    pub fn start(&self, index: u32) -> Timestamp {
        plus_microseconds(self.first_start, self.spacing_microseconds.saturating_mul(i64::from(index)))
    }
}

/// Why nothing could be leased.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shortage {
    /// When it makes sense to ask again.
    pub until: Timestamp,
    /// Which rule is short.
    pub reason: Reason,
}

/// A live window as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowView {
    /// The rule's id.
    pub rule: String,
    /// What it counts.
    pub unit: Unit,
    /// Whether the platform still takes calls in it.
    pub state: WindowState,
    /// The first moment inside.
    pub opens_at: Timestamp,
    /// The first moment after.
    pub closes_at: Timestamp,
    /// How many units it holds.
    pub limit: u32,
    /// Units spent, or taken and never to be given back.
    pub used: u32,
    /// Units of leases that are still open.
    pub leased: u32,
    /// Units that only `basic` messages may still take.
    pub reserved_for_basic: u32,
}

/// Whether a window takes calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// It does.
    Open,
    /// The platform said that its quota is used up.
    ClosedByPlatform,
}

/// The windows of one rule that a call starting now may be counted in.
struct Held {
    periods: Vec<Period>,
    /// A call that starts at or after this may be counted in yet another window.
    until: Timestamp,
    is_pair: bool,
}

impl Quota {
    /// Takes up to `need.units` of every window that a call starting now may be counted in, and their place in the
    /// channel's rate.
    ///
    /// # Errors
    /// [`Shortage`] when not even one call may start: which rule, and until when.
    pub fn lease(&self, channel: &Channel, need: Need<'_>, now: Timestamp) -> Result<(Self, Leased), Shortage> {
        self.lease_from(channel, need, now, now)
    }

    /// Takes them ahead of time, for calls that start at `starts_at` or later: before an edge for the window that opens
    /// there.
    ///
    /// # Errors
    /// [`Shortage`] when not even one call may start: which rule, and until when.
    pub fn lease_from(
        &self,
        channel: &Channel,
        need: Need<'_>,
        starts_at: Timestamp,
        now: Timestamp,
    ) -> Result<(Self, Leased), Shortage> {
        let mut next = self.clone();
        next.forget(channel, now);
        let now = starts_at.max(now);
        next.refuse_where_closed(channel, now)?;
        let zone = channel.zone();
        let mut units = need.units;
        let mut use_by = need.use_by;
        let mut windows = Vec::new();
        for rule in channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast) {
            let held = held(channel, rule, &zone, now);
            for period in &held.periods {
                let room = next.room(channel, rule, *period, &held, need.category, now);
                if room == 0 {
                    return Err(next.shortage(channel, rule, *period, need.category, now));
                }
                units = units.min(room);
                windows.push((rule.id.clone(), *period));
            }
            use_by = use_by.min(held.until);
        }
        let mut leased = next.book_rate(channel, units, use_by, now)?;
        for (rule, period) in &windows {
            next.taken_mut(rule, *period).units += leased.units;
        }
        leased.has_entry = leased.units >= ENTRY_MIN_UNITS && next.leases.len() < LEASES_MAX;
        if leased.has_entry {
            next.leases.push(Lease {
                id: need.id.to_owned(),
                units: leased.units,
                use_by: use_by.as_millisecond(),
                windows: windows.into_iter().map(|(rule, period)| (rule, period.opens_at.as_second())).collect(),
            });
        }
        Ok((next, leased))
    }

    /// What the lease `id` got, when it is open: how a delivery recognises a write of its own whose answer was lost.
    #[must_use]
    pub fn holds(&self, id: &str) -> bool {
        self.leases.iter().any(|lease| lease.id == id)
    }

    /// Closes lease `id` and gives back `unused` units; `None` when it is closed already.
    #[must_use]
    pub fn give_back(&self, id: &str, unused: u32) -> Option<Self> {
        let mut next = self.clone();
        let index = next.leases.iter().position(|lease| lease.id == id)?;
        let lease = next.leases.swap_remove(index);
        for (rule, opens_at) in &lease.windows {
            for taken in next.windows.iter_mut().filter(|taken| taken.rule == *rule && taken.opens_at == *opens_at) {
                taken.units = taken.units.saturating_sub(unused.min(lease.units));
            }
        }
        Some(next)
    }

    /// Notes that the platform says 'quota used up'.
    ///
    /// Near an edge it may speak of the other window: then calls only pause until the edge is past. Otherwise the
    /// channel's windows of that kind are closed (up to an hour long for the minute, a day long for the day), or where it
    /// has none, the current minute or day under the name [`PLATFORM`].
    #[must_use]
    pub fn exhausted(&self, channel: &Channel, what: QuotaPeriod, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.forget(channel, now);
        let zone = channel.zone();
        let mut meant: Vec<QuotaRule> =
            channel.quota_rules.iter().filter(|rule| is_meant(rule, what, now)).cloned().collect();
        if meant.is_empty() {
            meant.push(platform_rule(what));
        }
        for rule in &meant {
            let held = held(channel, rule, &zone, now);
            if held.is_pair {
                let edge = held.periods.first().map_or(now, |period| period.closes_at);
                let pause = plus_milliseconds(edge, i64::from(channel.skew_milliseconds));
                next.next_start = next.next_start.max(pause.as_microsecond());
            } else if let Some(period) = held.periods.first() {
                let taken = next.taken_mut(&rule.id, *period);
                taken.close(now);
                // No lease counts here. The call that was refused is one that the platform has counted.
                taken.units += u32::from(rule.id == PLATFORM);
            }
        }
        next
    }

    /// Keeps the channel's calls from starting before `until`, but for those that have their start already, and halves
    /// its rate: the platform says that it calls too often.
    #[must_use]
    pub fn slowed(
        &self,
        channel: &Channel,
        until: Timestamp,
        round_trip_milliseconds: i64,
        now: Timestamp,
    ) -> Option<Self> {
        let next = Self {
            next_start: self.next_start.max(until.as_microsecond()),
            rate: self.rate.after_error(channel.rate_limit_per_second, round_trip_milliseconds, now),
            ..self.clone()
        };
        (next != *self).then_some(next)
    }

    /// Calls per second that the platform is known to take, and that windows hold which are so short that they are a rate.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a minute in microseconds is far below 2^52")]
    pub fn rate_per_second(&self, channel: &Channel) -> f64 {
        let rates = spacings(channel).map(|microseconds| 1e6 / microseconds as f64);
        rates.fold(self.rate.per_second(channel.rate_limit_per_second), f64::min)
    }

    /// Time between two starts at the rate that the platform is known to take.
    #[must_use]
    pub fn spacing_microseconds(&self, channel: &Channel) -> i64 {
        self.rate.spacing_microseconds(channel.rate_limit_per_second)
    }

    /// The same, with calls spread over windows that are so short that they are a rate.
    #[must_use]
    pub fn pace_microseconds(&self, channel: &Channel) -> i64 {
        spacings(channel).fold(self.spacing_microseconds(channel), i64::max)
    }

    /// Lets a slowed channel call faster again after calls that the platform took; `None` when it is not slowed.
    #[must_use]
    pub fn sped_up(&self, channel: &Channel, taken: u32) -> Option<Self> {
        let limit = channel.rate_limit_per_second;
        (taken > 0 && self.rate.is_reduced(limit))
            .then(|| Self { rate: self.rate.after_successes(limit, taken), ..self.clone() })
    }

    /// Notes how many calls the platform counts in the window that it closed and that no rule describes; `None` when
    /// nothing changes.
    #[must_use]
    pub fn counted_by_platform(&self, calls: u32, now: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        let mut changed = false;
        for taken in next.windows.iter_mut().filter(|taken| taken.is_platforms_own(now) && taken.units < calls) {
            taken.units = calls;
            changed = true;
        }
        changed.then_some(next)
    }

    /// Whether the platform is to be asked if a window that it closed takes calls again.
    #[must_use]
    pub fn may_reopen(&self, now: Timestamp) -> bool {
        self.windows.iter().any(|taken| taken.may_reopen(now))
    }

    /// When the windows that the platform closed end, unless it takes calls before; `None` when none is closed.
    #[must_use]
    pub fn closed_until(&self, channel: &Channel, now: Timestamp) -> Option<Timestamp> {
        let skew = i64::from(channel.skew_milliseconds);
        let (time, end) = (now.as_millisecond(), |taken: &Taken| taken.closes_at * 1_000 + skew);
        let closed = |taken: &&Taken| taken.closed && taken.opens_at * 1_000 <= time && time < end(taken);
        let until = self.windows.iter().filter(closed).map(end).max()?;
        Some(Timestamp::from_millisecond(until).unwrap_or(Timestamp::MAX))
    }

    /// Opens what the platform had closed, now that it counts units left.
    #[must_use]
    pub fn reopened(&self, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.windows.iter_mut().filter(|taken| taken.may_reopen(now)).for_each(|taken| taken.closed = false);
        next
    }

    /// How many more messages of a category the live windows hold at `now`, but for those that are a rate: what makes sense to
    /// bring back.
    #[must_use]
    pub fn room_left(&self, channel: &Channel, category: Category, now: Timestamp) -> u32 {
        let zone = channel.zone();
        let room = |rule: &QuotaRule| {
            let held = held(channel, rule, &zone, now);
            held.periods.iter().map(|period| self.room(channel, rule, *period, &held, category, now)).min().unwrap_or(0)
        };
        if self.refuse_where_closed(channel, now).is_err() {
            return 0;
        }
        let counted = channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast && !rule.is_rate());
        counted.map(room).min().unwrap_or(u32::MAX)
    }

    /// When the call with number `index` (from 0) of those that are brought back at `now` may start under the channel's
    /// rate.
    #[must_use]
    pub fn rate_start(&self, channel: &Channel, index: u32, now: Timestamp) -> Timestamp {
        let first = now.as_microsecond().max(self.next_start);
        let spacing = self.pace_microseconds(channel);
        let start = first.saturating_add(spacing.saturating_mul(i64::from(index)));
        Timestamp::from_microsecond(start).unwrap_or(Timestamp::MAX)
    }

    /// When one more call of any kind may start: now, or when the first window has room again.
    #[must_use]
    pub fn next_room(&self, channel: &Channel, now: Timestamp) -> Timestamp {
        let need = Need { id: "", units: 1, category: Category::Reminder, use_by: plus_milliseconds(now, 60_000) };
        match self.lease(channel, need, now) {
            Ok((_, leased)) => leased.first_start,
            Err(shortage) => shortage.until,
        }
    }

    /// The live window of each rule, and any that the platform closed and no rule describes.
    #[must_use]
    pub fn views(&self, channel: &Channel, now: Timestamp) -> Vec<WindowView> {
        let zone = channel.zone();
        let view = |rule: &QuotaRule| {
            let period = rule.window.around(&zone, now);
            let opens_at = period.opens_at.as_second();
            let taken = self.taken(&rule.id, period);
            let units = taken.map_or(0, |taken| taken.units);
            let is_open = |lease: &&Lease| {
                now.as_millisecond() < lease.use_by
                    && lease.windows.iter().any(|(id, opens)| *id == rule.id && *opens == opens_at)
            };
            let leased = self.leases.iter().filter(is_open).map(|lease| lease.units).sum::<u32>().min(units);
            let is_closed = taken.is_some_and(|taken| taken.closed);
            WindowView {
                rule: rule.id.clone(),
                unit: rule.unit,
                state: if is_closed { WindowState::ClosedByPlatform } else { WindowState::Open },
                opens_at: period.opens_at,
                closes_at: period.closes_at,
                limit: rule.limit,
                used: units - leased,
                leased,
                reserved_for_basic: basic_reserve(channel, rule, period, now).min(rule.limit.saturating_sub(units)),
            }
        };
        let platforms_own = self.windows.iter().filter(|taken| taken.is_platforms_own(now));
        let mut views: Vec<WindowView> =
            channel.quota_rules.iter().map(view).chain(platforms_own.map(Taken::view)).collect();
        // What every call needs stands first.
        views.sort_by_key(|view| view.unit == Unit::Broadcast);
        views
    }

    /// Drops windows that no call can be counted in any more and that were looked at, and leases that no call can start
    /// under.
    fn forget(&mut self, channel: &Channel, now: Timestamp) {
        let skew = i64::from(channel.skew_milliseconds);
        let counted_milliseconds = 2 * (channel.closing_band_milliseconds() + skew);
        self.windows.retain(|taken| {
            let kept_milliseconds = closing::kept_milliseconds((taken.closes_at - taken.opens_at) * 1_000);
            taken.closes_at * 1_000 + kept_milliseconds.max(counted_milliseconds) > now.as_millisecond()
        });
        self.leases.retain(|lease| lease.use_by + skew > now.as_millisecond());
    }

    /// What the platform has closed may open before its end, so that nothing is put off until then.
    fn refuse_where_closed(&self, channel: &Channel, now: Timestamp) -> Result<(), Shortage> {
        let Some(closed_until) = self.closed_until(channel, now) else { return Ok(()) };
        let next_look = fixed_period(LOOK_SECONDS, plus_seconds(now, LOOK_LEAD_SECONDS)).closes_at;
        Err(Shortage {
            until: closed_until.min(next_look),
            reason: Reason::new(ReasonCode::QuotaWindow, "the platform says that the quota is used up"),
        })
    }

    fn taken(&self, rule: &str, period: Period) -> Option<&Taken> {
        let opens_at = period.opens_at.as_second();
        self.windows.iter().find(|taken| taken.rule == rule && taken.opens_at == opens_at)
    }

    fn taken_mut(&mut self, rule: &str, period: Period) -> &mut Taken {
        let (opens_at, closes_at) = (period.opens_at.as_second(), period.closes_at.as_second());
        let found = self.windows.iter().position(|taken| taken.rule == rule && taken.opens_at == opens_at);
        let index = found.unwrap_or_else(|| {
            self.windows.push(Taken {
                rule: rule.to_owned(),
                opens_at,
                closes_at,
                units: 0,
                closed: false,
                closings: 0,
                reopens_at: 0,
            });
            self.windows.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.windows[index]
    }

    fn room(
        &self,
        channel: &Channel,
        rule: &QuotaRule,
        period: Period,
        held: &Held,
        category: Category,
        now: Timestamp,
    ) -> u32 {
        let units = self.taken(&rule.id, period).map_or(0, |taken| taken.units);
        // In a test build with this fault every taker sees an untouched window; the demo must then turn red.
        let units = if cfg!(feature = "fault-lease") { 0 } else { units };
        let kept_back = if held.is_pair { 0 } else { rule.limit / KEPT_BACK };
        let reserve = if category == Category::Basic { 0 } else { basic_reserve(channel, rule, period, now) };
        rule.limit.saturating_sub(units.saturating_add(kept_back).saturating_add(reserve))
    }

    fn shortage(
        &self,
        channel: &Channel,
        rule: &QuotaRule,
        period: Period,
        category: Category,
        now: Timestamp,
    ) -> Shortage {
        let skew = if rule.is_rate() { 0 } else { i64::from(channel.skew_milliseconds) };
        let next_window = plus_milliseconds(period.closes_at, skew);
        let units = self.taken(&rule.id, period).map_or(0, |taken| taken.units);
        let only_reserve_is_left = category != Category::Basic
            && basic_reserve(channel, rule, period, now) > 0
            && units.saturating_add(rule.limit / KEPT_BACK) < rule.limit;
        Shortage {
            until: if only_reserve_is_left { reserve_ends_at(channel, period) } else { next_window },
            reason: Reason::new(ReasonCode::QuotaWindow, format!("the window of rule {} is used up", rule.id)),
        }
    }

    /// Gives the calls their starts, one after the other at the channel's rate (GCRA without a burst).
    fn book_rate(
        &mut self,
        channel: &Channel,
        units: u32,
        use_by: Timestamp,
        now: Timestamp,
    ) -> Result<Leased, Shortage> {
        let spacing_microseconds = self.spacing_microseconds(channel);
        let first_start = now.as_microsecond().max(self.next_start);
        let last_start = use_by.min(plus_milliseconds(now, RATE_AHEAD_MILLISECONDS)).as_microsecond() - 1;
        if first_start > last_start {
            let until = Timestamp::from_microsecond(first_start).unwrap_or(Timestamp::MAX);
            let reason = Reason::new(ReasonCode::Rate, "the channel's rate is booked out");
            return Err(Shortage { until, reason });
        }
        let fitting = 1 + (last_start - first_start) / spacing_microseconds.max(1);
        let units = units.min(u32::try_from(fitting).unwrap_or(u32::MAX));
        self.next_start = first_start + spacing_microseconds * i64::from(units);
        Ok(Leased {
            units,
            first_start: Timestamp::from_microsecond(first_start).unwrap_or(now),
            spacing_microseconds,
            use_by,
            has_entry: false,
            is_slowed: self.rate.is_reduced(channel.rate_limit_per_second),
        })
    }
}

/// The name under which a window is closed that the channel has no rule for. No rule may have it.
pub const PLATFORM: &str = "platform";

/// The pause before a window is opened again that was closed for the second time, in seconds. It doubles each time: a
/// platform whose count says otherwise than its answers must not make everything that waits go to and fro every minute.
const REOPEN_PAUSE_SECONDS: i64 = 60;

/// The longest such pause, in seconds.
const REOPEN_PAUSE_MAX_SECONDS: i64 = 3_600;

impl Taken {
    fn close(&mut self, now: Timestamp) {
        if self.closed {
            return;
        }
        let pause = match self.closings {
            0 => 0,
            before => REOPEN_PAUSE_MAX_SECONDS.min(REOPEN_PAUSE_SECONDS << (before - 1).min(16)),
        };
        (self.closed, self.closings, self.reopens_at) =
            (true, self.closings.saturating_add(1), now.as_second() + pause);
    }

    fn may_reopen(&self, now: Timestamp) -> bool {
        self.closed && (self.reopens_at..self.closes_at).contains(&now.as_second())
    }

    fn is_platforms_own(&self, now: Timestamp) -> bool {
        self.rule == PLATFORM && self.closed && (self.opens_at..self.closes_at).contains(&now.as_second())
    }

    /// The platform's own window: what it holds is not known, but that what was counted used it up.
    fn view(&self) -> WindowView {
        let time = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        WindowView {
            rule: self.rule.clone(),
            unit: Unit::Call,
            state: WindowState::ClosedByPlatform,
            opens_at: time(self.opens_at),
            closes_at: time(self.closes_at),
            limit: self.units,
            used: self.units,
            leased: 0,
            reserved_for_basic: 0,
        }
    }
}

/// Whether the platform means this rule's windows when it says that the quota of a minute or a day is used up. Of broadcasts
/// it says nothing.
fn is_meant(rule: &QuotaRule, what: QuotaPeriod, now: Timestamp) -> bool {
    let seconds = rule.window.around(&TimeZone::UTC, now).length_seconds();
    match what {
        _ if rule.unit == Unit::Broadcast => false,
        QuotaPeriod::Minute => (60..=3_600).contains(&seconds),
        QuotaPeriod::Day => seconds == 86_400,
    }
}

/// Stands for the rule that a channel lacks.
fn platform_rule(what: QuotaPeriod) -> QuotaRule {
    let calendar = if what == QuotaPeriod::Minute { Calendar::Minute } else { Calendar::Day };
    QuotaRule {
        id: PLATFORM.to_owned(),
        unit: Unit::Call,
        limit: 0,
        window: Window::Calendar(calendar),
        basic_share: 0.0,
    }
}

fn plus_microseconds(time: Timestamp, microseconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_micros(microseconds)).unwrap_or(Timestamp::MAX)
}

/// The windows that a call starting at `now` may be counted in. Rules shorter than a minute are rates: their edges are
/// not watched.
fn held(channel: &Channel, rule: &QuotaRule, zone: &TimeZone, now: Timestamp) -> Held {
    let around = |time: Timestamp| rule.window.around(zone, time);
    let before = |period: Period| plus_milliseconds(period.closes_at, -channel.closing_band_milliseconds());
    let current = around(now);
    if rule.is_rate() {
        return Held { periods: vec![current], until: current.closes_at, is_pair: false };
    }
    if now >= before(current) {
        let next = around(current.closes_at);
        return Held { periods: vec![current, next], until: before(next), is_pair: true };
    }
    if now < plus_milliseconds(current.opens_at, i64::from(channel.skew_milliseconds)) {
        let previous = around(plus_milliseconds(current.opens_at, -1));
        return Held { periods: vec![previous, current], until: before(current), is_pair: true };
    }
    Held { periods: vec![current], until: before(current), is_pair: false }
}

/// Between two calls, where windows are so short that they are a rate; in microseconds, at least 1.
fn spacings(channel: &Channel) -> impl Iterator<Item = i64> {
    let counted = channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast);
    counted.filter_map(QuotaRule::spacing_microseconds)
}

fn reserve_ends_at(channel: &Channel, period: Period) -> Timestamp {
    plus_milliseconds(period.closes_at, -(channel.closing_band_milliseconds() + SHARE_MIN_SECONDS * 1_000))
}

/// How many units of a window are kept for `basic` at `now`.
fn basic_reserve(channel: &Channel, rule: &QuotaRule, period: Period, now: Timestamp) -> u32 {
    if period.length_seconds() < SHARE_MIN_SECONDS || now >= reserve_ends_at(channel, period) {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32 fits a u32")]
    let reserve = (f64::from(rule.limit) * rule.basic_share).floor() as u32;
    reserve
}

#[cfg(test)]
mod tests;
