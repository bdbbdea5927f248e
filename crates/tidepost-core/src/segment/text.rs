//! The readable form: recursive descent, one function per level of binding.
//!
//! Written by hand: the grammar is a dozen rules, and its errors are half of its worth. A parser library would be one more
//! dependency in every function and would still need these errors spelled out.

use crate::nearest::nearest;
use crate::segment::build::{Built, Call, check_contains, check_depth, compare};
use crate::segment::error::{Place, Problem, SegmentError, quoted};
use crate::segment::field::Field;
use crate::segment::lex::{Token, tokens};
use crate::segment::{CHARACTERS_MAX, Literal, Node, Ready, Segment};

impl Segment {
    /// Reads the readable form.
    ///
    /// # Errors
    /// [`SegmentError`] with line and column when `text` is no segment, or a too long or too deep one.
    pub fn parse(text: &str) -> Result<Self, SegmentError> {
        if let Some((at, _)) = text.char_indices().nth(CHARACTERS_MAX) {
            return Err(too_long().at(place(text, at)));
        }
        let mut parser = Parser { text, tokens: tokens(text), next: 0 };
        let built = parser.or(0)?;
        match parser.peek() {
            Token::End => Self::short(built.node).map_err(|problem| problem.at(place(text, 0))),
            other => Err(parser.problem(unexpected_end(other))),
        }
    }

    /// The segment, when its own text is not too long either.
    pub(super) fn short(node: Node) -> Result<Self, Problem> {
        let segment = Self(node);
        let is_short = segment.to_string().chars().nth(CHARACTERS_MAX).is_none();
        is_short.then_some(segment).ok_or_else(too_long)
    }
}

fn too_long() -> Problem {
    let problem = Problem::expected(format!("at most {CHARACTERS_MAX} characters"));
    problem.remedy("upload a list, or give the people a tag")
}

/// What stands where a complete segment should go on or end.
fn unexpected_end(token: &Token) -> Problem {
    let problem = Problem::expected("and, or, or the end");
    match token {
        Token::Word(word) => problem.meant(nearest(word, ["and", "or"])),
        _ => problem,
    }
}

/// The line and column of a byte of `text`.
fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Place::Text { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
}

