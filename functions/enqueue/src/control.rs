//! Commands to campaigns: by the API, and by EventBridge, which starts them at their time.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tidepost_core::brake::{Baseline, Counts, PausedBecause, Verdict};
use tidepost_core::campaign::{Command, IllegalState, Live, Status};
use tidepost_core::ids::CampaignId;
use tidepost_core::time::hour_of;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::brakes::ChannelBrake;
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

    /// Whether a campaign that stands so needs the command no more.
    fn is_done(self, status: Status) -> bool {
        match self {
            Self::Start | Self::Resume => matches!(status, Status::Scheduled | Status::Running),
            Self::Pause => status == Status::Paused,
            Self::Stop => status == Status::Stopped,
        }
    }
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
    let row = carry_out(app, id, verb).await?;
    let now = app.clock.now();
    if verb.lets_go() && row.status(now) == Status::Running {
        sweep_now(app, &row.campaign.channel).await;
    }
    let at_most_more = match verb.lets_go() {
        true => None,
        false => Some(app.store.at_most_more(&row.campaign.channel, now).await?),
    };
    let because = row.control.paused_because().filter(|_| verb.lets_go());
    let mut told = json!({ "id": id, "status": row.status(now), "at_most_more": at_most_more });
    if let Some(because) = because {
        told["paused_because"] = json!(because);
    }
    Ok(answer(200, &told))
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
    match carry_out(app, order.campaign.whole(), order.command).await {
        Ok(_) => Ok(()),
        Err(Refused::State(illegal)) if order.command.is_done(illegal.status) => Ok(()),
        Err(refused) => Err(format!("{}: {refused}", order.campaign)),
    }
}

async fn carry_out(app: &App, id: CampaignId, verb: Verb) -> Result<CampaignRow, Refused> {
    let now = app.clock.now();
    let let_go = if verb.lets_go() { Some(prepare(app, id, verb, now).await?) } else { None };
    let changed = app.store.change_campaign(id, |row| {
        let mut control = row.control.after(verb.command(), row.campaign.life(), now)?;
        if let Some(because) = let_go.as_ref().and_then(|let_go| let_go.held.as_ref()) {
            control = control.after(Command::Pause(because.clone()), row.campaign.life(), now)?;
        }
        let baseline = let_go.as_ref().map(|let_go| let_go.baseline).or(row.baseline);
        // What was over before it was started is nobody's loss.
        let accounts = row.accounts.clone().or_else(|| verb.lets_go().then(|| Accounts::since(now)));
        Ok::<_, IllegalState>(CampaignRow { control, baseline, accounts, ..row.clone() })
    });
    match changed.await? {
        Changed::Done(row) => Ok(*row),
        Changed::Refused(illegal) => Err(illegal.into()),
        Changed::Unknown => Err(Refused::Unknown),
    }
}

/// What goes with a campaign that is let go.
struct LetGo {
    /// Where the brake begins to count.
    baseline: Baseline,
    /// Why it does not go all the same.
    held: Option<PausedBecause>,
}

async fn prepare(app: &App, id: CampaignId, verb: Verb, now: Timestamp) -> Result<LetGo, Refused> {
    let row = app.store.campaign(id).await?.ok_or(Refused::Unknown)?;
    let baseline = if verb == Verb::Start {
        check_ready(app, id, &row, now).await?;
        Baseline { since: now, before: Counts::default() }
    } else {
        forgive(app, id, &row, now).await?
    };
    Ok(LetGo { baseline, held: speaks_against(app, &row.campaign.channel, now).await? })
}

/// Who resumes has seen what was counted by now: it does not brake again. Returns where the campaign's brake begins to count.
async fn forgive(app: &App, id: CampaignId, row: &CampaignRow, now: Timestamp) -> Result<Baseline, Refused> {
    // Nothing is forgiven where nothing can be resumed.
    row.control.after(Command::Resume, row.campaign.life(), now)?;
    let mut baseline = Baseline { since: now, before: Counts::default() };
    let mut channel = baseline;
    for (_, hour) in app.store.hours(&row.campaign.channel, hour_of(now), now).await? {
        for (cell, count) in &hour.counts {
            channel.before.add(cell, *count);
            if cell.campaign == Some(id) {
                baseline.before.add(cell, *count);
            }
        }
    }
    // Where only the campaign was paused, what speaks against the channel still does.
    if row.control.paused_because().is_some_and(|because| because.whole_channel) {
        // First, or the campaign would go on against what was counted before.
        let brake = ChannelBrake { baseline: channel, warning: None };
        app.store.change_channel_brake(&row.campaign.channel, |_| Some(brake.clone())).await?;
    }
    Ok(baseline)
}

/// Why the whole channel is braked, if it is: what is let go is paused with all others, or it would send until the brake's next
/// look. Who resumes it then has seen why.
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
        assert!(!Verb::Start.is_done(Status::Stopped) && !Verb::Pause.is_done(Status::Draft));
        assert!(Verb::Pause.is_done(Status::Paused) && Verb::Stop.is_done(Status::Stopped));
    }
}
