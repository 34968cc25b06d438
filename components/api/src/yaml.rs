//! YAML as upstream's server writes it: in the version 1.1 of the language, so texts that its readers would take for something
//! else are quoted, and folded behind 80 letters.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// A line is folded at the first space behind so many letters.
const WIDTH: usize = 80;
/// How far a level stands in.
const INDENT: usize = 2;
/// A key that is longer, in bytes, is written behind a question mark.
const LONGEST_KEY: usize = 128;
/// So many keys are put in order by insertion.
const FEW: usize = 12;

/// A document that is the value, with its line break.
pub fn to_string(value: &Value) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, whitespace: true, indention: true };
    emitter.node(value, 0, Place::Root);
    if emitter.column > 0 {
        emitter.end_line();
    }
    emitter.out
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// In a list, or behind the question mark of a long key.
    Item,
    /// Behind a key, whose list stands in no further than itself.
    Value,
}

struct Emitter {
    out: String,
    /// How many letters the line has.
    column: usize,
    /// Whether the last letter sets apart what follows.
    whitespace: bool,
    /// Whether the line has nothing but what a level begins with.
    indention: bool,
}

impl Emitter {
    fn put(&mut self, letter: char) {
        self.out.push(letter);
        self.column += 1;
    }

    fn end_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Begins a line, unless one has just begun that goes no further than the level.
    fn begin(&mut self, level: usize) {
        if !self.indention || self.column > level || (self.column == level && !self.whitespace) {
            self.end_line();
        }
        while self.column < level {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, sign: &str, apart: bool, begins_level: bool) {
        if apart && !self.whitespace {
            self.put(' ');
        }
        sign.chars().for_each(|letter| self.put(letter));
        self.whitespace = false;
        self.indention &= begins_level;
    }

    /// A value whose block, if it is one, stands at `level`.
    fn node(&mut self, value: &Value, level: usize, place: Place) {
        let within = if place == Place::Root { INDENT } else { level };
        match value {
            Value::Null => self.plain("null", within, false),
            Value::Bool(value) => self.plain(if *value { "true" } else { "false" }, within, false),
            Value::Number(number) => self.plain(&number_text(number), within, false),
            Value::String(text) => self.text(text, within, false),
            Value::Array(items) if items.is_empty() => self.indicator("[]", true, false),
            Value::Object(fields) if fields.is_empty() => self.indicator("{}", true, false),
            Value::Array(items) => {
                // A list behind a key begins where the key does, unless a line of its own has begun there.
                let level = if place == Place::Value { level - INDENT } else { level };
                for item in items {
                    self.begin(level);
                    self.indicator("-", true, true);
                    self.node(item, level + INDENT, Place::Item);
                }
            }
            Value::Object(fields) => self.map(fields, level),
        }
    }

    fn map(&mut self, fields: &Map<String, Value>, level: usize) {
        for key in in_order(fields) {
            self.begin(level);
            if Looks::of(key).breaks || key.len() > LONGEST_KEY {
                self.indicator("?", true, true);
                self.text(key, level + INDENT, false);
                self.begin(level);
                self.indicator(":", true, true);
                self.node(&fields[key], level + INDENT, Place::Item);
            } else {
                self.text(key, level + INDENT, true);
                self.indicator(":", false, false);
                self.node(&fields[key], level + INDENT, Place::Value);
            }
        }
    }

    /// A text in the first of the ways that can tell it: plain, as a block of its lines, in single or in double quotes.
    fn text(&mut self, text: &str, level: usize, is_key: bool) {
        let looks = Looks::of(text);
        if text.contains('\n') {
            if looks.can_be_block && !is_key { self.block(text, level) } else { self.double(text, level, is_key) }
        } else if is_something_else(text) {
            self.double(text, level, is_key);
        } else if looks.can_be_plain {
            self.plain(text, level, is_key);
        } else if looks.can_be_single {
            self.single(text, level, is_key);
        } else {
            self.double(text, level, is_key);
        }
    }

    fn plain(&mut self, text: &str, level: usize, is_key: bool) {
        if !self.whitespace {
            self.put(' ');
        }
        self.folded(text, level, is_key, |emitter, letter| emitter.put(letter));
        self.whitespace = false;
        self.indention = false;
    }

    fn single(&mut self, text: &str, level: usize, is_key: bool) {
        self.indicator("'", true, false);
        self.folded(text, level, is_key, |emitter, letter| {
            if letter == '\'' {
                emitter.put('\'');
            }
            emitter.put(letter);
        });
        self.indicator("'", false, false);
    }

    /// A text of one line, folded at spaces that stand alone. No quoted text begins or ends with a fold, and no plain one with
    /// a space.
    fn folded(&mut self, text: &str, level: usize, is_key: bool, put: impl Fn(&mut Self, char)) {
        let mut letters = text.char_indices().peekable();
        let mut after_space = false;
        while let Some((at, letter)) = letters.next() {
            let is_space = letter == ' ';
            let stands_alone = is_space && !after_space && letters.peek().is_some_and(|(_, next)| *next != ' ');
            if stands_alone && !is_key && at > 0 && self.column > WIDTH {
                self.begin(level);
            } else {
                put(self, letter);
                self.indention &= is_space;
            }
            after_space = is_space;
        }
    }

    fn double(&mut self, text: &str, level: usize, is_key: bool) {
        self.indicator("\"", true, false);
        let begins_with_mark = text.starts_with('\u{feff}');
        let mut letters = text.char_indices().peekable();
        let mut after_space = false;
        while let Some((at, letter)) = letters.next() {
            if begins_with_mark || needs_escape(letter) {
                escape(letter).chars().for_each(|letter| self.put(letter));
                after_space = false;
            } else if letter == ' ' {
                let folds = !is_key && !after_space && self.column > WIDTH && at > 0;
                match letters.peek() {
                    Some((_, next)) if folds => {
                        let next = *next;
                        self.begin(level);
                        if next == ' ' {
                            self.put('\\');
                        }
                    }
                    _ => self.put(' '),
                }
                after_space = true;
            } else {
                self.put(letter);
                after_space = false;
            }
            self.indention = false;
        }
        self.indicator("\"", false, false);
    }

    /// The lines of a text, as they are.
    fn block(&mut self, text: &str, level: usize) {
        self.indicator("|", true, false);
        if text.starts_with([' ', '\n', '\u{2028}', '\u{2029}']) {
            self.indicator(&INDENT.to_string(), false, false);
        }
        let mut from_end = text.chars().rev().map(is_break);
        match (from_end.next(), from_end.next()) {
            (Some(true), None | Some(true)) => self.indicator("+", false, false),
            (Some(true), Some(false)) => {}
            _ => self.indicator("-", false, false),
        }
        self.end_line();
        self.indention = true;
        self.whitespace = true;
        let mut begins = true;
        for letter in text.chars() {
            if is_break(letter) {
                self.out.push(letter);
                self.column = 0;
                self.indention = true;
                begins = true;
                continue;
            }
            if begins {
                self.begin(level);
            }
            self.put(letter);
            self.indention = false;
            begins = false;
        }
    }
}

/// What a text looks like, and so in which ways it can be told.
struct Looks {
    can_be_plain: bool,
    can_be_single: bool,
    can_be_block: bool,
    /// Whether it has more than one line.
    breaks: bool,
}

impl Looks {
    fn of(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let ends_word = |at: usize| letters.get(at).is_none_or(|letter| matches!(letter, ' ' | '\t'));
        let mut indicates = text.starts_with("---") || text.starts_with("...");
        let (mut breaks, mut special) = (false, false);
        let (mut space_before_break, mut break_before_space) = (false, false);
        for (at, &letter) in letters.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| letters[before]);
            indicates |= match letter {
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => at == 0,
                '?' | '-' => at == 0 && ends_word(at + 1),
                ':' => ends_word(at + 1),
                '#' => before.is_none_or(|before| matches!(before, ' ' | '\t' | '\0') || is_break(before)),
                _ => false,
            };
            special |= !is_printable(letter);
            breaks |= is_break(letter);
            space_before_break |= is_break(letter) && before == Some(' ');
            break_before_space |= letter == ' ' && before.is_some_and(is_break);
        }
        let at_edge =
            |is: fn(char) -> bool| letters.first().copied().is_some_and(is) || letters.last().copied().is_some_and(is);
        let unquotable = space_before_break || special;
        let clean = !unquotable && !break_before_space;
        Self {
            can_be_plain: clean && !breaks && !indicates && !at_edge(|letter| letter == ' ') && !at_edge(is_break),
            can_be_single: clean && !breaks,
            can_be_block: !unquotable && !text.is_empty() && letters.last() != Some(&' '),
            breaks,
        }
    }
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a letter may stand for itself; those outside of the first plane may not.
fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && letter != '\u{feff}'
}

