//! What becomes of a custom resource on its way in and out: pruned, filled in, checked, brought into another version.

use std::sync::OnceLock;

use kinit_api::canonical::canonicalize;
use kinit_api::object::Object;
use kinit_api::strict::{self, TypeError};
use kinit_api::validate::field::{Error, Errors, Path};
use kinit_api::{patch, validate};
use kinit_schema::Type;
use serde_json::{Map, Value};

use crate::definition::{Conversion, Definition, Scale, Version};
use crate::schema::{Additional, Schema};
use crate::validate::label;
use crate::{check, defaults, prune};

/// The type of the metadata that all objects have.
pub fn object_meta() -> Option<&'static Type> {
    static META: OnceLock<Option<&'static Type>> = OnceLock::new();
    let find = || kinit_schema::kind("", "v1", "ConfigMap")?.field("metadata")?.message();
    META.get_or_init(find).as_ref().copied()
}

/// Brings metadata into the one form in which it is kept; returns the fields that it cannot have.
fn metadata(holder: &mut Map<String, Value>) -> Result<Vec<String>, TypeError> {
    let (Some(schema), Some(metadata)) = (object_meta(), holder.get_mut("metadata")) else { return Ok(Vec::new()) };
    let metadata = match metadata {
        Value::Object(metadata) => metadata,
        Value::Null => return Ok(Vec::new()),
        other => {
            let found = strict::go_kind(other);
            let why = format!("json: cannot unmarshal {found} into Go value of type v1.ObjectMeta");
            return Err(TypeError::new(why));
        }
    };
    let unknown = strict::conform(metadata, schema)?;
    canonicalize(schema, metadata);
    Ok(unknown.into_iter().map(|path| format!("metadata.{path}")).collect())
}

