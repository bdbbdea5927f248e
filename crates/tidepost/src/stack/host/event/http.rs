//! An HTTP call as a Function URL or an HTTP API hands it over (payload format 2.0), and the answer to it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path as it was sent, still percent-encoded.
    pub path: &'a str,
    /// What followed the question mark.
    pub query: &'a str,
    /// `HTTP/1.1`.
    pub protocol: &'a str,
    /// The headers in order; names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// Where it came from.
    pub source_ip: &'a str,
    /// Names the invocation.
    pub request_id: &'a str,
    /// When it came.
    pub at: Timestamp,
}

impl Call<'_> {
    /// The event's text.
    #[must_use]
    pub fn event(&self) -> String {
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": self.joined_headers(),
            "requestContext": self.context(),
            "isBase64Encoded": false,
        });
        let Some(fields) = event.as_object_mut() else {
            return String::new();
        };
        if let Some(cookies) = self.header("cookie") {
            fields.insert("cookies".to_owned(), cookies.split("; ").collect());
        }
        if !self.query.is_empty() {
            fields.insert("queryStringParameters".to_owned(), self.joined_query());
        }
        if !self.body.is_empty() {
            let text = std::str::from_utf8(self.body).ok().filter(|_| self.has_text());
            fields.insert("isBase64Encoded".to_owned(), text.is_none().into());
            fields.insert("body".to_owned(), text.map_or_else(|| STANDARD.encode(self.body), str::to_owned).into());
        }
        event.to_string()
    }

    fn context(&self) -> Value {
        let domain = self.header("host").unwrap_or("localhost");
        json!({
            "accountId": "anonymous",
            "apiId": "tidepostlocal",
            "domainName": domain,
            "domainPrefix": domain.split(['.', ':']).next(),
            "http": {
                "method": self.method,
                "path": self.path,
                "protocol": self.protocol,
                "sourceIp": self.source_ip,
                "userAgent": self.header("user-agent").unwrap_or_default(),
            },
            "requestId": self.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": self.at.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
            "timeEpoch": self.at.as_millisecond(),
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn joined_headers(&self) -> Value {
        joined(self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())))
    }

    fn joined_query(&self) -> Value {
        joined(form_urlencoded::parse(self.query.as_bytes()).into_owned())
    }

    /// Whether AWS would hand the body over as text: it looks at the media type alone.
    fn has_text(&self) -> bool {
        let media_type = self.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_text = media_type.starts_with("text/") || media_type.ends_with("+json") || media_type.ends_with("+xml");
        is_text || ["application/json", "application/xml", "application/javascript"].contains(&media_type)
    }
}

/// Repeated names have their values joined by commas.
fn joined(pairs: impl Iterator<Item = (String, String)>) -> Value {
    let mut all = Map::new();
    for (name, value) in pairs {
        match all.get_mut(&name) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => drop(all.insert(name, Value::String(value))),
        }
    }
    Value::Object(all)
}

/// A function's answer as it leaves the function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status.
    pub status_code: u16,
    /// Headers.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// Cookies to set.
    #[serde(default)]
    pub cookies: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

impl Answer {
    /// The body's bytes; none when it is not the base64 that it says it is.
    #[must_use]
    pub fn into_body(self) -> Option<Vec<u8>> {
        let body = self.body.unwrap_or_default();
        if self.is_base64_encoded { STANDARD.decode(body).ok() } else { Some(body.into_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::ApiGatewayV2httpRequest;

    use super::*;

    const FIXTURE: &str = include_str!("../../../../../../tests/fixtures/events/function_url.json");

    fn call<'a>(headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Call<'a> {
        Call {
            method: "POST",
            path: "/callbacks/shop",
            query: "timestamp=1795233600&nonce=415670741&tag=a&tag=b%20c",
            protocol: "HTTP/1.1",
            headers,
            body,
            source_ip: "198.51.100.7",
            request_id: "3f1c2b9e-6f0a-4a57-9d0e-0c6a8f4f5b11",
            at: "2026-11-21T02:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_event_is_the_documented_one() {
        let headers = [
            ("Host", "abcdefghij.lambda-url.us-east-1.on.aws"),
            ("Content-Type", "text/xml"),
            ("User-Agent", "Mozilla/4.0"),
            ("Accept", "*/*"),
            ("Accept", "text/plain"),
            ("Cookie", "one=1; two=2"),
        ];
        let event = call(&headers, "<xml><ToUserName>店</ToUserName></xml>".as_bytes()).event();
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event, serde_json::from_str::<Value>(FIXTURE).unwrap());
    }

    #[test]
    fn lambdas_own_type_reads_it() {
        let event: ApiGatewayV2httpRequest = serde_json::from_str(FIXTURE).unwrap();
        assert_eq!(event.raw_path.as_deref(), Some("/callbacks/shop"));
        assert_eq!(event.query_string_parameters.all("tag"), Some(vec!["a", "b c"]));
        assert_eq!(event.request_context.http.method, http::Method::POST);
        assert_eq!(event.headers["content-type"], "text/xml");
    }

    #[test]
    fn what_is_no_text_is_base64() {
        for (media_type, body) in [("text/xml", &[0xff, 0xfe][..]), ("application/octet-stream", b"abc"), ("", b"abc")]
        {
            let event: Value = serde_json::from_str(&call(&[("content-type", media_type)], body).event()).unwrap();
            assert_eq!(event["isBase64Encoded"], true, "{media_type}");
            assert_eq!(event["body"], STANDARD.encode(body), "{media_type}");
        }
    }

    #[test]
    fn a_call_without_a_body_has_none() {
        let event: Value = serde_json::from_str(&call(&[], b"").event()).unwrap();
        assert_eq!(event.get("body"), None);
        assert_eq!(event["isBase64Encoded"], false);
    }

    #[test]
    fn an_answer_may_be_base64() {
        let answer: Answer =
            serde_json::from_str(r#"{"statusCode":200,"body":"AP8=","isBase64Encoded":true}"#).unwrap();
        assert_eq!(answer.into_body(), Some(vec![0, 255]));
    }
}
