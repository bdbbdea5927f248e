//! Campaigns: made, listed, shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tidepost_core::campaign::{CampaignCounts, CampaignRequest, CampaignView, Control};
use tidepost_core::ids::{CampaignId, Nonce};
use tidepost_core::invalid::Invalid;
use tidepost_core::message::IDEMPOTENCY_SECONDS;
use tidepost_core::reason::ReasonCode;
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::campaigns::{Accounts, CampaignRow};
use tidepost_io::clock::random;
use tidepost_io::http::{Answer, Problem, Request, from_value, json as answer};

use crate::accept::{body_hash, idempotency_key};
use crate::{control, recipients};

/// Bytes of a definition at the most: DynamoDB takes 400 KB, and each sweep reads it.
const DEFINITION_BYTES_MAX: usize = 100_000;

/// Routes below `/v1/campaigns`.
pub async fn route(app: &App, request: &Request) -> Answer {
    let (method, path) = request.route();
    match (method, path.get(2..).unwrap_or_default()) {
        ("POST", []) => create(app, request).await,
        ("GET", []) => list(app, request).await,
        ("GET", [id]) => show(app, request, id).await,
        ("PUT", [id, "list"]) => recipients::replace(app, request, id).await,
        ("POST", [id, "list"]) => recipients::add(app, request, id).await,
        ("POST", [id, verb]) => control::command(app, request, id, verb).await,
        _ => Err(Problem::not_found("there is no such route")),
    }
}

/// The id that a path names.
pub fn id_of(text: &str) -> Result<CampaignId, Problem> {
    CampaignId::parse(text).filter(|id| *id == id.whole()).ok_or_else(unknown)
}

/// There is no campaign of this id.
pub fn unknown() -> Problem {
    Problem::not_found("there is no such campaign")
}

/// The id of the campaign that a request stands for, and the one it had if it came up to a week before.
struct Ids([CampaignId; 2]);

impl Ids {
    fn of(channel: &str, owner: &str, key: &str, now: Timestamp) -> Self {
        let derive = |time| CampaignId::derive(channel, owner, key, time);
        Self([derive(now), derive(plus_seconds(now, -IDEMPOTENCY_SECONDS))])
    }
}

async fn create(app: &App, request: &Request) -> Answer {
    let caller = app.authorise(request, Right::Campaigns).await?;
    let key = match request.header("idempotency-key") {
        Some(_) => idempotency_key(request)?.to_owned(),
        None => Nonce(random()).to_string(),
    };
    let body: Value = request.json()?;
    let body_hash = body_hash(&body);
    let wanted: CampaignRequest = from_value(body, "").map_err(|invalid| Problem::invalid(vec![invalid]))?;
    let now = app.clock.now();
    let Ids(ids) = Ids::of(&wanted.channel, &caller.key, &key, now);
    for id in ids {
        let known = app.store.campaign(id).await?;
        let is_same = |row: &CampaignRow| now < plus_seconds(row.campaign.created_at, IDEMPOTENCY_SECONDS);
        if let Some(row) = known.filter(is_same) {
            return if row.body_hash == body_hash { Ok(made(id)) } else { Err(conflict()) };
        }
    }
    let [id, _] = ids;
    let row = accept(app, id, wanted, body_hash, now).await?;
    if app.store.create_campaign(id, &row).await? { Ok(made(id)) } else { Err(conflict()) }
}

fn made(id: CampaignId) -> aws_lambda_events::apigw::ApiGatewayV2httpResponse {
    answer(201, &json!({ "id": id, "status": "draft" }))
}

fn conflict() -> Problem {
    let detail = "this Idempotency-Key was used with another body; use a new key for a new campaign";
    Problem::new(409, "idempotency_conflict", detail)
}

