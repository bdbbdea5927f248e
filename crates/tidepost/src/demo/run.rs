//! Tells the story over HTTP, and gathers what came of it.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use indicatif::{MultiProgress, ProgressBar};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::demo::checks::{Findings, Ledger, Told, check};
use crate::demo::shop::{self, APP_ID, CHANNEL, Limits, SECRETS, SHIPPING};
use crate::demo::story::{Customer, OPENING, Story, Telling, invent};
use crate::demo::truth::{Simulator, Truth};
use crate::demo::{print, sale};
use crate::stack::aws::resources::QueueSettings;
use crate::stack::data::AdminKey;
use crate::stack::{Options, Stack};

/// Calls in flight at once.
const CONCURRENCY: usize = 32;

/// How fast idle spans pass.
const SPEED: f64 = 10_000_000.0;

/// What both parts of the demo found.
#[derive(Debug)]
pub struct Demo {
    /// The shop's evening.
    pub shop: Report,
    /// The campaigns.
    pub sale: sale::run::Report,
}

impl Demo {
    /// How often invariants were broken in all.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.shop.findings.and(&self.sale.findings)
    }
}

/// What the first part found.
#[derive(Debug)]
pub struct Report {
    /// The story that was told.
    pub story: Story,
    /// What the API said of each message in the end, by key.
    pub told: BTreeMap<String, Told>,
    /// What the simulator saw.
    pub truth: Truth,
    /// How often invariants were broken.
    pub findings: Findings,
}

/// Runs the demo: two parts at once, each on a stack and a clock of its own, since the campaigns mostly wait. Their windows
/// come once the shop has asked for everything, so that they have the machine to themselves.
///
/// # Errors
/// [`Failure`] when a stack cannot start or something refuses what the story needs.
pub async fn run(people: usize, seed: u64, shows_progress: bool) -> Result<Demo, Failure> {
    let folder = secrets_folder()?;
    let bars = print::bars(shows_progress);
    let (asked, all_asked) = oneshot::channel();
    let shop = async {
        let (stack, teller) = open(OPENING, seed, &bars).await?;
        let told = teller.tell(&stack, invent(people, seed), folder.path(), Limits::for_people(people), asked).await;
        stack.stop().await;
        told
    };
    let sale = async {
        let (stack, teller) = open(sale::app::OPENING, seed, &bars).await?;
        let people = sale::app::people_beside(people);
        let told = teller.hold_sale(&stack, people, seed, folder.path(), all_asked).await;
        stack.stop().await;
        told
    };
    let (shop, sale) = futures::join!(shop, sale);
    Ok(Demo { shop: shop?, sale: sale? })
}

async fn open(opening: &str, seed: u64, bars: &MultiProgress) -> Result<(Stack, Teller), Failure> {
    let opening: Timestamp = opening.parse().map_err(|_| Failure::No("the opening is no time".to_owned()))?;
    let options = Options {
        speed: SPEED,
        start: Some(opening),
        admin_key: AdminKey::Kept,
        queues: QueueSettings { visibility_seconds: 60, ..QueueSettings::default() },
        seed,
        appointment: Some(opening),
        ..Options::default()
    };
    let stack = Stack::start(options).await?;
    let teller = Teller::new(&stack, opening, bars.clone())?;
    Ok((stack, teller))
}

fn secrets_folder() -> Result<tempfile::TempDir, Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::No(format!("no temporary folder: {error}")))?;
    for (name, secret) in SECRETS {
        std::fs::write(folder.path().join(name), secret).map_err(|error| Failure::No(error.to_string()))?;
    }
    Ok(folder)
}

/// Everyone who acts in the story.
pub(super) struct Teller {
    pub(super) api: Client,
    pub(super) simulator: Simulator,
    opening: Timestamp,
    bars: MultiProgress,
}

impl Teller {
    fn new(stack: &Stack, opening: Timestamp, bars: MultiProgress) -> Result<Self, Failure> {
        let args = ClientArgs {
            endpoint: stack.api_url.clone(),
            key: Some(stack.admin_key().expose().to_owned()),
            json: true,
        };
        let simulators = stack.simulators_url.clone().unwrap_or_default();
        Ok(Self {
            api: Client::new(&args)?,
            simulator: Simulator::new(reqwest::Client::new(), &simulators),
            opening,
            bars,
        })
    }

