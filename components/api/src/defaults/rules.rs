//! Defaults as data: a path, a field, when it counts as left out, and the value that it gets then.

use serde_json::{Map, Value};

/// A default value. Lists are not among them: no default is a list that depends on nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filling {
    Int(i64),
    Bool(bool),
    Text(&'static str),
    /// An object without fields.
    Empty,
}

use Filling::{Bool, Empty, Int, Text};

impl Filling {
    fn value(self) -> Value {
        match self {
            Int(number) => number.into(),
            Bool(value) => value.into(),
            Text(text) => text.into(),
            Empty => Value::Object(Map::new()),
        }
    }
}

/// One default. `path` leads from the object that the table is about to those that have the field, see [`visit`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    path: &'static str,
    field: &'static str,
    /// Whether zero values count as left out: they do where Go's type cannot tell them apart.
    or_zero: bool,
    default: Filling,
}

const fn rule(path: &'static str, field: &'static str, or_zero: bool, default: Filling) -> Rule {
    Rule { path, field, or_zero, default }
}

/// An integer where none is.
pub(super) const fn int(path: &'static str, field: &'static str, value: i64) -> Rule {
    rule(path, field, false, Int(value))
}

/// An integer where none is, or zero.
pub(super) const fn int_or_zero(path: &'static str, field: &'static str, value: i64) -> Rule {
    rule(path, field, true, Int(value))
}

/// A boolean where none is.
pub(super) const fn bool(path: &'static str, field: &'static str, value: bool) -> Rule {
    rule(path, field, false, Bool(value))
}

/// A string where none is. One that is empty counts as none where Go's type cannot tell them apart, and is absent by then;
/// where a pointer can, it is a value like any other, and for validation to refuse.
pub(super) const fn text(path: &'static str, field: &'static str, value: &'static str) -> Rule {
    rule(path, field, false, Text(value))
}

/// A string where none is or an empty one, in a field that always stands there.
pub(super) const fn text_or_empty(path: &'static str, field: &'static str, value: &'static str) -> Rule {
    rule(path, field, true, Text(value))
}

/// An object without fields where none is.
pub(super) const fn object(path: &'static str, field: &'static str) -> Rule {
    rule(path, field, false, Empty)
}

/// Applies a table in its order.
pub(super) fn apply(map: &mut Map<String, Value>, rules: &[Rule]) {
    for rule in rules {
        visit(map, rule.path, &mut |map| {
            let left_out = match map.get(rule.field) {
                None | Some(Value::Null) => true,
                Some(Value::String(text)) => rule.or_zero && text.is_empty(),
                Some(Value::Number(number)) => rule.or_zero && number.as_i64() == Some(0),
                Some(_) => false,
            };
            if left_out {
                map.insert(rule.field.to_owned(), rule.default.value());
            }
        });
    }
}

/// Calls `f` with each object that a path leads to. Segments are fields, separated by dots: `a` an object, `a[]` the objects
/// in a list, `a{}` the objects that are values of a map. Nothing is made on the way; the empty path is `map` itself.
pub(super) fn visit(map: &mut Map<String, Value>, path: &str, f: &mut dyn FnMut(&mut Map<String, Value>)) {
    if path.is_empty() {
        return f(map);
    }
    let (segment, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(field) = segment.strip_suffix("[]") {
        let items = map.get_mut(field).and_then(Value::as_array_mut);
        items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|item| visit(item, rest, f));
    } else if let Some(field) = segment.strip_suffix("{}") {
        let values = map.get_mut(field).and_then(Value::as_object_mut);
        values.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut).for_each(|it| visit(it, rest, f));
    } else if let Some(child) = map.get_mut(segment).and_then(Value::as_object_mut) {
        visit(child, rest, f);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_fill_what_is_left_out_and_nothing_else() {
        let table = [
            text_or_empty("a[].b", "t", "x"),
            text("a[].b", "u", "v"),
            int("m{}", "n", 3),
            int_or_zero("", "z", 4),
            object("", "o"),
        ];
        let mut value =
            json!({"a": [{"b": {}}, {"b": {"t": "", "u": ""}}, {"b": {"t": "y"}}, {}], "m": {"k": {"n": 0}}, "z": 0});
        apply(value.as_object_mut().unwrap(), &table);
        let expected = json!({
            "a": [{"b": {"t": "x", "u": "v"}}, {"b": {"t": "x", "u": ""}}, {"b": {"t": "y", "u": "v"}}, {}], "m": {"k": {"n": 0}}, "z": 4, "o": {},
        });
        assert_eq!(value, expected);
    }
}
