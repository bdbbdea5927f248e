//! How long functions take to start, and how much memory they hold, against the same functions in Python and for Node.
//! Stores and simulators are in another process.

mod contestant;
mod runtime_api;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use tidepost::stack::aws::REGION;
use tidepost::stack::host::event::http::Call;
use tidepost::stack::stop::Stop;
use tidepost_io::clock::Clock;
use tidepost_io::platform::wechat::client::SEND_PATH;

pub use contestant::{Function, Language, Start};
use contestant::{Programs, start};

use crate::mailbox::{Letter, Mailbox};
use crate::place::Place;
use crate::processes::Stores;
use crate::shop::{APP_ID, CHANNEL, Shop, openid, template, token};
use crate::{Result, progress};

/// How long a message is worth anything.
const WORTH: SignedDuration = SignedDuration::from_hours(24);
/// Dialogs answered at once while things are set up.
const CONCURRENCY: usize = 8;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Starts of each function
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Invocations of each start after the first
    #[arg(long, default_value_t = 20)]
    warm: usize,
    /// The program that Lambda starts [default: beside this program]
    #[arg(long)]
    bootstrap: Option<PathBuf>,
    /// Where the functions in Python and for Node are made ready
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/cold_start"))]
    prepared: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Cold {
    /// Invocations of each start after the first.
    pub warm: usize,
    /// Of Python and Node.
    pub versions: String,
    /// The starts.
    pub starts: BTreeMap<(Function, Language), Vec<Start>>,
}

impl Args {
    /// Starts everything so often, in turn.
    ///
    /// # Errors
    /// When something does not do its work: then there is nothing to measure.
    pub async fn measure(self) -> Result<Cold> {
        progress("the functions in Python and for Node are made ready");
        prepare(&self.prepared)?;
        let bootstrap = self.bootstrap.map_or_else(Programs::default_bootstrap, Ok)?;
        let programs = Programs { bootstrap, prepared: self.prepared.canonicalize()? };
        let each = self.warm + 1;
        let ground = Ground::start(self.starts * each).await?;
        let mut starts: BTreeMap<(Function, Language), Vec<Start>> = BTreeMap::new();
        let mut events: Vec<(Function, std::vec::IntoIter<String>)> = ground.events().await?;
        for number in 1..=self.starts {
            progress(&format!("start {number} of {}", self.starts));
            for (function, events) in &mut events {
                let events: Vec<String> = events.take(each).collect();
                for language in Language::ALL {
                    let environment = &ground.environment;
                    let start = start(&programs, language, *function, environment, events.clone()).await?;
                    starts.entry((*function, language)).or_default().push(start);
                }
            }
        }
        ground.stop().await?;
        Ok(Cold { warm: self.warm, versions: programs.versions()?, starts })
    }
}

fn prepare(folder: &Path) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cold_start/prepare");
    let status = Command::new("bash").arg(script).arg(folder).status()?;
    if status.success() { Ok(()) } else { Err(format!("{script} ends with {status}").into()) }
}

/// Stores, simulators, and an account with people.
struct Ground {
    place: Place,
    people: usize,
    environment: Vec<(String, String)>,
    letters: Vec<Letter>,
    _secrets: tempfile::TempDir,
    stop: Stop,
    _stores: Stores,
}

impl Ground {
    /// Starts them, with so many people; everybody's message is on the queue, and everybody's consent in the mailbox.
    async fn start(people: usize) -> Result<Self> {
        progress(&format!("{people} people consent and are to get a message"));
        let stores = Stores::start().await?;
        let place = Place::new(&stores.aws, &stores.aws, &stores.simulators, Clock::system()).await?;
        let stop = Stop::default();
        let mailbox = Mailbox::start(stop.clone()).await?;
        let shop = Shop::open(&place, 1, people, Some(&mailbox.url)).await?;
        // The platform takes a message from each language.
        shop.consent(0, Language::ALL.len(), "cold").await?;
        shop.enqueue(0, "cold", WORTH).await?;
        let letters = letters(&shop, &mailbox).await?;
        let environment = environment(&stores, &shop).await?;
        let secrets = shop.into_secrets();
        Ok(Self { place, people, environment, letters, _secrets: secrets, stop, _stores: stores })
    }

    /// One event for each invocation of a language, by function.
    async fn events(&self) -> Result<Vec<(Function, std::vec::IntoIter<String>)>> {
        let callbacks: Vec<String> = self.letters.iter().map(|letter| self.callback(letter)).collect();
        let dispatches = self.place.queued(self.people, 1).await?;
        let dispatches = dispatches.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(vec![(Function::Callback, callbacks.into_iter()), (Function::Dispatch, dispatches.into_iter())])
    }

