//! ResourceSlices: the devices that drivers have to offer, with their attributes, capacities and counters.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::claims_of_devices::{EFFECTS, bounded, node_selector, unique};
use super::containers::quantity;
use super::field::{Error, Errors, Path};
use super::volumes::driver;
use super::{amounts, complain, list, one_of, str_of, text};
use crate::quantity::Quantity;

const DEVICES: usize = 128;
/// The most devices where some have taints, take from counters, or have lists as attributes.
const DEVICES_WITH_MORE: usize = 64;
const COUNTER_SETS: usize = 8;
const COUNTERS: usize = 32;
const CONSUMPTIONS: usize = 2;
const PROPERTIES: usize = 32;
const ATTRIBUTE_VALUES: usize = 48;
const TAINTS: usize = 16;
const CONDITIONS: usize = 4;
const POOL: usize = 253;
const IDENTIFIER: usize = 32;
const TEXT: usize = 64;
const CHOICES: usize = 10;

pub(super) fn slice(spec: &Value, path: &Path, errors: &mut Errors) {
    driver(str_of(spec, "driver"), &path.child("driver"), errors);
    let (own, at) = (&spec["pool"], path.child("pool"));
    pool(str_of(own, "name"), &at.child("name"), errors);
    let count = own["resourceSliceCount"].as_i64().unwrap_or_default();
    if count <= 0 {
        errors.push(Error::invalid(&at.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if let Some(generation) = own["generation"].as_i64().filter(|generation| *generation < 0) {
        let text = "must be greater than or equal to zero";
        errors.push(Error::invalid(&at.child("generation"), generation, text));
    }
    places(spec, path, errors);
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        errors.push(Error::invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let devices = list(spec, "devices");
    let has_lists = |device: &Value| {
        let attributes = device["attributes"].as_object().into_iter().flatten();
        attributes.into_iter().any(|(_, one)| LISTS.iter().any(|(field, _)| !one[field].is_null()))
    };
    let more = |device: &Value| {
        !list(device, "taints").is_empty() || !list(device, "consumesCounters").is_empty() || has_lists(device)
    };
    let most = if devices.iter().any(more) { DEVICES_WITH_MORE } else { DEVICES };
    let at = path.child("devices");
    for (at, one) in bounded(devices, most, &at, errors) {
        device(one, spec["perDeviceNodeSelection"] == true, &at, errors);
    }
    unique(devices, most, |device| str_of(device, "name").to_owned(), &at, errors);
    let (sets, at) = (list(spec, "sharedCounters"), path.child("sharedCounters"));
    for (at, set) in bounded(sets, COUNTER_SETS, &at, errors) {
        counters(set, "name", &at, errors);
    }
    unique(sets, COUNTER_SETS, |set| str_of(set, "name").to_owned(), &at, errors);
}

/// Where the devices of a slice are, of which there is one way to say it.
fn places(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut set = Vec::new();
    if let Some(node) = spec["nodeName"].as_str() {
        if node.is_empty() {
            let text = "must be either unset or set to a non-empty string";
            errors.push(Error::invalid(&path.child("nodeName"), node, text));
        } else {
            set.push("`nodeName`");
            complain(text::dns_subdomain(node), node, &path.child("nodeName"), errors);
        }
    }
    if spec["nodeSelector"].is_object() {
        set.push("`nodeSelector`");
        node_selector(spec, path, errors);
        let terms = list(&spec["nodeSelector"], "nodeSelectorTerms");
        if terms.len() != 1 {
            let path = path.child("nodeSelector.nodeSelectorTerms");
            errors.push(Error::invalid(&path, terms.to_vec(), "must have exactly one node selector term"));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec[field].as_bool() {
            Some(true) => set.push(shown),
            Some(false) => {
                errors.push(Error::invalid(&path.child(field), false, "must be either unset or set to true"))
            }
            None => {}
        }
    }
    let rule = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => errors.push(Error::required(path, rule)),
        1 => {}
        _ => {
            let text = format!("{rule}, but multiple fields are set");
            errors.push(Error::invalid(path, format!("{{{}}}", set.join(", ")), text));
        }
    }
}

/// The name of a pool: names of nodes, separated by slashes.
pub(super) fn pool(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > POOL {
        errors.push(Error::too_long(path, POOL));
    }
    for part in name.split('/') {
        complain(text::dns_subdomain(part), part, path, errors);
    }
}

fn device(device: &Value, each: bool, path: &Path, errors: &mut Errors) {
    let name = str_of(device, "name");
    complain(text::dns_label(name), name, &path.child("name"), errors);
    let nothing = Map::new();
    let map = |field: &str| device[field].as_object().unwrap_or(&nothing);
    let (attributes, capacities) = (map("attributes"), map("capacity"));
    let count = attributes.len() + capacities.len();
    if count > PROPERTIES {
        let text = format!("the total number of attributes and capacities must not exceed {PROPERTIES}");
        errors.push(Error::invalid(path, count, text));
    }
    let values = |one: &Value| LISTS.iter().map(|(field, _)| list(one, field).len()).sum::<usize>().max(1);
    let values: usize = attributes.values().map(values).sum();
    if values > ATTRIBUTE_VALUES {
        let text = format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES}");
        errors.push(Error::invalid(path, values, text));
    }
    for (key, one) in attributes {
        qualified(key, &path.child("attributes"), errors);
        attribute(one, &path.child("attributes").key(&shortened(key)), errors);
    }
    for (key, one) in capacities {
        let at = path.child("capacity");
        qualified(key, &at, errors);
        let at = at.key(&shortened(key)).child("requestPolicy");
        if device["allowMultipleAllocations"] == true {
            policy(one, &at, errors);
        } else if one["requestPolicy"].is_object() {
            errors.push(Error::forbidden(&at, "allowMultipleAllocations must be true"));
        }
    }
    for (at, taint) in bounded(list(device, "taints"), TAINTS, &path.child("taints"), errors) {
        let (key, value) = (str_of(taint, "key"), str_of(taint, "value"));
        complain(text::qualified_name(key), key, &at.child("key"), errors);
        complain(text::label_value(value), value, &at.child("value"), errors);
        one_of(taint, "effect", EFFECTS, &at, errors);
    }
    let (taken, at) = (list(device, "consumesCounters"), path.child("consumesCounters"));
    for (at, one) in bounded(taken, CONSUMPTIONS, &at, errors) {
        counters(one, "counterSet", &at, errors);
    }
    unique(taken, CONSUMPTIONS, |one| str_of(one, "counterSet").to_owned(), &at, errors);
    own_place(device, each, path, errors);
    binding(device, path, errors);
    for (name, mapping) in map("nodeAllocatableResourceMappings") {
        self::mapping(name, mapping, capacities, &path.child("nodeAllocatableResourceMappings").key(name), errors);
    }
}

/// Where a device is that has a place of its own.
fn own_place(device: &Value, each: bool, path: &Path, errors: &mut Errors) {
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if !each {
        if fields.iter().any(|field| !device[*field].is_null()) {
            let text = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                        true in the ResourceSlice spec";
            errors.push(Error::invalid(path, Value::Null, text));
        }
        return;
    }
    let mut set = Vec::new();
    match device["nodeName"].as_str() {
        Some("") => errors.push(Error::invalid(&path.child("nodeName"), "", "must not be empty")),
        Some(node) => {
            set.push("`nodeName`");
            complain(text::dns_subdomain(node), node, &path.child("nodeName"), errors);
        }
        None => {}
    }
    if device["nodeSelector"].is_object() {
        set.push("`nodeSelector`");
        node_selector(device, path, errors);
    }
    match device["allNodes"].as_bool() {
        Some(true) => set.push("`allNodes`"),
        Some(false) => {
            errors.push(Error::invalid(&path.child("allNodes"), false, "must be either unset or set to true"))
        }
        None => {}
    }
    let rule = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set \
                to true in the ResourceSlice spec";
    match set.len() {
        0 => errors.push(Error::required(path, rule)),
        1 => {}
        _ => errors.push(Error::invalid(path, format!("{{{}}}", set.join(", ")), rule)),
    }
}

/// How much of a node's own resources a device stands for.
fn mapping(name: &str, mapping: &Value, capacities: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    if !amounts::native(name) {
        errors.push(Error::invalid(path, name, "must be a node allocatable resource name"));
    }
    let (multiplier, key) = (quantity(&mapping["allocationMultiplier"]), mapping["capacityKey"].as_str());
    if multiplier.is_none() && key.is_none() {
        errors.push(Error::invalid(path, "", "at least one of allocationMultiplier or capacityKey must be set"));
    }
    if let Some(multiplier) = multiplier.filter(|multiplier| multiplier.as_f64() <= 0.0) {
        errors.push(Error::invalid(&path.child("allocationMultiplier"), multiplier.to_string(), "must be positive"));
    }
    match key {
        Some("") => {
            let text = "capacityKey must not be an empty string";
            errors.push(Error::invalid(&path.child("capacityKey"), "", text));
        }
        Some(key) if !capacities.contains_key(key) => errors.push(Error::not_found(&path.child("capacityKey"), key)),
        _ => {}
    }
}

/// A set of counters, or what is taken of one, which is named by a field.
fn counters(set: &Value, field: &str, path: &Path, errors: &mut Errors) {
    match str_of(set, field) {
        "" => errors.push(Error::required(&path.child(field), "")),
        name => complain(text::dns_label(name), name, &path.child(field), errors),
    }
    let path = path.child("counters");
    match set["counters"].as_object().filter(|counters| !counters.is_empty()) {
        None => errors.push(Error::required(&path, "")),
        Some(counters) if counters.len() > COUNTERS => errors.push(Error::too_many(&path, counters.len(), COUNTERS)),
        Some(counters) => counters.keys().for_each(|key| complain(text::dns_label(key), key, &path, errors)),
    }
}

/// What finds what is wrong with a text.
type Rule = fn(&str, &Path, &mut Errors);

/// The fields of an attribute that hold lists, and what their texts have to be.
const LISTS: [(&str, Option<Rule>); 4] =
    [("bools", None), ("ints", None), ("strings", Some(short)), ("versions", Some(version))];

fn attribute(attribute: &Value, path: &Path, errors: &mut Errors) {
    let set = attribute.as_object().map_or(0, |map| map.values().filter(|value| !value.is_null()).count());
    if let Some(text) = attribute["string"].as_str() {
        short(text, &path.child("string"), errors);
    }
    if let Some(text) = attribute["version"].as_str() {
        version(text, &path.child("version"), errors);
    }
    for (field, rule) in LISTS.iter().filter(|(field, _)| attribute[*field].is_array()) {
        let (all, path) = (list(attribute, field), path.child(field));
        if all.is_empty() {
            errors.push(Error::invalid(&path, Value::Array(Vec::new()), "must not be empty if specified"));
        }
        for (at, text) in all.iter().enumerate() {
            if let Some(rule) = rule {
                rule(text.as_str().unwrap_or_default(), &path.index(at), errors);
            }
        }
    }
    if set != 1 {
        let shown = if set == 0 { "".into() } else { attribute.clone() };
        errors.push(Error::invalid(path, shown, "exactly one value must be specified"));
    }
}

fn short(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > TEXT {
        errors.push(Error::too_long(path, TEXT));
    }
}

fn version(text: &str, path: &Path, errors: &mut Errors) {
    if !is_version(text) {
        errors.push(Error::invalid(path, text, "must be a string compatible with semver.org spec 2.0.0"));
    }
    short(text, path, errors);
}

fn is_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
    };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before.is_none_or(|all| all.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|all| all.split('.').all(word))
}

/// How much of a capacity may be asked for.
fn policy(capacity: &Value, path: &Path, errors: &mut Errors) {
    let policy = &capacity["requestPolicy"];
    let (choices, range) = (list(policy, "validValues"), &policy["validRange"]);
    if !policy.is_object() {
        return;
    }
    if !choices.is_empty() && range.is_object() {
        let text =
            r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
        errors.push(Error::forbidden(path, text));
        return;
    }
    let field = if choices.is_empty() { "validRange" } else { "validValues" };
    if choices.is_empty() && !range.is_object() {
        return;
    }
    let Some(default) = quantity(&policy["default"]) else {
        errors.push(Error::required(&path.child("default"), &format!("required when {field} is defined")));
        return;
    };
    let Some(most) = quantity(&capacity["value"]) else { return };
    if choices.is_empty() {
        self::range(default, most, range, &path.child(field), errors);
    } else {
        self::choices(default, most, choices, &path.child(field), errors);
    }
}

fn choices(default: Quantity, most: Quantity, choices: &[Value], path: &Path, errors: &mut Errors) {
    let amounts: Vec<Quantity> = choices.iter().filter_map(quantity).collect();
    for (at, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let text = "values must be sorted in ascending order";
        errors.push(Error::invalid(&path.index(at + 1), pair[1].to_string(), text));
    }
    for (at, choice) in bounded(choices, CHOICES, path, errors) {
        if let Some(choice) = quantity(choice).filter(|choice| *choice > most) {
            let text = format!("option is larger than capacity value: {most}");
            errors.push(Error::invalid(&at, choice.to_string(), text));
        }
    }
    let whole = |choice: &Value| quantity(choice).map_or_else(String::new, |choice| choice.value().to_string());
    unique(choices, CHOICES, whole, path, errors);
    if choices.len() > CHOICES || !amounts.contains(&default) {
        let text = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(path, default.to_string(), text));
    }
}

