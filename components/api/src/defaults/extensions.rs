//! The groups that extend the API, apiextensions.k8s.io and apiregistration.k8s.io, and authentication.k8s.io.

use serde_json::{Map, Value, json};

use super::rules::{apply as table, int, visit};

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "CustomResourceDefinition" => definition(map),
        "APIService" => table(map, &[int("spec.service", "port", 443)]),
        _ => {}
    }
}

/// Tokens that say nothing of their life live for an hour.
pub(super) fn authentication(kind: &str, map: &mut Map<String, Value>) {
    if kind == "TokenRequest" {
        table(map, &[int("spec", "expirationSeconds", 3600)]);
    }
}

fn definition(map: &mut Map<String, Value>) {
    table(map, &[int("spec.conversion.webhook.clientConfig.service", "port", 443)]);
    let mut storage = None;
    visit(map, "spec", &mut |spec| {
        visit(spec, "names", &mut |names| {
            let kind = super::text(names, "kind").to_owned();
            if !kind.is_empty() {
                names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
                names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
            }
        });
        // A conversion that is there says how by itself.
        if spec.get("conversion").is_none_or(serde_json::Value::is_null) {
            spec.insert("conversion".into(), json!({"strategy": "None"}));
        }
        let stored = super::list(spec, "versions").iter().find(|version| version["storage"] == true);
        storage = stored.map(|version| version["name"].clone());
    });
    visit(map, "status", &mut |status| {
        if super::list(status, "storedVersions").is_empty()
            && let Some(name) = &storage
        {
            status.insert("storedVersions".into(), json!([name]));
        }
    });
}
