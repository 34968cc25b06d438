//! Three real members with TLS between them: killed, restarted one after another and replaced under load. No acknowledged
//! write is lost, and reads never go back.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::tls::{Certificates, certificates};
use common::{Client, free_addresses, installed, own_binary};
use kinit_etcd::mvcc::Revision;
use kinit_etcd::mvcc::backend::Record;
use kinit_etcd::mvcc::store::Store;
use kinit_etcd::proto::mvcc::KeyValue;
use kinit_etcd::proto::rpc::auth_client::AuthClient;
use kinit_etcd::proto::rpc::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
    AuthenticateRequest, HashKvRequest, PutRequest, RangeRequest, StatusRequest,
};
use parking_lot::Mutex;

struct Member {
    client: SocketAddr,
    peer: SocketAddr,
    data: PathBuf,
    child: Option<Child>,
}

impl Member {
    fn new(directory: &Path, name: &str) -> Self {
        let [client, peer] = free_addresses();
        Self { client, peer, data: directory.join(name), child: None }
    }

    fn stop(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        child.wait().expect("ended");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop("-KILL");
    }
}

struct Cluster {
    members: BTreeMap<String, Member>,
    certificates: Certificates,
    directory: PathBuf,
}

impl Cluster {
    fn new(directory: &Path, names: &[&str]) -> Self {
        let members = names.iter().map(|name| (name.to_string(), Member::new(directory, name))).collect();
        let certificates = certificates(directory, "peer");
        Self { members, certificates, directory: directory.to_owned() }
    }

    fn initial_cluster(&self) -> String {
        let url = |(name, member): (&String, &Member)| format!("{name}=https://{}", member.peer);
        self.members.iter().map(url).collect::<Vec<_>>().join(",")
    }

    fn start(&mut self, name: &str, state: &str) {
        let initial_cluster = self.initial_cluster();
        let Certificates { ca, cert, key } = &self.certificates;
        let member = self.members.get_mut(name).expect("known");
        let (client, peer) = (format!("http://{}", member.client), format!("https://{}", member.peer));
        let log = std::fs::File::create(self.directory.join(format!("{name}.log"))).expect("writable");
        let child = Command::new(own_binary())
            .env_clear()
            .args(["--name", name, "--data-dir", &member.data.display().to_string()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &initial_cluster, "--initial-cluster-state", state])
            .args(["--peer-cert-file", &cert.display().to_string(), "--peer-key-file", &key.display().to_string()])
            .args(["--peer-trusted-ca-file", &ca.display().to_string(), "--peer-client-cert-auth=true"])
            .arg("--feature-gates=InitialCorruptCheck=true")
            // Of a cluster, some may lead by leases and others not.
            .arg(format!("--experimental-read-only-option={}", if name == "b" { "safe" } else { "lease-based" }))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        member.child = Some(child);
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.members.values().map(|member| member.client).collect()
    }

