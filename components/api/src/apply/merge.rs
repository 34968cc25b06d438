//! Merging what a manager applies into an object, and taking out what it no longer applies.

use serde_json::{Map, Value};

use super::node::Node;
use super::set::Set;

/// `live` with what `config` says; what it does not mention stays.
pub fn merge(node: Node<'_>, live: Option<&Value>, config: &Value) -> Value {
    match (node, live, config) {
        (
            Node::Struct(_) | Node::Map(_) | Node::Object(_) | Node::Free,
            Some(Value::Object(live)),
            Value::Object(config),
        ) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let inner = node.field(name).unwrap_or(Node::Leaf);
                let value = merge(inner, live.get(name), value);
                merged.insert(name.clone(), value);
            }
            merged.into()
        }
        (Node::Struct(_) | Node::Map(_) | Node::Object(_), None | Some(Value::Null), Value::Object(_)) => {
            merge(node, Some(&Value::Object(Map::new())), config)
        }
        (Node::Items(..) | Node::Elements(_) | Node::Values, Some(Value::Array(live)), Value::Array(config)) => {
            merge_lists(node, live, config).into()
        }
        // Null says nothing about what is in an object or a list, so that stays.
        (node, Some(live), Value::Null) if node.has_parts_in(live) => live.clone(),
        _ => config.clone(),
    }
}

/// The elements of `config` in their order; the others of `live` stay before the next element that both have.
fn merge_lists(node: Node<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    let name = |item: &Value| node.element_name(item).unwrap_or_default();
    let old: Vec<String> = live.iter().map(name).collect();
    let new: Vec<String> = config.iter().map(name).collect();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut wanted = new.iter().filter(|name| old.contains(name)).peekable();
    let (mut left, mut right) = (0, 0);
    while left < old.len() || right < new.len() {
        if left < old.len() {
            let here = &old[left];
            if !new.contains(here) {
                merged.push(live[left].clone());
                left += 1;
                continue;
            }
            // An element of both is written when its turn comes in the new order; its old place is only a mark.
            if wanted.peek() != Some(&here) {
                left += 1;
                continue;
            }
        }
        let Some(item) = config.get(right) else { break };
        // What stands there twice is not merged with.
        let mut same = old.iter().enumerate().filter(|(_, name)| **name == new[right]);
        let before = same.next().filter(|_| same.next().is_none());
        merged.push(merge(node.element(), before.map(|(at, _)| &live[at]), item));
        if wanted.peek() == Some(&&new[right]) {
            wanted.next();
            if old.get(left) == Some(&new[right]) {
                left += 1;
            }
        }
        right += 1;
    }
    merged
}

/// Takes out of `value` what a manager applied before (`last`) and nobody owns any more.
pub fn prune(node: Node<'_>, value: &mut Value, last: &Set, owned: &Set) {
    prune_below(node, value, last, owned, true);
}

fn prune_below(node: Node<'_>, value: &mut Value, last: &Set, owned: &Set, top: bool) {
    let nobody = Set::default();
    match value {
        Value::Object(map) if node.has_fields() => {
            for (name, was) in &last.children {
                let Some(field) = name.strip_prefix("f:") else { continue };
                let Some(inner) = node.field(field) else { continue };
                let owners = owned.children.get(name).unwrap_or(&nobody);
                // A struct's field is owned by owning anything in it; a map's key, as a list's element, only itself. An
                // object's metadata is never only one's own.
                let gone = if node.names(field) { owners.is_empty() } else { was.member && !owners.member };
                if gone && !(top && field == "metadata") {
                    map.remove(field);
                } else if let Some(value) = map.get_mut(field) {
                    prune_below(inner, value, was, owners, false);
                }
            }
        }
        Value::Array(list) if matches!(node, Node::Items(..) | Node::Elements(_) | Node::Values) => {
            list.retain_mut(|item| {
                let Ok(name) = node.element_name(item) else { return true };
                let Some(was) = last.children.get(&name) else { return true };
                let owners = owned.children.get(&name).unwrap_or(&nobody);
                if was.member && !owners.member {
                    return false;
                }
                prune_below(node.element(), item, was, owners, false);
                true
            })
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Schema;
    use proptest::prelude::*;
    use serde_json::json;

    fn volumes() -> Node<'static> {
        Node::root(kinit_schema::kind("", "v1", "Pod").map(Schema::Type))
            .field("spec")
            .unwrap()
            .field("volumes")
            .unwrap()
    }

    fn list(names: &str) -> Vec<Value> {
        names.chars().map(|name| json!({"name": name.to_string()})).collect()
    }

    /// Some of the letters, each once, in any order.
    fn letters() -> impl Strategy<Value = String> {
        let all = Just(('a'..='h').collect::<Vec<_>>()).prop_shuffle();
        (all, 0..=8_usize).prop_map(|(all, count)| all[..count].iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_orders_hold(live in letters(), config in letters()) {
            let merged: String = merge_lists(volumes(), &list(&live), &list(&config))
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned())
                .collect();
            let only = |wanted: &dyn Fn(char) -> bool, of: &str| of.chars().filter(|name| wanted(*name)).collect::<String>();
            let in_config = |name: char| config.contains(name);
            let elsewhere = |name: char| !config.contains(name);
            prop_assert_eq!(only(&in_config, &merged), config.clone());
            prop_assert_eq!(only(&elsewhere, &merged), only(&elsewhere, &live));
        }
    }

    #[test]
    fn lists_keep_both_orders() {
        let node = volumes();
        let cases = [
            ("abc", "abc", "abc"),
            ("abc", "cb", "acb"),
            ("ab", "xb", "axb"),
            ("axb", "bya", "xbya"),
            ("", "ab", "ab"),
            ("ab", "", "ab"),
        ];
        for (live, config, expected) in cases {
            assert_eq!(merge_lists(node, &list(live), &list(config)), list(expected), "{live} + {config}");
        }
    }
}
