//! The brake: campaigns that do harm are paused and say why.

use jiff::Timestamp;
use tidepost_core::brake::{LOOKS_AHEAD_SECONDS, PauseCode, PausedBecause, Verdict};
use tidepost_core::campaign::{Command, IllegalState};
use tidepost_core::ids::CampaignId;
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::brakes::{self, ChannelBrake};
use tidepost_io::campaigns::{CampaignRow, Changed};
use tidepost_io::store::StoreError;

/// Looks at a channel and at the campaigns that run on it, or are about to.
pub async fn brake(app: &App, channel: &str, now: Timestamp) -> Result<(), StoreError> {
    let (mut running, complaints) =
        futures::try_join!(app.store.campaigns_ending_after(channel, now), app.store.complaints(channel))?;
    running.retain(|(_, row)| row.runs_between(now, plus_seconds(now, LOOKS_AHEAD_SECONDS)));
    // Complaints come when a campaign is over, or about single messages.
    if running.is_empty() && complaints.is_empty() {
        return Ok(());
    }
    let evidence = app.store.evidence(channel, complaints, now).await?;
    let verdict = evidence.against_channel();
    let warning = match &verdict {
        Verdict::Warn(warning) => Some(warning.clone()),
        // Where nothing runs nothing is paused, and nobody would hear of it.
        Verdict::Pause(because) if running.is_empty() && because.code == PauseCode::Complaints => {
            Some(because.detail.clone())
        }
        Verdict::GoOn | Verdict::Pause(_) => None,
    };
    warn(app, channel, &evidence.brake, warning).await?;
    for (id, row) in running {
        let verdict = match &verdict {
            Verdict::Pause(because) => Verdict::Pause(because.of_the_channel()),
            Verdict::GoOn | Verdict::Warn(_) => evidence.against_campaign(id, &row),
        };
        if let Verdict::Pause(because) = verdict {
            pause(app, channel, id, because, now).await?;
        }
    }
    Ok(())
}

/// Keeps what a person should look at; says it once in the log.
async fn warn(app: &App, channel: &str, was: &ChannelBrake, warning: Option<String>) -> Result<(), StoreError> {
    if warning == was.warning {
        return Ok(());
    }
    // Where a campaign was resumed meanwhile, the next look judges by what that began.
    let change =
        |brake: &ChannelBrake| (brake == was).then(|| ChannelBrake { warning: warning.clone(), ..was.clone() });
    if app.store.change_channel_brake(channel, change).await?
        && let Some(warning) = &warning
    {
        tracing::error!(channel, warning, "a channel is close to a ban");
    }
    Ok(())
}

async fn pause(
    app: &App,
    channel: &str,
    id: CampaignId,
    because: PausedBecause,
    now: Timestamp,
) -> Result<(), StoreError> {
    let changed = app.store.change_campaign(id, |row| {
        let control = row.control.after(Command::Pause(because.clone()), row.campaign.life(), now)?;
        Ok::<_, IllegalState>(CampaignRow { control, ..row.clone() })
    });
    match changed.await? {
        Changed::Done(_) => {
            brakes::tell_paused(channel, id, &because);
        }
        // Somebody was faster: it does not run any more.
        Changed::Refused(_) | Changed::Unknown => {}
    }
    Ok(())
}
