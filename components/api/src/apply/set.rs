//! Sets of fields, in the tree form that `managedFields` stores.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths below one place. The names of children are `FieldsV1`'s: `f:name` a field, `k:{...}` an element by its
/// keys, `v:...` an element by its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether the place itself is in the set.
    pub member: bool,
    pub children: BTreeMap<String, Set>,
}

impl Set {
    /// Reads `FieldsV1`; none where it has another form.
    pub fn decode(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, value) in fields.as_object()? {
            let is_path = matches!(name.split_once(':'), Some(("f" | "k" | "v" | "i", _)));
            match name.as_str() {
                "." => {}
                _ if is_path => drop(set.children.insert(name.clone(), Self::decode(value)?)),
                _ => return None,
            }
        }
        set.member = set.children.is_empty() || fields.get(".").is_some();
        Some(set)
    }

    /// The form of `FieldsV1`.
    pub fn encode(&self) -> Value {
        let mut map: Map<String, Value> =
            self.children.iter().map(|(name, child)| (name.clone(), child.encode())).collect();
        if self.member && !map.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds a child unless it is empty.
    pub fn put(&mut self, name: String, child: Self) {
        if !child.is_empty() {
            self.children.insert(name, child);
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (name, child) in &other.children {
            self.children.entry(name.clone()).or_default().add(child);
        }
    }

    /// Takes away the members of another set; what is below them stays unless it is a member there too.
    pub fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (name, theirs) in &other.children {
            if let Some(child) = self.children.get_mut(name) {
                child.subtract(theirs);
                if child.is_empty() {
                    self.children.remove(name);
                }
            }
        }
    }

    /// The members that both sets have.
    pub fn common(&self, other: &Self) -> Self {
        let mut set = Self { member: self.member && other.member, children: BTreeMap::new() };
        for (name, child) in &self.children {
            if let Some(theirs) = other.children.get(name) {
                set.put(name.clone(), child.common(theirs));
            }
        }
        set
    }

    /// Takes a path of field names out, with `whole` also all below it.
    pub fn remove(&mut self, path: &[&str], whole: bool) {
        let Some((first, rest)) = path.split_first() else { return };
        let name = format!("f:{first}");
        let Some(child) = self.children.get_mut(&name) else { return };
        if rest.is_empty() {
            child.member = false;
            if whole {
                child.children.clear();
            }
        } else {
            child.remove(rest, whole);
        }
        if child.is_empty() {
            self.children.remove(&name);
        }
    }

    /// A set of one path of field names.
    pub fn of_path(path: &[&str]) -> Self {
        let mut set = Self { member: true, ..Self::default() };
        for name in path.iter().rev() {
            set = Self { member: false, children: BTreeMap::from([(format!("f:{name}"), set)]) };
        }
        set
    }

    /// The members as paths in the form of messages, `.spec.containers[name="a"].image`: in each place first its own, then
    /// what is below them.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(&mut String::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut String, found: &mut Vec<String>) {
        let members = self.children.iter().filter(|(_, child)| child.member);
        found.extend(members.map(|(name, _)| format!("{path}{}", shown(name))));
        for (name, child) in &self.children {
            let length = path.len();
            path.push_str(&shown(name));
            child.collect(path, found);
            path.truncate(length);
        }
    }
}

/// A child's name as messages show it.
pub fn shown(name: &str) -> String {
    match name.split_once(':') {
        Some(("f", field)) => format!(".{field}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some((_, index)) => format!("[{index}]"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(fields: Value) -> Set {
        let mut set = Set::decode(&fields).unwrap();
        set.member = false;
        set
    }

    fn sets() -> impl Strategy<Value = Set> {
        let leaf = any::<bool>().prop_map(|member| Set { member, children: BTreeMap::new() });
        leaf.prop_recursive(3, 24, 4, |inner| {
            (any::<bool>(), proptest::collection::btree_map("f:[a-d]", inner, 0..4)).prop_map(|(member, children)| {
                let mut set = Set { member, children: BTreeMap::new() };
                children.into_iter().for_each(|(name, child)| set.put(name, child));
                set
            })
        })
    }

    proptest! {
        #[test]
        fn sets_add_up(left in sets(), right in sets()) {
            let mut rest = left.clone();
            rest.subtract(&right);
            prop_assert!(rest.common(&right).is_empty());
            rest.add(&left.common(&right));
            prop_assert_eq!(&rest, &left);
            if left.member {
                prop_assert_eq!(Set::decode(&left.encode()), Some(left));
            }
        }
    }

    #[test]
    fn sets_are_stored_as_they_were_read() {
        let fields =
            json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"k:{\"name\":\"x\"}": {".": {}, "f:d": {}}, "v:1": {}}});
        assert_eq!(set(fields.clone()).encode(), fields);
        let paths = [".a", ".a.b", ".c[name=\"x\"]", ".c[=1]", ".c[name=\"x\"].d"];
        assert_eq!(set(fields).paths(), paths);
    }

    #[test]
    fn members_count_and_not_what_is_around_them() {
        let cases = [
            (json!({"f:a": {".": {}, "f:b": {}}}), json!({"f:a": {}}), json!({"f:a": {"f:b": {}}}), json!({"f:a": {}})),
            (json!({"f:a": {"f:b": {}}}), json!({"f:a": {}}), json!({"f:a": {"f:b": {}}}), json!({})),
            (json!({"f:a": {"f:b": {}}}), json!({"f:a": {"f:b": {}}}), json!({}), json!({"f:a": {"f:b": {}}})),
        ];
        for (left, right, difference, common) in cases {
            let mut rest = set(left.clone());
            rest.subtract(&set(right.clone()));
            assert_eq!(rest.encode(), difference, "{left} - {right}");
            assert_eq!(set(left.clone()).common(&set(right.clone())).encode(), common, "{left} & {right}");
            rest.add(&set(right.clone()).common(&set(left.clone())));
            assert_eq!(rest.encode(), left);
        }
        let mut meta = set(json!({"f:metadata": {"f:name": {}, "f:labels": {"f:a": {}}}}));
        meta.remove(&["metadata", "name"], false);
        assert_eq!(meta.encode(), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
    }
}
