//! Source text to tokens.

use crate::ast::Const;
use crate::error::Issue;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Const(Const),
    Ident(String),
    /// An identifier in backquotes, for a field only.
    Quoted(String),
    /// An operator or a mark.
    Mark(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub token: Token,
    pub at: usize,
    pub text: String,
}

/// Operators and marks; of those that begin alike the longer one comes first.
const MARKS: [&str; 28] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":",
    ".", ",", ";", "=", "&", "|",
];

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
    issues: Vec<Issue>,
}

/// The tokens of a source, the last of them the end, and what is no token.
pub(crate) fn tokens(source: &str) -> (Vec<Spot>, Vec<Issue>) {
    let characters: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { source: &characters, at: 0, issues: Vec::new() };
    let mut found = Vec::new();
    while let Some(spot) = lexer.next() {
        let end = spot.token == Token::End;
        found.push(spot);
        if end {
            break;
        }
    }
    (found, lexer.issues)
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.source.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip_blank(&mut self) {
        while self.at < self.source.len() {
            if self.peek(0) == '/' && self.peek(1) == '/' {
                while self.at < self.source.len() && self.peek(0) != '\n' {
                    self.at += 1;
                }
            } else if matches!(self.peek(0), ' ' | '\t' | '\n' | '\r' | '\x0c') {
                self.at += 1;
            } else {
                break;
            }
        }
    }

    fn next(&mut self) -> Option<Spot> {
        loop {
            self.skip_blank();
            let at = self.at;
            if at >= self.source.len() {
                return Some(Spot { token: Token::End, at, text: "<EOF>".into() });
            }
            if let Some(token) = self.token() {
                let text = self.source[at..self.at].iter().collect();
                return Some(Spot { token, at, text });
            }
            // What can't be read is skipped, so that the rest is looked at as well.
            self.at = self.at.max(at + 1);
        }
    }

    fn fail(&mut self, at: usize) -> Option<Token> {
        let text: String = self.source[at..self.at.max(at + 1).min(self.source.len())].iter().collect();
        self.issues.push(Issue { at, text: format!("Syntax error: token recognition error at: '{text}'") });
        None
    }

    fn token(&mut self) -> Option<Token> {
        let first = self.peek(0);
        let quoted = |character| matches!(character, '"' | '\'');
        let (mut raw, mut bytes, mut prefix) = (false, false, 0);
        while prefix < 2 && matches!(self.peek(prefix), 'r' | 'R' | 'b' | 'B') {
            match self.peek(prefix) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => break,
            }
            prefix += 1;
        }
        if quoted(self.peek(prefix)) {
            return self.string(prefix, raw, bytes);
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Some(self.word());
        }
        if first == '`' {
            return self.backquoted();
        }
        let at = self.at;
        for mark in MARKS {
            if mark.chars().enumerate().all(|(index, character)| self.peek(index) == character) {
                self.at += mark.len();
                if matches!(mark, ";" | "=" | "&" | "|") {
                    return self.fail_with_blank(at);
                }
                return Some(Token::Mark(mark));
            }
        }
        self.fail(at)
    }

    /// A lone `=`, `&` or `|` is read as the start of a longer operator, so what follows it is in the message.
    fn fail_with_blank(&mut self, at: usize) -> Option<Token> {
        if self.peek(0) != '\0' && self.source[at] != ';' {
            self.at += 1;
        }
        let failed = self.fail(at);
        if self.at > at + 1 && !self.source[self.at - 1].is_whitespace() {
            self.at -= 1;
        }
        failed
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        match self.source[start..self.at].iter().collect::<String>().as_str() {
            "true" => Token::Const(Const::Bool(true)),
            "false" => Token::Const(Const::Bool(false)),
            "null" => Token::Const(Const::Null),
            "in" => Token::Mark("in"),
            word => Token::Ident(word.to_owned()),
        }
    }

    fn backquoted(&mut self) -> Option<Token> {
        let start = self.at;
        self.at += 1;
        while matches!(self.peek(0), '_' | '.' | '-' | '/' | ' ') || self.peek(0).is_ascii_alphanumeric() {
            self.at += 1;
        }
        if self.peek(0) != '`' || self.at == start + 1 {
            return self.fail(start);
        }
        self.at += 1;
        Some(Token::Quoted(self.source[start + 1..self.at - 1].iter().collect()))
    }

    fn digits(&mut self, radix: u32) {
        while self.peek(0).is_digit(radix) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Option<Token> {
        let start = self.at;
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            self.digits(16);
            let text: String = self.source[start + 2..self.at].iter().collect();
            return self.integer(start, &text, 16);
        }
        self.digits(10);
        let mut real = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            real = true;
            self.at += 1;
            self.digits(10);
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
            real = true;
            self.at += 1 + sign;
            self.digits(10);
        }
        let text: String = self.source[start..self.at].iter().collect();
        if real {
            return match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Some(Token::Const(Const::Double(number))),
                _ => self.invalid(start, "invalid double literal"),
            };
        }
        self.integer(start, &text, 10)
    }

    fn integer(&mut self, start: usize, text: &str, radix: u32) -> Option<Token> {
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return match u64::from_str_radix(text, radix) {
                Ok(number) => Some(Token::Const(Const::Uint(number))),
                Err(_) => self.invalid(start, "invalid uint literal"),
            };
        }
        match u64::from_str_radix(text, radix) {
            Ok(number) => match i64::try_from(number) {
                Ok(number) => Some(Token::Const(Const::Int(number))),
                // The least integer is written as minus this one, which the parser puts together.
                Err(_) if number == i64::MIN.unsigned_abs() => Some(Token::Const(Const::Int(i64::MIN))),
                Err(_) => self.invalid(start, "invalid int literal"),
            },
            Err(_) => self.invalid(start, "invalid int literal"),
        }
    }

    /// A number that is none is a token nevertheless.
    fn invalid(&mut self, at: usize, text: &str) -> Option<Token> {
        self.issues.push(Issue { at, text: text.to_owned() });
        Some(Token::Const(Const::Null))
    }

    fn string(&mut self, prefix: usize, raw: bool, bytes: bool) -> Option<Token> {
        let start = self.at;
        self.at += prefix;
        let quote = self.peek(0);
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let (mut text, mut octets, mut unreadable) = (String::new(), Vec::new(), false);
        let mut put = |character: char, octet: Option<u8>| match octet {
            Some(octet) if bytes => octets.push(octet),
            _ if bytes => octets.extend(character.encode_utf8(&mut [0; 4]).bytes()),
            _ => text.push(character),
        };
        loop {
            if self.at >= self.source.len() || (!triple && matches!(self.peek(0), '\n' | '\r')) {
                return self.fail(start);
            }
            if (0..width).all(|index| self.peek(index) == quote) {
                self.at += width;
                break;
            }
            let character = self.peek(0);
            self.at += 1;
            if character != '\\' || raw {
                put(character, None);
                if character == '\\' && self.at < self.source.len() {
                    // In a raw string a backslash stands for itself, and still keeps a quote from ending it.
                    put(self.peek(0), None);
                    self.at += 1;
                }
                continue;
            }
            // A code point is no byte, which is found once the string has ended.
            let unescaped = bytes && matches!(self.peek(0), 'u' | 'U');
            unreadable |= unescaped;
            match self.escape(bytes && !unescaped) {
                Some((character, octet)) => put(character, octet),
                None => return self.fail(start),
            }
        }
        if unreadable {
            return self.invalid(start, "unable to unescape string");
        }
        Some(Token::Const(if bytes { Const::Bytes(octets) } else { Const::String(text) }))
    }

    /// What follows a backslash: a character, or an octet in a string of bytes.
    fn escape(&mut self, bytes: bool) -> Option<(char, Option<u8>)> {
        let kind = self.peek(0);
        self.at += 1;
        let simple = match kind {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' | '`' | '?' => kind,
            'x' | 'X' => return self.code(2, 16, bytes),
            'u' if !bytes => return self.code(4, 16, false),
            'U' if !bytes => return self.code(8, 16, false),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, bytes);
            }
            _ => return None,
        };
        Some((simple, None))
    }

    fn code(&mut self, digits: usize, radix: u32, octet: bool) -> Option<(char, Option<u8>)> {
        let mut number = 0u32;
        for _ in 0..digits {
            let digit = self.peek(0).to_digit(radix);
            // What is no digit is told of with what stands before it.
            self.at = (self.at + 1).min(self.source.len());
            number = number.checked_mul(radix)?.checked_add(digit?)?;
        }
        if octet {
            return Some(('\0', Some(u8::try_from(number).ok()?)));
        }
        Some((char::from_u32(number)?, None))
    }
}
