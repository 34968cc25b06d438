//! What the targets begin with.

use serde_json::{Value, json};

use crate::registry::RESOURCES;

/// Inputs that each target can make sense of, by its name.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "object" => objects(),
        "patch" => patches(),
        "selector" => texts(SELECTORS),
        "expression" => texts(EXPRESSIONS),
        "path" => texts(PATHS),
        _ => definitions(),
    }
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x.example/y"]},
        "spec": {"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}],
            "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1.5"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}], "livenessProbe": {"httpGet": {"path": "/", "port": "http"}}}],
            "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}})
}

fn objects() -> Vec<Vec<u8>> {
    let with = |at: usize, object: &Value| {
        let number = u8::try_from(at).unwrap_or(u8::MAX);
        [&[number], object.to_string().as_bytes()].concat()
    };
    let place = |kind: &str| RESOURCES.iter().position(|row| row.kind() == kind).unwrap_or_default();
    let mut all: Vec<Vec<u8>> = RESOURCES
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]});
            with(at, &json!({"apiVersion": row.version(), "kind": row.kind(), "metadata": {"name": "n"}, "spec": {
                "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template, "schedule": "* * * * *"}}))
        })
        .collect();
    all.push(with(place("Pod"), &pod()));
    all.push(with(
        place("Service"),
        &json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1", "fd00::1"],
            "ports": [{"port": 80, "targetPort": "http", "nodePort": 30000}], "selector": {"a": "b"}}}),
    ));
    let mut bytes = kinit_api::protobuf::encode(&pod()).unwrap_or_default();
    all.push(bytes.clone());
    bytes.truncate(bytes.len() / 2);
    all.push(bytes);
    all
}

fn patches() -> Vec<Vec<u8>> {
    let pods = RESOURCES.iter().position(|row| row.kind() == "Pod").unwrap_or_default();
    let pods = u8::try_from(pods).unwrap_or(u8::MAX);
    let changes = [
        (0, json!({"metadata": {"labels": {"a": null, "c": "d"}}, "spec": {"containers": []}})),
        (
            1,
            json!([{"op": "test", "path": "/metadata/name", "value": "p"}, {"op": "add", "path": "/spec/containers/-", "value": {}},
            {"op": "move", "from": "/spec/volumes/0", "path": "/spec/x"}, {"op": "copy", "from": "/spec", "path": "/status"},
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": 1}, {"op": "remove", "path": "/spec/tolerations"}]),
        ),
        (
            2,
            json!({"spec": {"containers": [{"name": "c", "image": "j", "ports": [{"containerPort": 80, "$patch": "delete"}]},
            {"name": "d", "$patch": "replace"}], "$setElementOrder/containers": [{"name": "d"}, {"name": "c"}],
            "$deleteFromPrimitiveList/finalizers": ["x"], "$retainKeys": ["containers"], "volumes": null}}),
        ),
        (
            3,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"z": "y"}},
            "spec": {"containers": [{"name": "c", "image": "k", "ports": [{"containerPort": 81, "protocol": "TCP"}]}]}}),
        ),
    ];
    let seed = |(how, change): &(u8, Value)| {
        [&[*how, pods, 0][..], pod().to_string().as_bytes(), &[0], change.to_string().as_bytes()].concat()
    };
    changes.iter().map(seed).collect()
}

fn definitions() -> Vec<Vec<u8>> {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["n"],
        "x-kubernetes-validations": [{"rule": "self.n <= oldSelf.n + 1", "messageExpression": "'n is ' + string(self.n)"}],
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "s": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9, "format": "date-time"},
            "l": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
            "i": {"x-kubernetes-int-or-string": true}, "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "m": {"type": "object", "additionalProperties": {"type": "number", "enum": [1, 2.5]}},
            "e": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let definition = json!({"metadata": {"name": "toys.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
        "names": {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}],
            "selectableFields": [{"jsonPath": ".spec.s"}]}]}});
    let object = json!({"apiVersion": "example.org/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"n": 3, "s": "abc",
        "l": [{"k": "a"}, {"k": "b"}], "i": "50%", "any": {"x": [1]}, "m": {"a": 2.5}, "more": true,
        "e": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}}, "status": {"replicas": 1}});
    vec![[definition.to_string().as_bytes(), &[0], object.to_string().as_bytes()].concat()]
}

const SELECTORS: &[&str] = &[
    "a=b,c!=d,e in (f, g),h notin (i),j,!k,l>1,m<2",
    "metadata.name=x,spec.nodeName!=\\=y\\,z",
    "1.5Gi",
    "-12e3",
    "100m",
    "9223372036854775807",
    "0.000000001n",
];

const EXPRESSIONS: &[&str] = &[
    "self.a.b.all(x, x > 0) && has(self.a.c) && !has(self.a.d) ? self.m.x : n",
    "self.a.b.map(x, x > 1, x * 2).sum() == 10 && l.isSorted() && l.max() >= l.min() && l.indexOf(3) == 0",
    "'%s is %d and %.2f'.format([s, n, self.f]).split(' ', 2).join('-').substring(1).replace('e', 'é')",
    "timestamp('2024-05-06T07:08:09Z') - duration('1h30m') < timestamp('2024-05-06T07:08:09+02:00')",
    "quantity('1.5Gi').add(quantity('1Mi')).isGreaterThan(quantity('1')) && isQuantity('x')",
    "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1') && url('https://a:1/b?c=d').getPort() == '1'",
    "s.matches('^h(.|e)*o$') && s.find('[a-z]+') == s && s.findAll('l').size() == 2",
    "optional.of(self.a).c.orValue('x') + self.?a.?d.orValue('y') + [1, 2][?5].hasValue().string()",
    "{'a': [1u, 2.5, null, b'x']}.transformList(k, v, v.size()).exists_one(i, i == 4) || cel.bind(z, n + 1, z * z) > 3",
    "Object{spec: Object.spec{replicas: n}} == dyn(1) || JSONPatch{op: 'add', path: '/a', value: 1} != null",
    "semver('1.2.3').isLessThan(semver('2.0.0-rc.1')) && format.dns1123Label().validate('a').hasValue()",
    "sets.contains([1, 2], [1]) && math.greatest(1, 2.0) > 1 && base64.encode(b'x') == 'eA=='",
    "-9223372036854775808 / -1 + 0x7fffffffffffffff * 2 - 1 % 0",
];

const PATHS: &[&str] = &[
    "GET\0/api/v1/namespaces/a/pods\0limit=5&resourceVersion=7&resourceVersionMatch=Exact&labelSelector=a%3Db\0application/json;as=Table;g=meta.k8s.io;v=v1, application/json;q=0.5",
    "GET\0/api/v1/pods\0watch=1&sendInitialEvents=true&fieldSelector=metadata.name%3Dx\0application/vnd.kubernetes.protobuf",
    "GET\0/api/v1/pods\0continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhL2JcdTAwMDAifQ\0*/*",
    "PATCH\0/apis/apps/v1/namespaces/a/deployments/b/status\0fieldManager=m&force=true&dryRun=All&fieldValidation=Strict\0application/yaml",
    "CONNECT\0/api/v1/namespaces/a/services/https%3Ab%3Ac/proxy/x/y%2fz\0\0",
    "DELETE\0/apis/apps/v1/namespaces/a/../deployments/%2e%2e\0gracePeriodSeconds=-1\0text/*;q=x",
];
