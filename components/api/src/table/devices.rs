//! The group resource.k8s.io.

use serde_json::Value;

use super::Column;
use super::cells::{Row, made, name, since_creation, string};
use super::human::{list, text};

const NAME_AND_AGE: &[Column] = &[name(), since_creation()];

const CLAIM: &[Column] = &[name(), made("State", state), since_creation()];

const SLICE: &[Column] = &[
    name(),
    string("Node", "/spec/nodeName"),
    string("Driver", "/spec/driver"),
    string("Pool", "/spec/pool/name"),
    since_creation(),
];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "DeviceClass" | "ResourceClaimTemplate" => NAME_AND_AGE,
        "ResourceClaim" => CLAIM,
        "ResourceSlice" => SLICE,
        _ => return None,
    })
}

fn state(row: Row<'_>) -> Value {
    let deleted = !text(row.object, "/metadata/deletionTimestamp").is_empty();
    let allocated = row.object.pointer("/status/allocation").is_some_and(Value::is_object);
    let reserved = allocated && !list(row.object, "/status/reservedFor").is_empty();
    let states =
        [("deleted", deleted), ("pending", !allocated && !deleted), ("allocated", allocated), ("reserved", reserved)];
    let states: Vec<&str> = states.iter().filter(|(_, holds)| *holds).map(|(state, _)| *state).collect();
    states.join(",").into()
}
