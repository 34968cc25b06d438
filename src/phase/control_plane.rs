//! Phases `etcd` and `control-plane`: the static pods, with kubeadm's flags, probes, labels and mounts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::FutureExt;
use serde::Serialize;
use serde_json::Value;

use super::init::InitContext;
use super::security::{self, Security};
use super::{Outcome, Phase, Result, kubeconfig};
use crate::config::net::host_port;
use crate::config::v1beta4::{Arg, HostPathMount};
use crate::config::{ComponentSettings, InitSettings};
use crate::templates;

/// Folder of static pods.
pub const MANIFESTS_DIR: &str = "/etc/kubernetes/manifests";
/// Names of the control plane's static pods.
pub const STATIC_PODS: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Annotation that says which build of a component a pod is of.
pub const BUILD: &str = "kinit.local/build";

const ETCD_CLIENT_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;
const ETCD_METRICS_PORT: u16 = 2381;
const CONTROLLER_MANAGER_PORT: u16 = 10257;
const SCHEDULER_PORT: u16 = 10259;

/// Phase `etcd`.
pub const ETCD: Phase<InitContext> = Phase::node(
    "etcd",
    "writes the static pod of etcd",
    &[Phase::leaf("local", "writes etcd.yaml", |context| async move { local_etcd(context) }.boxed())],
);

/// Phase `control-plane`.
pub const PHASE: Phase<InitContext> = Phase::node(
    "control-plane",
    "writes the static pods of the control plane",
    &[
        Phase::leaf("apiserver", "writes kube-apiserver.yaml", |context| {
            async move { api_server_files(context) }.boxed()
        }),
        Phase::leaf("controller-manager", "writes kube-controller-manager.yaml", |context| {
            async move { write(context, "kube-controller-manager", &EtcdStart::New) }.boxed()
        }),
        Phase::leaf("scheduler", "writes kube-scheduler.yaml", |context| {
            async move { write(context, "kube-scheduler", &EtcdStart::New) }.boxed()
        }),
    ],
);

/// What the template of a static pod takes.
#[derive(Debug, Serialize)]
pub struct StaticPod {
    name: &'static str,
    image: String,
    pull_policy: String,
    arguments: Vec<String>,
    environment: Vec<Value>,
    annotations: BTreeMap<&'static str, String>,
    probe: Probe,
    cpu: &'static str,
    memory: Option<&'static str>,
    volumes: Vec<HostPathMount>,
}

#[derive(Debug, Serialize)]
struct Probe {
    host: String,
    port: u16,
    scheme: &'static str,
    liveness: &'static str,
    readiness: Option<&'static str>,
    startup: &'static str,
}

impl StaticPod {
    /// The manifest.
    pub fn manifest(&self) -> std::result::Result<String, templates::Error> {
        templates::render(templates::STATIC_POD, self)
    }
}

fn local_etcd(context: &InitContext) -> Result {
    if context.settings.cluster.external_etcd.is_some() {
        return Ok(Outcome::Skipped("etcd runs elsewhere".into()));
    }
    write(context, "etcd", &EtcdStart::New)
}

/// Writes the API server's static pod, and what a new cluster's reads besides.
fn api_server_files(context: &InitContext) -> Result {
    let files = security::ensure(context, true)?;
    let pod = write(context, "kube-apiserver", &EtcdStart::New)?;
    Ok(if files == Outcome::Changed { files } else { pod })
}

/// Writes a static pod.
pub fn write(context: &InitContext, name: &str, start: &EtcdStart) -> Result {
    let path = Path::new(MANIFESTS_DIR).join(format!("{name}.yaml"));
    Ok(context.host.write(&path, render(context, name, start)?.as_bytes(), 0o600)?.into())
}

/// The manifest of a static pod, with the user's patches laid over it. It says which build it is of, so that another
/// build of the same version replaces it.
pub fn render(context: &InitContext, name: &str, start: &EtcdStart) -> anyhow::Result<String> {
    let settings = &context.settings;
    let mut pod = match name {
        "etcd" => etcd(settings, start),
        "kube-apiserver" => api_server(settings, Security::of(context)?),
        "kube-controller-manager" => controller_manager(settings),
        "kube-scheduler" => scheduler(settings),
        other => anyhow::bail!("there is no static pod {other}"),
    };
    if name == "kube-controller-manager" && without_ca_key(context)? {
        pod.arguments.retain(|argument| !argument.starts_with("--cluster-signing-"));
    }
    if let Some(build) = context.binaries.build(pod.name)? {
        pod.annotations.insert(BUILD, build);
    }
    settings.patches.apply_text(pod.name, pod.manifest()?)
}

/// Whether the CA is here and its key is not: others sign then, and the controller manager must not try to.
fn without_ca_key(context: &InitContext) -> anyhow::Result<bool> {
    let store = super::certs::store(context)?;
    Ok(store.folder().join("ca.crt").exists() && !store.folder().join("ca.key").exists())
}

