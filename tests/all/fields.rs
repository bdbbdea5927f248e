//! What Tidepost takes for a field, the platform takes: otherwise a message would spend a unit to be refused.

use platform_simulators::wechat::fields::{self, FieldType};
use proptest::prelude::*;
use tidepost_core::template::Template;

const KEYS: [&str; 12] = [
    "thing1",
    "number1",
    "letter1",
    "symbol1",
    "character_string1",
    "time1",
    "date1",
    "amount1",
    "phone_number1",
    "car_number1",
    "name1",
    "phrase1",
];

/// Pieces of which some make good values of some type.
const PIECES: [&str; 48] = [
    "订",
    "〇",
    "𠮷",
    "粤",
    "a",
    "Z",
    "é",
    "か",
    "0",
    "2",
    "15",
    "59",
    "60",
    "１",
    "²",
    "-",
    "--",
    "+",
    "~",
    " ~ ",
    ":",
    ".",
    "/",
    " ",
    "　",
    "年",
    "月",
    "日",
    "元",
    "￥",
    "$",
    "₫",
    "😀",
    "★",
    "\u{200d}",
    "\u{2028}",
    "\u{2029}",
    "\n",
    "15:01",
    "24:00",
    "2026年10月1日",
    "2026-02-30",
    "02-30",
    "02-29",
    "2026.10",
    "36.00",
    "#",
    "·",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000_000))]

    #[test]
    fn what_is_accepted_is_never_refused_by_the_platform(
        key in prop::sample::select(KEYS.to_vec()),
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 1..6),
    ) {
        let value = pieces.concat();
        let template = serde_json::json!({"title": "t", "fields": [{"key": key}]});
        let template: Template = serde_json::from_value(template).unwrap();
        if template.fields[0].check(key, &value).is_ok() {
            let kind = FieldType::of_key(key).unwrap();
            prop_assert_eq!(fields::check(kind, &value, &[], false), Ok(()), "{} {:?}", key, value);
        }
    }
}
