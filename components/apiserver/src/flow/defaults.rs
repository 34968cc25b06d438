//! The FlowSchemas and priority levels that every cluster has; upstream's names, shares and precedences.

use kinit_api::object::Object;
use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::{Value, json};

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const LEASES: &[&str] = &["leases"];
const EVERYBODY: &[&str] = &["system:unauthenticated", "system:authenticated"];

/// Name, shares, percentage that may be lent, and queues with the size of a hand.
const LEVELS: &[(&str, u64, u64, (u64, u64))] = &[
    ("system", 30, 33, (64, 6)),
    ("node-high", 40, 25, (64, 6)),
    ("leader-election", 10, 0, (16, 4)),
    ("workload-high", 40, 50, (128, 6)),
    ("workload-low", 100, 90, (128, 6)),
    ("global-default", 20, 50, (128, 6)),
];

/// All of them.
pub fn objects() -> Vec<Value> {
    let queued = |&(name, shares, lent, (queues, hand)): &(&str, u64, u64, (u64, u64))| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lent,
            "limitResponse": {"type": "Queue", "queuing": queuing}});
        level(name, json!({"type": "Limited", "limited": limited}))
    };
    let mut all: Vec<Value> = LEVELS.iter().map(queued).collect();
    let refused = json!({"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}});
    all.push(level("catch-all", json!({"type": "Limited", "limited": refused})));
    let exempt = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    all.push(level("exempt", json!({"type": "Exempt", "exempt": exempt})));
    all.extend(schemas());
    all
}

/// Those that no cluster can be without.
const MANDATORY: [&str; 2] = ["catch-all", "exempt"];
/// What says whether a server may bring an object to its default again.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

fn default_of(kind: &str, name: &str) -> Option<Value> {
    objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

/// A spec without what an administrator may choose in the level of that name.
fn fixed(kind: &str, name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if kind == "PriorityLevelConfiguration"
        && name == "exempt"
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("exempt");
    }
    spec
}

/// What is wrong with a mandatory object: it is as it always was.
pub fn check(kind: &str, object: &Object) -> Errors {
    let name = object.name();
    let spec = object.get(&["spec"]).cloned().unwrap_or(Value::Null);
    let Some(wanted) = default_of(kind, name).filter(|_| MANDATORY.contains(&name)) else { return Errors::new() };
    if fixed(kind, name, &spec) == fixed(kind, name, &wanted["spec"]) {
        return Errors::new();
    }
    let free = fixed(kind, name, &wanted["spec"]) != wanted["spec"];
    let but = if free { " except the 'spec.exempt' field" } else { "" };
    vec![Error::invalid(&Path::new("spec"), spec, format!("spec of '{name}'{but} must equal the fixed value"))]
}

/// The stored object as it is to be, if that is otherwise: mandatory ones are kept, and suggested ones that nobody has
/// taken over.
pub fn mended(stored: &Object, default: &Value) -> Option<Object> {
    let kind = default["kind"].as_str().unwrap_or_default();
    let kept = match stored.get(&["metadata", "annotations", AUTOUPDATE]).and_then(Value::as_str) {
        _ if MANDATORY.contains(&stored.name()) => true,
        Some(says) => says == "true",
        None => stored.generation() == 1,
    };
    let spec = stored.get(&["spec"]).cloned().unwrap_or(Value::Null);
    let mut wanted = default["spec"].clone();
    if fixed(kind, stored.name(), &wanted) != wanted && spec["exempt"].is_object() {
        wanted["exempt"] = spec["exempt"].clone();
    }
    if !kept || spec == wanted {
        return None;
    }
    let mut mended = stored.clone();
    mended.set(&["spec"], wanted);
    mended.set(&["metadata", "annotations", AUTOUPDATE], "true");
    Some(mended)
}

fn schemas() -> Vec<Value> {
    let accounts = json!([{"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}}]);
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let nodes = groups(&["system:nodes"]);
    let mut leaders = users(&[manager, scheduler]);
    if let (Some(leaders), Some(accounts)) = (leaders.as_array_mut(), accounts.as_array()) {
        leaders.extend(accounts.iter().cloned());
    }
    let elections = rule(leaders, &[resources(&["get", "create", "update"], "coordination.k8s.io", LEASES, false)]);
    let node_rules = [
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", LEASES, false),
    ];
    let mut probes = rule(groups(EVERYBODY), &[]);
    probes["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    vec![
        schema("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        schema("probes", "exempt", 2, "", probes),
        schema("system-leader-election", "leader-election", 100, "ByUser", elections),
        schema("system-node-high", "node-high", 400, "ByUser", rule(nodes.clone(), &node_rules)),
        schema("system-nodes", "system", 500, "ByUser", everything(nodes)),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", everything(users(&[manager]))),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", everything(users(&[scheduler]))),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything(accounts)),
        schema("service-accounts", "workload-low", 9000, "ByUser", everything(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, "ByUser", everything(groups(EVERYBODY))),
        schema("catch-all", "catch-all", 10000, "ByUser", everything(groups(EVERYBODY))),
    ]
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {AUTOUPDATE: "true"}})
}

fn level(name: &str, spec: Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "PriorityLevelConfiguration", "metadata": metadata(name), "spec": spec})
}

