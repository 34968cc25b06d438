//! The core group, apart from Pods, nodes and volumes.

use serde_json::Value;

use super::Column;
use super::cells::{Row, count, declared, int, made, name, since_creation, string, wide};
use super::human::{age, labels, list, number, or, shortened, text};
use super::{network, node, pod, storage, workloads};

const CONFIG_MAP: &[Column] = &[name(), declared(count("Data", "/data", "/binaryData"), "string"), since_creation()];

const ENDPOINTS: &[Column] = &[name(), made("Endpoints", endpoints), since_creation()];

pub(super) const EVENT: &[Column] = &[
    made("Last Seen", last_seen),
    string("Type", "/type"),
    string("Reason", "/reason"),
    made("Object", |row| event_object(event_field(row.object, "involvedObject", "regarding")).into()),
    wide(made("Subobject", |row| text(event_field(row.object, "involvedObject", "regarding"), "/fieldPath").into())),
    wide(made("Source", source)),
    made("Message", |row| event_field(row.object, "message", "note").as_str().unwrap_or_default().trim().into()),
    wide(made("First Seen", first_seen)),
    wide(made("Count", event_count)),
    wide(name()),
];

const COMPONENT_STATUS: &[Column] = &[
    name(),
    made("Status", |row| {
        match (healthy(row, "status"), healthy(row, "type")) {
            (_, "") => "Unknown",
            ("True", _) => "Healthy",
            _ => "Unhealthy",
        }
        .into()
    }),
    made("Message", |row| healthy(row, "message").into()),
    made("Error", |row| healthy(row, "error").into()),
];

/// A field of the condition that says whether a component is well.
fn healthy<'a>(row: Row<'a>, field: &str) -> &'a str {
    let condition = list(row.object, "/conditions").iter().find(|condition| condition["type"] == "Healthy");
    condition.and_then(|condition| condition[field].as_str()).unwrap_or_default()
}

const NAMESPACE: &[Column] = &[name(), string("Status", "/status/phase"), since_creation()];

const RESOURCE_QUOTA: &[Column] = &[
    name(),
    made("Request", |row| quota(row.object, false).into()),
    made("Limit", |row| quota(row.object, true).into()),
    since_creation(),
];

const SECRET: &[Column] =
    &[name(), string("Type", "/type"), declared(count("Data", "/data", ""), "string"), since_creation()];

const SERVICE_ACCOUNT: &[Column] = &[name(), since_creation()];

const SCALE: &[Column] = &[
    string("Name", "/metadata/name"),
    int("Desired", "/spec/replicas"),
    int("Available", "/status/replicas"),
    since_creation(),
];

const POD_TEMPLATE: &[Column] = &[
    name(),
    made("Containers", |row| workloads::containers(row.object, "/template", "name")),
    made("Images", |row| workloads::containers(row.object, "/template", "image")),
    made("Pod Labels", |row| labels(row.object.pointer("/template/metadata/labels")).into()),
];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "ComponentStatus" => COMPONENT_STATUS,
        "ConfigMap" => CONFIG_MAP,
        "Endpoints" => ENDPOINTS,
        "Event" => EVENT,
        "Namespace" => NAMESPACE,
        "Node" => node::COLUMNS,
        "PersistentVolume" | "PersistentVolumeClaim" => return storage::columns(kind),
        "Pod" => pod::COLUMNS,
        "PodTemplate" => POD_TEMPLATE,
        "ReplicationController" => return workloads::columns(kind),
        "ResourceQuota" => RESOURCE_QUOTA,
        "Scale" => SCALE,
        "Secret" => SECRET,
        "Service" => network::SERVICE,
        "ServiceAccount" => SERVICE_ACCOUNT,
        _ => return None,
    })
}

fn endpoints(row: Row<'_>) -> Value {
    let mut addresses = Vec::new();
    for subset in list(row.object, "/subsets") {
        let ips = || list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            addresses.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, "/port");
            // An IPv6 address is set apart from its port.
            addresses.extend(
                ips().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    shortened(&addresses, 3, "<none>").into()
}

/// A field by its name in the core group, or by the one that events.k8s.io has for the same.
fn event_field<'a>(event: &'a Value, core: &str, newer: &str) -> &'a Value {
    event.get(core).unwrap_or(&event[newer])
}

fn event_object(object: &Value) -> String {
    let kind = text(object, "/kind").to_lowercase();
    match text(object, "/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn first_time(event: &Value) -> &str {
    let first = event_field(event, "firstTimestamp", "deprecatedFirstTimestamp").as_str().unwrap_or_default();
    or(first, text(event, "/eventTime"))
}

fn since(time: &str, row: Row<'_>) -> Value {
    if time.is_empty() { "<unknown>".into() } else { age(time, row.now).into() }
}

fn first_seen(row: Row<'_>) -> Value {
    since(first_time(row.object), row)
}

fn last_seen(row: Row<'_>) -> Value {
    let series = text(row.object, "/series/lastObservedTime");
    let last = event_field(row.object, "lastTimestamp", "deprecatedLastTimestamp").as_str().unwrap_or_default();
    since(or(or(series, last), first_time(row.object)), row)
}

fn event_count(row: Row<'_>) -> Value {
    let count = event_field(row.object, "count", "deprecatedCount").as_i64().unwrap_or_default();
    match row.object.get("series").filter(|series| series.is_object()) {
        Some(series) => number(series, "/count").into(),
        // An event that happened once has no count in the newer API.
        None => count.max(1).into(),
    }
}

fn source(row: Row<'_>) -> Value {
    let source = event_field(row.object, "source", "deprecatedSource");
    let reporter = event_field(row.object, "reportingComponent", "reportingController").as_str().unwrap_or_default();
    let component = or(text(source, "/component"), reporter);
    match or(text(source, "/host"), text(row.object, "/reportingInstance")) {
        "" => component.into(),
        host => format!("{component}, {host}").into(),
    }
}

/// What is used of a quota, and how much there is; limits apart from the rest.
fn quota(quota: &Value, limits: bool) -> String {
    let hard = quota.pointer("/status/hard").and_then(Value::as_object);
    let mut names: Vec<&String> = hard.into_iter().flat_map(|hard| hard.keys()).collect();
    names.retain(|name| name.starts_with("limits.") == limits);
    names.sort();
    let amount = |list: &str, name: &str| {
        let amount = quota["status"][list].get(name).and_then(Value::as_str);
        amount.unwrap_or("0").to_owned()
    };
    let parts: Vec<String> =
        names.iter().map(|name| format!("{name}: {}/{}", amount("used", name), amount("hard", name))).collect();
    parts.join(", ")
}
