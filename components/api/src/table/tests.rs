use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-02T00:00:00Z";

fn cells(group: &str, mut object: Value) -> Value {
    let kind = object["kind"].as_str().unwrap().to_owned();
    object["metadata"]["creationTimestamp"] = "2026-01-01T23:50:00Z".into();
    let columns = columns(group, &kind);
    let row = row(columns, object, Include::Nothing, NOW.parse().unwrap());
    assert_eq!(row["cells"].as_array().unwrap().len(), columns.len());
    row["cells"].clone()
}

#[test]
fn durations_are_cut_to_what_matters() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_000, "3h20m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (252_288_000, "8y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(human_duration(seconds), expected, "{seconds}");
    }
}

#[test]
fn cells_are_those_of_each_kind() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}});
    let cases = [
        (
            "",
            json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"b": ""}}),
            json!(["c", 2, "10m"]),
        ),
        (
            "",
            json!({"kind": "ComponentStatus", "metadata": {"name": "etcd-0"},
                "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]}),
            json!(["etcd-0", "Healthy", "ok", ""]),
        ),
        (
            "",
            json!({"kind": "Namespace", "metadata": {"name": "n"}, "status": {"phase": "Active"}}),
            json!(["n", "Active", "10m"]),
        ),
        (
            "",
            json!({
                "kind": "Service", "metadata": {"name": "s"},
                "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"], "selector": {"b": "2", "a": "1"},
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
            }),
            json!(["s", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "10m", "a=1,b=2"]),
        ),
        (
            "",
            json!({
                "kind": "Endpoints", "metadata": {"name": "e"},
                "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "::1"}], "ports": [{"port": 1}, {"port": 2}]}],
            }),
            json!(["e", "1.1.1.1:1,[::1]:1,1.1.1.1:2 + 1 more...", "10m"]),
        ),
        (
            "",
            json!({
                "kind": "Node",
                "metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"unschedulable": true},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
                    "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.1", "architecture": "amd64"},
                },
            }),
            json!([
                "cp1",
                "Ready,SchedulingDisabled",
                "control-plane",
                "10m",
                "v1",
                "10.0.0.2",
                "<none>",
                "<unknown>",
                "6.1 (amd64)",
                "<unknown>",
            ]),
        ),
        (
            "",
            json!({
                "kind": "Event", "metadata": {"name": "e.1"}, "type": "Normal", "reason": "Pulled", "message": "done \n",
                "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
                "firstTimestamp": "2026-01-01T23:59:00Z", "lastTimestamp": "2026-01-01T23:59:30Z", "count": 3,
            }),
            json!(["30s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "done", "60s", 3, "e.1"]),
        ),
        (
            "",
            json!({
                "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
                "spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
            }),
            json!(["c", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "10m", "Filesystem"]),
        ),
        (
            "apps",
            json!({
                "kind": "Deployment", "metadata": {"name": "d"},
                "spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "d"},
                    "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}},
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
            }),
            json!(["d", "2/3", 3, 1, "10m", "a,b", "x:1,y:2", "a in (x,y),app=d"]),
        ),
        (
            "apps",
            json!({
                "kind": "ControllerRevision", "metadata": {"name": "r", "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]},
                "revision": 4,
            }),
            json!(["r", "daemonset.apps/d", 4, "10m"]),
        ),
        (
            "batch",
            json!({
                "kind": "Job", "metadata": {"name": "j"}, "spec": {"completions": 2},
                "status": {
                    "succeeded": 2, "startTime": "2026-01-01T23:50:00Z", "completionTime": "2026-01-01T23:52:05Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            }),
            json!(["j", "Complete", "2/2", "2m5s", "10m", "", "", "<none>"]),
        ),
        (
            "batch",
            json!({"kind": "CronJob", "metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "suspend": false}, "status": {"active": [{}]}}),
            json!(["c", "* * * * *", "<none>", "False", 1, "<none>", "10m", "", "", "<none>"]),
        ),
        (
            "autoscaling",
            json!({
                "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 5,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}],
                },
                "status": {"currentReplicas": 2},
            }),
            json!(["h", "Deployment/d", "cpu: <unknown>/80%", "1", 5, 2, "10m"]),
        ),
        (
            "discovery.k8s.io",
            json!({
                "kind": "EndpointSlice", "metadata": {"name": "e"}, "addressType": "IPv4",
                "ports": [{"port": 80}, {"name": "x"}], "endpoints": [{"addresses": ["1.1.1.1"]}],
            }),
            json!(["e", "IPv4", "80,x", "1.1.1.1", "10m"]),
        ),
        (
            "networking.k8s.io",
            json!({
                "kind": "Ingress", "metadata": {"name": "i"},
                "spec": {"rules": [{"host": "a"}, {}, {"host": "b"}, {"host": "c"}, {"host": "d"}], "tls": [{}]},
            }),
            json!(["i", "<none>", "a,b,c + 2 more...", "", "80, 443", "10m"]),
        ),
        (
            "rbac.authorization.k8s.io",
            json!({
                "kind": "RoleBinding", "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
            }),
            json!(["b", "Role/r", "10m", "u", "", "n/s"]),
        ),
        (
            "rbac.authorization.k8s.io",
            json!({"kind": "Role", "metadata": {"name": "r"}}),
            json!(["r", "2026-01-01T23:50:00Z"]),
        ),
        (
            "certificates.k8s.io",
            json!({
                "kind": "CertificateSigningRequest", "metadata": {"name": "c"},
                "spec": {"signerName": "s", "username": "u", "expirationSeconds": 86400},
                "status": {"conditions": [{"type": "Approved"}], "certificate": "x"},
            }),
            json!(["c", "10m", "s", "u", "24h", "Approved,Issued"]),
        ),
        (
            "storage.k8s.io",
            json!({
                "kind": "StorageClass", "provisioner": "p", "reclaimPolicy": "Retain",
                "metadata": {"name": "s", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            }),
            json!(["s (default)", "p", "Retain", "Immediate", false, "10m"]),
        ),
    ];
    for (group, object, expected) in cases {
        let kind = object["kind"].clone();
        assert_eq!(cells(group, object), expected, "{kind}");
    }
}

#[test]
fn rows_carry_as_much_as_is_asked_for() {
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "status": {"phase": "Succeeded"}});
    let of = |include| row(columns("", "Pod"), pod.clone(), include, NOW.parse().unwrap());
    assert_eq!(of(Include::Object)["object"], pod);
    assert_eq!(of(Include::Nothing)["object"], Value::Null);
    let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p"}});
    assert_eq!(of(Include::Metadata)["object"], metadata);
    assert_eq!(of(Include::Metadata)["conditions"][0]["reason"], "Succeeded");
}
