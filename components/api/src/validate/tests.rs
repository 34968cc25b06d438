use serde_json::{Value, json};

use super::*;
use crate::defaults;

fn object(group: &str, kind: &str, value: Value) -> Object {
    let mut object = Object::from_value(value).unwrap();
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    defaults::apply(group, version, kind, &mut object);
    object
}

/// The complaints about a new object, as clients see them.
fn complaints(group: &str, kind: &str, value: Value) -> Vec<String> {
    causes(create(group, kind, &object(group, kind, value)))
}

fn causes(result: Result<(), Status>) -> Vec<String> {
    let Err(status) = result else { return Vec::new() };
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    let causes = status.details.unwrap()["causes"].as_array().unwrap().clone();
    let text = |cause: &Value| format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap());
    causes.iter().map(text).collect()
}

fn merged(mut base: Value, path: &str, value: Value) -> Value {
    let (parent, field) = path.rsplit_once('/').unwrap();
    base.pointer_mut(parent).unwrap()[field] = value;
    base
}

fn pod() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{
            "name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}},
        }],
    }})
}

#[test]
fn sound_objects_pass() {
    assert_eq!(complaints("", "Pod", pod()), [""; 0]);
    let map = json!({"metadata": {"name": "a.b-c", "labels": {"x.io/y": "Z_1"}}, "data": {"k.txt": "v"}});
    assert_eq!(complaints("", "ConfigMap", map), [""; 0]);
    let role = json!({"metadata": {"name": "system:a"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
    assert_eq!(complaints("rbac.authorization.k8s.io", "ClusterRole", role), [""; 0]);
}

#[test]
fn pods_are_refused_in_upstreams_words() {
    let cases = [
        ("/spec/containers", json!([]), "spec.containers: Required value"),
        ("/spec/containers/0/name", json!(""), "spec.containers[0].name: Required value"),
        (
            "/spec/containers/0/name",
            json!("a.b"),
            "spec.containers[0].name: Invalid value: \"a.b\": must not contain dots",
        ),
        ("/spec/containers/0/image", json!(""), "spec.containers[0].image: Required value"),
        (
            "/spec/containers/0/imagePullPolicy",
            json!("Sometimes"),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
        ),
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(70000),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "/spec/containers/0/volumeMounts/0/name",
            json!("w"),
            "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
        ),
        (
            "/spec/containers/0/resources/requests",
            json!({"cpu": "2"}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "/spec/containers/0/resources/requests",
            json!({"memory": "1gb"}),
            "spec.containers[0].resources.requests[memory]: Invalid value: \"1gb\": quantities must match the regular \
             expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "/spec/restartPolicy",
            json!("Maybe"),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        ("/spec/volumes", json!([{"name": "v"}, {"name": "v"}]), "spec.volumes[1].name: Duplicate value: \"v\""),
        (
            "/spec/containers/0/livenessProbe",
            json!({}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "/spec/tolerations",
            json!([{"operator": "Equal"}]),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which \
             means \"match all values and all keys\"",
        ),
        (
            "/spec/securityContext",
            json!({"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "bar.."}]}),
            "spec.securityContext.sysctls[1].name: Invalid value: \"bar..\": must have at most 253 characters and match \
             regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        ),
        (
            "/spec/dnsPolicy",
            json!("None"),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            "/spec/affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required \
             value: must have at least one node selector term",
        ),
        (
            "/metadata/labels",
            json!({"-x": "y"}),
            "metadata.labels: Invalid value: \"-x\": name part must consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
             used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            "/metadata/name",
            json!("A"),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex \
             used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
    ];
    for (path, value, expected) in cases {
        assert_eq!(complaints("", "Pod", merged(pod(), path, value)), [expected], "{path}");
    }
}

#[test]
fn an_address_is_named_by_its_canonical_form() {
    let named = |name: &str| {
        let parent = json!({"resource": "services", "name": "s"});
        complaints("networking.k8s.io", "IPAddress", json!({"metadata": {"name": name}, "spec": {"parentRef": parent}}))
    };
    assert!(named("fe80::1").is_empty());
    assert_eq!(
        named("fe80:0::1"),
        ["metadata.name: Invalid value: \"fe80:0::1\": must be in canonical form (\"fe80::1\")"]
    );
    assert_eq!(named("a").len(), 1);
    let orphan = json!({"metadata": {"name": "10.0.0.1"}, "spec": {}});
    assert_eq!(complaints("networking.k8s.io", "IPAddress", orphan), ["spec.parentRef: Required value"]);
}

#[test]
fn other_kinds_are_refused_in_upstreams_words() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let apps =
        |selector: Value| json!({"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template}});
    let cases = [
        (
            "apps",
            "Deployment",
            apps(json!({"matchLabels": {"a": "x"}})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            "apps",
            "Deployment",
            json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "x"}}, "template": {
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ),
        (
            "apps",
            "ReplicaSet",
            apps(json!({})),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            "batch",
            "Job",
            apps(json!({"matchLabels": {"a": "b"}})),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        ("", "Service", json!({"metadata": {"name": "s"}, "spec": {}}), "spec.ports: Required value"),
        (
            "",
            "Service",
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 0, "targetPort": 1}]}}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            "",
            "Service",
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}}),
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":1,\"TargetPort\":0,\"NodePort\":0}",
        ),
        (
            "",
            "ConfigMap",
            json!({"metadata": {"name": "m"}, "data": {"a b": ""}}),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or \
             '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
        (
            "",
            "Secret",
            json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            "data[tls.key]: Required value",
        ),
        (
            "",
            "PersistentVolumeClaim",
            json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            "rbac.authorization.k8s.io",
            "Role",
            json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "rbac.authorization.k8s.io",
            "ClusterRoleBinding",
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}}),
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
        ),
        (
            "networking.k8s.io",
            "Ingress",
            json!({"metadata": {"name": "i"}, "spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}}),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"metadata": {"name": "n"}, "spec": {"ingress": [{"from": [
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16"]}},
            ]}]}}),
            "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [{"addresses": ["::2"]}]}),
            "endpoints[0].addresses: Invalid value: \"::2\": must be an IPv4 address",
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 1, "minReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
            "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`",
        ),
        (
            "policy",
            "PodDisruptionBudget",
            json!({"metadata": {"name": "p"}, "spec": {"minAvailable": "101%"}}),
            "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            json!({"metadata": {"name": "p"}, "value": 2_000_000_000}),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "",
            "Node",
            json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "Never"}]}}),
            "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \
             \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            "",
            "PersistentVolume",
            json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}}),
            "spec: Required value: must specify a volume type",
        ),
        ("", "Namespace", json!({"metadata": {}}), "metadata.name: Required value: name or generateName is required"),
    ];
    for (group, kind, value, expected) in cases {
        assert_eq!(complaints(group, kind, value), [expected], "{kind}");
    }
}

