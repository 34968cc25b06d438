//! The group discovery.k8s.io.

use serde_json::{Map, Value};

use super::rules::{apply as table, text};

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    if kind == "EndpointSlice" {
        table(map, &[text("ports[]", "name", ""), text("ports[]", "protocol", "TCP")]);
    }
}
