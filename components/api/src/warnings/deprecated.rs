//! What is on its way out: labels, annotations, kinds of volumes.

use serde_json::Value;

use crate::object::Object;

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
    for (_, shown, text) in VOLUMES.iter().filter(|(field, ..)| spec[*field].is_object()) {
        all.push(format!("spec.{shown}: {text}"));
    }
}
