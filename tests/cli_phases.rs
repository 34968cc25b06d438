//! The phases of init over a host and a cluster that only remember: what they make, and that making it again changes
//! nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::IpAddr;
use std::sync::Arc;

use kinit::api::MemoryApi;
use kinit::config::settings::{HostDefaults, InitOverrides};
use kinit::config::{Documents, InitSettings};
use kinit::host::{Effect, MemoryHost};
use kinit::images::{Binaries, WouldImport};
use kinit::phase::init::{InitContext, TREE, listing};
use kinit::phase::{Outcome, find, run_one, run_tree, validate_names};
use kinit::report::Reporter;
use kinit::upgrade::{self, Cluster, apply};
use serde_json::{Value, json};

/// Remembers what each phase reported.
#[derive(Default)]
struct Remember(std::sync::Mutex<Vec<(String, Outcome)>>);

impl Reporter for Remember {
    fn begin(&self, _name: &str) {}
    fn progress(&self, _name: &str, _detail: &str) {}
    fn end(&self, name: &str, outcome: &Outcome, _took: std::time::Duration) {
        self.0.lock().unwrap().push((name.to_owned(), outcome.clone()));
    }
    fn failed(&self, name: &str) {
        panic!("{name} failed");
    }
    fn warn(&self, _text: &str) {}
    fn info(&self, _text: &str) {}
}

struct World {
    context: InitContext,
    host: Arc<MemoryHost>,
    api: Arc<MemoryApi>,
    _binaries: tempfile::TempDir,
}

fn world(yaml: &str, flags: InitOverrides) -> World {
    let binaries = tempfile::tempdir().unwrap();
    for component in kinit::images::COMPONENTS {
        std::fs::write(binaries.path().join(component.name), component.name).unwrap();
    }
    std::fs::write(binaries.path().join("kubelet"), "kubelet").unwrap();
    let documents = if yaml.is_empty() { Documents::default() } else { Documents::parse(yaml, "test").unwrap() };
    let address: IpAddr = "10.88.0.11".parse().unwrap();
    let defaults = HostDefaults { host_name: "cp1".into(), address: Some(address), cri_socket: None };
    let host = Arc::new(MemoryHost::empty().unwrap());
    let api = Arc::new(MemoryApi::default());
    api.put("/api/v1/nodes/cp1", json!({"metadata": {"name": "cp1"}, "spec": {}}));
    let context = InitContext {
        settings: InitSettings::resolve(documents, flags, &defaults).unwrap(),
        host: host.clone(),
        images: Arc::new(WouldImport),
        binaries: Binaries::new(Some(binaries.path())),
        api: api.clone(),
        super_api: api.clone(),
        reporter: Arc::new(Remember::default()),
        kubeconfig_dir: "/etc/kubernetes".into(),
        now: "2027-01-01T00:00:00Z".parse().unwrap(),
    };
    World { context, host, api, _binaries: binaries }
}

async fn run(world: &World) -> Vec<(String, Outcome)> {
    let remember = Remember::default();
    run_tree(TREE, &world.context, &remember, &world.context.settings.skip_phases).await.unwrap();
    remember.0.into_inner().unwrap()
}

/// How many files were written or removed; asking the kernel for a module or starting a service twice does no harm.
fn changes(world: &World) -> usize {
    world.host.effects().iter().filter(|effect| !matches!(effect, Effect::Run(_))).count()
}

fn file(world: &World, path: &str) -> String {
    let found = world.host.written().into_iter().find(|(name, _)| name.to_str() == Some(path));
    String::from_utf8(found.unwrap_or_else(|| panic!("{path} was not written")).1).unwrap()
}

fn manifest(world: &World, name: &str) -> Value {
    serde_yaml::from_str(&file(world, &format!("/etc/kubernetes/manifests/{name}.yaml"))).unwrap()
}

fn arguments(pod: &Value) -> Vec<String> {
    let list = pod.pointer("/spec/containers/0/command").unwrap().as_array().unwrap();
    list.iter().map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let world = world("", InitOverrides::default());
    let first = run(&world).await;
    assert!(first.iter().any(|(name, outcome)| name == "certs/ca" && *outcome == Outcome::Changed));
    let (files, effects) = (world.host.written(), changes(&world));
    let second = run(&world).await;
    assert_eq!(files, world.host.written());
    // The kubelet is started again, and images are asked for; nothing else does anything.
    for (name, outcome) in &second {
        let always = ["kubelet-start", "images", "mark-control-plane"].contains(&name.as_str());
        let token = name == "bootstrap-token";
        assert!(always || token || *outcome != Outcome::Changed, "{name} changed something again");
    }
    assert_eq!(changes(&world), effects);
}

