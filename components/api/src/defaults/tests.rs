use serde_json::{Value, json};

use super::*;

fn defaulted(group: &str, version: &str, kind: &str, value: Value) -> Value {
    let mut object = Object::from_value(value).unwrap();
    apply(group, version, kind, &mut object);
    let once = object.clone();
    apply(group, version, kind, &mut object);
    assert_eq!(object, once, "a second time changes nothing");
    object.into_value()
}

/// Asserts that every field of `part` is in `whole`; lists are compared item by item.
fn assert_holds(whole: &Value, part: &Value, path: &str) {
    match part {
        Value::Object(fields) => {
            for (field, value) in fields {
                assert_holds(&whole[field], value, &format!("{path}.{field}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(whole.as_array().map(Vec::len), Some(items.len()), "{path}");
            for (at, item) in items.iter().enumerate() {
                assert_holds(&whole[at], item, &format!("{path}[{at}]"));
            }
        }
        _ => assert_eq!(whole, part, "{path}"),
    }
}

#[test]
fn a_negative_period_of_grace_is_one_second_in_a_pod_alone() {
    let spec = json!({"terminationGracePeriodSeconds": -5, "containers": []});
    let pod = defaulted("", "v1", "Pod", json!({"spec": spec}));
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 1);
    let template = defaulted("", "v1", "PodTemplate", json!({"template": {"spec": spec}}));
    assert_eq!(template["template"]["spec"]["terminationGracePeriodSeconds"], -5);
}

#[test]
fn a_pod_is_completed() {
    let pod = defaulted(
        "",
        "v1",
        "Pod",
        json!({
            "metadata": {"name": "a", "creationTimestamp": null},
            "spec": {
                "hostNetwork": true,
                "serviceAccount": "builder",
                "volumes": [
                    {"name": "e"},
                    {"name": "h", "hostPath": {"path": "/x"}},
                    {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                    {"name": "m", "emptyDir": {"sizeLimit": "1024Mi"}},
                ],
                "containers": [{
                    "name": "c", "image": "host:5000/app",
                    "ports": [{"containerPort": 80}],
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
                }],
            },
        }),
    );
    assert_eq!(pod["metadata"], json!({"name": "a"}));
    let expected = json!({
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "enableServiceLinks": true,
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
        "serviceAccount": "builder", "serviceAccountName": "builder",
        "volumes": [
            {"emptyDir": {}},
            {"hostPath": {"path": "/x", "type": ""}},
            {"projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3600}}]}},
            {"emptyDir": {"sizeLimit": "1Gi"}},
        ],
        "containers": [{
            "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
            "env": [{"valueFrom": {"fieldRef": {"apiVersion": "v1"}}}],
            "resources": {
                "limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"},
            },
            "livenessProbe": {
                "httpGet": {"path": "/", "scheme": "HTTP"}, "periodSeconds": 5, "timeoutSeconds": 1,
                "successThreshold": 1, "failureThreshold": 3,
            },
        }],
    });
    assert_holds(&pod["spec"], &expected, "spec");
}

#[test]
fn a_template_leaves_to_pods_what_is_theirs() {
    let template = json!({"spec": {
        "hostNetwork": true,
        "containers": [{"image": "a:1", "ports": [{"containerPort": 1}], "resources": {"limits": {"cpu": "1"}}}],
    }});
    let deployment = defaulted("apps", "v1", "Deployment", json!({"spec": {"template": template}}));
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert!(spec.get("enableServiceLinks").is_none());
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert!(container["ports"][0].get("hostPort").is_none());
    assert!(container["resources"].get("requests").is_none());
}

#[test]
fn images_are_pulled_by_their_tag() {
    let digest = format!("a@sha256:{}", "0".repeat(64));
    let cases = [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("r:5000/a", "Always"),
        ("r:5000/a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("r:5000/a:1", "IfNotPresent"),
        (digest.as_str(), "IfNotPresent"),
        ("", "IfNotPresent"),
    ];
    for (image, policy) in cases {
        assert_eq!(pod::pull_policy(image), policy, "{image}");
    }
}

#[test]
fn a_pods_own_requests_follow_its_containers() {
    let spec = json!({
        "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
        "initContainers": [
            {"restartPolicy": "Always", "resources": {"requests": {"cpu": "200m"}}},
            {"resources": {"requests": {"cpu": "3"}}},
        ],
        "containers": [{"resources": {"requests": {"cpu": "1"}}}],
    });
    let pod = defaulted("", "v1", "Pod", json!({"spec": spec}));
    assert_eq!(pod["spec"]["resources"]["requests"], json!({"cpu": "3200m", "memory": "1Gi"}));
}

#[test]
fn services_by_their_type() {
    let cases = [
        (
            json!({"ports": [{"port": 80}]}),
            json!({
                "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": null, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            }),
        ),
        (
            json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
            json!({
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            }),
        ),
        (json!({"type": "LoadBalancer"}), json!({"allocateLoadBalancerNodePorts": true})),
        (json!({"type": "ExternalName"}), json!({"internalTrafficPolicy": null, "externalTrafficPolicy": null})),
    ];
    for (given, expected) in cases {
        let service = defaulted("", "v1", "Service", json!({"spec": given}));
        assert_holds(&service["spec"], &expected, "spec");
    }
}

#[test]
fn kinds_by_table() {
    let cases = [
        ("", "v1", "Secret", json!({}), json!({"type": "Opaque"})),
        (
            "",
            "v1",
            "Namespace",
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "a"}}, "status": {"phase": "Active"}}),
        ),
        (
            "",
            "v1",
            "Node",
            json!({"status": {"capacity": {"cpu": 2, "memory": "2048Ki"}}}),
            json!({"status": {"allocatable": {"cpu": "2", "memory": "2Mi"}}}),
        ),
        (
            "",
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Ki"}}]}}),
            json!({"spec": {"limits": [{"default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Ki"}}]}}),
        ),
        (
            "apps",
            "v1",
            "Deployment",
            json!({"spec": {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {
                "replicas": 0, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
            }}),
        ),
        (
            "apps",
            "v1",
            "StatefulSet",
            json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}}),
            json!({"spec": {
                "podManagementPolicy": "OrderedReady", "updateStrategy": {"rollingUpdate": null},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"},
            }}),
        ),
        (
            "apps",
            "v1",
            "DaemonSet",
            json!({"spec": {}}),
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}}),
        ),
        (
            "batch",
            "v1",
            "Job",
            json!({"metadata": {"name": "j"}, "spec": {"template": {"metadata": {"labels": {"x": "y"}}}}}),
            json!({
                "metadata": {"labels": {"x": "y"}},
                "spec": {
                    "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
                    "suspend": false, "podReplacementPolicy": "TerminatingOrFailed",
                },
            }),
        ),
        (
            "batch",
            "v1",
            "Job",
            json!({"spec": {"parallelism": 2, "backoffLimitPerIndex": 1}}),
            json!({"spec": {"completions": null, "parallelism": 2, "backoffLimit": 2_147_483_647}}),
        ),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"behavior": {"scaleUp": {"selectPolicy": "Min"}}}}),
            json!({"spec": {
                "minReplicas": 1,
                "metrics": [{"resource": {"target": {"averageUtilization": 80}}}],
                "behavior": {
                    "scaleUp": {"selectPolicy": "Min", "stabilizationWindowSeconds": 0},
                    "scaleDown": {"selectPolicy": "Max", "stabilizationWindowSeconds": null},
                },
            }}),
        ),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            json!({"roleRef": {}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
            json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io"}, {"apiGroup": null}],
            }),
        ),
        (
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            json!({"spec": {"egress": [{"ports": [{}]}]}}),
            json!({"spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"protocol": "TCP"}]}]}}),
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            json!({"spec": {"names": {"kind": "Foo"}, "versions": [{"name": "v1"}, {"name": "v2", "storage": true}]}}),
            json!({
                "spec": {"names": {"singular": "foo", "listKind": "FooList"}, "conversion": {"strategy": "None"}},
                "status": {"storedVersions": ["v2"]},
            }),
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": [{"clientConfig": {"service": {}}, "rules": [{}]}]}),
            json!({"webhooks": [{
                "clientConfig": {"service": {"port": 443}}, "rules": [{"scope": "*"}], "timeoutSeconds": 10,
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            }]}),
        ),
        (
            "resource.k8s.io",
            "v1",
            "ResourceClaim",
            json!({"spec": {"devices": {"requests": [{"exactly": {}}, {"firstAvailable": [{"allocationMode": "All"}]}]}}}),
            json!({"spec": {"devices": {"requests": [
                {"exactly": {"allocationMode": "ExactCount", "count": 1}}, {"firstAvailable": [{"count": null}]},
            ]}}}),
        ),
        ("scheduling.k8s.io", "v1", "PriorityClass", json!({}), json!({"preemptionPolicy": "PreemptLowerPriority"})),
        ("storage.k8s.io", "v1", "CSIDriver", json!({}), json!({"spec": {"volumeLifecycleModes": ["Persistent"]}})),
        ("example.com", "v1", "Job", json!({"spec": {"a": null}}), json!({"spec": {"suspend": null}})),
    ];
    for (group, version, kind, given, expected) in cases {
        assert_holds(&defaulted(group, version, kind, given), &expected, kind);
    }
}

#[test]
fn a_custom_resource_keeps_its_nulls() {
    let given = json!({"spec": {"a": null}});
    assert_eq!(defaulted("example.com", "v1", "Job", given.clone()), given);
}

#[test]
fn jobs_select_their_own_pods() {
    let mut job = Object::from_value(json!({
        "metadata": {"name": "j"},
        "spec": {"template": {"metadata": {"labels": {"job-name": "own"}}}},
    }))
    .unwrap();
    job_selector(&mut job, "u1");
    let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}});
    assert_eq!(job.get(&["spec", "selector"]), Some(&selector));
    let labels = job.get(&["spec", "template", "metadata", "labels"]).unwrap();
    assert_eq!((&labels["job-name"], &labels["batch.kubernetes.io/job-name"]), (&json!("own"), &json!("j")));

    let mut manual = Object::from_value(json!({"metadata": {}, "spec": {"manualSelector": true}})).unwrap();
    job_selector(&mut manual, "u1");
    assert_eq!(manual.get(&["spec", "selector"]), None);
}
