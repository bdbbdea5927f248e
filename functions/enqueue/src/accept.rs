//! `POST /v1/messages`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidepost_core::decide::{Case, decide, wait_for_room};
use tidepost_core::digest;
use tidepost_core::ids::MessageId;
use tidepost_core::invalid::Invalid;
use tidepost_core::message::{IDEMPOTENCY_SECONDS, Message, MessageRequest, Standing, summary};
use tidepost_core::receipt::Entry;
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::emf;
use tidepost_io::http::{Answer, Problem, Request, from_value, json as answer_json};
use tidepost_io::messages::Parked;
use tidepost_io::queue::MessageTask;

/// How long a message that will not be sent is certainly not on its way, in seconds: the walk over the messages leaves it alone
/// for longer.
const CLOSED_WITHIN_SECONDS: i64 = 60;

/// Takes one message, once per Idempotency-Key.
pub async fn accept(app: &App, request: &Request) -> Answer {
    let caller = app.authorise(request, Right::Messages).await?;
    let key = idempotency_key(request)?;
    let body: Value = request.json()?;
    let body_hash = body_hash(&body);
    let wanted: MessageRequest = from_value(body, "").map_err(|invalid| Problem::invalid(vec![invalid]))?;
    let now = app.clock.now();
    let id = MessageId::derive(&wanted.channel, &caller.key, key, now);
    if let Some(answer) = told_before(app, id, &body_hash, now).await? {
        return Ok(answer);
    }
    let (row, is_new) = store(app, id, wanted, body_hash.clone(), now).await?;
    let is_ours = async || Ok::<_, Problem>(app.store.message(id).await?.is_some_and(|known| known == row));
    if !is_new && !is_ours().await? {
        return told_before(app, id, &body_hash, now).await?.ok_or_else(|| Problem::unavailable("try again"));
    }
    let message = close(app, id, row, now).await?;
    // Also when the write had succeeded unheard and its own repetition found the row.
    start(app, id, &message).await;
    Ok(told(id, &message))
}

/// The key that names the request.
pub fn idempotency_key(request: &Request) -> Result<&str, Problem> {
    let key = request.header("idempotency-key").unwrap_or_default();
    let is_printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let wrong = |code: &str, message: &str| Problem::invalid(vec![Invalid::new("Idempotency-Key", code, message)]);
    match key.len() {
        0 => Err(wrong("idempotency_key_missing", "send an Idempotency-Key header, such as the order's number")),
        1..=255 if is_printable => Ok(key),
        _ => Err(wrong("idempotency_key_malformed", "must be 1 to 255 printable ASCII characters")),
    }
}

