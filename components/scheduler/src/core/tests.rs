use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Action, Core, Event};
use crate::node::NodeFacts;
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::queue::Moment;
use crate::testing::{node, pod, pod_with};

const SECOND: Duration = Duration::from_secs(1);

/// A leading core with nodes and bound pods.
fn core(nodes: Vec<NodeFacts>, pods: Vec<PodInfo>) -> Core {
    let mut core = Core::new(vec![Profile::plain("default-scheduler")], SECOND, 10 * SECOND);
    let names: HashSet<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let keys: HashSet<String> = pods.iter().map(|pod| pod.key.clone()).collect();
    for node in nodes {
        core.step(Event::Node(Box::new(node)), Moment::ZERO);
    }
    for pod in pods {
        core.step(Event::Pod(Box::new(pod)), Moment::ZERO);
    }
    core.step(Event::NodesListed(names), Moment::ZERO);
    core.step(Event::PodsListed(keys), Moment::ZERO);
    core.step(Event::Leads, Moment::ZERO);
    core
}

/// What becomes of a pod: a node's name or the sentence.
fn decide(core: &mut Core, pod: PodInfo) -> String {
    core.step(Event::Pod(Box::new(pod)), Moment::ZERO);
    match core.next(Moment::ZERO) {
        Some(Action::Bind { node, .. }) => node,
        Some(Action::Refuse { message, .. }) => message,
        None => "nothing".into(),
    }
}

fn on(node: &str, pod: PodInfo) -> PodInfo {
    PodInfo { node: node.into(), ..pod }
}

fn three() -> Vec<NodeFacts> {
    let taint = json!({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]});
    vec![
        node("cp1", taint, &[]),
        node("w1", json!({}), &[("disk", "ssd"), ("topology.kubernetes.io/zone", "a")]),
        node("w2", json!({"unschedulable": true}), &[("topology.kubernetes.io/zone", "b")]),
    ]
}

#[test]
fn a_pod_goes_where_it_fits_or_the_sentence_says_why_not() {
    let cpu = |amount: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]});
    for (spec, expected) in [
        (json!({}), "w1"),
        (json!({"nodeSelector": {"disk": "ssd"}}), "w1"),
        (json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"kubernetes.io/hostname": "w2"}}), "w2"),
        (
            cpu("5"),
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were \
             unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        ),
        (
            json!({"nodeSelector": {"disk": "tape"}}),
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated \
             taint(s), 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful \
             for scheduling.",
        ),
    ] {
        assert_eq!(decide(&mut core(three(), Vec::new()), pod_with("p", spec.clone())), expected, "{spec}");
    }
    assert_eq!(decide(&mut core(Vec::new(), Vec::new()), pod("p")), "no nodes available to schedule pods");
}

#[test]
fn pods_of_one_controller_spread_over_nodes() {
    let nodes = (1..=3).map(|i| node(&format!("w{i}"), json!({}), &[])).collect();
    let mut core = core(nodes, Vec::new());
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for i in 0..6 {
        let pod = PodInfo { controller: Some("rs".into()), ..pod(&format!("p{i}")) };
        *counts.entry(decide(&mut core, pod)).or_default() += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [2, 2, 2], "{counts:?}");
}

#[test]
fn a_hard_spread_refuses_a_skew() {
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}}
    }]});
    let mut core = core(three(), vec![on("w1", pod_with("old", json!({})))]);
    let message = decide(&mut core, pod_with("p", spread));
    assert!(message.contains("1 node(s) didn't match pod topology spread constraints"), "{message}");
}

#[test]
fn ports_and_anti_affinity_keep_pods_apart() {
    let port = || json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let apart = || {
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
        ]}}})
    };
    for (spec, reason) in [
        (port(), "node(s) didn't have free ports for the requested pod ports"),
        (apart(), "node(s) didn't match pod anti-affinity rules"),
    ] {
        let mut core = core(vec![node("w1", json!({}), &[])], Vec::new());
        assert_eq!(decide(&mut core, pod_with("a", spec.clone())), "w1");
        let message = decide(&mut core, pod_with("b", spec));
        assert!(message.starts_with(&format!("0/1 nodes are available: 1 {reason}.")), "{message}");
    }
    let mut core = core(vec![node("w1", json!({}), &[])], vec![on("w1", pod_with("a", apart()))]);
    let message = decide(&mut core, pod_with("b", json!({})));
    assert!(message.contains("didn't satisfy existing pods anti-affinity rules"), "{message}");
}