#[tokio::test]
async fn static_pods_are_as_kubeadm_makes_them() {
    let world = world("", InitOverrides::default());
    run(&world).await;
    for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let pod = manifest(&world, name);
        assert_eq!(pod["metadata"]["labels"], json!({"component": name, "tier": "control-plane"}));
        assert_eq!(pod["metadata"]["namespace"], "kube-system");
        assert_eq!(pod["spec"]["priorityClassName"], "system-node-critical");
        assert_eq!(pod["spec"]["hostNetwork"], true);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], format!("kinit.local/{name}:v1.36.0"));
        for probe in ["livenessProbe", "startupProbe"] {
            assert!(container[probe]["httpGet"]["path"].is_string(), "{name} has no {probe}");
        }
        let mounted: Vec<&str> =
            container["volumeMounts"].as_array().unwrap().iter().map(|mount| mount["name"].as_str().unwrap()).collect();
        let volumes: Vec<&str> =
            pod["spec"]["volumes"].as_array().unwrap().iter().map(|volume| volume["name"].as_str().unwrap()).collect();
        assert_eq!(mounted, volumes, "{name}");
    }
    let api = arguments(&manifest(&world, "kube-apiserver"));
    for wanted in [
        "--advertise-address=10.88.0.11",
        "--etcd-servers=https://127.0.0.1:2379",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-cluster-ip-range=10.96.0.0/12",
        "--authorization-mode=Node,RBAC",
        "--encryption-provider-config=/etc/kubernetes/pki/encryption.yaml",
        "--authentication-config=/etc/kubernetes/apiserver/authentication.yaml",
        "--audit-log-path=/var/log/kinit/audit/audit.log",
    ] {
        assert!(api.iter().any(|argument| argument == wanted), "{wanted} is not in {api:?}");
    }
    let etcd = manifest(&world, "etcd");
    let annotation = &etcd["metadata"]["annotations"]["kubeadm.kubernetes.io/etcd.advertise-client-urls"];
    assert_eq!(annotation, "https://10.88.0.11:2379");
}

#[tokio::test]
async fn configuration_takes_effect() {
    let yaml = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ncontrolPlaneEndpoint: api.example:7443\n\
                apiServer:\n  extraArgs:\n  - {name: v, value: \"4\"}\n  - {name: secure-port, value: \"6443\"}\n  \
                extraVolumes:\n  - {name: audit, hostPath: /var/log/a, mountPath: /a, readOnly: true}\n\
                networking:\n  serviceSubnet: 10.50.0.0/16\n  dnsDomain: example.org\nproxy:\n  disabled: true\n---\n\
                apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 42\n";
    let flags = InitOverrides { skip_phases: vec!["addon/coredns".into()], ..InitOverrides::default() };
    let world = world(yaml, flags);
    let outcomes = run(&world).await;
    let of = |name: &str| outcomes.iter().find(|(other, _)| other == name).map(|(_, outcome)| outcome.clone());
    assert!(matches!(of("addon/kube-proxy"), Some(Outcome::Skipped(_))));
    assert!(matches!(of("addon/cluster-dns"), Some(Outcome::Skipped(_))));
    let pod = manifest(&world, "kube-apiserver");
    let api = arguments(&pod);
    assert!(api.contains(&"--v=4".to_owned()));
    assert_eq!(api.iter().filter(|argument| argument.starts_with("--secure-port")).count(), 1);
    let mount =
        pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().iter().find(|one| one["name"] == "audit");
    assert_eq!(mount, Some(&json!({"mountPath": "/a", "name": "audit", "readOnly": true})));
    let kubelet: Value = serde_yaml::from_str(&file(&world, "/var/lib/kubelet/config.yaml")).unwrap();
    assert_eq!((&kubelet["maxPods"], &kubelet["clusterDNS"][0]), (&json!(42), &json!("10.50.0.10")));
    assert_eq!(kubelet["clusterDomain"], "example.org");
    assert!(file(&world, "/etc/kubernetes/admin.conf").contains("server: https://api.example:7443"));
    assert!(file(&world, "/etc/kubernetes/scheduler.conf").contains("server: https://10.88.0.11:6443"));
}

#[tokio::test]
async fn an_etcd_elsewhere_takes_the_place_of_ones_own() {
    let yaml = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\netcd:\n  external:\n    endpoints: \
                [https://192.0.2.20:2379, https://192.0.2.21:2379]\n    caFile: /etc/etcd/ca.crt\n    certFile: \
                /etc/etcd/client.crt\n    keyFile: /etc/etcd/client.key\n";
    let world = world(yaml, InitOverrides::default());
    let outcomes = run(&world).await;
    for skipped in ["etcd/local", "certs/etcd-ca", "certs/apiserver-etcd-client"] {
        assert!(outcomes.iter().any(|(name, how)| name == skipped && matches!(how, Outcome::Skipped(_))), "{skipped}");
    }
    let pod = manifest(&world, "kube-apiserver");
    let api = arguments(&pod);
    for wanted in ["--etcd-servers=https://192.0.2.20:2379,https://192.0.2.21:2379", "--etcd-cafile=/etc/etcd/ca.crt"] {
        assert!(api.iter().any(|argument| argument == wanted), "{wanted} is not in {api:?}");
    }
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["hostPath"]["path"] == "/etc/etcd"));
    let config = world.api.object("/api/v1/namespaces/kube-system/configmaps/kubeadm-config").unwrap();
    assert!(config["data"]["ClusterConfiguration"].as_str().unwrap().contains("external:"));
}

