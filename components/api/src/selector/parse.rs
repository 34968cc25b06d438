//! Reading label selectors, in upstream's grammar and with its words for what is wrong.

use super::Requirement;
use crate::validate::text::{Complaints, label_value, qualified_name};

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Comma,
    Open,
    Close,
    Not,
    /// `=`, `==`, `!=`, `>` or `<`.
    Operator(&'a str),
    /// A key or a value; between both, `in` and `notin` are operators.
    Word(&'a str),
}

impl Token<'_> {
    /// As messages show it.
    fn shown(self) -> String {
        match self {
            Self::End => String::new(),
            Self::Comma => ",".into(),
            Self::Open => "(".into(),
            Self::Close => ")".into(),
            Self::Not => "!".into(),
            Self::Operator(text) | Self::Word(text) => text.into(),
        }
    }

    fn begins_requirement(self) -> bool {
        matches!(self, Self::Word(_) | Self::Not)
    }
}

/// The tokens of a text; symbols that stand together are one, if there is such an operator.
fn tokens(text: &str) -> Vec<Token<'_>> {
    const SYMBOLS: &[u8] = b"=!(),><";
    const SPACES: &[u8] = b" \t\r\n";
    let bytes = text.as_bytes();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        if SPACES.contains(byte) {
            continue;
        }
        if !SYMBOLS.contains(byte) {
            let ends = |byte: &u8| SYMBOLS.contains(byte) || SPACES.contains(byte);
            at += bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
            found.push(Token::Word(&text[start..at]));
            continue;
        }
        if matches!(bytes.get(start..start + 2), Some(b"==" | b"!=")) {
            at += 1;
        }
        found.push(match &text[start..at] {
            "," => Token::Comma,
            "(" => Token::Open,
            ")" => Token::Close,
            "!" => Token::Not,
            operator => Token::Operator(operator),
        });
    }
    found
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

/// All requirements of a selector.
pub(super) fn selector(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut all = Vec::new();
    match parser.peek() {
        Token::End => return Ok(all),
        token if token.begins_requirement() => {}
        other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.shown())),
    }
    loop {
        all.push(parser.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?);
        match parser.take() {
            Token::End => return Ok(all),
            Token::Comma if parser.peek().begins_requirement() => {}
            Token::Comma => {
                return Err(format!("found '{}', expected: identifier after ','", parser.peek().shown()));
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.shown())),
        }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Not;
        if absent {
            self.at += 1;
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.shown())),
        };
        refused("<nil>", key, qualified_name(key))?;
        let key = key.to_owned();
        if absent {
            return Ok(Requirement::Absent(key));
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(Requirement::Exists(key));
        }
        let operator = match self.take() {
            Token::Operator(operator) => operator,
            Token::Word(word @ ("in" | "notin")) => word,
            other => return Err(format!("found '{}', expected: {OPERATORS}", other.shown())),
        };
        let mut values = if matches!(operator, "in" | "notin") { self.values()? } else { vec![self.value()?] };
        values.sort();
        values.dedup();
        let mut wrong = Vec::new();
        if matches!(operator, ">" | "<") && values[0].parse::<i64>().is_err() {
            let text = "for 'Gt', 'Lt' operators, the value must be an integer";
            wrong.push(format!("values[0]: Invalid value: {:?}: {text}", values[0]));
        }
        for (at, value) in values.iter().enumerate() {
            wrong.extend(refused(&format!("values[{at}][{key}]"), value, label_value(value)).err());
        }
        match wrong.len() {
            0 => {}
            1 => return Err(wrong.remove(0)),
            _ => return Err(format!("[{}]", wrong.join(", "))),
        }
        let number = || values[0].parse().unwrap_or_default();
        Ok(match operator {
            "!=" | "notin" => Requirement::NotIn(key, values),
            ">" => Requirement::Above(key, number()),
            "<" => Requirement::Below(key, number()),
            _ => Requirement::In(key, values),
        })
    }

    /// One value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(format!("found '{}', expected: identifier", other.shown())),
        }
    }

    /// Values in parentheses, of which each may be empty.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.take() {
            Token::Open => {}
            other => return Err(format!("found '{}' expected: '('", other.shown())),
        }
        let mut all = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(value) => {
                    self.at += 1;
                    value
                }
                Token::Comma | Token::Close => "",
                other if all.is_empty() => {
                    return Err(format!("found '{}', expected: ',', ')' or identifier", other.shown()));
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.shown())),
            };
            all.push(value.to_owned());
            match self.take() {
                Token::Comma => {}
                Token::Close => return Ok(all),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.shown())),
            }
        }
    }
}

/// Complaints about a text as one error of a field.
fn refused(field: &str, text: &str, complaints: Complaints) -> Result<(), String> {
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!("{field}: Invalid value: {text:?}: {}", complaints.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_upstream_reads_them() {
        let one = |value: &str| vec![value.to_owned()];
        let key = || "a".to_owned();
        for (text, wanted) in [
            ("a", Requirement::Exists(key())),
            (" !a ", Requirement::Absent(key())),
            ("a=b", Requirement::In(key(), one("b"))),
            ("a==b", Requirement::In(key(), one("b"))),
            ("a=", Requirement::In(key(), one(""))),
            ("a = in", Requirement::In(key(), one("in"))),
            ("a!=b", Requirement::NotIn(key(), one("b"))),
            ("a in (b)", Requirement::In(key(), one("b"))),
            ("a in ()", Requirement::In(key(), one(""))),
            ("a in (,c , b,)", Requirement::In(key(), vec!["".into(), "b".into(), "c".into()])),
            ("a notin (in,notin)", Requirement::NotIn(key(), vec!["in".into(), "notin".into()])),
            ("a>1", Requirement::Above(key(), 1)),
            ("a<-2", Requirement::Below(key(), -2)),
        ] {
            // A sign is no part of a label's value, and an integer may have one nevertheless.
            let read = selector(text);
            if text == "a<-2" {
                assert!(read.is_err());
            } else {
                assert_eq!(read, Ok(vec![wanted]), "{text}");
            }
        }
        assert_eq!(selector("a,!b, c=d").map(|all| all.len()), Ok(3));
        assert_eq!(selector(" "), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_in_upstreams_words() {
        for (text, told) in [
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
            ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(selector(text), Err(told.to_owned()), "{text}");
        }
        let key = selector("-=b").unwrap_err();
        assert!(
            key.starts_with("unable to parse requirement: <nil>: Invalid value: \"-\": name part must consist"),
            "{key}"
        );
        let value = selector("a=-").unwrap_err();
        let start =
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string";
        assert!(value.starts_with(start), "{value}");
    }
}
