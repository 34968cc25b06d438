//! Field names that are no identifiers, as expressions write them.

use crate::parser::RESERVED;

/// Words that are values or operators; fields of these names, and of reserved ones, are written as `__word__`.
const WORDS: [&str; 4] = ["true", "false", "null", "in"];

fn has_meaning(word: &str) -> bool {
    WORDS.contains(&word) || RESERVED.contains(&word)
}

/// The name of a field in expressions; none if it has none there.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if has_meaning(name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (text, length) = match first {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ if first.is_ascii_alphanumeric() || first == '_' => (&rest[..1], 1),
            _ => return None,
        };
        escaped.push_str(text);
        rest = &rest[length..];
    }
    Some(escaped)
}

/// The field that an escaped name stands for; none if it is not one that [`escape`] makes.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(start) = rest.find("__") {
        let after = &rest[start + 2..];
        let Some(length) = after.find('_').filter(|length| *length > 0 && after[*length..].starts_with("__")) else {
            name.push_str(&rest[..start + 1]);
            rest = &rest[start + 1..];
            continue;
        };
        name.push_str(&rest[..start]);
        match &after[..length] {
            "underscores" => name.push_str("__"),
            "dot" => name.push('.'),
            "dash" => name.push('-'),
            "slash" => name.push('/'),
            word if has_meaning(word) && escaped.len() == length + 4 => name.push_str(word),
            _ => return None,
        }
        rest = &after[length + 2..];
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn names_survive_escaping() {
        for (name, escaped) in [
            ("plain", Some("plain")),
            ("namespace", Some("__namespace__")),
            ("in", Some("__in__")),
            ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("___a", Some("__underscores___a")),
            ("0a", None),
            ("a b", None),
            ("ä", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
            if let Some(escaped) = escaped {
                assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
            }
        }
    }
}
