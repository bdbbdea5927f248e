//! HTTP as API Gateway and Function URLs hand it over, and answers as the contract wants them.

use std::collections::HashMap;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidepost_core::invalid::Invalid;

use crate::emf;

/// Bytes of a body at the most.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Items of a page unless asked otherwise.
const LIMIT_DEFAULT: usize = 100;

/// Items of a page at the most.
const LIMIT_MAX: usize = 500;

/// One HTTP call.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path's segments, percent-decoded.
    pub path: Vec<String>,
    /// The query's names and values, percent-decoded.
    pub query: HashMap<String, String>,
    /// The headers, names in lower case.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that is not what the caller wanted (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
    /// Fields that are wrong.
    pub errors: Vec<Invalid>,
}

impl Problem {
    /// A problem without fields.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new() }
    }

    /// What was asked for is not there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", detail)
    }

    /// Fields that break a rule. Its code is the first field's.
    #[must_use]
    pub fn invalid(errors: Vec<Invalid>) -> Self {
        let detail = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self { status: 422, code: "invalid", detail, errors }
    }

    /// The caller should try again soon.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, "unavailable", detail)
    }
}

impl From<crate::store::StoreError> for Problem {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::error!(%error, "the ledger cannot be reached");
        Self::unavailable("the ledger cannot be reached; try again")
    }
}

/// What a handler of one route gives back.
pub type Answer = Result<ApiGatewayV2httpResponse, Problem>;

impl Request {
    /// Reads an event.
    #[must_use]
    pub fn from_event(event: ApiGatewayV2httpRequest) -> Self {
        let path = event.raw_path.as_deref().unwrap_or("/");
        let body = event.body.unwrap_or_default();
        let body = if event.is_base64_encoded {
            base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default()
        } else {
            body.into_bytes()
        };
        let query = event.raw_query_string.as_deref().unwrap_or_default();
        Self {
            method: event.request_context.http.method.to_string(),
            path: path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: event.headers,
            body,
        }
    }

    /// Method and path segments, to match a route on.
    #[must_use]
    pub fn route(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How many items of a list are asked for.
    ///
    /// # Errors
    /// [`Problem`] 422 when it is not 1 to 500.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.query.get("limit") else {
            return Ok(LIMIT_DEFAULT);
        };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| {
            let message = format!("must be 1 to {LIMIT_MAX}");
            Problem::invalid(vec![Invalid::new("limit", "out_of_range", message)])
        })
    }

    /// The body, with its media type in lower case and without parameters; empty when none is named.
    ///
    /// # Errors
    /// [`Problem`] 413.
    pub fn typed_body(&self) -> Result<(String, &[u8]), Problem> {
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Problem::new(413, "body_too_large", "the body may have 1 MiB"));
        }
        let media_type = self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        Ok((media_type.trim().to_ascii_lowercase(), &self.body))
    }

    /// The body as JSON of a known form.
    ///
    /// # Errors
    /// [`Problem`] 413, 415, 400 when it is no JSON, 422 naming the field that does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let (media_type, _) = self.typed_body()?;
        if !matches!(media_type.as_str(), "" | "application/json") {
            return Err(Problem::new(415, "unsupported_media_type", "send Content-Type: application/json"));
        }
        let value: Value = serde_json::from_slice(&self.body)
            .map_err(|error| Problem::new(400, "not_json", format!("the body is not JSON: {error}")))?;
        from_value(value, "").map_err(|invalid| Problem::invalid(vec![invalid]))
    }
}

/// Reads a value of a known form; `at` is the path of the value in the body. Any field that nothing reads is refused, although
/// what the table holds of the same form may have more: see [`crate::store::KINDS`].
///
/// # Errors
/// [`Invalid`] with the path of the field that does not fit.
pub fn from_value<T: DeserializeOwned>(value: Value, at: &str) -> Result<T, Invalid> {
    let mut unread: Option<String> = None;
    let mut pass_over = |path: serde_ignored::Path<'_>| {
        unread.get_or_insert_with(|| path.to_string());
    };
    let read = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut pass_over));
    let value = read.map_err(|error| malformed(at, &error.path().to_string(), &error.into_inner().to_string()))?;
    match unread {
        None => Ok(value),
        Some(path) => {
            // An optional field shows as a step of its own.
            let steps: Vec<&str> =
                [at].into_iter().chain(path.split('.')).filter(|step| !matches!(*step, "" | "?")).collect();
            let name = steps.last().copied().unwrap_or_default();
            Err(Invalid::new(steps.join("."), "field_unknown", format!("unknown field `{name}`; leave it out")))
        }
    }
}

