//! `tidepost send`: one message.

use http::Method;
use serde_json::{Map, Value, json};
use tidepost_io::clock::random;

use crate::client::{Call, Client, ClientArgs};
use crate::commands::Failure;
use crate::commands::input::read_json;
use crate::output::{fields, print};

const EXAMPLES: &str = "\
Examples:
  tidepost send --channel shop --openid o1 --template TMPL_A --data thing1=咖啡 --data 'time2=2026-11-21 15:04'
  tidepost send --file message.json --idempotency-key order-42

Without --idempotency-key one is made and printed on standard error: give it again to ask again without sending twice.";

/// Arguments of `tidepost send`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The whole message in JSON; `-` reads standard input
    #[arg(long, conflicts_with_all = ["channel", "openid", "template"])]
    file: Option<String>,
    /// The channel's id
    #[arg(long, required_unless_present = "file")]
    channel: Option<String>,
    /// The person's openid
    #[arg(long, required_unless_present = "file")]
    openid: Option<String>,
    /// The platform's own template id
    #[arg(long, required_unless_present = "file")]
    template: Option<String>,
    /// A field of the template
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    data: Vec<(String, String)>,
    /// The page that opens
    #[arg(long)]
    page: Option<String>,
    /// The topic
    #[arg(long)]
    topic: Option<String>,
    /// basic, reminder or marketing
    #[arg(long)]
    category: Option<String>,
    /// normal or urgent
    #[arg(long)]
    urgency: Option<String>,
    /// The team that asks
    #[arg(long)]
    business_line: Option<String>,
    /// Not before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Not after (RFC 3339)
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Names this request: the same key and content get the same answer
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Args {
    /// Sends and prints what will happen.
    ///
    /// # Errors
    /// [`Failure`] of the call, and [`Failure::No`] when a rule refuses the message.
    pub async fn run(self) -> Result<(), Failure> {
        let message = self.message()?;
        let client = Client::new(&self.client)?;
        let key = self.idempotency_key.clone().unwrap_or_else(|| {
            let key = data_encoding::HEXLOWER.encode(&random::<16>());
            // Before the call: it is needed most when no answer comes.
            eprintln!("idempotency key: {key}");
            key
        });
        let answer = client.call(Call::new(Method::POST, &["messages"]).body(&message).idempotency_key(&key)).await?;
        print(self.client.json, &answer, fields);
        match answer.get("status").and_then(Value::as_str) {
            Some("refused") => Err(Failure::No("the message is refused".to_owned())),
            _ => Ok(()),
        }
    }

    fn message(&self) -> Result<Value, Failure> {
        if let Some(file) = &self.file {
            return read_json(file);
        }
        let data: Map<String, Value> = self.data.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let given = [
            ("channel", &self.channel),
            ("openid", &self.openid),
            ("template", &self.template),
            ("page", &self.page),
            ("topic", &self.topic),
            ("category", &self.category),
            ("urgency", &self.urgency),
            ("business_line", &self.business_line),
            ("not_before", &self.not_before),
            ("deadline", &self.deadline),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Ok(given.chain([("data".to_owned(), Value::Object(data))]).collect::<Map<_, _>>().into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn only_what_was_given_is_sent() {
        let wrapper = Wrapper::parse_from([
            "send",
            "--channel",
            "shop",
            "--openid",
            "o1",
            "--template",
            "T",
            "--data",
            "thing1=a=b",
            "--topic",
            "orders",
        ]);
        let expected =
            json!({"channel": "shop", "openid": "o1", "template": "T", "topic": "orders", "data": {"thing1": "a=b"}});
        assert_eq!(wrapper.args.message().unwrap(), expected);
    }

    #[test]
    fn a_message_needs_a_person() {
        assert!(Wrapper::try_parse_from(["send", "--channel", "shop", "--template", "T"]).is_err());
    }
}