fn range(default: Quantity, most: Quantity, range: &Value, path: &Path, errors: &mut Errors) {
    let Some(least) = quantity(&range["min"]) else {
        errors.push(Error::required(&path.child("min"), "required when validRange is defined"));
        return;
    };
    let mut wrong = |field: &str, amount: Quantity, text: String| {
        errors.push(Error::invalid(&path.child(field), amount.to_string(), text));
    };
    if least > most {
        wrong("min", least, format!("min is larger than capacity value: {most}"));
    }
    if default < least {
        wrong("min", default, format!("default is less than min: {least}"));
    }
    let highest = quantity(&range["max"]);
    if let Some(highest) = highest {
        if least > highest {
            wrong("max", least, format!("min is larger than max: {highest}"));
        }
        if highest > most {
            wrong("max", highest, format!("max is larger than capacity value: {most}"));
        }
        if default > highest {
            wrong("max", default, format!("default is more than max: {highest}"));
        }
    }
    let Some(step) = quantity(&range["step"]) else { return };
    let one = least.plus(step);
    if one > most {
        wrong("step", step, format!("one step {one} is larger than capacity value: {most}"));
    }
    for amount in [Some(default), highest].into_iter().flatten() {
        let distance = amount.value().saturating_sub(least.value());
        if distance.checked_rem(step.value()) != Some(0) {
            wrong("step", amount, format!("value is not a multiple of a given step ({step}) from ({least})"));
        }
    }
}

