//! A look at very many people through the real decision code, page by page as a census has them: time for each, and the
//! peak of memory. Nothing is stored: what is measured is the deciding.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidepost_core::campaign::{Campaign, CampaignRequest, Live};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::choice::{Histogram, plan};
use tidepost_core::grant::{Consent, Source, Terms};
use tidepost_core::ids::{CampaignId, SubscriberId};
use tidepost_core::person::{Answer, Heard, Person};
use tidepost_core::sweep::{Entrant, Field};
use tidepost_core::template::{Template, TemplateKind};
use tokio::process::Command;

use crate::shop::openid;
use crate::{Result, progress};

/// People of a page: as many items of 1 KB as a query returns.
const PAGE: usize = 1_000;
/// Noon in Shanghai.
const NOW: &str = "2026-11-21T12:00:00+08:00";

/// What is looked at.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// People of the larger look; the smaller has a tenth
    #[arg(long, default_value_t = 1_000_000)]
    people: usize,
    /// Look once, in this process, and print what it took
    #[arg(long, hide = true)]
    once: bool,
}

/// What one look took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Look {
    /// People.
    pub people: usize,
    /// Of whom a campaign could be sent to so many.
    pub candidates: u64,
    /// Seconds.
    pub seconds: f64,
    /// The process's peak of memory, in KB.
    pub peak_kilobytes: u64,
}

impl Args {
    /// Looks at both numbers of people, each in a process of its own.
    ///
    /// # Errors
    /// When a process fails.
    pub async fn measure(self) -> Result<Vec<Look>> {
        let mut looks = Vec::new();
        for people in [self.people / 10, self.people] {
            progress(&format!("a look at {people} people"));
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["sweep", "--once", "--people", &people.to_string()]).stderr(Stdio::inherit());
            let output = command.output().await?;
            looks.push(serde_json::from_slice(&output.stdout)?);
        }
        Ok(looks)
    }

    /// Whether this is one of those processes.
    pub fn is_once(self) -> bool {
        self.once
    }

    /// One look.
    ///
    /// # Errors
    /// When the people cannot be made.
    pub fn look(self) -> Result<Look> {
        let now: Timestamp = NOW.parse()?;
        let channel: Channel = serde_json::from_str(CHANNEL)?;
        let template: Template = serde_json::from_str(TEMPLATE)?;
        let campaigns = campaigns(&channel, &template, now)?;
        let lives: Vec<Live<'_>> = campaigns
            .iter()
            .map(|(id, campaign)| Live::new(*id, campaign, &template, now).ok().flatten())
            .collect::<Option<_>>()
            .ok_or("a campaign does not run")?;
        let entrants: Vec<Entrant<'_>> = lives.iter().map(|live| Entrant { live, template: &template }).collect();
        let (zone, health) = (channel.zone(), Health::default());
        let field = Field { channel: &channel, health: &health, zone: &zone, cuts: None, now };
        let (mut deciding, mut histogram) = (Duration::ZERO, Histogram::default());
        for from in (0..self.people).step_by(PAGE) {
            // As a query's page: all of it is there, and gone before the next.
            let page: Vec<(SubscriberId, Person)> =
                (from..self.people.min(from + PAGE)).map(|number| person(number, now)).collect();
            let since = Instant::now();
            for (to, person) in &page {
                for win in field.contest(&entrants, person, to, |_| false).wins {
                    histogram.add(&win.offer.business_line.unwrap_or_default(), win.rank);
                }
            }
            deciding += since.elapsed();
        }
        let candidates = histogram.total();
        let since = Instant::now();
        std::hint::black_box(plan(&histogram, candidates / 3, &BTreeMap::new()));
        deciding += since.elapsed();
        Ok(Look { people: self.people, candidates, seconds: deciding.as_secs_f64(), peak_kilobytes: peak()? })
    }
}

const CHANNEL: &str = r#"{"platform": "wechat_mini", "app_id": "wx1", "secret_ref": "env:SECRET",
    "policy": {"quiet_hours": null}}"#;
const TEMPLATE_ID: &str = "TMPL";
const TEMPLATE: &str = r#"{"title": "春茶", "fields": [{"key": "thing1"}], "topic": "sales"}"#;

/// Three that compete: two segments that overlap, and everybody who consented.
fn campaigns(channel: &Channel, template: &Template, now: Timestamp) -> Result<Vec<(CampaignId, Campaign)>> {
    let until = now.checked_add(SignedDuration::from_hours(48))?;
    let campaign = |(name, segment, priority): (&str, &str, u8)| {
        let request = json!({
            "channel": "shop", "name": name, "template": TEMPLATE_ID, "data": {"thing1": "春茶到了"},
            "segment": segment, "priority": priority, "business_line": name, "from": now, "until": until,
        });
        let request: CampaignRequest = serde_json::from_value(request)?;
        let id = CampaignId::derive("shop", "bench", name, now);
        let (campaign, _) = request.accept(id, channel, template, now).map_err(|wrong| format!("{wrong:?}"))?;
        Ok((id, campaign))
    };
    let wanted = [
        ("tea", "attributes.level = 'gold' and tag('vip')".to_owned(), 90),
        ("coffee", "attributes.city = 'Hangzhou'".to_owned(), 50),
        ("bakery", format!("grant('{TEMPLATE_ID}')"), 10),
    ];
    wanted.iter().map(|(name, segment, priority)| campaign((name, segment, *priority))).collect()
}

/// One of many: two of three consented, some have a city, a level or a tag.
fn person(number: usize, now: Timestamp) -> (SubscriberId, Person) {
    let to = SubscriberId::new("shop", openid(number));
    let mut person = Person::new(&to);
    if !number.is_multiple_of(3) {
        let answer = Answer {
            template: TEMPLATE_ID.to_owned(),
            kind: TemplateKind::OneTime,
            consent: Consent::Accept,
            terms: Terms::default(),
        };
        let event = (number as u64).to_be_bytes();
        person.hear(&to, &Heard { event, source: Source::Report, answers: vec![answer] }, now);
    }
    let city = if number.is_multiple_of(5) { "Hangzhou" } else { "Shanghai" };
    let level = if number.is_multiple_of(4) { "gold" } else { "tin" };
    person.attributes = [("city".to_owned(), json!(city)), ("level".to_owned(), json!(level))].into();
    person.tags = if number.is_multiple_of(2) { ["vip".to_owned()].into() } else { BTreeSet::new() };
    (to, person)
}

/// The most memory that this process ever held, in KB (`/proc`, so it needs Linux).
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no peak of memory in /proc")?;
    Ok(number.parse()?)
}