fn malformed(at: &str, path: &str, message: &str) -> Invalid {
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let code = if unknown.is_some() {
        "field_unknown"
    } else if missing.is_some() {
        "field_missing"
    } else {
        "field_malformed"
    };
    let mut parts: Vec<&str> = vec![at, path, missing.unwrap_or_default()];
    // For an unknown field the path ends with its name already.
    parts.retain(|part| !part.is_empty() && *part != ".");
    let field = if parts.is_empty() { unknown.unwrap_or("body").to_owned() } else { parts.join(".") };
    Invalid::new(field, code, message)
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// An answer in JSON.
#[must_use]
pub fn json(status: u16, value: &impl Serialize) -> ApiGatewayV2httpResponse {
    let body = serde_json::to_string(value).unwrap_or_default();
    respond(status, "application/json", body)
}

/// An answer in JSON that is text already.
#[must_use]
pub fn json_text(status: u16, body: impl Into<String>) -> ApiGatewayV2httpResponse {
    respond(status, "application/json", body.into())
}

/// An answer without a body.
#[must_use]
pub fn empty(status: u16) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = i64::from(status);
    response
}

/// An answer in plain text.
#[must_use]
pub fn text(status: u16, body: impl Into<String>) -> ApiGatewayV2httpResponse {
    respond(status, "text/plain; charset=utf-8", body.into())
}

/// The answer to a call, whatever came of it; notes it as the invocation's outcome.
#[must_use]
pub fn answer(answer: Answer) -> ApiGatewayV2httpResponse {
    let status = answer.as_ref().map_or_else(|problem| problem.status, |_| 200);
    emf::outcome(match status {
        500.. => "failed",
        400.. => "refused",
        _ => "ok",
    });
    answer.unwrap_or_else(|problem| {
        let body = json!({
            "type": "about:blank",
            "title": aws_lambda_events::http::StatusCode::from_u16(problem.status)
                .ok().and_then(|status| status.canonical_reason()).unwrap_or("Error"),
            "status": problem.status,
            "code": problem.errors.first().map_or(problem.code, |invalid| invalid.code.as_str()),
            "detail": problem.detail,
            "errors": problem.errors,
        });
        let mut response = respond(problem.status, "application/problem+json", body.to_string());
        if matches!(problem.status, 429 | 503) {
            response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    })
}

fn respond(status: u16, media_type: &'static str, body: String) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = i64::from(status);
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.body = Some(Body::Text(body));
    response
}

#[cfg(test)]
mod tests {
    use tidepost_core::channel::Channel;

    use super::*;

    #[test]
    fn unknown_fields_are_refused_at_any_depth_and_named() {
        let refused = |changes: Value| {
            let mut channel = json!({"platform": "wechat_mini", "app_id": "a", "secret_ref": "env:A"});
            channel.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            from_value::<Channel>(channel, "").err().map(|invalid| (invalid.field, invalid.code))
        };
        let unknown = |field: &str| Some((field.to_owned(), "field_unknown".to_owned()));
        assert_eq!(refused(json!({})), None);
        assert_eq!(refused(json!({"colour": "red"})), unknown("colour"));
        assert_eq!(refused(json!({"policy": {"hue": 1}})), unknown("policy.hue"));
        let callback = json!({"mode": "safe", "token_ref": "env:B", "shape": 1});
        assert_eq!(refused(json!({"callback": callback})), unknown("callback.shape"));
        let caps = json!([{"scope": "subscriber", "per": "day", "limit": 5, "unit": 1}]);
        assert_eq!(refused(json!({"policy": {"caps": caps}})), unknown("policy.caps.0.unit"));
    }

    #[test]
    fn the_path_of_a_field_begins_where_its_value_is() {
        let found = from_value::<Channel>(json!({"platform": "wechat_mini", "app_id": 1}), "channels.2").unwrap_err();
        assert_eq!((found.field.as_str(), found.code.as_str()), ("channels.2.app_id", "field_malformed"));
    }
}
