//! The FlowSchemas and priority levels that every cluster has; upstream's names, shares and precedences.

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
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}})
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
