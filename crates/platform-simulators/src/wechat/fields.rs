//! The value rules of template fields (reference A3), written as the platform states them, from the table alone.
//!
//! Where the table leaves room the stricter reading is taken: a client that passes here passes there.

use jiff::civil::Date;

/// A field's type: its key without the digits at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Free text, at most 20 characters.
    Thing,
    /// At most 32 digits, with a decimal point.
    Number,
    /// At most 32 letters.
    Letter,
    /// At most 5 symbols.
    Symbol,
    /// At most 32 digits, letters and symbols, no Chinese.
    CharacterString,
    /// A time of day, with a date in front if wanted; or a range.
    Time,
    /// A date, with a time of day behind if wanted; or a range.
    Date,
    /// A currency sign and at most 10 digits.
    Amount,
    /// At most 17 digits and symbols.
    PhoneNumber,
    /// At most 8 characters, the first and last may be Chinese.
    CarNumber,
    /// At most 10 Chinese characters or 20 letters and symbols.
    Name,
    /// At most 5 Chinese characters.
    Phrase,
    /// One of the values the template lists.
    Enum,
}

impl FieldType {
    /// The type behind a template key such as `thing1`; `None` for a key the platform does not know.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
        if name.len() == key.len() {
            return None;
        }
        Some(match name {
            "thing" => Self::Thing,
            "number" => Self::Number,
            "letter" => Self::Letter,
            "symbol" => Self::Symbol,
            "character_string" => Self::CharacterString,
            "time" => Self::Time,
            "date" => Self::Date,
            "amount" => Self::Amount,
            "phone_number" => Self::PhoneNumber,
            "car_number" => Self::CarNumber,
            "name" => Self::Name,
            "phrase" => Self::Phrase,
            "enum" | "enum_string" => Self::Enum,
            _ => return None,
        })
    }
}

/// What is wrong with a value: the platform tells the two apart in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Empty or only blanks.
    Empty,
    /// Anything else.
    Invalid,
}

/// Checks `value`. An enum is compared with `allowed` when the template lists any.
///
/// # Errors
/// [`Broken`] says which of the platform's two texts applies.
pub fn check(kind: FieldType, value: &str, allowed: &[String], emoji: bool) -> Result<(), Broken> {
    if value.trim().is_empty() {
        return Err(Broken::Empty);
    }
    // Line breaks are control characters too; the two separators are not, but break lines all the same.
    let unprintable = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if value.chars().any(|c| unprintable(c) || (!emoji && is_emoji(c))) {
        return Err(Broken::Invalid);
    }
    let fits = match kind {
        FieldType::Thing => at_most(value, 20),
        FieldType::Number => number(value, 32),
        FieldType::Letter => at_most(value, 32) && value.chars().all(|c| c.is_ascii_alphabetic()),
        FieldType::Symbol => at_most(value, 5) && value.chars().all(is_symbol),
        FieldType::CharacterString => at_most(value, 32) && value.chars().all(is_plain),
        FieldType::Time => range_of(value, time_point),
        FieldType::Date => range_of(value, date_point),
        FieldType::Amount => amount(value),
        FieldType::PhoneNumber => phone(value),
        FieldType::CarNumber => car(value),
        FieldType::Name => name(value),
        FieldType::Phrase => at_most(value, 5) && value.chars().all(is_chinese),
        FieldType::Enum => allowed.is_empty() || allowed.iter().any(|one| one == value),
    };
    if fits { Ok(()) } else { Err(Broken::Invalid) }
}

fn at_most(value: &str, limit: usize) -> bool {
    value.chars().nth(limit).is_none()
}

