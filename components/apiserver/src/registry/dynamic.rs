//! What is served at a moment: the table's rows, and those that CustomResourceDefinitions add. A snapshot never changes;
//! another one takes its place.

use std::collections::HashMap;
use std::sync::Arc;

use kinit_crd::definition::{Definition, Version};

use super::{RESOURCES, ResourceSpec, Spec};

/// What a row of a custom resource has beyond those of the table.
#[derive(Debug)]
pub struct Custom {
    pub definition: Arc<Definition>,
    /// The place of the row's version in the definition.
    pub version: usize,
    /// Fields that selectors of any version may name; entries of the cache have a value for each.
    pub fields: Vec<String>,
    pub(super) prefix: String,
}

impl Custom {
    /// The row's version.
    pub fn version(&self) -> &Version {
        &self.definition.versions[self.version]
    }
}

/// The objects of one definition.
#[derive(Clone, Debug)]
pub struct Store {
    /// The number by which the cache knows it, which no other store ever has.
    pub index: usize,
    /// The row that objects are stored as.
    pub spec: Spec,
    /// A row for each version that is served.
    served: Vec<Spec>,
}

impl Store {
    fn new(index: usize, definition: Arc<Definition>) -> Option<Self> {
        let row = |at: usize| Arc::new(ResourceSpec::custom(definition.clone(), at));
        let storage = definition.versions.iter().position(|version| version.storage)?;
        let served = definition.versions.iter().enumerate().filter(|(_, version)| version.served);
        let served = if definition.established { served.map(|(at, _)| row(at)).collect() } else { Vec::new() };
        Some(Self { index, spec: row(storage), served })
    }
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Registry {
    /// By the definition's name.
    stores: HashMap<String, Store>,
    /// By group, version and plural, with slashes between them.
    rows: HashMap<String, (usize, Spec)>,
    next: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self { stores: HashMap::new(), rows: HashMap::new(), next: RESOURCES.len() }
    }
}

impl Registry {
    /// The snapshot in which a definition says something else than before, or is new.
    #[must_use]
    pub fn with(&self, definition: Definition) -> Self {
        let mut registry = self.clone();
        let name = definition.name.clone();
        let (index, next) = match self.stores.get(&name) {
            Some(store) if store.definition().uid == definition.uid => (store.index, self.next),
            _ => (self.next, self.next + 1),
        };
        registry.drop_rows(&name);
        if let Some(store) = Store::new(index, Arc::new(definition)) {
            registry.next = next;
            for spec in &store.served {
                let key = format!("{}/{}/{}", spec.group(), spec.version(), spec.resource());
                registry.rows.insert(key, (index, spec.clone()));
            }
            registry.stores.insert(name, store);
        }
        registry
    }

