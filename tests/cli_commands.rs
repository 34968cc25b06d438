//! The program from outside: help, and bad input. Each mistake gives one clear error and an exit code that says so.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use assert_cmd::Command;

fn kinit(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("kinit").unwrap();
    command.args(arguments).env_remove("KUBECONFIG").env_remove("KINIT_BIN_DIR").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs, must fail, and what it says on standard error.
fn refused(arguments: &[&str]) -> String {
    let output = kinit(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert_eq!(text(&output.stdout), "", "{arguments:?} printed data");
    let error = text(&output.stderr);
    assert_eq!(error.matches("error:").count(), 1, "{arguments:?}: {error}");
    let code = error.lines().find_map(|line| line.strip_prefix("code: ")?.split(' ').next()).unwrap_or_default();
    assert!(kinit(&["explain", code]).status.success(), "{arguments:?} has no code that is explained: {error}");
    error
}

#[test]
fn every_command_has_help() {
    let commands: &[&[&str]] = &[
        &[],
        &["init"],
        &["init", "phase"],
        &["join"],
        &["join", "phase"],
        &["reset"],
        &["reset", "phase"],
        &["token"],
        &["token", "create"],
        &["token", "list"],
        &["token", "delete"],
        &["token", "generate"],
        &["certs"],
        &["certs", "check-expiration"],
        &["certs", "renew"],
        &["kubeconfig", "user"],
        &["certs", "generate-csr"],
        &["certs", "certificate-key"],
        &["config", "print"],
        &["config", "print", "init-defaults"],
        &["config", "print", "join-defaults"],
        &["config", "print", "reset-defaults"],
        &["config", "print", "upgrade-defaults"],
        &["config", "validate"],
        &["config", "migrate"],
        &["config", "images", "list"],
        &["upgrade", "plan"],
        &["upgrade", "apply"],
        &["upgrade", "apply", "phase"],
        &["upgrade", "node"],
        &["upgrade", "node", "phase"],
        &["upgrade", "diff"],
        &["etcd", "members"],
        &["etcd", "status"],
        &["etcd", "snapshot", "save"],
        &["etcd", "snapshot", "restore"],
        &["etcd", "snapshot", "status"],
        &["etcd", "snapshot", "schedule"],
        &["preflight"],
        &["explain"],
        &["status"],
        &["version"],
        &["completion"],
    ];
    for command in commands {
        let output = kinit(&[command, &["--help"][..]].concat());
        assert!(output.status.success(), "{command:?}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage: kinit"), "{command:?}");
        assert!(help.contains("Commands:") || help.contains("Example"), "{command:?} has no example");
    }
    assert!(text(&kinit(&["init", "phase", "--help"]).stdout).contains("certs apiserver-kubelet-client"));
}

#[test]
fn mistakes_are_named() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let address = ["--apiserver-advertise-address", "192.0.2.7"];
    let cases: &[(&[&str], &[&str])] = &[
        (&["init", "--nonsense"], &["--nonsense"]),
        (&["nonsense"], &["nonsense"]),
        (&["init", "--pod-network-cidr", "10.0.0.0"], &["10.0.0.0", "range", "hint:"]),
        (&["init", "--pod-network-cidr", "10.96.0.0/16"], &["overlaps", "hint:"]),
        (&["init", "--service-cidr", "10.96.0.0/30"], &["too small", "hint:"]),
        (&["init", "--service-dns-domain", "a_b"], &["DNS name", "hint:"]),
        (&["init", "--apiserver-advertise-address", "127.0.0.1"], &["127.0.0.1", "hint:"]),
        (&["init", "--apiserver-advertise-address", "here"], &["here", "hint:"]),
        (&["init", "--control-plane-endpoint", "https://x"], &["https://x", "hint:"]),
        (&["init", "--kubernetes-version", "v1.20.0"], &["v1.20.0", "v1.36.0", "hint:"]),
        (&["init", "--token", "abc"], &["abc", "hint:"]),
        (&["init", "--token-ttl", "soon"], &["soon", "hint:"]),
        (&["init", "--node-name", "No_Name"], &["no_name", "hint:"]),
        (&["init", "--cri-socket", "tcp://x"], &["tcp://x", "hint:"]),
        (&["init", "--certificate-key", "abc"], &["certificateKey", "hint:"]),
        (&["init", "--feature-gates", "Nonsense=true"], &["Nonsense", "hint:"]),
        (&["init", "--feature-gates", "RootlessControlPlane=true"], &["RootlessControlPlane", "hint:"]),
        (&["init", "--patches", "/nowhere"], &["/nowhere"]),
        (&["init", "--pod-network-cidr", "10.0.0.0/16,10.1.0.0/16"], &["family", "hint:"]),
        (&["init", "--skip-phases", "nonsense"], &["nonsense", "hint:"]),
        (&["init", "--skip-phases", "show-join-command,nonsense"], &["nonsense", "hint:"]),
        (&["init", "--config", "/nowhere.yaml"], &["/nowhere.yaml"]),
        (&["init", "phase", "nonsense"], &["nonsense", "hint:"]),
        (&["init", "phase", "control-plane", "scheduler", "--scheduler-extra-args", "v"], &["\"v\"", "NAME=VALUE"]),
        (&["join"], &["hint:"]),
        (&["join", "--certificate-key", "abc", "10.0.0.1:6443"], &["--certificate-key", "--control-plane", "hint:"]),
        (&["join", "--control-plane", "--certificate-key", "abc", "10.0.0.1:6443"], &["certificateKey", "hint:"]),
        (&["join", "phase", "nonsense", "10.0.0.1:6443", "--token", "x"], &["hint:"]),
        (&["reset", "--skip-phases", "nonsense"], &["nonsense", "hint:"]),
        (&["reset", "phase", "nonsense"], &["nonsense"]),
        (&["join", "10.0.0.1:6443", "--discovery-token-ca-cert-hash", &hash], &["--token", "hint:"]),
        (&["join", "10.0.0.1:6443", "--token", "abcdef.0123456789abcdef"], &["ca-cert-hash", "hint:"]),
        (&["join", "10.0.0.1:6443", "--token", "x", "--discovery-token-ca-cert-hash", &hash], &["token", "hint:"]),
        (&["join", "--ssh", "root@a b"], &["root@a b", "hint:"]),
        (&["join", "ssh://-oProxyCommand=x@h"], &["hint:"]),
        (&["join", "--ssh", "root@w1", "--token", "x"], &["--token"]),
        (&["token", "create", "--ttl", "soon"], &["soon", "hint:"]),
        (&["token", "create", "--usages", "cooking"], &["cooking", "hint:"]),
        (&["token", "list", "--kubeconfig", "/nowhere.conf"], &["/nowhere.conf", "hint:"]),
        (&["certs", "check-expiration", "--cert-dir", "/nowhere"], &["/nowhere", "hint:"]),
        (&["certs", "renew", "nonsense"], &["nonsense", "hint:"]),
        (&["kubeconfig", "user", "--client-name", "a", "--validity-period", "x"], &["--validity-period", "hint:"]),
        (&["config", "migrate", "--old-config", "/nowhere.yaml"], &["/nowhere.yaml"]),
        (&["config", "print", "init-defaults", "--component-configs", "X"], &["X", "hint:"]),
        (&["etcd", "members", "--cert-dir", "/nowhere"], &["/nowhere", "hint:"]),
        (&["etcd", "members", "--endpoints", "http://127.0.0.1:1"], &["127.0.0.1:1"]),
        (&["etcd", "snapshot", "status", "/dev/null"], &["/dev/null"]),
        (&["etcd", "snapshot", "restore", "/nowhere.db"], &["/nowhere.db"]),
        (&["etcd", "snapshot", "save"], &["<FILE>"]),
        (&["explain", "nonsense"], &["nonsense", "hint:"]),
        (&["status", "--kubeconfig", "/nowhere.conf"], &["/nowhere.conf", "hint:"]),
        (&["upgrade", "plan", "v1.99.0", "--kubeconfig", "/nowhere.conf"], &["v1.99.0", "hint:"]),
        (&["upgrade", "plan", "--kubeconfig", "/nowhere.conf"], &["/nowhere.conf", "hint:"]),
        (&["upgrade", "apply", "soon"], &["soon", "hint:"]),
        (&["upgrade", "apply", "--skip-phases", "nonsense"], &["nonsense", "hint:"]),
        (&["upgrade", "apply", "phase", "nonsense"], &["nonsense", "control-plane"]),
        (&["upgrade", "node", "phase", "upload-config"], &["upload-config", "kubelet-config"]),
        (&["token", "create", "--config", "/nowhere.yaml"], &["/nowhere.yaml"]),
        (&["token", "create", "--config", "/nowhere.yaml", "--ttl", "1h"], &["--ttl"]),
    ];
    for (arguments, wanted) in cases {
        // An address of its own spares init a look at the host's routes, which a test has no say in.
        let given = arguments.contains(&address[0]) || arguments[0] != "init" || arguments.contains(&"--config");
        let all = if given { arguments.to_vec() } else { [arguments, &address[..]].concat() };
        let error = refused(&all);
        for part in *wanted {
            assert!(error.contains(part), "{arguments:?}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_broken_file_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kinit.yaml");
    let name = path.to_str().unwrap();
    let head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";
    for (body, wanted) in [
        ("networking:\n  podSubnett: 10.0.0.0/8\n", &["networking", "podSubnett", "line 4"][..]),
        ("networking: [\n", &["line"]),
        ("etcd:\n  external:\n    endpoints: [x]\n", &["etcd.external", "hint:"]),
        ("etcd:\n  local: {dataDir: /x}\n  external:\n    endpoints: [http://x]\n", &["both", "hint:"]),
        ("encryptionAlgorithm: RSA-1024\n", &["RSA-1024", "hint:"]),
        ("certificateValidityPeriod: soon\n", &["certificateValidityPeriod", "hint:"]),
    ] {
        std::fs::write(&path, format!("{head}{body}")).unwrap();
        for command in [&["init", "--config", name][..], &["config", "validate", "--config", name]] {
            let error = refused(command);
            for part in wanted {
                assert!(error.contains(part), "{body:?}: {error:?} lacks {part:?}");
            }
        }
    }
    std::fs::write(&path, format!("{head}clusterName: other\n")).unwrap();
    assert!(refused(&["init", "--config", name, "--pod-network-cidr", "10.0.0.0/8"]).contains("cannot be mixed"));
}

#[test]
fn data_goes_to_standard_output() {
    for (arguments, wanted) in [
        (&["token", "generate"][..], "."),
        (&["version", "-o", "json"], "v1.36.0"),
        (&["config", "print", "init-defaults"], "kind: ClusterConfiguration"),
        (&["config", "print", "join-defaults"], "kind: JoinConfiguration"),
        (&["config", "images", "list"], "kinit.local/kube-apiserver:v1.36.0"),
        (&["config", "images", "list", "-o", "yaml"], "output.kubeadm.k8s.io/v1alpha3"),
        (&["config", "print", "init-defaults", "--component-configs", "KubeletConfiguration"], "staticPodPath"),
        (&["config", "print", "join-defaults", "--component-configs", "KubeProxyConfiguration"], "clusterCIDR"),
        (&["completion", "bash"], "kinit"),
        (&["completion", "zsh"], "kinit"),
        (&["completion", "fish"], "kinit"),
        (&["explain", "Port-6443"], "ss -ltnp"),
    ] {
        let output = kinit(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(wanted), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn printed_defaults_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["init-defaults", "join-defaults", "reset-defaults", "upgrade-defaults"] {
        let path = folder.path().join(kind);
        std::fs::write(&path, kinit(&["config", "print", kind]).stdout).unwrap();
        let output = kinit(&["config", "validate", "--config", path.to_str().unwrap()]);
        assert_eq!(text(&output.stdout), "ok\n", "{}", text(&output.stderr));
    }
}

#[test]
fn requests_for_an_outside_authority_are_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kinit.yaml");
    let document = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint:\n  advertiseAddress: \
                192.0.2.7\nnodeRegistration:\n  name: cp1\n";
    std::fs::write(&config, document).unwrap();
    let (pki, configs) = (folder.path().join("pki"), folder.path().join("configs"));
    let (pki_text, configs_text) = (pki.to_str().unwrap(), configs.to_str().unwrap());
    let command = [
        "certs",
        "generate-csr",
        "--cert-dir",
        pki_text,
        "--kubeconfig-dir",
        configs_text,
        "--config",
        config.to_str().unwrap(),
    ];
    let output = kinit(&command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for file in ["apiserver.csr", "apiserver.key", "etcd/server.csr", "front-proxy-client.csr"] {
        assert!(pki.join(file).exists(), "{file}");
    }
    let request = std::fs::read_to_string(pki.join("apiserver.csr")).unwrap();
    let request = kinit_pki::CertificateRequest::from_pem(&request, "apiserver.csr").unwrap();
    assert!(request.dns_names.contains(&"kubernetes.default.svc.cluster.local".to_owned()));
    let request = std::fs::read_to_string(configs.join("kubelet.conf.csr")).unwrap();
    let request = kinit_pki::CertificateRequest::from_pem(&request, "kubelet.conf.csr").unwrap();
    assert_eq!((request.common_name.as_str(), request.organizations.len()), ("system:node:cp1", 1));
    assert!(refused(&command).contains("there already"));
}

#[test]
fn an_older_file_is_written_again_in_new_words() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.yaml"), folder.path().join("new.yaml"));
    let body =
        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nscheduler:\n  extraArgs:\n    v: \"3\"\n";
    std::fs::write(&old, body).unwrap();
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    assert!(refused(&["config", "validate", "--config", old]).contains("config migrate"));
    assert!(kinit(&["config", "migrate", "--old-config", old, "--new-config", new]).status.success());
    assert_eq!(text(&kinit(&["config", "validate", "--config", new]).stdout), "ok\n");
}

#[test]
fn how_much_is_said_is_told_in_kubeadms_way_too() {
    for arguments in [&["version", "-v=5"][..], &["--v=2", "version"], &["version", "-vv"], &["version", "--v", "3"]] {
        assert!(kinit(arguments).status.success(), "{arguments:?}");
    }
}
