//! The embedded stack: stand-ins for AWS, the host that runs the functions, the simulators, and one clock for all.
//!
//! ```text
//! aws/      DynamoDB and SQS at one endpoint
//! host/     HTTP, queue and schedules ─► the handlers of functions/
//! clock     lets time run ahead while nothing is due
//! data      the data folder and the first admin key
//! ```
//!
//! [`Stack::start`] is what `tidepost up`, `tidepost demo` and the tests use.

pub mod aws;
pub mod clock;
pub mod data;
pub mod error;
pub mod host;
pub mod serve;
pub mod simulators;
pub mod stop;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jiff::Timestamp;
use tidepost_io::app::App;
use tidepost_io::clock::Clock;
use tidepost_io::config::{Config, STAGE, WECHAT_BASE_URL};
use tidepost_io::secret::Secret;
use tokio::sync::watch;

use crate::stack::aws::resources::{self, QueueSettings, Resources, TABLE};
use crate::stack::aws::{StandIns, Store, sdk_config};
use crate::stack::clock::Idle;
use crate::stack::data::{AdminKey, FirstKey, Lock};
use crate::stack::error::StackError;
use crate::stack::host::{Host, HostSettings, Watch};
use crate::stack::serve::listen;
use crate::stack::simulators::Running;
use crate::stack::stop::Stop;

/// A free port on loopback.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Where table and queues are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Aws {
    /// In this process.
    Embedded,
    /// At an endpoint of another process; table and queues are made there if they are not there yet.
    Endpoint(String),
}

/// What a stack is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API answers.
    pub api: SocketAddr,
    /// Where the simulators answer, if they run.
    pub simulators: Option<SocketAddr>,
    /// The data folder; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Where table and queues are.
    pub aws: Aws,
    /// How fast the clock may run over idle spans; 1 is real time.
    pub speed: f64,
    /// What the clock reads at the start; the real time unless given.
    pub start: Option<Timestamp>,
    /// The first admin key.
    pub admin_key: AdminKey,
    /// How the queues behave. Their visibility time-out is short, so that what failed is tried again soon, and still longer than a delivery.
    pub queues: QueueSettings,
    /// How the host feeds the functions.
    pub host: HostSettings,
    /// Where WeChat answers when the simulators do not run.
    pub wechat_base_url: String,
    /// The seed of the simulators' randomness.
    pub seed: u64,
    /// The clock does not jump beyond this until [`Stack::pass_until`] says so; none lets it jump from the start.
    pub appointment: Option<Timestamp>,
}

impl Default for Options {
    /// Everything in memory, on free ports, in real time.
    fn default() -> Self {
        Self {
            api: ANY_PORT,
            simulators: Some(ANY_PORT),
            data: None,
            aws: Aws::Embedded,
            speed: 1.0,
            start: None,
            admin_key: AdminKey::Kept,
            queues: QueueSettings { visibility_seconds: 30, ..QueueSettings::default() },
            host: HostSettings::default(),
            wechat_base_url: WECHAT_BASE_URL.to_owned(),
            seed: 1,
            appointment: None,
        }
    }
}

/// A running stack.
pub struct Stack {
    /// Where the API answers.
    pub api_url: String,
    /// Where the simulators answer, if they run.
    pub simulators_url: Option<String>,
    /// Where table and queues are.
    pub aws_endpoint: String,
    /// Where functions are invoked by hand, as Lambda does.
    pub lambda_endpoint: String,
    /// The clock of functions and simulators.
    pub clock: Clock,
    /// What the functions hold.
    pub app: App,
    /// The table's and queues' names, as functions and host know them.
    pub resources: Resources,
    /// The first admin key, and whether it is new.
    pub first_key: FirstKey,
    watch: StackWatch,
    host: Host,
    stand_ins: Option<StandIns>,
    simulators: Option<Running>,
    stop: Stop,
    _lock: Option<Lock>,
}

