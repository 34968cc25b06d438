//! Every path of the JSON API, each with what it does to one server.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::Ours;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OK: &str = "200 OK";
const BAD: &str = "400 Bad Request";

/// Path, body, status, and what the answer has in it, in the order in which they are asked. `Zm9v` is foo, `YmFy` is bar.
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#, OK, r#""revision":"2""#),
    ("kv/range", r#"{"key":"Zm9v"}"#, OK, r#""kvs":[{"key":"Zm9v","create_revision":"2""#),
    ("kv/range", "", BAD, r#""message":"etcdserver: key is not provided""#),
    ("kv/range", "{", BAD, r#""code":3"#),
    (
        "kv/txn",
        r#"{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"2"}],"success":[{"requestPut":{"key":"Zm9v","value":"MQ=="}}]}"#,
        OK,
        r#""succeeded":true"#,
    ),
    ("kv/deleterange", r#"{"key":"Zm9v","prev_kv":true}"#, OK, r#""deleted":"1","prev_kvs":[{"key":"Zm9v""#),
    ("kv/compaction", r#"{"revision":"3","physical":true}"#, OK, r#""revision":"4""#),
    ("kv/range", r#"{"key":"Zm9v","revision":"2"}"#, BAD, r#""code":11"#),
    ("lease/grant", r#"{"TTL":100,"ID":7}"#, OK, r#""ID":"7","TTL":"100""#),
    ("lease/keepalive", r#"{"ID":7}"#, OK, r#"{"result":{"header":{"#),
    ("lease/timetolive", r#"{"ID":7,"keys":true}"#, OK, r#""grantedTTL":"100""#),
    ("kv/lease/timetolive", r#"{"ID":7}"#, OK, r#""grantedTTL":"100""#),
    ("lease/leases", "{}", OK, r#""leases":[{"ID":"7"}]"#),
    ("kv/lease/leases", "{}", OK, r#""leases":[{"ID":"7"}]"#),
    ("lease/revoke", r#"{"ID":7}"#, OK, r#""header":"#),
    ("kv/lease/revoke", r#"{"ID":7}"#, "404 Not Found", "etcdserver: requested lease not found"),
    ("cluster/member/list", "{}", OK, r#""peerURLs":["#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:1"],"isLearner":true}"#, OK, r#""isLearner":true"#),
    ("cluster/member/update", r#"{"ID":7,"peerURLs":["http://127.0.0.1:2"]}"#, "404 Not Found", "member not found"),
    ("cluster/member/promote", r#"{"ID":7}"#, "404 Not Found", "member not found"),
    ("cluster/member/remove", r#"{"ID":7}"#, "404 Not Found", "member not found"),
    ("maintenance/status", "{}", OK, r#""version":"3.6"#),
    ("maintenance/alarm", r#"{"action":"GET"}"#, OK, r#""header":"#),
    ("maintenance/defragment", "{}", OK, r#""header":"#),
    ("maintenance/hash", "{}", OK, r#""hash":"#),
    ("maintenance/hashkv", "{}", OK, r#""compact_revision":"3""#),
    ("maintenance/snapshot", "{}", OK, r#"{"result":{"header":{"#),
    ("maintenance/transfer-leadership", r#"{"targetID":7}"#, BAD, "bad leader transferee"),
    ("maintenance/downgrade", r#"{"action":"VALIDATE","version":"3.5.0"}"#, OK, r#""version":"3.6""#),
    ("lock/lock", r#"{"name":"Zm9v"}"#, OK, r#""key":"Zm9v"#),
    ("lock/unlock", r#"{"key":"Zm9v"}"#, OK, r#""header":"#),
    ("election/campaign", r#"{"name":"YmFy","value":"MQ=="}"#, OK, r#""leader":{"name":"YmFy""#),
    ("election/leader", r#"{"name":"YmFy"}"#, OK, r#""value":"MQ==""#),
    ("election/proclaim", "{}", BAD, r#""leader\" field must be provided"#),
    ("election/resign", "{}", BAD, r#""leader\" field must be provided"#),
    ("auth/status", "{}", OK, r#""authRevision":"1""#),
    ("auth/role/add", r#"{"name":"root"}"#, OK, r#""header":"#),
    ("auth/role/add", r#"{"name":"reader"}"#, OK, r#""header":"#),
    ("auth/role/grant", r#"{"name":"reader","perm":{"permType":"READ","key":"Zm9v"}}"#, OK, r#""header":"#),
    ("auth/role/get", r#"{"role":"reader"}"#, OK, r#""perm":[{"key":"Zm9v"}]"#),
    ("auth/role/revoke", r#"{"role":"reader","key":"Zm9v"}"#, OK, r#""header":"#),
    ("auth/role/list", "{}", OK, r#""roles":["reader","root"]"#),
    ("auth/user/add", r#"{"name":"root","password":"secret"}"#, OK, r#""header":"#),
    ("auth/user/changepw", r#"{"name":"root","password":"other"}"#, OK, r#""header":"#),
    ("auth/user/grant", r#"{"user":"root","role":"root"}"#, OK, r#""header":"#),
    ("auth/user/grant", r#"{"user":"root","role":"reader"}"#, OK, r#""header":"#),
    ("auth/user/revoke", r#"{"name":"root","role":"reader"}"#, OK, r#""header":"#),
    ("auth/user/get", r#"{"name":"root"}"#, OK, r#""roles":["root"]"#),
    ("auth/user/list", "{}", OK, r#""users":["root"]"#),
    ("auth/role/delete", r#"{"role":"reader"}"#, OK, r#""header":"#),
    ("auth/user/delete", r#"{"name":"nobody"}"#, BAD, "user name not found"),
    ("auth/enable", "{}", OK, r#""header":"#),
    ("kv/range", r#"{"key":"Zm9v"}"#, BAD, "user name is empty"),
    ("auth/authenticate", r#"{"name":"root","password":"secret"}"#, BAD, "authentication failed"),
    ("auth/authenticate", r#"{"name":"root","password":"other"}"#, OK, r#""token":""#),
    ("auth/disable", "{}", OK, r#""header":"#),
    ("nothing", "{}", "404 Not Found", r#""code":5"#),
];

async fn post(address: SocketAddr, path: &str, body: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let shown = if token.is_empty() { String::new() } else { format!("Authorization: {token}\r\n") };
    let request = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n{shown}\
         Grpc-Metadata-Hasleader: true\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_does_what_its_method_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &["--bcrypt-cost=4"]).await;
    let mut token = String::new();
    for (path, body, status, expected) in CALLS {
        let mut answer = String::new();
        let mut stream = post(server.address, path, body, &token).await;
        stream.read_to_string(&mut answer).await.expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {body}: {answer}");
        assert!(answer.contains(expected), "{path} {body}: {answer}");
        if let Some((_, found)) = answer.split_once(r#""token":""#) {
            token = found.split('"').next().unwrap_or_default().to_owned();
        }
    }
    server.stop().await;
}

/// Reads until all of `parts` have come.
async fn until(mut stream: TcpStream, parts: &[&str]) {
    let mut seen = String::new();
    while !parts.iter().all(|part| seen.contains(part)) {
        let mut buffer = [0; 1000];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.expect("in time");
        let count = read.expect("readable");
        assert!(count > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    for value in ["MQ==", "Mg=="] {
        let mut answer = String::new();
        let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
        let mut stream = post(server.address, "kv/put", &body, "").await;
        stream.read_to_string(&mut answer).await.expect("text");
    }
    let watch = post(server.address, "watch", r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}"#, "").await;
    until(watch, &[r#"{"result":"#, r#""created":true"#, r#""mod_revision":"2""#, r#""mod_revision":"3""#]).await;

    let observed = post(server.address, "election/observe", r#"{"name":"YmFy"}"#, "").await;
    let mut campaign = post(server.address, "election/campaign", r#"{"name":"YmFy","value":"MQ=="}"#, "").await;
    campaign.read_to_string(&mut String::new()).await.expect("text");
    until(observed, &[r#"{"result":"#, r#""value":"MQ==""#]).await;
    server.stop().await;
}