fn needs_escape(letter: char) -> bool {
    !is_printable(letter) || is_break(letter) || matches!(letter, '"' | '\\')
}

fn escape(letter: char) -> String {
    let short = match letter {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let number = u32::from(letter);
            return match number {
                0..=0xff => format!("\\x{number:02X}"),
                0x100..=0xffff => format!("\\u{number:04X}"),
                _ => format!("\\U{number:08X}"),
            };
        }
    };
    format!("\\{short}")
}

/// What YAML 1.1 takes for a truth, for nothing or for a number that is none.
const WORDS: &[&str] = &[
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false",
    "False", "FALSE", "off", "Off", "OFF", "", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
    ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// Whether some readers of YAML 1.1 take the plain text for something that is no text.
fn is_something_else(text: &str) -> bool {
    let begins = text.as_bytes().first().copied().unwrap_or_default();
    let counts = begins == b'.' && is_fraction(text)
        || matches!(begins, b'+' | b'-' | b'0'..=b'9')
            && (is_time(text) || is_number(&text.replace('_', "")) || is_sexagesimal(text));
    counts || WORDS.contains(&text)
}

/// Takes digits off the beginning of a text; tells how many.
fn digits(text: &mut &str) -> usize {
    let rest = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let count = text.len() - rest.len();
    *text = rest;
    count
}

/// Whether this is a fraction or a whole number to the base of ten that is not beyond all bounds.
fn is_fraction(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut count = digits(&mut rest);
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        count += digits(&mut rest);
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        rest = after.strip_prefix(['+', '-']).unwrap_or(after);
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    count > 0 && rest.is_empty() && text.parse().is_ok_and(f64::is_finite)
}

/// Whether this is a number as Go's programs write them.
fn is_number(text: &str) -> bool {
    let (sign, rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let based = |base: u32| {
        let figures = &rest[2..];
        let most = if sign {
            u64::try_from(i64::MAX).unwrap_or(u64::MAX) + u64::from(text.starts_with('-'))
        } else {
            u64::MAX
        };
        !figures.starts_with('+') && u64::from_str_radix(figures, base).is_ok_and(|number| number <= most)
    };
    match rest.get(..2) {
        Some("0x" | "0X") => based(16),
        Some("0o" | "0O") => based(8),
        Some("0b" | "0B") => based(2),
        _ => is_fraction(text),
    }
}

/// Whether this is a number to the base of sixty, such as a time of the day.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let below_sixty = |part: &&str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    let begins = first.starts_with(|letter: char| letter.is_ascii_digit());
    begins && figures(first) && !rest.is_empty() && rest.iter().all(below_sixty) && figures(fraction)
}

/// Whether this is a day, or a time of one.
fn is_time(text: &str) -> bool {
    let number =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let (day, time) = match text.split_once(['T', 't', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let mut parts = day.split('-');
    let (Some(year), Some(month), Some(date), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_day = year.len() == 4 && number(year, 4) && number(month, 2) && number(date, 2);
    let value = |text: &str| text.parse::<i8>().unwrap_or(-1);
    if !is_day || jiff::civil::Date::new(year.parse().unwrap_or(0), value(month), value(date)).is_err() {
        return false;
    }
    let Some(time) = time else { return true };
    // What has a space between has no zone, and everything else has one.
    let zoned = text.as_bytes().get(day.len()) != Some(&b' ');
    let clock = match (zoned, time.find(['Z', '+', '-'])) {
        (false, None) => time,
        (true, Some(at)) => {
            let zone = &time[at..];
            let shifted = zone.split_once(':').is_some_and(|(hours, minutes)| {
                hours.len() == 3
                    && number(&hours[1..], 2)
                    && value(&hours[1..]) <= 24
                    && minutes.len() == 2
                    && number(minutes, 2)
                    && value(minutes) <= 60
            });
            let is_zone = zone == "Z" || (shifted && !zone.starts_with('Z'));
            if !is_zone {
                return false;
            }
            &time[..at]
        }
        _ => return false,
    };
    let (whole, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
    let parts: Vec<&str> = whole.split(':').collect();
    let [hour, minute, second] = parts[..] else { return false };
    let below = |text: &str, most: i8| number(text, 2) && value(text) < most;
    below(hour, 24) && below(minute, 60) && below(second, 60) && number(fraction, usize::MAX)
}

/// A number as Go writes it in the shortest way: with an exponent from a million on and below a ten-thousandth.
fn number_text(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    // What is whole has no fraction on its way through JSON.
    if value.fract() == 0.0 && value.abs() < 1e18 {
        return format!("{value:.0}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The keys of a map as people count: numbers within them by their value, and letters after everything else.
fn in_order(fields: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    sort(&mut keys);
    keys
}

/// Sorts by an order that may go round in circles, which the standard library's sort does not suffer.
fn sort(keys: &mut [&str]) {
    if keys.len() <= FEW {
        for at in 1..keys.len() {
            let mut place = at;
            while place > 0 && compare(keys[place], keys[place - 1]) == Ordering::Less {
                keys.swap(place, place - 1);
                place -= 1;
            }
        }
        return;
    }
    let middle = keys.len() / 2;
    sort(&mut keys[..middle]);
    sort(&mut keys[middle..]);
    let (left, right) = (keys[..middle].to_vec(), keys[middle..].to_vec());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    for place in keys {
        let from_right = match (left.peek(), right.peek()) {
            (Some(left), Some(right)) => compare(right, left) == Ordering::Less,
            (left, _) => left.is_none(),
        };
        let next = if from_right { right.next() } else { left.next() };
        *place = next.expect("there are as many places as keys");
    }
}

/// Which of two keys comes first, as readers of them count.
fn compare(left: &str, right: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A naught within a number counts: what is before it begins the number.
    let mut before = a[..at].iter().rev().take_while(|letter| letter.is_ascii_digit());
    let within = (a[at] == '0' || b[at] == '0') && before.any(|letter| *letter != '0');
    let number = |letters: &[char]| {
        let figures = letters[at..].iter().map_while(|letter| letter.to_digit(10));
        figures.fold((i64::from(within), 0), |(number, count), figure| {
            (number.wrapping_mul(10).wrapping_add(i64::from(figure)), count + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_that_are_something_else_in_yaml_are_quoted() {
        let quoted = [
            "",
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "N",
            "~",
            "null",
            "NULL",
            "TRUE",
            "1",
            "1_000",
            "0o7",
            "07",
            "08",
            "0x1f",
            "0b11",
            "+0b1",
            "1:20",
            "190:20:30",
            "12:3",
            "10:20:30.15",
            "2026-01-01",
            "2026-1-1",
            "2026-01-01T00:00:00Z",
            "2026-01-01t00:00:00+01:00",
            "2026-01-01 10:00:00",
            "1.5",
            ".5",
            "1e3",
            "1.",
            "-1",
            "-0",
            ".inf",
            "-.Inf",
            ".NaN",
            "123456789012345678901234567890",
            "18446744073709551615",
            "-0x8000000000000000",
            "1.0e+3",
        ];
        let plain = [
            "nUll",
            "tRue",
            "0xg",
            "0b12",
            "1:60",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T10:00",
            "1e999",
            ".Nan",
            "<<",
            "=",
            "a#c",
            "-x",
            "?x",
            ":x",
            "a,b",
            "it's",
            "a:b",
            "_1",
            "+",
            ".",
            "e5",
            "1e",
            "0x",
            "1.2.3",
            "v1",
            "10Gi",
            "é",
            "0xfffffffffffffffff",
            "-0x8000000000000001",
            "http://x:80/y",
        ];
        let single = [
            "a: b", "a #c", "- x", "? x", ": x", "x:", "[a]", "{a: b}", "@a", "`a", "%a", "!foo x", "&a", "*a", "|",
            ">", " a", "a ", "---a", "...", "-", "\"q\"",
        ];
        for text in quoted {
            assert_eq!(to_string(&json!([text])), format!("- \"{text}\"\n"));
        }
        for text in plain {
            assert_eq!(to_string(&json!([text])), format!("- {text}\n"));
        }
        for text in single {
            assert_eq!(to_string(&json!([text])), format!("- '{text}'\n"));
        }
        for (text, wanted) in [
            ("'s'", "'''s'''"),
            ("a\tb", r#""a\tb""#),
            ("a\r\nb", r#""a\r\nb""#),
            ("a \nb", r#""a \nb""#),
            ("\0\u{7}\u{1b}", r#""\0\a\e""#),
            ("\u{1f600}", r#""\U0001F600""#),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\nb\n\n", "|+\n  a\n  b\n"),
            (" a\nb", "|2-\n   a\n  b"),
        ] {
            assert_eq!(to_string(&json!([text])), format!("- {wanted}\n"), "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_folded_at_spaces_that_stand_alone() {
        let words = vec!["word"; 20].join(" ");
        let line = |count: usize| vec!["word"; count].join(" ");
        assert_eq!(to_string(&json!({"k": words})), format!("k: {}\n  {}\n", line(16), line(4)));
        let told = format!("a: {words}");
        assert_eq!(to_string(&json!({"k": told})), format!("k: 'a: {}\n  {}'\n", line(15), line(5)));
        assert_eq!(to_string(&json!({words.clone(): 1})), format!("{words}: 1\n"), "a key is not folded");
        let apart = words.replace(' ', "  ");
        assert_eq!(to_string(&json!({"k": apart})), format!("k: {apart}\n"));
        let long = "z".repeat(129);
        assert_eq!(to_string(&json!({long.clone(): [1]})), format!("? {long}\n: - 1\n"));
        assert_eq!(to_string(&json!({"k\nl": {"a": ["x"]}})), "? |-\n  k\n  l\n: a:\n  - x\n");
    }

    #[test]
    fn lists_and_maps_stand_in_as_upstreams_do() {
        let value =
            json!({"l": [[1, [2, []]], {"a": 1, "b": [{"c": {}}]}, {}, [], [[]], null, true], "m": {"o": {"p": "q"}}});
        let wanted = "l:\n- - 1\n  - - 2\n    - []\n- a: 1\n  b:\n  - c: {}\n- {}\n- []\n- - []\n- null\n- true\nm:\n  o:\n    p: q\n";
        assert_eq!(to_string(&value), wanted);
        assert_eq!(to_string(&json!({})), "{}\n");
        let block = json!({"a": {"t": "x\ny\n", "u": 1}, "b": "z\n"});
        assert_eq!(to_string(&block), "a:\n  t: |\n    x\n    y\n  u: 1\nb: |\n  z\n");
    }

    #[test]
    fn numbers_are_written_as_go_does() {
        for (number, wanted) in [
            (json!(0), "0"),
            (json!(-1), "-1"),
            (json!(1.5), "1.5"),
            (json!(1e6), "1000000"),
            (json!(1_234_567.5), "1.2345675e+06"),
            (json!(100_000.5), "100000.5"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
            (json!(1e300), "1e+300"),
            (json!(-2.5e-9), "-2.5e-09"),
            (json!(3.0), "3"),
            (json!(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(to_string(&number), format!("{wanted}\n"));
        }
    }

    #[test]
    fn keys_are_in_the_order_that_people_count_in() {
        for wanted in [
            &["_", "1", "A", "a1", "a2", "a10", "ab", "b"][..],
            &["-", "/a", "_", "0", "1", "2", "10", "a", "a-b", "a.b", "ka"],
            &["x1", "x1y2", "x1y10", "x01", "x2"],
        ] {
            let mut keys = wanted.to_vec();
            keys.reverse();
            sort(&mut keys);
            assert_eq!(keys, wanted);
        }
        // Some go round in circles; each is there once all the same.
        let circle = ["a10", "a1b", "a2"];
        assert!(compare("a10", "a1b").is_lt() && compare("a1b", "a2").is_lt() && compare("a2", "a10").is_lt());
        let mut many: Vec<String> = (0..40).map(|at| format!("{}{at}", circle[at % 3])).collect();
        many.extend(circle.map(str::to_owned));
        let mut sorted: Vec<&str> = many.iter().map(String::as_str).collect();
        sort(&mut sorted);
        sorted.sort_unstable();
        let mut all: Vec<&str> = many.iter().map(String::as_str).collect();
        all.sort_unstable();
        assert_eq!(sorted, all);
    }
}
