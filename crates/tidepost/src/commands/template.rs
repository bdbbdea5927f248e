//! `tidepost template`: the platform's templates of a channel.

use clap::Subcommand;
use http::Method;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::input::read_json;
use crate::output::{fields, print, rows, table};

/// Subcommands of `tidepost template`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set a template up, or replace it
    #[command(after_help = "Example:\n  tidepost template put shop TMPL_A template.json")]
    Put {
        /// The channel's id
        channel: String,
        /// The platform's own template id
        template: String,
        /// Its settings in JSON; `-` reads standard input
        file: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a template
    #[command(after_help = "Example:\n  tidepost template get shop TMPL_A")]
    Get {
        /// The channel's id
        channel: String,
        /// The platform's own template id
        template: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List a channel's templates
    #[command(after_help = "Example:\n  tidepost template list shop")]
    List {
        /// The channel's id
        channel: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take over the templates that the platform has
    #[command(after_help = "Example:\n  tidepost template sync shop")]
    Sync {
        /// The channel's id
        channel: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
}

impl Command {
    /// Calls the API and prints its answer.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Put { channel, template, file, client } => {
                let body = read_json(&file)?;
                let call = Call::new(Method::PUT, &["channels", &channel, "templates", &template]).body(&body);
                print(client.json, &Client::new(&client)?.call(call).await?, fields);
            }
            Self::Get { channel, template, client } => {
                let call = Call::new(Method::GET, &["channels", &channel, "templates", &template]);
                print(client.json, &Client::new(&client)?.call(call).await?, fields);
            }
            Self::List { channel, client } => {
                let call = Call::new(Method::GET, &["channels", &channel, "templates"]);
                let answer = Client::new(&client)?.call(call).await?;
                let columns = [
                    ("ID", "/id"),
                    ("TITLE", "/title"),
                    ("KIND", "/kind"),
                    ("CATEGORY", "/category"),
                    ("TOPIC", "/topic"),
                ];
                print(client.json, &answer, |answer| table(rows(answer, "items"), &columns));
            }
            Self::Sync { channel, client } => {
                let call = Call::new(Method::POST, &["channels", &channel, "templates", "sync"]);
                print(client.json, &Client::new(&client)?.call(call).await?, fields);
            }
        }
        Ok(())
    }
}
