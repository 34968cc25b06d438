//! The group rbac.authorization.k8s.io.

use serde_json::{Map, Value};

use super::rules::{apply as table, text, text_or_empty, visit};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    if !matches!(kind, "RoleBinding" | "ClusterRoleBinding") {
        return;
    }
    table(map, &[text_or_empty("roleRef", "apiGroup", GROUP)]);
    visit(map, "subjects[]", &mut |subject| {
        // A service account is of the core group, whose name is empty.
        if matches!(super::text(subject, "kind"), "User" | "Group") {
            table(subject, &[text("", "apiGroup", GROUP)]);
        }
    });
}
