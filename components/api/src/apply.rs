//! Server-side apply, and who manages which field: pure functions of the stored object, of what a client sends and of the
//! kind's schema.
//!
//! [`apply`] merges what a manager wants into an object, takes out what it wanted before and no longer does, and refuses
//! to change what others have set unless it is forced. [`update`] notes what any other write has changed. Kinds without a
//! schema are owned field by field, their lists as a whole.

mod managed;
mod merge;
mod node;
mod set;
mod versions;
mod walk;

use kinit_schema::Type;
use serde_json::Value;

use crate::object::Object;
use managed::{Id, Managers, Owned};
use node::Node;
pub use node::{Elements, Fields, Plain, Structure};
use set::Set;
pub use versions::Versions;
use versions::{Difference, Views};

/// Fields that nobody manages, because the server itself does.
const UNMANAGED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];
/// The manager of what was there before anyone applied.
const BEFORE_APPLY: &str = "before-first-apply";
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What says how an object's fields are owned.
#[derive(Clone, Copy, Debug)]
pub enum Schema<'a> {
    /// A built-in type.
    Type(&'static Type),
    /// A definition's.
    Own(&'a Structure),
}

/// Who writes, and in what form.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    pub manager: &'a str,
    pub api_version: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: &'a str,
    /// The fields that this way of writing does not set, which it cannot own: `status`, or `spec` of a status.
    pub reset: &'a [&'a [&'a str]],
    /// The kind's other versions, where managers may have written in them.
    pub versions: Option<&'a dyn Versions>,
}

/// A field that another manager has set to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as messages name it.
    pub manager: String,
    /// `.spec.replicas`.
    pub field: String,
}

