//! What a kubelet may: read what the Pods on its node use, and write what is its own; pure.
//!
//! NodeRestriction, an admission plugin, goes on where names alone do not tell whose an object is.

use serde_json::Value;

use super::rbac::{Ask, Rule};

/// What a node asks, as far as it matters here.
pub struct NodeAsk<'a> {
    pub node: &'a str,
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// The object's name, also where a field selector tells it.
    pub name: &'a str,
    /// What the field selector `spec.nodeName` asks for; empty without one.
    pub selected_node: &'a str,
}

/// Whether the node may. `related` tells whether a Pod on the node uses an object (resource, namespace, name); `rules`
/// are those that hold for every node.
pub fn allows(ask: &NodeAsk<'_>, rules: &[Rule], related: impl Fn(&str, &str, &str) -> bool) -> bool {
    let related = || !ask.name.is_empty() && related(ask.resource, ask.namespace, ask.name);
    let reads = matches!(ask.verb, "get" | "list" | "watch");
    let own_name = ask.name == ask.node;
    match (ask.group, ask.resource, ask.subresource) {
        ("", "secrets" | "configmaps", "") => reads && !ask.namespace.is_empty() && related(),
        ("", "persistentvolumeclaims", "status") => matches!(ask.verb, "update" | "patch") && related(),
        ("", "persistentvolumeclaims" | "persistentvolumes", "")
        | ("resource.k8s.io", "resourceclaims", "")
        | ("storage.k8s.io", "volumeattachments", "") => ask.verb == "get" && related(),
        ("", "serviceaccounts", "token") => ask.verb == "create" && related(),
        ("", "serviceaccounts", "") => ask.verb == "get" && related(),
        ("coordination.k8s.io", "leases", "") => {
            let writes = matches!(ask.verb, "get" | "update" | "patch" | "delete");
            ask.namespace == "kube-node-lease" && (ask.verb == "create" || (writes && own_name))
        }
        ("storage.k8s.io", "csinodes", "") => {
            ask.verb == "create" || (matches!(ask.verb, "get" | "update" | "patch" | "delete") && own_name)
        }
        ("resource.k8s.io", "resourceslices", "") => match ask.verb {
            "create" => true,
            "get" | "update" | "patch" | "delete" => related(),
            _ => ask.selected_node == ask.node,
        },
        ("", "nodes", "") => matches!(ask.verb, "create" | "update" | "patch") || (reads && own_name),
        ("", "nodes", "status") | ("", "pods", "status") => matches!(ask.verb, "update" | "patch"),
        ("", "pods", "") => match ask.verb {
            "get" => related(),
            "list" | "watch" => ask.selected_node == ask.node || related(),
            "create" | "delete" => true,
            _ => false,
        },
        ("", "pods", "eviction") => ask.verb == "create",
        (
            "",
            "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "persistentvolumes"
            | "serviceaccounts"
            | "nodes"
            | "pods",
            _,
        ) => false,
        _ => {
            let ask = Ask::Resource {
                verb: ask.verb,
                group: ask.group,
                resource: ask.resource,
                subresource: ask.subresource,
                name: ask.name,
                namespace: ask.namespace,
            };
            rules.iter().any(|rule| rule.allows(&ask))
        }
    }
}

