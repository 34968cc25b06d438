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
