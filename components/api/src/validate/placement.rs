//! Where a Pod may go: its affinity to nodes and to other Pods.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, metadata, str_of, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let nodes = &affinity["nodeAffinity"];
    let of_nodes = path.child("nodeAffinity");
    if nodes[REQUIRED].is_object() {
        let path = of_nodes.child(REQUIRED).child("nodeSelectorTerms");
        let terms = list(&nodes[REQUIRED], "nodeSelectorTerms");
        if terms.is_empty() {
            errors.push(Error::required(&path, "must have at least one node selector term"));
        }
        for (at, term) in terms.iter().enumerate() {
            node_term(term, &path.index(at), errors);
        }
    }
    for (at, term) in list(nodes, PREFERRED).iter().enumerate() {
        let path = of_nodes.child(PREFERRED).index(at);
        weight(term, &path, errors);
        node_term(&term["preference"], &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (at, term) in list(&affinity[kind], REQUIRED).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(at), errors);
        }
        for (at, term) in list(&affinity[kind], PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(term, &path, errors);
            pod_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = term["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn node_term(term: &Value, path: &Path, errors: &mut Errors) {
    for (at, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(at);
        let values = list(expression, "values");
        let of_values = path.child("values");
        match (str_of(expression, "operator"), values.len()) {
            ("In" | "NotIn", 0) => {
                errors.push(Error::required(&of_values, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            ("Exists" | "DoesNotExist", 1..) => {
                let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&of_values, text));
            }
            ("Gt" | "Lt", 0 | 2..) => {
                let text = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&of_values, text));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
            (other, _) => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = str_of(expression, "key");
        complain(text::qualified_name(key), key, &path.child("key"), errors);
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    for selector in ["labelSelector", "namespaceSelector"] {
        if term[selector].is_object() {
            metadata::selector(&term[selector], &path.child(selector), errors);
        }
    }
    for namespace in list(term, "namespaces").iter().filter_map(Value::as_str) {
        complain(text::dns_label(namespace), namespace, &path.child("namespace"), errors);
    }
    let key = str_of(term, "topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    complain(text::qualified_name(key), key, &path.child("topologyKey"), errors);
}