fn is_chinese(c: char) -> bool {
    matches!(c, '\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Neither letter, digit, Chinese nor blank.
fn is_symbol(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !is_chinese(c)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ' ' || is_symbol(c)
}

/// Pictographs and the invisible characters that build them. Old text symbols such as `★` and `✓` stay allowed.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1fbff}' | '\u{200d}' | '\u{20e3}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}')
}

fn number(value: &str, most_digits: usize) -> bool {
    let (whole, fraction) = match value.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (value, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && fraction.is_none_or(digits) && whole.len() + fraction.map_or(0, str::len) <= most_digits
}

fn amount(value: &str) -> bool {
    let value = value.strip_prefix(['￥', '¥', '$', '€', '£', '₩', '₽', '฿', '₫', '₹']).unwrap_or(value);
    number(value.strip_suffix('元').unwrap_or(value), 10)
}

fn phone(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_digit() || (c.is_ascii() && is_symbol(c));
    at_most(value, 17) && value.chars().all(allowed) && value.chars().any(|c| c.is_ascii_digit())
}

fn car(value: &str) -> bool {
    let last = value.chars().count().saturating_sub(1);
    let fits = |(i, c): (usize, char)| c.is_ascii_alphanumeric() || ((i == 0 || i == last) && is_chinese(c));
    at_most(value, 8) && value.chars().enumerate().all(fits)
}

fn name(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphabetic() || is_chinese(c) || is_symbol(c) || c == ' ';
    let limit = if value.chars().any(is_chinese) { 10 } else { 20 };
    at_most(value, limit) && value.chars().all(allowed)
}

fn range_of(value: &str, point: fn(&str) -> bool) -> bool {
    match value.split_once('~') {
        Some((from, to)) => point(from) && point(to),
        None => point(value),
    }
}

fn time_point(value: &str) -> bool {
    match value.rsplit_once(' ') {
        Some((day, clock)) => date(day) && time_of_day(clock),
        None => time_of_day(value),
    }
}

fn date_point(value: &str) -> bool {
    match value.split_once(' ') {
        Some((day, clock)) => date(day) && time_of_day(clock),
        None => date(value),
    }
}

/// `15:01` or `15:01:30`.
fn time_of_day(value: &str) -> bool {
    let mut parts = value.split(':');
    let hour = parts.next().and_then(|p| digits(p, 1..=2)).is_some_and(|h| h < 24);
    let minute = parts.next().and_then(|p| digits(p, 2..=2)).is_some_and(|m| m < 60);
    let second = parts.next().is_none_or(|p| digits(p, 2..=2).is_some_and(|s| s < 60));
    hour && minute && second && parts.next().is_none()
}

/// `2019年10月1日`, `2018-01-01`, `2018-01` or `01-01`, also with `/` or `.`.
fn date(value: &str) -> bool {
    if let Some(rest) = value.strip_suffix('日') {
        let parts = rest.split_once('年').and_then(|(y, rest)| rest.split_once('月').map(|(m, d)| (y, m, d)));
        return parts.is_some_and(|(y, m, d)| exists(digits(y, 4..=4), digits(m, 1..=2), digits(d, 1..=2)));
    }
    ['-', '/', '.'].into_iter().filter(|separator| value.contains(*separator)).any(|separator| {
        let parts: Vec<&str> = value.split(separator).collect();
        match parts.as_slice() {
            [y, m, d] => exists(digits(y, 4..=4), digits(m, 1..=2), digits(d, 1..=2)),
            [y, m] if y.len() == 4 => exists(digits(y, 4..=4), digits(m, 1..=2), Some(1)),
            // Without a year 29 February may exist: any leap year will do.
            [m, d] => exists(Some(2024), digits(m, 1..=2), digits(d, 1..=2)),
            _ => false,
        }
    })
}

fn digits(part: &str, length: std::ops::RangeInclusive<usize>) -> Option<i16> {
    let plain = length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if plain { part.parse().ok() } else { None }
}

fn exists(year: Option<i16>, month: Option<i16>, day: Option<i16>) -> bool {
    let small = |part: Option<i16>| part.and_then(|p| i8::try_from(p).ok());
    match (year, small(month), small(day)) {
        (Some(y), Some(m), Some(d)) => Date::new(y, m, d).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(key: &str) -> FieldType {
        FieldType::of_key(key).unwrap_or_else(|| panic!("{key}"))
    }

    fn accepts(key: &str, values: &[&str]) {
        for value in values {
            assert_eq!(check(kind(key), value, &[], false), Ok(()), "{key} should take {value:?}");
        }
    }

    fn refuses(key: &str, values: &[&str]) {
        for value in values {
            assert_eq!(check(kind(key), value, &[], false), Err(Broken::Invalid), "{key} should not take {value:?}");
        }
    }

    #[test]
    fn keys() {
        assert_eq!(FieldType::of_key("enum_string2"), Some(FieldType::Enum));
        for unknown in ["thing", "thing1x", "Thing1", "1", "", "things1"] {
            assert_eq!(FieldType::of_key(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn blank_is_empty_and_control_is_invalid_for_every_type() {
        for key in [
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
            "enum_string1",
        ] {
            for blank in ["", " ", "\u{3000}", "\n"] {
                assert_eq!(check(kind(key), blank, &[], false), Err(Broken::Empty), "{key} {blank:?}");
            }
            refuses(key, &["1\n2", "1\u{0}", "一\u{2028}"]);
        }
    }

    #[test]
    fn text_types() {
        accepts("thing1", &["手冲咖啡两杯", "一二三四五六七八九十一二三四五六七八九十", "a", "20 % ★", "𠀀"]);
        refuses("thing1", &["一二三四五六七八九十一二三四五六七八九十一", "😀", "a\tb"]);
        assert_eq!(check(FieldType::Thing, "😀", &[], true), Ok(()));
        accepts("letter1", &["abcXYZ", &"a".repeat(32)]);
        refuses("letter1", &["a1", "a b", "中", "é", &"a".repeat(33)]);
        accepts("symbol1", &["+-*/=", "￥"]);
        refuses("symbol1", &["+-*/=+", "a", "1", "中", "+ +"]);
        accepts("character_string1", &["SF-1234_ab", &"9".repeat(32), "￥3"]);
        refuses("character_string1", &["单号1", &"9".repeat(33), "é"]);
        accepts("name1", &["张三", "一二三四五六七八九十", &"a".repeat(20), "John O'Neil", "张三·Li"]);
        refuses("name1", &["一二三四五六七八九十一", &"a".repeat(21), "aaaaaaaaaa张", "张3"]);
        accepts("phrase1", &["已发货", "一二三四五"]);
        refuses("phrase1", &["一二三四五六", "已a", "已 发", "ok"]);
        accepts("car_number1", &["粤A8Z888挂", "A12345"]);
        refuses("car_number1", &["粤A8Z8888挂", "粤粤12345", "A-1"]);
    }

    #[test]
    fn number_types() {
        accepts("number1", &["0", "3.14", &"9".repeat(32)]);
        refuses("number1", &["-1", "1.", ".5", "1.2.3", "1e3", "１", &"9".repeat(33), "1 000"]);
        accepts("amount1", &["￥36.00", "36元", "$1", "¥0.5元", "1234567890"]);
        refuses("amount1", &["￥", "元", "￥￥1", "12345678901", "1,000", "36 元", "￥-1", "1234567890.1"]);
        accepts("phone_number1", &["+86-0766-66888866", "13800000000"]);
        refuses("phone_number1", &["+86-0766-668888661", "一三八", "138a", "--"]);
    }

    #[test]
    fn time_types() {
        accepts(
            "time1",
            &[
                "15:01",
                "15:01:59",
                "9:05",
                "2019年10月1日 15:01",
                "2026-01-02 15:04",
                "15:01~16:00",
                "2026-01-02 15:04~2026-01-02 16:00",
            ],
        );
        refuses(
            "time1",
            &[
                "24:00",
                "15:60",
                "15:1",
                "15",
                "15:01:60",
                "2019年10月1日",
                "2026-02-30 15:04",
                "15:01~",
                "15:01~16:00~17:00",
                "3pm",
                "2026-01-0215:04",
                "15:01 ~ 16:00",
            ],
        );
        accepts(
            "date1",
            &[
                "2019年10月1日",
                "2018-01-01",
                "2018/01/01",
                "2018.01.01",
                "2018-01",
                "01-01",
                "02-29",
                "2019年10月1日 15:01",
                "2018-01-01~2018-01-03",
            ],
        );
        refuses(
            "date1",
            &[
                "2019年13月1日",
                "2019-02-29",
                "15:01",
                "2018-01/01",
                "20180101",
                "2018-1-1-1",
                "today",
                "2018-01-01 25:00",
                "10月1日",
            ],
        );
    }

    #[test]
    fn enums() {
        let allowed = ["顺丰".to_owned(), "京东".to_owned()];
        assert_eq!(check(FieldType::Enum, "顺丰", &allowed, false), Ok(()));
        assert_eq!(check(FieldType::Enum, "中通", &allowed, false), Err(Broken::Invalid));
        assert_eq!(check(FieldType::Enum, "", &allowed, false), Err(Broken::Empty));
    }
}
