//! The real etcdctl against this server, over TLS with client certificates.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output};

use common::tls::{Certificates, certificates};
use common::{Ours, installed};

struct Ctl<'a> {
    program: &'a Path,
    address: SocketAddr,
    certificates: &'a Certificates,
}

impl Ctl<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=https://{}", self.address))
            .arg(format!("--cacert={}", self.certificates.ca.display()))
            .arg(format!("--cert={}", self.certificates.cert.display()))
            .arg(format!("--key={}", self.certificates.key.display()))
            .arg("--command-timeout=20s")
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut child = self.command(arguments).spawn().expect("etcdctl starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("writable");
        child.wait_with_output().expect("etcdctl ends")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, "")
    }

    fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert!(!output.status.success(), "etcdctl {arguments:?} succeeded");
        String::from_utf8(output.stderr).expect("text")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_works() {
    let Some(program) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let certificates = certificates(directory.path(), "good");
    let tls = [
        format!("--cert-file={}", certificates.cert.display()),
        format!("--key-file={}", certificates.key.display()),
        format!("--trusted-ca-file={}", certificates.ca.display()),
    ];
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--client-cert-auth=true", "--listen-client-urls=https://127.0.0.1:0", "--name=m1"]);
    let server = Ours::start(&directory.path().join("data"), &flags).await;
    let address = server.address;

    tokio::task::spawn_blocking(move || {
        let ctl = Ctl { program: &program, address, certificates: &certificates };
        keys(&ctl);
        leases(&ctl);
        upkeep(&ctl);
        members(&ctl);
        streams(&ctl);
        users(&ctl);
        let stranger = common::tls::certificates(directory.path(), "stranger");
        let stranger = Certificates { ca: certificates.ca.clone(), ..stranger };
        let ctl = Ctl { program: &program, address, certificates: &stranger };
        ctl.fails(&["--command-timeout=2s", "get", "a"]);
    })
    .await
    .expect("etcdctl's runs");
    server.stop().await;
}

/// Asked one by one, endpoints are called by their whole URLs.
#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_asks_endpoints_without_tls() {
    let Some(program) = installed("etcdctl") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Ours::start(directory.path(), &[]).await;
    let endpoint = format!("--endpoints=http://{}", server.address);
    let asked = tokio::task::spawn_blocking(move || {
        [&["endpoint", "status"][..], &["endpoint", "hashkv"], &["defrag"], &["endpoint", "health"]].map(|command| {
            let mut ctl = Command::new(&program);
            ctl.env_clear().env("ETCDCTL_API", "3").args([&endpoint, "--command-timeout=20s"]).args(command);
            (command, ctl.output().expect("etcdctl ends"))
        })
    });
    for (command, output) in asked.await.expect("etcdctl's runs") {
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    server.stop().await;
}

fn keys(ctl: &Ctl<'_>) {
    assert_eq!(ctl.ok(&["put", "a", "1"]), "OK\n");
    assert_eq!(ctl.ok(&["put", "b", "2"]), "OK\n");
    assert_eq!(ctl.ok(&["get", "", "--prefix", "--order=DESCEND"]), "b\n2\na\n1\n");
    assert_eq!(ctl.ok(&["get", "a", "--print-value-only", "--rev=2"]), "1\n");
    let txn = "value(\"a\") = \"1\"\n\nput c 3\nget a\n\nput d 4\n\n";
    assert!(ctl.ok_with(&["txn"], txn).starts_with("SUCCESS"));
    assert_eq!(ctl.ok(&["del", "c", "--prev-kv"]), "1\nc\n3\n");
    assert!(ctl.fails(&["get", "a", "--rev=99"]).contains("required revision is a future revision"));
}

fn leases(ctl: &Ctl<'_>) {
    let granted = ctl.ok(&["lease", "grant", "600"]);
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    ctl.ok(&["put", "leased", "x", &format!("--lease={id}")]);
    assert!(ctl.ok(&["lease", "timetolive", &id, "--keys"]).contains("attached keys([leased])"));
    assert!(ctl.ok(&["lease", "list"]).contains(&id));
    assert!(ctl.ok(&["lease", "keep-alive", "--once", &id]).contains("keepalived"));
    ctl.ok(&["lease", "revoke", &id]);
    assert_eq!(ctl.ok(&["get", "leased"]), "");
    assert!(ctl.fails(&["lease", "revoke", &id]).contains("requested lease not found"));
    assert!(ctl.ok(&["lock", "mutex", "/bin/echo", "held"]).contains("held"));
}

