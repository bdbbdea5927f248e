//! People: look up, preferences, erasure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tidepost_core::channel::Platform;
use tidepost_core::ids::{MessageId, SubscriberId, check_id};
use tidepost_core::person::{Person, Preferences, Subscriber};
use tidepost_core::sends::RecentSend;
use tidepost_core::template::{Template, TemplateKind};
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::channels::ChannelState;
use tidepost_io::erasure;
use tidepost_io::http::{Answer, Problem, Request, json as answer};

use crate::{held_back, profiles};

/// Routes below `/v1/channels/{channel}/subscribers`.
pub async fn route(app: &App, request: &Request, channel: &str) -> Answer {
    let (method, path) = request.route();
    let id = |openid: &str| SubscriberId::new(channel, openid);
    match (method, path.get(4..).unwrap_or_default()) {
        ("POST", []) => profiles::update(app, request, channel).await,
        ("GET", [openid]) => look_up(app, request, &id(openid)).await,
        ("DELETE", [openid]) => erase(app, request, &id(openid)).await,
        ("GET", [openid, "held-back"]) => held_back::show(app, request, &id(openid)).await,
        ("PUT", [openid, "preferences"]) => prefer(app, request, &id(openid)).await,
        _ => Err(crate::no_route()),
    }
}

/// A person on one channel, as the API shows them.
#[derive(Serialize)]
struct View {
    channel: String,
    openid: String,
    union_id: Option<String>,
    time_zone: Option<String>,
    grants: Vec<GrantView>,
    preferences: Preferences,
    attributes: BTreeMap<String, Value>,
    tags: BTreeSet<String>,
    recent_sends: Vec<SendView>,
}

#[derive(Serialize)]
struct GrantView {
    template: String,
    kind: TemplateKind,
    available: u32,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct SendView {
    id: MessageId,
    at: Timestamp,
}

async fn look_up(app: &App, request: &Request, id: &SubscriberId) -> Answer {
    app.authorise(request, Right::LookUp).await?;
    let (state, entry) = futures::try_join!(app.store.channel_state(&id.channel), app.store.person(id))?;
    let state = state.ok_or_else(|| Problem::not_found("there is no such channel"))?;
    let person = entry.person();
    // A person who was erased has no subscribers left.
    let known = person.subscriber(id).filter(|_| entry.is_known() && person.erased_at.is_none());
    let subscriber = known.ok_or_else(unknown)?;
    Ok(answer(200, &view(&state, person, subscriber, app.clock.now())))
}

fn unknown() -> Problem {
    Problem::not_found("nothing is known of this subscriber")
}

fn view(state: &ChannelState, person: &Person, subscriber: &Subscriber, now: Timestamp) -> View {
    let sent = person.sends.iter().filter(|send| send.may_arrive());
    View {
        channel: subscriber.channel.clone(),
        openid: subscriber.openid.clone(),
        union_id: union_id(person, state.channel.platform),
        time_zone: person.time_zone.clone(),
        grants: grants(subscriber, &state.templates, now),
        preferences: person.preferences.clone(),
        attributes: person.attributes.clone(),
        tags: person.tags.clone(),
        recent_sends: sent.filter_map(send_view).collect(),
    }
}

fn union_id(person: &Person, platform: Platform) -> Option<String> {
    let scope = platform.union_scope();
    person.links.iter().find_map(|link| link.strip_prefix(scope)?.strip_prefix('/')).map(str::to_owned)
}

fn grants(subscriber: &Subscriber, templates: &BTreeMap<String, Template>, now: Timestamp) -> Vec<GrantView> {
    let view = |(template, grant): (&String, &tidepost_core::grant::Grant)| GrantView {
        template: template.clone(),
        kind: templates.get(template).map(|template| template.kind).unwrap_or_default(),
        available: grant.available(now),
        expires_at: grant.expires_at(now),
    };
    subscriber.grants.iter().map(view).collect()
}

fn send_view(send: &RecentSend) -> Option<SendView> {
    Some(SendView { id: send.id, at: Timestamp::from_second(i64::from(send.at)).ok()? })
}

/// Notes what a person wants, also before the first consent.
async fn prefer(app: &App, request: &Request, id: &SubscriberId) -> Answer {
    app.authorise(request, Right::Preferences).await?;
    check_id("openid", &id.openid).map_err(|invalid| Problem::invalid(vec![invalid]))?;
    let preferences: Preferences = request.json()?;
    preferences.validate().map_err(Problem::invalid)?;
    crate::channel_of(app, &id.channel).await?;
    let change = |person: &Person| {
        person.erased_at.is_none().then(|| Person { preferences: preferences.clone(), ..person.clone() })
    };
    let entry = app.store.update_person(id, change).await?;
    if entry.person().erased_at.is_some() {
        let detail = "the person was erased; only a new consent brings them back";
        return Err(Problem::new(409, "illegal_state", detail));
    }
    Ok(answer(200, &preferences))
}

/// Erases a person on all channels. Erasing again is answered alike, and finishes what was begun.
async fn erase(app: &App, request: &Request, id: &SubscriberId) -> Answer {
    app.authorise(request, Right::Erase).await?;
    crate::channel_of(app, &id.channel).await?;
    let entry = app.store.person(id).await?;
    if !entry.is_known() {
        return Err(unknown());
    }
    let channels = erasure::erase(app, id, entry.person()).await?;
    Ok(answer(202, &json!({ "erased": channels })))
}

#[cfg(test)]
mod tests {
    use tidepost_core::grant::{Consent, Source, Terms};
    use tidepost_core::person::{Answer as PersonsAnswer, Heard};

    use super::*;

    fn state() -> ChannelState {
        let channel = r#"{"platform":"wechat_mini","app_id":"wx0123456789abcdef","secret_ref":"env:WX_SECRET"}"#;
        let template = r#"{"title":"发货","kind":"long_term","fields":[{"key":"thing1"}]}"#;
        ChannelState {
            channel: serde_json::from_str(channel).unwrap(),
            health: Default::default(),
            templates: BTreeMap::from([("TMPL_A".to_owned(), serde_json::from_str(template).unwrap())]),
        }
    }

    #[test]
    fn a_person_is_shown_as_the_contract_has_it() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let id = SubscriberId::new("shop", "oUSER0001");
        let mut person = Person::new(&id);
        let answer = PersonsAnswer {
            template: "TMPL_A".into(),
            kind: TemplateKind::LongTerm,
            consent: Consent::Accept,
            terms: Terms::default(),
        };
        person.hear(&id, &Heard { event: [1; 8], source: Source::Report, answers: vec![answer] }, now);
        person.links = ["user/42", "wechat/u1"].map(str::to_owned).into();
        let view = view(&state(), &person, person.subscriber(&id).unwrap(), now);
        let shown = serde_json::to_value(view).unwrap();
        let expected = json!({
            "channel": "shop", "openid": "oUSER0001", "union_id": "u1", "time_zone": null,
            "grants": [{"template": "TMPL_A", "kind": "long_term", "available": 1, "expires_at": null}],
            "preferences": {"stopped": false, "topics": {}}, "attributes": {}, "tags": [], "recent_sends": [],
        });
        assert_eq!(shown, expected);
    }
}
