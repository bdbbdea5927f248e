//! Tells of the campaigns over HTTP, lets the days pass, and gathers what came of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Method;
use indicatif::ProgressBar;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::client::Call;
use crate::commands::Failure;
use crate::demo::checks::Findings;
use crate::demo::run::Teller;
use crate::demo::sale::app::{self, APP_ID, CHANNEL, FIRST_WINDOW, Limits, TEMPLATE, WINDOW_SECONDS, WINDOWS};
use crate::demo::sale::audience::{CAMPAIGNS, Member, Wanted, invent};
use crate::demo::sale::checks::check;
use crate::demo::truth::Truth;
use crate::stack::Stack;

/// Items of one call at the most.
const BATCH_MAX: usize = 500;

/// How often the bar asks the simulator how full the windows are.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One campaign with what the API says of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What was asked for.
    pub wanted: Wanted,
    /// Its id.
    pub id: String,
    /// Sends that ended well.
    pub delivered: u64,
    /// Sends of which nobody knows.
    pub unknown: u64,
}

/// Why people did not get a campaign, by openid and campaign id.
pub type HeldBack = BTreeMap<(String, String), String>;

/// What came of the campaigns.
#[derive(Clone, Debug)]
pub struct Report {
    /// The people.
    pub members: Vec<Member>,
    /// The campaigns.
    pub campaigns: Vec<Told>,
    /// Why people did not get them, as Tidepost tells it.
    pub held_back: HeldBack,
    /// What the simulator saw.
    pub truth: Truth,
    /// How often invariants were broken.
    pub findings: Findings,
}

impl Teller {
    /// The part with the campaigns.
    pub(in crate::demo) async fn hold_sale(
        &self,
        stack: &Stack,
        people: usize,
        seed: u64,
        folder: &Path,
        may_begin: oneshot::Receiver<()>,
    ) -> Result<Report, Failure> {
        let members = invent(people, seed);
        let limits = Limits::for_people(people);
        self.open_app(folder, limits).await?;
        self.gather_members(&members).await?;
        let first: Timestamp = FIRST_WINDOW.parse().map_err(|_| Failure::No("a window's opening".to_owned()))?;
        let opening = |window: i64| first.checked_add((window * WINDOW_SECONDS).seconds()).unwrap_or(first);
        let mut ids = Vec::with_capacity(CAMPAIGNS.len());
        for wanted in &CAMPAIGNS {
            ids.push(self.start(wanted, opening(WINDOWS)).await?);
        }
        // Also when the other part has failed: then it has ended.
        may_begin.await.ok();
        let bar =
            self.bar("the windows of three days fill", limits.messages_a_day * usize::try_from(WINDOWS).unwrap_or(1));
        // Far from the next edge, while the campaigns still run.
        let noon = opening(WINDOWS).checked_add((-WINDOW_SECONDS / 2).seconds()).unwrap_or(first);
        self.watch_until(stack, &bar, noon).await?;
        self.report_sale(members, ids).await
    }

    async fn open_app(&self, folder: &Path, limits: Limits) -> Result<(), Failure> {
        self.simulator.tell(Method::PUT, &format!("apps/{APP_ID}"), &app::at_the_platform(limits)).await?;
        let channel = app::channel(folder, limits);
        self.api.call(Call::new(Method::PUT, &["channels", CHANNEL]).body(&channel)).await?;
        let template = app::template();
        self.api.call(Call::new(Method::PUT, &["channels", CHANNEL, "templates", TEMPLATE]).body(&template)).await?;
        Ok(())
    }

    /// People consent at the platform; the backend reports that, and who they are.
    async fn gather_members(&self, members: &[Member]) -> Result<(), Failure> {
        let bar = self.bar("members consent to news", members.len());
        self.all(members, &bar, |member| self.consent(member)).await?;
        let grants = members.iter().flat_map(|member| {
            (0..member.consents).map(move |number| {
                json!({"event_id": format!("{}-{number}", member.openid), "openid": member.openid,
                    "template": TEMPLATE, "result": "accept"})
            })
        });
        self.in_batches("grants", grants.collect()).await?;
        let told = members.iter().map(|member| json!({"openid": member.openid, "tags": {"add": member.tags}}));
        self.in_batches("subscribers", told.collect()).await
    }

