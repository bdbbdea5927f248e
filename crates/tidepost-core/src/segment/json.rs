//! The JSON form.

use serde_json::{Map, Value, json};

use crate::nearest::nearest;
use crate::segment::build::{Built, Call, check_contains, check_depth, check_number, compare, date};
use crate::segment::error::{Place, Problem, SegmentError, quoted};
use crate::segment::field::Field;
use crate::segment::{Literal, Node, Op, Ready, Segment};

impl Segment {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`SegmentError`] with the path when `json` is no segment, or a too long or too deep one.
    pub fn from_json(json: &Value) -> Result<Self, SegmentError> {
        let built = node(json, &Path(String::new()), 0)?;
        Self::short(built.node).map_err(|problem| problem.at(Place::Json(String::new())))
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.0.to_json()
    }
}

type Parsed<T> = Result<T, SegmentError>;

/// Where in the segment.
struct Path(String);

impl Path {
    fn key(&self, key: &str) -> Self {
        Self(if self.0.is_empty() { key.to_owned() } else { format!("{}.{key}", self.0) })
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn error(&self, problem: Problem) -> SegmentError {
        problem.at(Place::Json(self.0.clone()))
    }

    fn expected(&self, what: &str, found: &Value) -> SegmentError {
        self.error(Problem::expected(what).found(describe(found)))
    }
}

fn describe(json: &Value) -> String {
    match json {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn node(json: &Value, at: &Path, depth: usize) -> Parsed<Built> {
    check_depth(depth).map_err(|problem| at.error(problem))?;
    if let Value::String(name) = json {
        return ready(name).map(|ready| Built::leaf(Node::Ready(ready))).map_err(|problem| at.error(problem));
    }
    let (key, value) = only_entry(json, at, r#"an object such as {"tag":"vip"}"#)?;
    let inside = at.key(key);
    match key {
        "and" | "or" => group(key, value, &inside, depth),
        "not" => node(value, &inside, depth + 1)?.negated().map_err(|problem| at.error(problem)),
        _ => leaf(key, value, at).map(Built::leaf),
    }
}

fn group(key: &str, value: &Value, at: &Path, depth: usize) -> Parsed<Built> {
    let parts = value.as_array().filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(|| at.expected("an array of one or more conditions", value))?;
    let parts = parts.iter().enumerate().map(|(index, part)| node(part, &at.index(index), depth + 1));
    let join = if key == "and" { Node::And } else { Node::Or };
    Built::group(parts.collect::<Parsed<_>>()?, join).map_err(|problem| at.error(problem))
}

/// The key and value of an object that must have exactly one.
fn only_entry<'a>(json: &'a Value, at: &Path, expected: &str) -> Parsed<(&'a str, &'a Value)> {
    let object = json.as_object().ok_or_else(|| at.expected(expected, json))?;
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => Ok((key, value)),
        _ => {
            let found = format!("{} keys", object.len());
            Err(at.error(Problem::expected("an object with one key").found(found).remedy("join conditions with and")))
        }
    }
}

fn ready(name: &str) -> Result<Ready, Problem> {
    Ready::parse(name).ok_or_else(|| {
        let problem = Problem::expected(r#""new", "active", "silent" or an object"#).found(quoted(name));
        match nearest(name, Ready::ALL.map(|(name, _)| name)) {
            None => problem.remedy("the readable form stands alone, not inside the JSON form"),
            meant => problem.meant(meant),
        }
    })
}

fn leaf(key: &str, value: &Value, at: &Path) -> Parsed<Node> {
    let inside = at.key(key);
    if let Some(call) = Call::parse(key) {
        let text = value.as_str().ok_or_else(|| inside.expected("a text", value))?;
        return call.of(text.to_owned()).map_err(|problem| inside.error(problem));
    }
    if let Some(op) = Op::parse(key) {
        let (left, right) = pair(value, &inside, r#"[{"field":"…"}, value]"#)?;
        let field = field(left, &inside.index(0))?;
        let literal = literal(right, &field, &inside.index(1))?;
        return compare(field, op, literal).map_err(|problem| at.error(problem));
    }
    match key {
        "exists" => field(value, &inside).map(Node::Exists),
        "in" => {
            let (left, right) = pair(value, &inside, r#"[{"field":"…"}, [values]]"#)?;
            let field = field(left, &inside.index(0))?;
            list(right, &field, &inside.index(1)).map(|literals| Node::In(field, literals))
        }
        "contains" => {
            let (left, right) = pair(value, &inside, r#"[{"field":"…"}, "text"]"#)?;
            let field = field(left, &inside.index(0))?;
            check_contains(&field).map_err(|problem| inside.index(0).error(problem))?;
            let text = right.as_str().ok_or_else(|| inside.index(1).expected("a text", right))?;
            Ok(Node::Contains(field, text.to_owned()))
        }
        _ => Err(at.error(unknown(key))),
    }
}

fn unknown(key: &str) -> Problem {
    let calls = Call::ALL.map(|(name, _)| name);
    let ops = Op::ALL.map(|(name, _)| name);
    let words = ["and", "contains", "exists", "in", "not", "or"];
    let problem = Problem::expected("a condition").found(quoted(key));
    problem.meant(nearest(key, calls.into_iter().chain(words).chain(ops)))
}

fn pair<'a>(value: &'a Value, at: &Path, expected: &str) -> Parsed<(&'a Value, &'a Value)> {
    match value.as_array().map(Vec::as_slice) {
        Some([left, right]) => Ok((left, right)),
        _ => Err(at.expected(expected, value)),
    }
}

fn field(json: &Value, at: &Path) -> Parsed<Field> {
    let expected = r#"{"field":"…"}"#;
    let (key, name) = only_entry(json, at, expected)?;
    if key != "field" {
        return Err(at.error(Problem::expected(expected).found(quoted(key))));
    }
    let inside = at.key(key);
    let name = name.as_str().ok_or_else(|| inside.expected("a field's name", name))?;
    Field::parse(name).map_err(|problem| inside.error(problem))
}

fn list(json: &Value, field: &Field, at: &Path) -> Parsed<Vec<Literal>> {
    let values = json.as_array().filter(|values| !values.is_empty());
    let values = values.ok_or_else(|| at.expected("an array of one or more values", json))?;
    values.iter().enumerate().map(|(index, value)| literal(value, field, &at.index(index))).collect()
}

fn literal(json: &Value, field: &Field, at: &Path) -> Parsed<Literal> {
    let literal = match json {
        Value::String(text) => Literal::Text(text.clone()),
        Value::Bool(bool) => Literal::Bool(*bool),
        Value::Number(number) => {
            let number = check_number(number.as_f64().unwrap_or(f64::NAN));
            Literal::Number(number.map_err(|problem| at.error(problem))?)
        }
        Value::Object(object) => day(object).ok_or_else(|| at.expected(r#"a date as {"date":"2026-11-21"}"#, json))?,
        Value::Null | Value::Array(_) => return Err(at.expected("a text, a number, a date, true or false", json)),
    };
    literal.check(field).map_err(|problem| at.error(problem))?;
    Ok(literal)
}

fn day(object: &Map<String, Value>) -> Option<Literal> {
    let text = object.get("date").filter(|_| object.len() == 1)?.as_str()?;
    date(text).map(Literal::Date)
}

impl Node {
    fn to_json(&self) -> Value {
        let all = |parts: &[Self]| parts.iter().map(Self::to_json).collect::<Vec<_>>();
        let named = |field: &Field| json!({"field": field.to_string()});
        match self {
            Self::And(parts) => json!({"and": all(parts)}),
            Self::Or(parts) => json!({"or": all(parts)}),
            Self::Not(part) => json!({"not": part.to_json()}),
            Self::Tag(tag) => json!({"tag": tag}),
            Self::Grant(template) => json!({"grant": template}),
            Self::Received(campaign) => json!({"received": campaign}),
            Self::Clicked(campaign) => json!({"clicked": campaign}),
            Self::Ready(ready) => ready.name().into(),
            Self::Compare(field, op, literal) => json!({op.name(): [named(field), literal.to_json()]}),
            Self::In(field, literals) => {
                let literals: Vec<Value> = literals.iter().map(Literal::to_json).collect();
                json!({"in": [named(field), literals]})
            }
            Self::Contains(field, text) => json!({"contains": [named(field), text]}),
            Self::Exists(field) => json!({"exists": named(field)}),
        }
    }
}

impl Literal {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => whole(*number).map_or_else(|| (*number).into(), Value::from),
            Self::Bool(bool) => (*bool).into(),
            Self::Date(date) => json!({"date": date.to_string()}),
        }
    }
}

/// A number without a fraction, so that 4 is not written as 4.0.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "no literal is larger than 1e15")]
    (number.fract() == 0.0).then_some(number as i64)
}
