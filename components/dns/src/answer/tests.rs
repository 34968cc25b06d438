use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::{Outcome, answer, encode};
use crate::zone::Zone;

fn zone(endpoints: usize) -> Zone {
    let service = |value| serde_json::from_value::<Service>(value).expect("a Service");
    let services = [
        service(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.20"}})),
        service(json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None"}})),
        service(json!({"metadata": {"name": "out", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "example.com"}})),
        service(json!({"metadata": {"name": "loop", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}})),
    ];
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "endpoints": (0..endpoints).map(|i| json!({"addresses": [format!("10.244.1.{i}")]})).collect::<Vec<_>>()
    }))
    .expect("an EndpointSlice");
    Zone::build("cluster.local", &services, [&slice], ["default".to_owned()])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    query
}

fn response(name: &str, kind: RecordType) -> Message {
    match answer(&query(name, kind), &zone(2), 0) {
        Outcome::Response(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_without_the_type_is_no_error_and_a_missing_name_is() {
    for (name, kind, code, answers) in [
        ("WEB.default.svc.cluster.local.", RecordType::A, ResponseCode::NoError, 1),
        ("web.default.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError, 0),
        ("no.default.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ("loop.default.svc.cluster.local.", RecordType::A, ResponseCode::ServFail, 8),
    ] {
        let response = response(name, kind);
        assert_eq!((response.metadata.response_code, response.answers.len()), (code, answers), "{name}");
        let negative = answers == 0;
        assert_eq!(response.authorities.len(), usize::from(negative), "{name}");
    }
}

#[test]
fn names_of_others_and_targets_of_aliases_are_asked_for() {
    for (name, asked, answers) in
        [("example.org.", "example.org.", 0), ("out.default.svc.cluster.local.", "example.com.", 1)]
    {
        match answer(&query(name, RecordType::A), &zone(0), 0) {
            Outcome::Ask { name, so_far } => {
                assert_eq!((name.to_ascii(), so_far.answers.len()), (asked.into(), answers))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_long_answer_is_cut_by_udp_and_whole_by_tcp() {
    let query = query("db.default.svc.cluster.local.", RecordType::A);
    let Outcome::Response(response) = answer(&query, &zone(100), 7) else { panic!("no response") };
    let by_udp = encode(&response, &query, true).expect("bytes");
    let by_tcp = encode(&response, &query, false).expect("bytes");
    let cut = Message::from_vec(&by_udp).expect("a message");
    assert!(by_udp.len() <= 512 && cut.metadata.truncation && !cut.answers.is_empty());
    assert_eq!(Message::from_vec(&by_tcp).expect("a message").answers.len(), 100);
}