    /// The snapshot without a definition.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut registry = self.clone();
        registry.drop_rows(name);
        registry
    }

    /// A newer snapshot without definitions.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { next: self.next, ..Self::default() }
    }

    fn drop_rows(&mut self, name: &str) {
        if let Some(store) = self.stores.remove(name) {
            self.rows.retain(|_, (index, _)| *index != store.index);
        }
    }

    /// The row of a resource and the number of the store that it is kept in, by group, version and plural.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<(usize, Spec)> {
        if let Some((index, spec)) = super::find(group, version, resource) {
            return Some((index, spec.clone()));
        }
        self.rows.get(&format!("{group}/{version}/{resource}")).cloned()
    }

    /// Whether the table of built-in resources has the group.
    pub fn is_builtin(&self, group: &str) -> bool {
        RESOURCES.iter().any(|spec| spec.group() == group)
    }

    /// The rows that show the objects of a store.
    pub fn sharing(&self, index: usize) -> Vec<Spec> {
        let builtin = RESOURCES.iter().filter(|spec| super::stored_at(spec) == Some(index));
        let mut custom: Vec<&Spec> = self.rows.values().filter(|(own, _)| *own == index).map(|(_, it)| it).collect();
        custom.sort_by_key(|spec| spec.custom.as_ref().map(|custom| custom.version));
        builtin.chain(custom).cloned().collect()
    }

    /// [`Registry::find`] by the kind.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<(usize, Spec)> {
        let is = |spec: &Spec| spec.group() == group && spec.version() == version && spec.kind() == kind;
        if let Some(spec) = RESOURCES.iter().find(|spec| is(spec)) {
            return self.find(group, version, spec.resource());
        }
        self.rows.values().find(|(_, spec)| is(spec)).cloned()
    }

    /// The number of the store that a key, without the registry's own prefix, belongs to, and the rest of the key.
    pub fn of_key<'a>(&self, key: &'a str) -> Option<(usize, &'a str)> {
        if let Some(found) = super::of_key(key) {
            return Some(found);
        }
        let (group, rest) = key.split_once('/')?;
        let (plural, rest) = rest.split_once('/')?;
        Some((self.stores.get(&format!("{plural}.{group}"))?.index, rest))
    }

    /// The row that a store's objects are kept as.
    pub fn stored_as(&self, index: usize) -> Option<Spec> {
        RESOURCES
            .get(index)
            .or_else(|| self.stores.values().find(|store| store.index == index).map(|it| &it.spec))
            .cloned()
    }

    /// A definition's store.
    pub fn store(&self, name: &str) -> Option<&Store> {
        self.stores.get(name)
    }

    pub fn stores(&self) -> impl Iterator<Item = &Store> {
        self.stores.values()
    }

    /// Every row that is served: the table's, then those of definitions by group, plural and version.
    pub fn rows(&self) -> Vec<Spec> {
        let mut custom: Vec<&Spec> = self.rows.values().map(|(_, spec)| spec).collect();
        custom.sort_by_key(|spec| (spec.group(), spec.resource(), spec.version()));
        RESOURCES.iter().chain(custom).cloned().collect()
    }
}

impl Store {
    pub fn definition(&self) -> &Arc<Definition> {
        &self.spec.custom.as_ref().expect("a store is made of a definition").definition
    }

    /// Whether objects are read and shown otherwise than by another store of the same definition.
    pub fn differs(&self, other: &Self) -> bool {
        let (own, other) = (self.definition(), other.definition());
        (&own.versions, &own.conversion, &own.names) != (&other.versions, &other.conversion, &other.names)
            || own.preserve_unknown != other.preserve_unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_api::object::Object;
    use serde_json::{Value, json};

    fn definition(established: bool) -> Definition {
        let conditions = if established { json!([{"type": "Established", "status": "True"}]) } else { Value::Null };
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage});
        let object = json!({
            "metadata": {"name": "foos.example.com", "uid": "u"},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)]},
            "status": {"acceptedNames": {"plural": "foos", "kind": "Foo"}, "conditions": conditions},
        });
        Definition::read(&Object::from_value(object).unwrap())
    }

    #[test]
    fn rows_come_with_definitions_and_go_with_them() {
        let empty = Registry::default();
        let named = empty.with(definition(false));
        assert!(named.find("example.com", "v1", "foos").is_none());
        let (index, rest) = named.of_key("example.com/foos/n/a").unwrap();
        assert_eq!((index, rest), (RESOURCES.len(), "n/a"));
        let served = named.with(definition(true));
        let (at, spec) = served.find("example.com", "v2", "foos").unwrap();
        assert_eq!((at, spec.kind(), spec.prefix(), spec.namespaced()), (index, "Foo", "example.com/foos", true));
        assert_eq!(served.stored_as(index).unwrap().version(), "v1");
        assert_eq!(served.rows().len(), RESOURCES.len() + 2);
        let versions: Vec<String> = served.sharing(index).iter().map(|spec| spec.api_version()).collect();
        assert_eq!(versions, ["example.com/v1", "example.com/v2"]);
        let gone = served.without("foos.example.com");
        assert!(gone.of_key("example.com/foos/n/a").is_none() && gone.rows().len() == RESOURCES.len());
        assert_eq!(gone.with(definition(true)).store("foos.example.com").unwrap().index, index + 1);
        assert!(served.find("apps", "v1", "deployments").is_some() && served.find_kind("", "v1", "Pod").is_some());
    }
}
