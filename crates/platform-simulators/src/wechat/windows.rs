//! What the platform counts per window: calls, accepted messages, and what went beyond the limit.

use std::collections::VecDeque;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::codes::Refusal;
use crate::problem::FieldError;

/// Windows kept per rule; older ones are forgotten.
const KEPT_SPANS: usize = 100_000;
const HOUR_SECONDS: i64 = 3600;

/// What uses up a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Every call with a valid token, whatever its answer.
    Call,
    /// Every accepted message.
    Message,
    /// A broadcast. This platform has none, so such a window stays empty.
    Broadcast,
}

/// A calendar window's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calendar {
    /// A full minute.
    Minute,
    /// A full hour.
    Hour,
    /// Midnight to midnight in the window's zone.
    Day,
    /// Monday to Monday.
    Week,
    /// The first to the first.
    Month,
}

/// One quota window of an app, with either `seconds` (counted from the epoch) or `calendar`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Names the window in `GET …/windows`.
    pub id: String,
    /// What is counted.
    pub unit: Unit,
    /// How many units fit.
    pub limit: u64,
    /// Length of an epoch window.
    #[serde(default)]
    pub seconds: Option<i64>,
    /// A calendar window.
    #[serde(default)]
    pub calendar: Option<Calendar>,
    /// IANA zone of a calendar window and of the times shown.
    #[serde(default = "default_zone")]
    pub time_zone: String,
    /// The code that refuses what does not fit. By default 45009 (daily quota) for windows of an hour and more, 45011
    /// (too frequent) for shorter ones.
    #[serde(default)]
    pub refuse_with: Option<i64>,
    /// `false` only counts and refuses nothing.
    #[serde(default = "yes")]
    pub enforce: bool,
}

fn default_zone() -> String {
    "Asia/Shanghai".to_owned()
}

fn yes() -> bool {
    true
}

impl WindowConfig {
    pub(crate) fn check(&self, field: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.id.is_empty() {
            errors.push(FieldError::new(format!("{field}.id"), "field_missing", "must not be empty"));
        }
        match (self.seconds, self.calendar) {
            (Some(seconds), None) if seconds > 0 => {}
            (None, Some(_)) => {}
            _ => errors.push(FieldError::new(
                format!("{field}.seconds"),
                "field_invalid",
                "exactly one of seconds (above 0) and calendar",
            )),
        }
        if TimeZone::get(&self.time_zone).is_err() {
            errors.push(FieldError::new(format!("{field}.time_zone"), "field_invalid", "not an IANA time zone"));
        }
        errors
    }

    fn seconds_nominal(&self) -> i64 {
        match (self.seconds, self.calendar) {
            (Some(seconds), _) => seconds,
            (None, Some(Calendar::Minute)) => 60,
            (None, Some(Calendar::Hour)) => HOUR_SECONDS,
            (None, Some(Calendar::Day) | None) => 24 * HOUR_SECONDS,
            (None, Some(Calendar::Week)) => 7 * 24 * HOUR_SECONDS,
            (None, Some(Calendar::Month)) => 30 * 24 * HOUR_SECONDS,
        }
    }

    fn refusal(&self) -> Refusal {
        let short = self.seconds_nominal() < HOUR_SECONDS;
        match self.refuse_with.unwrap_or(if short { 45011 } else { 45009 }) {
            // The same code speaks of a minute or of the day; only the text tells.
            45009 if short => Refusal::saying(45009, "reach max api minute quota limit"),
            code => Refusal::of(code),
        }
    }

    /// The window around `now`. `None` only beyond the calendar's own end.
    fn edges(&self, zone: &TimeZone, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if let Some(seconds) = self.seconds {
            let opens = now.as_second().div_euclid(seconds).checked_mul(seconds)?;
            return Some((
                Timestamp::from_second(opens).ok()?,
                Timestamp::from_second(opens.checked_add(seconds)?).ok()?,
            ));
        }
        let local = now.to_zoned(zone.clone());
        let (opens, closes) = calendar_edges(self.calendar?, &local).ok()?;
        Some((opens.timestamp(), closes.timestamp()))
    }
}

