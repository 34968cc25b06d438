//! A CustomResourceDefinition as the server uses it, read once from its object.

use std::cmp::Ordering;

use std::sync::Arc;

use kinit_api::apply::Structure;
use kinit_api::object::Object;
use kinit_cel::rules::Validator;
use serde_json::Value;

use crate::schema::Schema;
use crate::structure::structure;

/// The words by which a resource goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
}

impl Names {
    pub fn read(names: &Value) -> Self {
        Self {
            plural: text(&names["plural"]),
            singular: text(&names["singular"]),
            kind: text(&names["kind"]),
            list_kind: text(&names["listKind"]),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
        }
    }
}

/// Where a version's objects keep what the scale subresource shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub selector: Option<Vec<String>>,
}

/// One version of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    /// What clients are warned with, where the version is deprecated.
    pub deprecation: Option<String>,
    pub status: bool,
    pub scale: Option<Scale>,
    /// Fields that a field selector may name, as `spec.color`.
    pub selectable: Vec<String>,
    pub schema: Option<Arc<Schema>>,
    /// Whether objects may have others within them.
    pub embeds: bool,
    /// The rules of the schema, compiled; the schema says what they are.
    pub rules: Same<Option<Validator>>,
    /// How the fields of objects are owned.
    pub structure: Same<Structure>,
    /// The schema as it is written, for those who publish it.
    pub written: Same<Value>,
    /// The columns of tables, as they are written.
    pub columns: Vec<Value>,
}

/// What is made of other fields, and so is never what two values differ in.
#[derive(Debug)]
pub struct Same<T>(pub Arc<T>);

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How objects of one version become those of another.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversion {
    /// They are the same but for their `apiVersion`.
    None,
    /// By a webhook: its client configuration and the versions of `ConversionReview` that it takes.
    Webhook { client: Value, review_versions: Vec<String> },
}

/// What a definition says.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The definition's own name, `plural.group`.
    pub name: String,
    pub uid: String,
    pub group: String,
    /// The accepted names, which are those that are served.
    pub names: Names,
    pub namespaced: bool,
    pub versions: Vec<Version>,
    pub conversion: Conversion,
    pub preserve_unknown: bool,
    pub established: bool,
    /// Whether the definition is on its way out: nothing new is made of it.
    pub terminating: bool,
}

