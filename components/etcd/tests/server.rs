//! One member from outside: watches, limits, quota, restarts, health, and what it refuses.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Client, Ours, Watches};
use kinit_etcd::proto::health::HealthCheckRequest;
use kinit_etcd::proto::health::health_check_response::ServingStatus;
use kinit_etcd::proto::health::health_client::HealthClient;
use kinit_etcd::proto::mvcc::Event;
use kinit_etcd::proto::rpc::alarm_request::AlarmAction;
use kinit_etcd::proto::rpc::watch_request::RequestUnion;
use kinit_etcd::proto::rpc::*;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(client: &mut Client, key: &str, value: &str) -> i64 {
    let request = PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() };
    let response = client.kv.put(request).await.expect("put").into_inner();
    response.header.expect("a header").revision
}

fn create(key: &str, range_end: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes(key), range_end: bytes(range_end), start_revision, ..Default::default() }
}

async fn send(watches: &Watches, request: RequestUnion) {
    watches.requests.send(WatchRequest { request_union: Some(request) }).await.expect("open");
}

fn revisions(events: &[Event]) -> Vec<i64> {
    events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_stops_nobody_and_misses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let (mut writer, mut reader) = (server.client().await, server.client().await);
    let mut watches = reader.watches([create("k", "", 0)]).await;
    assert!(watches.next().await.created);
    // Far more than the queues and the connection's windows hold.
    let value = "v".repeat(20_000);
    let count = 3000;
    for _ in 0..count {
        put(&mut writer, "k", &value).await;
    }
    let mut next = 2;
    while next < 2 + count {
        let response = watches.next().await;
        for revision in revisions(&response.events) {
            assert_eq!(revision, next, "a gap or a repetition");
            next += 1;
        }
    }
    assert_eq!(put(&mut writer, "k", "end").await, next);
    assert_eq!(revisions(&watches.next().await.events), [next]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_revision_comes_in_one_response_unless_fragments_are_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &["--max-request-bytes=10000"]).await;
    let mut client = server.client().await;
    let fragmented = WatchCreateRequest { fragment: true, ..create("a", "b", 2) };
    let mut watches = client.watches([create("a", "b", 2), fragmented]).await;
    assert!(watches.next().await.created && watches.next().await.created);
    let ops = (0..60).map(|number| {
        let put =
            PutRequest { key: bytes(&format!("a{number}")), value: bytes(&"x".repeat(150)), ..Default::default() };
        RequestOp { request: Some(request_op::Request::RequestPut(put)) }
    });
    // Nothing of the request's overhead is in the events, so the same limit makes fragments of a transaction with
    // previous values only; here it is one that just fits.
    let txn = TxnRequest { success: ops.collect(), ..TxnRequest::default() };
    client.kv.txn(txn).await.expect("fits");
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    while whole.is_empty() || parts.last().is_none_or(|part: &WatchResponse| part.fragment) {
        let response = watches.next().await;
        if response.watch_id == 0 { whole.push(response) } else { parts.push(response) }
    }
    assert_eq!((whole.len(), whole[0].events.len()), (1, 60));
    assert!(parts.len() > 1, "{} bytes in one", parts.len());
    let events: Vec<Event> = parts.into_iter().flat_map(|part| part.events).collect();
    assert_eq!(events, whole[0].events);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_when_asked_for_and_when_idle() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &["--watch-progress-notify-interval=100ms"]).await;
    let mut client = server.client().await;
    for number in 0..5 {
        put(&mut client, "other", &number.to_string()).await;
    }
    let mut watches = client.watches([create("k", "", 2)]).await;
    assert!(watches.next().await.created);
    send(&watches, RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.header.map(|header| header.revision)), (-1, Some(6)));
    let notify = WatchCreateRequest { progress_notify: true, watch_id: 9, ..create("k", "", 0) };
    send(&watches, RequestUnion::CreateRequest(notify)).await;
    assert!(watches.next().await.created);
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.events.len()), (9, 0));
    assert_eq!(progress.header.map(|header| header.revision), Some(6));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_cancelled_with_a_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    for number in 0..5 {
        put(&mut client, "k", &number.to_string()).await;
    }
    client.kv.compact(CompactionRequest { revision: 5, physical: true }).await.expect("compacted");
    let mut watches = client.watches([create("k", "", 3)]).await;
    assert!(watches.next().await.created);
    let cancelled = watches.next().await;
    assert_eq!((cancelled.canceled, cancelled.compact_revision), (true, 5));

    for (request, reason) in [
        (WatchCreateRequest { watch_id: 4, ..create("k", "", 0) }, ""),
        (
            WatchCreateRequest { watch_id: 4, ..create("k", "", 0) },
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (create("k", "a", 0), "mvcc: watcher range is empty"),
        (create("k", "", -1), "etcdserver: mvcc: required revision has been compacted"),
    ] {
        send(&watches, RequestUnion::CreateRequest(request)).await;
        let created = watches.next().await;
        assert_eq!((created.cancel_reason.as_str(), created.canceled), (reason, !reason.is_empty()));
    }
    send(&watches, RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 4 })).await;
    let cancelled = watches.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled), (4, true));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_takes_its_keys_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    let granted = client.lease.lease_grant(LeaseGrantRequest { ttl: 1, id: 0 }).await.expect("granted").into_inner();
    assert_eq!(granted.ttl, 2);
    let mut watches = client.watches([create("k", "l", 0)]).await;
    assert!(watches.next().await.created);
    for key in ["k1", "k2"] {
        let request = PutRequest { key: bytes(key), lease: granted.id, ..PutRequest::default() };
        client.kv.put(request).await.expect("put");
        watches.next().await;
    }
    let deleted = watches.next().await;
    assert_eq!(revisions(&deleted.events), [4, 4]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &["--max-request-bytes=2000", "--max-txn-ops=2"]).await;
    let mut client = server.client().await;
    let large = PutRequest { key: bytes("k"), value: bytes(&"x".repeat(2000)), ..PutRequest::default() };
    let refused = client.kv.put(large).await.expect_err("too large");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let op = RequestOp {
        request: Some(request_op::Request::RequestRange(RangeRequest { key: bytes("k"), ..Default::default() })),
    };
    let many = TxnRequest { success: vec![op; 3], ..TxnRequest::default() };
    let refused = client.kv.txn(many).await.expect_err("too many");
    assert_eq!(refused.message(), "etcdserver: too many operations in txn request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_takes_no_writes_until_it_is_emptied() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &["--quota-backend-bytes=3000000"]).await;
    let mut client = server.client().await;
    let value = "v".repeat(100_000);
    let refused = loop {
        let request = PutRequest { key: bytes("k"), value: bytes(&value), ..PutRequest::default() };
        if let Err(refused) = client.kv.put(request).await {
            break refused;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    let alarm = |action: AlarmAction| AlarmRequest { action: action as i32, ..AlarmRequest::default() };
    let raised = loop {
        let response = client.maintenance.alarm(alarm(AlarmAction::Get)).await.expect("listed").into_inner();
        if let Some(raised) = response.alarms.first() {
            break *raised;
        }
    };
    assert_eq!(raised.alarm(), AlarmType::Nospace);
    assert!(get(server.address, "/health").await.contains("ALARM NOSPACE"));

    let delete = DeleteRangeRequest { key: bytes("k"), ..DeleteRangeRequest::default() };
    let header = client.kv.delete_range(delete).await.expect("deletions pass").into_inner().header;
    let revision = header.expect("a header").revision;
    client.kv.compact(CompactionRequest { revision, physical: true }).await.expect("compactions pass");
    client.maintenance.defragment(DefragmentRequest {}).await.expect("defragmented");
    let clear =
        AlarmRequest { action: AlarmAction::Deactivate as i32, member_id: raised.member_id, alarm: raised.alarm };
    client.maintenance.alarm(clear).await.expect("cleared");
    put(&mut client, "k", "fits again").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_nothing_but_the_term() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    client.lease.lease_grant(LeaseGrantRequest { ttl: 600, id: 5 }).await.expect("granted");
    put(&mut client, "a", "1").await;
    let request = PutRequest { key: bytes("b"), lease: 5, ..PutRequest::default() };
    client.kv.put(request).await.expect("put");
    let before = client.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hashed").into_inner();
    server.stop().await;

    // Other URLs do not make another member of it.
    let server = Ours::start(directory.path(), &["--initial-advertise-peer-urls=http://10.0.0.9:2380"]).await;
    let mut client = server.client().await;
    let after = client.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hashed").into_inner();
    let (old, new) = (before.header.expect("a header"), after.header.expect("a header"));
    assert_eq!((after.hash, new.revision), (before.hash, old.revision));
    assert_eq!((new.member_id, new.cluster_id), (old.member_id, old.cluster_id));
    assert!(new.raft_term > old.raft_term);
    let request = LeaseTimeToLiveRequest { id: 5, keys: true };
    let lease = client.lease.lease_time_to_live(request).await.expect("there").into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (600, vec![bytes("b")]));
    server.stop().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")).await
}

async fn http(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("text");
    response
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An API server gives up as many calls as its clients do, all at once, and its other calls go on.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_end_no_connection() {
    let [data, headers_frame, reset, settings, go_away] = [0, 1, 3, 4, 7];
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    put(&mut server.client().await, "a", "value").await;
    // POST over http, and what has no place in the table that every client has.
    let mut headers = vec![0x83, 0x86];
    let literal = |headers: &mut Vec<u8>, name: &[u8], value: &str| {
        headers.extend(name);
        headers.push(u8::try_from(value.len()).expect("a short value"));
        headers.extend(value.bytes());
    };
    literal(&mut headers, &[0x04], "/etcdserverpb.KV/Range");
    literal(&mut headers, &[0x01], "a");
    literal(&mut headers, &[0x0f, 0x10], "application/grpc");
    literal(&mut headers, b"\x00\x02te", "trailers");
    let mut sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(settings, 0, 0, &[])].concat();
    for stream in (1..1000).step_by(2) {
        sent.extend(frame(headers_frame, 4, stream, &headers));
        sent.extend(frame(reset, 0, stream, &[0, 0, 0, 8]));
    }
    let message = RangeRequest { key: bytes("a"), ..Default::default() }.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    sent.extend(frame(headers_frame, 4, 1001, &headers));
    sent.extend(frame(data, 1, 1001, &[&[0], &length[..], &message].concat()));
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(&sent).await.expect("taken");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("the connection goes on");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.expect("the connection goes on");
        assert_ne!(head[3], go_away, "{:?}", String::from_utf8_lossy(&payload));
        if head[3] == data && head[5..] == 1001_u32.to_be_bytes() {
            assert!(payload.windows(5).any(|part| part == b"value"), "{payload:?}");
            break;
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_on_both_listeners() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    for address in [server.address, server.metrics] {
        for (path, expected) in [
            ("/health?exclude=NOSPACE&serializable=true", "{\"health\":\"true\""),
            ("/livez", "ok\n"),
            ("/readyz?verbose", "[+]linearizable_read ok"),
            ("/readyz/data_corruption", "ok\n"),
            ("/version", "\"etcdserver\":\"3.6"),
            ("/metrics", "etcd_server_has_leader 1"),
        ] {
            let response = get(address, path).await;
            assert!(response.starts_with("HTTP/1.1 200") && response.contains(expected), "{path}: {response}");
        }
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));
    }
    server.stop().await;
}

