//! Errors of the control API: `application/problem+json` with a stable code. The platform's own paths never use it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One field that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// Why a control request was refused.
#[derive(Debug)]
pub(crate) enum Problem {
    NotJson(String),
    NotFound(String),
    TooLarge,
    Fields(Vec<FieldError>),
}

impl Problem {
    pub(crate) fn field(error: FieldError) -> Self {
        Self::Fields(vec![error])
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, detail, errors) = match self {
            Self::NotJson(detail) => (StatusCode::BAD_REQUEST, "not_json", detail, Vec::new()),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, "not_found", detail, Vec::new()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "at most 1 MiB".to_owned(), Vec::new()),
            Self::Fields(errors) => {
                let code = errors.first().map_or("invalid", |first| first.code);
                let detail =
                    errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>().join("; ");
                (StatusCode::UNPROCESSABLE_ENTITY, code, detail, errors)
            }
        };
        let body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
            "errors": errors,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

/// Parses a control request; an unknown, missing or misshapen field is named.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut source = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            Problem::field(field_error(&path, &inner.to_string()))
        } else {
            Problem::NotJson(inner.to_string())
        }
    })?;
    source.end().map_err(|error| Problem::NotJson(error.to_string()))?;
    Ok(value)
}

/// serde names unknown and missing fields only in its text, so the name is taken from between the backticks there.
fn field_error(path: &str, text: &str) -> FieldError {
    let (code, named) = if text.starts_with("unknown field") {
        ("unknown_field", text.split('`').nth(1))
    } else if text.starts_with("missing field") {
        ("field_missing", text.split('`').nth(1))
    } else {
        ("field_invalid", None)
    };
    let root = if path == "." { "" } else { path };
    let field = match named {
        Some(name) if root == name || root.ends_with(&format!(".{name}")) => root.to_owned(),
        Some(name) if root.is_empty() => name.to_owned(),
        Some(name) => format!("{root}.{name}"),
        None => root.to_owned(),
    };
    FieldError { field, code, message: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing is tested")]
        known: u32,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing is tested")]
        inner: Inner,
    }

    fn first_field(body: &str) -> String {
        match parse::<Outer>(body.as_bytes()) {
            Err(Problem::Fields(errors)) => format!("{} {}", errors[0].field, errors[0].code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_the_field() {
        assert_eq!(first_field(r#"{"other":1}"#), "other unknown_field");
        assert_eq!(first_field(r#"{"inner":{"known":1,"other":1}}"#), "inner.other unknown_field");
        assert_eq!(first_field(r#"{"inner":{}}"#), "inner.known field_missing");
        assert_eq!(first_field(r#"{"inner":{"known":"x"}}"#), "inner.known field_invalid");
        assert!(matches!(parse::<Outer>(b"{"), Err(Problem::NotJson(_))));
        assert!(matches!(parse::<Outer>(br#"{"inner":{"known":1}} x"#), Err(Problem::NotJson(_))));
    }
}
