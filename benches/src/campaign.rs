//! Requests and units of a campaign's message, counted at the wire: from the start of the campaign until everybody has it,
//! with the census, the plans and the receipts. Stores and simulators are in this process.

use std::time::{Duration, Instant};

use aws_lambda_events::sqs::SqsEvent;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::SignedDuration;
use tidepost::stack::host::functions::QueueFunction;

use crate::count::Ground;
use crate::meter::Tally;
use crate::shop::{Narrow, Shop};
use crate::{Result, progress};

/// People of the campaign.
const PEOPLE: usize = 20_000;
/// Calls of the channel's minute: half of the people.
const LIMIT: usize = 10_000;
/// Calls in a second, as many as a window holds in a third of its time.
const RATE_PER_SECOND: usize = 500;
/// How long the campaign may take.
const PATIENCE: Duration = Duration::from_secs(400);
/// Invocations at once.
const AT_ONCE: usize = 8;
/// How often the queues are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Messages of a queue that an event source mapping receives and deletes with one request each.
const RECEIVED_TOGETHER: usize = 10;

/// What was counted.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Messages.
    pub of: usize,
    /// What the functions asked for.
    pub tally: Tally,
    /// Tasks of the queues of sweeps and of sends.
    pub tasks: usize,
    /// Invocations, those of schedules too.
    pub invocations: usize,
}

impl Campaign {
    /// Requests of SQS: the functions' own, and what a mapping needs to receive and delete their tasks.
    #[must_use]
    pub fn sqs_requests(&self) -> usize {
        let sends = ["SendMessage", "SendMessageBatch"].iter().filter_map(|name| self.tally.requests.get(*name));
        sends.sum::<usize>() + 2 * self.tasks.div_ceil(RECEIVED_TOGETHER)
    }
}

/// Runs a campaign and counts.
///
/// # Errors
/// When something does not go as it should: then there is nothing to count.
pub async fn count() -> Result<Campaign> {
    let ground = Ground::start(None).await?;
    let counted = run(&ground).await;
    ground.stop().await;
    counted
}

async fn run(ground: &Ground) -> Result<Campaign> {
    let place = &ground.place;
    let narrow = Narrow { limit: LIMIT, rate_per_second: RATE_PER_SECOND, skew_milliseconds: 2_000 };
    let shop = Shop::open_narrow(place, PEOPLE, narrow).await?;
    progress(&format!("{PEOPLE} people consent and get a campaign"));
    shop.describe().await?;
    shop.consent(0, 1, "campaign").await?;
    shop.campaign(place.now().checked_add(SignedDuration::from_hours(6))?).await?;
    ground.meter.take()?;
    let mut counted = Campaign { of: PEOPLE, tally: Tally::default(), tasks: 0, invocations: 0 };
    let (since, mut minute) = (Instant::now(), -1);
    let mut under_way = FuturesUnordered::new();
    while shop.accepted().await? < PEOPLE as u64 {
        if since.elapsed() > PATIENCE {
            return Err(format!("only {} of {PEOPLE} people were reached", shop.accepted().await?).into());
        }
        let now = place.now().as_second().div_euclid(60);
        if now != minute {
            minute = now;
            place.release().await?;
            counted.invocations += 1;
        }
        if under_way.len() < AT_ONCE
            && let Some((function, task)) = next_task(ground).await?
        {
            (counted.tasks, counted.invocations) = (counted.tasks + 1, counted.invocations + 1);
            under_way.push(place.feed(function, task));
            continue;
        }
        tokio::select! {
            Some(done) = under_way.next() => done?,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    while let Some(done) = under_way.next().await {
        done?;
    }
    counted.tally = ground.meter.take()?;
    Ok(counted)
}

/// Sweeps first: without them there is nothing to send.
async fn next_task(ground: &Ground) -> Result<Option<(QueueFunction, SqsEvent)>> {
    for function in [QueueFunction::Sweep, QueueFunction::Dispatch] {
        if let Some(task) = ground.place.next_task(function).await? {
            return Ok(Some((function, task)));
        }
    }
    Ok(None)
}