/// How the member of a manifest that is there began: what says so is of no use to a member with data, but a manifest
/// that is written again must not say anything else.
pub fn start_of(manifest: &str) -> anyhow::Result<EtcdStart> {
    let object: Value = serde_yaml::from_str(manifest)?;
    let command = object.pointer("/spec/containers/0/command").and_then(Value::as_array);
    let flag = |name: &str| {
        let mut all = command.into_iter().flatten().filter_map(Value::as_str);
        all.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    };
    if flag("--initial-cluster-state") != Some("existing") {
        return Ok(EtcdStart::New);
    }
    let members = flag("--initial-cluster").unwrap_or_default().split(',').filter_map(|one| one.split_once('='));
    Ok(EtcdStart::Join(members.map(|(name, url)| (name.to_owned(), url.to_owned())).collect()))
}

/// How a member of etcd begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtcdStart {
    /// It begins a cluster of its own.
    New,
    /// It joins a cluster: all members by name and URL for peers, this one among them.
    Join(Vec<(String, String)>),
}

/// Flags in kubeadm's order: a user's flag replaces ours of the same name, all are sorted by name.
pub fn arguments(ours: &[(&str, String)], extra: &[Arg]) -> Vec<String> {
    let mut all: Vec<(&str, &str)> = ours
        .iter()
        .filter(|(name, _)| !extra.iter().any(|arg| arg.name == *name))
        .map(|(name, value)| (*name, value.as_str()))
        .chain(extra.iter().map(|arg| (arg.name.as_str(), arg.value.as_str())))
        .collect();
    all.sort_by_key(|(name, _)| *name);
    all.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn loopback(settings: &InitSettings) -> &'static str {
    if settings.advertise_address.is_ipv6() { "::1" } else { "127.0.0.1" }
}

fn url(host: &str, port: u16) -> String {
    format!("https://{}", host_port(host, port))
}

fn mount(name: &str, path: &Path, read_only: bool, path_type: &str) -> HostPathMount {
    let path = path.display().to_string();
    HostPathMount {
        name: name.into(),
        host_path: path.clone(),
        mount_path: path,
        read_only,
        path_type: path_type.into(),
    }
}

