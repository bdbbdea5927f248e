//! `tidepost key`: API keys.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::output::{fields, print, rows, table};

/// Subcommands of `tidepost key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key; it is shown once
    #[command(after_help = "Example:\n  tidepost key create --role sender --name shop")]
    Create {
        /// What its bearer may do
        #[arg(long, value_parser = ["admin", "operator", "sender", "analyst", "support"])]
        role: String,
        /// What you call it
        #[arg(long)]
        name: String,
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the keys
    #[command(after_help = "Example:\n  tidepost key list --json")]
    List {
        /// How to call
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take a key back
    #[command(after_help = "Example:\n  tidepost key revoke k_1")]
    Revoke {
        /// The key's id
        id: String,
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
            Self::Create { role, name, client } => {
                let body = json!({"role": role, "name": name});
                let call = Call::new(Method::POST, &["keys"]).body(&body);
                let answer = Client::new(&client)?.call(call).await?;
                print(client.json, &answer, fields);
            }
            Self::List { client } => {
                let answer = Client::new(&client)?.call(Call::new(Method::GET, &["keys"])).await?;
                let columns = [("ID", "/id"), ("ROLE", "/role"), ("NAME", "/name"), ("CREATED", "/created_at")];
                print(client.json, &answer, |answer| table(rows(answer, "items"), &columns));
            }
            Self::Revoke { id, client } => {
                let answer = Client::new(&client)?.call(Call::new(Method::DELETE, &["keys", &id])).await?;
                print(client.json, &answer, |_| format!("{id} is revoked"));
            }
        }
        Ok(())
    }
}
