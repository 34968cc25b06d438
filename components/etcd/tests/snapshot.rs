//! Snapshots there and back: this server's into Debian's etcd, that one's into a new member of this server.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use common::{Client, Ours, Process, installed};
use kinit_etcd::options::Options;
use kinit_etcd::proto::mvcc::KeyValue;
use kinit_etcd::proto::rpc::*;

fn etcdctl(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).env_clear().env("ETCDCTL_API", "3").args(arguments).output().expect("it runs");
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tool(arguments: &[&str]) -> Result<String, String> {
    let options = Options::of(["etcd", "snapshot"].iter().chain(arguments)).expect("good flags");
    let mut out = Vec::new();
    match kinit_etcd::tool::run(options.tool.expect("a tool"), &mut out) {
        Ok(()) => Ok(String::from_utf8(out).expect("text")),
        Err(error) => Err(error.to_string()),
    }
}

async fn everything(address: SocketAddr, revision: i64) -> (i64, Vec<KeyValue>) {
    let range = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        revision,
        ..RangeRequest::default()
    };
    let response = Client::connect(address).await.kv.range(range).await.expect("readable").into_inner();
    (response.header.expect("a header").revision, response.kvs)
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_both_ways() {
    let (Some(etcd), Some(ctl)) = (installed("etcd"), installed("etcdctl")) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();

    let server = Ours::start(&directory.path().join("first"), &[]).await;
    let mut client = server.client().await;
    client.lease.lease_grant(LeaseGrantRequest { ttl: 900, id: 42 }).await.expect("granted");
    // Large values make pages that go on over others, many keys make branches.
    for number in 0..400_usize {
        let request = PutRequest {
            key: Bytes::from(format!("key {}", number % 300)),
            value: Bytes::from(vec![number as u8; number * number % 20_000]),
            lease: if number % 50 == 0 { 42 } else { 0 },
            ..PutRequest::default()
        };
        client.kv.put(request).await.expect("put");
    }
    let delete = DeleteRangeRequest { key: Bytes::from_static(b"key 7"), ..DeleteRangeRequest::default() };
    client.kv.delete_range(delete).await.expect("deleted");
    client.kv.compact(CompactionRequest { revision: 100, physical: true }).await.expect("compacted");
    for command in [&["user", "add", "anna:secret"][..], &["role", "add", "r"], &["user", "grant-role", "anna", "r"]] {
        etcdctl(&ctl, &[&[format!("--endpoints={}", server.address).as_str()], command].concat());
    }
    let (newest, older) = (everything(server.address, 0).await, everything(server.address, 150).await);
    etcdctl(&ctl, &[&format!("--endpoints={}", server.address), "snapshot", "save", &path("ours.db")]);
    server.stop().await;

    etcdctl(&ctl, &["snapshot", "restore", &path("ours.db"), "--data-dir", &path("theirs")]);
    let theirs = Process::start(&etcd, &directory.path().join("theirs"), &[]);
    assert!(everything(theirs.address, 0).await == newest, "Debian's etcd restored something else");
    assert!(everything(theirs.address, 150).await == older, "Debian's etcd restored another history");
    etcdctl(&ctl, &[&format!("--endpoints={}", theirs.address), "snapshot", "save", &path("theirs.db")]);
    // The password that was set here is known there.
    for command in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
        &["--user=root:secret", "user", "get", "anna"],
        &["--user=root:secret", "role", "grant-permission", "r", "read", "key 1"],
        &["--user=anna:secret", "get", "key 1"],
    ] {
        etcdctl(&ctl, &[&[format!("--endpoints={}", theirs.address).as_str()], command].concat());
    }
    let authorized = [format!("--endpoints={}", theirs.address), "--user=root:secret".to_owned()];
    etcdctl(&ctl, &[&authorized[0], &authorized[1], "snapshot", "save", &path("users.db")]);
    theirs.kill();

    tool(&["restore", &path("users.db"), "--data-dir", &path("users")]).expect("restored");
    let server = Ours::start(&directory.path().join("users"), &[]).await;
    for command in [&["--user=anna:secret", "get", "key 1"][..], &["--user=root:secret", "user", "list"]] {
        etcdctl(&ctl, &[&[format!("--endpoints={}", server.address).as_str()], command].concat());
    }
    server.stop().await;

    let status = tool(&["status", &path("theirs.db")]).expect("readable");
    assert!(status.contains(&format!("\"revision\":{}", newest.0)), "{status}");
    tool(&["restore", &path("theirs.db"), "--data-dir", &path("second")]).expect("restored");
    let server = Ours::start(&directory.path().join("second"), &[]).await;
    assert!(everything(server.address, 0).await == newest, "this server restored something else");
    assert!(everything(server.address, 150).await == older, "this server restored another history");
    let mut client = server.client().await;
    let request = LeaseTimeToLiveRequest { id: 42, keys: true };
    let lease = client.lease.lease_time_to_live(request).await.expect("there").into_inner();
    assert_eq!((lease.granted_ttl, lease.keys.len()), (900, 6));
    let early = RangeRequest { key: Bytes::from_static(b"key 1"), revision: 99, ..RangeRequest::default() };
    let refused = client.kv.range(early).await.expect_err("compacted").message().to_owned();
    assert!(refused.contains("has been compacted"), "{refused}");
    server.stop().await;

    let refused = tool(&["restore", &path("ours.db"), "--data-dir", &path("second")]).expect_err("occupied");
    assert!(refused.contains("not empty"), "{refused}");
    let mut bytes = std::fs::read(path("ours.db")).expect("readable");
    bytes[20_000] ^= 1;
    std::fs::write(path("ours.db"), bytes).expect("written");
    let refused = tool(&["status", &path("ours.db")]).expect_err("damaged");
    assert!(refused.contains("checksum does not match"), "{refused}");
}
