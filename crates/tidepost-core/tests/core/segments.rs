//! Segments: two forms that say the same, errors that point at the place, and who is meant.

mod errors;
mod naive;

use proptest::prelude::*;
use serde_json::Value;
use tidepost_core::ids::CampaignId;
use tidepost_core::rfm::Histograms;
use tidepost_core::segment::{CHARACTERS_MAX, DEPTH_MAX, Segment};

use naive::{Tree, World, tree, world};

fn parse(text: &str) -> Segment {
    Segment::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn read(json: &str) -> Segment {
    Segment::from_json(&serde_json::from_str(json).unwrap()).unwrap_or_else(|error| panic!("{json}\n{error}"))
}

#[test]
fn the_contracts_two_forms_say_the_same() {
    let text = "tag('vip') and rfm.monetary >= 4";
    let json = r#"{"and":[{"tag":"vip"},{">=":[{"field":"rfm.monetary"},4]}]}"#;
    assert_eq!(parse(text), read(json));
    assert_eq!(parse(text).to_string(), text);
    assert_eq!(parse(text).to_json().to_string(), json);
}

#[test]
fn every_part_has_both_forms() {
    let campaign = CampaignId::derive("shop", "k_1", "spring", naive::now());
    let received = format!("received('{campaign}') or not clicked(\"{campaign}\")");
    let received_json = format!(r#"{{"or":[{{"received":"{campaign}"}},{{"not":{{"clicked":"{campaign}"}}}}]}}"#);
    for (text, json) in [
        ("new", r#""new""#),
        ("not ( active or silent )", r#"{"not":{"or":["active","silent"]}}"#),
        ("grant('TMPL_B')", r#"{"grant":"TMPL_B"}"#),
        ("attributes.city in ['上海', \"北京\"]", r#"{"in":[{"field":"attributes.city"},["上海","北京"]]}"#),
        ("attributes.first-name contains '王'", r#"{"contains":[{"field":"attributes.first-name"},"王"]}"#),
        ("attributes.city exists", r#"{"exists":{"field":"attributes.city"}}"#),
        ("attributes.age!=-1.50", r#"{"!=":[{"field":"attributes.age"},-1.5]}"#),
        ("attributes.member = true", r#"{"=":[{"field":"attributes.member"},true]}"#),
        ("last_active < 2026-11-21", r#"{"<":[{"field":"last_active"},{"date":"2026-11-21"}]}"#),
        (
            "new and (active or silent) or tag('a') and tag('b')",
            r#"{"or":[{"and":["new",{"or":["active","silent"]}]},{"and":[{"tag":"a"},{"tag":"b"}]}]}"#,
        ),
        (r#"tag('it\'s \\ "x"')"#, r#"{"tag":"it's \\ \"x\""}"#),
        (&received, &received_json),
    ] {
        assert_eq!(parse(text), read(json), "{text}");
        assert_eq!(parse(text).to_json(), serde_json::from_str::<Value>(json).unwrap());
    }
}

#[test]
fn nothing_deep_or_long_gets_in() {
    let deep = |levels: usize| format!("{}new{}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(parse(&deep(DEPTH_MAX)), parse("new"));
    let column = |text: &str| Segment::parse(text).unwrap_err().to_string().split(':').next().unwrap().to_owned();
    assert_eq!(column(&deep(DEPTH_MAX + 1)), "line 1, column 34");
    assert_eq!(column(&deep(4_000)), "line 1, column 34");
    assert!(Segment::parse(&"not ".repeat(2_000)).is_err());
    let mut alternating = "new".to_owned();
    for _ in 0..20 {
        alternating = format!("new or new and ({alternating})");
    }
    assert!(Segment::parse(&alternating).is_err(), "20 parentheses around 40 levels");
    let long = format!("new{}", " or new".repeat(CHARACTERS_MAX / 7 - 1));
    assert_eq!(parse(&long).to_string(), long);
    assert_eq!(column(&format!("{long}{}", " ".repeat(CHARACTERS_MAX))), "line 1, column 8193");
    let grows = format!("tag('{}')", r#"\""#.repeat(4_000)) + " or new";
    assert!(parse(&grows).to_string().len() <= CHARACTERS_MAX);
    let quotes = format!("tag(\"{}\")", "'".repeat(8_000));
    assert!(Segment::parse(&quotes).is_err(), "too long once written out");
    let mut json = Value::from("new");
    for _ in 0..1_000 {
        json = Value::from(serde_json::Map::from_iter([("not".to_owned(), json)]));
    }
    let error = Segment::from_json(&json).unwrap_err().to_string();
    assert!(error.starts_with(&["not"; DEPTH_MAX + 1].join(".")), "{error}");
}

proptest! {
    #[test]
    fn both_forms_come_back_as_they_were(tree in tree()) {
        let segment = parse(&tree.text());
        let text = segment.to_string();
        prop_assert_eq!(&parse(&text), &segment, "{}", text);
        prop_assert_eq!(parse(&text).to_string(), text);
        let json = segment.to_json();
        prop_assert_eq!(&Segment::from_json(&json).unwrap(), &segment, "{}", json);
        prop_assert_eq!(Segment::from_json(&json).unwrap().to_json(), json);
    }

    #[test]
    fn who_is_meant_is_what_a_plain_reading_says(tree in tree(), world in world()) {
        let segment = parse(&tree.text());
        prop_assert_eq!(means(&segment, &world), tree.holds(&world), "{}", segment);
    }

    #[test]
    fn not_not_changes_nothing(tree in tree(), world in world()) {
        let once = tree.text();
        let twice = parse(&format!("not not ({once})"));
        let negated = parse(&format!("not ({once})"));
        let meant = means(&parse(&once), &world);
        prop_assert_eq!(means(&twice, &world), meant);
        prop_assert_eq!(means(&negated, &world), !meant);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = Segment::parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_order_of_pieces_makes_the_parser_panic(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        let text = pieces.concat();
        if let Ok(segment) = Segment::parse(&text) {
            prop_assert_eq!(parse(&segment.to_string()), segment);
        }
    }

    #[test]
    fn a_slip_in_a_segment_is_an_error_inside_it_or_another_segment(
        tree in tree(),
        at in any::<prop::sample::Index>(),
        piece in prop::sample::select(PIECES),
    ) {
        let mut characters: Vec<String> = tree.text().chars().map(String::from).collect();
        let at = at.index(characters.len());
        characters[at] = piece.to_owned();
        let text = characters.concat();
        match Segment::parse(&text) {
            Ok(segment) => prop_assert_eq!(parse(&segment.to_string()), segment),
            Err(error) => {
                let tidepost_core::segment::Place::Text { line, column } = error.place else { panic!("{error}") };
                let lines: Vec<&str> = text.split('\n').collect();
                prop_assert!(column <= lines[line - 1].chars().count() + 1, "{}", error);
            }
        }
    }

    #[test]
    fn no_json_makes_the_reader_panic(json in json()) {
        if let Ok(segment) = Segment::from_json(&json) {
            prop_assert_eq!(Segment::from_json(&segment.to_json()).unwrap(), segment);
        }
    }
}

const PIECES: &[&str] = &[
    " ",
    "\n",
    "(",
    ")",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "\\",
    "=",
    "!",
    "<",
    ">=",
    "and",
    " or ",
    "not ",
    "tag",
    "('a')",
    "in",
    "contains",
    "exists",
    "new",
    "true",
    "rfm.monetary",
    "attributes.a",
    " 4 ",
    "2026-11-21",
    "-",
    ".",
    "，",
    "𠮷",
    "c_",
];

/// JSON made of the words of segments.
fn json() -> impl Strategy<Value = Value> {
    let words =
        ["and", "or", "not", "tag", "field", "rfm.monetary", "attributes.a", ">=", "in", "date", "new", "contains"];
    let word = prop::sample::select(words.to_vec());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..6_i32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        word.clone().prop_map(|name| serde_json::json!({ "field": name })),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (word.clone(), inner).prop_map(|(key, value)| serde_json::json!({ key: value })),
        ]
    })
}

fn means(segment: &Segment, world: &World) -> bool {
    let person = world.person();
    let mut histograms = Histograms::default();
    histograms.add(&person.purchases, &naive::zone());
    world.others().iter().for_each(|purchases| histograms.add(purchases, &naive::zone()));
    segment.matches(&tidepost_core::segment::Facts {
        person: &person,
        subscriber: &person.subscribers[0],
        cuts: histograms.cuts().as_ref(),
        zone: &naive::zone(),
        now: naive::now(),
    })
}

/// What the plain reading leaves out, case by case.
#[test]
fn who_is_meant() {
    let world = World::example();
    for (text, expected) in [
        ("attributes.born = 1990-05-01", true),
        ("attributes.born < 1990-05-02", true),
        ("attributes.born != 1990-05-01", false),
        ("attributes.city = 2026-11-21", false),
        ("not attributes.city != 5", true),
        ("attributes.none != 'x'", false),
        ("attributes.none in ['x']", false),
        ("not attributes.none = 'x'", true),
        ("purchases.monetary = 29.33", true),
        ("purchases.monetary > 29.32 and purchases.monetary < 29.34", true),
        ("last_active = 2026-11-21", true),
        ("last_active_days = 0", true),
        ("first_seen = 2026-11-14 and first_seen_days = 7", true),
        ("first_seen exists and purchases.recency = 3", true),
    ] {
        assert_eq!(means(&parse(text), &world), expected, "{text}");
    }
    let nobody = World::default();
    for text in ["rfm.monetary >= 1", "purchases.recency >= 0", "last_active exists", "silent", "new", "active"] {
        assert!(!means(&parse(text), &nobody), "{text}");
    }
    assert!(means(&parse("purchases.frequency = 0 and purchases.monetary = 0"), &nobody));
}

#[test]
fn trees_are_as_deep_as_segments_may_be() {
    let text = Tree::deepest().text();
    assert!(parse(&text).to_json().to_string().contains("not"));
}
