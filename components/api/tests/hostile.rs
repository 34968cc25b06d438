//! What clients send may be anything: no decoder, patch, selector, default or rule panics over it.

use kinit_api::object::Object;
use kinit_api::selector::{FieldSelector, LabelSelector};
use kinit_api::{defaults, patch, protobuf, strict, validate};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Kinds with much to look at.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "PersistentVolume"),
    ("", "v1", "LimitRange"),
    ("", "v1", "ResourceQuota"),
    ("", "v1", "Endpoints"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "DaemonSet"),
    ("batch", "v1", "Job"),
    ("batch", "v1", "CronJob"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("storage.k8s.io", "v1", "StorageClass"),
    ("storage.k8s.io", "v1", "CSINode"),
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"),
    ("certificates.k8s.io", "v1", "CertificateSigningRequest"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
];

/// Field names that mean something somewhere, so that random trees get past the top.
const NAMES: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "annotations",
    "containers",
    "initContainers",
    "image",
    "ports",
    "port",
    "containerPort",
    "hostPort",
    "env",
    "valueFrom",
    "fieldRef",
    "fieldPath",
    "volumes",
    "emptyDir",
    "secret",
    "projected",
    "sources",
    "volumeMounts",
    "mountPath",
    "resources",
    "limits",
    "requests",
    "cpu",
    "memory",
    "selector",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "template",
    "replicas",
    "strategy",
    "type",
    "rollingUpdate",
    "maxSurge",
    "maxUnavailable",
    "livenessProbe",
    "httpGet",
    "exec",
    "command",
    "affinity",
    "nodeAffinity",
    "tolerations",
    "rules",
    "http",
    "paths",
    "backend",
    "service",
    "ingress",
    "egress",
    "from",
    "to",
    "ipBlock",
    "cidr",
    "except",
    "subsets",
    "addresses",
    "ip",
    "endpoints",
    "metrics",
    "target",
    "behavior",
    "hard",
    "scopes",
    "max",
    "min",
    "default",
    "webhooks",
    "clientConfig",
    "url",
    "schedule",
    "jobTemplate",
    "completions",
    "completionMode",
    "successPolicy",
    "succeededIndexes",
    "podFailurePolicy",
    "onExitCodes",
    "nodePort",
    "clusterIPs",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "A b",
    "..",
    "/",
    "a/b/c",
    "-1",
    "1",
    "100%",
    "1Gi",
    "0x",
    "10.0.0.1",
    "::",
    "10.0.0.0/8",
    "::/0",
    "RollingUpdate",
    "Indexed",
    "Always",
    "In",
    "Exists",
    "1-2-",
    "0,1-3",
    "metadata.labels['x']",
    "http://[",
    "\u{0}",
    "é",
    "9999999999999999999",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(TEXTS).prop_map(str::to_owned),
        1 => ".{0,12}",
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..100_001).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 6, |inner| {
        let name = prop_oneof![9 => proptest::sample::select(NAMES).prop_map(str::to_owned), 1 => text()];
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => vec((name, inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A tree as an object of a kind, where it can be one.
fn object(value: Value, (group, version, kind): (&str, &str, &str)) -> Option<Object> {
    let mut object = Object::from_value(value)?;
    let schema = kinit_schema::kind(group, version, kind)?;
    strict::conform(object.map_mut(), schema).ok()?;
    defaults::apply(group, version, kind, &mut object);
    Some(object)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn decoders_take_any_bytes(bytes in vec(any::<u8>(), 0..256)) {
        let _ = strict::parse(&bytes);
        let _ = strict::parse_yaml(&bytes);
        let _ = protobuf::decode(&bytes, ("v1", "Pod"));
        let framed: Vec<u8> = b"k8s\0".iter().copied().chain(bytes).collect();
        let _ = protobuf::decode(&framed, ("", ""));
    }

    #[test]
    fn protobuf_that_has_been_damaged_is_no_more_than_an_error(
        value in tree(), at in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        if let Some(mut pod) = object(value, KINDS[0]) {
            pod.set(&["apiVersion"], "v1");
            pod.set(&["kind"], "Pod");
            if let Some(mut bytes) = protobuf::encode(&pod.into_value()) {
                let at = at.index(bytes.len());
                bytes[at] = with;
                let _ = protobuf::decode(&bytes, ("", ""));
            }
        }
    }

    #[test]
    fn selectors_take_any_text(text in ".{0,64}", of in tree()) {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = LabelSelector::from_object(&of);
    }

    #[test]
    fn patches_take_any_tree(mut target in tree(), change in tree(), at in 0..KINDS.len()) {
        let (group, version, kind) = KINDS[at];
        patch::merge(&mut target.clone(), &change);
        if let Some(schema) = kinit_schema::kind(group, version, kind) {
            let _ = patch::strategic(&mut target, &change, schema);
        }
    }

    #[test]
    fn defaults_and_rules_take_whatever_has_the_kinds_types(old in tree(), new in tree(), at in 0..KINDS.len()) {
        let (group, version, kind) = KINDS[at];
        if let Some(new) = object(new, (group, version, kind)) {
            let _ = validate::create(group, kind, &new);
            let mut again = new.clone();
            defaults::apply(group, version, kind, &mut again);
            prop_assert_eq!(&again, &new, "defaults are set once");
            if let Some(old) = object(old, (group, version, kind)) {
                let _ = validate::update(group, kind, &old, &new);
                for name in ["status", "resize", "ephemeralcontainers"] {
                    let _ = validate::subresource(group, kind, name, &old, &new, ("", ""));
                }
            }
        }
    }
}

#[test]
fn depth_and_size_are_bounded() {
    for open in ["[", "{\"a\":"] {
        assert!(strict::parse(open.repeat(100_000).as_bytes()).is_err(), "{open}");
    }
    assert!(strict::parse_yaml("[".repeat(10_000).as_bytes()).is_err());
    // Aliases of aliases would be more than any memory holds.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(strict::parse_yaml(bomb.as_bytes()).is_err());
}
