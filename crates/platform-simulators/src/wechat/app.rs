//! One app and everything the platform knows about it, behind one short lock.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use jiff::tz::Offset;
use sha1::{Digest, Sha1};

use super::codes::Refusal;
use super::config::{AppConfig, LongTermLimit, Period, TemplateConfig};
use super::fields::FieldType;
use super::token::Tokens;
use super::windows::Windows;
use crate::truth::{CallRecord, CallbackRecord, Kind, Log, People, Tally};
use crate::world::lock;

/// The platform's own zone: daily limits end at midnight in Beijing, which knows no daylight saving.
const BEIJING_OFFSET_SECONDS: i64 = 8 * 3600;

/// The number of the day in Beijing.
pub(crate) fn beijing_day(at: Timestamp) -> i64 {
    (at.as_second() + BEIJING_OFFSET_SECONDS).div_euclid(24 * 3600)
}

/// The number of the month in Beijing.
pub(crate) fn beijing_month(at: Timestamp) -> i64 {
    let date = Offset::constant(8).to_datetime(at);
    i64::from(date.year()) * 12 + i64::from(date.month())
}

/// The number of the minute.
pub(crate) fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

impl LongTermLimit {
    /// The number of the period around `at`.
    pub(crate) fn period(self, at: Timestamp) -> i64 {
        match self.per {
            Period::Day => beijing_day(at),
            Period::Month => beijing_month(at),
        }
    }
}

/// A private template, its fields taken apart once.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) id: Arc<str>,
    pub(crate) config: TemplateConfig,
    /// Key and type in the order of the content.
    pub(crate) fields: Vec<(String, FieldType)>,
}

impl Template {
    pub(crate) fn new(config: TemplateConfig) -> Self {
        let fields =
            config.keys().into_iter().filter_map(|key| Some((key.to_owned(), FieldType::of_key(key)?))).collect();
        Self { id: config.pri_tmpl_id.as_str().into(), config, fields }
    }

    /// `None` when it is no subscription template.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.config.kind {
            2 => Some(Kind::OneTime),
            3 => Some(Kind::LongTerm),
            _ => None,
        }
    }
}

pub(crate) struct AppState {
    pub(crate) config: Arc<AppConfig>,
    pub(crate) templates: BTreeMap<String, Arc<Template>>,
    pub(crate) people: People,
    pub(crate) blacklist: HashSet<String>,
    pub(crate) windows: Windows,
    pub(crate) tokens: Tokens,
    pub(crate) calls: Log<CallRecord>,
    pub(crate) callbacks: Log<CallbackRecord>,
    /// Openids a send is running for.
    pub(crate) in_flight: HashSet<String>,
    pub(crate) sends_today: Tally,
    pub(crate) quota_clears: Tally,
}

impl AppState {
    /// Replaces the settings; the truth stays.
    pub(crate) fn configure(&mut self, config: AppConfig) {
        self.templates = config
            .templates
            .iter()
            .map(|template| (template.pri_tmpl_id.clone(), Arc::new(Template::new(template.clone()))))
            .collect();
        self.blacklist = config.blacklist.iter().cloned().collect();
        self.windows.configure(&config.windows);
        for openid in &config.people {
            self.people.meet(openid);
        }
        self.config = Arc::new(config);
    }

    /// Counts a send with a valid token, whatever comes of it; a refusal when it does not fit.
    pub(crate) fn arrive(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let today = self.sends_today.add(beijing_day(now));
        let refusal = self.windows.arrive(now);
        if today > self.config.daily_quota {
            return Err(Refusal::of(45009));
        }
        refusal.map_or(Ok(()), Err)
    }
}

pub(crate) struct App {
    pub(crate) app_id: String,
    state: Mutex<AppState>,
}

impl App {
    pub(crate) fn new(app_id: &str) -> Self {
        let state = AppState {
            config: Arc::new(AppConfig::empty()),
            templates: BTreeMap::new(),
            people: People::default(),
            blacklist: HashSet::new(),
            windows: Windows::default(),
            tokens: Tokens::default(),
            calls: Log::default(),
            callbacks: Log::default(),
            in_flight: HashSet::new(),
            sends_today: Tally::default(),
            quota_clears: Tally::default(),
        };
        Self { app_id: app_id.to_owned(), state: Mutex::new(state) }
    }

    /// The app's state. Never held across an await, and never while another app's is held.
    pub(crate) fn state(&self) -> MutexGuard<'_, AppState> {
        lock(&self.state)
    }

    pub(crate) fn config(&self) -> Arc<AppConfig> {
        Arc::clone(&self.state().config)
    }

    /// `gh_…`: the account's original id.
    pub(crate) fn original_id(&self, config: &AppConfig) -> String {
        config.original_id.clone().unwrap_or_else(|| {
            let digest = Sha1::digest(self.app_id.as_bytes());
            let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            format!("gh_{hex}")
        })
    }
}
