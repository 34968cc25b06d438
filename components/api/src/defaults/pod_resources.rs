//! The resources of a Pod as a whole: what they are where only some of them are given.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::list;
use super::resources::quantity;
use crate::quantity::Quantity;

type Totals = BTreeMap<String, Quantity>;

/// Fills the Pod's own requests and huge pages' limits from its containers' and from its limits.
pub(super) fn apply(spec: &mut Map<String, Value>) {
    let Some(resources) = spec.get("resources").and_then(Value::as_object) else { return };
    let given = |field: &str| resources.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut limits, mut requests) = (given("limits"), given("requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let of_containers = |field: &str| totals(spec, field).into_iter().filter(|(name, _)| supported(name));
    for (name, total) in of_containers("limits").filter(|(name, _)| huge_pages(name)) {
        if !requests.contains_key(&name) {
            limits.entry(name).or_insert_with(|| total.to_string().into());
        }
    }
    if !limits.is_empty() {
        for (name, total) in of_containers("requests").filter(|(name, _)| !huge_pages(name)) {
            requests.entry(name).or_insert_with(|| total.to_string().into());
        }
        for (name, limit) in limits.iter().filter(|(name, _)| supported(name)) {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for (field, list) in [("limits", limits), ("requests", requests)] {
        if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut)
            && !list.is_empty()
        {
            resources.insert(field.into(), list.into());
        }
    }
}

fn huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || huge_pages(name)
}

/// What all containers need at once: the sum of those that run side by side, or what one of the init containers needs
/// beside the sidecars that were started before it, whichever is more.
pub(super) fn totals(spec: &Map<String, Value>, field: &str) -> Totals {
    let mut sum = Totals::new();
    for container in list(spec, "containers") {
        add(&mut sum, &own(container, field));
    }
    let mut sidecars = Totals::new();
    let mut peak = Totals::new();
    for container in list(spec, "initContainers") {
        let mut needed = own(container, field);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &needed);
            add(&mut sidecars, &needed);
            needed.clone_from(&sidecars);
        } else {
            add(&mut needed, &sidecars);
        }
        raise(&mut peak, &needed);
    }
    raise(&mut sum, &peak);
    sum
}

fn own(container: &Value, field: &str) -> Totals {
    let list = container["resources"][field].as_object();
    list.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

fn add(sum: &mut Totals, more: &Totals) {
    for (name, value) in more {
        let entry = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.plus(*value);
    }
}

fn raise(most: &mut Totals, other: &Totals) {
    for (name, value) in other {
        let entry = most.entry(name.clone()).or_insert(*value);
        *entry = (*entry).max(*value);
    }
}
