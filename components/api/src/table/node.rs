//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Column;
use super::cells::{Row, made, name, since_creation, string, string_or, wide};
use super::human::{list, or, text};

pub(super) const COLUMNS: &[Column] = &[
    name(),
    made("Status", status),
    made("Roles", roles),
    since_creation(),
    string("Version", "/status/nodeInfo/kubeletVersion"),
    wide(made("Internal-IP", |row| address(row, "InternalIP"))),
    wide(made("External-IP", |row| address(row, "ExternalIP"))),
    wide(string_or("OS-Image", "/status/nodeInfo/osImage", "<unknown>")),
    wide(made("Kernel-Version", kernel)),
    wide(string_or("Container-Runtime", "/status/nodeInfo/containerRuntimeVersion", "<unknown>")),
];

fn status(row: Row<'_>) -> Value {
    let ready = list(row.object, "/status/conditions").iter().rfind(|condition| condition["type"] == "Ready");
    let status = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    };
    let cordoned = row.object.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned { format!("{status},SchedulingDisabled").into() } else { status.into() }
}

fn roles(row: Row<'_>) -> Value {
    let labels = row.object.pointer("/metadata/labels").and_then(Value::as_object);
    let role = |(key, value): (&String, &Value)| {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role.to_owned(),
            None if key == "kubernetes.io/role" => value.as_str()?.to_owned(),
            None => return None,
        };
        Some(role).filter(|role| !role.is_empty())
    };
    let roles: BTreeSet<String> = labels.into_iter().flatten().filter_map(role).collect();
    let roles: Vec<String> = roles.into_iter().collect();
    or(&roles.join(","), "<none>").into()
}

fn address(row: Row<'_>, kind: &str) -> Value {
    let address = list(row.object, "/status/addresses").iter().find(|address| address["type"] == kind);
    address.map_or("<none>", |address| text(address, "/address")).into()
}

fn kernel(row: Row<'_>) -> Value {
    let version = or(text(row.object, "/status/nodeInfo/kernelVersion"), "<unknown>");
    match text(row.object, "/status/nodeInfo/architecture") {
        "" => version.into(),
        architecture => format!("{version} ({architecture})").into(),
    }
}