#[tokio::test]
async fn both_families_keys_and_lives_take_effect() {
    let yaml = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nencryptionAlgorithm: ECDSA-P384\n\
                certificateValidityPeriod: 48h0m0s\ncaCertificateValidityPeriod: 240h0m0s\nnetworking:\n  podSubnet: \
                10.244.0.0/16,fd00:244::/56\n  serviceSubnet: 10.96.0.0/16,fd00:96::/112\ndns:\n  imageTag: v9\n";
    let world = world(yaml, InitOverrides::default());
    run(&world).await;
    let api = arguments(&manifest(&world, "kube-apiserver"));
    assert!(api.contains(&"--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112".to_owned()));
    let manager = arguments(&manifest(&world, "kube-controller-manager"));
    assert!(manager.contains(&"--cluster-cidr=10.244.0.0/16,fd00:244::/56".to_owned()));
    let folder = kinit::host::Host::stage(world.host.as_ref(), std::path::Path::new("/etc/kubernetes/pki")).unwrap();
    let load = |name: &str| kinit_pki::Certificate::load(&folder.join(name)).unwrap();
    let hours = |certificate: &kinit_pki::Certificate| certificate.remaining(world.context.now).as_secs() / 3600;
    assert_eq!((hours(&load("apiserver.crt")), hours(&load("ca.crt"))), (48, 240));
    // An uncompressed point of P-384 is 97 bytes long.
    assert!(load("apiserver.crt").public_key_der().len() > 100);
    let dns = world.api.object("/apis/apps/v1/namespaces/kube-system/deployments/cluster-dns");
    let dns = dns.or_else(|| world.api.object("/apis/apps/v1/namespaces/kube-system/deployments/coredns")).unwrap();
    assert_eq!(dns["spec"]["template"]["spec"]["containers"][0]["image"], "kinit.local/cluster-dns:v9");
}

#[tokio::test]
async fn patches_are_laid_over_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("kube-scheduler+merge.yaml", "metadata:\n  labels:\n    mine: \"yes\"\n");
    write("kubeletconfiguration.yaml", "maxPods: 9\n");
    let flags = InitOverrides { patches: Some(folder.path().to_owned()), ..InitOverrides::default() };
    let world = world("", flags);
    run(&world).await;
    assert_eq!(manifest(&world, "kube-scheduler")["metadata"]["labels"]["mine"], "yes");
    let kubelet: Value = serde_yaml::from_str(&file(&world, "/var/lib/kubelet/config.yaml")).unwrap();
    assert_eq!(kubelet["maxPods"], 9);
}

/// What a host and a cluster hold in the end, without what is random: paths, and the manifests whole.
fn made(world: &World) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let files = world.host.written();
    let mut paths: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    // The token of each world is its own.
    paths.extend(world.api.paths().into_iter().filter(|path| !path.contains("bootstrap-token-")));
    let manifests = files.into_iter().filter(|(path, _)| path.starts_with("/etc/kubernetes/manifests"));
    (paths, manifests.map(|(path, text)| (path.display().to_string(), text)).collect())
}

#[tokio::test]
async fn init_that_was_killed_at_any_phase_is_taken_up_again() {
    let whole = world("", InitOverrides::default());
    run(&whole).await;
    let leaves: Vec<String> = listing(TREE).into_iter().map(|(path, _)| path).collect();
    let leaves: Vec<&String> =
        leaves.iter().filter(|path| find(TREE, path).is_some_and(|phase| phase.action.is_some())).collect();
    assert!(leaves.len() > 25, "{leaves:?}");
    for killed in 0..leaves.len() {
        let world = world("", InitOverrides::default());
        for path in &leaves[..killed] {
            run_one(TREE, path, &world.context, &Remember::default(), &[]).await.unwrap();
        }
        run(&world).await;
        assert_eq!(made(&world), made(&whole), "killed before {}", leaves[killed]);
    }
}

