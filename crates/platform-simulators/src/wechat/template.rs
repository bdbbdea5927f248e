//! `/wxaapi/newtmpl/…` (reference A5): the public library and the app's private templates.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::app::{App, AppState, Template};
use super::call::{Call, Reply};
use super::codes::Refusal;
use super::config::TemplateConfig;
use super::library::{Keyword, LIBRARY, PublicTemplate};
use super::with_token;
use crate::world::World;

const TEMPLATE_ID_LENGTH: usize = 43;
const SCENE_LENGTH: usize = 15;
const PAGE_LENGTH: i64 = 30;

fn allowed(app: &App) -> Result<(), Refusal> {
    app.config().blocked.templates.map_or(Ok(()), |code| Err(Refusal::of(code)))
}

fn success(mut body: Map<String, Value>) -> Value {
    body.insert("errcode".to_owned(), json!(0));
    body.insert("errmsg".to_owned(), json!("ok"));
    Value::Object(body)
}

fn listed(data: Vec<Value>, count: Option<usize>) -> Value {
    let mut body = Map::new();
    if let Some(count) = count {
        body.insert("count".to_owned(), json!(count));
    }
    body.insert("data".to_owned(), Value::Array(data));
    success(body)
}

/// `GET getcategory`.
pub(super) fn categories(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        call.must_be_get()?;
        allowed(app)?;
        Ok(listed(
            app.config().categories.iter().map(|category| json!({"id": category.id, "name": category.name})).collect(),
            None,
        ))
    })
}

fn whole(call: &Call, name: &str) -> Option<i64> {
    call.query(name)?.parse().ok()
}

/// `GET getpubtemplatetitles`.
pub(super) fn titles(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        call.must_be_get()?;
        allowed(app)?;
        let ids = call.query("ids").filter(|ids| !ids.is_empty()).ok_or_else(|| Refusal::of(200018))?;
        let known = app.config().categories.iter().map(|category| category.id).collect::<Vec<_>>();
        let ids =
            ids.split(',').map(|id| id.parse().ok().filter(|id| known.contains(id))).collect::<Option<Vec<i64>>>();
        let ids = ids.ok_or_else(|| Refusal::of(200019))?;
        let start =
            whole(call, "start").and_then(|start| usize::try_from(start).ok()).ok_or_else(|| Refusal::of(200016))?;
        let limit = whole(call, "limit").filter(|limit| (1..=PAGE_LENGTH).contains(limit));
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).ok_or_else(|| Refusal::of(200017))?;
        let found: Vec<Value> = LIBRARY
            .iter()
            .filter(|template| ids.contains(&template.category_id))
            .map(|t| json!({"tid": t.tid, "title": t.title, "type": t.kind, "categoryId": t.category_id.to_string()}))
            .collect();
        let count = found.len();
        Ok(listed(found.into_iter().skip(start).take(limit).collect(), Some(count)))
    })
}

/// `GET getpubtemplatekeywords`.
pub(super) fn keywords(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        call.must_be_get()?;
        allowed(app)?;
        let template = whole(call, "tid").and_then(PublicTemplate::find).ok_or_else(|| Refusal::of(200014))?;
        let found: Vec<Value> = template
            .keywords
            .iter()
            .map(|k| json!({"kid": k.kid, "name": k.name, "example": k.example, "rule": k.rule}))
            .collect();
        let count = found.len();
        Ok(listed(found, Some(count)))
    })
}

/// `GET gettemplate`.
pub(super) fn list(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        call.must_be_get()?;
        allowed(app)?;
        Ok(listed(app.state().templates.values().map(|template| item(&template.config)).collect(), None))
    })
}

fn item(template: &TemplateConfig) -> Value {
    let mut item = json!({
        "priTmplId": template.pri_tmpl_id, "title": template.title, "content": template.content,
        "example": template.example, "type": template.kind,
    });
    if let (Some(item), false) = (item.as_object_mut(), template.keyword_enum_value_list.is_empty()) {
        item.insert("keywordEnumValueList".to_owned(), json!(template.keyword_enum_value_list));
    }
    item
}

/// `POST addtemplate`.
pub(super) fn add(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        let body = call.posted()?;
        allowed(app)?;
        let tid = match body.get("tid") {
            Some(Value::String(tid)) => tid.parse().ok(),
            Some(tid) => tid.as_i64(),
            None => None,
        };
        let public = tid.and_then(PublicTemplate::find).ok_or_else(|| Refusal::of(200014))?;
        let chosen = chosen(public, body.get("kidList")).ok_or_else(|| Refusal::of(200020))?;
        let scene = body.get("sceneDesc").map_or(Some(""), Value::as_str);
        if scene.is_none_or(|scene| scene.chars().count() > SCENE_LENGTH) {
            return Err(Refusal::of(200021));
        }
        let id = world.random_text(TEMPLATE_ID_LENGTH);
        store(&mut app.state(), private(public, &chosen, id.clone()))?;
        Ok(success(Map::from_iter([("priTmplId".to_owned(), json!(id))])))
    })
}

/// 2 to 5 different keywords of the template, in the order asked for.
fn chosen(public: &PublicTemplate, given: Option<&Value>) -> Option<Vec<&'static Keyword>> {
    let kids = given?.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>()?;
    let mut distinct = kids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if !(2..=5).contains(&kids.len()) || distinct.len() != kids.len() {
        return None;
    }
    kids.into_iter().map(|kid| public.keyword(kid)).collect()
}

fn private(public: &PublicTemplate, keywords: &[&Keyword], id: String) -> TemplateConfig {
    let lines = |value: fn(&Keyword) -> String| {
        keywords.iter().map(|k| format!("{}:{}", k.name, value(k))).collect::<Vec<_>>().join("\n")
    };
    TemplateConfig {
        pri_tmpl_id: id,
        title: public.title.to_owned(),
        content: lines(|k| format!("{{{{{}.DATA}}}}", k.key())),
        example: lines(|k| k.example.to_owned()),
        kind: public.kind,
        keyword_enum_value_list: keywords.iter().filter_map(|k| k.enum_values()).collect(),
        banned: None,
        long_term_limit: None,
    }
}

fn store(state: &mut AppState, config: TemplateConfig) -> Result<(), Refusal> {
    let mut keys = config.keys();
    keys.sort_unstable();
    let same = |other: &Arc<Template>| {
        let mut others = other.config.keys();
        others.sort_unstable();
        other.config.title == config.title && others == keys
    };
    if state.templates.values().any(same) {
        return Err(Refusal::of(200022));
    }
    if state.templates.len() >= state.config.template_limit {
        return Err(Refusal::of(200012));
    }
    state.templates.insert(config.pri_tmpl_id.clone(), Arc::new(Template::new(config)));
    Ok(())
}

/// `POST deltemplate`.
pub(super) fn delete(world: &Arc<World>, call: &Call) -> Reply {
    with_token(world, call, |app| {
        let body = call.posted()?;
        allowed(app)?;
        let id = body.get("priTmplId").and_then(Value::as_str).unwrap_or_default();
        app.state().templates.remove(id).ok_or_else(|| Refusal::of(40037))?;
        Ok(success(Map::new()))
    })
}