/// Why nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    Bad(String),
    #[error("failed to create typed patch object ({object}): {error}")]
    Untyped { object: String, error: String },
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.field);
    }
    let mut lines = Vec::new();
    let mut last = "";
    for conflict in conflicts {
        if conflict.manager != last {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = &conflict.manager;
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Notes in `new` what it changes of `old`. The managers that a client sends are taken unless it writes a subresource.
pub fn update(schema: Option<Schema<'_>>, old: Option<&Object>, new: &mut Object, writer: Writer<'_>) {
    const FIELDS: &[&str] = &["metadata", "managedFields"];
    let sent = new.remove(FIELDS);
    let kept = old.and_then(|old| old.get(FIELDS));
    let sent = sent.filter(|_| writer.subresource.is_empty());
    // A list of nothing, or of one empty entry, asks for forgetting all managers.
    let reset = sent.as_ref().and_then(Value::as_array).is_some_and(|list| match list.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    });
    let mut managers = Managers::decode(sent.as_ref()).unwrap_or_default();
    if managers.0.is_empty() && !reset {
        managers = Managers::decode(kept).unwrap_or_default();
    }
    // An object that was never tracked is left alone until somebody applies.
    if old.is_none() || !managers.0.is_empty() {
        note(schema, old, new, &mut managers, writer);
    }
    if let Some(entries) = managers.encode() {
        new.set(FIELDS, entries);
    }
}

/// Notes that a field was there before anybody applied, where it is there and nobody owns it: the number of replicas, for who
/// applies a Scale.
pub fn claim(live: &mut Object, path: &[&str], writer: Writer<'_>) {
    const FIELDS: &[&str] = &["metadata", "managedFields"];
    let mut managers = Managers::decode(live.get(FIELDS)).unwrap_or_default();
    let set = Set::of_path(path);
    if live.get(path).is_none() || managers.0.values().any(|owned| !owned.set.common(&set).is_empty()) {
        return;
    }
    let version = writer.api_version.to_owned();
    let id = Id {
        manager: BEFORE_APPLY.to_owned(),
        applies: false,
        version: version.clone(),
        subresource: writer.subresource.to_owned(),
    };
    managers.0.insert(id, Owned { version, time: None, set });
    if let Some(entries) = managers.encode() {
        live.set(FIELDS, entries);
    }
}

fn note(schema: Option<Schema<'_>>, old: Option<&Object>, new: &Object, managers: &mut Managers, writer: Writer<'_>) {
    let nothing = Object::default();
    let found = walk::compare_objects(Node::root(schema), old.unwrap_or(&nothing).map(), new.map());
    let mut own = Difference::of(found);
    strip(&mut own.changed);
    // What stays as it is nobody sets, and nobody loses either.
    for set in [&mut own.changed, &mut own.removed] {
        writer.reset.iter().for_each(|path| set.remove(path, true));
    }
    forget_foreign(schema, managers, writer);
    let states = || (old.unwrap_or(&nothing).clone().into_value(), new.clone().into_value());
    Views::new(writer, &own, managers, states).take(managers);
    managers.0.retain(|_, owned| !owned.set.is_empty());
    let changed = own.changed;
    if changed.is_empty() || writer.manager.is_empty() {
        return;
    }
    let id = Id {
        manager: writer.manager.to_owned(),
        applies: false,
        version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
    };
    let owned = managers.0.entry(id).or_default();
    owned.version = writer.api_version.to_owned();
    // Through a Scale goes no time: its managers are those of a form that is made for the request.
    if writer.subresource != "scale" {
        owned.time = Some(writer.now.to_owned());
    }
    owned.set.add(&changed);
    managers.cap();
}

/// Forgets managers who wrote in a version that there is not.
fn forget_foreign(schema: Option<Schema<'_>>, managers: &mut Managers, writer: Writer<'_>) {
    let Some(Schema::Type(own)) = schema else { return };
    managers.0.retain(|_, owned| {
        let (group, version) = owned.version.split_once('/').unwrap_or(("", &owned.version));
        owned.version == writer.api_version || kinit_schema::kind(group, version, own.name).is_some()
    });
}

fn strip(set: &mut Set) {
    for path in UNMANAGED {
        set.remove(path, false);
    }
    set.remove(&["metadata", "managedFields"], true);
}

/// An object's version and kind as messages show them.
pub fn kind_text(object: &Object) -> String {
    let version = object.api_version();
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={}", object.kind())
}

/// Which object it is, as messages show it.
pub fn name_text(object: &Object) -> String {
    format!("{}/{}; {}", object.namespace(), object.name(), kind_text(object))
}

/// Applies `config` to `live`, or makes the object that it describes.
pub fn apply(
    schema: Option<Schema<'_>>,
    live: Option<&Object>,
    mut config: Object,
    writer: Writer<'_>,
    force: bool,
) -> Result<Object, ApplyError> {
    if config.api_version() != writer.api_version {
        return Err(ApplyError::Bad(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            config.api_version(),
            writer.api_version
        )));
    }
    if config.remove(&["metadata", "managedFields"]).is_some_and(|entries| !entries.is_null()) {
        return Err(ApplyError::Bad("metadata.managedFields must be nil".into()));
    }
    let node = Node::root(schema);
    let mut set = walk::fields(node, config.value())
        .map_err(|error| ApplyError::Untyped { object: name_text(&config), error })?;
    set.member = false;
    strip(&mut set);
    let last_config = config.clone();
    // What this way of writing does not set is merged like all else, but is nobody's: the kind's strategy undoes it.
    writer.reset.iter().for_each(|path| set.remove(path, true));
    let config = config.into_value();

    let managers = live.and_then(|live| live.get(&["metadata", "managedFields"]));
    let mut managers = Managers::decode(managers).unwrap_or_default();
    let mut current = live.cloned().unwrap_or_default();
    current.remove(&["metadata", "managedFields"]);
    if let Some(live) = live.filter(|_| managers.0.is_empty()) {
        let first = Writer { manager: BEFORE_APPLY, ..writer };
        note(schema, None, live, &mut managers, first);
    }
    forget_foreign(schema, &mut managers, writer);
    let id = Id {
        manager: writer.manager.to_owned(),
        applies: true,
        version: String::new(),
        subresource: writer.subresource.to_owned(),
    };
    let before = managers.0.remove(&id);
    let current = current.into_value();
    let mut merged = merge::merge(node, Some(&current), &config);
    if let Some(before) = &before {
        merged = versions::prune(node, &merged, before, &set, &managers, writer).unwrap_or(merged);
    }
    let mut own = Difference::of(walk::compare(node, Some(&current), Some(&merged)));
    for set in [&mut own.changed, &mut own.removed] {
        writer.reset.iter().for_each(|path| set.remove(path, true));
    }
    let views = Views::new(writer, &own, &managers, || (current.clone(), merged.clone()));
    let mut conflicts = conflicts(&managers, &views);
    if writer.manager == KUBECTL && !conflicts.is_empty() {
        let allowed = last_applied(node, &current, writer.api_version).unwrap_or_default();
        let rest: Vec<Conflict> =
            conflicts.iter().filter(|conflict| !allowed.contains(&conflict.field)).cloned().collect();
        conflicts = rest;
    }
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    views.take(&mut managers);
    let version = writer.api_version.to_owned();
    // Who changes nothing has come at no time.
    let keeps = merged == current || writer.subresource == "scale";
    let time = if keeps { before.and_then(|before| before.time) } else { Some(writer.now.to_owned()) };
    managers.0.insert(id, Owned { version, time, set });

    let mut object = Object::from_value(merged).unwrap_or_default();
    if writer.manager == KUBECTL && !object.str(&["metadata", "annotations", LAST_APPLIED]).is_empty() {
        let mut sent = last_config;
        sent.remove(&["metadata", "annotations", LAST_APPLIED]);
        let text = format!("{}\n", sent.into_value());
        object.set(&["metadata", "annotations", LAST_APPLIED], text);
    }
    if let Some(entries) = managers.encode() {
        object.set(&["metadata", "managedFields"], entries);
    }
    Ok(object)
}