#[test]
fn a_stateful_set_may_mount_its_claims() {
    let mounts = json!([{"name": "data", "mountPath": "/data"}]);
    let spec = json!({
        "selector": {"matchLabels": {"a": "b"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}],
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]},
        },
    });
    assert_eq!(complaints("apps", "StatefulSet", json!({"metadata": {"name": "s"}, "spec": spec})), [""; 0]);
}

#[test]
fn what_must_stay_stays() {
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    let service = json!({"metadata": {"name": "s"}, "spec": {
        "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 1}],
    }});
    let frozen = json!({"metadata": {"name": "m"}, "data": {"a": "1"}, "immutable": true});
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"}});
    let cases = [
        ("", "Pod", pod(), "/spec/containers/0/image", json!("j"), vec![]),
        ("", "Pod", pod(), "/spec/activeDeadlineSeconds", json!(5), vec![]),
        (
            "",
            "Pod",
            pod(),
            "/spec/nodeName",
            json!("n"),
            vec![format!(
                "spec: Forbidden: pod updates may not change fields other than {}\n@@ -101,7 +101,7 @@\n  \"NodeSelector\": \
                 null,\n  \"ServiceAccountName\": \"\",\n  \"AutomountServiceAccountToken\": null,\n- \"NodeName\": \"\",\n+ \
                 \"NodeName\": \"n\",\n  \"SecurityContext\": {{\n   \"HostNetwork\": false,\n   \"HostPID\": false,\n",
                pod_update::CHANGEABLE
            )],
        ),
        ("apps", "Deployment", deployment.clone(), "/spec/replicas", json!(3), vec![]),
        (
            "apps",
            "Deployment",
            deployment,
            "/spec/selector",
            json!({"matchLabels": {"c": "d"}}),
            vec!["spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable".into()],
        ),
        (
            "",
            "Service",
            service,
            "/spec/clusterIPs",
            json!(["10.0.0.2"]),
            vec![
                "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set".into(),
                "spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`".into(),
            ],
        ),
        (
            "",
            "ConfigMap",
            frozen,
            "/data/a",
            json!("2"),
            vec!["data: Forbidden: field is immutable when `immutable` is set".into()],
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            binding,
            "/roleRef/name",
            json!("q"),
            vec![
                "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\
                 \"Name\":\"q\"}: cannot change roleRef"
                    .into(),
            ],
        ),
    ];
    for (group, kind, value, path, change, expected) in cases {
        let old = object(group, kind, value);
        let new = object(group, kind, merged(old.clone().into_value(), path, change));
        assert_eq!(causes(update(group, kind, &old, &new)), expected, "{kind} {path}");
    }
}

