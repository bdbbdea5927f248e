//! Template fields: what the platform's table allows passes, one step beyond is refused, and the field is named.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidepost_core::template::Template;

const CHINESE: &[char] = &['订', '单', '已', '发', '货', '京', '粤', '王', '明', '咖', '啡', '𠮷'];
const LETTERS: &[char] = &['a', 'B', 'k', 'Z', 'q'];
const DIGITS: &[char] = &['0', '1', '2', '5', '9'];
const SYMBOLS: &[char] = &['#', '-', '/', '!', '+', '(', ')', '，', '￥', '*'];
const ASCII_SYMBOLS: &[char] = &['#', '-', '/', '!', '+', '(', ')', '*'];

/// A value, and the code it must be refused with (`None`: it must pass).
type Case = (String, Option<&'static str>);

fn text_of(sets: &[&[char]], length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> + use<> {
    let characters: Vec<char> = sets.concat();
    prop::collection::vec(prop::sample::select(characters), length).prop_map(String::from_iter)
}

/// Texts up to and beyond `longest` of `allowed`, and texts with one character of `forbidden` put in somewhere.
fn plain(
    allowed: &'static [&'static [char]],
    longest: usize,
    forbidden: &'static [&'static [char]],
) -> BoxedStrategy<Case> {
    let good = text_of(allowed, 1..=longest).prop_map(|text| (text, None));
    let long = text_of(allowed, longest + 1..=longest + 40).prop_map(|text| (text, Some("field_too_long")));
    let good_or_long = prop_oneof![3 => good, 1 => long];
    if forbidden.is_empty() {
        return good_or_long.boxed();
    }
    let spoilt = (text_of(allowed, 1..=longest - 1), text_of(forbidden, 1..=1), any::<prop::sample::Index>());
    let spoilt = spoilt.prop_map(|(text, bad, at)| (insert(&text, &bad, at), Some("field_malformed")));
    prop_oneof![3 => good_or_long, 2 => spoilt].boxed()
}

fn insert(text: &str, what: &str, at: prop::sample::Index) -> String {
    let mut characters: Vec<String> = text.chars().map(String::from).collect();
    characters.insert(at.index(characters.len() + 1), what.to_owned());
    characters.concat()
}

fn time_of_day() -> impl Strategy<Value = String> + Clone {
    (0..24_u8, 0..60_u8, prop::option::of(0..60_u8)).prop_map(|(hour, minute, second)| match second {
        Some(second) => format!("{hour:02}:{minute:02}:{second:02}"),
        None => format!("{hour:02}:{minute:02}"),
    })
}

fn date() -> impl Strategy<Value = String> + Clone {
    (1_990..2_060_u16, 1..=12_u8, 1..=28_u8, 0..6_u8).prop_map(|(year, month, day, form)| match form {
        0 => format!("{year}年{month}月{day}日"),
        1 => format!("{year}-{month:02}-{day:02}"),
        2 => format!("{year}/{month:02}/{day:02}"),
        3 => format!("{year}.{month:02}.{day:02}"),
        4 => format!("{year}-{month:02}"),
        _ => format!("{month:02}-{day:02}"),
    })
}

/// One moment or two joined by `~`; then the same with a date or an hour that does not exist, or with a third moment.
fn moments(needs_time: bool) -> BoxedStrategy<Case> {
    let moment = (date(), time_of_day(), 0..2_u8).prop_map(move |(date, time, both)| match (both, needs_time) {
        (1, _) => format!("{date} {time}"),
        (_, true) => time,
        (_, false) => date,
    });
    let moment = moment.boxed();
    let range = (moment.clone(), prop::option::of(moment)).prop_map(|(from, to)| match to {
        Some(to) => format!("{from}~{to}"),
        None => from,
    });
    let range = range.boxed();
    let bad = prop::sample::select(vec![
        "24:00",
        "12:60",
        "2026年13月1日",
        "2026-02-30",
        "2026-00-10",
        "明天",
        "",
        "12:00:60",
    ]);
    prop_oneof![
        3 => range.clone().prop_map(|text| (text, None)),
        1 => (range.clone(), bad).prop_map(|(text, bad)| {
            let good = text.split('~').next().unwrap().to_owned();
            (format!("{good}~{bad}"), Some("field_malformed"))
        }),
        1 => range.prop_map(|text| (format!("{text}~{text}~{text}"), Some("field_malformed"))),
    ]
    .prop_filter("a text beyond 64 characters is refused for its length", |(text, _)| text.chars().count() <= 64)
    .boxed()
}

fn numbers() -> BoxedStrategy<Case> {
    let good = (text_of(&[DIGITS], 1..=20), prop::option::of(text_of(&[DIGITS], 1..=11)));
    let good = good.prop_map(|(whole, fraction)| (join(whole, fraction), None));
    let bad = prop::sample::select(vec!["1.2.3", ".5", "5.", "１２", "-3", "1,000", "12a", "一"]);
    let bad = bad.prop_map(|text| (text.to_owned(), Some("field_malformed")));
    let long = text_of(&[DIGITS], 33..=60).prop_map(|text| (text, Some("field_too_long")));
    prop_oneof![3 => good, 1 => bad, 1 => long].boxed()
}

fn join(whole: String, fraction: Option<String>) -> String {
    match fraction {
        Some(fraction) => format!("{whole}.{fraction}"),
        None => whole,
    }
}