type Parsed<T> = Result<T, SegmentError>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    /// The next token is taken; the last one stays.
    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len().saturating_sub(1));
    }

    fn place(&self) -> Place {
        place(self.text, self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at))
    }

    /// `expected` at the next token, unless that is broken itself.
    fn problem(&self, expected: Problem) -> SegmentError {
        match self.peek() {
            Token::Broken(broken) => broken.clone().at(self.place()),
            token => expected.found(token.to_string()).at(self.place()),
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Token::Word(next) if next == word);
        if is_next {
            self.advance();
        }
        is_next
    }

    fn takes_mark(&mut self, mark: char) -> bool {
        let is_next = *self.peek() == Token::Mark(mark);
        if is_next {
            self.advance();
        }
        is_next
    }

    fn expect_mark(&mut self, mark: char, expected: &str) -> Parsed<()> {
        if self.takes_mark(mark) { Ok(()) } else { Err(self.problem(Problem::expected(expected))) }
    }

    fn or(&mut self, depth: usize) -> Parsed<Built> {
        self.chain("or", Node::Or, |parser| parser.chain("and", Node::And, |parser| parser.unary(depth)))
    }

    /// One part or several with `word` between them.
    fn chain(
        &mut self,
        word: &str,
        join: fn(Vec<Node>) -> Node,
        part: impl Fn(&mut Self) -> Parsed<Built>,
    ) -> Parsed<Built> {
        let begin = self.place();
        let mut parts = vec![part(self)?];
        while self.takes_word(word) {
            parts.push(part(self)?);
        }
        Built::group(parts, join).map_err(|problem| problem.at(begin))
    }

    fn unary(&mut self, depth: usize) -> Parsed<Built> {
        let begin = self.place();
        check_depth(depth).map_err(|problem| problem.at(begin.clone()))?;
        if self.takes_word("not") {
            return self.unary(depth + 1)?.negated().map_err(|problem| problem.at(begin));
        }
        if self.takes_mark('(') {
            let inner = self.or(depth + 1)?;
            self.expect_mark(')', "and, or, or )")?;
            return Ok(inner);
        }
        self.condition().map(Built::leaf)
    }

    fn condition(&mut self) -> Parsed<Node> {
        let Token::Word(word) = self.peek() else {
            return Err(self.problem(Problem::expected("a condition such as tag('vip') or rfm.monetary >= 4")));
        };
        let word = word.clone();
        if let Some(ready) = Ready::parse(&word) {
            self.advance();
            return Ok(Node::Ready(ready));
        }
        if let Some(call) = Call::parse(&word) {
            return self.call(call, &word);
        }
        match Field::parse(&word) {
            Ok(field) => {
                self.advance();
                self.comparison(field)
            }
            Err(_) if !word.contains('.') => Err(self.unknown(&word)),
            Err(problem) => Err(problem.at(self.place())),
        }
    }

    /// A word that begins no condition.
    fn unknown(&self, word: &str) -> SegmentError {
        let problem = Problem::expected("a condition").found(quoted(word));
        let calls = Call::ALL.into_iter().map(|(name, _)| name);
        let ready = Ready::ALL.into_iter().map(|(name, _)| name);
        let problem = match nearest(word, calls.chain(ready).chain(Field::names()).chain(["not"])) {
            _ if word == "exists" => problem.remedy("write exists after the field, as in attributes.city exists"),
            _ if matches!(word, "and" | "or") => problem,
            None => problem.remedy(format!("an attribute is written attributes.{word}")),
            meant => problem.meant(meant),
        };
        problem.at(self.place())
    }

    fn call(&mut self, call: Call, name: &str) -> Parsed<Node> {
        self.advance();
        self.expect_mark('(', &format!("( after {name}"))?;
        let place = self.place();
        let text = self.quoted(&format!("a text in quotes in {name}(…)"))?;
        let node = call.of(text).map_err(|problem| problem.at(place))?;
        self.expect_mark(')', ")")?;
        Ok(node)
    }

    fn quoted(&mut self, expected: &str) -> Parsed<String> {
        let Token::Text(text) = self.peek() else { return Err(self.problem(Problem::expected(expected))) };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    fn comparison(&mut self, field: Field) -> Parsed<Node> {
        let place = self.place();
        if let Token::Op(op) = *self.peek() {
            self.advance();
            let literal = self.literal(&field)?;
            return compare(field, op, literal).map_err(|problem| problem.at(place));
        }
        if self.takes_word("exists") {
            return Ok(Node::Exists(field));
        }
        if self.takes_word("in") {
            return self.list(field);
        }
        if self.takes_word("contains") {
            check_contains(&field).map_err(|problem| problem.at(place))?;
            return Ok(Node::Contains(field, self.quoted("a text in quotes after contains")?));
        }
        let problem = Problem::expected(format!("= != < <= > >= in contains or exists after {field}"));
        let problem = match self.peek() {
            Token::Word(word) if word == "not" => problem.remedy(format!("write not before {field}")),
            Token::Word(word) => problem.meant(nearest(word, ["in", "contains", "exists"])),
            _ => problem,
        };
        Err(self.problem(problem))
    }

    fn list(&mut self, field: Field) -> Parsed<Node> {
        self.expect_mark('[', "[ after in")?;
        let mut literals = vec![self.literal(&field)?];
        while self.takes_mark(',') {
            literals.push(self.literal(&field)?);
        }
        self.expect_mark(']', ", or ]")?;
        Ok(Node::In(field, literals))
    }

    fn literal(&mut self, field: &Field) -> Parsed<Literal> {
        let literal = match self.peek() {
            Token::Text(text) => Literal::Text(text.clone()),
            Token::Number(number) => Literal::Number(*number),
            Token::Date(date) => Literal::Date(*date),
            Token::Word(word) if word == "true" => Literal::Bool(true),
            Token::Word(word) if word == "false" => Literal::Bool(false),
            other => {
                let problem = Problem::expected("a value: a text in quotes, a number, a date, true or false");
                let word = if let Token::Word(word) = other { Some(word) } else { None };
                let problem = word.iter().fold(problem, |problem, word| problem.remedy(format!("a text is '{word}'")));
                return Err(self.problem(problem));
            }
        };
        literal.check(field).map_err(|problem| problem.at(self.place()))?;
        self.advance();
        Ok(literal)
    }
}
