//! What cannot be done is answered with etcd's own codes and texts, and changes nothing.

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, Ours, Process, installed, own_binary, tls::certificates};
use kinit_etcd::proto::rpc::downgrade_request::DowngradeAction;
use kinit_etcd::proto::rpc::request_op::Request as Op;
use kinit_etcd::proto::rpc::*;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn key(name: &str) -> RangeRequest {
    RangeRequest { key: bytes(name), ..Default::default() }
}

fn put(name: &str) -> PutRequest {
    PutRequest { key: bytes(name), value: bytes("v"), ..Default::default() }
}

fn txn(ops: impl IntoIterator<Item = Op>) -> TxnRequest {
    let success = ops.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
    TxnRequest { success, ..Default::default() }
}

const LIMIT: &str = "--max-request-bytes=20000";

async fn answers(client: &mut Client) -> Vec<(&'static str, Status, Code, &'static str)> {
    let (kv, lease, maintenance) = (&mut client.kv, &mut client.lease, &mut client.maintenance);
    macro_rules! rows {
        ($($what:literal, $call:expr => $code:ident, $text:literal;)*) => {
            vec![$(($what, $call.await.map(drop).expect_err($what), Code::$code, $text)),*]
        };
    }
    let compare = Compare { key: Bytes::new(), ..Default::default() };
    rows! {
        "range of no key", kv.range(key("")) => InvalidArgument, "etcdserver: key is not provided";
        "put of no key", kv.put(put("")) => InvalidArgument, "etcdserver: key is not provided";
        "deletion of no key", kv.delete_range(DeleteRangeRequest::default()) => InvalidArgument, "etcdserver: key is not provided";
        "comparison of no key", kv.txn(TxnRequest { compare: vec![compare], ..Default::default() }) => InvalidArgument, "etcdserver: key is not provided";
        "no key within a transaction", kv.txn(txn([Op::RequestPut(put(""))])) => InvalidArgument, "etcdserver: key is not provided";
        "an operation that is none", kv.txn(TxnRequest { success: vec![RequestOp { request: None }], ..Default::default() }) => InvalidArgument, "etcdserver: key not found";
        "a key twice", kv.txn(txn([Op::RequestPut(put("a")), Op::RequestPut(put("a"))])) => InvalidArgument, "etcdserver: duplicate key given in txn request";
        "too many operations", kv.txn(txn((0..129).map(|n| Op::RequestPut(put(&n.to_string()))))) => InvalidArgument, "etcdserver: too many operations in txn request";
        "over the limit", kv.put(PutRequest { value: bytes(&"x".repeat(20_000)), ..put("a") }) => InvalidArgument, "etcdserver: request is too large";
        "a value beside ignore_value", kv.put(PutRequest { ignore_value: true, ..put("a") }) => InvalidArgument, "etcdserver: value is provided";
        "a lease beside ignore_lease", kv.put(PutRequest { ignore_lease: true, lease: 7, ..put("a") }) => InvalidArgument, "etcdserver: lease is provided";
        "ignore_lease of nothing", kv.put(PutRequest { ignore_lease: true, ..put("none") }) => InvalidArgument, "etcdserver: key not found";
        "put with an unknown lease", kv.put(PutRequest { lease: 77, ..put("a") }) => NotFound, "etcdserver: requested lease not found";
        "the same in a transaction", kv.txn(txn([Op::RequestPut(PutRequest { lease: 77, ..put("a") })])) => NotFound, "etcdserver: requested lease not found";
        "revocation of an unknown lease", lease.lease_revoke(LeaseRevokeRequest { id: 77 }) => NotFound, "etcdserver: requested lease not found";
        "a lease twice", lease.lease_grant(LeaseGrantRequest { id: 5, ttl: 60 }) => FailedPrecondition, "etcdserver: lease already exists";
        "a lease for too long", lease.lease_grant(LeaseGrantRequest { id: 6, ttl: 9_000_000_001 }) => OutOfRange, "etcdserver: too large lease TTL";
        "an unknown order", kv.range(RangeRequest { sort_order: 9, ..key("a") }) => InvalidArgument, "etcdserver: invalid sort option";
        "a future revision", kv.range(RangeRequest { revision: 99, ..key("a") }) => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
        "the same in a transaction", kv.txn(txn([Op::RequestRange(RangeRequest { revision: 99, ..key("a") })])) => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
        "a compacted revision", kv.range(RangeRequest { revision: 2, ..key("a") }) => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
        "a future compaction", kv.compact(CompactionRequest { revision: 99, physical: false }) => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
        "a compaction twice", kv.compact(CompactionRequest { revision: 3, physical: false }) => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
        "a hash of the future", maintenance.hash_kv(HashKvRequest { revision: 99 }) => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
        "a hash of the past", maintenance.hash_kv(HashKvRequest { revision: 2 }) => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
        "a leader that is nobody", maintenance.move_leader(MoveLeaderRequest { target_id: 7 }) => FailedPrecondition, "etcdserver: bad leader transferee";
        "a version that is none", maintenance.downgrade(downgrade(DowngradeAction::Validate, "three")) => InvalidArgument, "etcdserver: wrong downgrade target version format";
        "a version too old", maintenance.downgrade(downgrade(DowngradeAction::Enable, "3.4.0")) => InvalidArgument, "etcdserver: invalid downgrade target version";
        "a version too new", maintenance.downgrade(downgrade(DowngradeAction::Validate, "3.7.0")) => InvalidArgument, "etcdserver: invalid downgrade target version";
    }
}