/// The fields and messages that an update is refused for, each as often as it is told.
fn told(kind: &str, group: &str, old: Value, new: Value) -> Vec<(String, String)> {
    let [old, new] = [old, new].map(|tree| Object::from_value(tree).unwrap());
    let Err(status) = update(group, kind, &old, &new) else { return Vec::new() };
    let causes = status.details.unwrap()["causes"].clone();
    let text = |cause: &Value, field: &str| cause[field].as_str().unwrap().to_owned();
    causes.as_array().unwrap().iter().map(|cause| (text(cause, "field"), text(cause, "message"))).collect()
}

#[test]
fn finalizers_are_told_as_often_as_upstream_looks_at_them() {
    let object = |version: &str, kind: &str, finalizer: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "finalizers": finalizer}});
    // How often a name that is none is told, and how often one that nobody knows.
    for (group, kind, bad, unknown) in [("", "ConfigMap", 2, 2), ("coordination.k8s.io", "Lease", 1, 0)] {
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let count = |finalizer: &str| {
            let old = object(&version, kind, json!([]));
            let new = object(&version, kind, json!([finalizer]));
            let told = told(kind, group, old, new);
            told.iter().filter(|(field, _)| field.starts_with("metadata.finalizers")).count()
        };
        assert_eq!((count("UPPER/x"), count("bad")), (bad, unknown), "{kind}");
    }
}

#[test]
fn a_nodes_range_stays_what_it_is() {
    let node = |ranges: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDRs": ranges}});
    let text = "Forbidden: node updates may not change podCIDR except from \"\" to valid";
    let changes = [
        (json!([]), json!(["10.2.0.0/24"]), 0),
        (json!(["10.1.0.0/24"]), json!(["10.1.0.0/24"]), 0),
        (json!(["10.1.0.0/24"]), json!(["10.2.0.0/24"]), 1),
        (json!(["10.1.0.0/24"]), json!([]), 1),
        (json!(["10.1.0.0/24"]), json!(["10.1.0.0/24", "fd00::/64"]), 1),
    ];
    for (old, new, times) in changes {
        let why = vec![("spec.podCIDRs".to_owned(), text.to_owned()); times];
        assert_eq!(told("Node", "", node(old.clone()), node(new.clone())), why, "{old} {new}");
    }
}

#[test]
fn ranges_of_services_stay_what_they_are() {
    let ranges = |cidrs: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "x"}, "spec": {"cidrs": cidrs}});
    let why =
        |field: &str, value: &str| vec![(field.to_owned(), format!("Invalid value: {value}: field is immutable"))];
    let cases = [
        (json!(["10.0.0.0/24"]), Vec::new()),
        (json!(["10.0.0.0/24", "fd00::/112"]), Vec::new()),
        (json!(["10.0.0.0/24x"]), why("spec.cidrs[0]", "\"10.0.0.0/24x\"")),
        (json!(["10.1.0.0/24", "fd00::/112"]), why("spec.cidrs[0]", "\"10.1.0.0/24\"")),
        (json!([]), why("spec.cidrs", "null")),
    ];
    for (new, expected) in cases {
        let told = told("ServiceCIDR", "networking.k8s.io", ranges(json!(["10.0.0.0/24"])), ranges(new.clone()));
        assert_eq!(told, expected, "{new}");
    }
}

#[test]
fn what_is_taken_out_of_a_text_that_stays_is_empty() {
    let class = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "x"}, "spec": spec});
    let told = told("IngressClass", "networking.k8s.io", class(json!({"controller": "a.io/b"})), class(json!({})));
    let first = ("spec.controller".to_owned(), "Invalid value: \"\": field is immutable".to_owned());
    assert!(told.contains(&first), "{told:?}");
}