    async fn tell(
        &self,
        stack: &Stack,
        story: Story,
        folder: &std::path::Path,
        limits: Limits,
        asked: oneshot::Sender<()>,
    ) -> Result<Report, Failure> {
        self.set_up(stack, folder, limits).await?;
        let bar = self.bar("people answer the dialog", story.people.len());
        self.all(&story.people, &bar, |person| self.subscribe(person)).await?;
        self.misbehave(story.people.len()).await?;
        let mut firsts: BTreeMap<String, (String, Value)> = BTreeMap::new();
        let mut rest = story.messages.as_slice();
        while let Some(first) = rest.first() {
            let at = first.asked_at(self.opening);
            let (now, later) = rest.split_at(rest.partition_point(|message| message.asked_at(self.opening) <= at));
            stack.pass_until(at).await;
            let bar = self.bar(&format!("{} messages are asked for", at.strftime("%H:%M UTC")), now.len());
            let answers = self.all(now, &bar, |message| self.ask(message, at)).await?;
            firsts.extend(answers);
            rest = later;
        }
        // Nobody listens where the other part has failed.
        asked.send(()).ok();
        let bar = self.bar("the night passes, what waited goes out", 1);
        let end = self.opening.checked_add(40.hours()).unwrap_or(self.opening);
        stack.pass_until(end).await;
        bar.finish();
        self.report(story, firsts).await
    }

    async fn set_up(&self, stack: &Stack, folder: &std::path::Path, limits: Limits) -> Result<(), Failure> {
        let account = shop::at_the_platform(&stack.api_url, limits);
        self.simulator.tell(Method::PUT, &format!("apps/{APP_ID}"), &account).await?;
        let channel = shop::channel(folder, limits);
        self.api.call(Call::new(Method::PUT, &["channels", CHANNEL]).body(&channel)).await?;
        for (id, template) in shop::templates() {
            self.api.call(Call::new(Method::PUT, &["channels", CHANNEL, "templates", id]).body(&template)).await?;
        }
        Ok(())
    }

