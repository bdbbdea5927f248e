//! Requests and units of one message and of one consent, counted at the wire. Stores and simulators are in this process.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidepost::stack::ANY_PORT;
use tidepost::stack::aws::{StandIns, Store};
use tidepost::stack::host::functions::{HttpFunction, QueueFunction};
use tidepost::stack::simulators::Running;
use tidepost::stack::stop::Stop;
use tidepost_io::clock::Clock;
use tidepost_io::platform::http_client;

use crate::mailbox::Mailbox;
use crate::meter::{Kind, Meter, Tally, proxy};
use crate::place::Place;
use crate::shop::{APP_ID, CHANNEL, Shop, openid, template};
use crate::{Result, progress};

/// People of the shop, and messages of each measured round: a multiple of every batch.
pub const PEOPLE: usize = 320;
/// Messages of an invocation.
pub const BATCHES: [usize; 3] = [1, 20, 64];
/// Rounds before those that are measured, so that people have a past.
pub const PAST_ROUNDS: usize = 9;
/// Hours between rounds of the past.
pub const PAST_HOURS: u64 = 7;
/// Calls of each way to consent.
const CONSENTS: usize = 100;

/// A morning in Shanghai.
const START: &str = "2026-11-18T09:00:00+08:00";
/// How long a message of the past is worth anything.
const WORTH: SignedDuration = SignedDuration::from_hours(24);
/// The same of a measured one: longer, so that a tick can settle it and nothing else.
const MEASURED_WORTH: SignedDuration = SignedDuration::from_hours(30);

/// What was counted over several messages or consents.
#[derive(Clone, Debug)]
pub struct Count {
    /// How many.
    pub of: usize,
    /// What they took together.
    pub tally: Tally,
}

/// One round of messages.
#[derive(Clone, Debug)]
pub struct Round {
    /// Messages of one invocation of dispatch.
    pub batch: usize,
    /// Until the messages are on the queue.
    pub enqueue: Count,
    /// From the queue until the receipts are written.
    pub dispatch: Count,
    /// The platform's own event after each delivery.
    pub event: Count,
}

/// Everything about a channel with so many quota rules.
#[derive(Clone, Debug)]
pub struct Channel {
    /// How many rules.
    pub rules: usize,
    /// One round for each of [`BATCHES`].
    pub rounds: Vec<Round>,
    /// The walk that writes down in the end how each message ended.
    pub settle: Count,
    /// Ways to consent, and what one takes.
    pub consents: Vec<(&'static str, Count)>,
    /// Bytes of the people's items as the last round wrote them.
    pub person_bytes: Vec<usize>,
}

/// Counts everything for a channel with so many quota rules.
///
/// # Errors
/// When something does not go as it should: then there is nothing to count.
pub async fn channel(rules: usize) -> Result<Channel> {
    let ground = Ground::start(Some(START)).await?;
    let counted = ground.count(rules).await;
    ground.stop().await;
    counted
}

/// Functions on metered stand-ins.
pub struct Ground {
    /// The functions.
    pub place: Place,
    /// Sees what they ask for.
    pub meter: Meter,
    mailbox: Mailbox,
    stand_ins: StandIns,
    simulators: Running,
    stop: Stop,
}

impl Ground {
    /// Starts everything; the clock begins at `start`, or is the machine's.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(start: Option<&str>) -> Result<Self> {
        let (stop, meter) = (Stop::default(), Meter::default());
        let clock = match start {
            Some(start) => Clock::starting_at(start.parse::<Timestamp>()?),
            None => Clock::system(),
        };
        let stand_ins = StandIns::start(&Store::Memory, ANY_PORT).await?;
        let simulators = Running::start(ANY_PORT, &clock, 1.0, 1, &stop).await?;
        let metered = proxy::start(http_client()?, stand_ins.url(), meter.clone(), stop.clone()).await?;
        let place = Place::new(&format!("http://{metered}"), stand_ins.url(), &simulators.url, clock).await?;
        let mailbox = Mailbox::start(stop.clone()).await?;
        Ok(Self { place, meter, mailbox, stand_ins, simulators, stop })
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.stop.begin();
        self.simulators.abort();
        drop(self.place);
        self.stand_ins.stop().await;
    }

