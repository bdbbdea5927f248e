//! Reading what a platform tells of an account, and bringing a channel's templates in line with it.

use thiserror::Error;
use tidepost_core::channel::Channel;
use tidepost_core::template::{Field, Listed, merge_listed};

use crate::app::App;
use crate::platform::wechat::client::{ReadError, WechatTemplate};
use crate::platform::{Adapter, NotSupported};
use crate::secret::Secret;
use crate::secrets::SecretError;
use crate::store::StoreError;
use crate::tokens::NoToken;

/// What a sync changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct SyncCounts {
    /// Templates that are new.
    pub added: usize,
    /// Templates that the platform has changed.
    pub changed: usize,
    /// Templates that the platform has no more.
    pub removed: usize,
}

/// Why templates were not synced, or a platform's count was not read.
#[derive(Debug, Error)]
pub enum SyncError {
    /// There is no such channel.
    #[error("there is no such channel")]
    UnknownChannel,
    /// This version cannot ask the platform.
    #[error(transparent)]
    NotSupported(#[from] NotSupported),
    /// Try again later.
    #[error("the platform cannot be asked now: {0}")]
    Later(String),
    /// The platform says no: a person must act.
    #[error("the platform refuses: {code} {message}")]
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

impl From<NoToken> for SyncError {
    fn from(error: NoToken) -> Self {
        match error {
            NoToken::Later(detail) => Self::Later(detail),
            NoToken::Refused { code, message } => Self::Refused { code, message },
            NoToken::Secret(error) => Self::Secret(error),
            NoToken::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReadError> for SyncError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Retry { detail, .. } => Self::Later(detail),
            ReadError::RefreshToken { code, message } | ReadError::Refused { code, message } => {
                Self::Refused { code, message }
            }
        }
    }
}

impl App {
    /// Reads a channel's templates from its platform and stores what is new, changed or gone.
    ///
    /// # Errors
    /// [`SyncError`] when the platform or DynamoDB does not answer; syncing again finishes what was begun.
    pub async fn sync_templates(&self, id: &str) -> Result<SyncCounts, SyncError> {
        let channel = self.store.channel(id).await?.ok_or(SyncError::UnknownChannel)?;
        let Adapter::Wechat(client) = self.platforms.adapter(channel.platform)?;
        let list = |token: Secret| async move { client.templates(&token).await };
        let listed = self.read_platform(id, &channel, list).await?;
        let known = self.store.templates(id).await?;
        let sync = merge_listed(&known, listed.into_iter().map(from_wechat).collect());
        for (template, definition) in sync.added.iter().chain(&sync.changed) {
            self.store.put_template(id, template, definition).await?;
        }
        for template in &sync.removed {
            self.store.delete_template(id, template).await?;
        }
        Ok(SyncCounts { added: sync.added.len(), changed: sync.changed.len(), removed: sync.removed.len() })
    }

    /// Reads something that the platform tells under an access token; a token that it refuses is replaced once.
    ///
    /// # Errors
    /// [`SyncError`] when there is no token, or the platform does not answer.
    pub async fn read_platform<T, F: Future<Output = Result<T, ReadError>>>(
        &self,
        id: &str,
        channel: &Channel,
        read: impl Fn(Secret) -> F,
    ) -> Result<T, SyncError> {
        let token = self.token(id, channel, None).await?;
        match read(token.clone()).await {
            Err(ReadError::RefreshToken { .. }) => {
                let fresh = self.token(id, channel, Some(&token)).await?;
                Ok(read(fresh).await?)
            }
            answer => Ok(answer?),
        }
    }
}

fn from_wechat(template: WechatTemplate) -> Listed {
    let field = |field: crate::platform::wechat::client::WechatField| Field { key: field.key, values: field.values };
    Listed {
        id: template.id,
        title: template.title,
        kind: template.kind,
        fields: template.fields.into_iter().map(field).collect(),
    }
}