#[tokio::test]
async fn certificates_are_uploaded_when_they_are_asked_for() {
    let flags = InitOverrides { upload_certs: true, ..InitOverrides::default() };
    let asked = world("", flags);
    run(&asked).await;
    let secret = asked.api.object("/api/v1/namespaces/kube-system/secrets/kubeadm-certs").unwrap();
    let names: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 9, "{names:?}");
    assert!(names.iter().any(|name| *name == "encryption.yaml"), "{names:?}");
    assert_eq!(asked.context.settings.certificate_key.as_deref().map(str::len), Some(64));
    let other = world("", InitOverrides::default());
    run(&other).await;
    assert!(other.api.object("/api/v1/namespaces/kube-system/secrets/kubeadm-certs").is_none());
}

#[tokio::test]
async fn an_upgrade_to_the_same_build_replaces_nothing_and_one_to_another_replaces_all() {
    let world = world("", InitOverrides::default());
    run(&world).await;
    let cluster = Cluster::read(world.api.as_ref()).await.unwrap();
    let node = &world.context.settings.node;
    let settings =
        upgrade::cluster::settings(&cluster, node, &manifest(&world, "kube-apiserver"), InitOverrides::default())
            .unwrap();
    let mut context = world.context;
    context.settings = settings;
    assert_eq!(apply::replacements(&context, true).unwrap(), []);
    let other = tempfile::tempdir().unwrap();
    for component in kinit::images::COMPONENTS {
        std::fs::write(other.path().join(component.name), "another build").unwrap();
    }
    context.binaries = Binaries::new(Some(other.path()));
    let all: Vec<&str> = apply::replacements(&context, true).unwrap().iter().map(|one| one.name).collect();
    assert_eq!(all, ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]);
    assert_eq!(apply::replacements(&context, false).unwrap().len(), 3);
}

#[tokio::test]
async fn without_the_key_of_the_authority_nothing_signs_by_it() {
    let world = world("", InitOverrides::default());
    run(&world).await;
    let signs = |world: &World| {
        arguments(&manifest(world, "kube-controller-manager")).iter().any(|one| one.starts_with("--cluster-signing"))
    };
    assert!(signs(&world));
    let folder = kinit::host::Host::stage(world.host.as_ref(), std::path::Path::new("/etc/kubernetes/pki")).unwrap();
    std::fs::remove_file(folder.join("ca.key")).unwrap();
    run(&world).await;
    assert!(!signs(&world));
}

#[tokio::test]
async fn a_pod_says_which_build_it_is_of() {
    let world = world("", InitOverrides::default());
    run(&world).await;
    let build = manifest(&world, "etcd")["metadata"]["annotations"]["kinit.local/build"].clone();
    assert_eq!(build.as_str().map(str::len), Some(12));
    let proxy = world.api.object("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy").unwrap();
    assert!(proxy["spec"]["template"]["metadata"]["annotations"]["kinit.local/build"].is_string());
}

#[tokio::test]
async fn the_cluster_gets_what_kubeadms_join_reads() {
    let world = world("", InitOverrides { token: Some("abcdef.0123456789abcdef".into()), ..InitOverrides::default() });
    run(&world).await;
    let paths = world.api.paths();
    for wanted in [
        "/api/v1/namespaces/kube-public/configmaps/cluster-info",
        "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
        "/api/v1/namespaces/kube-system/configmaps/kubelet-config",
        "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef",
        "/api/v1/namespaces/kube-system/services/kube-dns",
        "/apis/apps/v1/namespaces/kube-system/daemonsets/kinit-network",
        "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:cluster-admins",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:kubelet-bootstrap",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:node-autoapprove-bootstrap",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/kubeadm:nodes-kubeadm-config",
    ] {
        assert!(paths.iter().any(|path| path == wanted), "{wanted} is not in {paths:#?}");
    }
    let config = world.api.object("/api/v1/namespaces/kube-system/configmaps/kubeadm-config").unwrap();
    let text = config["data"]["ClusterConfiguration"].as_str().unwrap();
    let parsed = Documents::parse(text, "uploaded").unwrap().cluster.unwrap();
    assert_eq!(parsed.networking.pod_subnet, "10.244.0.0/16");
    let node = world.api.object("/api/v1/nodes/cp1").unwrap();
    assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"], "");
    let secret = world.api.object("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef").unwrap();
    assert_eq!(secret["stringData"]["token-secret"], "0123456789abcdef");
}

#[tokio::test]
async fn one_phase_runs_alone_and_others_are_named() {
    let world = world("", InitOverrides::default());
    run_one(TREE, "certs/ca", &world.context, &Remember::default(), &[]).await.unwrap();
    assert_eq!(world.host.written(), []);
    let error = run_one(TREE, "certs/cas", &world.context, &Remember::default(), &[]).await.unwrap_err().to_string();
    assert!(error.contains("certs/cas") && error.contains("kubeconfig"), "{error}");
    assert!(validate_names(TREE, &["addon/kube-proxy".into(), "certs".into()]).is_ok());
    assert!(validate_names(TREE, &["nonsense".into()]).is_err());
}
