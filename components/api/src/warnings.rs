//! What is right about an object and still not what its writer may have wanted: clients are told, and the object is stored.

mod addresses;
mod deprecated;
mod network;
mod overlaps;
pub mod pods;

use serde_json::{Value, json};

use crate::object::Object;
use crate::validate::text;

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// How names end of what a server reads out of files of its own.
const STATIC: &str = ".static.k8s.io";

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
            if old.is_none() && !matches!(kind, "StatefulSet" | "DaemonSet") {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            template(&spec["template"], "spec.template", &mut all);
            if kind == "StatefulSet" {
                stateful_set(spec, &mut all);
            }
        }
        ("batch", "Job") => {
            if old.is_none() {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            job(spec, "spec", &mut all);
        }
        ("batch", "CronJob") => {
            if old.is_none() {
                named(object.name(), "Pod names and hostnames", &mut all);
            }
            job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", &mut all);
        }
        ("", "Service") => service(spec, object, &mut all),
        ("", "PersistentVolume") => deprecated::volume(spec, object, &mut all),
        ("", "PersistentVolumeClaim") => {
            if object.get(&["metadata", "annotations", deprecated::CLASS]).is_some() {
                all.push(deprecated::class_annotation());
            }
            pods::storage(spec, "spec", &mut all);
        }
        ("", "ServiceAccount") => {
            let annotated = |object: &Object| object.get(&["metadata", "annotations", MOUNTABLE]).is_some();
            if annotated(object) && !old.is_some_and(annotated) {
                let text = "prefer separate namespaces to isolate access to mounted secrets";
                all.push(format!("metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; {text}"));
            }
        }
        ("", "Endpoints") => network::endpoints(object, &mut all),
        ("discovery.k8s.io", "EndpointSlice") => network::slice(old, object, &mut all),
        ("networking.k8s.io", "NetworkPolicy") => network::policy(spec, &mut all),
        ("networking.k8s.io", "Ingress") => {
            let annotated = object.get(&["metadata", "annotations", INGRESS_CLASS]).is_some();
            if old.is_none() && annotated && spec["ingressClassName"].is_null() {
                let text = "is deprecated, please use 'spec.ingressClassName' instead";
                all.push(format!("annotation {INGRESS_CLASS:?} {text}"));
            }
        }
        ("", "Node") => {
            if spec["configSource"].is_object() {
                all.push("spec.configSource: the feature is removed".to_owned());
            }
            if spec["externalID"].as_str().is_some_and(|id| !id.is_empty()) {
                all.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
            }
            for (at, range) in spec["podCIDRs"].as_array().into_iter().flatten().enumerate() {
                addresses::range(&format!("spec.podCIDRs[{at}]"), range.as_str().unwrap_or_default(), &mut all);
            }
        }
        ("node.k8s.io", "RuntimeClass") => {
            let labels = object.get(&["scheduling", "nodeSelector"]).and_then(Value::as_object);
            for message in labels.into_iter().flatten().filter_map(|(key, _)| deprecated::label(key)) {
                all.push(format!("scheduling.nodeSelector: {message}"));
            }
        }
        ("storage.k8s.io", "StorageClass") => topologies(object, &mut all),
        ("storage.k8s.io", "CSIStorageCapacity") => {
            deprecated::node_selector(object.get(&["nodeTopology"]).unwrap_or(&none), "nodeTopology", &mut all);
        }
        ("storage.k8s.io", "CSIDriver") => {
            let requests =
                |object: &Object| object.get(&["spec", "tokenRequests"]).cloned().filter(|list| *list != json!([]));
            let asked = requests(object);
            let is_new = asked.is_some() && old.and_then(requests) != asked;
            if is_new && spec["serviceAccountTokenInSecrets"].is_null() {
                let text = "if supported by this CSI driver, set to true to prevent possible logging of tokens in volume \
                            attributes";
                all.push(format!("spec.serviceAccountTokenInSecrets is unset; {text}"));
            }
        }
        ("resource.k8s.io", "ResourceSlice") => {
            let driver = spec["driver"].as_str().unwrap_or_default();
            if driver != driver.to_lowercase() {
                let text = format!("driver names should be lowercase; {driver:?} contains uppercase characters");
                all.push(format!("spec.driver: {text}"));
            }
        }
        ("admissionregistration.k8s.io", _) if object.name().ends_with(STATIC) => {
            let text = "are reserved for static manifest-based configurations and cannot be managed via the API";
            all.push(format!("metadata.name: names ending with {STATIC:?} {text}"));
        }
        _ => {}
    }
    all
}

fn template(template: &Value, path: &str, all: &mut Vec<String>) {
    pods::of(&template["spec"], &template["metadata"], path, all);
}