/// Does something to each object that is embedded in a value, and to what is in it.
fn each_embedded<E>(
    value: &mut Value,
    schema: &Schema,
    path: &Path,
    act: &mut impl FnMut(&mut Map<String, Value>, &Path) -> Result<(), E>,
) -> Result<(), E> {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                act(map, path)?;
            }
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(own), _) => each_embedded(value, own, &path.child(name), act)?,
                    (None, Some(Additional::Of(own))) => each_embedded(value, own, &path.key(name), act)?,
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.items.as_deref() else { return Ok(()) };
            for (at, item) in list.iter_mut().enumerate() {
                each_embedded(item, items, &path.index(at), act)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Version, kind and metadata of an object within another, brought into the one form; returns what metadata cannot have.
fn embedded(map: &mut Map<String, Value>, path: &Path) -> Result<Vec<String>, TypeError> {
    for field in ["apiVersion", "kind"] {
        if let Some(value) = map.get(field).filter(|value| !value.is_string()) {
            let error = Error::invalid(&path.child(field), value.clone(), "must be a string");
            return Err(TypeError::new(error.to_string()));
        }
    }
    let before = map.get("metadata").cloned().unwrap_or_default();
    let unknown = metadata(map).map_err(|why| {
        // The decoder begins at the metadata here.
        let why = why.to_string().replace("ObjectMeta.metadata.", "ObjectMeta.");
        TypeError::new(Error::invalid(&path.child("metadata"), before, why).to_string())
    })?;
    Ok(unknown.into_iter().map(|name| format!("{path}.{name}")).collect())
}

/// What is wrong with an object within another, beside its own schema.
pub(crate) fn check_embedded(value: &Value, schema: &Schema, path: &Path, errors: &mut Errors) {
    let mut copy = value.clone();
    let done: Result<(), ()> = each_embedded(&mut copy, schema, path, &mut |map, path| {
        for field in ["apiVersion", "kind"] {
            let here = path.child(field);
            match map.get(field).and_then(Value::as_str) {
                None => errors.push(Error::required(&here, "")),
                Some("") => errors.push(Error::invalid(&here, "", "must not be empty")),
                Some(version) if field == "apiVersion" && version.matches('/').count() > 1 => {
                    errors.push(Error::invalid(&here, version, format!("unexpected GroupVersion string: {version}")));
                }
                Some(kind) if field == "kind" => {
                    let wrong = label(&kind.to_lowercase());
                    if !wrong.is_empty() {
                        let text = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                        errors.push(Error::invalid(&here, kind, text));
                    }
                }
                Some(_) => {}
            }
        }
        if let Some(metadata) = map.get("metadata").filter(|metadata| metadata.is_object()) {
            validate::embedded_metadata(metadata, &path.child("metadata"), errors);
        }
        Ok(())
    });
    debug_assert!(done.is_ok());
}

impl Version {
    /// Drops what the schema has no field for and fills in defaults; returns the paths of what was dropped.
    pub fn conform(&self, object: &mut Object, preserves: bool) -> Result<Vec<String>, TypeError> {
        let mut unknown = metadata(object.map_mut())?;
        if let Some(schema) = self.schema.as_deref() {
            let mut pruned = Vec::new();
            if self.embeds {
                for (name, own) in &schema.properties {
                    let Some(value) = object.map_mut().get_mut(name) else { continue };
                    each_embedded(value, own, &Path::new(name), &mut |map, path| {
                        pruned.extend(embedded(map, path)?);
                        Ok(())
                    })?;
                }
            }
            if !preserves {
                pruned.extend(prune::prune(object.map_mut(), schema));
            }
            pruned.sort();
            unknown.extend(pruned);
            self.fill(object);
        }
        Ok(unknown)
    }

    /// Fills in defaults.
    pub fn fill(&self, object: &mut Object) {
        if let Some(schema) = self.schema.as_deref() {
            defaults::apply(object.map_mut(), schema);
        }
    }

    /// What is wrong with an object; with `old`, what has not changed is not looked at again, and `stood` gets what rules say of
    /// it nevertheless.
    pub fn check(&self, old: Option<&Object>, new: &Object, stood: &mut Errors) -> Errors {
        let mut errors = Errors::new();
        let Some(schema) = self.schema.as_deref() else { return errors };
        let (tree, before) = (new.value(), old.map(Object::value));
        if self.embeds {
            for (name, own) in &schema.properties {
                check_embedded(&tree[name.as_str()], own, &Path::new(name), &mut errors);
            }
        }
        errors.extend(check::check(tree, before, schema, ""));
        if let Some(scale) = &self.scale {
            replicas(new, &scale.spec_replicas, &mut errors);
            status_scale(new, scale, &mut errors);
        }
        self.lists(tree, before, schema, &mut errors);
        self.rules(tree, before, stood, &mut errors);
        errors
    }

    /// [`Version::check`] of a write of the status.
    pub fn check_status(&self, old: &Object, new: &Object, stood: &mut Errors) -> Errors {
        let mut errors = Errors::new();
        let Some(schema) = self.schema.as_deref() else { return errors };
        if let (Some(status), Some(own)) = (new.get(&["status"]), schema.properties.get("status")) {
            // Its paths begin with the status, and its texts within it.
            let wrong = check::check(status, old.get(&["status"]), own, "");
            errors.extend(wrong.into_iter().map(|error| error.under(&Path::new("status"))));
        }
        if let Some(scale) = &self.scale {
            status_scale(new, scale, &mut errors);
        }
        let (tree, before) = (new.value(), old.value());
        self.lists(tree, Some(before), schema, &mut errors);
        self.rules(tree, Some(before), stood, &mut errors);
        errors
    }

    /// What the rules say, unless the object is so wrong that they could not be evaluated.
    fn rules(&self, new: &Value, old: Option<&Value>, stood: &mut Errors, errors: &mut Errors) {
        let Some(rules) = self.rules.0.as_ref() else { return };
        if errors.iter().any(Error::blocks_rules) {
            let text = "some validation rules were not checked because the object was invalid; correct the existing \
                        errors to complete validation";
            errors.push(Error::invalid(&Path::default(), Value::Null, text));
        } else {
            errors.extend(rules.validate(&Path::default(), new, old, stood));
        }
    }

    /// Repeated elements are not told of where there were any before.
    fn lists(&self, new: &Value, old: Option<&Value>, schema: &Schema, errors: &mut Errors) {
        let mut before = Errors::new();
        if let Some(old) = old {
            check::lists(old, schema, &Path::default(), &mut before);
        }
        if before.is_empty() {
            check::lists(new, schema, &Path::default(), errors);
        }
    }
}

fn status_scale(object: &Object, scale: &Scale, errors: &mut Errors) {
    replicas(object, &scale.status_replicas, errors);
    let Some(path) = &scale.selector else { return };
    let shown = format!(".{}", path.join("."));
    let wrong = match reach(object, path) {
        Ok(Some(value)) if !value.is_string() => Some(mistaken(&shown, value, "string")),
        Ok(_) => None,
        Err(why) => Some(why),
    };
    errors.extend(wrong.map(|why| Error::invalid(&Path::new(&shown), "", why)));
}

/// A value by its path, or what Go says of a place on the way that is no object.
fn reach<'o>(object: &'o Object, path: &[String]) -> Result<Option<&'o Value>, String> {
    let mut here = object.value();
    for (at, name) in path.iter().enumerate() {
        if !here.is_object() {
            return Err(mistaken(&format!(".{}", path[..=at].join(".")), here, "map[string]interface{}"));
        }
        match here.get(name) {
            Some(below) => here = below,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

fn mistaken(place: &str, value: &Value, wanted: &str) -> String {
    let (text, kind) = (patch::go_text(value), patch::go_type(value));
    let kind = if value.is_null() { "<nil>" } else { kind };
    // Go prints no point where there is nothing behind it.
    let text = if value.is_f64() { text.strip_suffix(".0").unwrap_or(&text).to_owned() } else { text };
    format!("{place} accessor error: {text} is of the type {kind}, expected {wanted}")
}

fn replicas(object: &Object, path: &[String], errors: &mut Errors) {
    let text = format!(".{}", path.join("."));
    let shown = Path::new(&text);
    let value = match reach(object, path) {
        Ok(None) => return,
        Ok(Some(value)) => value,
        Err(why) => return errors.push(Error::invalid(&shown, 0, why)),
    };
    match value.as_i64() {
        None => errors.push(Error::invalid(&shown, 0, mistaken(&text, value, "int64"))),
        Some(count) if count < 0 => errors.push(Error::invalid(&shown, count, "should be a non-negative integer")),
        Some(count) if count > i64::from(i32::MAX) => {
            let text = format!("should be less than or equal to {}", i32::MAX);
            errors.push(Error::invalid(&shown, count, text));
        }
        Some(_) => {}
    }
}

/// A value by a path out of a definition.
pub fn at<'a>(object: &'a Object, path: &[String]) -> Option<&'a Value> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    object.get(&path)
}

