//! Which fields an object has, and in which two differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::node::{Node, Whole};
use super::set::{Set, shown};
use crate::patch::go_text;

/// The fields of `value`. Errors are paths with what is wrong there, one a line.
pub fn fields(node: Node<'_>, value: &Value) -> Result<Set, String> {
    let mut errors = Vec::new();
    let set = fields_of(node, value, "", &mut errors);
    match errors.as_slice() {
        [] => Ok(set),
        [only] => Err(only.clone()),
        _ => Err(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

fn fields_of(node: Node<'_>, value: &Value, path: &str, errors: &mut Vec<String>) -> Set {
    let mut set = Set::default();
    match (node, value) {
        (Node::Struct(_) | Node::Map(_) | Node::Object(_) | Node::Free, Value::Object(map)) => {
            for (name, value) in map {
                let here = format!("{path}.{name}");
                let Some(inner) = node.field(name) else {
                    errors.push(format!("{here}: field not declared in schema"));
                    continue;
                };
                let mut child = fields_of(inner, value, &here, errors);
                let named = node.names(name);
                child.member |= !named || value.is_null() || value.as_object().is_some_and(Map::is_empty);
                set.put(format!("f:{name}"), child);
            }
        }
        (Node::Struct(_) | Node::Map(_) | Node::Object(_), Value::Null)
        | (Node::Items(..) | Node::Elements(_) | Node::Values, Value::Null) => {}
        (Node::Struct(_) | Node::Map(_) | Node::Object(_), other) => {
            errors.push(format!("{path}: expected map, got &{{{}}}", go_text(other)))
        }
        (Node::Items(..) | Node::Elements(_) | Node::Values, Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                match node.element_name(item) {
                    Ok(name) if set.children.contains_key(&name) => {
                        errors.push(format!("{path}: duplicate entries for key {}", shown(&name)));
                        set.put(name, Set { member: true, ..Set::default() });
                    }
                    Ok(name) => {
                        let mut child = fields_of(node.element(), item, &format!("{path}{}", shown(&name)), errors);
                        child.member = true;
                        set.put(name, child);
                    }
                    Err(error) => {
                        errors.push(format!("{path}: element {at}: {error}"));
                        break;
                    }
                }
            }
        }
        (Node::Items(..) | Node::Elements(_) | Node::Values, other) => {
            errors.push(format!("{path}: expected list, got &{{{}}}", go_text(other)))
        }
        (Node::Plain(plain), value) => {
            errors.extend(plain.mismatch(value).map(|why| format!("{path}: {why}")));
            set.member = true;
        }
        (Node::Whole(whole), value) => {
            inspect(whole, value, path, errors);
            set.member = true;
        }
        (Node::Leaf | Node::Free, _) => set.member = true,
    }
    set
}

/// What is wrong within something that is owned as a whole.
fn inspect(whole: Whole<'_>, value: &Value, path: &str, errors: &mut Vec<String>) {
    match (whole.parts(), value) {
        (Ok(node), value) => drop(fields_of(node, value, path, errors)),
        (Err(_), Value::Null) => {}
        (Err(element), Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                fields_of(element, item, &format!("{path}[{at}]"), errors);
            }
        }
        (Err(_), other) => errors.push(format!("{path}: expected list, got &{{{}}}", go_text(other))),
    }
}

/// The fields of what is there already, whatever is wrong with it.
pub fn present(node: Node<'_>, value: &Value) -> Set {
    fields_of(node, value, "", &mut Vec::new())
}

/// How one object differs from another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    /// What the newer object says differently: added and modified fields.
    pub fn changed(mut self) -> Set {
        self.added.add(&self.modified);
        self.added
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn put(&mut self, name: &str, child: Self) {
        self.added.put(name.to_owned(), child.added);
        self.modified.put(name.to_owned(), child.modified);
        self.removed.put(name.to_owned(), child.removed);
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut found = Self::default();
        match (old, new) {
            (None, Some(_)) => found.added.member = true,
            (Some(_), None) => found.removed.member = true,
            (Some(old), Some(new)) => found.modified.member = old != new,
            (None, None) => {}
        }
        found
    }
}

/// Compares two objects from their tops.
pub fn compare_objects(node: Node<'_>, old: &Map<String, Value>, new: &Map<String, Value>) -> Comparison {
    let mut found = Comparison::default();
    compare_maps(node, Some(old), Some(new), &mut found);
    found
}

fn compare_maps(
    node: Node<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    found: &mut Comparison,
) {
    let maps = [old, new];
    let mut names: BTreeSet<&str> = maps.iter().flatten().flat_map(|map| map.keys()).map(String::as_str).collect();
    names.extend(node.plain_structs());
    for name in names {
        let unset = node.unset(name);
        let [old, new] = maps.map(|map| map?.get(name).or(unset.as_ref()));
        let differences = compare(node.field(name).unwrap_or(Node::Leaf), old, new);
        if !differences.is_empty() {
            found.put(&format!("f:{name}"), differences);
        }
    }
}

/// Compares two values in one place.
pub fn compare(node: Node<'_>, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    };
    let both = |is: fn(&Value) -> bool| [old, new].into_iter().flatten().all(|value| value.is_null() || is(value));
    if old == new || empty(old) && empty(new) && node.plain_structs().is_empty() {
        return Comparison::leaf(old, new);
    }
    let mut found = Comparison::default();
    if node.has_fields() && both(Value::is_object) {
        let maps = [old, new].map(|value| value.and_then(Value::as_object));
        compare_maps(node, maps[0], maps[1], &mut found);
    } else if matches!(node, Node::Items(..) | Node::Elements(_) | Node::Values) && both(Value::is_array) {
        let mut items: BTreeMap<String, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, list) in [old, new].into_iter().enumerate() {
            for item in list.and_then(Value::as_array).into_iter().flatten() {
                if let Ok(name) = node.element_name(item) {
                    items.entry(name).or_default()[side].push(item);
                }
            }
        }
        for (name, [old, new]) in items {
            found.put(&name, compare_elements(node.element(), &old, &new));
        }
    } else {
        return Comparison::leaf(old, new);
    }
    // A composite that comes or goes does so itself, as well as all that is in it.
    found.added.member |= old.is_none();
    found.removed.member |= new.is_none();
    found
}

/// Compares the elements of one name. What stands in a list twice is owned as a whole, and not merged.
fn compare_elements(node: Node<'_>, old: &[&Value], new: &[&Value]) -> Comparison {
    let mut found = Comparison::default();
    match (old, new) {
        ([] | [_], [] | [_]) => return compare(node, old.first().copied(), new.first().copied()),
        ([_, _, ..], [_, _, ..]) => found.modified.member = old != new,
        ([_, _, ..], _) => {
            if let [only] = new {
                found = compare(node, None, Some(only));
            }
            found.removed.member = true;
        }
        (_, _) => {
            if let [only] = old {
                found = compare(node, Some(only), None);
            }
            found.added.member = true;
        }
    }
    found
}
