use serde_json::json;

use super::{Settings, render};
use crate::conntrack::stale;
use crate::service::{Place, State};

fn settings() -> Settings {
    Settings { cluster_ranges: vec!["10.244.0.0/16".into()], mark: 0x4000, ..Settings::default() }
}

fn state(spec: serde_json::Value, endpoints: serde_json::Value) -> State {
    let mut spec = spec;
    spec["clusterIP"] = json!("10.96.0.20");
    let service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "dns", "port": 5353, "protocol": "UDP"}
        ],
        "endpoints": endpoints
    });
    let service = serde_json::from_value(service).expect("a Service");
    let slice = serde_json::from_value(slice).expect("an EndpointSlice");
    State::of([&service], [&slice], &Place { node: "w1".into(), ..Place::default() })
}

fn web(extra: serde_json::Value) -> serde_json::Value {
    let mut spec = json!({"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
    spec.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    spec
}

fn two() -> serde_json::Value {
    json!([
        {"addresses": ["10.244.1.2"], "nodeName": "w1", "conditions": {"ready": true}},
        {"addresses": ["10.244.2.2"], "nodeName": "w2", "conditions": {"ready": true}}
    ])
}

#[test]
fn a_service_is_balanced_over_its_endpoints() {
    let text = render(&state(web(json!({})), two()), &settings(), false).create();
    for line in [
        "numgen random mod 2 vmap { 0 : goto endpoint-",
        "meta l4proto tcp dnat to 10.244.1.2:8080",
        "ip saddr 10.244.2.2 meta mark set meta mark or 0x4000",
        "add element ip kube-proxy service-ips { 10.96.0.20 . tcp . 80 : goto service-",
        "ip daddr @cluster-ips ip saddr != { 10.244.0.0/16 } meta mark set meta mark or 0x4000",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn node_ports_are_at_the_addresses_that_were_chosen() {
    let settings = Settings { node_ports: vec!["10.0.0.0/8".into(), "192.168.0.0/16".into()], ..settings() };
    let state = state(web(json!({"type": "NodePort"})), two());
    let of = |six| render(&state, &settings, six).create();
    assert!(of(false).contains("fib daddr type local ip daddr { 10.0.0.0/8, 192.168.0.0/16 } meta l4proto"));
    assert!(of(true).contains("fib daddr type local ip6 daddr { ::/128 } meta l4proto"));
}

#[test]
fn what_has_no_endpoints_is_refused_and_what_has_them_elsewhere_is_dropped() {
    for (spec, endpoints, map, verdict) in [
        (json!({}), json!([]), "no-endpoint-services", "goto reject-chain"),
        (json!({"internalTrafficPolicy": "Local"}), json!([two()[1]]), "no-endpoint-services", "drop"),
    ] {
        let rules = render(&state(web(spec), endpoints), &settings(), false);
        assert_eq!(rules.collections[map].elements["10.96.0.20 . tcp . 80"], verdict);
        assert!(rules.collections["service-ips"].elements.is_empty());
    }
}

#[test]
fn endpoints_that_end_are_used_only_when_no_other_is_there() {
    let ending = json!({"addresses": ["10.244.1.3"], "nodeName": "w1",
        "conditions": {"ready": false, "serving": true, "terminating": true}});
    let alone = render(&state(web(json!({})), json!([ending])), &settings(), false).create();
    assert!(alone.contains("dnat to 10.244.1.3:8080"), "{alone}");
    let with = render(&state(web(json!({})), json!([ending, two()[0]])), &settings(), false).create();
    assert!(!with.contains("10.244.1.3"), "{with}");
}

#[test]
fn traffic_from_outside_keeps_its_source_when_it_stays_on_the_node() {
    let spec = |policy: &str| {
        json!({"type": "NodePort", "externalTrafficPolicy": policy,
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}]})
    };
    let rules = |policy| render(&state(spec(policy), two()), &settings(), false);
    let external = |policy| {
        let rules = rules(policy);
        let (_, chain) = rules.chains.iter().find(|(name, _)| name.starts_with("external-")).expect("a chain");
        (chain.rules.first().cloned().unwrap_or_default(), chain.rules.last().cloned().unwrap_or_default())
    };
    let (first, last) = external("Cluster");
    assert_eq!(first, "meta mark set meta mark or 0x4000");
    assert!(last.starts_with("goto service-"));
    let (first, last) = external("Local");
    assert!(first.starts_with("ip saddr { 10.244.0.0/16 } goto service-"));
    assert!(last.starts_with("goto local-"));
    assert!(rules("Local").collections["service-nodeports"].elements.contains_key("tcp . 30080"));
}

#[test]
fn a_change_names_only_what_differs() {
    let old = render(&state(web(json!({})), two()), &settings(), false);
    let new = render(&state(web(json!({})), json!([two()[0]])), &settings(), false);
    let text = new.change(&old);
    assert_eq!(new.change(&new), "");
    assert!(text.contains("delete chain ip kube-proxy endpoint-") && text.contains("numgen random mod 1"), "{text}");
    assert!(!text.contains("services ") && !text.contains("add element"), "{text}");
}

#[test]
fn a_flow_of_udp_to_an_endpoint_that_is_gone_is_forgotten() {
    let spec = json!({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]});
    let (old, new) = (state(spec.clone(), two()), state(spec.clone(), json!([two()[0]])));
    let call = |rest: &str| format!("-D -f ipv4 -p udp --orig-dst 10.96.0.20{rest}");
    let none = state(spec, json!([]));
    let calls = |old: &State, new: &State| stale(old, new).iter().map(|call| call.join(" ")).collect::<Vec<_>>();
    assert_eq!(calls(&old, &new), [call(" --dst-nat 10.244.2.2")]);
    assert_eq!(calls(&none, &new), [call("")]);
    assert!(calls(&new, &old).is_empty());
}

#[test]
fn pods_are_known_by_their_interface() {
    let settings = Settings { pod_interface: Some("veth*".into()), cluster_ranges: Vec::new(), ..settings() };
    let state = state(web(json!({"type": "NodePort", "externalTrafficPolicy": "Local"})), two());
    let rules = render(&state, &settings, false);
    let text = rules.create();
    assert!(text.contains("ip daddr @cluster-ips iifname != \"veth*\" meta mark set"), "{text}");
}