    async fn count(&self, rules: usize) -> Result<Channel> {
        let shop = Shop::open(&self.place, rules, PEOPLE, Some(&self.mailbox.url)).await?;
        shop.describe().await?;
        self.past(&shop, rules).await?;
        let mut rounds = Vec::new();
        for (index, batch) in BATCHES.into_iter().enumerate() {
            progress(&format!("{rules} quota rules: {PEOPLE} messages in invocations of {batch}"));
            rounds.push(self.round(&shop, index, batch).await?);
        }
        let last = rounds.last().and_then(|round| round.dispatch.tally.written_bytes.get(&Kind::Person));
        let person_bytes = last.cloned().unwrap_or_default();
        progress("what ended is written down");
        let settle = self.settle().await?;
        progress("people consent");
        let consents = vec![
            ("one callback of the platform, one template", self.by_callback(&shop).await?),
            ("webhook, one consent in a call", self.by_webhook(&shop, 1, "single").await?),
            ("webhook, 100 consents in a call", self.by_webhook(&shop, CONSENTS, "batch").await?),
        ];
        Ok(Channel { rules, rounds, settle, consents, person_bytes })
    }

    /// Three days in which everybody agrees to a message and gets it, every seven hours.
    async fn past(&self, shop: &Shop<'_>, rules: usize) -> Result<()> {
        for round in 0..PAST_ROUNDS {
            progress(&format!("{rules} quota rules: the past, {} of {PAST_ROUNDS}", round + 1));
            self.place.pass(Duration::from_secs(PAST_HOURS * 3_600));
            self.place.release().await?;
            let name = format!("past{round}");
            shop.consent(round, 1, &name).await?;
            shop.enqueue(round, &name, WORTH).await?;
            for event in self.place.queued(PEOPLE, 64).await? {
                self.place.feed(QueueFunction::Dispatch, event).await?;
            }
            self.mailbox.take(PEOPLE).await?;
        }
        Ok(())
    }

    async fn round(&self, shop: &Shop<'_>, index: usize, batch: usize) -> Result<Round> {
        // Past the leases of the round before; the access token lives on.
        self.place.pass(Duration::from_secs(60));
        let name = format!("round{index}");
        shop.consent(index, 1, &name).await?;
        let accepted = shop.accepted().await?;
        self.meter.take()?;
        shop.enqueue(index, &name, MEASURED_WORTH).await?;
        let enqueue = self.counted(PEOPLE)?;
        for event in self.place.queued(PEOPLE, batch).await? {
            self.place.feed(QueueFunction::Dispatch, event).await?;
        }
        let dispatch = self.counted(PEOPLE)?;
        let delivered = shop.accepted().await? - accepted;
        if delivered != PEOPLE as u64 {
            return Err(format!("the platform accepted {delivered} messages instead of {PEOPLE}").into());
        }
        self.receive(PEOPLE).await?;
        Ok(Round { batch, enqueue, dispatch, event: self.counted(PEOPLE)? })
    }

    fn counted(&self, of: usize) -> Result<Count> {
        Ok(Count { of, tally: self.meter.take()? })
    }

    /// Hands `count` events of the platform to the callback function.
    async fn receive(&self, count: usize) -> Result<()> {
        let path = format!("/callbacks/{CHANNEL}");
        for letter in self.mailbox.take(count).await? {
            let headers = [("host", "localhost"), ("content-type", letter.content_type.as_str())];
            let at = (path.as_str(), letter.query.as_str());
            self.place.invoke(HttpFunction::Callback, "POST", at, &headers, &letter.body).await?;
        }
        Ok(())
    }

    /// The tick after the measured messages' deadline. The one before does what else a day brings.
    async fn settle(&self) -> Result<Count> {
        self.place.pass(Duration::from_secs(25 * 3_600));
        self.place.release().await?;
        self.meter.take()?;
        self.place.pass(Duration::from_secs(6 * 3_600));
        self.place.release().await?;
        let tally = self.meter.take()?;
        let (of, settled) = (PEOPLE * BATCHES.len(), tally.writes(Kind::Message));
        if settled != of {
            return Err(format!("{settled} messages were settled instead of {of}").into());
        }
        Ok(Count { of, tally })
    }

    async fn by_callback(&self, shop: &Shop<'_>) -> Result<Count> {
        for person in 0..CONSENTS {
            let body = json!({"openid": openid(person), "results": {template(0): "accept"}, "push": true});
            shop.place.simulator(http::Method::POST, &format!("apps/{APP_ID}/subscribe"), &body).await?;
        }
        self.meter.take()?;
        self.receive(CONSENTS).await?;
        self.counted(CONSENTS)
    }

    async fn by_webhook(&self, shop: &Shop<'_>, batch: usize, name: &str) -> Result<Count> {
        self.meter.take()?;
        let people: Vec<usize> = (0..CONSENTS).collect();
        for people in people.chunks(batch) {
            shop.report(people, 1, name).await?;
        }
        self.counted(CONSENTS)
    }
}
