//! WeChat's messages as one shape, whether they came as XML or JSON (platforms.md A6).

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};
use serde_json::{Map, Value};

/// Nesting allowed in XML; WeChat's events use four levels. (JSON: 128, by the parser.)
const XML_DEPTH_MAX: usize = 16;

/// Reads an XML or JSON document. An XML element becomes an object of its children or, without children, its text;
/// repeated children become an array. `None` when it is neither, or holds what WeChat never sends: a document type
/// or an entity beyond the predefined ones (platforms.md B2).
pub(super) fn parse(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let value = if text.starts_with('<') { parse_xml(text)? } else { serde_json::from_str(text).ok()? };
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// A text or a whole number as text. Never goes through a float: ids exceed 2^53 (platforms.md A1).
pub(super) fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, or a text that holds one.
pub(super) fn integer(fields: &Map<String, Value>, name: &str) -> Option<i64> {
    match fields.get(name)? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

/// Every leaf as `path=value`, sorted, so that XML and JSON of the same content read alike.
pub(super) fn leaves(fields: &Map<String, Value>) -> Vec<String> {
    let mut leaves = Vec::new();
    for (name, value) in fields {
        add_leaves(name, value, &mut leaves);
    }
    leaves.sort_unstable();
    leaves
}

fn add_leaves(path: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| add_leaves(&format!("{path}.{name}"), value, leaves));
        }
        Value::Array(items) => items.iter().for_each(|item| add_leaves(path, item, leaves)),
        Value::String(text) => leaves.push(format!("{path}={text}")),
        other => leaves.push(format!("{path}={other}")),
    }
}

/// An element whose end has not come yet.
struct Element {
    name: String,
    text: String,
    children: Map<String, Value>,
}

impl Element {
    fn new(name: String) -> Self {
        Self { name, text: String::new(), children: Map::new() }
    }

    fn value(self) -> Value {
        if self.children.is_empty() { Value::String(self.text) } else { Value::Object(self.children) }
    }

    fn add(&mut self, name: String, value: Value) {
        match self.children.get_mut(&name) {
            None => {
                self.children.insert(name, value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
}

/// The root element's value. Attributes, comments and processing instructions are not read.
fn parse_xml(text: &str) -> Option<Value> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut root = None;
    let mut open: Vec<Element> = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if root.is_none() && open.len() < XML_DEPTH_MAX => {
                open.push(Element::new(start.name().as_ref().to_owned()));
            }
            Event::End(_) => {
                let element = open.pop()?;
                match open.last_mut() {
                    Some(parent) => parent.add(element.name.clone(), element.value()),
                    None => root = Some(element.value()),
                }
            }
            Event::Text(text) => add_text(open.last_mut(), &text.xml10_content())?,
            Event::CData(text) => add_text(open.last_mut(), &text.xml10_content())?,
            Event::GeneralRef(reference) => add_text(open.last_mut(), &resolve(&reference)?.to_string())?,
            Event::Eof if open.is_empty() => return root,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Start(_) | Event::Empty(_) | Event::DocType(_) | Event::Eof => return None,
        }
    }
}

/// Outside of any element only white space may stand.
fn add_text(element: Option<&mut Element>, text: &str) -> Option<()> {
    match element {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

/// Character references and the five predefined entities, nothing else.
fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok()?;
    }
    match &**reference {
        "amp" => Some('&'),
        "apos" => Some('\''),
        "gt" => Some('>'),
        "lt" => Some('<'),
        "quot" => Some('"'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Option<Value> {
        parse(text).map(Value::Object)
    }

    #[test]
    fn xml_and_json_have_one_shape() {
        let xml = "<?xml version=\"1.0\"?>\n<xml>\n <A><![CDATA[x<y>&z]]></A><N> 7 </N>\n <W><List><T>1</T></List><List><T>2</T></List><List><T>3</T></List></W><E/></xml>\n";
        let expected = json!({"A": "x<y>&z", "N": " 7 ", "W": {"List": [{"T": "1"}, {"T": "2"}, {"T": "3"}]}, "E": ""});
        assert_eq!(value(xml).unwrap(), expected);
        assert_eq!(value(&format!("\u{feff} {expected}")).unwrap(), expected);
        assert_eq!(integer(&parse(xml).unwrap(), "N"), Some(7));
    }

    #[test]
    fn predefined_entities_and_character_references_are_text() {
        let xml = "<xml><A>a&lt;&gt;&amp;&apos;&quot;&#65;&#x4e2d;b</A></xml>";
        assert_eq!(value(xml).unwrap(), json!({"A": "a<>&'\"A中b"}));
    }

    #[test]
    fn document_types_entities_and_broken_documents_are_refused() {
        let deep = format!("{}x{}", "<a>".repeat(17), "</a>".repeat(17));
        let refused = [
            "<!DOCTYPE xml><xml><A>1</A></xml>",
            "<!DOCTYPE xml [<!ENTITY e \"boom\">]><xml><A>&e;</A></xml>",
            "<!DOCTYPE xml [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><xml><A>&e;</A></xml>",
            "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><xml><A>&b;</A></xml>",
            "<xml><A>&e;</A></xml>",
            "<xml><A>&nbsp;</A></xml>",
            "<xml><A>&#0;</A></xml>",
            "<xml><A>&#xFFFFFFFF;</A></xml>",
            "<xml><A>& </A></xml>",
            "<xml><A>1</B></xml>",
            "<xml><A>1</A>",
            "</xml>",
            "<xml><A>1</A></xml><xml><A>2</A></xml>",
            "<xml><A>1</A></xml>trailing",
            "<xml>text only</xml>",
            "<xml><A><![CDATA[1</A></xml>",
            &deep,
            "",
            "  ",
            "success",
            "[]",
            "{\"A\":1",
            "{\"A\":1}{\"A\":2}",
        ];
        for text in refused {
            assert_eq!(value(text), None, "{text}");
        }
        let deep_json = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert_eq!(value(&deep_json), None);
    }

    #[test]
    fn ids_keep_every_digit() {
        let fields = parse("{\"a\":3248682510344192008,\"b\":\"3248682510344192008\",\"c\":-1,\"d\":1.5,\"e\":18446744073709551616,\"f\":null}").unwrap();
        assert_eq!(text(&fields, "a").unwrap(), "3248682510344192008");
        assert_eq!(text(&fields, "b").unwrap(), "3248682510344192008");
        assert_eq!(text(&fields, "c").unwrap(), "-1");
        for name in ["d", "e", "f", "g"] {
            assert_eq!(text(&fields, name), None, "{name}");
        }
        assert_eq!(integer(&fields, "c"), Some(-1));
        assert_eq!(integer(&fields, "d"), None);
    }

    #[test]
    fn leaves_are_alike_in_both_formats() {
        let xml = parse("<xml><P><K>a</K></P><P><K>b</K></P><D>3</D></xml>").unwrap();
        let json = parse("{\"D\":3,\"P\":[{\"K\":\"a\"},{\"K\":\"b\"}]}").unwrap();
        assert_eq!(leaves(&xml), ["D=3", "P.K=a", "P.K=b"]);
        assert_eq!(leaves(&xml), leaves(&json));
    }
}
