//! Every environment variable that a function reads.

use thiserror::Error;

/// What a function knows before it reads anything from DynamoDB.
#[derive(Clone, Debug)]
pub struct Config {
    /// `TIDEPOST_TABLE`: the one DynamoDB table.
    pub table: String,
    /// `TIDEPOST_NOW_QUEUE_URL`: the queue of single messages.
    pub now_queue_url: String,
    /// `TIDEPOST_DEAD_QUEUE_URL`: where SQS moves messages of that queue that could not be handled.
    pub dead_queue_url: String,
    /// `TIDEPOST_BULK_QUEUE_URL`: the queue of campaigns' sends.
    pub bulk_queue_url: String,
    /// `TIDEPOST_BULK_DEAD_QUEUE_URL`: that queue's dead letters.
    pub bulk_dead_queue_url: String,
    /// `TIDEPOST_SWEEP_QUEUE_URL`: the queue of sweeps.
    pub sweep_queue_url: String,
    /// `TIDEPOST_SWEEP_DEAD_QUEUE_URL`: that queue's dead letters.
    pub sweep_dead_queue_url: String,
    /// `TIDEPOST_ADMIN_KEY_REF`: a secret reference to the first admin key (optional: stored keys work without it).
    pub admin_key_ref: Option<String>,
    /// `TIDEPOST_WECHAT_BASE_URL`: where WeChat's server API answers.
    pub wechat_base_url: String,
    /// `TIDEPOST_TOKENS`: whether the function fetches access tokens (`fetch`, unless said otherwise) or leaves that to another
    /// one (`elsewhere`), where platforms give them to a fixed address only.
    pub fetches_tokens: bool,
    /// `TIDEPOST_STAGE`: which deployment the metrics are of, for example the stack's name.
    pub stage: String,
}

/// All that is missing from the environment, in one message.
#[derive(Debug, Error)]
#[error("the function's environment lacks {}; set them where it is deployed", .missing.join(", "))]
pub struct ConfigError {
    /// Names of the variables that are not set.
    pub missing: Vec<&'static str>,
}

/// Which function the process is: Lambda hands over the template's `Handler` in `_HANDLER`. Empty outside of Lambda.
#[must_use]
pub fn handler() -> String {
    std::env::var("_HANDLER").unwrap_or_default()
}

/// WeChat's own address (platforms.md, section A).
pub const WECHAT_BASE_URL: &str = "https://api.weixin.qq.com";

/// The deployment that says nothing of itself: the local stack.
pub const STAGE: &str = "local";

impl Config {
    /// Reads the environment; reports everything that is missing together.
    ///
    /// # Errors
    /// [`ConfigError`] names each required variable that is not set.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut missing = Vec::new();
        let mut required = |name: &'static str| {
            variable(name).unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let config = Self {
            table: required("TIDEPOST_TABLE"),
            now_queue_url: required("TIDEPOST_NOW_QUEUE_URL"),
            dead_queue_url: required("TIDEPOST_DEAD_QUEUE_URL"),
            bulk_queue_url: required("TIDEPOST_BULK_QUEUE_URL"),
            bulk_dead_queue_url: required("TIDEPOST_BULK_DEAD_QUEUE_URL"),
            sweep_queue_url: required("TIDEPOST_SWEEP_QUEUE_URL"),
            sweep_dead_queue_url: required("TIDEPOST_SWEEP_DEAD_QUEUE_URL"),
            admin_key_ref: variable("TIDEPOST_ADMIN_KEY_REF"),
            wechat_base_url: variable("TIDEPOST_WECHAT_BASE_URL").unwrap_or_else(|| WECHAT_BASE_URL.to_owned()),
            fetches_tokens: variable("TIDEPOST_TOKENS").as_deref() != Some("elsewhere"),
            stage: variable("TIDEPOST_STAGE").unwrap_or_else(|| STAGE.to_owned()),
        };
        if missing.is_empty() { Ok(config) } else { Err(ConfigError { missing }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_variables_are_reported_together() {
        let error = Config::read(|_| None).unwrap_err();
        let missing = [
            "TIDEPOST_TABLE",
            "TIDEPOST_NOW_QUEUE_URL",
            "TIDEPOST_DEAD_QUEUE_URL",
            "TIDEPOST_BULK_QUEUE_URL",
            "TIDEPOST_BULK_DEAD_QUEUE_URL",
            "TIDEPOST_SWEEP_QUEUE_URL",
            "TIDEPOST_SWEEP_DEAD_QUEUE_URL",
        ];
        assert_eq!(error.missing, missing);
    }

    #[test]
    fn optional_variables_have_defaults() {
        let config = Config::read(|name| {
            Some(name.to_lowercase())
                .filter(|_| name.ends_with("URL") && !name.contains("WECHAT") || name == "TIDEPOST_TABLE")
        })
        .unwrap();
        assert_eq!(config.wechat_base_url, WECHAT_BASE_URL);
        assert_eq!((config.stage.as_str(), config.admin_key_ref, config.fetches_tokens), (STAGE, None, true));
    }
}
