//! The groups coordination.k8s.io, events.k8s.io, flowcontrol.apiserver.k8s.io, node.k8s.io, scheduling.k8s.io and
//! apiregistration.k8s.io.

use serde_json::Value;

use super::Column;
use super::cells::{Row, boolean, declared, int, made, name, since_creation, string, string_or};
use super::core;
use super::human::{list, or, text};

const LEASE: &[Column] = &[name(), string("Holder", "/spec/holderIdentity"), since_creation()];

const FLOW_SCHEMA: &[Column] = &[
    name(),
    string("PriorityLevel", "/spec/priorityLevelConfiguration/name"),
    declared(int("MatchingPrecedence", "/spec/matchingPrecedence"), "string"),
    string_or("DistinguisherMethod", "/spec/distinguisherMethod/type", "<none>"),
    since_creation(),
    made("MissingPL", |row| or(condition(row.object, "Dangling"), "?").into()),
];

const PRIORITY_LEVEL: &[Column] = &[
    name(),
    string("Type", "/spec/type"),
    made("NominalConcurrencyShares", |row| or_none(row, "/spec/limited/nominalConcurrencyShares")),
    made("Queues", |row| or_none(row, "/spec/limited/limitResponse/queuing/queues")),
    made("HandSize", |row| or_none(row, "/spec/limited/limitResponse/queuing/handSize")),
    made("QueueLengthLimit", |row| or_none(row, "/spec/limited/limitResponse/queuing/queueLengthLimit")),
    since_creation(),
];

const RUNTIME_CLASS: &[Column] = &[name(), string("Handler", "/handler"), since_creation()];

const PRIORITY_CLASS: &[Column] = &[
    name(),
    int("Value", "/value"),
    boolean("Global-Default", "/globalDefault", false),
    since_creation(),
    string("PreemptionPolicy", "/preemptionPolicy"),
];

const API_SERVICE: &[Column] = &[name(), made("Service", service), made("Available", available), since_creation()];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "Lease" => LEASE,
        "Event" => core::EVENT,
        "FlowSchema" => FLOW_SCHEMA,
        "PriorityLevelConfiguration" => PRIORITY_LEVEL,
        "RuntimeClass" => RUNTIME_CLASS,
        "PriorityClass" => PRIORITY_CLASS,
        "APIService" => API_SERVICE,
        _ => return None,
    })
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let condition = list(object, "/status/conditions").iter().find(|condition| condition["type"] == kind);
    condition.map_or("", |condition| text(condition, "/status"))
}

fn or_none(row: Row<'_>, path: &str) -> Value {
    row.object.pointer(path).cloned().unwrap_or_else(|| "<none>".into())
}

fn service(row: Row<'_>) -> Value {
    match row.object.pointer("/spec/service").filter(|service| service.is_object()) {
        Some(service) => format!("{}/{}", text(service, "/namespace"), text(service, "/name")).into(),
        None => "Local".into(),
    }
}

fn available(row: Row<'_>) -> Value {
    let condition = list(row.object, "/status/conditions").iter().find(|condition| condition["type"] == "Available");
    let Some(condition) = condition else { return "Unknown".into() };
    match (text(condition, "/status"), text(condition, "/reason")) {
        ("True", _) => "True".into(),
        (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})").into(),
    }
}
