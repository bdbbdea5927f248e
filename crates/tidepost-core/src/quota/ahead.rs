//! What windows will hold: for plans of slots that are still to come.

use jiff::Timestamp;

use crate::category::Category;
use crate::channel::{Channel, Unit};
use crate::quota::{KEPT_BACK, Quota, held};
use crate::time::{Period, plus_milliseconds};

impl Quota {
    /// How much room each window around `at` has for a category, by what is taken now; `None` where the platform has
    /// closed one of them. Those that are so short that they are a rate are left to the pace of the calls.
    #[must_use]
    pub fn rooms(&self, channel: &Channel, category: Category, at: Timestamp) -> Option<Vec<(Period, u32)>> {
        self.refuse_where_closed(channel, at).ok()?;
        let zone = channel.zone();
        let rules = channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast && !rule.is_rate());
        let rooms = rules.flat_map(|rule| {
            let held = held(channel, rule, &zone, at);
            let room = |period: &Period| (*period, self.room(channel, rule, *period, &held, category, at));
            held.periods.iter().map(room).collect::<Vec<_>>()
        });
        Some(rooms.collect())
    }

    /// How many calls may start right at the edge `opens_at`: what the windows that close there keep back for it.
    /// Broadcasts are not calls: a campaign there holds its unit of both days.
    #[must_use]
    pub fn rooms_at_edge(&self, channel: &Channel, opens_at: Timestamp) -> u32 {
        let zone = channel.zone();
        let before = plus_milliseconds(opens_at, -1);
        let counted = channel.quota_rules.iter().filter(|rule| rule.unit != Unit::Broadcast && !rule.is_rate());
        let closing = counted.filter(|rule| rule.window.around(&zone, before).closes_at == opens_at);
        closing.map(|rule| rule.limit / KEPT_BACK).min().unwrap_or(u32::MAX)
    }
}
