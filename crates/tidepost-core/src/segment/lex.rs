//! Text as words, literals and symbols, each with its place.

use std::fmt;

use jiff::civil::Date;

use crate::segment::Op;
use crate::segment::build::{check_number, date};
use crate::segment::error::{Problem, quoted};

/// One piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Word(String),
    Text(String),
    Number(f64),
    Date(Date),
    /// A comparison.
    Op(Op),
    /// One of `( ) [ ] ,`.
    Mark(char),
    /// Something that is no part of any segment; the text behind it is not read.
    Broken(Problem),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(&quoted(word)),
            Self::Text(text) => write!(f, "the text {}", quoted(text)),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Date(date) => write!(f, "the date {date}"),
            Self::Op(op) => f.write_str(&quoted(op.name())),
            Self::Mark(mark) => write!(f, "'{mark}'"),
            Self::Broken(_) => Ok(()),
            Self::End => f.write_str("the end"),
        }
    }
}

/// The tokens of `text`, each with the byte at which it begins; the last is [`Token::End`] or [`Token::Broken`].
pub(super) fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let begin = text.len() - rest.len();
        let (token, length) = token(rest);
        let is_last = matches!(token, Token::End | Token::Broken(_));
        tokens.push((begin, token));
        if is_last {
            return tokens;
        }
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
}

/// The first token and its length in bytes.
fn token(text: &str) -> (Token, usize) {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return (Token::End, 0) };
    let second = characters.next();
    match first {
        '(' | ')' | '[' | ']' | ',' => (Token::Mark(first), 1),
        '\'' | '"' => quoted_text(text, first),
        '0'..='9' => literal(text),
        '-' if second.is_some_and(|next| next.is_ascii_digit()) => literal(text),
        'A'..='Z' | 'a'..='z' | '_' => {
            let word = run(text, |character| character.is_ascii_alphanumeric() || "_.-".contains(character));
            (Token::Word(word.to_owned()), word.len())
        }
        _ => operator(text, first),
    }
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|character| !belongs(character)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn quoted_text(text: &str, quote: char) -> (Token, usize) {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return (Token::Text(content), at + quote.len_utf8()),
            '\\' => match characters.next() {
                Some((_, escaped @ ('\'' | '"' | '\\'))) => content.push(escaped),
                _ => {
                    let problem = Problem::expected(r#"', " or \ after \ in a text"#).remedy(r"write \\ for a \");
                    return (Token::Broken(problem), 0);
                }
            },
            _ => content.push(character),
        }
    }
    let problem = Problem::expected(format!("{quote} at the end of the text that begins here"));
    (Token::Broken(problem.found("the end")), 0)
}

fn literal(text: &str) -> (Token, usize) {
    let literal = run(text, |character| character.is_ascii_alphanumeric() || "_.:+-".contains(character));
    let token = match date(literal) {
        Some(date) => Token::Date(date),
        None => decimal(literal).unwrap_or_else(Token::Broken),
    };
    (token, literal.len())
}

fn decimal(text: &str) -> Result<Token, Problem> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse::<f64>().ok().filter(|_| is_digits(whole) && is_digits(part));
    let Some(parsed) = parsed else {
        let problem =
            Problem::expected("a number such as 4 or 29.33, or a date such as 2026-11-21").found(quoted(text));
        return Err(problem);
    };
    check_number(parsed).map(Token::Number)
}

/// Symbols of other languages and of Chinese keyboards, and what is written here.
const OTHER_SYMBOLS: [(&str, &str); 19] = [
    ("==", "="),
    ("<>", "!="),
    ("&&", "and"),
    ("||", "or"),
    ("!", "not"),
    ("（", "("),
    ("）", ")"),
    ("【", "["),
    ("】", "]"),
    ("，", ","),
    ("、", ","),
    ("‘", "'"),
    ("’", "'"),
    ("“", "\""),
    ("”", "\""),
    ("＝", "="),
    ("≠", "!="),
    ("≤", "<="),
    ("≥", ">="),
];

fn operator(text: &str, first: char) -> (Token, usize) {
    let other = OTHER_SYMBOLS.into_iter().find(|(symbol, _)| text.starts_with(symbol));
    // The longest operator first, so that `<=` is not read as `<`.
    let op = [2, 1].into_iter().find_map(|length| Some((Op::parse(text.get(..length)?)?, length)));
    match (op, other) {
        (Some((op, length)), None) => (Token::Op(op), length),
        (Some((op, length)), Some(("!", _))) => (Token::Op(op), length),
        (_, Some((symbol, ours))) => {
            (Token::Broken(Problem::expected(ours).found(quoted(symbol)).remedy(format!("write {ours}"))), 0)
        }
        (None, None) => {
            let problem = Problem::expected("a name, a value, an operator or a parenthesis");
            (Token::Broken(problem.found(quoted(&first.to_string()))), 0)
        }
    }
}
