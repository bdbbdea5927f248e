//! Lists of recipients, uploaded as CSV or NDJSON. What is wrong with a row does not stop the others.

use std::collections::BTreeSet;

use serde_json::json;
use tidepost_core::campaign::Status;
use tidepost_core::list::{Form, Import, openids};
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::campaigns::{CampaignRow, Changed, LIST_PARTS_MAX, ListPart};
use tidepost_io::http::{Answer, Problem, Request, json as answer};

use crate::campaigns::{id_of, unknown};

/// Faults of rows that one answer tells at the most.
const REJECTED_MAX: usize = 1_000;

/// Takes a list in place of what the campaign had.
pub async fn replace(app: &App, request: &Request, id: &str) -> Answer {
    upload(app, request, id, |_, part| Ok(part.into_iter().collect())).await
}

/// Takes a list in addition to what the campaign has: the next part of one that is longer than a body may be.
pub async fn add(app: &App, request: &Request, id: &str) -> Answer {
    let append = |known: &[ListPart], part: Option<ListPart>| {
        let parts: Vec<ListPart> = known.iter().cloned().chain(part).collect();
        if parts.len() > LIST_PARTS_MAX {
            let detail = format!("a list has at most {LIST_PARTS_MAX} parts; upload fewer, larger ones");
            return Err(Problem::new(409, "illegal_state", detail));
        }
        Ok(parts)
    };
    upload(app, request, id, append).await
}

async fn upload(
    app: &App,
    request: &Request,
    id: &str,
    combine: impl Fn(&[ListPart], Option<ListPart>) -> Result<Vec<ListPart>, Problem>,
) -> Answer {
    app.authorise(request, Right::Campaigns).await?;
    let id = id_of(id)?;
    let import = read(request)?;
    let now = app.clock.now();
    let row = app.store.campaign(id).await?.ok_or_else(unknown)?;
    check_open(&row, row.status(now))?;
    let people: BTreeSet<String> = import.rows.iter().map(|row| row.value.clone()).collect();
    let part = match people.is_empty() {
        true => None,
        false => Some(app.store.put_list_part(id, &row.campaign, &people).await?),
    };
    let mut before = Vec::new();
    let changed = app.store.change_campaign(id, |row| {
        check_open(row, row.status(now))?;
        before.clone_from(&row.list);
        Ok::<_, Problem>(CampaignRow { list: combine(&row.list, part.clone())?, ..row.clone() })
    });
    let row = match changed.await? {
        Changed::Done(row) => row,
        Changed::Refused(problem) => return Err(problem),
        Changed::Unknown => return Err(unknown()),
    };
    for dropped in before.iter().filter(|part| !row.list.contains(part)) {
        if let Err(error) = app.store.delete_list_part(id, dropped).await {
            tracing::warn!(%error, campaign = %id, "a list that was replaced stays until its campaign is forgotten");
        }
    }
    Ok(answer(200, &told(&import, &row)))
}

fn told(import: &Import<String>, row: &CampaignRow) -> serde_json::Value {
    json!({
        "accepted": import.rows.len(),
        "repeated": import.repeated,
        "rejected": import.rejected.iter().take(REJECTED_MAX).collect::<Vec<_>>(),
        "rejected_count": import.rejected.len(),
        "listed": row.listed(),
    })
}

fn read(request: &Request) -> Result<Import<String>, Problem> {
    let (media_type, body) = request.typed_body()?;
    let form = match media_type.as_str() {
        "text/csv" => Form::Csv,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Form::Ndjson,
        _ => {
            let detail = "send Content-Type: text/csv or application/x-ndjson";
            return Err(Problem::new(415, "unsupported_media_type", detail));
        }
    };
    Ok(openids(body, form))
}

fn check_open(row: &CampaignRow, status: Status) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(409, "illegal_state", detail));
    if row.campaign.segment.is_some() {
        return refuse("the campaign is for a segment; make one without a segment for a list");
    }
    match status {
        Status::Stopped | Status::Finished => refuse("the campaign is over"),
        Status::Draft | Status::Scheduled | Status::Running | Status::Paused => Ok(()),
    }
}
