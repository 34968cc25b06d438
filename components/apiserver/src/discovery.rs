//! What the server serves, told to clients: `/api`, `/apis`, a list per group and version, and `/version`.

use serde_json::{Value, json};

use crate::registry::{RESOURCES, ResourceSpec};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The document at `path`, or `None` where there is none. `server` is this server's `host:port`.
pub fn document(path: &str, server: &str) -> Option<Value> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
        })),
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let mut document = groups().into_iter().find(|own| own == name).map(group)?;
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            Some(document)
        }
        ["api", version] => resources("", version),
        ["apis", group, version] if !group.is_empty() => resources(group, version),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
    })
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = RESOURCES.iter().map(|spec| spec.group).filter(|group| !group.is_empty()).collect();
    groups.dedup();
    groups
}

fn group(name: &str) -> Value {
    let mut versions: Vec<&str> = RESOURCES.iter().filter(|spec| spec.group == name).map(|spec| spec.version).collect();
    versions.dedup();
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let rows: Vec<&ResourceSpec> =
        RESOURCES.iter().filter(|spec| spec.group == group && spec.version == version).collect();
    let first = rows.first()?;
    let mut list = Vec::new();
    for spec in &rows {
        list.push(json!({
            "name": spec.resource, "singularName": spec.singular(), "namespaced": spec.namespaced(), "kind": spec.kind,
            "verbs": VERBS, "shortNames": spec.short_names,
        }));
        let subresources = [("status", spec.status), ("finalize", spec.resource == "namespaces")];
        for (name, _) in subresources.iter().filter(|(_, served)| *served) {
            list.push(json!({
                "name": format!("{}/{name}", spec.resource), "singularName": "", "namespaced": spec.namespaced(),
                "kind": spec.kind, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": list}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_described_once() {
        let described: usize = std::iter::once(("".to_owned(), "v1".to_owned()))
            .chain(document("/apis", "").unwrap()["groups"].as_array().unwrap().iter().map(|group| {
                (
                    group["name"].as_str().unwrap().to_owned(),
                    group["versions"][0]["version"].as_str().unwrap().to_owned(),
                )
            }))
            .map(|(group, version)| resources(&group, &version).unwrap())
            .map(|list| list["resources"].as_array().unwrap().iter().filter(|r| r["singularName"] != "").count())
            .sum();
        assert_eq!(described, RESOURCES.len());
        assert!(document("/apis/none", "").is_none());
        assert_eq!(document("/version", "").unwrap()["gitVersion"], "v1.36.0");
    }
}
