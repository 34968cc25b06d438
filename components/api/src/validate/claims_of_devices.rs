//! Claims of devices: ResourceClaims, what they are made of, and the classes that they name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::volumes::driver;
use super::{amounts, complain, immutable, list, metadata, placement, str_of, text};
use crate::object::Object;

const REQUESTS: usize = 32;
const CONSTRAINTS: usize = 32;
const CONFIGURATIONS: usize = 32;
const SELECTORS: usize = 32;
const ALTERNATIVES: usize = 8;
/// The longest parameters of a driver, and the longest expression, in bytes.
pub(super) const PARAMETERS: usize = 10 * 1024;
const EXPRESSION: usize = 10 * 1024;
pub(super) const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const OPERATORS: &[&str] = &["Equal", "Exists"];
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The names of a claim's requests, each with those of its alternatives.
pub(super) type Names<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.get(&["spec"]).unwrap_or(&Value::Null), Path::new("spec"));
    match kind {
        "ResourceClaim" => claim(&spec["devices"], &path.child("devices"), &mut errors),
        "ResourceClaimTemplate" => {
            metadata::of_template(&spec["metadata"], &path.child("metadata"), &mut errors);
            claim(&spec["spec"]["devices"], &path.child("spec.devices"), &mut errors);
        }
        "DeviceClass" => class(spec, &path, &mut errors),
        "ResourceSlice" => super::slices::slice(spec, &path, &mut errors),
        _ => {}
    }
    errors
}

pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if kind == "ResourceSlice" {
        for path in [&["spec", "pool", "name"][..], &["spec", "driver"], &["spec", "nodeName"]] {
            immutable(old, new, path, &mut errors);
        }
    } else if kind != "DeviceClass" {
        // Nothing else is worth saying of what may not change.
        immutable(old, new, &["spec"], &mut errors);
    }
    errors
}

fn class(spec: &Value, path: &Path, errors: &mut Errors) {
    selectors(spec, path, errors);
    for (at, one) in bounded(list(spec, "config"), CONFIGURATIONS, &path.child("config"), errors) {
        configuration(one, &at, errors);
    }
    if let Some(name) = spec["extendedResourceName"].as_str().filter(|name| !amounts::extended(name)) {
        errors.push(Error::invalid(
            &path.child("extendedResourceName"),
            name,
            "must be a valid extended resource name",
        ));
    }
}

/// The elements of a list that is not too long, with their places.
pub(super) fn bounded<'a>(
    list: &'a [Value],
    most: usize,
    path: &Path,
    errors: &mut Errors,
) -> impl Iterator<Item = (Path, &'a Value)> + use<'a> {
    let fits = list.len() <= most;
    if !fits {
        errors.push(Error::too_many(path, list.len(), most));
    }
    let path = path.clone();
    let list = if fits { list } else { &[] };
    list.iter().enumerate().map(move |(at, one)| (path.index(at), one))
}

/// That no two elements of a list that is not too long have the same key.
pub(super) fn unique(list: &[Value], most: usize, key: impl Fn(&Value) -> String, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, one) in list.iter().enumerate().filter(|_| list.len() <= most) {
        let key = key(one);
        if !seen.insert(key.clone()) {
            errors.push(Error::duplicate(&path.index(at), key));
        }
    }
}

pub(super) fn names(devices: &Value) -> Names<'_> {
    let alternatives = |request| list(request, "firstAvailable").iter().map(|one| str_of(one, "name")).collect();
    list(devices, "requests").iter().map(|request| (str_of(request, "name"), alternatives(request))).collect()
}

fn claim(devices: &Value, path: &Path, errors: &mut Errors) {
    let names = names(devices);
    let (requests, at) = (list(devices, "requests"), path.child("requests"));
    for (at, request) in bounded(requests, REQUESTS, &at, errors) {
        self::request(request, &at, errors);
    }
    unique(requests, REQUESTS, |request| str_of(request, "name").to_owned(), &at, errors);
    for (at, constraint) in bounded(list(devices, "constraints"), CONSTRAINTS, &path.child("constraints"), errors) {
        references(constraint, &names, &at, errors);
        let (same, distinct) = (constraint["matchAttribute"].as_str(), constraint["distinctAttribute"].as_str());
        match (same, distinct) {
            (Some(name), _) => attribute(name, &at.child("matchAttribute"), errors),
            (None, Some(name)) => attribute(name, &at.child("distinctAttribute"), errors),
            (None, None) => {
                let text = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
                errors.push(Error::required(&at, text));
            }
        }
    }
    for (at, one) in bounded(list(devices, "config"), CONFIGURATIONS, &path.child("config"), errors) {
        references(one, &names, &at, errors);
        configuration(one, &at, errors);
    }
}

