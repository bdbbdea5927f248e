//! Channels, their templates and their health in the table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidepost_core::channel::{Channel, Health};
use tidepost_core::template::Template;

use crate::store::{Key, LAST, Range, Store, StoreError, Stored, readable};

/// The partition that lists all channels.
const CHANNELS: &str = "C";

/// A channel with everything that a decision needs to know of it.
#[derive(Clone, Debug)]
pub struct ChannelState {
    /// Its definition.
    pub channel: Channel,
    /// How it is doing.
    pub health: Health,
    /// Its templates, by the platform's id.
    pub templates: BTreeMap<String, Template>,
}

/// A channel is stored as its own JSON text: nothing but the API looks into it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Json {
    #[serde(rename = "j")]
    json: String,
}

impl Json {
    fn of(value: &impl Serialize) -> Result<Self, StoreError> {
        serde_json::to_string(value).map(|json| Self { json }).map_err(|error| unreadable("value", &error))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, StoreError> {
        serde_json::from_str(&self.json).map_err(|error| unreadable(what, &error))
    }
}

fn unreadable(what: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Form { pk: CHANNELS.to_owned(), detail: format!("{what}: {error}") }
}

fn channel_key(channel: &str) -> Key {
    Key::new(CHANNELS, channel)
}

fn partition(channel: &str) -> String {
    format!("C#{channel}")
}

fn health_key(channel: &str) -> Key {
    Key::new(partition(channel), "health")
}

fn template_key(channel: &str, template: &str) -> Key {
    Key::new(partition(channel), format!("template#{template}"))
}

impl Store {
    /// All channels that can be read, by id, as their owners defined them.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn definitions(&self) -> Result<BTreeMap<String, Channel>, StoreError> {
        let rows: Vec<(String, Json)> = self.query_all(&Range::all(CHANNELS)).await?;
        Ok(rows.into_iter().filter_map(|(id, row)| readable(row.read(&id)).map(|channel| (id, channel))).collect())
    }

    /// One channel, as its owner defined it.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn definition(&self, channel: &str) -> Result<Option<Channel>, StoreError> {
        let row: Option<Stored<Json>> = self.get(&channel_key(channel)).await?;
        row.map(|row| row.value.read(channel)).transpose()
    }

    /// All channels that can be read, by id, with the rules of their platforms.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn channels(&self) -> Result<BTreeMap<String, Channel>, StoreError> {
        let all = self.definitions().await?;
        Ok(all.into_iter().map(|(id, channel)| (id, channel.with_default_rule())).collect())
    }

    /// One channel, with the rules of its platform.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn channel(&self, channel: &str) -> Result<Option<Channel>, StoreError> {
        Ok(self.definition(channel).await?.map(Channel::with_default_rule))
    }

    /// A channel with health and templates: two reads, whatever the number of templates.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn channel_state(&self, channel: &str) -> Result<Option<ChannelState>, StoreError> {
        let partition = partition(channel);
        let range = Range::all(&partition);
        let (definition, rows) = futures::try_join!(self.channel(channel), self.query_all::<Json>(&range))?;
        let Some(definition) = definition else { return Ok(None) };
        let mut state = ChannelState { channel: definition, health: Health::default(), templates: BTreeMap::new() };
        for (name, row) in rows {
            if name == "health" {
                state.health = row.read(&name)?;
            } else if let Some(template) = name.strip_prefix("template#") {
                state.templates.insert(template.to_owned(), row.read(&name)?);
            }
        }
        Ok(Some(state))
    }

    /// Stores a channel's definition; returns whether it is new.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_channel(&self, id: &str, channel: &Channel) -> Result<bool, StoreError> {
        self.put_json(&channel_key(id), channel).await
    }

    /// How a channel is doing.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn health(&self, channel: &str) -> Result<Health, StoreError> {
        let row: Option<Stored<Json>> = self.get(&health_key(channel)).await?;
        row.map_or(Ok(Health::default()), |row| row.value.read(channel))
    }

    /// Notes that a channel's platform refuses to send until `until`, unless it is known to refuse as long. Returns
    /// whether that is news.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn ban(&self, channel: &str, until: Timestamp, reason: String) -> Result<bool, StoreError> {
        let Some(health) = self.health(channel).await?.banned(until, reason) else { return Ok(false) };
        self.put(&health_key(channel), &Json::of(&health)?, None).await?;
        Ok(true)
    }

    /// A channel's templates, by the platform's id.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn templates(&self, channel: &str) -> Result<BTreeMap<String, Template>, StoreError> {
        let partition = partition(channel);
        let last = format!("template#{LAST}");
        let range = Range { from: "template#", to: &last, ..Range::all(&partition) };
        let rows: Vec<(String, Json)> = self.query_all(&range).await?;
        let read = |(name, row): (String, Json)| {
            Ok((name.trim_start_matches("template#").to_owned(), row.read::<Template>(&name)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// One template.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn template(&self, channel: &str, template: &str) -> Result<Option<Template>, StoreError> {
        let row: Option<Stored<Json>> = self.get(&template_key(channel, template)).await?;
        row.map(|row| row.value.read(template)).transpose()
    }

    /// Stores a template; returns whether it is new.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn put_template(&self, channel: &str, id: &str, template: &Template) -> Result<bool, StoreError> {
        self.put_json(&template_key(channel, id), template).await
    }

    /// Removes a template.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB fails.
    pub async fn delete_template(&self, channel: &str, template: &str) -> Result<(), StoreError> {
        self.delete(&template_key(channel, template)).await
    }

    async fn put_json(&self, key: &Key, value: &impl Serialize) -> Result<bool, StoreError> {
        let row = Json::of(value)?;
        let is_new = self.put_new(key, &row, None).await?;
        if !is_new {
            self.put(key, &row, None).await?;
        }
        Ok(is_new)
    }
}