fn calendar_edges(calendar: Calendar, local: &Zoned) -> Result<(Zoned, Zoned), jiff::Error> {
    Ok(match calendar {
        Calendar::Minute => {
            let opens = local.with().second(0).subsec_nanosecond(0).build()?;
            let closes = opens.checked_add(1.minute())?;
            (opens, closes)
        }
        Calendar::Hour => {
            let opens = local.with().minute(0).second(0).subsec_nanosecond(0).build()?;
            let closes = opens.checked_add(1.hour())?;
            (opens, closes)
        }
        Calendar::Day => (local.start_of_day()?, local.tomorrow()?.start_of_day()?),
        Calendar::Week => {
            let back = local.weekday().since(Weekday::Monday);
            let monday = local.checked_sub(i64::from(back).days())?;
            (monday.start_of_day()?, monday.checked_add(1.week())?.start_of_day()?)
        }
        Calendar::Month => {
            let first = local.first_of_month()?;
            (first.start_of_day()?, first.checked_add(1.month())?.start_of_day()?)
        }
    })
}

/// One opening of a window.
#[derive(Debug, Clone, Copy)]
struct Span {
    opens: Timestamp,
    closes: Timestamp,
    calls: u64,
    accepted: u64,
    overshoot: u64,
    /// Units forgiven by `clear_quota`.
    cleared: u64,
}

impl Span {
    fn new((opens, closes): (Timestamp, Timestamp)) -> Self {
        Self { opens, closes, calls: 0, accepted: 0, overshoot: 0, cleared: 0 }
    }

    fn used(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Call => self.calls,
            Unit::Message => self.accepted,
            Unit::Broadcast => 0,
        }
    }
}

/// One rule and all its openings so far.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) config: WindowConfig,
    zone: TimeZone,
    spans: VecDeque<Span>,
}

/// Where a window stands, for `quota/get`.
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) seconds: i64,
}

impl Window {
    fn new(config: WindowConfig) -> Self {
        let zone = TimeZone::get(&config.time_zone).unwrap_or(TimeZone::UTC);
        Self { config, zone, spans: VecDeque::new() }
    }

    /// The opening around `now`, made when it is the first call in it. A call stamped just before an edge may come
    /// in after one stamped behind it, so earlier openings are searched too.
    fn span(&mut self, now: Timestamp) -> Option<&mut Span> {
        let around = |span: &Span| span.opens <= now && now < span.closes;
        let index = match self.spans.iter().rposition(around) {
            Some(index) => index,
            None => {
                let edges = self.config.edges(&self.zone, now)?;
                let index = self.spans.partition_point(|span| span.opens < edges.0);
                self.spans.insert(index, Span::new(edges));
                index
            }
        };
        self.spans.get_mut(index)
    }

    /// Counts a call; the refusal when it does not fit.
    fn arrive(&mut self, now: Timestamp) -> Option<Refusal> {
        let (unit, limit) = (self.config.unit, self.config.limit);
        let span = self.span(now)?;
        let room = limit.saturating_add(span.cleared);
        span.calls += 1;
        let beyond = match unit {
            Unit::Call => span.calls > room,
            Unit::Message => span.accepted >= room,
            Unit::Broadcast => false,
        };
        span.overshoot += u64::from(beyond);
        if self.spans.len() > KEPT_SPANS {
            self.spans.pop_front();
        }
        (beyond && self.config.enforce).then(|| self.config.refusal())
    }

    fn items(&self, now: Timestamp) -> Vec<Value> {
        let open = self.spans.iter().any(|span| span.opens <= now && now < span.closes);
        let current = if open { None } else { self.config.edges(&self.zone, now).map(Span::new) };
        let mut spans: Vec<Span> = self.spans.iter().copied().chain(current).collect();
        spans.sort_by_key(|span| span.opens);
        spans.iter().map(|span| self.item(span)).collect()
    }

