//! The brake: campaigns that do harm are paused and say why. Counts are read to stop, never to send.

use jiff::Timestamp;
use tidepost_core::brake::{Baseline, Counts, LOOKS_BACK_MAX_SECONDS, PauseCode, PausedBecause, Thresholds, Verdict};
use tidepost_core::campaign::{Command, IllegalState};
use tidepost_core::ids::CampaignId;
use tidepost_core::metric::{Cell, HourRollup};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::brakes::ChannelBrake;
use tidepost_io::campaigns::{CampaignRow, Changed};
use tidepost_io::emf::{self, Metric};
use tidepost_io::events::Complaint;
use tidepost_io::store::StoreError;

/// What is known of a channel's sends.
struct Known {
    hours: Vec<(Timestamp, HourRollup)>,
    complaints: Vec<Complaint>,
    now: Timestamp,
}

/// Looks at a channel and at the campaigns that run on it.
pub async fn brake(app: &App, channel: &str, now: Timestamp) -> Result<(), StoreError> {
    let (running, complaints) =
        futures::try_join!(app.store.live_campaigns(channel, now), app.store.complaints(channel))?;
    // Complaints come when a campaign is over, or about single messages.
    if running.is_empty() && complaints.is_empty() {
        return Ok(());
    }
    let from = plus_seconds(now, -LOOKS_BACK_MAX_SECONDS);
    let (definition, health, was, hours) = futures::try_join!(
        app.store.channel(channel),
        app.store.health(channel),
        app.store.channel_brake(channel),
        app.store.hours(channel, from, now),
    )?;
    let known = Known { hours, complaints, now };
    let verdict = if health.is_banned(now) {
        Verdict::Pause(PausedBecause::punished(health.reasons.last().map_or("", String::as_str)))
    } else {
        let thresholds = definition.map_or_else(Thresholds::of_channel, |channel| channel.brake);
        known.judge(&was.baseline, &thresholds, None)
    };
    let warning = match &verdict {
        Verdict::Warn(warning) => Some(warning.clone()),
        // Where nothing runs nothing is paused, and nobody would hear of it.
        Verdict::Pause(because) if running.is_empty() && because.code == PauseCode::Complaints => {
            Some(because.detail.clone())
        }
        Verdict::GoOn | Verdict::Pause(_) => None,
    };
    warn(app, channel, &was, warning).await?;
    for (id, row) in running {
        let verdict = match &verdict {
            Verdict::Pause(because) => Verdict::Pause(because.of_the_channel()),
            Verdict::GoOn | Verdict::Warn(_) => {
                known.judge(&row.baseline.unwrap_or_default(), &row.campaign.brake, Some(id))
            }
        };
        if let Verdict::Pause(because) = verdict {
            pause(app, channel, id, because, now).await?;
        }
    }
    Ok(())
}

impl Known {
    /// Judges a campaign, or the whole channel.
    fn judge(&self, baseline: &Baseline, thresholds: &Thresholds, campaign: Option<CampaignId>) -> Verdict {
        let is_meant = |one: Option<CampaignId>| campaign.is_none() || one == campaign;
        let count = |(hour, rollup): &(Timestamp, HourRollup)| {
            let mut counts = Counts::default();
            let cells = rollup.counts.iter().filter(|(cell, _): &&(Cell, u64)| is_meant(cell.campaign));
            cells.for_each(|(cell, count)| counts.add(cell, *count));
            (*hour, counts)
        };
        let hours: Vec<(Timestamp, Counts)> = self.hours.iter().map(count).collect();
        let complaints = self.complaints.iter().filter(|one| is_meant(one.campaign));
        let complaints = complaints.filter(|one| baseline.counts_complaint(one.at, self.now)).count();
        baseline.judge(&hours, u32::try_from(complaints).unwrap_or(u32::MAX), thresholds, self.now)
    }
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
            emf::count_of(channel, Metric::BrakeEngaged, 1);
            tracing::error!(channel, campaign = %id, detail = because.detail, "the brake paused a campaign");
        }
        // Somebody was faster: it does not run any more.
        Changed::Refused(_) | Changed::Unknown => {}
    }
    Ok(())
}
