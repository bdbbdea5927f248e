//! The platform's three subscription events (reference A6) and how they are written on the wire (B2).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::app::App;
use super::config::{CallbackConfig, Format, Mode};
use super::crypto::{self, AesKey};
use crate::world::World;

/// The names of the events.
pub(crate) const POPUP: &str = "subscribe_msg_popup_event";
pub(crate) const CHANGE: &str = "subscribe_msg_change_event";
pub(crate) const SENT: &str = "subscribe_msg_sent_event";

/// One event, small enough to queue by the hundred thousand.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) openid: Arc<str>,
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Template and the person's word, for each.
    Popup(Vec<(String, String)>),
    Change(Vec<(String, String)>),
    Sent {
        template: Arc<str>,
        message_id: u64,
        failure: Option<(i64, String)>,
    },
}

/// A field of a list item.
enum Field {
    /// Text: CDATA in XML.
    Text(String),
    /// A number: bare in XML, a string in JSON.
    Number(String),
}

impl Event {
    pub(crate) fn sent(openid: &str, template: &Arc<str>, message_id: u64, at: Timestamp) -> Self {
        let content = Content::Sent { template: Arc::clone(template), message_id, failure: None };
        Self { openid: openid.into(), at, content }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.content {
            Content::Popup(_) => POPUP,
            Content::Change(_) => CHANGE,
            Content::Sent { .. } => SENT,
        }
    }

    /// The XML element around the list.
    fn element(&self) -> &'static str {
        match self.content {
            Content::Popup(_) => "SubscribeMsgPopupEvent",
            Content::Change(_) => "SubscribeMsgChangeEvent",
            Content::Sent { .. } => "SubscribeMsgSentEvent",
        }
    }

    fn items(&self) -> Vec<Vec<(&'static str, Field)>> {
        let answer = |(template, word): &(String, String)| {
            vec![("TemplateId", Field::Text(template.clone())), ("SubscribeStatusString", Field::Text(word.clone()))]
        };
        match &self.content {
            Content::Popup(answers) => answers
                .iter()
                .map(|one| {
                    let mut item = answer(one);
                    item.push(("PopupScene", Field::Number("0".to_owned())));
                    item
                })
                .collect(),
            Content::Change(answers) => answers.iter().map(answer).collect(),
            Content::Sent { template, message_id, failure } => {
                let (code, status) = failure.as_ref().map_or((0, "success"), |(code, status)| (*code, status.as_str()));
                vec![vec![
                    ("TemplateId", Field::Text(template.to_string())),
                    ("MsgID", Field::Number(message_id.to_string())),
                    ("ErrorCode", Field::Number(code.to_string())),
                    ("ErrorStatus", Field::Text(status.to_owned())),
                ]]
            }
        }
    }

    /// The JSON message: one item is an object, several are an array.
    fn json(&self, to: &str) -> Map<String, Value> {
        let seconds = self.at.as_second();
        // As in the platform's examples: text for the dialog, a number for the others.
        let created =
            if matches!(self.content, Content::Popup(_)) { json!(seconds.to_string()) } else { json!(seconds) };
        let mut list: Vec<Value> = self
            .items()
            .into_iter()
            .map(|fields| {
                let text = |field| match field {
                    Field::Text(text) | Field::Number(text) => Value::String(text),
                };
                Value::Object(fields.into_iter().map(|(name, field)| (name.to_owned(), text(field))).collect())
            })
            .collect();
        let list = if list.len() == 1 { list.remove(0) } else { Value::Array(list) };
        let head = [
            ("ToUserName", json!(to)),
            ("FromUserName", json!(&*self.openid)),
            ("CreateTime", created),
            ("MsgType", json!("event")),
            ("Event", json!(self.name())),
            ("List", list),
        ];
        head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The inside of the XML message's `<xml>`.
    fn xml(&self, to: &str) -> String {
        let mut text = format!(
            "<ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{}</CreateTime><MsgType>{}</MsgType><Event>{}</Event><{}>",
            cdata(to),
            cdata(&self.openid),
            self.at.as_second(),
            cdata("event"),
            cdata(self.name()),
            self.element(),
        );
        for fields in self.items() {
            text.push_str("<List>");
            for (name, field) in fields {
                let value = match field {
                    Field::Text(value) => cdata(&value),
                    Field::Number(value) => value,
                };
                text.push_str(&format!("<{name}>{value}</{name}>"));
            }
            text.push_str("</List>");
        }
        text.push_str(&format!("</{}>", self.element()));
        text
    }
}

/// Text that may hold anything, even the end mark.
fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// A push, ready to be sent and sent again.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) url: String,
    pub(crate) body: String,
    pub(crate) content_type: &'static str,
}