/// Whether a Pod uses an object of its namespace by name: in a volume, in its environment, to pull images, or to be
/// somebody.
pub fn pod_uses(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    let list = |value: &'static str| spec[value].as_array().map(Vec::as_slice).unwrap_or_default();
    let volumes = list("volumes");
    let sources = || volumes.iter().flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let containers = || {
        ["containers", "initContainers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|field| spec[field].as_array().into_iter().flatten())
    };
    let environment = |reference: &str, from: &str| {
        containers().any(|container| {
            let entries = |field: &str| container[field].as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
            entries("env").iter().any(|entry| entry["valueFrom"][reference]["name"] == name)
                || entries("envFrom").iter().any(|entry| entry[from]["name"] == name)
        })
    };
    match resource {
        "secrets" => {
            list("imagePullSecrets").iter().any(|secret| secret["name"] == name)
                || volumes.iter().any(|volume| {
                    volume["secret"]["secretName"] == name
                        || ["csi", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "azureFile"]
                            .iter()
                            .any(|kind| {
                                ["nodePublishSecretRef", "secretRef"]
                                    .iter()
                                    .any(|field| volume[*kind][*field]["name"] == name)
                                    || volume[*kind]["secretName"] == name
                            })
                })
                || sources().any(|source| source["secret"]["name"] == name)
                || environment("secretKeyRef", "secretRef")
        }
        "configmaps" => {
            volumes.iter().any(|volume| volume["configMap"]["name"] == name)
                || sources().any(|source| source["configMap"]["name"] == name)
                || environment("configMapKeyRef", "configMapRef")
        }
        "persistentvolumeclaims" => volumes.iter().any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || (volume["ephemeral"].is_object() && claim_name(pod, volume) == name)
        }),
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "resourceclaims" => {
            let statuses = pod["status"]["resourceClaimStatuses"].as_array().into_iter().flatten();
            list("resourceClaims").iter().any(|claim| claim["resourceClaimName"] == name)
                || statuses.into_iter().any(|status| status["resourceClaimName"] == name)
        }
        "pods" => pod["metadata"]["name"] == name,
        _ => false,
    }
}

/// The claim of an ephemeral volume has the names of both.
fn claim_name(pod: &Value, volume: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_reads_what_its_pods_use_and_writes_its_own() {
        // (verb, group, resource/subresource, namespace, name, selected node, allowed)
        let cases = [
            ("get", "", "secrets", "x", "used", "", true),
            ("watch", "", "secrets", "x", "used", "", true),
            ("list", "", "secrets", "x", "", "", false),
            ("get", "", "secrets", "x", "other", "", false),
            ("update", "", "secrets", "x", "used", "", false),
            ("get", "", "nodes", "", "n", "", true),
            ("get", "", "nodes", "", "m", "", false),
            ("list", "", "nodes", "", "", "", false),
            ("patch", "", "nodes/status", "", "n", "", true),
            ("list", "", "pods", "", "", "n", true),
            ("list", "", "pods", "", "", "m", false),
            ("list", "", "pods", "", "", "", false),
            ("create", "", "serviceaccounts/token", "x", "used", "", true),
            ("create", "", "serviceaccounts/token", "x", "other", "", false),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n", "", true),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "m", "", false),
            ("update", "coordination.k8s.io", "leases", "kube-system", "n", "", false),
            ("list", "", "services", "", "", "", true),
            ("delete", "", "services", "x", "a", "", false),
            ("get", "", "nodes/proxy", "", "n", "", false),
        ];
        let rules = [Rule {
            verbs: vec!["list".into(), "get".into()],
            groups: vec!["".into()],
            resources: vec!["services".into(), "nodes/proxy".into()],
            ..Rule::default()
        }];
        for (verb, group, what, namespace, name, selected_node, allowed) in cases {
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let ask = NodeAsk { node: "n", verb, group, resource, subresource, namespace, name, selected_node };
            assert_eq!(allows(&ask, &rules, |_, _, name| name == "used"), allowed, "{verb} {what} {name}");
        }
    }

    #[test]
    fn pods_use_objects_in_many_places() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "mounted"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "ca"}}, {"secret": {"name": "part"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {}},
            ],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "key"}}}], "envFrom": [{"configMapRef": {"name": "all"}}]}],
        }});
        for (resource, names) in [
            ("secrets", vec!["pull", "mounted", "part", "key"]),
            ("configmaps", vec!["ca", "all"]),
            ("persistentvolumeclaims", vec!["data", "p-scratch"]),
            ("serviceaccounts", vec!["robot"]),
            ("pods", vec!["p"]),
        ] {
            for name in names {
                assert!(pod_uses(&pod, resource, name), "{resource} {name}");
            }
            assert!(!pod_uses(&pod, resource, "other"), "{resource}");
        }
    }
}