/// The name of an attribute or a capacity, with or without a domain.
pub(super) fn qualified(name: &str, path: &Path, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => identifier(name, path, errors),
        [domain, name] => {
            if domain.is_empty() {
                errors.push(Error::invalid(path, "", "the domain must not be empty"));
            } else {
                driver(domain, path, errors);
            }
            if name.is_empty() {
                errors.push(Error::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(name, path, errors);
            }
        }
        _ => {}
    }
}

fn identifier(name: &str, path: &Path, errors: &mut Errors) {
    if name.len() > IDENTIFIER {
        errors.push(Error::too_long(path, IDENTIFIER));
    }
    complain(text::identifier(name), name, path, errors);
}

/// A key as paths show it, without its middle where it is too long.
fn shortened(key: &str) -> String {
    const MOST: usize = 96;
    const DOTS: &str = "...";
    if key.len() <= MOST {
        return key.to_owned();
    }
    let room = MOST - DOTS.len();
    let part = |range: std::ops::Range<usize>| String::from_utf8_lossy(&key.as_bytes()[range]).into_owned();
    format!("{}{DOTS}{}", part(0..room.div_ceil(2)), part(key.len() - room / 2..key.len()))
}

/// Conditions that a device has to have before its Pod may be bound, and those that say that it never will.
pub(super) fn binding(device: &Value, path: &Path, errors: &mut Errors) {
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let all = FIELDS.map(|field| list(device, field));
    for (field, all) in FIELDS.into_iter().zip(all) {
        for (at, condition) in bounded(all, CONDITIONS, &path.child(field), errors) {
            let condition = condition.as_str().unwrap_or_default();
            complain(text::qualified_name(condition), condition, &at, errors);
        }
    }
    for (field, own) in FIELDS.into_iter().zip(all) {
        let mut seen = BTreeSet::new();
        for (at, condition) in own.iter().filter_map(Value::as_str).enumerate() {
            let path = path.child(field).index(at);
            if !seen.insert(condition) {
                errors.push(Error::duplicate(&path, condition));
            }
            if field == FIELDS[1] && all[0].iter().any(|other| other == condition) {
                let text = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(Error::invalid(&path, condition, text));
            }
        }
    }
    for (at, other) in [(0, 1), (1, 0)] {
        if all[at].is_empty() && !all[other].is_empty() {
            let text = format!("{} are required to use {}", FIELDS[at], FIELDS[other]);
            errors.push(Error::invalid(&path.child(FIELDS[at]), device[FIELDS[at]].clone(), text));
        }
    }
}
