//! The client of the HTTP API.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tidepost_io::secret::Secret;

use crate::commands::Failure;
use crate::commands::up::DATA_FOLDER;
use crate::stack::data::ADMIN_KEY_FILE;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of every subcommand that calls the API.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// Where the API answers
    #[arg(long, env = "TIDEPOST_ENDPOINT", value_name = "URL", default_value = "http://127.0.0.1:8787")]
    pub endpoint: String,
    /// The API key [default: what is in .tidepost/admin.key]
    #[arg(long, env = "TIDEPOST_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Print only JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// One call of the API.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
    body: Option<&'a Value>,
    text: Option<(&'static str, &'a str)>,
    idempotency_key: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// A call of `/v1/` and these segments, which may hold any text.
    #[must_use]
    pub fn new(method: Method, path: &[&'a str]) -> Self {
        Self { method, path: path.to_vec(), query: Vec::new(), body: None, text: None, idempotency_key: None }
    }

    /// With a parameter, if it has a value.
    #[must_use]
    pub fn query(mut self, name: &'a str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: &'a Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With a body of another media type than JSON.
    #[must_use]
    pub fn text(mut self, media_type: &'static str, text: &'a str) -> Self {
        self.text = Some((media_type, text));
        self
    }

    /// With an idempotency key.
    #[must_use]
    pub fn idempotency_key(mut self, key: &'a str) -> Self {
        self.idempotency_key = Some(key);
        self
    }
}

/// The API at one endpoint, with one key.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: reqwest::Url,
    key: Secret,
}

impl Client {
    /// Finds the endpoint and the key.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the endpoint is no URL or there is no key.
    pub fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let endpoint: reqwest::Url = args
            .endpoint
            .parse()
            .ok()
            .filter(|url: &reqwest::Url| !url.cannot_be_a_base())
            .ok_or_else(|| Failure::Usage(format!("--endpoint: {} is no URL", args.endpoint)))?;
        let key = match &args.key {
            Some(key) => Secret::new(key.clone()),
            None => kept_key()?,
        };
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        let http = http.map_err(|error| Failure::No(format!("no HTTP client can be built: {error}")))?;
        Ok(Self { http, endpoint, key })
    }

    /// Calls, and returns what the API said.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be reached, refuses, or has no such thing.
    pub async fn call(&self, call: Call<'_>) -> Result<Value, Failure> {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(&call.path);
        }
        let mut request = self.http.request(call.method, url).bearer_auth(self.key.expose()).query(&call.query);
        if let Some(body) = call.body {
            request = request.json(body);
        }
        if let Some((media_type, text)) = call.text {
            request = request.header("content-type", media_type).body(text.to_owned());
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() { understand(&text) } else { Err(refusal(status.as_u16(), &text)) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let what = if error.is_timeout() { "timed out" } else { "is not reachable" };
        Failure::Unreachable(format!("{} {what}; is `tidepost up` running there?", self.endpoint))
    }
}

fn kept_key() -> Result<Secret, Failure> {
    let path = PathBuf::from(DATA_FOLDER).join(ADMIN_KEY_FILE);
    let text = std::fs::read_to_string(&path).map_err(|_| {
        Failure::Usage(format!("no API key: give --key, set TIDEPOST_API_KEY, or run where {} is", path.display()))
    })?;
    Ok(Secret::new(text.trim().to_owned()))
}

fn understand(text: &str) -> Result<Value, Failure> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|_| Failure::Unreachable("the endpoint does not speak this API".to_owned()))
}

/// What an answer that is no success means for the exit code.
fn refusal(status: u16, text: &str) -> Failure {
    let problem: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let detail = field("detail").or_else(|| field("title")).unwrap_or_else(|| format!("status {status}"));
    if status == 404 {
        return Failure::No(format!("not found: {detail}"));
    }
    Failure::Refused { code: field("code").unwrap_or_else(|| format!("http_{status}")), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_is_an_answer_and_the_rest_a_refusal() {
        assert_eq!(refusal(404, r#"{"code":"not_found","detail":"no channel shop"}"#).exit_code(), 1);
        let refused = refusal(422, r#"{"code":"field_too_long","detail":"data.thing1: at most 20"}"#);
        assert_eq!((refused.exit_code(), refused.to_string().as_str()), (4, "field_too_long: data.thing1: at most 20"));
        assert_eq!(refusal(502, "<html>").to_string(), "http_502: status 502");
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_there_is_three() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = ClientArgs { endpoint: format!("http://{port}"), key: Some("k".to_owned()), json: false };
        let failure = Client::new(&args).unwrap().call(Call::new(Method::GET, &["keys"])).await.unwrap_err();
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_wrong_usage() {
        let args = ClientArgs { endpoint: "shop".to_owned(), key: Some("k".to_owned()), json: false };
        assert_eq!(Client::new(&args).unwrap_err().exit_code(), 2);
    }
}
