//! Outcomes by hour: roll-ups, and the receipts of hours that are not added up yet.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use tidepost_core::invalid::Invalid;
use tidepost_core::metric::{By, report};
use tidepost_core::time::plus_seconds;
use tidepost_io::app::App;
use tidepost_io::auth::Right;
use tidepost_io::http::{self, Answer, Problem, Request};

const HOUR_SECONDS: i64 = 3_600;

/// The range of a report that names none, in seconds.
const RANGE_DEFAULT_SECONDS: i64 = 24 * HOUR_SECONDS;

/// The longest range, in seconds.
const RANGE_MAX_SECONDS: i64 = 31 * 24 * HOUR_SECONDS;

/// The dimensions of a report that names none.
const BY_DEFAULT: &str = "template,topic,outcome,hour";

/// What a report is about. Hours that overlap the range are counted whole.
#[derive(Debug, Eq, PartialEq)]
struct Question {
    from: Timestamp,
    to: Timestamp,
    by: BTreeSet<By>,
}

/// Counts the outcomes of a channel.
pub async fn show(app: &App, request: &Request, id: &str) -> Answer {
    app.authorise(request, Right::Reports).await?;
    let question = Question::parse(|name| request.query.get(name).map(String::as_str), app.clock.now());
    let question = question.map_err(Problem::invalid)?;
    app.store.channel(id).await?.ok_or_else(crate::no_channel)?;
    let hours = app.store.hours(id, question.from, question.to).await?;
    Ok(http::json(200, &json!({ "rows": report(&hours, &question.by) })))
}

impl Question {
    fn parse<'a>(parameter: impl Fn(&str) -> Option<&'a str>, now: Timestamp) -> Result<Self, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let mut time = |name: &str, default: Timestamp| {
            let parsed = parameter(name).map_or(Some(default), parse_time);
            parsed.unwrap_or_else(|| {
                let message = "must be a time with an offset, such as 2026-11-21T10:00:00+08:00";
                wrong.push(Invalid::new(name, "field_malformed", message));
                default
            })
        };
        let to = time("to", now);
        let from = time("from", plus_seconds(to, -RANGE_DEFAULT_SECONDS));
        if from >= to {
            wrong.push(Invalid::new("from", "out_of_range", "must be before to"));
        } else if plus_seconds(from, RANGE_MAX_SECONDS) < to {
            wrong.push(Invalid::new("from", "out_of_range", "at most 31 days before to"));
        }
        let by = By::parse_list(parameter("by").unwrap_or(BY_DEFAULT)).unwrap_or_else(|| {
            let message = "must be some of hour, template, topic, outcome, reason, with commas between";
            wrong.push(Invalid::new("by", "field_malformed", message));
            BTreeSet::new()
        });
        if wrong.is_empty() { Ok(Self { from, to, by }) } else { Err(wrong) }
    }
}

/// A plus sign that was not percent-encoded arrives as a space.
fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| text.replace(' ', "+").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ask(parameters: &[(&str, &'static str)]) -> Result<Question, Vec<String>> {
        let find = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let question = Question::parse(find, at("2026-11-21T10:30:00Z"));
        question.map_err(|wrong| wrong.into_iter().map(|invalid| invalid.field).collect())
    }

    #[test]
    fn without_parameters_it_is_the_last_day_by_everything_but_the_reason() {
        let question = ask(&[]).unwrap();
        assert_eq!((question.from, question.to), (at("2026-11-20T10:30:00Z"), at("2026-11-21T10:30:00Z")));
        assert_eq!(question.by, BTreeSet::from([By::Hour, By::Template, By::Topic, By::Outcome]));
    }

    #[test]
    fn an_offset_may_come_with_its_plus_sign_lost() {
        let question = ask(&[("from", "2026-11-21T10:00:00 08:00"), ("to", "2026-11-21T12:00:00+08:00")]).unwrap();
        assert_eq!((question.from, question.to), (at("2026-11-21T02:00:00Z"), at("2026-11-21T04:00:00Z")));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        assert_eq!(ask(&[("from", "yesterday"), ("by", "weather")]).unwrap_err(), ["from", "by"]);
        assert_eq!(ask(&[("from", "2026-11-21T10:30:00Z")]).unwrap_err(), ["from"]);
        assert_eq!(ask(&[("from", "2026-10-21T10:29:59Z")]).unwrap_err(), ["from"]);
        assert!(ask(&[("from", "2026-10-21T10:30:00Z")]).is_ok());
    }

    #[test]
    fn the_description_of_the_api_names_every_route_of_its_own() {
        let document: serde_json::Value = serde_json::from_str(crate::OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for path in ["/healthz", "/openapi.json", "/v1/channels/{channel}/quota", "/v1/channels/{channel}/metrics"] {
            assert!(document["paths"][path]["get"].is_object(), "{path}");
        }
    }
}
