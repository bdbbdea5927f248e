//! API keys: made, listed without themselves, dropped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::invalid::Invalid;
use tidepost_io::app::App;
use tidepost_io::auth::{Right, Role, StoredKey};
use tidepost_io::http::{Answer, Problem, Request, empty, json};

use crate::list::page;

/// Longest name of a key, in characters.
const NAME_MAX_CHARACTERS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    role: Role,
    name: String,
}

/// A key that was just made: the only time that it is shown.
#[derive(Serialize)]
struct Made {
    id: String,
    key: String,
    role: Role,
    name: String,
}

/// A key as a list shows it.
#[derive(Serialize)]
struct View {
    role: Role,
    name: String,
    created_at: Timestamp,
}

/// Makes a key.
pub async fn make(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::Administer).await?;
    let Body { role, name } = request.json()?;
    if name.trim().is_empty() || name.chars().count() > NAME_MAX_CHARACTERS {
        let message = format!("a name of 1 to {NAME_MAX_CHARACTERS} characters tells keys apart");
        return Err(Problem::invalid(vec![Invalid::new("name", "out_of_range", message)]));
    }
    let (id, key) = app.store.make_key(role, &name, app.clock.now()).await?;
    Ok(json(201, &Made { id, key, role, name }))
}

/// Shows all keys.
pub async fn list(app: &App, request: &Request) -> Answer {
    app.authorise(request, Right::Administer).await?;
    let view = |(id, StoredKey { role, name, created_at, .. })| (id, View { role, name, created_at });
    Ok(json(200, &page(request, app.store.keys().await?.into_iter().map(view))?))
}

/// Drops a key.
pub async fn drop(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::Administer).await?;
    if app.store.drop_key(id).await? { Ok(empty(204)) } else { Err(Problem::not_found("there is no such key")) }
}