    fn callback(&self, letter: &Letter) -> String {
        let call = Call {
            method: "POST",
            path: &format!("/callbacks/{CHANNEL}"),
            query: &letter.query,
            protocol: "HTTP/1.1",
            headers: &[("host", "localhost"), ("content-type", &letter.content_type)],
            body: &letter.body,
            source_ip: "127.0.0.1",
            request_id: "benchmark",
            at: self.place.now(),
        };
        call.event()
    }

    /// Ends it; the platform is witness that each language sent each message.
    async fn stop(self) -> Result<()> {
        let accepted = self.place.accepted(APP_ID).await?;
        let wanted = (self.people * Language::ALL.len()) as u64;
        self.stop.begin();
        if accepted == wanted {
            Ok(())
        } else {
            Err(format!("the platform accepted {accepted} messages instead of {wanted}").into())
        }
    }
}

/// What everybody answered in the platform's dialog, as the platform reports it.
async fn letters(shop: &Shop<'_>, mailbox: &Mailbox) -> Result<Vec<Letter>> {
    let path = format!("apps/{APP_ID}/subscribe");
    let accept = |person: usize| {
        let body = json!({"openid": openid(person), "results": {template(1): "accept"}, "push": true});
        let path = &path;
        async move { shop.place.simulator(Method::POST, path, &body).await.map(drop) }
    };
    stream::iter((0..shop.people).map(accept)).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    mailbox.take(shop.people).await
}

/// What Lambda would set, and what the functions of the comparison are told.
async fn environment(stores: &Stores, shop: &Shop<'_>) -> Result<Vec<(String, String)>> {
    let channel = shop.app().store.channel(CHANNEL).await?.ok_or("the channel is not there")?;
    // Fetched and stored here: no language has to ask the platform for it.
    let access_token = shop.app().token(CHANNEL, &channel, None).await?;
    let config = &shop.app().config;
    let send_url = format!("{}?access_token={}", shop.place.platform_url(SEND_PATH), access_token.expose());
    let template = template(0);
    let variables = [
        ("AWS_ACCESS_KEY_ID", "tidepost-local"),
        ("AWS_SECRET_ACCESS_KEY", "tidepost-local"),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ENDPOINT_URL", &stores.aws),
        ("AWS_LAMBDA_FUNCTION_NAME", "tidepost"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("LANG", "C.UTF-8"),
        ("NODE_NO_WARNINGS", "1"),
        ("TIDEPOST_TABLE", &config.table),
        ("TIDEPOST_NOW_QUEUE_URL", &config.now_queue_url),
        ("TIDEPOST_DEAD_QUEUE_URL", &config.dead_queue_url),
        ("TIDEPOST_BULK_QUEUE_URL", &config.bulk_queue_url),
        ("TIDEPOST_BULK_DEAD_QUEUE_URL", &config.bulk_dead_queue_url),
        ("TIDEPOST_SWEEP_QUEUE_URL", &config.sweep_queue_url),
        ("TIDEPOST_SWEEP_DEAD_QUEUE_URL", &config.sweep_dead_queue_url),
        ("TIDEPOST_WECHAT_BASE_URL", &stores.simulators),
        ("TIDEPOST_LOG", "warn"),
        ("COLD_TOKEN", token()),
        ("COLD_SEND_URL", &send_url),
        ("COLD_TEMPLATE", &template),
    ];
    Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Medians of the starts of one function in one language.
#[derive(Clone, Copy, Debug)]
pub struct Medians {
    /// See [`Start`]; in milliseconds.
    pub init: f64,
    /// In milliseconds.
    pub first: f64,
    /// In milliseconds.
    pub warm: f64,
    /// The first over the warm, start by start.
    pub first_over_warm: f64,
    /// In MB of 1,000,000 bytes.
    pub resident_megabytes: f64,
}

impl Cold {
    /// Of one function in one language.
    #[must_use]
    pub fn medians(&self, function: Function, language: Language) -> Medians {
        let starts = self.starts.get(&(function, language)).map(Vec::as_slice).unwrap_or_default();
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let resident = |start: &Start| start.resident_kilobytes as f64 * 1_024.0 / 1_000_000.0;
        Medians {
            init: median(starts, |start| milliseconds(start.init)),
            first: median(starts, |start| milliseconds(start.first)),
            warm: median(starts, |start| milliseconds(start.warm)),
            first_over_warm: median(starts, |start| start.first.as_secs_f64() / start.warm.as_secs_f64()),
            resident_megabytes: median(starts, resident),
        }
    }
}

fn median(starts: &[Start], of: impl Fn(&Start) -> f64) -> f64 {
    let mut values: Vec<f64> = starts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
