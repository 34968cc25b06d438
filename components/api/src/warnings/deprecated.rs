//! What is on its way out: labels, annotations, kinds of volumes.

use serde_json::Value;

use crate::object::Object;
use crate::validate::text;

/// The annotation that named a claim's class before there was a field.
pub const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

const LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Kinds of volumes that nothing mounts any more: the field, the name in warnings, and since when.
pub const VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// The kinds of [`VOLUMES`] that are told of in PersistentVolumes, in upstream's order.
const OF_VOLUMES: [&str; 6] = ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];

/// What is said of a node's label.
pub fn label(key: &str) -> Option<&'static str> {
    LABELS.iter().find(|(name, _)| *name == key).map(|(_, text)| *text)
}

/// What is said of [`CLASS`].
pub fn class_annotation() -> String {
    format!("metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead")
}

/// A PersistentVolume.
pub fn volume(spec: &Value, volume: &Object, all: &mut Vec<String>) {
    let annotated = |key: &str| volume.get(&["metadata", "annotations", key]).is_some();
    if annotated(CLASS) {
        all.push(class_annotation());
    }
    if annotated(MOUNT_OPTIONS) {
        let text = "deprecated since v1.31; use \"mountOptions\" attribute instead";
        all.push(format!("metadata.annotations[{MOUNT_OPTIONS}]: {text}"));
    }
    if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
                    provisioning.";
        all.push(format!("spec.persistentVolumeReclaimPolicy: {text}"));
    }
    let terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array();
    for (at, term) in terms.into_iter().flatten().enumerate() {
        node_term(term, false, &format!("spec.nodeAffinity.required.nodeSelectorTerms[{at}]"), all);
    }
    for kind in OF_VOLUMES.iter().filter(|field| spec[**field].is_object()) {
        let row = VOLUMES.iter().find(|(field, ..)| field == kind);
        all.extend(row.map(|(_, shown, text)| format!("spec.{shown}: {text}")));
    }
}

/// A term of a selector of nodes. `checks` says whether its values are looked at, where they are only preferred.
pub fn node_term(term: &Value, checks: bool, path: &str, all: &mut Vec<String>) {
    for (at, expression) in term["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let key = expression["key"].as_str().unwrap_or_default();
        if let Some(message) = label(key) {
            all.push(format!("{path}.matchExpressions[{at}].key: {key} is {message}"));
        }
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for (index, value) in values.enumerate().filter(|_| checks) {
            let path = format!("{path}.matchExpressions[{at}].values[{index}]");
            all.extend(text::label_value(value).into_iter().map(|why| format!("{path}: {value} is invalid, {why}")));
        }
    }
}

/// A selector of nodes by their labels.
pub fn node_selector(selector: &Value, path: &str, all: &mut Vec<String>) {
    node_term(selector, false, path, all);
    for (key, _) in selector["matchLabels"].as_object().into_iter().flatten() {
        all.extend(label(key).map(|message| format!("{path}.matchLabels.{key}: {message}")));
    }
}
