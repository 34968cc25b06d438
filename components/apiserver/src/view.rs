//! Resources that are another form of what is stored: events of `events.k8s.io` are the core group's with other names.

use bytes::Bytes;
use kinit_api::object::Object;

use crate::custom;
use crate::registry::{ResourceSpec, Storage};

/// Field names of `events.k8s.io/v1` and of `v1`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// What is stored, as the resource shows it.
pub fn shown(spec: &ResourceSpec, object: Object) -> Object {
    renamed(spec, object, |(shown, stored)| (stored, shown), spec.api_version())
}

/// What the resource shows, as it is stored.
pub fn stored(spec: &ResourceSpec, object: Object) -> Object {
    renamed(spec, object, |names| names, "v1".to_owned())
}

/// [`shown`] for encoded objects; nothing is decoded where both forms are the same.
pub fn bytes(spec: &ResourceSpec, json: &Bytes) -> Bytes {
    if !is_view(spec) {
        return custom::bytes(spec, json);
    }
    match Object::from_slice(json) {
        Ok(object) => shown(spec, object).to_vec().into(),
        Err(_) => json.clone(),
    }
}

fn is_view(spec: &ResourceSpec) -> bool {
    matches!(spec.storage, Storage::As(_))
}

fn renamed(
    spec: &ResourceSpec,
    mut object: Object,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
    api_version: String,
) -> Object {
    if !is_view(spec) {
        return object;
    }
    for names in EVENT_FIELDS {
        let (from, to) = direction(*names);
        if let Some(value) = object.remove(&[from]) {
            object.set(&[to], value);
        }
    }
    object.set(&["apiVersion"], api_version);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use serde_json::json;

    #[test]
    fn events_have_two_forms() {
        let spec = find("events.k8s.io", "v1", "events").unwrap().1;
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "n",
            "regarding": {"kind": "Pod"}, "reportingController": "c", "reason": "r"});
        let kept = stored(spec, Object::from_value(new.clone()).unwrap());
        assert_eq!(kept.api_version(), "v1");
        assert_eq!((kept.str(&["message"]), kept.str(&["involvedObject", "kind"])), ("n", "Pod"));
        assert_eq!(shown(spec, kept.clone()).into_value(), new);
        let core = find("", "v1", "events").unwrap().1;
        assert_eq!(shown(core, kept.clone()), kept);
    }
}