impl Definition {
    /// Reads a definition that has been validated.
    pub fn read(object: &Object) -> Self {
        let nothing = Value::Null;
        let spec = object.get(&["spec"]).unwrap_or(&nothing);
        let group = text(&spec["group"]);
        let versions = spec["versions"].as_array().into_iter().flatten();
        let accepted = object.get(&["status", "acceptedNames"]).unwrap_or(&nothing);
        Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            names: Names::read(accepted),
            namespaced: spec["scope"] == "Namespaced",
            versions: versions.map(|version| Version::read(version, &group, spec)).collect(),
            conversion: conversion(&spec["conversion"]),
            preserve_unknown: spec["preserveUnknownFields"] == true,
            established: has_condition(object, "Established"),
            terminating: has_condition(object, "Terminating"),
            group,
        }
    }

    /// The version that objects are stored in.
    pub fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// Every field that some version's selectors may name, in one order for all versions.
    pub fn selectable(&self) -> Vec<String> {
        let mut all: Vec<String> = self.versions.iter().flat_map(|version| version.selectable.clone()).collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Version {
    fn read(version: &Value, group: &str, spec: &Value) -> Self {
        let name = text(&version["name"]);
        let scale = &version["subresources"]["scale"];
        let deprecated = version["deprecated"] == true;
        let warning = version["deprecationWarning"].as_str().map(str::to_owned);
        let schema = version["schema"]["openAPIV3Schema"].as_object();
        let schema = schema.map(|_| Arc::new(Schema::read(&version["schema"]["openAPIV3Schema"])));
        let usual = || usual_warning(&name, group, spec);
        Self {
            served: version["served"] == true,
            storage: version["storage"] == true,
            deprecation: deprecated.then(|| warning.unwrap_or_else(usual)),
            status: version["subresources"]["status"].is_object(),
            scale: scale.is_object().then(|| Scale {
                spec_replicas: path(&scale["specReplicasPath"]),
                status_replicas: path(&scale["statusReplicasPath"]),
                selector: scale["labelSelectorPath"].as_str().filter(|it| !it.is_empty()).map(split),
            }),
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
                .collect(),
            structure: Same(Arc::new(schema.as_deref().map_or(Structure::Free, structure))),
            rules: Same(Arc::new(Validator::new(&version["schema"]["openAPIV3Schema"], true))),
            embeds: schema.as_deref().is_some_and(|schema| schema.any(&|place| place.embedded)),
            schema,
            written: Same(Arc::new(version["schema"]["openAPIV3Schema"].clone())),
            columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
            name,
        }
    }
}

/// What clients of a deprecated version are told where the definition has no words for it: which of the served versions that
/// are not deprecated they should rather use, if one is preferred to theirs.
fn usual_warning(name: &str, group: &str, spec: &Value) -> String {
    let kind = text(&spec["names"]["kind"]);
    let better = spec["versions"].as_array().into_iter().flatten().filter(|other| {
        let is_preferred = prefer(&text(&other["name"]), name) == Ordering::Less;
        other["served"] == true && other["deprecated"] != true && is_preferred
    });
    let best = better.map(|other| text(&other["name"])).min_by(|a, b| prefer(a, b));
    let instead = best.map(|best| format!("; use {group}/{best} {kind}")).unwrap_or_default();
    format!("{group}/{name} {kind} is deprecated{instead}")
}

fn conversion(conversion: &Value) -> Conversion {
    if conversion["strategy"] != "Webhook" {
        return Conversion::None;
    }
    let webhook = &conversion["webhook"];
    Conversion::Webhook {
        client: webhook["clientConfig"].clone(),
        review_versions: texts(&webhook["conversionReviewVersions"]),
    }
}

/// Whether a condition of the object is true.
pub fn has_condition(object: &Object, name: &str) -> bool {
    let conditions = object.get(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn path(value: &Value) -> Vec<String> {
    split(value.as_str().unwrap_or_default())
}

/// `.spec.replicas` as its fields.
fn split(path: &str) -> Vec<String> {
    path.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

/// The order in which clients are to prefer versions: `v2` before `v1`, those before `v1beta1` and `v1alpha1`, and after
/// them all that are named otherwise, by name.
pub fn prefer(a: &str, b: &str) -> Ordering {
    match (stability(a), stability(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// How stable a version is (2 is best), its major and its minor number.
fn stability(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let number = |text: &str| {
        let plain = !text.starts_with('0') && text.bytes().all(|digit| digit.is_ascii_digit());
        if plain { text.parse().ok() } else { None }
    };
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let major = number(&rest[..digits])?;
    match &rest[digits..] {
        "" => Some((2, major, 0)),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => Some((1, major, number(minor)?)),
            (_, Some(minor)) => Some((0, major, number(minor)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deprecated_version_names_the_best_that_is_not() {
        let version = |name: &str, served: bool, deprecated: bool| serde_json::json!({"name": name, "served": served, "deprecated": deprecated});
        let versions = [
            version("v1beta1", true, true),
            version("v1", true, false),
            version("v10", true, false),
            version("v11", false, false),
            version("v12", true, true),
        ];
        let spec = serde_json::json!({"names": {"kind": "Foo"}, "versions": versions});
        assert_eq!(usual_warning("v1beta1", "a.io", &spec), "a.io/v1beta1 Foo is deprecated; use a.io/v10 Foo");
        assert_eq!(usual_warning("v12", "a.io", &spec), "a.io/v12 Foo is deprecated");
    }

    #[test]
    fn versions_are_preferred_as_they_are_stable() {
        let mut versions = ["v1alpha1", "foo", "v2", "v1beta2", "v10", "v1beta1", "bar", "v1", "v01"];
        versions.sort_by(|a, b| prefer(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo", "v01"]);
    }
}