    fn item(&self, span: &Span) -> Value {
        let shown = |at: Timestamp| at.display_with_offset(self.zone.to_offset(at)).to_string();
        json!({
            "id": self.config.id, "unit": self.config.unit,
            "opens_at": shown(span.opens), "closes_at": shown(span.closes), "limit": self.config.limit,
            "calls": span.calls, "accepted": span.accepted, "overshoot": span.overshoot,
        })
    }
}

/// All windows of an app.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    list: Vec<Window>,
}

impl Windows {
    /// Takes new rules; the counts of a rule whose edges stay the same are kept.
    pub(crate) fn configure(&mut self, configs: &[WindowConfig]) {
        let mut old = std::mem::take(&mut self.list);
        self.list = configs
            .iter()
            .map(|config| {
                let same = |window: &Window| {
                    let had = &window.config;
                    (&had.id, had.unit, had.seconds, had.calendar, &had.time_zone)
                        == (&config.id, config.unit, config.seconds, config.calendar, &config.time_zone)
                };
                let mut window = Window::new(config.clone());
                if let Some(index) = old.iter().position(same) {
                    window.spans = old.swap_remove(index).spans;
                }
                window
            })
            .collect();
    }

    /// Counts a call in every window; the refusal of the first that it does not fit.
    pub(crate) fn arrive(&mut self, now: Timestamp) -> Option<Refusal> {
        let mut refusal = None;
        for window in &mut self.list {
            let own = window.arrive(now);
            refusal = refusal.or(own);
        }
        refusal
    }

    /// Counts an accepted message in the windows of its arrival.
    pub(crate) fn accept(&mut self, now: Timestamp) {
        for window in &mut self.list {
            if let Some(span) = window.span(now) {
                span.accepted += 1;
            }
        }
    }

    /// `clear_quota`: the long windows are empty again, what they counted stays on record.
    pub(crate) fn clear(&mut self, now: Timestamp) {
        for window in self.list.iter_mut().filter(|w| w.config.seconds_nominal() >= HOUR_SECONDS) {
            let unit = window.config.unit;
            if let Some(span) = window.span(now) {
                span.cleared = span.used(unit);
            }
        }
    }

    /// The standing of the first window that is at least (or shorter than) an hour.
    pub(crate) fn standing(&mut self, now: Timestamp, long: bool) -> Option<Standing> {
        let window = self.list.iter_mut().find(|w| (w.config.seconds_nominal() >= HOUR_SECONDS) == long)?;
        let (unit, limit, seconds) = (window.config.unit, window.config.limit, window.config.seconds_nominal());
        let span = window.span(now)?;
        Some(Standing { limit, used: span.used(unit).saturating_sub(span.cleared), seconds })
    }

