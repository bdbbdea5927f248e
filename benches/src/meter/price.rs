//! What DynamoDB charges: sizes of items in its JSON form, and units for them. Written from AWS's own rules and not from
//! our code, which has its own idea of sizes.

use serde_json::Value;

/// Bytes of one write unit.
const WRITE_UNIT_BYTES: usize = 1_024;
/// Bytes of one strongly consistent read unit.
const READ_UNIT_BYTES: usize = 4_096;

/// Bytes of an item, `{"name": {"S": "…"}, …}`: its names and its values.
pub fn item_bytes(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// Bytes of a value, `{"S": "…"}`. A number takes a byte for two digits and one more; lists and maps take three bytes and
/// one for each element.
fn value_bytes(value: &Value) -> usize {
    let Some((kind, inner)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let each = |one: fn(&Value) -> usize| inner.as_array().into_iter().flatten().map(one).sum::<usize>();
    match kind.as_str() {
        "S" => text_bytes(inner),
        "N" => number_bytes(inner),
        "B" => binary_bytes(inner),
        "SS" => each(text_bytes),
        "NS" => each(number_bytes),
        "BS" => each(binary_bytes),
        "L" => 3 + each(|one| 1 + value_bytes(one)),
        "M" => {
            let entries = inner.as_object().into_iter().flatten();
            3 + entries.map(|(name, one)| 1 + name.len() + value_bytes(one)).sum::<usize>()
        }
        _ => 1,
    }
}

fn text_bytes(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

fn number_bytes(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    let sign = usize::from(text.starts_with('-'));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits.div_ceil(2) + 1 + sign
}

/// Base64 is a third longer than what it stands for.
fn binary_bytes(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() * 3 / 4
}

/// Units of a write that touches an item of this size; an item that is not there costs as much as the smallest.
pub fn write_units(item_bytes: usize) -> usize {
    item_bytes.div_ceil(WRITE_UNIT_BYTES).max(1)
}

/// Units of a read of this many bytes together; what is not there costs as much as the smallest.
pub fn read_units(bytes: usize, is_consistent: bool) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful of units")]
    let units = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
    if is_consistent { units } else { units / 2.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_those_of_the_documentation() {
        assert_eq!(item_bytes(&json!({"pk": {"S": "P#1"}, "n": {"N": "-1234"}})), 2 + 3 + 1 + 4);
        assert_eq!(
            item_bytes(&json!({"b": {"B": "AAECAw=="}, "x": {"BOOL": true}, "z": {"NULL": true}})),
            1 + 4 + 2 + 2
        );
        assert_eq!(item_bytes(&json!({"l": {"L": [{"S": "ab"}, {"N": "7"}]}})), 1 + 3 + (1 + 2) + (1 + 2));
        assert_eq!(
            item_bytes(&json!({"m": {"M": {"key": {"S": "ab"}}}, "s": {"SS": ["a", "bc"]}})),
            1 + 3 + 1 + 3 + 2 + 1 + 3
        );
    }

    #[test]
    fn units_are_rounded_up() {
        assert_eq!([0, 1, 1_024, 1_025].map(write_units), [1, 1, 1, 2]);
        assert_eq!([0, 4_096, 4_097].map(|bytes| read_units(bytes, true)), [1.0, 1.0, 2.0]);
        assert!((read_units(4_097, false) - 1.0).abs() < f64::EPSILON);
    }
}
