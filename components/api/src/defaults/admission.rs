//! The group admissionregistration.k8s.io.

use serde_json::{Map, Value};

use super::rules::{Rule, apply as table, int, object, text, visit};

const WEBHOOK: &[Rule] = &[
    text("webhooks[]", "failurePolicy", "Fail"),
    text("webhooks[]", "matchPolicy", "Equivalent"),
    object("webhooks[]", "namespaceSelector"),
    object("webhooks[]", "objectSelector"),
    int("webhooks[]", "timeoutSeconds", 10),
    int("webhooks[].clientConfig.service", "port", 443),
    text("webhooks[].rules[]", "scope", "*"),
];

const MATCH: &[Rule] = &[
    text("", "matchPolicy", "Equivalent"),
    object("", "namespaceSelector"),
    object("", "objectSelector"),
    text("resourceRules[]", "scope", "*"),
    text("excludeResourceRules[]", "scope", "*"),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "ValidatingWebhookConfiguration" => table(map, WEBHOOK),
        "MutatingWebhookConfiguration" => {
            table(map, WEBHOOK);
            table(map, &[text("webhooks[]", "reinvocationPolicy", "Never")]);
        }
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            table(map, &[text("spec", "failurePolicy", "Fail")]);
            visit(map, "spec.matchConstraints", &mut |constraints| table(constraints, MATCH));
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            visit(map, "spec.matchResources", &mut |constraints| table(constraints, MATCH));
        }
        _ => {}
    }
}
