//! API keys: who calls, and what they may do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::http::{Problem, Request};
use crate::store::{Key, Range, Store, StoreError, Stored};

/// What the bearer of a key may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Campaigns, templates, quota, subscribers.
    Operator,
    /// Grants, messages, events, subscribers, preferences.
    Sender,
    /// Every report, no person.
    Analyst,
    /// Look up, preferences, erase.
    Support,
}

/// What a call needs to be allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// Change channels, make and drop keys.
    Administer,
    /// Read channels and templates.
    ReadSetup,
    /// Change templates.
    Templates,
    /// Report consents.
    Grants,
    /// Send messages.
    Messages,
    /// See what became of a message.
    ReadMessages,
    /// Feed subscribers.
    Subscribers,
    /// Look a person up.
    LookUp,
    /// Change a person's preferences.
    Preferences,
    /// Erase a person.
    Erase,
    /// Read quota and metrics.
    Reports,
    /// Make, start and stop campaigns.
    Campaigns,
    /// See campaigns and what became of them.
    ReadCampaigns,
    /// Report what people did.
    Events,
}

impl Role {
    /// Whether the role has a right (CONTRACT, 'Roles').
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        use Right::{
            Campaigns, Erase, Events, Grants, LookUp, Messages, Preferences, ReadCampaigns, ReadMessages, ReadSetup,
            Reports, Subscribers, Templates,
        };
        match self {
            Self::Admin => true,
            Self::Operator => {
                let people = matches!(right, Subscribers | LookUp);
                people || matches!(right, Campaigns | ReadCampaigns | ReadSetup | Reports | Templates)
            }
            Self::Sender => {
                let people = matches!(right, Events | Grants | LookUp | Preferences | Subscribers);
                people || matches!(right, Messages | ReadMessages | ReadSetup)
            }
            Self::Analyst => matches!(right, ReadCampaigns | ReadSetup | Reports),
            Self::Support => matches!(right, LookUp | Preferences | Erase | ReadMessages),
        }
    }
}

/// A key as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StoredKey {
    /// SHA-256 of the whole key, in hex.
    #[serde(rename = "h")]
    hash: String,
    /// What its bearer may do.
    #[serde(rename = "r")]
    pub role: Role,
    /// What its owner calls it.
    #[serde(rename = "n")]
    pub name: String,
    /// When it was made.
    #[serde(rename = "a")]
    pub created_at: Timestamp,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's id.
    pub key: String,
    /// What it may do.
    pub role: Role,
}

/// The id of the first admin key, which is a secret of the deployment and not stored.
pub const FIRST_KEY: &str = "k_admin";

const KEYS: &str = "K";

fn hash(key: &str) -> String {
    data_encoding::HEXLOWER.encode(&tidepost_core::digest::of(&[key.as_bytes()]))
}

impl Store {
    /// Makes a key: its id and the key itself, which is shown once and stored as a hash.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn make_key(&self, role: Role, name: &str, now: Timestamp) -> Result<(String, String), StoreError> {
        let id = format!("k_{}", data_encoding::HEXLOWER.encode(&crate::clock::random::<6>()));
        let secret = data_encoding::BASE64URL_NOPAD.encode(&crate::clock::random::<24>());
        let key = format!("tp_{}.{secret}", id.trim_start_matches("k_"));
        let stored = StoredKey { hash: hash(&key), role, name: name.to_owned(), created_at: now };
        self.put(&Key::new(KEYS, &id), &stored, None).await?;
        Ok((id, key))
    }

    /// All keys, by id.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn keys(&self) -> Result<Vec<(String, StoredKey)>, StoreError> {
        self.query_all(&Range::all(KEYS)).await
    }

    /// Drops a key; returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn drop_key(&self, id: &str) -> Result<bool, StoreError> {
        let key = Key::new(KEYS, id);
        let was: Option<Stored<StoredKey>> = self.get(&key).await?;
        self.delete(&key).await?;
        Ok(was.is_some())
    }
}

impl App {
    /// Who calls, if they may do what they want to.
    ///
    /// # Errors
    /// [`Problem`] 401 without a valid key, 403 when its role lacks the right.
    pub async fn authorise(&self, request: &Request, right: Right) -> Result<Caller, Problem> {
        let caller = self.authenticate(request).await?;
        if caller.role.may(right) {
            return Ok(caller);
        }
        Err(Problem::new(403, "forbidden", "the key's role does not allow this; see the roles in the README"))
    }

    async fn authenticate(&self, request: &Request) -> Result<Caller, Problem> {
        let unauthorised = || Problem::new(401, "unauthorized", "send Authorization: Bearer <api key>");
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let given = bearer.map(str::trim).filter(|key| !key.is_empty()).ok_or_else(unauthorised)?;
        if let Some(id) =
            given.strip_prefix("tp_").and_then(|rest| rest.split_once('.')).map(|(id, _)| format!("k_{id}"))
        {
            let stored: Option<Stored<StoredKey>> = self.store.get(&Key::new(KEYS, &id)).await?;
            if let Some(stored) = stored.filter(|stored| is_equal(&stored.value.hash, &hash(given))) {
                return Ok(Caller { key: id, role: stored.value.role });
            }
        }
        if let Some(reference) = &self.config.admin_key_ref {
            let admin = self.secrets.read(reference, self.clock.now()).await.map_err(|error| {
                tracing::error!(%error, "the first admin key cannot be read");
                Problem::unavailable("the first admin key cannot be read")
            })?;
            if is_equal(&hash(admin.expose()), &hash(given)) {
                return Ok(Caller { key: FIRST_KEY.to_owned(), role: Role::Admin });
            }
        }
        Err(unauthorised())
    }
}

fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