fn downgrade(action: DowngradeAction, version: &str) -> DowngradeRequest {
    DowngradeRequest { action: action as i32, version: version.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[LIMIT]).await;
    let mut client = server.client().await;
    client.lease.lease_grant(LeaseGrantRequest { id: 5, ttl: 60 }).await.expect("granted");
    for _ in 0..3 {
        client.kv.put(put("a")).await.expect("written");
    }
    client.kv.compact(CompactionRequest { revision: 3, physical: true }).await.expect("compacted");
    for (what, status, code, text) in answers(&mut client).await {
        assert_eq!((status.code(), status.message()), (code, text), "{what}");
    }
    let found = client.kv.range(RangeRequest {
        range_end: Bytes::from_static(b"\0"),
        key: Bytes::from_static(b"\0"),
        ..Default::default()
    });
    let found = found.await.expect("readable").into_inner();
    assert_eq!((found.count, found.header.expect("a header").revision), (1, 4));
    // Far over the limit the transport itself refuses.
    let huge = PutRequest { value: bytes(&"x".repeat(1 << 20)), ..put("a") };
    assert!(client.kv.put(huge).await.is_err());
    client.kv.put(put("a")).await.expect("it goes on");
    let info = client.lease.lease_time_to_live(LeaseTimeToLiveRequest { id: 77, keys: true }).await.expect("answered");
    assert_eq!(info.into_inner().ttl, -1);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(LeaseKeepAliveRequest { id: 77 }).await.expect("sent");
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.lease.lease_keep_alive(stream).await.expect("a stream").into_inner();
    assert_eq!(answers.message().await.expect("no error").expect("an answer").ttl, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downgrades_are_begun_and_called_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    let mut ask = async |action, version: &str| {
        let answer = client.maintenance.downgrade(downgrade(action, version)).await;
        answer.map(|answer| answer.into_inner().version).map_err(|status| status.message().to_owned())
    };
    let running = Err("etcdserver: cluster has a downgrade job in progress".to_owned());
    assert_eq!(ask(DowngradeAction::Validate, "3.5.0").await, Ok("3.6".to_owned()));
    assert_eq!(ask(DowngradeAction::Enable, "3.5.0").await, Ok("3.6".to_owned()));
    assert_eq!(ask(DowngradeAction::Enable, "3.5.0").await, running);
    assert_eq!(ask(DowngradeAction::Validate, "3.5.0").await, running);
    server.stop().await;
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    let status = client.maintenance.status(StatusRequest {}).await.expect("told").into_inner();
    let info = status.downgrade_info.expect("told");
    assert_eq!((info.enabled, info.target_version.as_str()), (true, "3.5.0"));
    for _ in 0..2 {
        client.maintenance.downgrade(downgrade(DowngradeAction::Cancel, "")).await.expect("called off");
    }
    let status = client.maintenance.status(StatusRequest {}).await.expect("told").into_inner();
    assert_eq!(status.downgrade_info.map(|info| info.enabled), Some(false));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_tls_is_refused_and_disturbs_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let (good, other) = (certificates(directory.path(), "good"), certificates(directory.path(), "other"));
    let path = |path: &std::path::Path| path.display().to_string();
    let flags = [
        format!("--cert-file={}", path(&good.cert)),
        format!("--key-file={}", path(&good.key)),
        format!("--trusted-ca-file={}", path(&good.ca)),
        "--client-cert-auth".to_owned(),
        "--listen-client-urls=https://127.0.0.1:0".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Ours::start(&directory.path().join("data"), &flags).await;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("readable");
    let ask = async |ca: &std::path::Path, identity: Option<(&std::path::Path, &std::path::Path)>, tls: bool| {
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", server.address.port());
        let mut endpoint =
            Endpoint::from_shared(url).map_err(|error| error.to_string())?.timeout(Duration::from_secs(20));
        if tls {
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)));
            if let Some((cert, key)) = identity {
                config = config.identity(Identity::from_pem(read(cert), read(key)));
            }
            endpoint = endpoint.tls_config(config).map_err(|error| error.to_string())?;
        }
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let mut kv = kv_client::KvClient::new(channel);
        kv.put(put("a")).await.map(drop).map_err(|error| error.to_string())
    };
    let (own, strange) = (Some((&*good.cert, &*good.key)), Some((&*other.cert, &*other.key)));
    assert!(ask(&good.ca, None, true).await.is_err(), "no certificate");
    assert!(ask(&good.ca, strange, true).await.is_err(), "a stranger's certificate");
    assert!(ask(&other.ca, own, true).await.is_err(), "a CA that did not make the server's");
    assert!(ask(&good.ca, None, false).await.is_err(), "no TLS");
    assert_eq!(ask(&good.ca, own, true).await, Ok(()));
    server.stop().await;
}

