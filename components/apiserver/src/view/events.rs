//! Events of `events.k8s.io/v1` and of `v1`.

use kinit_api::object::Object;

/// Names of the fields in the one and in the other.
const FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Makes one of `events.k8s.io` of a stored one.
pub fn show(object: &mut Object) {
    FIELDS.iter().for_each(|(shown, stored)| rename(object, stored, shown));
}

/// Makes a stored one of one of `events.k8s.io`.
pub fn store(object: &mut Object) {
    FIELDS.iter().for_each(|(shown, stored)| rename(object, shown, stored));
}

fn rename(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.remove(&[from]) {
        object.set(&[to], value);
    }
}