/// Checks the request and stores its list, which counts once the campaign is there.
async fn accept(
    app: &App,
    id: CampaignId,
    wanted: CampaignRequest,
    body_hash: String,
    now: Timestamp,
) -> Result<CampaignRow, Problem> {
    let unknown = |field: &str| {
        let message = format!("there is no such {field}; create it first");
        Problem::invalid(vec![Invalid::new(field, format!("{field}_unknown"), message)])
    };
    let state = app.store.channel_state(&wanted.channel).await?.ok_or_else(|| unknown("channel"))?;
    let template = state.templates.get(&wanted.template).ok_or_else(|| unknown("template"))?;
    let (campaign, openids) = wanted.accept(id, &state.channel, template, now).map_err(Problem::invalid)?;
    let size_bytes = serde_json::to_vec(&campaign).map_or(usize::MAX, |text| text.len());
    if size_bytes > DEFINITION_BYTES_MAX {
        let detail = format!("without its list a campaign may have {DEFINITION_BYTES_MAX} bytes, got {size_bytes}");
        return Err(Problem::new(413, "body_too_large", detail));
    }
    let list = match openids.is_empty() {
        true => Vec::new(),
        false => vec![app.store.put_list_part(id, &campaign, &openids).await?],
    };
    Ok(CampaignRow { campaign, control: Control::default(), list, baseline: None, accounts: None, body_hash })
}

/// A campaign as the API shows it.
#[derive(Serialize)]
struct View<'a> {
    #[serde(flatten)]
    campaign: CampaignView<'a>,
    /// People on its list; `None` where it has a segment.
    listed: Option<u64>,
}

impl<'a> View<'a> {
    fn new(id: CampaignId, row: &'a CampaignRow, now: Timestamp) -> Self {
        let campaign = CampaignView::new(id, &row.campaign, &row.control, now);
        Self { campaign, listed: row.campaign.segment.is_none().then(|| row.listed()) }
    }
}

async fn list(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::ReadCampaigns).await?;
    let parameter = |name: &str| request.query.get(name).map(String::as_str);
    let page = app.store.campaigns(parameter("channel"), parameter("cursor"), request.limit()?).await?;
    let now = app.clock.now();
    let items: Vec<View<'_>> = page.items.iter().map(|(id, row)| View::new(*id, row, now)).collect();
    Ok(answer(200, &json!({ "items": items, "next_cursor": page.next })))
}

async fn show(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::ReadCampaigns).await?;
    let id = id_of(id)?;
    let row = app.store.campaign(id).await?.ok_or_else(unknown)?;
    let (channel, now) = (&row.campaign.channel, app.clock.now());
    let (hours, complaints, brake) = futures::try_join!(
        app.store.hours(channel, row.campaign.from, now),
        app.store.complaints(channel),
        app.store.channel_brake(channel),
    )?;
    let complained = complaints.iter().filter(|complaint| complaint.campaign == Some(id)).count() as u64;
    let counts = CampaignCounts::of(id, hours.iter().map(|(_, hour)| hour), complained);
    let campaign = View::new(id, &row, now);
    let over = row.accounts.as_ref().filter(|accounts| accounts.occurrences > 0).map(Over::of);
    Ok(answer(200, &Shown { campaign, counts, over, warning: brake.warning }))
}

/// One campaign with what became of it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    campaign: View<'a>,
    counts: CampaignCounts,
    /// What became of everybody it meant; `None` until its end, or the first of its occurrences', is accounted for.
    over: Option<Over<'a>>,
    /// What a person should look at before the whole channel is braked.
    warning: Option<String>,
}

/// What became of everybody whom occurrences that are over meant.
#[derive(Serialize)]
struct Over<'a> {
    /// Those that ended by then are in it.
    until: Timestamp,
    /// How many occurrences; each counts its people anew.
    occurrences: u64,
    /// Everybody they meant.
    people: u64,
    /// Those who were sent it, however that ended.
    sent: u64,
    /// The others, by the reason.
    held_back: &'a BTreeMap<ReasonCode, u64>,
}

impl<'a> Over<'a> {
    fn of(accounts: &'a Accounts) -> Self {
        let Accounts { until, occurrences, tally } = accounts;
        Self {
            until: *until,
            occurrences: *occurrences,
            people: tally.people(),
            sent: tally.sent,
            held_back: &tally.held_back,
        }
    }
}