    /// The leader's name, once every running member knows the same one.
    async fn leader(&self) -> String {
        loop {
            let mut leaders = Vec::new();
            for member in self.members.values().filter(|member| member.child.is_some()) {
                let mut client = Client::connect(member.client).await;
                if let Ok(status) = client.maintenance.status(StatusRequest {}).await {
                    let status = status.into_inner();
                    let own = status.header.expect("a header").member_id;
                    leaders.push((own, status.leader, member.client));
                }
            }
            let first = leaders.first().map_or(0, |(_, leader, _)| *leader);
            if first != 0 && leaders.iter().all(|(_, leader, _)| *leader == first) {
                let found = leaders.iter().find(|(own, ..)| *own == first);
                if let Some((.., address)) = found {
                    let named = self.members.iter().find(|(_, member)| member.client == *address);
                    return named.expect("known").0.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn ctl(&self, program: &Path, arguments: &[&str]) -> String {
        Self::ctl_at(&self.addresses(), program, arguments)
    }

    fn ctl_at(addresses: &[SocketAddr], program: &Path, arguments: &[&str]) -> String {
        let endpoints: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        for _ in 0..20 {
            let output = Command::new(program)
                .env_clear()
                .env("ETCDCTL_API", "3")
                .arg(format!("--endpoints={}", endpoints.join(",")))
                .arg("--command-timeout=20s")
                .args(arguments)
                .output()
                .expect("etcdctl runs");
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("text");
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            // A learner is promoted once it has caught up, and members that just came are counted in a moment.
            let passing = ["in sync with leader", "unhealthy", "timed out", "leader changed", "not enough started"];
            assert!(passing.iter().any(|text| error.contains(text)), "etcdctl {arguments:?}: {error}");
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("etcdctl {arguments:?} does not succeed");
    }
}

/// What was acknowledged, each key written once.
#[derive(Default)]
struct Load {
    keys: Mutex<Vec<String>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    async fn more(&self, count: usize) {
        let target = self.count.load(Ordering::Relaxed) + count;
        let wait = async {
            while self.count.load(Ordering::Relaxed) < target {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("writes go on");
    }
}

async fn write(load: Arc<Load>, addresses: Vec<SocketAddr>, name: usize) {
    let mut number = 0;
    while !load.stop.load(Ordering::Relaxed) {
        for address in &addresses {
            let Ok(Ok(mut client)) = tokio::time::timeout(Duration::from_secs(2), Client::try_connect(*address)).await
            else {
                continue;
            };
            while !load.stop.load(Ordering::Relaxed) {
                number += 1;
                let key = format!("{name}/{number}");
                let request = PutRequest { key: Bytes::from(key.clone()), ..PutRequest::default() };
                if client.kv.put(request).await.is_err() {
                    break;
                }
                load.keys.lock().push(key);
                load.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Asks one member after another for what was acknowledged before.
async fn read(load: Arc<Load>, addresses: Vec<SocketAddr>) {
    let mut newest = 0;
    while !load.stop.load(Ordering::Relaxed) {
        for address in &addresses {
            let Ok(Ok(mut client)) = tokio::time::timeout(Duration::from_secs(2), Client::try_connect(*address)).await
            else {
                continue;
            };
            for _ in 0..20 {
                let Some(key) = load.keys.lock().last().cloned() else { break };
                let request = RangeRequest { key: Bytes::from(key.clone()), ..RangeRequest::default() };
                let Ok(response) = client.kv.range(request).await else { break };
                let response = response.into_inner();
                assert_eq!(response.count, 1, "{key} was acknowledged and is not there");
                let revision = response.header.expect("a header").revision;
                assert!(revision >= newest, "a read went back from {newest} to {revision}");
                newest = revision;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_fail_and_nothing_is_lost() {
    let Some(ctl) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::new(directory.path(), &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        cluster.start(name, "new");
    }
    cluster.leader().await;
    let load = Arc::new(Load::default());
    let mut tasks: Vec<_> = (0..4).map(|name| tokio::spawn(write(load.clone(), cluster.addresses(), name))).collect();
    tasks.push(tokio::spawn(read(load.clone(), cluster.addresses())));
    load.more(200).await;

    // The leader dies, and comes back.
    let leader = cluster.leader().await;
    cluster.members.get_mut(&leader).expect("known").stop("-KILL");
    load.more(100).await;
    cluster.start(&leader, "new");
    load.more(50).await;
    // One after another is restarted in good order.
    for name in ["a", "b", "c"] {
        cluster.leader().await;
        cluster.members.get_mut(name).expect("known").stop("-TERM");
        load.more(20).await;
        cluster.start(name, "new");
        load.more(20).await;
    }
    // One is replaced, the way that control planes are joined.
    cluster.leader().await;
    let id_of = |list: &str, url: &str| -> String {
        let line = list.lines().find(|line| line.contains(url)).unwrap_or_else(|| panic!("{url} in {list}"));
        line.split(',').next().expect("an id").to_owned()
    };
    let url = format!("https://{}", cluster.members["b"].peer);
    let id = id_of(&cluster.ctl(&ctl, &["member", "list"]), &url);
    // The member itself is asked, and says so before it goes.
    Cluster::ctl_at(&[cluster.members["b"].client], &ctl, &["member", "remove", &id]);
    cluster.members.get_mut("b").expect("known").stop("-KILL");
    std::fs::remove_dir_all(&cluster.members["b"].data).expect("removable");
    cluster.ctl(&ctl, &["member", "add", "b", "--learner", &format!("--peer-urls={url}")]);
    cluster.start("b", "existing");
    let id = id_of(&cluster.ctl(&ctl, &["member", "list"]), &url);
    cluster.ctl(&ctl, &["member", "promote", &id]);
    cluster.leader().await;
    load.more(50).await;

    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("what was read is right");
    }
    let mut hashes = Vec::new();
    let keys = load.keys.lock().clone();
    for address in cluster.addresses() {
        let mut client = Client::connect(address).await;
        for key in &keys {
            let request =
                RangeRequest { key: Bytes::from(key.clone()), serializable: false, ..RangeRequest::default() };
            assert_eq!(client.kv.range(request).await.expect("readable").into_inner().count, 1, "{key} is lost");
        }
        hashes.push(client.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hashed").into_inner().hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the members differ: {hashes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_a_cluster_of_three() {
    let Some(ctl) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut old = Cluster::new(directory.path(), &["a"]);
    old.start("a", "new");
    old.leader().await;
    old.ctl(&ctl, &["put", "key", "value"]);
    let file = directory.path().join("saved.db").display().to_string();
    old.ctl(&ctl, &["snapshot", "save", &file]);

    let mut new = Cluster::new(directory.path(), &["x", "y", "z"]);
    let initial_cluster = new.initial_cluster();
    for (name, member) in &new.members {
        let restored = Command::new(own_binary())
            .env_clear()
            .args(["snapshot", "restore", &file, "--data-dir", &member.data.display().to_string(), "--name", name])
            .args(["--initial-cluster", &initial_cluster])
            .args(["--initial-advertise-peer-urls", &format!("https://{}", member.peer)])
            .stdout(Stdio::null())
            .status();
        assert!(restored.expect("it runs").success());
    }
    for name in ["x", "y", "z"] {
        new.start(name, "new");
    }
    new.leader().await;
    new.ctl(&ctl, &["put", "key", "newer"]);
    for address in new.addresses() {
        let mut client = Client::connect(address).await;
        let request = RangeRequest { key: Bytes::from_static(b"key"), ..RangeRequest::default() };
        let kv = client.kv.range(request).await.expect("readable").into_inner().kvs.remove(0);
        assert_eq!((kv.value.as_ref(), kv.version), (&b"newer"[..], 2));
    }
}

/// Writes another value into a stopped member's store, as a broken disk would.
fn falsify(store: &Path, key: &str, revision: i64) {
    let store = Store::open(store).expect("a store").store;
    let key_value = KeyValue {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from_static(b"false"),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: 0,
    };
    let mut import = store.importer(store.meta());
    import.push(Revision { main: revision, sub: 0 }, Record::encode(&key_value, false)).expect("written");
    import.finish(Vec::new()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_know_the_same_users_and_who_has_other_data() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::new(directory.path(), &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        cluster.start(name, "new");
    }
    cluster.leader().await;
    let mut auth = Vec::new();
    let mut kv = Vec::new();
    for address in cluster.addresses() {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        auth.push(AuthClient::new(channel.connect().await.expect("connected")));
        kv.push(Client::connect(address).await.kv);
    }
    let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"true"), ..Default::default() };
    let revision = kv[0].put(put.clone()).await.expect("written").into_inner().header.expect("a header").revision;

    let root = || "root".to_owned();
    let user = AuthUserAddRequest { name: root(), password: root(), ..Default::default() };
    auth[0].user_add(user).await.expect("added");
    auth[1].role_add(AuthRoleAddRequest { name: root() }).await.expect("added");
    auth[2].user_grant_role(AuthUserGrantRoleRequest { user: root(), role: root() }).await.expect("granted");
    auth[0].auth_enable(AuthEnableRequest {}).await.expect("enabled");
    let proof = AuthenticateRequest { name: root(), password: root() };
    let token = auth[1].authenticate(proof).await.expect("proved").into_inner().token;
    assert_eq!(kv[2].put(put.clone()).await.expect_err("nobody").message(), "etcdserver: user name is empty");
    // Who was given a token by one member goes on with another, which may hear of it a moment later.
    let mut with_token = tonic::Request::new(AuthDisableRequest {});
    with_token.metadata_mut().insert("token", token.parse().expect("text"));
    let mut range = tonic::Request::new(RangeRequest { key: Bytes::from_static(b"k"), ..Default::default() });
    *range.metadata_mut() = with_token.metadata().clone();
    assert_eq!(kv[1].range(range).await.expect("read").into_inner().kvs.len(), 1);
    auth[1].auth_disable(with_token).await.expect("disabled");

    let c = cluster.members.get_mut("c").expect("known");
    c.stop("-TERM");
    let store = c.data.join("member/store");
    falsify(&store, "k", revision);
    cluster.leader().await;
    cluster.start("c", "new");
    let mut child = cluster.members.get_mut("c").and_then(|c| c.child.take()).expect("started");
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("it ends");
    let said = std::fs::read_to_string(directory.path().join("c.log")).expect("readable");
    assert!(ended.code() == Some(1) && said.contains("data differ"), "{said}");
}
