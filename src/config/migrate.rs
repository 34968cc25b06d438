//! Older documents written again as the present ones: kubeadm.k8s.io/v1beta3, in which flags were maps and had no order.

use serde_json::{Map, Value, json};

use super::v1beta4::API_VERSION;
use super::{Documents, Error};
use crate::templates;

const OLDER: &str = "kubeadm.k8s.io/v1beta3";
/// Where a v1beta3 document has flags as a map.
const FLAG_MAPS: &[&str] = &[
    "/apiServer/extraArgs",
    "/controllerManager/extraArgs",
    "/scheduler/extraArgs",
    "/etcd/local/extraArgs",
    "/nodeRegistration/kubeletExtraArgs",
];

/// Writes the documents of a file called `name` again; those that are new enough stay as they are.
pub fn migrate(text: &str, name: &str) -> Result<String, Error> {
    let invalid = |reason: String| Error::Invalid { path: name.to_owned(), reason };
    let mut documents = templates::parse(text).map_err(invalid)?;
    let mut timeout = Value::Null;
    for document in &mut documents {
        if document["apiVersion"] != OLDER {
            continue;
        }
        document["apiVersion"] = json!(API_VERSION);
        for pointer in FLAG_MAPS {
            if let Some(flags) = document.pointer_mut(pointer) {
                *flags = listed(flags);
            }
        }
        if let Some(found) = taken(document, "/apiServer", "timeoutForControlPlane") {
            timeout = found;
        }
        if let Some(found) = taken(document, "/discovery", "timeout") {
            document["timeouts"]["discovery"] = found;
        }
    }
    if !timeout.is_null() {
        let at = documents.iter().position(|document| document["kind"] == "InitConfiguration");
        let at = at.unwrap_or_else(|| {
            documents.push(json!({"apiVersion": API_VERSION, "kind": "InitConfiguration"}));
            documents.len() - 1
        });
        documents[at]["timeouts"]["controlPlaneComponentHealthCheck"] = timeout;
    }
    let mut out = Vec::new();
    for document in &documents {
        out.push(serde_yaml::to_string(document).map_err(|error| invalid(error.to_string()))?);
    }
    let out = out.join("---\n");
    // What cannot be said any more is named rather than dropped.
    Documents::parse(&out, name)?;
    Ok(out)
}

/// A map of flags as a list, sorted by name; what is a list already stays.
fn listed(flags: &Value) -> Value {
    let Value::Object(flags) = flags else { return flags.clone() };
    let pairs: std::collections::BTreeMap<&String, &Value> = flags.iter().collect();
    pairs.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn taken(document: &mut Value, pointer: &str, key: &str) -> Option<Value> {
    document
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .and_then(|map: &mut Map<String, Value>| map.remove(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_says_the_same_in_new_words() {
        let old = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer:\n  \
                   timeoutForControlPlane: 5m0s\n  extraArgs:\n    v: \"4\"\n    audit-log-path: /a\n---\napiVersion: \
                   kubeadm.k8s.io/v1beta3\nkind: JoinConfiguration\ndiscovery:\n  timeout: 2m0s\n  file:\n    \
                   kubeConfigPath: /x\n";
        let new = migrate(old, "f").unwrap();
        let all = Documents::parse(&new, "f").unwrap();
        let args = all.cluster.unwrap().api_server.extra_args;
        assert_eq!(args.iter().map(|arg| arg.name.as_str()).collect::<Vec<_>>(), ["audit-log-path", "v"]);
        assert_eq!(all.init.unwrap().timeouts.control_plane_component_health_check, "5m0s");
        assert_eq!(all.join.unwrap().timeouts.discovery, "2m0s");
        assert_eq!(migrate(&new, "f").unwrap(), new);
    }

    #[test]
    fn what_has_no_place_is_named() {
        let old = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nnonsense: 1\n";
        assert!(migrate(old, "f").unwrap_err().to_string().contains("nonsense"));
    }
}
