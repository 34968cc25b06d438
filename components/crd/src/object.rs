//! What becomes of a custom resource on its way in and out: pruned, filled in, checked, brought into another version.

use std::sync::OnceLock;

use kinit_api::canonical::canonicalize;
use kinit_api::object::Object;
use kinit_api::strict::{self, TypeError};
use kinit_api::validate::field::{Error, Errors, Path};
use kinit_schema::Type;
use serde_json::Value;

use crate::definition::{Definition, Scale, Version};
use crate::schema::Schema;
use crate::{check, defaults, prune};

/// The type of the metadata that all objects have.
pub fn object_meta() -> Option<&'static Type> {
    static META: OnceLock<Option<&'static Type>> = OnceLock::new();
    let find = || kinit_schema::kind("", "v1", "ConfigMap")?.field("metadata")?.message();
    META.get_or_init(find).as_ref().copied()
}

/// Brings metadata into the one form in which it is kept; returns the fields that it cannot have.
fn metadata(object: &mut Object) -> Result<Vec<String>, TypeError> {
    let (Some(schema), Some(Value::Object(metadata))) = (object_meta(), object.get_mut(&["metadata"])) else {
        return Ok(Vec::new());
    };
    let unknown = strict::conform(metadata, schema)?;
    canonicalize(schema, metadata);
    Ok(unknown.into_iter().map(|path| format!("metadata.{path}")).collect())
}

impl Version {
    /// Drops what the schema has no field for and fills in defaults; returns the paths of what was dropped.
    pub fn conform(&self, object: &mut Object, preserves: bool) -> Result<Vec<String>, TypeError> {
        let mut unknown = metadata(object)?;
        if let Some(schema) = self.schema.as_deref() {
            if !preserves {
                unknown.extend(prune::prune(object.map_mut(), schema));
            }
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

    /// What is wrong with an object; with `old`, what has not changed is not looked at again.
    pub fn check(&self, old: Option<&Object>, new: &Object) -> Errors {
        let mut errors = Errors::new();
        let Some(schema) = self.schema.as_deref() else { return errors };
        let (tree, before) = (new.value(), old.map(Object::value));
        errors.extend(check::check(tree, before, schema, ""));
        if let Some(scale) = &self.scale {
            replicas(new, &scale.spec_replicas, &mut errors);
            status_scale(new, scale, &mut errors);
        }
        self.lists(tree, before, schema, &mut errors);
        self.rules(tree, before, &mut errors);
        errors
    }

    /// [`Version::check`] of a write of the status.
    pub fn check_status(&self, old: &Object, new: &Object) -> Errors {
        let mut errors = Errors::new();
        let Some(schema) = self.schema.as_deref() else { return errors };
        if let (Some(status), Some(own)) = (new.get(&["status"]), schema.properties.get("status")) {
            errors.extend(check::check(status, old.get(&["status"]), own, "status"));
        }
        if let Some(scale) = &self.scale {
            status_scale(new, scale, &mut errors);
        }
        let (tree, before) = (new.value(), old.value());
        self.lists(tree, Some(before), schema, &mut errors);
        self.rules(tree, Some(before), &mut errors);
        errors
    }

    /// What the rules say, unless the object is so wrong that they could not be evaluated.
    fn rules(&self, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        let Some(rules) = self.rules.0.as_ref() else { return };
        if errors.iter().any(Error::blocks_rules) {
            let text = "some validation rules were not checked because the object was invalid; correct the existing \
                        errors to complete validation";
            errors.push(Error::invalid(&Path::default(), Value::Null, text));
        } else {
            errors.extend(rules.validate(&Path::default(), new, old));
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
    if let Some(path) = &scale.selector
        && let Some(value) = at(object, path)
        && !value.is_string()
    {
        let shown = format!(".{}", path.join("."));
        errors.push(Error::invalid(&Path::new(&shown), "", format!("{shown} accessor error: it is not a string")));
    }
}

fn replicas(object: &Object, path: &[String], errors: &mut Errors) {
    let Some(value) = at(object, path) else { return };
    let shown = Path::new(&format!(".{}", path.join(".")));
    match value.as_i64() {
        None => {
            let text = format!(".{} accessor error: {value} is not an integer", path.join("."));
            errors.push(Error::invalid(&shown, 0, text));
        }
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