/// Ours and the user's volumes; a user's of the same name replaces ours.
fn volumes(ours: Vec<HostPathMount>, extra: &[HostPathMount]) -> Vec<HostPathMount> {
    let mut all: Vec<HostPathMount> =
        ours.into_iter().filter(|volume| !extra.iter().any(|other| other.name == volume.name)).collect();
    all.extend(extra.iter().cloned());
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

struct Paths {
    folder: PathBuf,
}

impl Paths {
    fn new(settings: &InitSettings) -> Self {
        Self { folder: settings.cluster.certificates_dir.clone() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn probe_host(extra: &[Arg], default: &str) -> String {
    let bound = extra.iter().rev().find(|arg| arg.name == "bind-address").map(|arg| arg.value.as_str());
    match bound.and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(ip) if ip.is_unspecified() => {
            if ip.is_ipv6() {
                "::1".into()
            } else {
                "127.0.0.1".into()
            }
        }
        Some(ip) => ip.to_string(),
        None => default.to_owned(),
    }
}

/// URL that other members reach the etcd at `address` by.
pub fn etcd_peer_url(address: IpAddr) -> String {
    url(&address.to_string(), ETCD_PEER_PORT)
}

/// URL that clients reach the etcd at `address` by.
pub fn etcd_client_url(address: IpAddr) -> String {
    url(&address.to_string(), ETCD_CLIENT_PORT)
}

/// The static pod of etcd.
pub fn etcd(settings: &InitSettings, start: &EtcdStart) -> StaticPod {
    let paths = Paths::new(settings);
    let cluster = &settings.cluster;
    let own = settings.advertise_address.to_string();
    let client = url(&own, ETCD_CLIENT_PORT);
    let peer = url(&own, ETCD_PEER_PORT);
    let local = loopback(settings);
    let initial = match start {
        EtcdStart::New => format!("{}={peer}", settings.node.name),
        EtcdStart::Join(members) => {
            members.iter().map(|(name, url)| format!("{name}={url}")).collect::<Vec<_>>().join(",")
        }
    };
    let mut ours = vec![
        ("name", settings.node.name.clone()),
        ("listen-client-urls", format!("{},{client}", url(local, ETCD_CLIENT_PORT))),
        ("advertise-client-urls", client.clone()),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", initial),
        ("data-dir", cluster.etcd.data_dir.clone()),
        ("cert-file", paths.file("etcd/server.crt")),
        ("key-file", paths.file("etcd/server.key")),
        ("trusted-ca-file", paths.file("etcd/ca.crt")),
        ("client-cert-auth", "true".into()),
        ("peer-cert-file", paths.file("etcd/peer.crt")),
        ("peer-key-file", paths.file("etcd/peer.key")),
        ("peer-trusted-ca-file", paths.file("etcd/ca.crt")),
        ("peer-client-cert-auth", "true".into()),
        ("snapshot-count", "10000".into()),
        ("listen-metrics-urls", format!("http://{}", host_port(local, ETCD_METRICS_PORT))),
        ("feature-gates", "InitialCorruptCheck=true".into()),
        ("watch-progress-notify-interval", "5s".into()),
    ];
    if *start != EtcdStart::New {
        ours.push(("initial-cluster-state", "existing".into()));
    }
    StaticPod {
        name: "etcd",
        image: cluster.image("etcd"),
        pull_policy: settings.node.image_pull_policy.clone(),
        arguments: arguments(&ours, &cluster.etcd.extra_args),
        environment: cluster.etcd.extra_envs.clone(),
        annotations: [("kubeadm.kubernetes.io/etcd.advertise-client-urls", client)].into(),
        probe: Probe {
            host: local.into(),
            port: ETCD_METRICS_PORT,
            scheme: "HTTP",
            liveness: "/livez",
            readiness: Some("/readyz"),
            startup: "/readyz",
        },
        cpu: "100m",
        memory: Some("100Mi"),
        volumes: volumes(
            vec![
                mount("etcd-certs", &cluster.certificates_dir.join("etcd"), false, "DirectoryOrCreate"),
                mount("etcd-data", Path::new(&cluster.etcd.data_dir), false, "DirectoryOrCreate"),
            ],
            &[],
        ),
    }
}

/// The static pod of the API server.
pub fn api_server(settings: &InitSettings, security: Security) -> StaticPod {
    let paths = Paths::new(settings);
    let cluster = &settings.cluster;
    let own = settings.advertise_address.to_string();
    let mut ours = vec![
        ("advertise-address", own.clone()),
        ("allow-privileged", "true".into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("client-ca-file", paths.file("ca.crt")),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("enable-bootstrap-token-auth", "true".into()),
        ("kubelet-client-certificate", paths.file("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", paths.file("apiserver-kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname".into()),
        ("proxy-client-cert-file", paths.file("front-proxy-client.crt")),
        ("proxy-client-key-file", paths.file("front-proxy-client.key")),
        ("requestheader-allowed-names", "front-proxy-client".into()),
        ("requestheader-client-ca-file", paths.file("front-proxy-ca.crt")),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".into()),
        ("requestheader-group-headers", "X-Remote-Group".into()),
        ("requestheader-username-headers", "X-Remote-User".into()),
        ("secure-port", settings.bind_port.to_string()),
        ("service-account-issuer", format!("https://kubernetes.default.svc.{}", cluster.dns_domain)),
        ("service-account-key-file", paths.file("sa.pub")),
        ("service-account-signing-key-file", paths.file("sa.key")),
        ("service-cluster-ip-range", cluster.service_subnet.to_string()),
        ("tls-cert-file", paths.file("apiserver.crt")),
        ("tls-private-key-file", paths.file("apiserver.key")),
    ];
    match &cluster.external_etcd {
        None => ours.extend([
            ("etcd-cafile", paths.file("etcd/ca.crt")),
            ("etcd-certfile", paths.file("apiserver-etcd-client.crt")),
            ("etcd-keyfile", paths.file("apiserver-etcd-client.key")),
            ("etcd-servers", url(loopback(settings), ETCD_CLIENT_PORT)),
        ]),
        Some(external) => {
            ours.push(("etcd-servers", external.endpoints.join(",")));
            let files = [
                ("etcd-cafile", &external.ca_file),
                ("etcd-certfile", &external.cert_file),
                ("etcd-keyfile", &external.key_file),
            ];
            ours.extend(
                files.into_iter().filter(|(_, file)| !file.is_empty()).map(|(name, file)| (name, file.clone())),
            );
        }
    }
    ours.extend(security.flags(settings));
    let mut mounts = api_server_mounts(settings);
    mounts.extend(security.mounts(|name, path, read_only| mount(name, path, read_only, "DirectoryOrCreate")));
    let annotation = host_port(&own, settings.bind_port);
    StaticPod {
        name: "kube-apiserver",
        image: cluster.image("kube-apiserver"),
        pull_policy: settings.node.image_pull_policy.clone(),
        arguments: arguments(&ours, &cluster.api_server.extra_args),
        environment: cluster.api_server.extra_envs.clone(),
        annotations: [("kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint", annotation)].into(),
        probe: Probe {
            host: probe_host(&cluster.api_server.extra_args, &own),
            port: settings.bind_port,
            scheme: "HTTPS",
            liveness: "/livez",
            readiness: Some("/readyz"),
            startup: "/livez",
        },
        cpu: "250m",
        memory: None,
        volumes: volumes(mounts, &cluster.api_server.extra_volumes),
    }
}

/// The static pod of the controller manager.
pub fn controller_manager(settings: &InitSettings) -> StaticPod {
    let paths = Paths::new(settings);
    let cluster = &settings.cluster;
    let config = kubeconfig::path("controller-manager.conf");
    let config_text = config.display().to_string();
    let ours = [
        ("allocate-node-cidrs", "true".into()),
        ("authentication-kubeconfig", config_text.clone()),
        ("authorization-kubeconfig", config_text.clone()),
        ("bind-address", "127.0.0.1".into()),
        ("client-ca-file", paths.file("ca.crt")),
        ("cluster-cidr", cluster.pod_subnet.to_string()),
        ("cluster-name", cluster.cluster_name.clone()),
        ("cluster-signing-cert-file", paths.file("ca.crt")),
        ("cluster-signing-key-file", paths.file("ca.key")),
        ("controllers", "*,bootstrapsigner,tokencleaner".into()),
        ("kubeconfig", config_text.clone()),
        ("leader-elect", "true".into()),
        ("requestheader-client-ca-file", paths.file("front-proxy-ca.crt")),
        ("root-ca-file", paths.file("ca.crt")),
        ("service-account-private-key-file", paths.file("sa.key")),
        ("service-cluster-ip-range", cluster.service_subnet.to_string()),
        ("use-service-account-credentials", "true".into()),
    ];
    let mut mounts = shared_mounts(settings);
    mounts.push(mount("kubeconfig", &config, true, "FileOrCreate"));
    follower("kube-controller-manager", settings, &ours, &cluster.controller_manager, CONTROLLER_MANAGER_PORT, mounts)
}

/// The static pod of the scheduler.
pub fn scheduler(settings: &InitSettings) -> StaticPod {
    let config = kubeconfig::path("scheduler.conf");
    let config_text = config.display().to_string();
    let ours = [
        ("authentication-kubeconfig", config_text.clone()),
        ("authorization-kubeconfig", config_text.clone()),
        ("bind-address", "127.0.0.1".into()),
        ("kubeconfig", config_text.clone()),
        ("leader-elect", "true".into()),
    ];
    let mounts = vec![mount("kubeconfig", &config, true, "FileOrCreate")];
    follower("kube-scheduler", settings, &ours, &settings.cluster.scheduler, SCHEDULER_PORT, mounts)
}

/// What the controller manager and the scheduler have in common.
fn follower(
    name: &'static str,
    settings: &InitSettings,
    ours: &[(&str, String)],
    component: &ComponentSettings,
    port: u16,
    mounts: Vec<HostPathMount>,
) -> StaticPod {
    let is_scheduler = port == SCHEDULER_PORT;
    StaticPod {
        name,
        image: settings.cluster.image(name),
        pull_policy: settings.node.image_pull_policy.clone(),
        arguments: arguments(ours, &component.extra_args),
        environment: component.extra_envs.clone(),
        annotations: BTreeMap::new(),
        probe: Probe {
            host: probe_host(&component.extra_args, "127.0.0.1"),
            port,
            scheme: "HTTPS",
            liveness: if is_scheduler { "/livez" } else { "/healthz" },
            readiness: is_scheduler.then_some("/readyz"),
            startup: if is_scheduler { "/livez" } else { "/healthz" },
        },
        cpu: if is_scheduler { "100m" } else { "200m" },
        memory: None,
        volumes: volumes(mounts, &component.extra_volumes),
    }
}

/// The folders of an external etcd's files are mounted too, unless they are below the PKI folder already.
fn api_server_mounts(settings: &InitSettings) -> Vec<HostPathMount> {
    let mut mounts = shared_mounts(settings);
    let Some(external) = &settings.cluster.external_etcd else { return mounts };
    let mut folders: Vec<&Path> = [&external.ca_file, &external.cert_file, &external.key_file]
        .into_iter()
        .filter_map(|file| Path::new(file).parent())
        .filter(|folder| folder.is_absolute() && !folder.starts_with(&settings.cluster.certificates_dir))
        .collect();
    folders.sort();
    folders.dedup();
    for (index, folder) in folders.into_iter().enumerate() {
        mounts.push(mount(&format!("etcd-certs-{index}"), folder, true, "DirectoryOrCreate"));
    }
    mounts
}

fn shared_mounts(settings: &InitSettings) -> Vec<HostPathMount> {
    vec![
        mount("ca-certs", Path::new("/etc/ssl/certs"), true, "DirectoryOrCreate"),
        mount("k8s-certs", &settings.cluster.certificates_dir, true, "DirectoryOrCreate"),
    ]
}
