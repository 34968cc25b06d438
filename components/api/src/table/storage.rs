//! Volumes, claims, and the group storage.k8s.io.

use serde_json::Value;

use super::Column;
use super::cells::{Row, boolean, count, made, name, since_creation, string, string_or, wide};
use super::human::{list, or, text};
use super::network::marked_default;

const DEFAULT_CLASS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

const VOLUME: &[Column] = &[
    name(),
    string_or("Capacity", "/spec/capacity/storage", "0"),
    made("Access Modes", |row| modes(row.object, "/spec/accessModes").into()),
    string("Reclaim Policy", "/spec/persistentVolumeReclaimPolicy"),
    made("Status", phase),
    made("Claim", claim),
    made("StorageClass", class),
    string_or("VolumeAttributesClass", "/spec/volumeAttributesClassName", "<unset>"),
    string("Reason", "/status/reason"),
    since_creation(),
    wide(string_or("VolumeMode", "/spec/volumeMode", "<unset>")),
];

const CLAIM: &[Column] = &[
    name(),
    made("Status", phase),
    string("Volume", "/spec/volumeName"),
    made("Capacity", |row| if_bound(row, |claim| or(text(claim, "/status/capacity/storage"), "0").to_owned())),
    made("Access Modes", |row| if_bound(row, |claim| modes(claim, "/status/accessModes"))),
    made("StorageClass", class),
    string_or("VolumeAttributesClass", "/spec/volumeAttributesClassName", "<unset>"),
    since_creation(),
    wide(string_or("VolumeMode", "/spec/volumeMode", "<unset>")),
];

const STORAGE_CLASS: &[Column] = &[
    Column { format: "name", ..made("Name", |row| marked_default(row.object, DEFAULT_CLASS)) },
    string("Provisioner", "/provisioner"),
    string_or("ReclaimPolicy", "/reclaimPolicy", "Delete"),
    string_or("VolumeBindingMode", "/volumeBindingMode", "Immediate"),
    Column { kind: "string", ..boolean("AllowVolumeExpansion", "/allowVolumeExpansion", false) },
    since_creation(),
];

const CSI_DRIVER: &[Column] = &[
    name(),
    boolean("AttachRequired", "/spec/attachRequired", true),
    boolean("PodInfoOnMount", "/spec/podInfoOnMount", false),
    boolean("StorageCapacity", "/spec/storageCapacity", false),
    made("TokenRequests", audiences),
    boolean("RequiresRepublish", "/spec/requiresRepublish", false),
    made("Modes", |row| or(&super::human::joined(row.object, "/spec/volumeLifecycleModes", ","), "<none>").into()),
    since_creation(),
];

const CSI_NODE: &[Column] = &[name(), count("Drivers", "/spec/drivers", ""), since_creation()];

const ATTACHMENT: &[Column] = &[
    name(),
    Column { format: "name", ..string("Attacher", "/spec/attacher") },
    string("PV", "/spec/source/persistentVolumeName"),
    string("Node", "/spec/nodeName"),
    boolean("Attached", "/status/attached", false),
    since_creation(),
];

const ATTRIBUTES_CLASS: &[Column] = &[name(), string("DriverName", "/driverName"), since_creation()];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "PersistentVolume" => VOLUME,
        "PersistentVolumeClaim" => CLAIM,
        "StorageClass" => STORAGE_CLASS,
        "CSIDriver" => CSI_DRIVER,
        "CSINode" => CSI_NODE,
        "VolumeAttachment" => ATTACHMENT,
        "VolumeAttributesClass" => ATTRIBUTES_CLASS,
        _ => return None,
    })
}

/// Access modes by their short names, each once.
fn modes(object: &Value, path: &str) -> String {
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| list(object, path).iter().any(|own| own == mode);
    let short: Vec<&str> = known.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}

fn phase(row: Row<'_>) -> Value {
    match text(row.object, "/metadata/deletionTimestamp") {
        "" => text(row.object, "/status/phase").into(),
        _ => "Terminating".into(),
    }
}

fn claim(row: Row<'_>) -> Value {
    match row.object.pointer("/spec/claimRef").filter(|claim| claim.is_object()) {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")).into(),
        None => "".into(),
    }
}

/// The class of a volume or a claim; the annotation is older than the field, and wins.
fn class(row: Row<'_>) -> Value {
    let annotation = row.object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    annotation.unwrap_or_else(|| text(row.object, "/spec/storageClassName")).into()
}

/// What a claim has only once it has a volume.
fn if_bound(row: Row<'_>, make: fn(&Value) -> String) -> Value {
    if text(row.object, "/spec/volumeName").is_empty() { "".into() } else { make(row.object).into() }
}

fn audiences(row: Row<'_>) -> Value {
    let Some(requests) = row.object.pointer("/spec/tokenRequests").and_then(Value::as_array) else {
        return "<unset>".into();
    };
    let audiences: Vec<&str> = requests.iter().map(|request| text(request, "/audience")).collect();
    audiences.join(",").into()
}