#[test]
fn pods_that_want_to_be_together_follow_the_first() {
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    ]}}});
    let nodes = (1..=4).map(|i| node(&format!("w{i}"), json!({}), &[])).collect();
    let mut core = core(nodes, Vec::new());
    let first = decide(&mut core, pod_with("a", near.clone()));
    for name in ["b", "c", "d"] {
        assert_eq!(decide(&mut core, pod_with(name, near.clone())), first);
    }
}

#[test]
fn room_is_made_by_evicting_as_little_as_possible() {
    let big = |name: &str, priority| {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        PodInfo { priority, ..pod_with(name, spec) }
    };
    let nodes = vec![node("w1", json!({}), &[]), node("w2", json!({}), &[])];
    let old = vec![on("w1", big("a", 1)), on("w1", big("b", 5)), on("w2", big("c", 4)), on("w2", big("d", 4))];
    let mut core = core(nodes, old);
    core.step(Event::Pod(Box::new(big("vip", 9))), Moment::ZERO);
    let Some(Action::Refuse { eviction: Some(eviction), message, .. }) = core.next(Moment::ZERO) else {
        panic!("the pod must wait for room")
    };
    assert_eq!(message, "0/2 nodes are available: 2 Insufficient cpu.");
    let victims: Vec<&str> = eviction.victims.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((eviction.node.as_str(), victims), ("w1", vec!["a"]));
    // When the victim is gone the pod takes the room, after its pause.
    core.step(Event::PodGone("default/a".into()), SECOND);
    assert!(matches!(core.next(SECOND), Some(Action::Bind { node, .. }) if node == "w1"));
}

#[test]
fn room_that_is_made_for_a_pod_is_kept_for_it() {
    let big = |name: &str, priority| {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]});
        PodInfo { priority, ..pod_with(name, spec) }
    };
    let mut core = core(vec![node("w1", json!({}), &[])], vec![on("w1", big("old", 1))]);
    core.step(Event::Pod(Box::new(big("vip", 9))), Moment::ZERO);
    assert!(matches!(core.next(Moment::ZERO), Some(Action::Refuse { eviction: Some(_), .. })));
    core.step(Event::PodGone("default/old".into()), Moment::ZERO);
    // The important pod still pauses when its victim's successor asks.
    let message = decide(&mut core, big("next", 1));
    assert!(message.contains("1 Insufficient cpu"), "{message}");
    assert!(matches!(core.next(SECOND), Some(Action::Bind { node, .. }) if node == "w1"));
}

#[test]
fn a_failed_binding_is_tried_again_after_a_pause() {
    let mut core = core(vec![node("w1", json!({}), &[])], Vec::new());
    assert_eq!(decide(&mut core, pod("p")), "w1");
    let event = Event::Bound { pod: Arc::new(pod("p")), attempts: 0, well: false };
    core.step(event, Moment::ZERO);
    assert_eq!(core.next(Moment::ZERO), None);
    assert_eq!(core.wake(), Some(SECOND));
    assert!(matches!(core.next(SECOND), Some(Action::Bind { attempts: 1, .. })));
}

#[test]
fn nothing_is_decided_before_everything_is_known_and_the_lease_is_held() {
    let mut core = Core::new(vec![Profile::plain("default-scheduler")], SECOND, SECOND);
    core.step(Event::Pod(Box::new(pod("p"))), Moment::ZERO);
    core.step(Event::NodesListed(HashSet::new()), Moment::ZERO);
    core.step(Event::Leads, Moment::ZERO);
    assert_eq!(core.next(Moment::ZERO), None);
    core.step(Event::PodsListed(HashSet::from(["default/p".to_owned()])), Moment::ZERO);
    assert!(core.next(Moment::ZERO).is_some());
}

#[test]
fn pods_of_other_schedulers_are_left_alone() {
    let mut core = core(vec![node("w1", json!({}), &[])], Vec::new());
    assert_eq!(decide(&mut core, pod_with("p", json!({"schedulerName": "mine"}))), "nothing");
}
