//! What a person reads: tables and plain lines. With `--json` the API's own answer.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

/// A column: its heading, and where its value is (a JSON pointer into the row).
pub type Column = (&'static str, &'static str);

/// Prints an answer as JSON, or else what `human` makes of it.
pub fn print(json: bool, answer: &Value, human: impl FnOnce(&Value) -> String) {
    if json {
        println!("{answer}");
    } else {
        println!("{}", human(answer));
    }
}

/// Rows as a table.
#[must_use]
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Value>, columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(columns.iter().map(|(_, at)| row.pointer(at).map(cell).unwrap_or_default()));
    }
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The rows of a list.
#[must_use]
pub fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An object, one line per value, named by its path.
#[must_use]
pub fn fields(answer: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", answer, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| flatten(&below(name), value, lines));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(position, item)| flatten(&below(&position.to_string()), item, lines));
        }
        other => lines.push((path.to_owned(), cell(other))),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_a_table() {
        let rows = [json!({"id": "k_1", "role": "sender"}), json!({"id": "k_22", "role": null})];
        let printed = table(&rows, &[("ID", "/id"), ("ROLE", "/role")]);
        let words: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [["ID", "ROLE"], ["k_1", "sender"], ["k_22", "-"]]);
    }

    #[test]
    fn an_object_becomes_lines() {
        let object = json!({"id": "m_1", "platform": {"code": 0}, "tags": ["a", "b"], "grants": [{"n": 1}]});
        let printed = fields(&object);
        let words: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            words,
            [vec!["grants.0.n", "1"], vec!["id", "m_1"], vec!["platform.code", "0"], vec!["tags", "a", "b"]]
        );
    }
}
