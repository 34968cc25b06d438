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

/// What is said where no Pod of the node uses an object.
fn unrelated(ask: &NodeAsk<'_>) -> String {
    format!("no relationship found between node '{}' and this object", ask.node)
}

/// Whether the node may; the error says why not, in upstream's words, and is empty where upstream says nothing. `related`
/// tells whether a Pod on the node uses an object (resource, namespace, name); `rules` are those that hold for every node.
pub fn decide(ask: &NodeAsk<'_>, rules: &[Rule], related: impl Fn(&str, &str, &str) -> bool) -> Result<(), String> {
    let allowed = |allowed: bool, why: &str| if allowed { Ok(()) } else { Err(why.to_owned()) };
    let named = || {
        allowed(!ask.name.is_empty(), "No Object name found")?;
        if related(ask.resource, ask.namespace, ask.name) { Ok(()) } else { Err(unrelated(ask)) }
    };
    let read = || {
        allowed(matches!(ask.verb, "get" | "list" | "watch"), "can only read resources of this type")?;
        allowed(ask.subresource.is_empty(), "cannot read subresource")?;
        allowed(!ask.namespace.is_empty(), "can only read namespaced object of this type")?;
        named()
    };
    let get = || {
        allowed(ask.verb == "get", "can only get individual resources of this type")?;
        allowed(ask.subresource.is_empty(), "cannot get subresource")?;
        named()
    };
    let own_name = ask.verb == "create" || ask.name == ask.node;
    let kept = matches!(ask.verb, "get" | "create" | "update" | "patch" | "delete");
    match (ask.group, ask.resource) {
        ("", "secrets" | "configmaps") => read(),
        ("", "persistentvolumeclaims") if ask.subresource == "status" => {
            allowed(matches!(ask.verb, "update" | "patch"), "can only get/update/patch this type")?;
            named()
        }
        ("", "persistentvolumeclaims" | "persistentvolumes")
        | ("resource.k8s.io", "resourceclaims")
        | ("storage.k8s.io", "volumeattachments") => get(),
        ("", "serviceaccounts") if ask.verb == "get" && ask.subresource.is_empty() => read(),
        ("", "serviceaccounts") => {
            let one = ask.verb == "create" && !ask.name.is_empty();
            allowed(one, "can only create tokens for individual service accounts")?;
            allowed(ask.subresource == "token", "can only create token subresource of serviceaccount")?;
            named()
        }
        ("coordination.k8s.io", "leases") => {
            allowed(kept, "can only get, create, update, patch, or delete a node lease")?;
            let within = ask.namespace == "kube-node-lease";
            allowed(within, "can only access leases in the \"kube-node-lease\" system namespace")?;
            allowed(own_name, "can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes") => {
            allowed(kept, "can only get, create, update, patch, or delete a CSINode")?;
            allowed(ask.subresource.is_empty(), "cannot authorize CSINode subresources")?;
            allowed(own_name, "can only access CSINode with the same name as the requesting node")
        }
        ("resource.k8s.io", "resourceslices") => {
            allowed(ask.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
            match ask.verb {
                "create" => Ok(()),
                "get" | "update" | "patch" | "delete" => named(),
                "watch" | "list" | "deletecollection" => allowed(
                    ask.selected_node == ask.node,
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                ),
                _ => {
                    Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                          patch, delete, deletecollection"
                        .to_owned())
                }
            }
        }
        ("", "nodes") => match (ask.subresource, ask.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if ask.name == ask.node => Ok(()),
            ("", "get" | "list" | "watch") => {
                let what = if ask.name.is_empty() { "all nodes".to_owned() } else { format!("'{}'", ask.name) };
                Err(format!("node '{}' cannot read {what}, only its own Node object", ask.node))
            }
            _ => Err(String::new()),
        },
        ("", "pods") => match (ask.subresource, ask.verb) {
            ("", "get") => named(),
            ("", "list" | "watch") if ask.selected_node == ask.node => Ok(()),
            ("", "list" | "watch") if !ask.name.is_empty() => named(),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        },
        _ => {
            let ask = Ask::Resource {
                verb: ask.verb,
                group: ask.group,
                resource: ask.resource,
                subresource: ask.subresource,
                name: ask.name,
                namespace: ask.namespace,
            };
            allowed(rules.iter().any(|rule| rule.allows(&ask)), "")
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
        let unrelated = "no relationship found between node 'n' and this object";
        // (verb, group, resource/subresource, namespace, name, selected node, what is said)
        let cases = [
            ("get", "", "secrets", "x", "used", "", "yes"),
            ("watch", "", "secrets", "x", "used", "", "yes"),
            ("list", "", "secrets", "x", "", "", "No Object name found"),
            ("list", "", "secrets", "", "", "", "can only read namespaced object of this type"),
            ("get", "", "secrets", "x", "other", "", unrelated),
            ("get", "", "configmaps/x", "x", "used", "", "cannot read subresource"),
            ("update", "", "secrets", "x", "used", "", "can only read resources of this type"),
            ("get", "", "nodes", "", "n", "", "yes"),
            ("get", "", "nodes", "", "m", "", "node 'n' cannot read 'm', only its own Node object"),
            ("list", "", "nodes", "", "", "", "node 'n' cannot read all nodes, only its own Node object"),
            ("delete", "", "nodes", "", "n", "", ""),
            ("patch", "", "nodes/status", "", "n", "", "yes"),
            ("list", "", "pods", "", "", "n", "yes"),
            ("list", "", "pods", "", "", "m", "can only list/watch pods with spec.nodeName field selector"),
            ("list", "", "pods", "", "", "", "can only list/watch pods with spec.nodeName field selector"),
            ("create", "", "pods/eviction", "x", "p", "", "yes"),
            ("get", "", "pods/log", "x", "p", "", ""),
            ("create", "", "serviceaccounts/token", "x", "used", "", "yes"),
            ("create", "", "serviceaccounts/token", "x", "other", "", unrelated),
            ("create", "", "serviceaccounts", "x", "", "", "can only create tokens for individual service accounts"),
            ("get", "", "serviceaccounts", "x", "used", "", "yes"),
            ("list", "", "persistentvolumeclaims", "x", "", "", "can only get individual resources of this type"),
            ("update", "", "persistentvolumeclaims/status", "x", "used", "", "yes"),
            ("get", "", "persistentvolumeclaims/status", "x", "used", "", "can only get/update/patch this type"),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n", "", "yes"),
            (
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "m",
                "",
                "can only access node lease with the same name as the requesting node",
            ),
            (
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-system",
                "n",
                "",
                "can only access leases in the \"kube-node-lease\" system namespace",
            ),
            (
                "list",
                "storage.k8s.io",
                "csinodes",
                "",
                "",
                "",
                "can only get, create, update, patch, or delete a CSINode",
            ),
            ("deletecollection", "resource.k8s.io", "resourceslices", "", "", "n", "yes"),
            ("list", "", "services", "", "", "", "yes"),
            ("delete", "", "services", "x", "a", "", ""),
            ("get", "", "nodes/proxy", "", "n", "", ""),
        ];
        let rules = [Rule {
            verbs: vec!["list".into(), "get".into()],
            groups: vec!["".into()],
            resources: vec!["services".into(), "nodes/proxy".into()],
            ..Rule::default()
        }];
        for (verb, group, what, namespace, name, selected_node, said) in cases {
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let ask = NodeAsk { node: "n", verb, group, resource, subresource, namespace, name, selected_node };
            let decided = decide(&ask, &rules, |_, _, name| name == "used");
            assert_eq!(decided.err().as_deref().unwrap_or("yes"), said, "{verb} {what} {name}");
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
