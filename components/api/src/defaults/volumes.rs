//! A Pod's volumes, and the volume sources that a PersistentVolume shares with them.

use serde_json::{Map, Value};

use super::pod::pull_policy;
use super::resources::canonical_lists;
use super::rules::{Rule, apply as table, bool, int, text, visit};

/// Readable by all, writable by root.
const MODE: i64 = 0o644;

const VOLUME: &[Rule] = &[
    text("hostPath", "type", ""),
    int("secret", "defaultMode", MODE),
    int("configMap", "defaultMode", MODE),
    int("downwardAPI", "defaultMode", MODE),
    int("projected", "defaultMode", MODE),
    text("downwardAPI.items[].fieldRef", "apiVersion", "v1"),
    text("projected.sources[].downwardAPI.items[].fieldRef", "apiVersion", "v1"),
    int("projected.sources[].serviceAccountToken", "expirationSeconds", 3600),
    text("ephemeral.volumeClaimTemplate.spec", "volumeMode", "Filesystem"),
];

/// Sources of storage systems, the same in a Pod's volume and in a PersistentVolume's spec.
const SYSTEMS: &[Rule] = &[
    text("iscsi", "iscsiInterface", "default"),
    text("rbd", "pool", "rbd"),
    text("rbd", "user", "admin"),
    text("rbd", "keyring", "/etc/ceph/keyring"),
    text("azureDisk", "cachingMode", "ReadWrite"),
    text("azureDisk", "fsType", "ext4"),
    bool("azureDisk", "readOnly", false),
    text("azureDisk", "kind", "Shared"),
    text("scaleIO", "storageMode", "ThinProvisioned"),
    text("scaleIO", "fsType", "xfs"),
];

/// The volumes of a Pod's spec.
pub(super) fn apply(spec: &mut Map<String, Value>) {
    visit(spec, "volumes[]", &mut |volume| {
        if volume.iter().all(|(field, source)| field == "name" || source.is_null()) {
            volume.insert("emptyDir".into(), Map::new().into());
        }
        table(volume, VOLUME);
        table(volume, SYSTEMS);
        visit(volume, "image", &mut |image| {
            let policy = pull_policy(super::text(image, "reference"));
            table(image, &[text("", "pullPolicy", policy)]);
        });
        canonical_lists(volume, "ephemeral.volumeClaimTemplate.spec.resources", &["limits", "requests"]);
    });
}

/// The source in a PersistentVolume's spec.
pub(super) fn persistent(spec: &mut Map<String, Value>) {
    table(spec, &[text("hostPath", "type", "")]);
    table(spec, SYSTEMS);
    canonical_lists(spec, "", &["capacity"]);
}