fn schema(name: &str, level: &str, precedence: u64, distinguisher: &str, rule: Value) -> Value {
    let mut spec =
        json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]});
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    json!({"apiVersion": VERSION, "kind": "FlowSchema", "metadata": metadata(name), "spec": spec})
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn rule(subjects: Value, resource_rules: &[Value]) -> Value {
    let mut rule = json!({"subjects": subjects});
    if !resource_rules.is_empty() {
        rule["resourceRules"] = json!(resource_rules);
    }
    rule
}

fn everything(subjects: Value) -> Value {
    let mut rule = rule(subjects, &[resources(&["*"], "*", &["*"], true)]);
    rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: &str, name: &str) -> Object {
        let mut object = Object::from_value(default_of(kind, name).unwrap()).unwrap();
        kinit_api::defaults::apply("flowcontrol.apiserver.k8s.io", "v1", kind, &mut object);
        object
    }

    #[test]
    fn defaults_are_complete_and_as_they_are_fixed() {
        for default in objects() {
            let (kind, name) = (default["kind"].as_str().unwrap(), default["metadata"]["name"].as_str().unwrap());
            let object = stored(kind, name);
            assert_eq!(object.get(&["spec"]), Some(&default["spec"]), "{kind} {name}");
            assert!(check(kind, &object).is_empty() && mended(&object, &default).is_none(), "{kind} {name}");
        }
    }

    #[test]
    fn mandatory_objects_are_kept_and_suggested_ones_may_be_taken_over() {
        const LEVEL: &str = "PriorityLevelConfiguration";
        let mut exempt = stored(LEVEL, "exempt");
        exempt.set(&["spec", "exempt", "lendablePercent"], 50);
        assert!(check(LEVEL, &exempt).is_empty());
        let mut all = stored("FlowSchema", "catch-all");
        all.set(&["spec", "matchingPrecedence"], 9999);
        assert_eq!(check("FlowSchema", &all).len(), 1);
        assert!(mended(&all, &default_of("FlowSchema", "catch-all").unwrap()).is_some());
        let mut nodes = stored(LEVEL, "node-high");
        nodes.set(&["spec", "limited", "nominalConcurrencyShares"], 1);
        let default = default_of(LEVEL, "node-high").unwrap();
        assert_eq!(mended(&nodes, &default).unwrap().get(&["spec"]), Some(&default["spec"]));
        nodes.set(&["metadata", "annotations", AUTOUPDATE], "false");
        assert!(mended(&nodes, &default).is_none());
    }
}
