//! A table of nftables as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A set or map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// `set` or `map`.
    pub kind: &'static str,
    /// Its declaration, for example `type ipv4_addr;`.
    pub declaration: String,
    /// Its elements: key and, for a map, value. Elements that packets add themselves are not here.
    pub elements: BTreeMap<String, String>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel enters it, empty for a chain that others jump to.
    pub hook: String,
    /// Its rules.
    pub rules: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Family and name.
    pub table: String,
    /// Its chains, by name.
    pub chains: BTreeMap<String, Chain>,
    /// Its sets and maps, by name.
    pub collections: BTreeMap<String, Collection>,
}

impl Ruleset {
    /// The transaction that makes the table anew, whatever is there.
    pub fn create(&self) -> String {
        let mut text = format!("add table {0}\ndelete table {0}\nadd table {0}\n", self.table);
        text.push_str(&self.change(&Self { table: self.table.clone(), ..Self::default() }));
        text
    }

    /// The transaction that makes this table of `old`; empty when they are the same.
    ///
    /// What is referred to is made before what refers to it, and removed after.
    pub fn change(&self, old: &Self) -> String {
        let mut text = String::new();
        let table = &self.table;
        // Writing to a string cannot fail.
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(arguments);
            text.push('\n');
        };
        // A declaration cannot be changed in place, so a collection with another one counts as gone and new.
        let kept = |name: &str| {
            let (new, old) = (self.collections.get(name)?, old.collections.get(name)?);
            (new.kind == old.kind && new.declaration == old.declaration).then_some(old)
        };
        debug_assert!(
            self.collections.iter().all(|(name, _)| !old.collections.contains_key(name) || kept(name).is_some()),
            "a declaration that changes needs another name"
        );
        for (name, collection) in self.collections.iter().filter(|(name, _)| kept(name).is_none()) {
            line(format_args!("add {} {table} {name} {{ {} }}", collection.kind, collection.declaration));
        }
        for (name, chain) in self.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            line(format_args!("add chain {table} {name} {}", chain.hook));
        }
        for (name, chain) in &self.chains {
            let before = old.chains.get(name);
            if before == Some(chain) {
                continue;
            }
            if before.is_some() {
                line(format_args!("flush chain {table} {name}"));
            }
            for rule in &chain.rules {
                line(format_args!("add rule {table} {name} {rule}"));
            }
        }
        let none = BTreeMap::new();
        for (name, collection) in &self.collections {
            let before = kept(name).map_or(&none, |old| &old.elements);
            let differs = |key: &&String| before.get(*key) != collection.elements.get(*key);
            let gone: Vec<String> = before.keys().filter(differs).map(|key| element(key, &before[key])).collect();
            let new: Vec<String> =
                collection.elements.keys().filter(differs).map(|key| element(key, &collection.elements[key])).collect();
            if !gone.is_empty() {
                line(format_args!("delete element {table} {name} {{ {} }}", gone.join(", ")));
            }
            if !new.is_empty() {
                line(format_args!("add element {table} {name} {{ {} }}", new.join(", ")));
            }
        }
        let gone: BTreeSet<&String> = old.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        for name in &gone {
            line(format_args!("flush chain {table} {name}"));
        }
        for name in &gone {
            line(format_args!("delete chain {table} {name}"));
        }
        for (name, collection) in old.collections.iter().filter(|(name, _)| !self.collections.contains_key(*name)) {
            line(format_args!("delete {} {table} {name}", collection.kind));
        }
        text
    }

    /// A chain to add rules to; it is made when it is not there.
    pub fn chain(&mut self, name: &str) -> &mut Vec<String> {
        &mut self.chains.entry(name.to_owned()).or_default().rules
    }

    /// Adds an element to a collection that was declared.
    pub fn element(&mut self, collection: &str, key: String, value: String) {
        if let Some(collection) = self.collections.get_mut(collection) {
            // The first Service that claims an address and port has it, as long as it is there.
            collection.elements.entry(key).or_insert(value);
        }
    }
}

fn element(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key} : {value}") }
}
