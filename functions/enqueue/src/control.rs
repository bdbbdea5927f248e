//! Commands to campaigns: by the API, and by EventBridge, which starts them at their time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tidepost_core::brake::{Baseline, Counts, LOOKS_AHEAD_SECONDS, PauseCode, PausedBecause, Verdict};
use tidepost_core::campaign::{Command, IllegalState, Live, Status};
use tidepost_core::ids::CampaignId;
use tidepost_core::time::{hour_of, plus_seconds};
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::brakes::{self, ChannelBrake};
use tidepost_io::campaigns::{Accounts, CampaignRow, Changed};
use tidepost_io::http::{Answer, Problem, Request, json as answer};
use tidepost_io::queue::SweepStep;
use tidepost_io::store::StoreError;

use crate::campaigns::{id_of, unknown};

/// What can be commanded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Let it run.
    Start,
    /// Hold it.
    Pause,
    /// Let it run again.
    Resume,
    /// End it.
    Stop,
}

impl Verb {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(Value::from(text)).ok()
    }

    fn command(self) -> Command {
        match self {
            Self::Start => Command::Start,
            Self::Pause => Command::Pause(PausedBecause::requested()),
            Self::Resume => Command::Resume,
            Self::Stop => Command::Stop,
        }
    }

    /// Whether sends are to follow it.
    fn lets_go(self) -> bool {
        matches!(self, Self::Start | Self::Resume)
    }

    /// Whether a campaign that stands so needs the command no more. What was started may have been paused since.
    fn is_done(self, status: Status) -> bool {
        match self {
            Self::Start => matches!(status, Status::Scheduled | Status::Running | Status::Paused),
            Self::Resume => matches!(status, Status::Scheduled | Status::Running),
            Self::Pause => status == Status::Paused,
            Self::Stop => status == Status::Stopped,
        }
    }
}

/// Who commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    /// Somebody who reads the answers.
    Person,
    /// EventBridge.
    Schedule,
}

/// What EventBridge sends: as the whole input of a schedule, or as the detail of an event.
#[derive(Debug, Deserialize)]
struct Order {
    campaign: CampaignId,
    command: Verb,
}

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum Refused {
    /// There is no such campaign.
    #[error("there is no such campaign")]
    Unknown,
    /// Its state does not allow it.
    #[error(transparent)]
    State(#[from] IllegalState),
    /// It could not run as it is.
    #[error("{0}")]
    NotReady(String),
    /// DynamoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => unknown(),
            Refused::State(_) | Refused::NotReady(_) => Self::new(409, "illegal_state", refused.to_string()),
            Refused::Store(error) => error.into(),
        }
    }
}

/// Carries a command of the API out and says how much may still be sent.
pub async fn command(app: &App, request: &Request, id: &str, verb: &str) -> Answer {
    let verb = Verb::parse(verb).ok_or_else(|| Problem::not_found("there is no such route"))?;
    app.authorise(request, Right::Campaigns).await?;
    let id = id_of(id)?;
    let row = carry_out(app, id, verb, By::Person).await?;
    let now = app.clock.now();
    if verb.lets_go() && row.status(now) == Status::Running {
        sweep_now(app, &row.campaign.channel).await;
    }
    let at_most_more = match verb.lets_go() {
        true => None,
        false => Some(app.store.at_most_more(&row.campaign.channel, now).await?),
    };
    let paused_because = row.control.paused_because().filter(|_| verb.lets_go());
    Ok(answer(200, &Commanded { id, status: row.status(now), at_most_more, paused_because }))
}

/// What a command came to.
#[derive(Serialize)]
struct Commanded<'a> {
    id: CampaignId,
    status: Status,
    /// Sends of the whole channel that may still start; not said of what is let go.
    at_most_more: Option<u64>,
    /// Why it does not go.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_because: Option<&'a PausedBecause>,
}

/// Lets the first sends start without waiting for the next tick.
async fn sweep_now(app: &App, channel: &str) {
    if let Err(error) = app.sweep_queue.send(SweepStep::Plan { channel: channel.to_owned() }).await {
        tracing::warn!(channel, %error, "a campaign begins with the next tick");
    }
}

/// Carries out what EventBridge asks for. It may ask twice: what is done already is well.
///
/// # Errors
/// [`Refused`] in words, so that the event is tried again and then kept with the dead letters.
pub async fn ordered(app: &App, event: &Value) -> Result<(), String> {
    let order = event.get("detail").unwrap_or(event);
    let order: Order = serde_json::from_value(order.clone())
        .map_err(|error| format!("neither a call of the API nor a campaign and a command: {error}"))?;
    match carry_out(app, order.campaign.whole(), order.command, By::Schedule).await {
        Ok(_) => Ok(()),
        Err(Refused::State(illegal)) if order.command.is_done(illegal.status) => Ok(()),
        Err(refused) => Err(format!("{}: {refused}", order.campaign)),
    }
}

