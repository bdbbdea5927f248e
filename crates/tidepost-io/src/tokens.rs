//! Access tokens: shared by all functions through one item per channel, refreshed by one function at a time.

use thiserror::Error;
use tidepost_core::channel::Channel;
use tidepost_core::time::plus_seconds;
use tidepost_core::token::{Borrowed, TokenState, TokenStep};

use crate::app::App;
use crate::emf::{self, Metric};
use crate::platform::Adapter;
use crate::platform::wechat::client::{Token, TokenError};
use crate::secret::Secret;
use crate::secrets::SecretError;
use crate::store::{Key, StoreError, Stored, Swap};

/// How long a function waits for a token that another fetches, in seconds.
const PATIENCE_SECONDS: i64 = 15;

fn key(channel: &str) -> Key {
    // Not among what `channel_state` reads: a partition of its own.
    Key::new(format!("T#{channel}"), "token")
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum NoToken {
    /// Try again later.
    #[error("no token yet: {0}")]
    Later(String),
    /// The platform refuses to give one: a person must act.
    #[error("the platform gives no token: {code} {message}")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// The app secret cannot be read: a person must act.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// DynamoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// The channel's access token; `rejected` is one that the platform just refused.
    ///
    /// # Errors
    /// [`NoToken`] when none can be had: later, or until a person acts.
    pub async fn token(&self, id: &str, channel: &Channel, rejected: Option<&Secret>) -> Result<Secret, NoToken> {
        if self.config.fetches_tokens {
            self.fetched_token(id, channel, rejected).await
        } else {
            self.borrowed_token(id, rejected).await
        }
    }

    /// Makes sure that the channel has a token for a while, also one that was refused to a function that may not fetch.
    ///
    /// # Errors
    /// [`NoToken`] when it has none.
    pub async fn keep_token(&self, id: &str, channel: &Channel) -> Result<(), NoToken> {
        let stored: Option<Stored<TokenState>> = self.store.get(&key(id)).await?;
        let refused = stored.map(|stored| stored.value).filter(|state| state.is_refused);
        let refused = refused.map(|state| Secret::new(state.access_token.expose().to_owned()));
        self.fetched_token(id, channel, refused.as_ref()).await.map(drop)
    }

    /// A token that another function has fetched.
    async fn borrowed_token(&self, id: &str, rejected: Option<&Secret>) -> Result<Secret, NoToken> {
        let stored: Option<Stored<TokenState>> = self.store.get(&key(id)).await?;
        let state = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
        match state.borrow(rejected.map(Secret::expose), self.clock.now()) {
            Borrowed::Use(token) => return Ok(Secret::new(token.expose().to_owned())),
            // Who changed it meanwhile fetches or has told.
            Borrowed::Tell(told) => drop(self.store.swap(&key(id), stored.as_ref(), told, None).await?),
            Borrowed::Later => {}
        }
        Err(NoToken::Later("another function fetches it within a minute".to_owned()))
    }

    async fn fetched_token(&self, id: &str, channel: &Channel, rejected: Option<&Secret>) -> Result<Secret, NoToken> {
        let key = key(id);
        let give_up = plus_seconds(self.clock.now(), PATIENCE_SECONDS);
        let is_refused = |state: &TokenState| rejected.map(Secret::expose) == Some(state.access_token.expose());
        loop {
            let stored: Option<Stored<TokenState>> = self.store.get(&key).await?;
            let state = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            match state.step(rejected.map(Secret::expose), self.clock.now()) {
                TokenStep::Use(token) => return Ok(Secret::new(token.expose().to_owned())),
                TokenStep::Wait { until } if until < give_up => self.clock.sleep_until(until).await,
                TokenStep::Wait { .. } => return Err(NoToken::Later("another function is fetching it".to_owned())),
                // The platform gave the refused token out again, and another must not be forced yet: to ask once more would
                // bring the same.
                TokenStep::Fetch { force: false, .. } if state.refresh_at == 0 && is_refused(&state) => {
                    return Err(NoToken::Later("the platform gives out the token that it refuses".to_owned()));
                }
                TokenStep::Fetch { leased, force } => {
                    if let Swap::Done(leased) = self.store.swap(&key, stored.as_ref(), leased, None).await? {
                        self.fetch_token(id, channel, &leased, force, rejected).await?;
                    }
                }
            }
        }
    }

    async fn fetch_token(
        &self,
        id: &str,
        channel: &Channel,
        leased: &Stored<TokenState>,
        force: bool,
        rejected: Option<&Secret>,
    ) -> Result<(), NoToken> {
        let fetched = self.ask_for_token(channel, force).await;
        let next = match &fetched {
            Ok(token) => leased.value.fetched(
                token.access_token.expose(),
                token.expires_in_seconds,
                rejected.map(Secret::expose),
                self.clock.now(),
            ),
            Err(error) => {
                emf::count_of(id, Metric::TokenFailures, 1);
                leased.value.not_fetched(error.to_string())
            }
        };
        self.store.swap(&key(id), Some(leased), next, None).await?;
        fetched.map(drop)
    }

    async fn ask_for_token(&self, channel: &Channel, force: bool) -> Result<Token, NoToken> {
        let secret = self.secrets.read(&channel.secret_ref, self.clock.now()).await?;
        let Ok(Adapter::Wechat(client)) = self.platforms.adapter(channel.platform) else {
            return Err(NoToken::Later("the platform is not supported yet".to_owned()));
        };
        client.fetch_token(&channel.app_id, &secret, force).await.map_err(|error| match error {
            TokenError::Retry { detail, .. } => NoToken::Later(detail),
            TokenError::Refused { code, message } => NoToken::Refused { code, message },
        })
    }

    /// Why the last try to fetch the channel's token failed; `None` when it did not.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn token_trouble(&self, id: &str) -> Result<Option<String>, StoreError> {
        let stored: Option<Stored<TokenState>> = self.store.get(&key(id)).await?;
        Ok(stored.and_then(|stored| stored.value.failed_because))
    }
}
