//! Why a person does not get the campaigns of a channel, or did not.

use jiff::Timestamp;
use serde_json::json;
use tidepost_core::campaign::Live;
use tidepost_core::choice::{Candidate, Fate, HeldBack, choose, held_back};
use tidepost_core::decide::{Case, Hold, Offer};
use tidepost_core::ids::{CampaignId, SubscriberId};
use tidepost_core::person::Person;
use tidepost_core::quota::Quota;
use tidepost_core::reason::{Reason, ReasonCode};
use tidepost_core::segment::Facts;
use tidepost_core::sweep::Field;
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::campaigns::{CampaignRow, RfmCuts};
use tidepost_io::channels::ChannelState;
use tidepost_io::http::{Answer, Problem, Request, json as answer};
use tidepost_io::ledger;
use tidepost_io::lineup::Over;
use tidepost_io::store::StoreError;

/// How long ago a campaign may have ended that is still told of, in seconds.
const ENDED_SECONDS: i64 = 30 * 86_400;

/// A live campaign that wants the person, with its offer.
type Wanting<'a> = (Live<'a>, Offer);

/// Tells what holds campaigns back from a person: defeats as they were noted; all else as it is now, and for campaigns that are
/// over as of their end.
pub async fn show(app: &App, request: &Request, id: &SubscriberId) -> Answer {
    app.authorise(request, Right::LookUp).await?;
    let now = app.clock.now();
    let (state, entry, rows, cuts, quota) = futures::try_join!(
        app.store.channel_state(&id.channel),
        app.store.person(id),
        app.store.campaigns_ending_after(&id.channel, plus_seconds(now, -ENDED_SECONDS)),
        app.store.rfm_cuts(&id.channel),
        app.store.quota(&id.channel),
    )?;
    let state = state.ok_or_else(|| Problem::not_found("there is no such channel"))?;
    let person = entry.person();
    if person.subscriber(id).is_none() || !entry.is_known() {
        return Err(Problem::not_found("nothing is known of this subscriber"));
    }
    let wanting = wanting(app, &state, (id, person), &rows, cuts.as_ref(), now).await?;
    let over = over(app, &state, (id, person), &rows, cuts.as_ref(), now).await?;
    Ok(answer(200, &json!({ "items": items(&state, &quota, person, &rows, &wanting, over, now) })))
}

/// What the campaigns that are over were to the person, as far as the person's item tells.
async fn over(
    app: &App,
    state: &ChannelState,
    (id, person): (&SubscriberId, &Person),
    rows: &[(CampaignId, CampaignRow)],
    cuts: Option<&RfmCuts>,
    now: Timestamp,
) -> Result<Vec<HeldBack>, StoreError> {
    let (zone, cuts) = (state.channel.zone(), cuts.and_then(|cuts| cuts.cuts.as_ref()));
    let field = Field { channel: &state.channel, health: &state.health, zone: &zone, cuts, now };
    let known: Vec<CampaignId> = rows.iter().map(|(id, _)| *id).collect();
    // One that was never started held nothing back from anybody.
    let was_started = |row: &CampaignRow| row.accounts.is_some();
    let ended = |(id, row): &'_ (CampaignId, CampaignRow)| {
        was_started(row).then(|| row.campaign.last_ended(*id, &row.control, now)).flatten()
    };
    let mut over = Vec::new();
    for (entry, ended) in rows.iter().filter_map(|entry| Some((entry, ended(entry)?))) {
        let (campaign, row): (_, &CampaignRow) = (entry.0, &entry.1);
        let template = state.templates.get(&row.campaign.template);
        let Some(ending) = Over::new(campaign, row, ended, template) else { continue };
        let is_listed = row.campaign.segment.is_none() && is_listed(app, campaign, row, id).await?;
        let account = field.account(&ending.closing(), person, id, is_listed);
        over.extend(account.and_then(|account| account.told(campaign, ended.at, &known)));
    }
    Ok(over)
}

async fn is_listed(app: &App, campaign: CampaignId, row: &CampaignRow, id: &SubscriberId) -> Result<bool, StoreError> {
    let prefix = ledger::prefix(id);
    Ok(app.store.listed_openids(campaign, row, prefix..=prefix).await?.contains(&id.openid))
}