fn upkeep(ctl: &Ctl<'_>) {
    assert!(ctl.ok(&["member", "list"]).contains("m1"));
    assert!(ctl.ok(&["endpoint", "status"]).contains("true"));
    ctl.ok(&["endpoint", "health"]);
    ctl.ok(&["endpoint", "hashkv"]);
    assert_eq!(ctl.ok(&["compact", "4", "--physical"]), "compacted revision 4\n");
    assert!(ctl.fails(&["compact", "4"]).contains("required revision has been compacted"));
    assert!(ctl.fails(&["get", "a", "--rev=2"]).contains("required revision has been compacted"));
    assert!(ctl.ok(&["defrag"]).contains("Finished"));
    assert_eq!(ctl.ok(&["alarm", "list"]), "");
    assert_eq!(ctl.ok(&["get", "a"]), "a\n1\n");
}

fn members(ctl: &Ctl<'_>) {
    let own = ctl.ok(&["member", "list"]).split(',').next().expect("an id").to_owned();
    assert!(ctl.ok(&["member", "add", "m2", "--learner", "--peer-urls=http://127.0.0.1:1"]).contains("added"));
    let list = ctl.ok(&["member", "list"]);
    let other = list.lines().find(|line| line.contains("unstarted")).expect("it has not started");
    let other = other.split(',').next().expect("an id");
    assert!(ctl.ok(&["member", "update", other, "--peer-urls=http://127.0.0.1:2"]).contains("updated"));
    assert!(ctl.fails(&["member", "promote", other]).contains("in sync with leader"));
    assert!(ctl.ok(&["member", "remove", other]).contains("removed"));
    assert!(ctl.fails(&["member", "remove", other]).contains("member not found"));
    assert!(ctl.ok(&["move-leader", &own]).contains("transferred"));
    assert_eq!(ctl.ok(&["alarm", "disarm"]), "");
}

fn streams(ctl: &Ctl<'_>) {
    // Before revision 4 all is compacted, and without a revision the watch may begin too late.
    let mut watch = ctl.command(&["watch", "seen", "--rev=5", "--prev-kv"]).spawn().expect("etcdctl starts");
    ctl.ok(&["put", "seen", "first"]);
    until(&mut watch, "first");
    let mut elect = ctl.command(&["elect", "office", "somebody"]).spawn().expect("etcdctl starts");
    until(&mut elect, "somebody");
    ctl.ok(&["put", "from/1", "x"]);
    // The mirror is in the same place, under another name.
    let mirror = ["make-mirror", "--prefix=from", "--dest-prefix=to"];
    let place = |name, path: &std::path::Path| format!("--dest-{name}={}", path.display());
    let certificates = ctl.certificates;
    let more = [
        place("cacert", &certificates.ca),
        place("cert", &certificates.cert),
        place("key", &certificates.key),
        format!("https://{}", ctl.address),
    ];
    let arguments: Vec<&str> = mirror.into_iter().chain(more.iter().map(String::as_str)).collect();
    let mut mirror = ctl.command(&arguments).spawn().expect("etcdctl starts");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ctl.ok(&["get", "to/1"]) != "to/1\nx\n" {
        assert!(std::time::Instant::now() < deadline, "nothing is mirrored");
    }
    mirror.kill().and_then(|()| mirror.wait()).expect("ended");
}

/// Reads what a command says until a line has this, and ends it.
fn until(child: &mut Child, text: &str) {
    use std::io::BufRead;
    let lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(text));
    child.kill().and_then(|()| child.wait()).expect("ended");
    assert!(found, "{text} is not said");
}

/// The certificate's common name is a user's name.
fn users(ctl: &Ctl<'_>) {
    for command in [
        &["user", "add", "root", "--no-password"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
        &["put", "by-root", "1"],
        &["defrag"],
        &["auth", "disable"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "open/", "--prefix=true"],
        &["user", "add", "some:word"],
        &["user", "grant-role", "some", "reader"],
    ] {
        ctl.ok(command);
    }
    assert!(ctl.ok(&["role", "get", "reader"]).contains("open/"));
    assert_eq!(ctl.ok(&["role", "list"]), "reader\n");
    assert!(ctl.ok(&["user", "get", "some"]).contains("reader"));
    assert_eq!(ctl.ok(&["user", "list"]), "root\nsome\n");
    ctl.ok_with(&["user", "passwd", "some", "--interactive=false"], "other\n");
    assert!(ctl.fails(&["user", "add", "some:word"]).contains("user name already exists"));
    for command in [
        &["user", "revoke-role", "some", "reader"][..],
        &["role", "revoke-permission", "reader", "open/", "--prefix=true"],
        &["role", "delete", "reader"],
        &["user", "delete", "some"],
    ] {
        ctl.ok(command);
    }
    assert!(ctl.fails(&["user", "get", "some"]).contains("user name not found"));
}