async fn carry_out(app: &App, id: CampaignId, verb: Verb, by: By) -> Result<CampaignRow, Refused> {
    let now = app.clock.now();
    let let_go = if verb.lets_go() { Some(prepare(app, id, verb, by, now).await?) } else { None };
    let changed = app.store.change_campaign(id, |row| {
        let control = row.control.after(verb.command(), row.campaign.life(), now)?;
        let Some(LetGo { baseline, held }) = &let_go else { return Ok(CampaignRow { control, ..row.clone() }) };
        // What was over before it was started is nobody's loss.
        let accounts = row.accounts.clone().or_else(|| Some(Accounts::since(now)));
        let row = CampaignRow { accounts, ..row.clone() };
        let sends_until = plus_seconds(now, LOOKS_AHEAD_SECONDS);
        Ok::<_, IllegalState>(match held {
            // Else it would send until the brake's next look.
            Some(because) if control.runs_between(row.campaign.life(), now, sends_until) => {
                let control = row.control.held(because.clone(), now);
                CampaignRow { control, baseline: row.baseline.or(Some(*baseline)), ..row }
            }
            _ => CampaignRow { control, baseline: Some(*baseline), ..row },
        })
    });
    match changed.await? {
        Changed::Done(row) => {
            if let Some(because) = row.control.paused_because().filter(|_| verb.lets_go()) {
                brakes::tell_paused(&row.campaign.channel, id, because);
            }
            Ok(*row)
        }
        Changed::Refused(illegal) => Err(illegal.into()),
        Changed::Unknown => Err(Refused::Unknown),
    }
}

/// What goes with a campaign that is let go.
struct LetGo {
    /// Where the brake begins to count.
    baseline: Baseline,
    /// Why its channel is braked, if it is.
    held: Option<PausedBecause>,
}

async fn prepare(app: &App, id: CampaignId, verb: Verb, by: By, now: Timestamp) -> Result<LetGo, Refused> {
    let row = app.store.campaign(id).await?.ok_or(Refused::Unknown)?;
    let channel = &row.campaign.channel;
    let fresh = Baseline { since: now, before: Counts::default() };
    if verb == Verb::Start {
        check_ready(app, id, &row, now).await?;
        return Ok(LetGo { baseline: fresh, held: speaks_against(app, channel, now).await? });
    }
    // Nothing is forgiven where nothing can be resumed.
    row.control.after(Command::Resume, row.campaign.life(), now)?;
    let (mut baseline, mut whole) = (fresh, fresh);
    for (_, hour) in app.store.hours(channel, hour_of(now), now).await? {
        for (cell, count) in &hour.counts {
            whole.before.add(cell, *count);
            if cell.campaign == Some(id) {
                baseline.before.add(cell, *count);
            }
        }
    }
    let held = speaks_against(app, channel, now).await?;
    let is_seen = |because: &PausedBecause| {
        by == By::Person && because.code != PauseCode::Punished && row.control.has_told(because, now)
    };
    if !held.as_ref().is_some_and(is_seen) {
        return Ok(LetGo { baseline, held });
    }
    // First, or the campaign would go on against what was counted before.
    let brake = ChannelBrake { baseline: whole, warning: None };
    app.store.change_channel_brake(channel, |_| Some(brake.clone())).await?;
    Ok(LetGo { baseline, held: None })
}

/// Why the whole channel is braked, if it is.
async fn speaks_against(app: &App, channel: &str, now: Timestamp) -> Result<Option<PausedBecause>, Refused> {
    let complaints = app.store.complaints(channel).await?;
    match app.store.evidence(channel, complaints, now).await?.against_channel() {
        Verdict::Pause(because) => Ok(Some(because.of_the_channel())),
        Verdict::GoOn | Verdict::Warn(_) => Ok(None),
    }
}

/// What was right when the campaign was made may have changed since.
async fn check_ready(app: &App, id: CampaignId, row: &CampaignRow, now: Timestamp) -> Result<(), Refused> {
    let not_ready = |detail: String| Err(Refused::NotReady(detail));
    let campaign = &row.campaign;
    if campaign.segment.is_none() && row.list.is_empty() {
        return not_ready("it is for nobody: upload its list first".to_owned());
    }
    let Some(template) = app.store.template(&campaign.channel, &campaign.template).await? else {
        return not_ready(format!("the channel has no template {} any more", campaign.template));
    };
    let start = campaign.occurrence(id, now).map(|_| now).or_else(|| campaign.next_start(now));
    match Live::new(id, campaign, &template, start.unwrap_or(now)) {
        Ok(_) => Ok(()),
        Err(wrong) => not_ready(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_is_the_input_itself_or_the_detail_of_an_event() {
        let id = CampaignId::derive("shop", "k_1", "spring", Timestamp::UNIX_EPOCH);
        let order = json!({"campaign": id, "command": "start"});
        for event in [order.clone(), json!({"detail-type": "Campaign", "detail": order})] {
            let order = event.get("detail").unwrap_or(&event);
            let order: Order = serde_json::from_value(order.clone()).unwrap();
            assert_eq!((order.campaign, order.command), (id, Verb::Start));
        }
    }

    #[test]
    fn a_command_that_comes_twice_is_done_already() {
        assert!(Verb::Start.is_done(Status::Running) && Verb::Resume.is_done(Status::Scheduled));
        assert!(Verb::Start.is_done(Status::Paused) && !Verb::Resume.is_done(Status::Paused));
        assert!(!Verb::Start.is_done(Status::Stopped) && !Verb::Pause.is_done(Status::Draft));
        assert!(Verb::Pause.is_done(Status::Paused) && Verb::Stop.is_done(Status::Stopped));
    }
}