    async fn consent(&self, member: &Member) -> Result<(), Failure> {
        let path = format!("apps/{APP_ID}/subscribe");
        let body = json!({"openid": member.openid, "results": {TEMPLATE: "accept"}, "push": false});
        for _ in 0..member.consents {
            self.simulator.tell(Method::POST, &path, &body).await?;
        }
        Ok(())
    }

    async fn in_batches(&self, what: &str, items: Vec<Value>) -> Result<(), Failure> {
        for batch in items.chunks(BATCH_MAX) {
            let body = json!({ what: batch });
            let answer = self.api.call(Call::new(Method::POST, &["channels", CHANNEL, what]).body(&body)).await?;
            let results = answer.get("results").and_then(Value::as_array).into_iter().flatten();
            let is_invalid = |result: &&Value| result.get("status").is_none_or(|status| status == "invalid");
            if let Some(result) = results.into_iter().find(is_invalid) {
                return Err(Failure::No(format!("{what} were not taken: {result}")));
            }
        }
        Ok(())
    }

    async fn start(&self, wanted: &Wanted, until: Timestamp) -> Result<String, Failure> {
        let body = app::campaign(wanted, until);
        let made = self.api.call(Call::new(Method::POST, &["campaigns"]).body(&body)).await?;
        let id = made.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.api.call(Call::new(Method::POST, &["campaigns", &id, "start"]).body(&json!({}))).await?;
        Ok(id)
    }

    /// Lets the clock run, and shows what the platform counts meanwhile. A window that overshoots ends it: what comes after
    /// would show nothing more.
    async fn watch_until(&self, stack: &Stack, bar: &ProgressBar, until: Timestamp) -> Result<(), Failure> {
        let looking = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let windows = self.simulator.windows(APP_ID).await?;
                bar.set_position(windows.iter().map(|window| window.accepted).sum());
                if windows.iter().any(|window| window.overshoot > 0) {
                    return Ok(());
                }
            }
        };
        let watched = tokio::select! {
            () = stack.pass_until(until) => Ok(()),
            looked = looking => looked,
        };
        bar.finish();
        watched
    }

    async fn report_sale(&self, members: Vec<Member>, ids: Vec<String>) -> Result<Report, Failure> {
        let bar = self.bar("why members do not get a campaign is asked", members.len());
        let held_back: HeldBack =
            self.all(&members, &bar, |member| self.held_back(member)).await?.into_iter().flatten().collect();
        let mut campaigns = Vec::with_capacity(ids.len());
        for (wanted, id) in CAMPAIGNS.into_iter().zip(ids) {
            let shown = self.api.call(Call::new(Method::GET, &["campaigns", &id])).await?;
            let count = |of: &str| shown.pointer(&format!("/counts/{of}")).and_then(Value::as_u64).unwrap_or(0);
            campaigns.push(Told { wanted, delivered: count("delivered"), unknown: count("unknown"), id });
        }
        let truth = self.simulator.truth(APP_ID).await?;
        let findings = check(&members, &campaigns, &held_back, &truth);
        Ok(Report { members, campaigns, held_back, truth, findings })
    }

    async fn held_back(&self, member: &Member) -> Result<Vec<((String, String), String)>, Failure> {
        if member.tags.is_empty() {
            return Ok(Vec::new());
        }
        let path = ["channels", CHANNEL, "subscribers", &member.openid, "held-back"];
        let answer = self.api.call(Call::new(Method::GET, &path)).await?;
        let item = |item: &Value| {
            let text = |at: &str| item.get(at).and_then(Value::as_str).map(str::to_owned);
            Some(((member.openid.clone(), text("campaign")?), text("reason")?))
        };
        Ok(answer.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(item).collect())
    }
}