impl Stack {
    /// Starts everything; when it returns, the API answers.
    ///
    /// # Errors
    /// [`StackError`] says what is in the way and what to do.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        let lock = prepare(&options)?;
        let first_key = FirstKey::resolve(options.admin_key.clone(), options.data.as_deref())?;
        let (listener, api) = listen(options.api).await?;
        let (by_hand, lambda) = listen(ANY_PORT).await?;
        let clock = options.start.map_or_else(Clock::system, Clock::starting_at);
        let stop = Stop::default();
        let simulators = match options.simulators {
            Some(address) => Some(Running::start(address, &clock, options.speed, options.seed, &stop).await?),
            None => None,
        };
        let simulators_url = simulators.as_ref().map(|running| running.url.clone());
        let (stand_ins, aws_endpoint) = find_aws(&options).await?;
        let sdk = sdk_config(&aws_endpoint).await;
        let resources = resources::create(&sdk, options.queues).await?;
        let config = Config {
            table: TABLE.to_owned(),
            now_queue_url: resources.now.url.clone(),
            dead_queue_url: resources.now_dead_letters.url.clone(),
            bulk_queue_url: resources.bulk.url.clone(),
            bulk_dead_queue_url: resources.bulk_dead_letters.url.clone(),
            sweep_queue_url: resources.sweep.url.clone(),
            sweep_dead_queue_url: resources.sweep_dead_letters.url.clone(),
            admin_key_ref: Some(first_key.reference.clone()),
            wechat_base_url: simulators_url.clone().unwrap_or(options.wechat_base_url),
            fetches_tokens: true,
            stage: STAGE.to_owned(),
        };
        let app = App::new(config, clock.clone(), &sdk).map_err(|error| StackError::App(error.to_string()))?;
        let sqs = aws_sdk_sqs::Client::new(&sdk);
        let mut host = Host::start(app.clone(), listener, by_hand, sqs, &resources, options.host);
        if stand_ins.is_some() && options.data.is_some() {
            host.bring_back_lost();
        }
        let simulated = simulators.as_ref().map(|running| running.simulators.clone());
        let watch = StackWatch {
            app: app.clone(),
            host: host.watch(),
            simulators: simulated,
            appointment: watch::Sender::new(options.appointment),
            parked: watch::Sender::new(None),
        };
        // Ends with `stop`; nobody waits for it.
        drop(clock::drive(clock.clone(), options.speed, watch.clone(), stop.clone()));
        let api_url = format!("http://{api}");
        let _lock = lock;
        Ok(Self {
            api_url,
            simulators_url,
            aws_endpoint,
            lambda_endpoint: format!("http://{lambda}"),
            clock,
            app,
            resources,
            first_key,
            watch,
            host,
            stand_ins,
            simulators,
            stop,
            _lock,
        })
    }

    /// The first admin key.
    #[must_use]
    pub fn admin_key(&self) -> &Secret {
        &self.first_key.key
    }

    /// The host that runs the functions.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns once nothing is in flight: no call, no invocation, no queued message, no callback on its way.
    pub async fn idle(&self) {
        while !self.watch.is_idle().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Lets the clock run to `at` and what is in flight then come down; it does not jump beyond.
    pub async fn pass_until(&self, at: Timestamp) {
        self.watch.appointment.send_replace(Some(at));
        self.idle().await;
        self.clock.sleep_until(at).await;
        self.idle().await;
    }

    /// Takes no more, finishes what is in flight within 10 s, then ends the stand-ins.
    pub async fn stop(self) {
        self.host.stop().await;
        self.stop.begin();
        if let Some(simulators) = &self.simulators {
            simulators.abort();
        }
        // The clients go before the servers, which would wait for them.
        drop(self.app);
        if let Some(stand_ins) = self.stand_ins {
            stand_ins.stop().await;
        }
    }
}

/// The folder is there and ours. With stores in another process only the key is in it, which hosts may share.
fn prepare(options: &Options) -> Result<Option<Lock>, StackError> {
    let Some(folder) = &options.data else { return Ok(None) };
    data::make(folder)?;
    match options.aws {
        Aws::Embedded => Lock::take(folder).map(Some),
        Aws::Endpoint(_) => Ok(None),
    }
}

async fn find_aws(options: &Options) -> Result<(Option<StandIns>, String), StackError> {
    if let Aws::Endpoint(url) = &options.aws {
        return Ok((None, url.clone()));
    }
    let store = options.data.clone().map_or(Store::Memory, Store::Folder);
    let stand_ins = StandIns::start(&store, ANY_PORT).await?;
    let url = stand_ins.url().to_owned();
    Ok((Some(stand_ins), url))
}

/// Sees whether anything is going on in a stack, and what comes next.
#[derive(Clone)]
struct StackWatch {
    app: App,
    host: Watch,
    simulators: Option<platform_simulators::Simulators>,
    /// A time that somebody outside waits for.
    appointment: watch::Sender<Option<Timestamp>>,
    /// What is parked, as of so much work begun.
    parked: watch::Sender<Option<(u64, Option<Timestamp>)>>,
}

impl Idle for StackWatch {
    async fn is_idle(&self) -> bool {
        let is_pushing = self.simulators.as_ref().is_some_and(|simulators| simulators.pending_callbacks() > 0);
        !is_pushing && self.host.is_idle().await
    }

    async fn next_due(&self) -> Option<Timestamp> {
        let appointment = *self.appointment.borrow();
        let begun = self.host.work_begun();
        // A time that has come says nothing of what comes next.
        let is_ahead = |next: &Option<Timestamp>| next.is_none_or(|next| self.app.clock.now() < next);
        let known = self.parked.borrow().filter(|(as_of, next)| *as_of == begun && is_ahead(next));
        let known = known.map(|(_, next)| next);
        let parked = match known {
            Some(next) => next,
            // Without an answer nothing may be jumped over.
            None => self.app.next_due().await.unwrap_or_else(|_| Some(self.app.clock.now())),
        };
        self.parked.send_replace(Some((begun, parked)));
        [appointment, parked].into_iter().flatten().min()
    }
}
