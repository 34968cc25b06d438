//! What is said in the statuses of kinds whose controllers tell of conditions, of load balancers or of sizes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::quantity;
use super::field::{Error, Errors, Path};
use super::{address, amounts, claim_status, complain, list, service, str_of, text};
use crate::object::Object;
use crate::quantity::Quantity;

/// A write of the status of one of these kinds.
pub(super) fn status(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status");
    let status = object.get(&["status"]).unwrap_or(&Value::Null);
    let (conditions, of_conditions) = (list(status, "conditions"), path.child("conditions"));
    match kind {
        "PodDisruptionBudget" => claim_status::conditions(conditions, &of_conditions, &mut errors),
        "ValidatingAdmissionPolicy" => {
            let path = path.child("typeChecking.expressionWarnings");
            for (at, warning) in list(&status["typeChecking"], "expressionWarnings").iter().enumerate() {
                for field in ["warning", "fieldRef"].into_iter().filter(|field| str_of(warning, field).is_empty()) {
                    errors.push(Error::required(&path.index(at).child(field), ""));
                }
            }
            claim_status::conditions(conditions, &of_conditions, &mut errors);
        }
        "FlowSchema" | "PriorityLevelConfiguration" => {
            let mut seen = BTreeSet::new();
            for (at, condition) in conditions.iter().enumerate() {
                let (kind, path) = (str_of(condition, "type"), of_conditions.index(at).child("type"));
                if !seen.insert(kind) {
                    errors.push(Error::duplicate(&path, kind));
                }
                if kind.is_empty() {
                    errors.push(Error::required(&path, ""));
                }
            }
        }
        "APIService" => {
            const KNOWN: &[&str] = &["True", "False", "Unknown"];
            for (at, condition) in conditions.iter().enumerate() {
                let said = str_of(condition, "status");
                if !KNOWN.contains(&said) {
                    errors.push(Error::not_supported(&of_conditions.index(at).child("status"), said, KNOWN));
                }
            }
        }
        "Ingress" => {
            for (at, place) in list(&status["loadBalancer"], "ingress").iter().enumerate() {
                let path = path.child("loadBalancer.ingress").index(at);
                if !str_of(place, "ip").is_empty() {
                    address::check(&place["ip"], &path.child("ip"), &mut errors);
                }
                service::host_name(place, &path, &mut errors);
            }
        }
        "PersistentVolumeClaim" => claim(status, &path, &mut errors),
        _ => {}
    }
    errors
}

/// How large a claim's volume is, and what becomes of its growing.
fn claim(status: &Value, path: &Path, errors: &mut Errors) {
    const STATES: &[&str] = &[
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let negative = |amount: &Value, path: &Path, errors: &mut Errors| {
        let amount = quantity(amount).filter(|amount| *amount < Quantity::ZERO);
        let told = amount.map(|amount| Error::invalid(path, amount.value(), "must be a valid resource quantity"));
        errors.extend(told.clone());
        told.is_some()
    };
    let pairs = |field: &str| status[field].as_object().into_iter().flatten();
    for (name, amount) in pairs("capacity") {
        negative(amount, &path.child("capacity").key(name), errors);
    }
    let of_states = path.child("allocatedResourceStatuses");
    for (name, state) in pairs("allocatedResourceStatuses") {
        resource(name, &of_states, errors);
        if !state.as_str().is_some_and(|state| STATES.contains(&state)) {
            errors.push(Error::not_supported(&of_states, name.as_str(), STATES));
        }
    }
    let of_amounts = path.child("allocatedResources");
    for (name, amount) in pairs("allocatedResources") {
        if !resource(name, &of_amounts, errors) {
            continue;
        }
        let path = of_amounts.key(name);
        if !negative(amount, &path, errors) {
            amounts::amount("storage", amount, &path, errors);
        }
    }
}

/// Whether a claim may have so much of this: storage, or what is not Kubernetes' own.
fn resource(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.len();
    complain(text::qualified_name(name), name, path, errors);
    if errors.len() == before && amounts::native(name) && name != "storage" {
        errors.push(Error::not_supported(path, name, &["storage"]));
    }
    errors.len() == before
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_refused_in_upstreams_words() {
        let cases = [
            (
                "PodDisruptionBudget",
                json!({"conditions": [{}]}),
                &[
                    "status.conditions[0].type: Invalid value: \"\": name part must be non-empty",
                    "status.conditions[0].type: Invalid value: \"\": name part must consist of alphanumeric characters, '-', \
                     '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
                     '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                    "status.conditions[0].status: Unsupported value: \"\": supported values: \"False\", \"True\", \"Unknown\"",
                    "status.conditions[0].lastTransitionTime: Required value",
                    "status.conditions[0].reason: Required value",
                ][..],
            ),
            (
                "ValidatingAdmissionPolicy",
                json!({"typeChecking": {"expressionWarnings": [{}]}}),
                &[
                    "status.typeChecking.expressionWarnings[0].warning: Required value",
                    "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
                ],
            ),
            (
                "FlowSchema",
                json!({"conditions": [{}, {}]}),
                &[
                    "status.conditions[0].type: Required value",
                    "status.conditions[1].type: Duplicate value: \"\"",
                    "status.conditions[1].type: Required value",
                ],
            ),
            (
                "APIService",
                json!({"conditions": [{"status": "True"}, {}]}),
                &[
                    "status.conditions[1].status: Unsupported value: \"\": supported values: \"True\", \"False\", \"Unknown\"",
                ],
            ),
            (
                "Ingress",
                json!({"loadBalancer": {"ingress": [{"ip": "a"}, {"hostname": "10.1.2.3"}]}}),
                &[
                    "status.loadBalancer.ingress[0].ip: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7 or \
                     2001:db8::ffff)",
                    "status.loadBalancer.ingress[1].hostname: Invalid value: \"10.1.2.3\": must be a DNS name, not an IP address",
                ],
            ),
            (
                "PersistentVolumeClaim",
                json!({"capacity": {"a": "-1"}, "allocatedResources": {"a": "1"}, "allocatedResourceStatuses": {"storage": ""}}),
                &[
                    "status.capacity[a]: Invalid value: -1: must be a valid resource quantity",
                    "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \
                     \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \
                     \"NodeResizeInfeasible\", \"NodeResizePending\"",
                    "status.allocatedResources: Unsupported value: \"a\": supported values: \"storage\"",
                ],
            ),
        ];
        for (kind, said, expected) in cases {
            let object = Object::from_value(json!({"status": said})).unwrap();
            let found: Vec<String> = status(kind, &object).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{kind}");
        }
    }
}
