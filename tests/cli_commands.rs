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
        &["token"],
        &["token", "create"],
        &["token", "list"],
        &["token", "delete"],
        &["token", "generate"],
        &["certs"],
        &["certs", "check-expiration"],
        &["certs", "renew"],
        &["kubeconfig", "user"],
        &["config", "print"],
        &["config", "validate"],
        &["preflight"],
        &["version"],
        &["completion"],
    ];
    for command in commands {
        let output = kinit(&[command, &["--help"][..]].concat());
        assert!(output.status.success(), "{command:?}");
        assert!(text(&output.stdout).contains("Usage: kinit"), "{command:?}");
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
        (&["init", "--upload-certs"], &["--upload-certs", "hint:"]),
        (&["init", "--skip-phases", "nonsense"], &["nonsense", "hint:"]),
        (&["init", "--config", "/nowhere.yaml"], &["/nowhere.yaml"]),
        (&["init", "phase", "nonsense"], &["nonsense", "hint:"]),
        (&["join"], &["hint:"]),
        (&["join", "--control-plane", "10.0.0.1:6443"], &["--control-plane", "hint:"]),
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
        ("encryptionAlgorithm: RSA-2048\n", &["RSA-2048", "hint:"]),
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
        (&["completion", "bash"], "kinit"),
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
    for kind in ["init-defaults", "join-defaults"] {
        let path = folder.path().join(kind);
        std::fs::write(&path, kinit(&["config", "print", kind]).stdout).unwrap();
        let output = kinit(&["config", "validate", "--config", path.to_str().unwrap()]);
        assert_eq!(text(&output.stdout), "ok\n", "{}", text(&output.stderr));
    }
}