impl Definition {
    /// A version by its name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The version that an object is written in.
    pub fn version_of(&self, object: &Object) -> Option<&Version> {
        self.version(object.api_version().rsplit('/').next().unwrap_or_default())
    }

    /// What is stored, as a schema that may have changed since reads it.
    pub fn restore(&self, object: &mut Object) {
        if let Some(version) = self.version_of(object) {
            // What is stored was well-formed when it was written.
            let _ = version.conform(object, self.preserve_unknown);
        }
    }

    /// An object of `version` as it comes back from where it is stored in another one that a webhook is not asked about: without
    /// the fields that the stored version has no place for, and with what that one fills in.
    pub fn as_stored(&self, object: &mut Object, version: &Version) {
        let Some(storage) = self.storage().filter(|storage| storage.schema != version.schema) else { return };
        if matches!(self.conversion, Conversion::None) {
            self.relabel(object, storage);
            storage.fill(object);
            self.relabel(object, version);
        }
    }

    /// An object in another version, where nothing but the version is different.
    pub fn relabel(&self, object: &mut Object, version: &Version) {
        let wanted = format!("{}/{}", self.group, version.name);
        if object.api_version() == wanted {
            return;
        }
        let same = self.version_of(object).is_some_and(|own| own.schema == version.schema);
        object.set(&["apiVersion"], wanted);
        if let Some(schema) = version.schema.as_deref().filter(|_| !same && !self.preserve_unknown) {
            prune::prune(object.map_mut(), schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back_as_the_stored_version_has_it() {
        let version = |name: &str, storage: bool, own: &str| {
            let properties = json!({own: {"type": "string"}, "d": {"type": "string", "default": name}});
            json!({"name": name, "served": true, "storage": storage,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
        };
        let object = |value: Value| Object::from_value(value).unwrap();
        let definition = Definition::read(&object(json!({"metadata": {"name": "foos.a.io"},
            "spec": {"group": "a.io", "versions": [version("v1", true, "b"), version("v2", false, "c")]}})));
        let mut sent = object(json!({"apiVersion": "a.io/v2", "kind": "Foo", "c": "lost"}));
        definition.as_stored(&mut sent, &definition.versions[1]);
        assert_eq!(sent.value(), &json!({"apiVersion": "a.io/v2", "kind": "Foo", "d": "v1"}));
    }
}