/// The code with which our binary ends, and what it says.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.env_clear().output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let mut command = Command::new(own_binary());
    command.arg(format!("--data-dir={}", data.display()));
    command.args(["--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0"]);
    if nix::unistd::geteuid().is_root() {
        // The way there must be open, the directory itself is root's.
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("ours");
        command.uid(65_534);
        // The binary may lie where nobody else may go.
        let beside = directory.path().join("etcd");
        std::fs::copy(own_binary(), &beside).expect("copied");
        command = {
            let mut moved = Command::new(&beside);
            moved.args(command.get_args()).uid(65_534);
            moved
        };
    } else {
        let closed = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o500);
        std::fs::set_permissions(&data, closed).expect("ours");
    }
    let (code, text) = refused(&mut command);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cannot access data directory") && text.contains("denied"), "{text}");
    assert_eq!(std::fs::read_dir(&data).expect("listed").count(), 0);
}

/// Every file below a directory, with what is in it.
fn content(directory: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("listed") {
        let path = entry.expect("read").path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            let bytes = std::fs::read(&path).expect("read");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_make_is_refused_and_stays_as_it_is() {
    let Some(etcd) = installed("etcd") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let theirs = Process::start(&etcd, directory.path(), &[]);
    Client::connect(theirs.address).await.kv.put(put("a")).await.expect("written");
    theirs.kill();
    let before = content(directory.path());
    let mut command = Command::new(own_binary());
    command.arg(format!("--data-dir={}", directory.path().display()));
    let (code, text) =
        refused(command.args(["--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("etcdctl snapshot save") && text.contains("etcd snapshot restore"), "{text}");
    assert!(content(directory.path()) == before, "something was changed in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_server_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    server.client().await.kv.put(put("a")).await.expect("written");
    server.stop().await;
    let store = directory.path().join("member/store");
    let meta: redb::TableDefinition<'_, &str, i64> = redb::TableDefinition::new("meta");
    let set = |format: i64| {
        let database = redb::Database::open(&store).expect("a store");
        let transaction = database.begin_write().expect("begun");
        transaction.open_table(meta).expect("there").insert("format", format).expect("written");
        transaction.commit().expect("committed");
    };
    set(2);
    let mut command = Command::new(own_binary());
    command.arg(format!("--data-dir={}", directory.path().display()));
    let (code, text) =
        refused(command.args(["--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("written by a newer server (format 2, this one knows 1)"), "{text}");
    set(1);
    let server = Ours::start(directory.path(), &[]).await;
    assert_eq!(server.client().await.kv.range(key("a")).await.expect("readable").into_inner().count, 1);
    server.stop().await;
}

#[test]
fn flags_and_files_that_are_not_known_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("etcd.yaml");
    std::fs::write(&file, "name: a\nnonsense: 1\n").expect("written");
    let config = format!("--config-file={}", file.display());
    let table: [(&[&str], i32, &str); 7] = [
        (&["--no-such-flag"], 2, "unexpected argument"),
        (&[&config], 2, "\"nonsense\" is not known"),
        (&["--initial-cluster-state=perhaps"], 2, "possible values"),
        (&["--force-new-cluster"], 1, "snapshot restore"),
        (&["--listen-peer-urls=https://127.0.0.1:0"], 1, "KeyFile and CertFile are not presented"),
        (&["--experimental-read-only-option=quick"], 2, "lease-based"),
        (&["snapshot", "restore", "nothing.db", "--data-dir=nowhere"], 1, "nothing.db"),
    ];
    for (arguments, code, text) in table {
        let (ended, said) = refused(Command::new(own_binary()).args(arguments).current_dir(directory.path()));
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}
