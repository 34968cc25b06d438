//! The `fieldPath` of a rule: `.spec.map['key'].name`, from the field that the rule is for.

use serde_json::Value as Json;

/// The path as errors show it; none if it leads to no field of the schema.
pub fn field_path(path: &str, schema: &Json) -> Option<String> {
    let (mut shown, mut schema, mut rest) = (String::new(), schema, path);
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix("['") {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let plain = rest.strip_prefix('.')?;
                let end = plain.find(['.', '[', ']']).unwrap_or(plain.len());
                (plain[..end].to_owned(), &plain[end..])
            }
        };
        if name.is_empty() {
            return None;
        }
        if let Some(properties) = schema.get("properties") {
            schema = properties.get(&name)?;
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(&name);
        } else {
            schema = schema.get("additionalProperties").filter(|values| values.is_object())?;
            shown.push_str(&format!("[{name}]"));
        }
        rest = after;
    }
    Some(shown)
}

/// A name in single quotes, whose opening is read already, and what follows its closing bracket.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Some((name, text[at + 1..].strip_prefix(']')?)),
            '\\' => name.push(match characters.next()?.1 {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                same @ ('\'' | '\\') => same,
                _ => return None,
            }),
            other => name.push(other),
        }
    }
    None
}
