//! The groups storage.k8s.io and scheduling.k8s.io.

use serde_json::{Map, Value, json};

use super::rules::{Rule, apply as table, bool, text, visit};
use super::volumes;

const STORAGE_CLASS: &[Rule] = &[text("", "reclaimPolicy", "Delete"), text("", "volumeBindingMode", "Immediate")];

const CSI_DRIVER: &[Rule] = &[
    bool("spec", "attachRequired", true),
    bool("spec", "podInfoOnMount", false),
    bool("spec", "storageCapacity", false),
    text("spec", "fsGroupPolicy", "ReadWriteOnceWithFSType"),
    bool("spec", "requiresRepublish", false),
    bool("spec", "seLinuxMount", false),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "StorageClass" => table(map, STORAGE_CLASS),
        "CSIDriver" => {
            table(map, CSI_DRIVER);
            visit(map, "spec", &mut |spec| {
                if super::list(spec, "volumeLifecycleModes").is_empty() {
                    spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
                }
            });
        }
        "VolumeAttachment" => {
            visit(map, "spec.source.inlineVolumeSpec", &mut volumes::persistent);
        }
        _ => {}
    }
}

pub(super) fn scheduling(kind: &str, map: &mut Map<String, Value>) {
    if kind == "PriorityClass" {
        table(map, &[text("", "preemptionPolicy", "PreemptLowerPriority")]);
    }
}
