//! Users and roles by the real etcdctl: the same commands to this server and to Debian's etcd, with the same outcome.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use common::{Client, Ours, Process, installed};
use kinit_etcd::proto::rpc::auth_client::AuthClient;
use kinit_etcd::proto::rpc::{AuthenticateRequest, PutRequest, WatchCreateRequest};
use tonic::transport::Channel;

/// Commands in order. `@name` stands for `--user name:name-secret`.
const COMMANDS: &[&str] = &[
    "auth enable",
    "put open 1",
    "user add root:root-secret",
    "role add root",
    "user grant-role root root",
    "user add anna:anna-secret",
    "user add anna:again",
    "user add bert --no-password",
    "role add readers",
    "role add readers",
    "role grant-permission readers read a b",
    "role grant-permission readers read x --prefix",
    "role grant-permission readers readwrite mine",
    "role grant-permission nobody read a",
    "role get readers",
    "user grant-role anna readers",
    "user grant-role anna nobody",
    "user get anna",
    "user list",
    "role list",
    "auth enable",
    "get open",
    "@root get open",
    "@root user list",
    "@anna user list",
    "@anna user get anna",
    "@anna role get readers",
    "@wrong get open",
    "@anna get open",
    "@anna put open 2",
    "@anna put mine 1",
    "@anna put mine 2 --prev-kv",
    "@anna get mine",
    "@anna get a b",
    "@anna get a c",
    "@anna get x --prefix",
    "@anna get xa xb",
    "@anna get x --from-key",
    "@anna del mine --prev-kv",
    "@anna del a",
    "@anna defrag",
    "@anna member list",
    "@root role revoke-permission readers mine",
    "@anna put mine 3",
    "@root role revoke-permission readers nothing",
    "@root user delete root",
    "@root role delete root",
    "@root user revoke-role root root",
    "@root user revoke-role anna nobody",
    "@root role delete readers",
    "@root user get anna",
    "@anna get a",
    "@root user delete anna",
    "@anna get a",
    "@root auth disable",
    "get open",
    "user list",
    "role list",
];

/// What etcdctl printed, and the error it ended with.
fn run(program: &Path, address: SocketAddr, command: &str) -> (String, String) {
    let mut etcdctl = Command::new(program);
    etcdctl.env_clear().env("ETCDCTL_API", "3").arg(format!("--endpoints={address}"));
    let mut words = command.split(' ').peekable();
    if let Some(user) = words.peek().and_then(|word| word.strip_prefix('@')) {
        etcdctl.arg(format!("--user={user}:{user}-secret"));
        words.next();
    }
    let output = etcdctl.args(words).output().expect("etcdctl runs");
    let error = String::from_utf8(output.stderr).expect("text");
    let error = error.lines().find(|line| line.starts_with("Error:")).unwrap_or_default();
    (String::from_utf8(output.stdout).expect("text").replace(&address.to_string(), "SERVER"), error.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_roles_are_etcds() {
    let (Some(etcd), Some(ctl)) = (installed("etcd"), installed("etcdctl")) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let theirs = Process::start(&etcd, &directory.path().join("theirs"), &[]);
    let ours = Ours::start(&directory.path().join("ours"), &[]).await;
    Client::connect(theirs.address).await;
    let (our, their) = (ours.address, theirs.address);
    tokio::task::spawn_blocking(move || {
        for command in COMMANDS {
            let (mine, other) = (run(&ctl, our, command), run(&ctl, their, command));
            match *command {
                "@anna put open 2" => assert_eq!(mine.1, "Error: etcdserver: permission denied"),
                "@anna put mine 2 --prev-kv" => assert_eq!(mine.0, "OK\nmine\n1\n"),
                _ => {}
            }
            // Member lists say where each server is.
            if command.ends_with("member list") {
                assert_eq!(mine.1, other.1, "{command}");
            } else {
                assert_eq!(mine, other, "{command}");
            }
        }
    })
    .await
    .expect("the same");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_users_and_forgets_tokens() {
    let Some(ctl) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let address = server.address;
    for command in ["user add root:root-secret", "user grant-role root root", "auth enable"] {
        let ctl = ctl.clone();
        let (_, error) = tokio::task::spawn_blocking(move || run(&ctl, address, command)).await.expect("runs");
        assert_eq!(error, "", "{command}");
    }
    let token = authenticate(address).await;
    put_with(address, &token).await.expect("known");
    let refused = put_with(address, "unknown").await.expect_err("refused");
    assert_eq!(refused.message(), "etcdserver: invalid auth token");
    let create = WatchCreateRequest { key: Bytes::from_static(b"k"), ..WatchCreateRequest::default() };
    let created = server.client().await.watches([create]).await.next().await;
    assert_eq!((created.canceled, created.cancel_reason.as_str()), (true, "etcdserver: user name is empty"));
    server.stop().await;

    let server = Ours::start(directory.path(), &[]).await;
    let refused = put_with(server.address, &token).await.expect_err("forgotten");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let token = authenticate(server.address).await;
    put_with(server.address, &token).await.expect("known again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_outlive_a_restart_and_no_change_of_users() {
    let Some(ctl) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("signing.key");
    std::fs::write(&key, rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let flag = format!("--auth-token=jwt,sign-method=ES256,ttl=5m,priv-key={}", key.display());
    let data = directory.path().join("data");
    let tell = async |address: SocketAddr, command: &'static str| {
        let ctl = ctl.clone();
        let (_, error) = tokio::task::spawn_blocking(move || run(&ctl, address, command)).await.expect("runs");
        assert_eq!(error, "", "{command}");
    };
    let server = Ours::start(&data, &[&flag]).await;
    for command in ["user add root:root-secret", "user grant-role root root", "auth enable", "@root put a 1"] {
        tell(server.address, command).await;
    }
    let token = authenticate(server.address).await;
    assert_eq!(token.split('.').count(), 3, "{token}");
    put_with(server.address, &token).await.expect("known");
    server.stop().await;

    let server = Ours::start(&data, &[&flag]).await;
    put_with(server.address, &token).await.expect("still known");
    let broken = put_with(server.address, &format!("{token}x")).await.expect_err("refused");
    assert_eq!(broken.message(), "etcdserver: invalid auth token");
    tell(server.address, "@root user add anna:anna-secret").await;
    let old = put_with(server.address, &token).await.expect_err("of before");
    assert_eq!(old.message(), "etcdserver: revision of auth store is old");
    server.stop().await;
}

async fn authenticate(address: SocketAddr) -> String {
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await.expect("connected");
    let request = AuthenticateRequest { name: "root".into(), password: "root-secret".into() };
    AuthClient::new(channel).authenticate(request).await.expect("the password is right").into_inner().token
}

async fn put_with(address: SocketAddr, token: &str) -> Result<(), tonic::Status> {
    let mut request = tonic::Request::new(PutRequest { key: Bytes::from_static(b"k"), ..PutRequest::default() });
    request.metadata_mut().insert("token", token.parse().expect("a header"));
    Client::connect(address).await.kv.put(request).await.map(drop)
}