/// What the alerts that come with etcd, and its dashboards, ask for.
const FAMILIES: [&str; 34] = [
    "etcd_cluster_version{cluster_version=\"3.6\"} 1",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_mvcc_keys_total 1",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_store_revision",
    "etcd_disk_backend_commit_duration_seconds_bucket",
    "etcd_disk_backend_defrag_duration_seconds_bucket",
    "etcd_disk_wal_fsync_duration_seconds_bucket",
    "etcd_disk_wal_write_bytes_total",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_delete_total 0",
    "etcd_mvcc_put_total 1",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_server_has_leader 1",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_id{server_id=",
    "etcd_server_is_leader 1",
    "etcd_server_is_learner 0",
    "etcd_server_leader_changes_seen_total 1",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total 0",
    "etcd_server_proposals_pending 0",
    "etcd_server_quota_backend_bytes",
    "etcd_server_slow_apply_total",
    "etcd_server_version{server_version=\"3.6",
    "grpc_server_handled_total{grpc_code=\"OK\",grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"} 1",
    "process_open_fds",
    "process_resident_memory_bytes",
];

#[tokio::test(flavor = "multi_thread")]
async fn figures_have_etcds_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let mut client = server.client().await;
    put(&mut client, "k", "v").await;
    assert!(client.kv.put(PutRequest::default()).await.is_err());
    let page = get(server.metrics, "/metrics").await;
    for family in FAMILIES {
        assert!(page.contains(&format!("\n{family}")), "{family} is missing: {page}");
    }
    assert!(page.contains("grpc_code=\"InvalidArgument\""), "{page}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcs_own_probes_are_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).expect("a URL");
    let mut health = HealthClient::new(endpoint.connect().await.expect("connected"));
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let serving = ServingStatus::Serving as i32;
    assert_eq!(health.check(of("")).await.expect("answered").into_inner().status, serving);
    let unknown = health.check(of("etcdserverpb.KV")).await.expect_err("only the whole is known");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "unknown service"));
    let mut watch = health.watch(of("")).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("no error").map(|told| told.status), Some(serving));
    let mut unknown = health.watch(of("other")).await.expect("a stream").into_inner();
    let told = unknown.message().await.expect("no error").map(|told| told.status);
    assert_eq!(told, Some(ServingStatus::ServiceUnknown as i32));
    server.stop().await;
    // The connection may have ended before the last word.
    if let Ok(Some(told)) = watch.message().await {
        assert_eq!(told.status, ServingStatus::NotServing as i32);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_ours_to_use_is_refused() {
    use kinit_etcd::options::Options;
    use kinit_etcd::server::Server;

    let start = |data: &std::path::Path| {
        let data = format!("--data-dir={}", data.display());
        let options = Options::of(["etcd", &data, "--listen-client-urls=http://127.0.0.1:0"]).expect("good flags");
        let server = Server::new(options).expect("good options");
        async move {
            let running = server.run(tokio_util::sync::CancellationToken::new());
            let result = tokio::time::timeout(Duration::from_secs(10), running).await.expect("ends by itself");
            result.expect_err("refused").to_string()
        }
    };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    assert!(start(directory.path()).await.contains("another server uses this data directory"));
    server.stop().await;

    let foreign = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(foreign.path().join("member/snap")).expect("made");
    assert!(start(foreign.path()).await.contains("another make of etcd"));

    // A byte in the middle of the log.
    let log =
        std::fs::read_dir(directory.path().join("member/wal")).expect("listed").next().expect("one").expect("read");
    let mut bytes = std::fs::read(log.path()).expect("read");
    bytes[40] ^= 1;
    std::fs::write(log.path(), bytes).expect("written");
    assert!(start(directory.path()).await.contains("damaged at byte"));
}