/// `live` with what `config` says, and nobody noted as a manager: what a policy does to an object on its way.
pub fn configure(schema: Option<Schema<'_>>, live: &Value, config: &Value) -> Result<Value, String> {
    let node = Node::root(schema);
    walk::fields(node, config).map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let mut atomics = Vec::new();
    find_atomics(node, config, "", &mut atomics);
    if !atomics.is_empty() {
        let fields = atomics.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {fields}"));
    }
    Ok(merge::merge(node, Some(live), config))
}

/// The lists and objects in a value that can only be set as a whole.
fn find_atomics(node: Node<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(_) | Value::Array(_) if matches!(node, Node::Leaf | Node::Whole(_)) => {
            found.push(path.to_owned())
        }
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(inner) = node.field(name) {
                    find_atomics(inner, value, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_atomics(node.element(), item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

fn conflicts(managers: &Managers, views: &Views<'_>) -> Vec<Conflict> {
    let of = |(id, owned): (&Id, &Owned)| {
        let manager = id.shown();
        let fields = views.of(&owned.version).map(|found| owned.set.common(&found.changed).paths()).unwrap_or_default();
        fields.into_iter().map(move |field| Conflict { manager: manager.clone(), field }).collect::<Vec<_>>()
    };
    managers.0.iter().flat_map(of).collect()
}

/// The fields that kubectl applied before by itself, on the client, and that are as it left them.
fn last_applied(node: Node<'_>, live: &Value, api_version: &str) -> Option<Vec<String>> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())?;
    let before: Value = serde_json::from_str(text).ok()?;
    if before["apiVersion"] != api_version {
        return None;
    }
    let mut set = walk::present(node, &before);
    let found = walk::compare(node, Some(&before), Some(live));
    set.subtract(&found.removed.clone());
    set.subtract(&found.changed());
    Some(set.paths())
}

#[cfg(test)]
mod tests;