/// Tells one body from another, whatever the order of its fields and its white space.
pub fn body_hash(body: &Value) -> String {
    digest::of(&[body.to_string().as_bytes()]).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The answer that was given under this key within the last 7 days.
async fn told_before(
    app: &App,
    id: MessageId,
    body_hash: &str,
    now: Timestamp,
) -> Result<Option<aws_lambda_events::apigw::ApiGatewayV2httpResponse>, Problem> {
    // The turn of a week lies between two calls with the same key, or between the clocks of two functions.
    let ids = [Some(id), Some(id.week_before()), id.across_the_turn(now)];
    let rows = app.store.messages(&ids.into_iter().flatten().collect::<Vec<_>>()).await?;
    let known = rows.into_iter().find(|(_, row)| now < plus_seconds(row.accepted_at, IDEMPOTENCY_SECONDS));
    match known {
        None => Ok(None),
        Some((id, row)) if row.body_hash == body_hash => Ok(Some(told(id, &close(app, id, row, now).await?))),
        Some(_) => {
            let detail = "this Idempotency-Key was used with another body; use a new key for a new message";
            Err(Problem::new(409, "idempotency_conflict", detail))
        }
    }
}

fn told(id: MessageId, message: &Message) -> aws_lambda_events::apigw::ApiGatewayV2httpResponse {
    let (status, reason, next_attempt_at) = summary(&message.answer);
    let body = json!({ "id": id, "status": status, "next_attempt_at": next_attempt_at, "reason": reason });
    answer_json(202, &body)
}

/// Checks the message, decides what will happen to it as things are, and stores both. Where it will not be sent its row is
/// open all the same until that is written down: see [`close`].
async fn store(
    app: &App,
    id: MessageId,
    wanted: MessageRequest,
    body_hash: String,
    now: Timestamp,
) -> Result<(Message, bool), Problem> {
    let unknown = |field: &str, what: &str| {
        let message = format!("there is no such {what}; create it first");
        Problem::invalid(vec![Invalid::new(field, format!("{what}_unknown"), message)])
    };
    let state = app.store.channel_state(&wanted.channel).await?.ok_or_else(|| unknown("channel", "channel"))?;
    emf::platform(state.channel.platform);
    let template = state.templates.get(&wanted.template).ok_or_else(|| unknown("template", "template"))?;
    let mut message = wanted.accept(template, body_hash, now).map_err(Problem::invalid)?;
    let to = message.subscriber();
    let (person, quota) = futures::try_join!(app.store.person(&to), app.store.quota_of_late(&to.channel))?;
    let offer = message.offer(id);
    let case =
        Case { person: person.person(), offer: &offer, channel: &state.channel, health: &state.health, template, now };
    let hold = decide(&case).or_else(|| wait_for_room(&case, &quota));
    message.answer = hold.map_or(Standing::Queued, Standing::held);
    if matches!(message.answer, Standing::Ended { .. }) {
        message.standing = Some(Standing::Queued);
    }
    // Near a week's turn another function may be about to store the same message under the other week's id.
    let is_new = app.store.put_message(id, id.across_the_turn(now), &message).await?;
    Ok((message, is_new))
}

/// Ends a message that will not be sent, if that is not done: its receipt, then its row, which nobody looks after from then
/// on. The open row came before both, so that the hour in which it counts does not depend on how often it was tried.
///
/// What dies between is made good by the same request when it comes again soon; later the walk over the messages may have
/// put the message on its way, and it is told as queued.
async fn close(app: &App, id: MessageId, row: Message, now: Timestamp) -> Result<Message, Problem> {
    let (Standing::Ended { ending, .. }, Some(Standing::Queued)) = (&row.answer, &row.standing) else {
        return Ok(row);
    };
    if now >= plus_seconds(row.accepted_at, CLOSED_WITHIN_SECONDS) {
        return Ok(Message { answer: Standing::Queued, ..row });
    }
    let standing = app.store.put_ending(&row, Entry { id, at: now, ending: ending.clone() }).await?;
    let answer = Standing::Ended { ending: standing.ending, sent_at: None };
    // What will never be sent is not kept.
    let closed = Message { answer, standing: None, data: BTreeMap::new(), page: None, ..row };
    app.store.rewrite_message(id, &closed).await?;
    Ok(closed)
}

/// Puts a stored message on its way. What fails here is made good by the walk over the messages.
async fn start(app: &App, id: MessageId, message: &Message) {
    let channel = &message.channel;
    let failed: Option<String> = match &message.answer {
        Standing::Queued => {
            let task = MessageTask { id, to: message.subscriber(), not_after: message.deadline };
            app.now_queue.send(task).await.err().map(|error| error.to_string())
        }
        Standing::Waiting { until, .. } => {
            let parked =
                Parked { id, channel: channel.clone(), category: message.category, deadline: message.deadline };
            app.store.park(*until, &parked).await.err().map(|error| error.to_string())
        }
        Standing::Ended { .. } => None,
    };
    if let Some(error) = failed {
        tracing::warn!(error, %id, "a message was stored and not put on its way; release will do that");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_hash_does_not_depend_on_the_order_of_fields() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{ "b": {"d":3,"c":2}, "a":1 }"#).unwrap();
        assert_eq!(body_hash(&one), body_hash(&other));
        assert_ne!(body_hash(&one), body_hash(&serde_json::json!({"a":1})));
    }
}