    /// Every opening of every window, with the open one even when nothing came yet.
    pub(crate) fn items(&self, now: Timestamp) -> Vec<Value> {
        self.list.iter().flat_map(|window| window.items(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(config: &str) -> Windows {
        let mut windows = Windows::default();
        windows.configure(&[serde_json::from_str(config).unwrap()]);
        windows
    }

    /// The code that refuses a call at `now`.
    fn code(windows: &mut Windows, now: Timestamp) -> Option<i64> {
        windows.arrive(now).map(|refusal| refusal.code)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn calls_beyond_the_limit_overshoot_and_the_edge_opens_a_new_window() {
        let mut windows = window(r#"{"id":"m","unit":"call","limit":2,"seconds":60}"#);
        let late = at("2026-11-21T10:00:59.999Z");
        assert_eq!(code(&mut windows, late), None);
        windows.accept(late);
        assert_eq!(code(&mut windows, late), None);
        assert_eq!(code(&mut windows, late), Some(45011));
        assert_eq!(code(&mut windows, at("2026-11-21T10:01:00Z")), None);
        // One stamped before the edge is counted before the edge, though it comes in after it.
        assert_eq!(code(&mut windows, late), Some(45011));
        let items = windows.items(at("2026-11-21T10:01:00Z"));
        assert_eq!(items.len(), 2);
        assert_eq!(items[0]["opens_at"], "2026-11-21T18:00:00+08:00");
        assert_eq!(
            (&items[0]["calls"], &items[0]["accepted"], &items[0]["overshoot"]),
            (&json!(4), &json!(1), &json!(2))
        );
        assert_eq!((&items[1]["calls"], &items[1]["overshoot"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn message_windows_count_what_was_accepted() {
        let mut windows = window(r#"{"id":"d","unit":"message","limit":1,"calendar":"day"}"#);
        let now = at("2026-11-21T10:00:00Z");
        assert_eq!(code(&mut windows, now), None);
        assert_eq!(code(&mut windows, now), None);
        windows.accept(now);
        assert_eq!(code(&mut windows, now), Some(45009));
        let items = windows.items(now);
        assert_eq!((&items[0]["calls"], &items[0]["overshoot"]), (&json!(3), &json!(1)));
        windows.clear(now);
        assert_eq!(code(&mut windows, now), None);
        assert_eq!(windows.standing(now, true).unwrap().used, 0);
    }

    #[test]
    fn calendar_edges_follow_the_zone() {
        for (calendar, zone, opens, closes) in [
            ("day", "Asia/Shanghai", "2026-11-21T00:00:00+08:00", "2026-11-22T00:00:00+08:00"),
            ("week", "Asia/Shanghai", "2026-11-16T00:00:00+08:00", "2026-11-23T00:00:00+08:00"),
            ("month", "Asia/Shanghai", "2026-11-01T00:00:00+08:00", "2026-12-01T00:00:00+08:00"),
            ("hour", "Asia/Kolkata", "2026-11-21T15:00:00+05:30", "2026-11-21T16:00:00+05:30"),
            ("minute", "Asia/Shanghai", "2026-11-21T18:07:00+08:00", "2026-11-21T18:08:00+08:00"),
        ] {
            let windows = window(&format!(
                r#"{{"id":"w","unit":"call","limit":1,"calendar":"{calendar}","time_zone":"{zone}"}}"#
            ));
            let items = windows.items(at("2026-11-21T10:07:08Z"));
            assert_eq!((&items[0]["opens_at"], &items[0]["closes_at"]), (&json!(opens), &json!(closes)), "{calendar}");
        }
        let spring = window(r#"{"id":"w","unit":"call","limit":1,"calendar":"day","time_zone":"America/New_York"}"#);
        let day = &spring.items(at("2026-03-08T12:00:00Z"))[0];
        assert_eq!(
            (&day["opens_at"], &day["closes_at"]),
            (&json!("2026-03-08T00:00:00-05:00"), &json!("2026-03-09T00:00:00-04:00"))
        );
    }

    #[test]
    fn counts_survive_a_new_limit_but_not_new_edges() {
        let mut windows = window(r#"{"id":"m","unit":"call","limit":1,"seconds":60}"#);
        let now = at("2026-11-21T10:00:00Z");
        assert_eq!(code(&mut windows, now), None);
        windows.configure(&[serde_json::from_str(r#"{"id":"m","unit":"call","limit":2,"seconds":60}"#).unwrap()]);
        assert_eq!(windows.items(now)[0]["calls"], 1);
        windows.configure(&[serde_json::from_str(r#"{"id":"m","unit":"call","limit":2,"seconds":30}"#).unwrap()]);
        assert_eq!(windows.items(now)[0]["calls"], 0);
    }

    #[test]
    fn the_daily_code_of_a_short_window_speaks_of_a_minute() {
        let mut windows = window(r#"{"id":"m","unit":"call","limit":0,"seconds":60,"refuse_with":45009}"#);
        let refusal = windows.arrive(at("2026-11-21T10:00:00Z")).unwrap();
        assert_eq!(refusal, Refusal::saying(45009, "reach max api minute quota limit"));
        let mut counting = window(r#"{"id":"m","unit":"call","limit":0,"seconds":60,"enforce":false}"#);
        let now = at("2026-11-21T10:00:00Z");
        assert_eq!(code(&mut counting, now), None);
        assert_eq!(counting.items(now)[0]["overshoot"], 1);
    }
}
