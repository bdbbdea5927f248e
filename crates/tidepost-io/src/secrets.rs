//! The one reader of secrets: `env:NAME`, `file:PATH`, `secretsmanager:ARN`, `ssm:NAME`.

use std::collections::HashMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use jiff::Timestamp;
use thiserror::Error;
use tidepost_core::time::plus_seconds;
use tokio::sync::Mutex;

use crate::secret::Secret;

/// How long a secret is kept in memory, in seconds: a rotated one is seen after this at the latest.
const KEPT_SECONDS: i64 = 300;

/// Why a secret could not be read. Never says what it is.
#[derive(Debug, Error)]
#[error("the secret {reference} cannot be read: {detail}")]
pub struct SecretError {
    reference: String,
    detail: String,
}

/// Reads secrets and keeps them for a while.
#[derive(Clone)]
pub struct Secrets {
    manager: aws_sdk_secretsmanager::Client,
    parameters: aws_sdk_ssm::Client,
    known: Arc<Mutex<HashMap<String, (Secret, Timestamp)>>>,
}

impl Secrets {
    /// A reader that uses the given AWS settings for the stores in AWS.
    #[must_use]
    pub fn new(aws: &SdkConfig) -> Self {
        Self {
            manager: aws_sdk_secretsmanager::Client::new(aws),
            parameters: aws_sdk_ssm::Client::new(aws),
            known: Arc::default(),
        }
    }

    /// The secret that `reference` names.
    ///
    /// # Errors
    /// [`SecretError`] when there is none or its store cannot be reached.
    pub async fn read(&self, reference: &str, now: Timestamp) -> Result<Secret, SecretError> {
        let mut known = self.known.lock().await;
        if let Some((secret, until)) = known.get(reference)
            && now < *until
        {
            return Ok(secret.clone());
        }
        let fetched = self.fetch(reference).await;
        let text = fetched.map_err(|detail| SecretError { reference: reference.to_owned(), detail })?;
        let secret = Secret::new(text.trim().to_owned());
        known.insert(reference.to_owned(), (secret.clone(), plus_seconds(now, KEPT_SECONDS)));
        Ok(secret)
    }

    async fn fetch(&self, reference: &str) -> Result<String, String> {
        match reference.split_once(':') {
            Some(("env", name)) => std::env::var(name).map_err(|_| "the environment variable is not set".to_owned()),
            Some(("file", path)) => tokio::fs::read_to_string(path).await.map_err(|error| error.to_string()),
            Some(("secretsmanager", arn)) => {
                let answer = self.manager.get_secret_value().secret_id(arn).send().await;
                let answer =
                    answer.map_err(|error| aws_sdk_secretsmanager::error::DisplayErrorContext(error).to_string())?;
                answer.secret_string.ok_or_else(|| "it holds bytes, not text".to_owned())
            }
            Some(("ssm", name)) => {
                let answer = self.parameters.get_parameter().name(name).with_decryption(true).send().await;
                let answer = answer.map_err(|error| aws_sdk_ssm::error::DisplayErrorContext(error).to_string())?;
                answer.parameter.and_then(|parameter| parameter.value).ok_or_else(|| "it has no value".to_owned())
            }
            _ => Err(tidepost_core::channel::SECRET_REF_FORM.to_owned()),
        }
    }
}
