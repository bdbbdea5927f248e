//! Processor time of one dispatched message, against a plain loop that does the least that such a message needs. Stores and
//! simulators are in another process.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tidepost::stack::aws::resources::TABLE;
use tidepost::stack::host::functions::QueueFunction;
use tidepost_io::clock::Clock;
use tidepost_io::platform::wechat::client::SEND_PATH;

use crate::place::Place;
use crate::processes::Stores;
use crate::shop::{CHANNEL, GOODS, PAGE, Shop, openid, template};
use crate::{Result, progress};

/// Messages of one invocation: what the host, and the event source mapping, hand over at most.
pub const BATCH: usize = 100;
/// Messages of the plain loop in flight.
pub const IN_FLIGHT: usize = 64;
/// How long a message is worth anything.
const WORTH: SignedDuration = SignedDuration::from_hours(24);

/// Processor time of a message, in microseconds, round by round.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// Messages of a round.
    pub messages: usize,
    /// By `dispatch`.
    pub dispatch: Vec<f64>,
    /// By the plain loop.
    pub plain: Vec<f64>,
}

/// Measures so many rounds of so many messages, the two ways in turn.
///
/// # Errors
/// When something does not go as it should: then there is nothing to measure.
pub async fn measure(messages: usize, rounds: usize) -> Result<Costs> {
    let stores = Stores::start().await?;
    let place = Place::new(&stores.aws, &stores.aws, &stores.simulators, Clock::system()).await?;
    let shop = Shop::open(&place, 1, messages, None).await?;
    shop.describe().await?;
    let plain = Plain::prepare(&shop).await?;
    let mut costs = Costs { messages, ..Costs::default() };
    // The first round warms both up and does not count.
    for round in 0..=rounds {
        progress(&format!("{messages} messages by dispatch and by the plain loop: round {round} of {rounds}"));
        let name = format!("round{round}");
        shop.consent(round, 2, &name).await?;
        shop.enqueue(round, &name, WORTH).await?;
        let dispatch = cost_of(&shop, dispatch(&shop).await?).await?;
        let plain = cost_of(&shop, plain.send_all(round)).await?;
        if round > 0 {
            costs.dispatch.push(dispatch);
            costs.plain.push(plain);
        }
    }
    Ok(costs)
}

/// Microseconds of this process per message, the platform being witness that each was sent.
async fn cost_of(shop: &Shop<'_>, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let accepted = shop.accepted().await?;
    let before = processor_time()?;
    work.await?;
    let spent = processor_time()?.saturating_sub(before);
    let sent = shop.accepted().await? - accepted;
    if sent != shop.people as u64 {
        return Err(format!("the platform accepted {sent} messages instead of {}", shop.people).into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let messages = shop.people as f64;
    Ok(spent.as_secs_f64() * 1e6 / messages)
}

/// Everything queued goes through dispatch, one invocation after the other as in one function instance. The events are
/// made beforehand.
async fn dispatch<'a>(shop: &'a Shop<'a>) -> Result<impl Future<Output = Result<()>> + 'a> {
    let events = shop.place.queued(shop.people, BATCH).await?;
    Ok(async move {
        for event in events {
            shop.place.feed(QueueFunction::Dispatch, event).await?;
        }
        Ok(())
    })
}

/// Processor time of all live threads, user and system, to the nanosecond.
fn processor_time() -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += times.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The least that a message needs: a conditional write that pays for it, and the call.
struct Plain<'a> {
    shop: &'a Shop<'a>,
    url: String,
    token: String,
}

/// The body of the call, as dispatch sends it.
#[derive(Serialize)]
struct SendBody<'a> {
    touser: &'a str,
    template_id: &'a str,
    page: &'a str,
    miniprogram_state: &'a str,
    lang: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    character_string1: Text<'a>,
    thing2: Text<'a>,
}

#[derive(Serialize)]
struct Text<'a> {
    value: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    errcode: i64,
}

impl<'a> Plain<'a> {
    /// Puts a counter there for everybody.
    async fn prepare(shop: &'a Shop<'a>) -> Result<Self> {
        let channel = shop.app().store.channel(CHANNEL).await?.ok_or("the channel is not there")?;
        let token = shop.app().token(CHANNEL, &channel, None).await?;
        let plain = Self { shop, url: shop.place.platform_url(SEND_PATH), token: token.expose().to_owned() };
        let put = |person: usize| {
            let put = shop
                .place
                .dynamodb
                .put_item()
                .table_name(TABLE)
                .item("pk", text("B#0"))
                .item("sk", text(openid(person)));
            put.item("left", AttributeValue::N("1000000".to_owned())).item("last", text("none")).send()
        };
        stream::iter((0..shop.people).map(put)).buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
        Ok(plain)
    }

    async fn send_all(&self, round: usize) -> Result<()> {
        let sends = (0..self.shop.people).map(|person| self.send(round, person));
        stream::iter(sends).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    async fn send(&self, round: usize, person: usize) -> Result<()> {
        let (openid, template, key) = (openid(person), template(round), format!("plain{round}-{person:06}"));
        let update = self.shop.place.dynamodb.update_item().table_name(TABLE);
        let update = update.key("pk", text("B#0")).key("sk", text(openid.as_str()));
        let update = update
            .update_expression("SET #left = #left - :one, #last = :key")
            .condition_expression("#left >= :one AND #last <> :key")
            .expression_attribute_names("#left", "left")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":key", text(key.as_str()));
        update.send().await?;
        let page = format!("{PAGE}?id={key}");
        let body = SendBody {
            touser: &openid,
            template_id: &template,
            page: &page,
            miniprogram_state: "formal",
            lang: "zh_CN",
            data: Data { character_string1: Text { value: &key }, thing2: Text { value: GOODS } },
        };
        let call = self.shop.place.http.post(&self.url).query(&[("access_token", &self.token)]).json(&body);
        let reply: Reply = call.send().await?.json().await?;
        if reply.errcode == 0 { Ok(()) } else { Err(format!("the platform answers {}", reply.errcode).into()) }
    }
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}