fn amounts() -> BoxedStrategy<Case> {
    let sign = prop::sample::select(vec!["", "￥", "¥", "$", "€", "£"]);
    let number = (text_of(&[DIGITS], 1..=8), prop::option::of(text_of(&[DIGITS], 1..=2)));
    let good = (sign, number, prop::bool::ANY).prop_map(|(sign, (whole, fraction), yuan)| {
        let end = if yuan { "元" } else { "" };
        (format!("{sign}{}{end}", join(whole, fraction)), None)
    });
    let bad = prop::sample::select(vec!["￥￥3", "12345678901", "元", "￥", "3元元", "三元", "3￥", "1.2.3"]);
    let bad = bad.prop_map(|text| (text.to_owned(), Some("field_malformed")));
    prop_oneof![3 => good, 1 => bad].boxed()
}

/// Plates: Chinese characters only at the two ends.
fn plates() -> BoxedStrategy<Case> {
    let ends = || text_of(&[CHINESE, LETTERS], 1..=1);
    let good = (ends(), text_of(&[LETTERS, DIGITS], 0..=6), ends());
    let good = good.prop_map(|(first, middle, last)| (format!("{first}{middle}{last}"), None));
    let bad = (text_of(&[LETTERS], 1..=3), text_of(&[CHINESE], 1..=1), text_of(&[DIGITS], 1..=3));
    let bad = bad.prop_map(|(first, middle, last)| (format!("{first}{middle}{last}"), Some("field_malformed")));
    let long = text_of(&[LETTERS, DIGITS], 9..=12).prop_map(|text| (text, Some("field_too_long")));
    prop_oneof![3 => good, 1 => bad, 1 => long].boxed()
}

/// Up to 20 letters and symbols, and up to 10 characters as soon as one is Chinese.
fn names() -> BoxedStrategy<Case> {
    let western = plain(&[LETTERS, SYMBOLS], 20, &[DIGITS]);
    let mixed = |length| (text_of(&[CHINESE], 1..=1), text_of(&[CHINESE, LETTERS], length));
    let good = mixed(0..=9).prop_map(|(first, rest)| (first + &rest, None));
    let long = mixed(10..=18).prop_map(|(first, rest)| (first + &rest, Some("field_too_long")));
    prop_oneof![western, good, long].boxed()
}

/// ASCII symbols, as in the table's example, and a digit somewhere.
fn phone_numbers() -> BoxedStrategy<Case> {
    let has_digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    plain(&[DIGITS, ASCII_SYMBOLS], 17, &[CHINESE, LETTERS, &['，', '￥']])
        .prop_map(move |(text, code)| {
            let code = code.or(if has_digit(&text) { None } else { Some("field_malformed") });
            (text, code)
        })
        .boxed()
}

fn values() -> impl Strategy<Value = (&'static str, Case)> {
    let listed = prop::sample::select(vec![("顺丰", None), ("京东", None), ("圆通", Some("field_not_in_list"))]);
    prop_oneof![
        plain(&[CHINESE, LETTERS, DIGITS, SYMBOLS], 20, &[]).prop_map(|case| ("thing1", case)),
        numbers().prop_map(|case| ("number2", case)),
        plain(&[LETTERS], 32, &[CHINESE, DIGITS, SYMBOLS]).prop_map(|case| ("letter3", case)),
        plain(&[SYMBOLS], 5, &[CHINESE, LETTERS, DIGITS]).prop_map(|case| ("symbol4", case)),
        plain(&[DIGITS, LETTERS, SYMBOLS], 32, &[CHINESE]).prop_map(|case| ("character_string5", case)),
        moments(true).prop_map(|case| ("time6", case)),
        moments(false).prop_map(|case| ("date7", case)),
        amounts().prop_map(|case| ("amount8", case)),
        phone_numbers().prop_map(|case| ("phone_number9", case)),
        plates().prop_map(|case| ("car_number10", case)),
        names().prop_map(|case| ("name11", case)),
        plain(&[CHINESE], 5, &[LETTERS, DIGITS, SYMBOLS]).prop_map(|case| ("phrase12", case)),
        listed.prop_map(|(word, code)| ("enum_string13", (word.to_owned(), code))),
    ]
}

/// A template with the field and one more, and no fallback.
fn template(key: &str) -> Template {
    let text = format!(
        r#"{{"title":"t","fields":[{{"key":"{key}","values":["顺丰","京东"]}},{{"key":"thing99"}}],"fallback":{{"thing99":"x"}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn problems(key: &str, value: &str) -> Vec<(String, String)> {
    let data = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let wrong = template(key).fill(&data).err().unwrap_or_default();
    wrong.into_iter().map(|one| (one.field, one.code)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn values_pass_or_are_refused_as_the_platforms_table_has_it((key, (value, code)) in values()) {
        let expected: Vec<_> = code.map(|code| (format!("data.{key}"), code.to_owned())).into_iter().collect();
        prop_assert_eq!(problems(key, &value), expected, "{} {:?}", key, value);
    }

    #[test]
    fn control_characters_and_empty_values_are_refused_in_every_type(
        (key, (value, _)) in values().prop_filter("only good values", |(_, (_, code))| code.is_none()),
        control in prop::sample::select(vec!["\n", "\r", "\t", "\0", "\u{7f}"]),
        at in any::<prop::sample::Index>(),
    ) {
        let field = format!("data.{key}");
        let broken = insert(&value, control, at);
        prop_assert_eq!(problems(key, &broken), [(field.clone(), "field_malformed".to_owned())]);
        prop_assert_eq!(problems(key, "  "), [(field, "field_empty".to_owned())]);
    }
}

/// The table allows 32 digits and a decimal point.
#[test]
fn a_number_may_have_32_digits_and_a_point() {
    let digits = "12345678901234567890123456789012";
    let (whole, fraction) = digits.split_at(30);
    assert_eq!(problems("number2", &format!("{whole}.{fraction}")), []);
}
