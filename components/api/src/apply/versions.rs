//! Managers who have written in another version than the one that is written now: what they own are fields of that version, so
//! it is asked there what a write changes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::managed::Managers;
use super::merge;
use super::node::Node;
use super::set::Set;
use super::{Schema, Writer, strip, walk};

/// The versions of an object's kind.
pub trait Versions {
    /// What says how a version's fields are owned; none where the version is no more.
    fn schema(&self, version: &str) -> Option<Schema<'_>>;
    /// An object in a version; none where that is not known yet, and the outcome is thrown away.
    fn view(&self, object: &Value, version: &str) -> Option<Value>;
}

/// What is different between two states of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    pub changed: Set,
    pub removed: Set,
}

impl Difference {
    pub fn of(found: walk::Comparison) -> Self {
        let removed = found.removed.clone();
        Self { changed: found.changed(), removed }
    }
}

/// How two states of an object differ in each version that somebody has written in.
pub(super) struct Views<'a> {
    writer: Writer<'a>,
    own: &'a Difference,
    others: BTreeMap<String, Option<Difference>>,
}

impl<'a> Views<'a> {
    /// `own` is what differs in the writer's version; the states are asked for only where there are others.
    pub fn new(
        writer: Writer<'a>,
        own: &'a Difference,
        managers: &Managers,
        states: impl FnOnce() -> (Value, Value),
    ) -> Self {
        let mut others = BTreeMap::new();
        if let Some(versions) = writer.versions {
            let foreign: Vec<&String> = managers
                .0
                .values()
                .map(|owned| &owned.version)
                .filter(|version| *version != writer.api_version)
                .collect();
            if !foreign.is_empty() {
                let (old, new) = states();
                for version in foreign {
                    let differ = || {
                        let node = Node::root(Some(versions.schema(version)?));
                        let (Some(old), Some(new)) = (seen(versions, &old, version), versions.view(&new, version))
                        else {
                            return Some(Difference::default());
                        };
                        let mut found = Difference::of(walk::compare(node, Some(&old), Some(&new)));
                        strip(&mut found.changed);
                        Some(found)
                    };
                    others.entry(version.clone()).or_insert_with(differ);
                }
            }
        }
        Self { writer, own, others }
    }

    /// What is different in a version; none where it is no more.
    pub fn of(&self, version: &str) -> Option<&Difference> {
        if version == self.writer.api_version {
            return Some(self.own);
        }
        self.others.get(version).map_or(Some(self.own), Option::as_ref)
    }

    /// Takes what has changed from those who owned it. Whose version is no more owns nothing.
    pub fn take(&self, managers: &mut Managers) {
        managers.0.retain(|_, owned| {
            let Some(difference) = self.of(&owned.version) else { return false };
            owned.set.subtract(&difference.changed);
            owned.set.subtract(&difference.removed);
            true
        });
    }
}

/// What there was, which is nothing in any version where there was nothing.
fn seen(versions: &dyn Versions, old: &Value, version: &str) -> Option<Value> {
    let nothing = old.as_object().is_none_or(serde_json::Map::is_empty);
    if nothing { Some(old.clone()) } else { versions.view(old, version) }
}

/// Takes out of `merged` what its manager applied before and nobody owns any more. None where a version is not known yet, or
/// is no more, and nothing is taken out.
pub(super) fn prune(
    node: Node<'_>,
    merged: &Value,
    before: &super::Owned,
    now: &Set,
    managers: &Managers,
    writer: Writer<'_>,
) -> Option<Value> {
    let mut by_version: BTreeMap<&str, Set> = BTreeMap::from([(writer.api_version, now.clone())]);
    for owned in managers.0.values() {
        let version = if writer.versions.is_some() { owned.version.as_str() } else { writer.api_version };
        by_version.entry(version).or_default().add(&owned.set);
    }
    let before_in = if writer.versions.is_some() { before.version.as_str() } else { writer.api_version };
    let mut pruned = in_version(merged, node, before_in, writer, |node, value| {
        let nobody = Set::default();
        merge::prune(node, value, &before.set, by_version.get(before_in).unwrap_or(&nobody));
        Some(())
    })?;
    for (version, owned) in by_version.iter().filter(|(version, _)| **version != before_in) {
        // What is gone comes back where somebody owns it in this version.
        let back = in_version(merged, node, version, writer, |node, value| {
            let mut kept = match writer.versions.filter(|_| *version != writer.api_version) {
                Some(versions) => walk::present(node, &versions.view(&pruned, version)?),
                None => walk::present(node, &pruned),
            };
            kept.add(owned);
            let all = walk::present(node, value);
            merge::prune(node, value, &all, &kept);
            Some(())
        });
        pruned = back.unwrap_or(pruned);
    }
    Some(pruned)
}

/// An object after something has been done to it in a version, in the writer's version again.
fn in_version(
    object: &Value,
    node: Node<'_>,
    version: &str,
    writer: Writer<'_>,
    act: impl FnOnce(Node<'_>, &mut Value) -> Option<()>,
) -> Option<Value> {
    match writer.versions.filter(|_| version != writer.api_version) {
        None => {
            let mut value = object.clone();
            act(node, &mut value)?;
            Some(value)
        }
        Some(versions) => {
            let schema = versions.schema(version)?;
            let mut value = versions.view(object, version)?;
            act(Node::root(Some(schema)), &mut value)?;
            versions.view(&value, writer.api_version)
        }
    }
}