/// The campaigns that run and mean the person.
async fn wanting<'a>(
    app: &App,
    state: &ChannelState,
    (id, person): (&SubscriberId, &Person),
    rows: &'a [(CampaignId, CampaignRow)],
    cuts: Option<&RfmCuts>,
    now: Timestamp,
) -> Result<Vec<Wanting<'a>>, StoreError> {
    let Some(subscriber) = person.subscriber(id) else { return Ok(Vec::new()) };
    let (zone, cuts) = (state.channel.zone(), cuts.and_then(|cuts| cuts.cuts.as_ref()));
    let facts = Facts { person, subscriber, cuts, zone: &zone, now };
    let mut wanting = Vec::new();
    for (campaign, row) in rows.iter().filter(|(_, row)| row.is_running(now)) {
        let Some(template) = state.templates.get(&row.campaign.template) else { continue };
        // A campaign that does not fit its template any more sends nothing to anybody.
        let Ok(Some(live)) = Live::new(*campaign, &row.campaign, template, now) else { continue };
        let is_meant = row.campaign.segment.is_some() || is_listed(app, *campaign, row, id).await?;
        if is_meant && live.is_for(&facts) {
            let offer = live.offer_for(person, id, &state.channel, now);
            wanting.push((live, offer));
        }
    }
    Ok(wanting)
}

fn items(
    state: &ChannelState,
    quota: &Quota,
    person: &Person,
    rows: &[(CampaignId, CampaignRow)],
    wanting: &[Wanting<'_>],
    over: Vec<HeldBack>,
    now: Timestamp,
) -> Vec<HeldBack> {
    let barred = |(live, _): &&Wanting<'_>| quota.barred_until(&state.channel, live.id, now);
    // Who has no broadcast outbids nobody.
    let (waiting, competing): (Vec<_>, Vec<_>) = wanting.iter().partition(|one| barred(one).is_some());
    let mut live = fates(state, quota, person, &competing, now);
    for one in waiting {
        let until = barred(&one).unwrap_or(now);
        let alone = fates(state, quota, person, &[one], now);
        live.extend(alone.into_iter().map(|(id, fate)| (id, without_broadcast(fate, until))));
    }
    let known: Vec<CampaignId> = rows.iter().map(|(id, _)| *id).collect();
    held_back(person, &known, &live, over, now)
}

/// What becomes of campaigns that compete for the person now.
fn fates(
    state: &ChannelState,
    quota: &Quota,
    person: &Person,
    wanting: &[&Wanting<'_>],
    now: Timestamp,
) -> Vec<(CampaignId, Fate)> {
    let (channel, health) = (&state.channel, &state.health);
    let mut candidates = Vec::with_capacity(wanting.len());
    for (live, offer) in wanting {
        let Some(template) = state.templates.get(&offer.template) else { continue };
        let case = Case { person, offer, channel, health, template, now };
        candidates.push(Candidate { case, merit: live.merit(1.0) });
    }
    let fates = choose(&candidates).fates.into_iter().zip(&candidates);
    let fates = fates.map(|(fate, candidate)| where_there_is_room(fate, quota, &candidate.case));
    wanting.iter().map(|(live, _)| live.id).zip(fates).collect()
}

/// What nothing about the person holds back still needs room in the channel's windows.
fn where_there_is_room(fate: Fate, quota: &Quota, case: &Case<'_>) -> Fate {
    let rooms = quota.rooms(case.channel, case.offer.category, case.now);
    let has_room = rooms.is_some_and(|rooms| rooms.iter().all(|(_, room)| *room > 0));
    match fate {
        Fate::Sent if !has_room => {
            let reason = Reason::new(ReasonCode::QuotaWindow, "a window of the channel is used up");
            Fate::Held(Hold::Wait { until: quota.next_room(case.channel, case.now), reason: Some(reason) })
        }
        fate => fate,
    }
}

/// What nothing else holds back waits for the campaign's broadcast.
fn without_broadcast(fate: Fate, until: Timestamp) -> Fate {
    match fate {
        Fate::Sent => {
            let reason = Reason::new(ReasonCode::QuotaWindow, "the channel's broadcasts are used up");
            Fate::Held(Hold::Wait { until, reason: Some(reason) })
        }
        fate => fate,
    }
}
