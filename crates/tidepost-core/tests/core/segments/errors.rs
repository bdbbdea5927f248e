//! Every error says where it is, what was expected there and what to do about it.

use serde_json::Value;
use tidepost_core::segment::Segment;

#[track_caller]
fn text(text: &str, expected: &str) {
    assert_eq!(Segment::parse(text).unwrap_err().to_string(), expected, "{text}");
}

#[track_caller]
fn json(json: &str, expected: &str) {
    let json: Value = serde_json::from_str(json).unwrap();
    assert_eq!(Segment::from_json(&json).unwrap_err().to_string(), expected, "{json}");
}

#[test]
fn text_errors_name_line_and_column() {
    let condition = "expected a condition such as tag('vip') or rfm.monetary >= 4";
    text("", &format!("line 1, column 1: {condition}, found the end"));
    text("new and", &format!("line 1, column 8: {condition}, found the end"));
    text("new\n  and 5", &format!("line 2, column 7: {condition}, found the number 5"));
    text("(new or active", "line 1, column 15: expected and, or, or ), found the end");
    text("new active", "line 1, column 5: expected and, or, or the end, found 'active'");
    text("new AND active", "line 1, column 5: expected and, or, or the end, found 'AND'; did you mean and?");
    text("new)", "line 1, column 4: expected and, or, or the end, found ')'");
    text("tag(vip)", "line 1, column 5: expected a text in quotes in tag(…), found 'vip'");
    text("tag 'vip'", "line 1, column 5: expected ( after tag, found the text 'vip'");
    text("tag('vip'", "line 1, column 10: expected ), found the end");
    text("tag('')", "line 1, column 5: expected a name, found an empty text");
    text("received('c_1')", "line 1, column 10: expected a campaign's id, c_ and 13 characters, found 'c_1'");
}

#[test]
fn text_errors_offer_what_was_probably_meant() {
    text("tags('vip')", "line 1, column 1: expected a condition, found 'tags'; did you mean tag?");
    text(
        "new and rfm.monetry >= 4",
        "line 1, column 9: expected a field, found 'rfm.monetry'; did you mean rfm.monetary?",
    );
    text("city = 'x'", "line 1, column 1: expected a condition, found 'city'; an attribute is written attributes.city");
    text(
        "exists(attributes.city)",
        "line 1, column 1: expected a condition, found 'exists'; write exists after the field, as in attributes.city exists",
    );
    text(
        "attributes.city not in ['x']",
        "line 1, column 17: expected = != < <= > >= in contains or exists after attributes.city, found 'not'; write not before attributes.city",
    );
    text(
        "attributes.城市 = 'x'",
        "line 1, column 1: expected a name of 1 to 64 of the characters A-Z a-z 0-9 _ . - after attributes.",
    );
    text("attributes.a == 1", "line 1, column 14: expected =, found '=='; write =");
    text("tag（'vip')", "line 1, column 4: expected (, found '（'; write (");
    text("tag(“vip”)", "line 1, column 5: expected \", found '“'; write \"");
    text("new && active", "line 1, column 5: expected and, found '&&'; write and");
    text("!new", "line 1, column 1: expected not, found '!'; write not");
}

#[test]
fn text_errors_know_what_fits_a_field() {
    text(
        "rfm.monetary >= 'x'",
        "line 1, column 17: expected a number to compare rfm.monetary with, such as 4, found a text",
    );
    text(
        "last_active > 5",
        "line 1, column 15: expected a date to compare last_active with, such as 2026-11-21, found a number",
    );
    text("rfm.monetary contains 'x'", "line 1, column 14: expected an attribute before contains, found rfm.monetary");
    text("attributes.a < true", "line 1, column 14: expected = or != before true or false, found '<'");
    let value = "expected a value: a text in quotes, a number, a date, true or false";
    text("attributes.a = x", &format!("line 1, column 16: {value}, found 'x'; a text is 'x'"));
    text("attributes.a in []", &format!("line 1, column 18: {value}, found ']'"));
    text("attributes.a in ['x' 'y']", "line 1, column 22: expected , or ], found the text 'y'");
    text("attributes.a = 'x", "line 1, column 16: expected ' at the end of the text that begins here, found the end");
    let number = "expected a number such as 4 or 29.33, or a date such as 2026-11-21";
    text("attributes.a = 1e3", &format!("line 1, column 16: {number}, found '1e3'"));
    text("attributes.a = 2026-13-01", &format!("line 1, column 16: {number}, found '2026-13-01'"));
    text(
        "attributes.a = 10000000000000000",
        "line 1, column 16: expected 0 or a number between 1e-9 and 1e15, found 10000000000000000",
    );
}

#[test]
fn json_errors_name_the_path() {
    json("5", r#"the segment: expected an object such as {"tag":"vip"}, found 5"#);
    json("{}", "the segment: expected an object with one key, found 0 keys; join conditions with and");
    json(
        r#"{"tag":"a","grant":"b"}"#,
        "the segment: expected an object with one key, found 2 keys; join conditions with and",
    );
    json(r#"{"and":[]}"#, "and: expected an array of one or more conditions, found an array");
    json(r#"{"and":["new",{"tags":"a"}]}"#, "and[1]: expected a condition, found 'tags'; did you mean tag?");
    json(
        r#"{"or":["nwe"]}"#,
        r#"or[0]: expected "new", "active", "silent" or an object, found 'nwe'; did you mean new?"#,
    );
    json(r#"{"not":{"tag":5}}"#, "not.tag: expected a text, found 5");
    json(r#"{">=":[{"field":"rfm.monetary"}]}"#, r#">=: expected [{"field":"…"}, value], found an array"#);
    json(r#"{">=":[4,{"field":"rfm.monetary"}]}"#, r#">=[0]: expected {"field":"…"}, found 4"#);
    json(
        r#"{">=":[{"field":"rfm.monetry"},4]}"#,
        ">=[0].field: expected a field, found 'rfm.monetry'; did you mean rfm.monetary?",
    );
    json(
        r#"{"and":["new",{"in":[{"field":"rfm.monetary"},[4,"5"]]}]}"#,
        "and[1].in[1][1]: expected a number to compare rfm.monetary with, such as 4, found a text",
    );
    json(r#"{"received":"m_1"}"#, "received: expected a campaign's id, c_ and 13 characters, found 'm_1'");
    json(
        r#"{"=":[{"field":"last_active"},{"date":"soon"}]}"#,
        r#"=[1]: expected a date as {"date":"2026-11-21"}, found an object"#,
    );
}

#[test]
fn a_request_is_told_the_field() {
    let invalid = Segment::parse("tags('vip')").unwrap_err().into_invalid("variants[0].segment");
    assert_eq!((invalid.field.as_str(), invalid.code.as_str()), ("variants[0].segment", "segment_malformed"));
    assert!(invalid.message.starts_with("line 1, column 1: "), "{}", invalid.message);
    let json = serde_json::json!({"and": ["new", {"tag": 5}]});
    let invalid = Segment::from_json(&json).unwrap_err().into_invalid("segment");
    assert_eq!((invalid.field.as_str(), invalid.message.as_str()), ("segment.and[1].tag", "expected a text, found 5"));
}
