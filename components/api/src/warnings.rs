//! What is right about an object and still not what its writer may have wanted: clients are told, and the object is stored.

mod deprecated;
mod pods;

use serde_json::Value;

use crate::object::Object;
use crate::validate::text;

/// The warnings about a written object, without `old` about a new one.
pub fn of(group: &str, kind: &str, old: Option<&Object>, object: &Object) -> Vec<String> {
    let mut all = Vec::new();
    let none = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&none);
    match (group, kind) {
        ("", "Pod") => {
            if old.is_none() {
                named(object.name(), "the Pod's hostname", &mut all);
            }
            pods::of(spec, object.get(&["metadata"]).unwrap_or(&none), "", &mut all);
        }
        ("", "PodTemplate") => template(object.get(&["template"]).unwrap_or(&none), "template", &mut all),
        ("", "ReplicationController") | ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            if old.is_none() && !matches!(kind, "DaemonSet" | "StatefulSet") {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            template(&spec["template"], "spec.template", &mut all);
            if kind == "StatefulSet" && spec["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
                let told = "a negative value retains all historical revisions; a value >= 0 is recommended";
                all.push(format!("spec.revisionHistoryLimit: {told}"));
            }
        }
        ("batch", "Job") => {
            if old.is_none() {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            template(&spec["template"], "spec.template", &mut all);
        }
        ("batch", "CronJob") => {
            if old.is_none() {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            template(&spec["jobTemplate"]["spec"]["template"], "spec.jobTemplate.spec.template", &mut all);
        }
        ("", "Service") => service(spec, object, &mut all),
        ("", "PersistentVolume") => deprecated::volume(spec, object, &mut all),
        ("", "PersistentVolumeClaim") => {
            if object.get(&["metadata", "annotations", deprecated::CLASS]).is_some() {
                all.push(deprecated::class_annotation());
            }
            pods::fractions(&spec["resources"], "spec.resources", "storage", &mut all);
        }
        ("", "Node") => {
            if spec["configSource"].is_object() {
                all.push("spec.configSource: the feature is removed".to_owned());
            }
            if spec["externalID"].as_str().is_some_and(|id| !id.is_empty()) {
                all.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
            }
        }
        ("storage.k8s.io", "CSIDriver") => {
            let tokens = spec["tokenRequests"].as_array().is_some_and(|tokens| !tokens.is_empty());
            if tokens && spec["serviceAccountTokenInSecrets"].is_null() {
                let told = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                            prevent possible logging of tokens in volume attributes";
                all.push(told.to_owned());
            }
        }
        ("node.k8s.io", "RuntimeClass") => {
            let labels = object.get(&["scheduling", "nodeSelector"]).and_then(Value::as_object);
            for message in labels.into_iter().flatten().filter_map(|(key, _)| deprecated::label(key)) {
                all.push(format!("scheduling.nodeSelector: {message}"));
            }
        }
        _ => {}
    }
    all
}

fn template(template: &Value, path: &str, all: &mut Vec<String>) {
    pods::of(&template["spec"], &template["metadata"], path, all);
}

/// A name that becomes a host's should be able to be one.
fn named(name: &str, what: &str, all: &mut Vec<String>) {
    let wrong = text::dns_label(name);
    if !wrong.is_empty() {
        all.push(format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: \
             [{}]",
            wrong.join(" ")
        ));
    }
}

fn service(spec: &Value, service: &Object, all: &mut Vec<String>) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    if service.get(&["metadata", "annotations", HINTS]).is_some() {
        all.push(format!("annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    let named = spec["type"] == "ExternalName";
    let headless = spec["type"] == "ClusterIP" && spec["clusterIP"] == "None";
    let has = |field: &str| spec[field].as_str().is_some_and(|text| !text.is_empty());
    let external = spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    let told = [
        (headless && has("loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services"),
        (headless && external, "spec.externalIPs is ignored for headless services"),
        (headless && spec["sessionAffinity"] != "None", "spec.SessionAffinity is ignored for headless services"),
        (
            external && !headless && !named,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ),
        (named && external, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (!named && has("externalName"), "spec.externalName is ignored when spec.type is not \"ExternalName\""),
        (
            spec["trafficDistribution"] == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ];
    all.extend(told.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_clients_are_told() {
        let pod = |spec: Value| ("", "Pod", json!({"metadata": {"name": "a"}, "spec": spec}));
        let container = |more: Value| {
            let mut container = json!({"name": "c"});
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        let cases = [
            (pod(json!({})), None),
            (
                ("", "Node", json!({"spec": {"externalID": "a"}})),
                Some("spec.externalID: this field is deprecated, and is unused by Kubernetes"),
            ),
            (("", "Node", json!({"spec": {"configSource": {}}})), Some("spec.configSource: the feature is removed")),
            (
                ("", "Pod", json!({"metadata": {"name": "a.b"}})),
                Some(
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
                      is recommended: [must not contain dots]",
                ),
            ),
            (
                pod(json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}})),
                Some(
                    "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                ),
            ),
            (
                pod(json!({"volumes": [{"name": "v", "rbd": {}}]})),
                Some("spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"),
            ),
            (
                pod(json!({"volumes": [{"name": "v", "projected": {"sources": [{}]}}]})),
                Some("volume \"v\" (Projected) has no sources provided"),
            ),
            (
                pod(json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}})),
                Some(
                    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null \
                     labelSelector results in matching no pod",
                ),
            ),
            (
                pod(container(json!({"ports": [{"containerPort": 1, "protocol": "TCP", "hostIP": "a"}]}))),
                Some(
                    "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:1 \
                     Protocol:TCP HostIP:a}",
                ),
            ),
            (
                ("storage.k8s.io", "CSIDriver", json!({"spec": {"tokenRequests": [{"audience": "a"}]}})),
                Some(
                    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                     possible logging of tokens in volume attributes",
                ),
            ),
            (
                ("apps", "StatefulSet", json!({"spec": {"revisionHistoryLimit": -1}})),
                Some(
                    "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                     recommended",
                ),
            ),
            (
                pod(container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}))),
                Some(
                    "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                ),
            ),
            (pod(container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}))), None),
            (
                pod(container(json!({"ports": [
                    {"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"},
                ]}))),
                Some("spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"),
            ),
            (
                pod(container(json!({"resources": {"limits": {"memory": "100m"}}}))),
                Some(
                    "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an \
                      integer",
                ),
            ),
            (
                (
                    "apps",
                    "Deployment",
                    json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
                        "terminationGracePeriodSeconds": -1,
                    }}}}),
                ),
                Some(
                    "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be \
                      treated as 1",
                ),
            ),
            (
                ("", "Service", json!({"spec": {"type": "ClusterIP", "externalName": "a"}})),
                Some("spec.externalName is ignored when spec.type is not \"ExternalName\""),
            ),
            (
                ("", "PersistentVolume", json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}})),
                Some(
                    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
                      approach is to use dynamic provisioning.",
                ),
            ),
        ];
        for ((group, kind, value), expected) in cases {
            let object = Object::from_value(value.clone()).unwrap();
            let found = of(group, kind, None, &object);
            assert_eq!(
                found.iter().map(String::as_str).collect::<Vec<_>>(),
                expected.into_iter().collect::<Vec<_>>(),
                "{value}"
            );
        }
    }
}