fn request(request: &Value, path: &Path, errors: &mut Errors) {
    let name = str_of(request, "name");
    complain(text::dns_label(name), name, &path.child("name"), errors);
    let (alternatives, exact) = (list(request, "firstAvailable"), &request["exactly"]);
    let rule = "exactly one of `exactly` or `firstAvailable` is required";
    match (alternatives.is_empty(), exact.is_object()) {
        (true, false) => errors.push(Error::required(path, rule)),
        (false, true) => errors.push(Error::invalid(path, Value::Null, format!("{rule}, but multiple fields are set"))),
        (true, true) => wanted(exact, &path.child("exactly"), errors),
        (false, false) => {
            let at = path.child("firstAvailable");
            for (at, one) in bounded(alternatives, ALTERNATIVES, &at, errors) {
                let name = str_of(one, "name");
                complain(text::dns_label(name), name, &at.child("name"), errors);
                wanted(one, &at, errors);
            }
            unique(alternatives, ALTERNATIVES, |one| str_of(one, "name").to_owned(), &at, errors);
        }
    }
}

/// What devices a request, or one of its alternatives, is for.
fn wanted(request: &Value, path: &Path, errors: &mut Errors) {
    match str_of(request, "deviceClassName") {
        "" => errors.push(Error::required(&path.child("deviceClassName"), "")),
        name => complain(text::dns_subdomain(name), name, &path.child("deviceClassName"), errors),
    }
    selectors(request, path, errors);
    let count = request["count"].as_i64().unwrap_or_default();
    let at = path.child("count");
    match str_of(request, "allocationMode") {
        "All" if count != 0 => {
            errors.push(Error::invalid(&at, count, "must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if count <= 0 => errors.push(Error::invalid(&at, count, "must be greater than zero")),
        "All" | "ExactCount" => {}
        mode => errors.push(Error::not_supported(&path.child("allocationMode"), mode, &["All", "ExactCount"])),
    }
    for (at, one) in list(request, "tolerations").iter().enumerate() {
        toleration(one, &path.child("tolerations").index(at), errors);
    }
}

/// Selectors, as far as they can be looked at without reading expressions.
fn selectors(holder: &Value, path: &Path, errors: &mut Errors) {
    for (at, selector) in bounded(list(holder, "selectors"), SELECTORS, &path.child("selectors"), errors) {
        let expression = &selector["cel"];
        if !expression.is_object() {
            errors.push(Error::required(&at.child("cel"), ""));
        } else if str_of(expression, "expression").len() > EXPRESSION {
            errors.push(Error::too_long(&at.child("cel.expression"), EXPRESSION));
        }
    }
}

fn toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (key, value, effect) = (str_of(toleration, "key"), str_of(toleration, "value"), str_of(toleration, "effect"));
    if !key.is_empty() {
        complain(text::qualified_name(key), key, &path.child("key"), errors);
    }
    match str_of(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            errors.push(Error::invalid(&path.child("value"), value, "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => complain(text::label_value(value), value, &path.child("value"), errors),
        "" => errors.push(Error::required(&path.child("operator"), "")),
        other => errors.push(Error::not_supported(&path.child("operator"), other, OPERATORS)),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, EFFECTS));
    }
}

/// The names of requests that something is about.
pub(super) fn references(holder: &Value, known: &Names<'_>, path: &Path, errors: &mut Errors) {
    let (all, path) = (list(holder, "requests"), path.child("requests"));
    for (at, name) in bounded(all, REQUESTS, &path, errors) {
        reference(name.as_str().unwrap_or_default(), known, &at, errors);
    }
    unique(all, REQUESTS, |name| name.as_str().unwrap_or_default().to_owned(), &path, errors);
}

/// The name of a request, or of an alternative of one.
pub(super) fn reference(name: &str, known: &Names<'_>, path: &Path, errors: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        errors.push(Error::invalid(path, name, NO_REQUEST));
        return;
    }
    for part in &parts {
        complain(text::dns_label(part), part, path, errors);
    }
    let alternatives = known.get(parts[0]);
    if !alternatives.is_some_and(|all| parts.get(1).is_none_or(|name| all.contains(name))) {
        errors.push(Error::invalid(path, name, NO_REQUEST));
    }
}

/// An attribute's name with its domain.
fn attribute(name: &str, path: &Path, errors: &mut Errors) {
    super::slices::qualified(name, path, errors);
    if !name.contains('/') {
        let text = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, text));
    }
}

/// What a driver is told.
pub(super) fn configuration(holder: &Value, path: &Path, errors: &mut Errors) {
    let (opaque, path) = (&holder["opaque"], path.child("opaque"));
    if !opaque.is_object() {
        errors.push(Error::required(&path, ""));
        return;
    }
    driver(str_of(opaque, "driver"), &path.child("driver"), errors);
    raw(&opaque["parameters"], &path.child("parameters"), errors);
}

/// An object of a driver's own.
pub(super) fn raw(value: &Value, path: &Path, errors: &mut Errors) {
    if value.is_null() {
        errors.push(Error::required(path, ""));
    } else if value.to_string().len() > PARAMETERS {
        errors.push(Error::too_long(path, PARAMETERS));
    } else if !value.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

/// Where a claim's devices may be used.
pub(super) fn node_selector(holder: &Value, path: &Path, errors: &mut Errors) {
    if holder["nodeSelector"].is_object() {
        placement::node_selector(&holder["nodeSelector"], &path.child("nodeSelector"), errors);
    }
}