    /// The platform has its moments: it is busy, revokes a token, and loses answers once about everybody was sent a
    /// confirmation: those would be tried again a minute later, and everybody would wait for that.
    async fn misbehave(&self, people: usize) -> Result<(), Failure> {
        let send = "/cgi-bin/message/subscribe/send";
        for fault in [
            json!({"match": {"path": send, "after": 20, "times": 20, "probability": 0.05}, "fault": {"kind": "errcode", "errcode": -1}}),
            json!({"match": {"path": send, "after": people, "times": 3, "probability": 0.02}, "fault": {"kind": "timeout_after_delivery"}}),
            json!({"match": {"path": send, "after": 60, "times": 1}, "fault": {"kind": "revoke_token"}}),
        ] {
            self.simulator.tell(Method::POST, "faults", &fault).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, person: &Customer) -> Result<(), Failure> {
        let body = json!({"openid": person.openid, "results": person.answers, "push": true});
        let answer = self.simulator.tell(Method::POST, &format!("apps/{APP_ID}/subscribe"), &body).await?;
        if answer.pointer("/callback/status") != Some(&json!(200)) {
            return Err(Failure::No(format!("a callback was not taken: {answer}")));
        }
        if person.is_reported {
            let reports: Vec<Value> = person
                .answers
                .iter()
                .map(|(template, result)| {
                    json!({"event_id": format!("{}-{template}", person.openid), "openid": person.openid,
                       "template": template, "result": result})
                })
                .collect();
            let body = json!({"grants": reports});
            self.api.call(Call::new(Method::POST, &["channels", CHANNEL, "grants"]).body(&body)).await?;
        }
        if person.mutes_shipping {
            let path = ["channels", CHANNEL, "subscribers", &person.openid, "preferences"];
            let body = json!({"stopped": false, "topics": {SHIPPING: false}});
            self.api.call(Call::new(Method::PUT, &path).body(&body)).await?;
        }
        Ok(())
    }

    /// Asks for a message, some of them twice; returns the message's id and the first answer.
    async fn ask(&self, message: &Telling, at: Timestamp) -> Result<(String, (String, Value)), Failure> {
        let (data, page) = shop::content(message.template, &message.key);
        let body = json!({
            "channel": CHANNEL, "openid": message.openid, "template": message.template, "data": data, "page": page,
            "urgency": if message.is_urgent { "urgent" } else { "normal" }, "business_line": "retail",
            "deadline": at.checked_add(message.worth).unwrap_or(at),
        });
        let call = || Call::new(Method::POST, &["messages"]).body(&body).idempotency_key(&message.key);
        let answer = self.api.call(call()).await?;
        if message.is_repeated && self.api.call(call()).await? != answer {
            return Err(Failure::No("the same Idempotency-Key was answered differently".to_owned()));
        }
        let id = answer.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((message.key.clone(), (id, answer)))
    }

    async fn report(&self, story: Story, firsts: BTreeMap<String, (String, Value)>) -> Result<Report, Failure> {
        let bar = self.bar("what became of each message is looked up", firsts.len());
        let asked: Vec<_> = firsts.into_iter().collect();
        let told: BTreeMap<String, Told> =
            self.all(&asked, &bar, |(key, (id, first))| self.look_up(key, id, first)).await?.into_iter().collect();
        let bar = self.bar("the ledger is compared with the truth", story.people.len());
        let ledger: Ledger =
            self.all(&story.people, &bar, |person| self.grants(person)).await?.into_iter().flatten().collect();
        let metrics = self.metrics().await?;
        let truth = self.simulator.truth(APP_ID).await?;
        let findings = check(&story, &told, &ledger, &metrics, &truth);
        Ok(Report { story, told, truth, findings })
    }

    async fn look_up(&self, key: &str, id: &str, first: &Value) -> Result<(String, Told), Failure> {
        let now = self.api.call(Call::new(Method::GET, &["messages", id])).await?;
        let text = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let told = Told {
            status: text(&now, "/status").unwrap_or_default(),
            reason: text(&now, "/reason/code"),
            first_status: text(first, "/status").unwrap_or_default(),
            first_reason: text(first, "/reason/code"),
        };
        Ok((key.to_owned(), told))
    }

    async fn grants(&self, person: &Customer) -> Result<Vec<((String, String), u32)>, Failure> {
        let known =
            self.api.call(Call::new(Method::GET, &["channels", CHANNEL, "subscribers", &person.openid])).await?;
        let grant = |grant: &Value| {
            let template = grant.get("template")?.as_str()?.to_owned();
            let available = u32::try_from(grant.get("available")?.as_u64()?).ok()?;
            Some(((person.openid.clone(), template), available))
        };
        Ok(known.get("grants").and_then(Value::as_array).into_iter().flatten().filter_map(grant).collect())
    }

    async fn metrics(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let from = self.opening.checked_add(-1.hours()).unwrap_or(self.opening);
        let to = self.opening.checked_add(41.hours()).unwrap_or(self.opening);
        let call = Call::new(Method::GET, &["channels", CHANNEL, "metrics"])
            .query("from", Some(from.to_string()))
            .query("to", Some(to.to_string()))
            .query("by", Some("outcome".to_owned()));
        let answer = self.api.call(call).await?;
        let row = |row: &Value| Some((row.get("outcome")?.as_str()?.to_owned(), row.get("count")?.as_u64()?));
        Ok(answer.get("rows").and_then(Value::as_array).into_iter().flatten().filter_map(row).collect())
    }

    pub(super) fn bar(&self, what: &str, length: usize) -> ProgressBar {
        self.bars.add(print::bar(what, length, true))
    }

    pub(super) async fn all<'a, T: 'a, R, F>(
        &self,
        items: impl IntoIterator<Item = &'a T>,
        bar: &ProgressBar,
        act: impl Fn(&'a T) -> F,
    ) -> Result<Vec<R>, Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let acts: Vec<F> = items.into_iter().map(act).collect();
        let done = stream::iter(acts).buffer_unordered(CONCURRENCY).inspect(|_| bar.inc(1));
        let all = done.try_collect().await;
        bar.finish();
        all
    }
}