/// Writes, encrypts and signs an event for the app's callback; `None` without one.
pub(crate) fn write(world: &World, app: &App, event: &Event) -> Option<Push> {
    let config = app.config();
    let callback = config.callback.as_ref()?;
    let to = app.original_id(&config);
    let plain = match callback.format {
        Format::Json => Value::Object(event.json(&to)).to_string(),
        Format::Xml => format!("<xml>{}</xml>", event.xml(&to)),
    };
    let mut signer = Signer::new(world, &config.token);
    if callback.mode == Mode::Plain {
        return Some(signer.push(callback, Some(&event.openid), plain));
    }
    let key = AesKey::parse(&config.encoding_aes_key).ok()?;
    let encrypted = crypto::encrypt(&key, &app.app_id, &plain, world.random(rand::Rng::random));
    signer.encrypted = Some(encrypted.clone());
    let body = match (callback.format, callback.mode) {
        (Format::Json, Mode::Compat) => {
            let mut message = event.json(&to);
            message.insert("Encrypt".to_owned(), Value::String(encrypted));
            Value::Object(message).to_string()
        }
        (Format::Json, _) => json!({"ToUserName": to, "Encrypt": encrypted}).to_string(),
        (Format::Xml, Mode::Compat) => format!("<xml>{}<Encrypt>{}</Encrypt></xml>", event.xml(&to), cdata(&encrypted)),
        (Format::Xml, _) => {
            format!("<xml><ToUserName>{}</ToUserName><Encrypt>{}</Encrypt></xml>", cdata(&to), cdata(&encrypted))
        }
    };
    Some(signer.push(callback, Some(&event.openid), body))
}

/// The check the platform makes when a callback is saved: a GET whose `echostr` must come back.
pub(crate) fn verification(world: &World, app: &App) -> Option<(String, String)> {
    let config = app.config();
    let callback = config.callback.as_ref()?;
    let echo = world.random(rand::Rng::random::<u64>).to_string();
    let signer = Signer::new(world, &config.token);
    let url = signer.push(callback, None, String::new()).url;
    Some((format!("{url}&echostr={echo}"), echo))
}

struct Signer {
    token: String,
    timestamp: String,
    nonce: String,
    encrypted: Option<String>,
}

impl Signer {
    fn new(world: &World, token: &str) -> Self {
        let nonce = world.random(|random| rand::Rng::random_range(random, 100_000_000..2_000_000_000_u32)).to_string();
        Self { token: token.to_owned(), timestamp: world.now().as_second().to_string(), nonce, encrypted: None }
    }

    fn push(&self, callback: &CallbackConfig, openid: Option<&str>, body: String) -> Push {
        let [token, timestamp, nonce] = [self.token.as_str(), self.timestamp.as_str(), self.nonce.as_str()];
        let signature = crypto::signature([token, timestamp, nonce]);
        let joint = if callback.url.contains('?') { '&' } else { '?' };
        let mut url = format!("{}{joint}signature={signature}&timestamp={timestamp}&nonce={nonce}", callback.url);
        // Openids are letters, digits and `_-.`, which need no escaping in a query.
        if let Some(openid) = openid {
            url.push_str(&format!("&openid={openid}"));
        }
        if let Some(encrypted) = &self.encrypted {
            let signed = crypto::signature([token, timestamp, nonce, encrypted]);
            url.push_str(&format!("&encrypt_type=aes&msg_signature={signed}"));
        }
        let content_type = match callback.format {
            Format::Json => "application/json",
            Format::Xml => "text/xml",
        };
        Push { url, body, content_type }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content: Content) -> Event {
        Event { openid: "oUSER0001".into(), at: Timestamp::from_second(1_767_294_245).unwrap(), content }
    }

    fn answers(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(template, word)| ((*template).to_owned(), (*word).to_owned())).collect()
    }

    #[test]
    fn json_is_as_documented() {
        let popup = event(Content::Popup(answers(&[("TMPL_A", "accept"), ("TMPL_B", "reject")])));
        let expected: Value = serde_json::from_str(
            r#"{"ToUserName":"gh_a1","FromUserName":"oUSER0001","CreateTime":"1767294245","MsgType":"event","Event":"subscribe_msg_popup_event",
 "List":[{"TemplateId":"TMPL_A","SubscribeStatusString":"accept","PopupScene":"0"},{"TemplateId":"TMPL_B","SubscribeStatusString":"reject","PopupScene":"0"}]}"#,
        ).unwrap();
        assert_eq!(Value::Object(popup.json("gh_a1")), expected);
        let change = event(Content::Change(answers(&[("TMPL_A", "reject")])));
        let expected: Value = serde_json::from_str(
            r#"{"ToUserName":"gh_a1","FromUserName":"oUSER0001","CreateTime":1767294245,"MsgType":"event","Event":"subscribe_msg_change_event","List":{"TemplateId":"TMPL_A","SubscribeStatusString":"reject"}}"#,
        ).unwrap();
        assert_eq!(Value::Object(change.json("gh_a1")), expected);
    }

    #[test]
    fn xml_is_as_documented() {
        let sent =
            event(Content::Sent { template: "TMPL_A".into(), message_id: 3_248_682_510_344_192_008, failure: None });
        let xml = sent.xml("gh_a1");
        assert!(xml.ends_with("<SubscribeMsgSentEvent><List><TemplateId><![CDATA[TMPL_A]]></TemplateId><MsgID>3248682510344192008</MsgID><ErrorCode>0</ErrorCode><ErrorStatus><![CDATA[success]]></ErrorStatus></List></SubscribeMsgSentEvent>"), "{xml}");
        let popup = event(Content::Popup(answers(&[("A", "accept"), ("B", "reject")]))).xml("gh_a1");
        assert_eq!(popup.matches("<List>").count(), 2);
        assert_eq!(cdata("a]]>b"), "<![CDATA[a]]]]><![CDATA[>b]]>");
    }
}
