//! Bad input to every command: one clear error that names the thing and the mend, an exit code that says so, and nothing
//! changed. The commands are those of the parser's own tree, so that a new one has to show its mistakes here.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::CommandFactory;

/// A command line and what its error says. `HASH` stands for a well-formed hash, `TOKEN` for a well-formed token; `init` gets an
/// address of its own, which spares it a look at the host's routes.
const MISTAKES: &[(&str, &[&str])] = &[
    ("nonsense", &["nonsense"]),
    ("--rootfs /nowhere version", &["/nowhere", "hint:"]),
    ("init --nonsense", &["--nonsense"]),
    ("init --pod-network-cidr 10.0.0.0", &["10.0.0.0", "range", "hint:"]),
    ("init --pod-network-cidr 10.96.0.0/16", &["overlaps", "hint:"]),
    ("init --pod-network-cidr 10.0.0.0/16,10.1.0.0/16", &["family", "hint:"]),
    ("init --service-cidr 10.96.0.0/30", &["too small", "hint:"]),
    ("init --service-dns-domain a_b", &["DNS name", "hint:"]),
    ("init --apiserver-advertise-address 127.0.0.1", &["127.0.0.1", "hint:"]),
    ("init --apiserver-advertise-address here", &["here", "hint:"]),
    ("init --apiserver-bind-port 70000", &["70000", "--apiserver-bind-port"]),
    ("init --apiserver-cert-extra-sans a_b", &["a_b", "hint:"]),
    ("init --cert-dir here", &["here", "hint:"]),
    ("init --control-plane-endpoint https://x", &["https://x", "hint:"]),
    ("init --kubernetes-version v1.20.0", &["v1.20.0", "v1.36.0", "hint:"]),
    ("init --token abc", &["abc", "hint:"]),
    ("init --token-ttl soon", &["soon", "hint:"]),
    ("init --node-name No_Name", &["no_name", "hint:"]),
    ("init --cri-socket tcp://x", &["tcp://x", "hint:"]),
    ("init --certificate-key abc", &["certificateKey", "hint:"]),
    ("init --feature-gates Nonsense=true", &["Nonsense", "hint:"]),
    ("init --feature-gates RootlessControlPlane=true", &["RootlessControlPlane", "hint:"]),
    ("init --patches /nowhere", &["/nowhere"]),
    ("init --skip-phases nonsense", &["nonsense", "hint:"]),
    ("init --skip-phases show-join-command,nonsense", &["nonsense", "hint:"]),
    ("init --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("init -o xml", &["xml", "json"]),
    ("init phase", &["PHASE"]),
    ("init phase nonsense", &["nonsense", "hint:"]),
    ("init phase certs nonsense", &["certs/nonsense", "hint:"]),
    ("init phase control-plane scheduler --scheduler-extra-args v", &["\"v\"", "NAME=VALUE"]),
    ("init phase certs all --kubeconfig-dir /nowhere", &["--kubeconfig-dir", "kubeconfig", "hint:"]),
    ("init phase certs all --print-manifest", &["--print-manifest", "addon", "hint:"]),
    ("join", &["hint:"]),
    ("join http://x --token TOKEN --discovery-token-ca-cert-hash HASH", &["http://x", "hint:"]),
    ("join --ssh root@a;b", &["root@a;b", "hint:"]),
    ("join --certificate-key abc 10.0.0.1:6443", &["--certificate-key", "--control-plane", "hint:"]),
    ("join --control-plane --certificate-key abc 10.0.0.1:6443", &["certificateKey", "hint:"]),
    ("join 10.0.0.1:6443 --discovery-token-ca-cert-hash HASH", &["--token", "hint:"]),
    ("join 10.0.0.1:6443 --token TOKEN", &["ca-cert-hash", "hint:"]),
    ("join 10.0.0.1:6443 --token TOKEN --discovery-token-ca-cert-hash sha1:abc", &["sha1:abc", "hint:"]),
    ("join 10.0.0.1:6443 --token x --discovery-token-ca-cert-hash HASH", &["token", "hint:"]),
    ("join --discovery-file http://x/y", &["http://x/y", "hint:"]),
    ("join --discovery-file /nowhere.conf --dry-run --skip-phases preflight", &["/nowhere.conf"]),
    (
        "join 127.0.0.1:1 --token TOKEN --discovery-token-ca-cert-hash HASH --skip-phases preflight",
        &["127.0.0.1:1", "hint:"],
    ),
    ("join --ssh root@a --skip-phases nonsense -i /nowhere", &["hint:"]),
    ("join --ssh root@w1 --token x", &["--token"]),
    ("join ssh://-oProxyCommand=x@h", &["hint:"]),
    ("join --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("join phase", &["PHASE"]),
    ("join phase nonsense 10.0.0.1:6443 --token x", &["hint:"]),
    ("join phase kubelet-start a b", &["hint:"]),
    ("reset --skip-phases nonsense", &["nonsense", "hint:"]),
    ("reset --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("reset phase nonsense", &["nonsense"]),
    ("token create --ttl soon", &["soon", "hint:"]),
    ("token create --usages cooking", &["cooking", "hint:"]),
    ("token create --groups system:masters", &["system:masters", "hint:"]),
    ("token create abc", &["abc", "hint:"]),
    ("token create --certificate-key x", &["--print-join-command"]),
    ("token create --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("token create --config /nowhere.yaml --ttl 1h", &["--ttl"]),
    ("token list --kubeconfig /nowhere.conf", &["/nowhere.conf", "hint:"]),
    ("token delete", &["<TOKENS>"]),
    ("token delete abc --kubeconfig /nowhere.conf", &["\"abc\"", "hint:"]),
    ("token generate -o xml", &["xml", "json"]),
    ("certs check-expiration --cert-dir /nowhere", &["/nowhere", "hint:"]),
    ("certs check-expiration --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("certs renew", &["<NAME>"]),
    ("certs renew nonsense", &["nonsense", "hint:"]),
    ("certs renew apiserver --cert-dir /nowhere", &["/nowhere"]),
    ("certs generate-csr --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("certs certificate-key -o xml", &["xml", "json"]),
    ("kubeconfig user", &["--client-name"]),
    ("kubeconfig user --client-name a --validity-period x", &["--validity-period", "hint:"]),
    ("kubeconfig user --client-name a --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("config print init-defaults --component-configs X", &["X", "hint:"]),
    ("config print join-defaults --component-configs X", &["X", "hint:"]),
    ("config print reset-defaults --component-configs X", &["X", "hint:"]),
    ("config print upgrade-defaults --component-configs X", &["X", "hint:"]),
    ("config validate", &["--config"]),
    ("config validate --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("config migrate --old-config /nowhere.yaml", &["/nowhere.yaml"]),
    ("config images list --kubernetes-version v1.20.0", &["v1.20.0", "hint:"]),
    ("config images list --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("config images pull --kubernetes-version v1.20.0", &["v1.20.0", "hint:"]),
    ("upgrade plan v1.99.0 --kubeconfig /nowhere.conf", &["v1.99.0", "hint:"]),
    ("upgrade plan --kubeconfig /nowhere.conf", &["/nowhere.conf", "hint:"]),
    ("upgrade apply soon", &["soon", "hint:"]),
    ("upgrade apply --skip-phases nonsense", &["nonsense", "hint:"]),
    ("upgrade apply --etcd-upgrade=maybe", &["maybe"]),
    ("upgrade apply phase nonsense", &["nonsense", "control-plane"]),
    ("upgrade apply phase addon nonsense", &["addon/nonsense", "cluster-dns"]),
    ("upgrade node --skip-phases nonsense", &["nonsense", "hint:"]),
    ("upgrade node phase upload-config", &["upload-config", "kubelet-config"]),
    ("upgrade diff --kubeconfig /nowhere.conf", &["/nowhere.conf", "hint:"]),
    ("upgrade diff -c many", &["many"]),
    ("preflight --config /nowhere.yaml", &["/nowhere.yaml"]),
    ("preflight --yes", &["--fix"]),
    ("status --kubeconfig /nowhere.conf", &["/nowhere.conf", "hint:"]),
    ("readdress --address here", &["here"]),
    ("readdress --server https://x --dry-run", &["https://x", "hint:"]),
    ("etcd members --cert-dir /nowhere", &["/nowhere", "hint:"]),
    ("etcd members --endpoints http://127.0.0.1:1", &["127.0.0.1:1"]),
    ("etcd status --endpoints http://127.0.0.1:1", &["127.0.0.1:1"]),
    ("etcd snapshot save", &["<FILE>"]),
    ("etcd snapshot save /nowhere/x --endpoints http://127.0.0.1:1", &["127.0.0.1:1"]),
    ("etcd snapshot status /dev/null", &["/dev/null"]),
    ("etcd snapshot restore /nowhere.db --yes", &["/nowhere.db"]),
    ("etcd snapshot schedule --every sometimes", &["sometimes"]),
    ("explain nonsense", &["nonsense", "hint:"]),
    ("version -o xml", &["xml", "json"]),
    ("completion csh", &["csh", "bash"]),
    ("man /dev/null/x", &["/dev/null/x"]),
];

const TOKEN: &str = "abcdef.0123456789abcdef";

/// What kinit changes on a host.
const PLACES: &[&str] = &[
    "/etc/kubernetes",
    "/etc/cni",
    "/etc/containerd",
    "/etc/fstab",
    "/etc/hosts",
    "/etc/systemd/system",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/lib",
    "/var/lib/etcd",
    "/var/lib/kinit",
    "/var/lib/kubelet",
];

fn kinit(arguments: &[String], folder: &Path) -> std::process::Output {
    let mut command = assert_cmd::Command::cargo_bin("kinit").unwrap();
    command.args(arguments).current_dir(folder).env_remove("KUBECONFIG").env_remove("KINIT_BIN_DIR").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// When each file below the places was changed, and its size.
fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut all = BTreeMap::new();
    let mut left: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    left.push(folder.to_owned());
    while let Some(path) = left.pop() {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        all.insert(path, (meta.len(), meta.modified().ok()));
    }
    all
}

#[test]
fn each_mistake_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hash = format!("sha256:{}", "0".repeat(64));
    let before = state(folder.path());
    let mut problems = Vec::new();
    for (line, wanted) in MISTAKES {
        let mut arguments: Vec<String> =
            line.split(' ').map(|word| word.replace("HASH", &hash).replace("TOKEN", TOKEN)).collect();
        if arguments[0] == "init" && !line.contains("--apiserver-advertise-address") && !line.contains("--config") {
            arguments.extend(["--apiserver-advertise-address".to_owned(), "192.0.2.7".to_owned()]);
        }
        let output = kinit(&arguments, folder.path());
        let error = text(&output.stderr);
        let mut found = |wrong: &str| problems.push(format!("`kinit {line}` {wrong}: {error}"));
        if output.status.success() {
            found("succeeded");
        }
        if !output.stdout.is_empty() {
            found("printed data");
        }
        if error.lines().filter(|line| line.starts_with("error:")).count() != 1 {
            found("gives not one error");
        }
        for part in wanted.iter().filter(|part| !error.contains(**part)) {
            found(&format!("does not say {part:?}"));
        }
        let code = error.lines().find_map(|line| line.strip_prefix("code: ")?.split(' ').next()).unwrap_or_default();
        if !kinit(&["explain".to_owned(), code.to_owned()], folder.path()).status.success() {
            found("has no code that is explained");
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(state(folder.path()), before);
}

/// The words of each command that does something.
fn commands() -> Vec<String> {
    fn look(command: &clap::Command, path: &str, all: &mut Vec<String>) {
        let inner: Vec<_> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
        if inner.is_empty() || !command.is_subcommand_required_set() {
            all.push(path.trim().to_owned());
        }
        for one in inner {
            look(one, &format!("{path} {}", one.get_name()), all);
        }
    }
    let mut all = Vec::new();
    look(&kinit::cli::Cli::command(), "", &mut all);
    all
}

#[test]
fn every_command_shows_its_mistakes_and_has_help() {
    let folder = tempfile::tempdir().unwrap();
    let commands = commands();
    assert!(commands.len() > 35, "{commands:?}");
    for command in commands {
        let shown = MISTAKES
            .iter()
            .any(|(line, _)| line.strip_prefix(&command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
        assert!(shown, "no mistake of `kinit {command}` is shown");
        let arguments: Vec<String> = command.split(' ').chain(["--help"]).map(str::to_owned).collect();
        let output = kinit(&arguments, folder.path());
        let help = text(&output.stdout);
        assert!(output.status.success() && help.contains("Usage: kinit"), "{command}: {help}");
        assert!(help.contains("Example"), "`kinit {command} --help` has no example");
    }
}