fn job(spec: &Value, path: &str, all: &mut Vec<String>) {
    let number = |field: &str| spec[field].as_i64().unwrap_or(0);
    if spec["completionMode"] == "Indexed" && number("completions") > 100_000 && number("parallelism") > 10_000 {
        all.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    template(&spec["template"], &format!("{path}.template"), all);
}

fn stateful_set(spec: &Value, all: &mut Vec<String>) {
    for (at, claim) in spec["volumeClaimTemplates"].as_array().into_iter().flatten().enumerate() {
        pods::storage(&claim["spec"], &format!("spec.volumeClaimTemplates[{at}]"), all);
    }
    if spec["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
        let text = "a negative value retains all historical revisions; a value >= 0 is recommended";
        all.push(format!("spec.revisionHistoryLimit: {text}"));
    }
}

fn topologies(class: &Object, all: &mut Vec<String>) {
    let terms = class.get(&["allowedTopologies"]).and_then(Value::as_array);
    for (at, term) in terms.into_iter().flatten().enumerate() {
        for (index, expression) in term["matchLabelExpressions"].as_array().into_iter().flatten().enumerate() {
            let path = format!("allowedTopologies[{at}].matchLabelExpressions[{index}].key");
            let key = expression["key"].as_str().unwrap_or_default();
            all.extend(deprecated::label(key).map(|message| format!("{path}: {message}")));
        }
    }
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
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |field: &str| -> Vec<String> { spec[field].as_array().into_iter().flatten().map(text).collect() };
    let named = spec["type"] == "ExternalName";
    let headless = spec["type"] == "ClusterIP" && spec["clusterIP"] == "None";
    let has = |field: &str| spec[field].as_str().is_some_and(|text| !text.is_empty());
    let outside = list("externalIPs");
    let external = !outside.is_empty();
    let tell = |holds: bool, text: &str, all: &mut Vec<String>| {
        if holds {
            all.push(text.to_owned());
        }
    };
    let addressed = |field: &str, texts: &[String], all: &mut Vec<String>| {
        for (at, text) in texts.iter().enumerate() {
            addresses::address(&format!("spec.{field}[{at}]"), text, all);
        }
    };
    if !headless && !named {
        addressed("clusterIPs", &list("clusterIPs"), all);
    }
    tell(headless && has("loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services", all);
    tell(headless && external, "spec.externalIPs is ignored for headless services", all);
    let sticks = headless && spec["sessionAffinity"] != "None";
    tell(sticks, "spec.SessionAffinity is ignored for headless services", all);
    addressed("externalIPs", &outside, all);
    let going = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
    tell(external && !headless && !named, going, all);
    addresses::address("spec.loadBalancerIP", spec["loadBalancerIP"].as_str().unwrap_or_default(), all);
    for (at, range) in list("loadBalancerSourceRanges").iter().enumerate() {
        addresses::range(&format!("spec.loadBalancerSourceRanges[{at}]"), range, all);
    }
    tell(named && external, "spec.externalIPs is ignored when spec.type is \"ExternalName\"", all);
    let nameless = !named && has("externalName");
    tell(nameless, "spec.externalName is ignored when spec.type is not \"ExternalName\"", all);
    let close = spec["trafficDistribution"] == "PreferClose";
    tell(close, "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"", all);
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
                (
                    "",
                    "Pod",
                    json!({"metadata": {"name": "a", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}}}),
                ),
                Some(
                    "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \
                     \"seccompProfile\" field instead",
                ),
            ),
            (
                (
                    "",
                    "PodTemplate",
                    json!({"template": {
                        "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}},
                        "spec": {"containers": [{"name": "c"}]},
                    }}),
                ),
                Some(
                    "template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; \
                     use the \"appArmorProfile\" field instead",
                ),
            ),
            (
                (
                    "",
                    "PodTemplate",
                    json!({"template": {
                        "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "localhost/p"}},
                        "spec": {"containers": [{"name": "c"}], "securityContext": {
                            "appArmorProfile": {"type": "Localhost", "localhostProfile": "p"},
                        }},
                    }}),
                ),
                None,
            ),
            (
                pod(json!({"overhead": {"memory": "1500m"}})),
                Some("spec.overhead[memory]: fractional byte value \"1500m\" is invalid, must be an integer"),
            ),
            (
                pod(json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
                    "resources": {"requests": {"storage": "1500m"}},
                }}}}]})),
                Some(
                    "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value \
                     \"1500m\" is invalid, must be an integer",
                ),
            ),
            (
                pod(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"preference": {"matchExpressions": [{"key": "a", "values": ["!"]}]}},
                ]}}})),
                Some(
                    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.\
                     matchExpressions[0].values[0]: ! is invalid, a valid label must be an empty string or consist of \
                     alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
                     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ),
            ),
            (
                (
                    "batch",
                    "Job",
                    json!({"metadata": {"name": "a"}, "spec": {
                        "completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001,
                    }}),
                ),
                Some(
                    "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
                     Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
                ),
            ),
            (
                (
                    "storage.k8s.io",
                    "StorageClass",
                    json!({"allowedTopologies": [{"matchLabelExpressions": [
                        {"key": "beta.kubernetes.io/os"},
                    ]}]}),
                ),
                Some(
                    "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                ),
            ),
            (
                (
                    "networking.k8s.io",
                    "Ingress",
                    json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}),
                ),
                Some(
                    "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
                ),
            ),
            (
                ("discovery.k8s.io", "EndpointSlice", json!({"addressType": "FQDN"})),
                Some("spec.addressType: FQDN endpoints are deprecated"),
            ),
            (
                (
                    "networking.k8s.io",
                    "NetworkPolicy",
                    json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "2001:DB8::/32"}}]}]}}),
                ),
                Some(
                    "spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical \
                     format (\"2001:db8::/32\")",
                ),
            ),
            (
                (
                    "",
                    "ServiceAccount",
                    json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}),
                ),
                Some(
                    "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate \
                     namespaces to isolate access to mounted secrets",
                ),
            ),
            (("", "PersistentVolume", json!({"spec": {"quobyte": {}}})), None),
            (
                (
                    "admissionregistration.k8s.io",
                    "ValidatingAdmissionPolicy",
                    json!({"metadata": {"name": "a.static.k8s.io"}}),
                ),
                Some(
                    "metadata.name: names ending with \".static.k8s.io\" are reserved for static manifest-based configurations \
                     and cannot be managed via the API",
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
