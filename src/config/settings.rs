//! What the phases work with: every value filled in and checked once.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::net::{self, Cidr};
use super::v1beta4::{
    Arg, BootstrapToken, ClusterConfiguration, ControlPlaneComponent, Etcd, InitConfiguration, LocalEtcd,
    NodeRegistration, Taint,
};
use super::{Documents, Error};
use crate::token::Token;

/// The Kubernetes version that this build brings.
pub const KUBERNETES_VERSION: &str = "v1.36.0";
/// Where the images that kinit makes itself are named from.
pub const IMAGE_REPOSITORY: &str = "kinit.local";
/// Port of the API server unless told otherwise.
pub const API_PORT: u16 = 6443;
/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "unix:///var/run/containerd/containerd.sock";
/// Taint and label key of control plane nodes.
pub const CONTROL_PLANE_KEY: &str = "node-role.kubernetes.io/control-plane";

const DEFAULT_POD_SUBNET: &str = "10.244.0.0/16";
const DEFAULT_SERVICE_SUBNET: &str = "10.96.0.0/12";
const DEFAULT_DNS_DOMAIN: &str = "cluster.local";
const DEFAULT_CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";
const DEFAULT_ETCD_DATA_DIR: &str = "/var/lib/etcd";
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// How this node is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// The host's own name, lower case.
    pub host_name: String,
    /// `unix:///...` of the container runtime.
    pub cri_socket: String,
    /// Taints that it is registered with.
    pub taints: Vec<Taint>,
    /// More flags of the kubelet.
    pub kubelet_extra_args: Vec<Arg>,
}

/// A control plane component's additions.
pub type ComponentSettings = ControlPlaneComponent;

/// What is true of the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Name in kubeconfigs.
    pub cluster_name: String,
    /// Version of the control plane, `v1.36.0`.
    pub kubernetes_version: String,
    /// Address shared by all control planes.
    pub control_plane_endpoint: Option<(String, u16)>,
    /// Pod range; kubeadm's rule that there may be none is kept by the apiserver's flags, not here.
    pub pod_subnet: Cidr,
    /// Service range.
    pub service_subnet: Cidr,
    /// The cluster's DNS domain.
    pub dns_domain: String,
    /// The PKI folder.
    pub certificates_dir: PathBuf,
    /// Where images are named from.
    pub image_repository: String,
    /// More names in the API server's certificate.
    pub api_server_names: Vec<String>,
    /// The API server's additions.
    pub api_server: ComponentSettings,
    /// The controller manager's additions.
    pub controller_manager: ComponentSettings,
    /// The scheduler's additions.
    pub scheduler: ComponentSettings,
    /// etcd on this host.
    pub etcd: LocalEtcd,
    /// Whether kube-proxy is left out.
    pub without_proxy: bool,
    /// Whether the DNS add-on is left out.
    pub without_dns: bool,
    /// `KubeletConfiguration` fields laid over kinit's own.
    pub kubelet: Option<Value>,
    /// `KubeProxyConfiguration` fields laid over kinit's own.
    pub proxy: Option<Value>,
}

/// What `init` works with.
#[derive(Debug, Clone, PartialEq)]
pub struct InitSettings {
    /// The cluster.
    pub cluster: Settings,
    /// This node.
    pub node: NodeSettings,
    /// Address of this node's API server.
    pub advertise_address: IpAddr,
    /// Its port.
    pub bind_port: u16,
    /// Tokens to make; at least one.
    pub tokens: Vec<TokenSettings>,
    /// Preflight checks whose errors become warnings.
    pub ignore_preflight_errors: Vec<String>,
    /// Phases to leave out.
    pub skip_phases: Vec<String>,
    /// Only show what would be done.
    pub dry_run: bool,
    /// How long the kubelet and the control plane may take to come up.
    pub wait: Duration,
}

/// A bootstrap token to make.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSettings {
    /// The token.
    pub token: Token,
    /// Its life; `None` never ends.
    pub ttl: Option<Duration>,
    /// What it is for.
    pub description: String,
    /// `signing`, `authentication`.
    pub usages: Vec<String>,
    /// Groups that who shows it is in.
    pub groups: Vec<String>,
}

/// The flags of `init` that change settings.
#[derive(Debug, Clone, Default)]
pub struct InitOverrides {
    /// `--apiserver-advertise-address`
    pub advertise_address: Option<String>,
    /// `--apiserver-bind-port`
    pub bind_port: Option<u16>,
    /// `--apiserver-cert-extra-sans`
    pub cert_sans: Vec<String>,
    /// `--cert-dir`
    pub cert_dir: Option<PathBuf>,
    /// `--control-plane-endpoint`
    pub control_plane_endpoint: Option<String>,
    /// `--cri-socket`
    pub cri_socket: Option<String>,
    /// `--ignore-preflight-errors`
    pub ignore_preflight_errors: Vec<String>,
    /// `--image-repository`
    pub image_repository: Option<String>,
    /// `--kubernetes-version`
    pub kubernetes_version: Option<String>,
    /// `--node-name`
    pub node_name: Option<String>,
    /// `--pod-network-cidr`
    pub pod_subnet: Option<String>,
    /// `--service-cidr`
    pub service_subnet: Option<String>,
    /// `--service-dns-domain`
    pub dns_domain: Option<String>,
    /// `--skip-phases`
    pub skip_phases: Vec<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--token-ttl`
    pub token_ttl: Option<String>,
    /// `--dry-run`
    pub dry_run: bool,
}

/// What the host itself gives as defaults.
#[derive(Debug, Clone)]
pub struct HostDefaults {
    /// Its name.
    pub host_name: String,
    /// The address of the interface that the default route leaves by.
    pub address: Option<IpAddr>,
}

impl InitSettings {
    /// Lays flags over the file over the defaults.
    pub fn resolve(documents: Documents, flags: InitOverrides, host: &HostDefaults) -> Result<Self, Error> {
        let init = documents.init.unwrap_or_default();
        if let Some(patches) = &init.patches {
            let hint = "change what you need by extraArgs, extraVolumes and extraEnvs";
            return Err(Error::value("patches.directory", &patches.directory, "has no effect yet", hint));
        }
        if !init.certificate_key.is_empty() {
            return Err(Error::value(
                "certificateKey",
                "...",
                "has no effect yet",
                "certificates are not uploaded; leave it out",
            ));
        }
        let mut cluster = documents.cluster.unwrap_or_default();
        override_cluster(&mut cluster, &flags);
        let mut registration = init.node_registration.clone();
        over(&mut registration.name, flags.node_name.clone());
        over(&mut registration.cri_socket, flags.cri_socket.clone());
        let tokens = tokens(&init, &flags)?;
        let advertise_address = advertise_address(&init, &flags, host)?;
        let bind_port = match (flags.bind_port, init.local_api_endpoint.bind_port) {
            (Some(port), _) => port,
            (None, 0) => API_PORT,
            (None, port) => port,
        };
        let wait = match init.timeouts.control_plane_component_health_check.as_str() {
            "" => Duration::from_secs(240),
            text => duration("timeouts.controlPlaneComponentHealthCheck", text)?,
        };
        Ok(Self {
            node: NodeSettings::resolve(&registration, host, true)?,
            cluster: Settings::resolve(cluster, documents.kubelet, documents.proxy)?,
            advertise_address,
            bind_port,
            tokens,
            ignore_preflight_errors: [init.node_registration.ignore_preflight_errors, flags.ignore_preflight_errors]
                .concat(),
            skip_phases: [init.skip_phases, flags.skip_phases].concat().into_iter().map(own_name).collect(),
            dry_run: init.dry_run || flags.dry_run,
            wait,
        })
    }

    /// URL of the cluster: the shared endpoint if there is one, else this node.
    pub fn endpoint_url(&self) -> String {
        let (host, port) = self.endpoint();
        format!("https://{}", net::host_port(&host, port))
    }

    /// Host and port of [`InitSettings::endpoint_url`].
    pub fn endpoint(&self) -> (String, u16) {
        self.cluster
            .control_plane_endpoint
            .clone()
            .unwrap_or_else(|| (self.advertise_address.to_string(), self.bind_port))
    }

    /// URL of this node's own API server.
    pub fn local_url(&self) -> String {
        format!("https://{}", net::host_port(&self.advertise_address.to_string(), self.bind_port))
    }

    /// What the certificates of this node depend on.
    pub fn pki_subject(&self) -> kinit_pki::Subject {
        kinit_pki::Subject {
            node_name: self.node.name.clone(),
            advertise_address: self.advertise_address,
            service_address: self.cluster.service_address(1),
            dns_domain: self.cluster.dns_domain.clone(),
            endpoint_host: self.cluster.control_plane_endpoint.as_ref().map(|(host, _)| host.clone()),
            api_server_names: self.cluster.api_server_names.clone(),
            etcd_server_names: self.cluster.etcd.server_cert_sans.clone(),
            etcd_peer_names: self.cluster.etcd.peer_cert_sans.clone(),
        }
    }
}

impl Settings {
    /// Fills in the defaults of a `ClusterConfiguration` and checks it.
    pub fn resolve(cluster: ClusterConfiguration, kubelet: Option<Value>, proxy: Option<Value>) -> Result<Self, Error> {
        refuse_what_is_not_there(&cluster)?;
        let range = |field: &str, text: &str, default: &str| -> Result<Cidr, Error> {
            let text = if text.is_empty() { default } else { text };
            if text.contains(',') {
                return Err(Error::value(
                    field,
                    text,
                    "is a pair of ranges",
                    "dual-stack is not there yet; give one range",
                ));
            }
            text.parse().map_err(|reason: String| Error::value(field, text, reason, format!("for example {default}")))
        };
        let pod_subnet = range("networking.podSubnet", &cluster.networking.pod_subnet, DEFAULT_POD_SUBNET)?;
        let service_subnet =
            range("networking.serviceSubnet", &cluster.networking.service_subnet, DEFAULT_SERVICE_SUBNET)?;
        if pod_subnet.overlaps(&service_subnet) {
            let hint = format!("choose ranges apart from each other; services have {service_subnet}");
            return Err(Error::value("networking.podSubnet", pod_subnet, "overlaps the service range", hint));
        }
        if service_subnet.nth(10).is_none() {
            let hint = "the DNS service takes the eleventh address; a /28 is the smallest that works";
            return Err(Error::value("networking.serviceSubnet", service_subnet, "is too small", hint));
        }
        if pod_subnet.nth(255).is_none() {
            let hint = "each node takes a /24 of it";
            return Err(Error::value("networking.podSubnet", pod_subnet, "is too small", hint));
        }
        let dns_domain = or(cluster.networking.dns_domain, DEFAULT_DNS_DOMAIN);
        if !net::is_dns_name(&dns_domain) {
            return Err(Error::value(
                "networking.dnsDomain",
                dns_domain,
                "is no DNS name",
                "for example cluster.local",
            ));
        }
        let control_plane_endpoint = match cluster.control_plane_endpoint.as_str() {
            "" => None,
            text => Some(
                net::split_host_port(text, API_PORT)
                    .map_err(|reason| Error::value("controlPlaneEndpoint", text, reason, "give HOST or HOST:PORT"))?,
            ),
        };
        for name in &cluster.api_server.cert_sans {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            if name.parse::<IpAddr>().is_err() && !net::is_dns_name(plain) {
                return Err(Error::value(
                    "apiServer.certSANs",
                    name,
                    "is neither an address nor a DNS name",
                    "for example api.example.com",
                ));
            }
        }
        let mut etcd = cluster.etcd.local.unwrap_or_default();
        etcd.data_dir = or(etcd.data_dir, DEFAULT_ETCD_DATA_DIR);
        absolute("etcd.local.dataDir", Path::new(&etcd.data_dir))?;
        let certificates_dir = PathBuf::from(or(cluster.certificates_dir, DEFAULT_CERTIFICATES_DIR));
        absolute("certificatesDir", &certificates_dir)?;
        let api = cluster.api_server;
        Ok(Self {
            cluster_name: or(cluster.cluster_name, "kubernetes"),
            kubernetes_version: version(&cluster.kubernetes_version)?,
            control_plane_endpoint,
            pod_subnet,
            service_subnet,
            dns_domain,
            certificates_dir,
            image_repository: or(cluster.image_repository, IMAGE_REPOSITORY),
            api_server_names: api.cert_sans,
            api_server: ComponentSettings {
                extra_args: api.extra_args,
                extra_volumes: api.extra_volumes,
                extra_envs: api.extra_envs,
            },
            controller_manager: cluster.controller_manager,
            scheduler: cluster.scheduler,
            etcd,
            without_proxy: cluster.proxy.disabled,
            without_dns: cluster.dns.disabled,
            kubelet,
            proxy,
        })
    }

    /// The `index`th address of the service range.
    pub fn service_address(&self, index: u128) -> IpAddr {
        self.service_subnet.nth(index).expect("the range was checked to hold eleven addresses")
    }

    /// Address of the DNS service.
    pub fn dns_address(&self) -> IpAddr {
        self.service_address(10)
    }

    /// Name of the image of `component`.
    pub fn image(&self, component: &str) -> String {
        format!("{}/{component}:{}", self.image_repository, self.kubernetes_version)
    }

    /// The document that is kept in the cluster.
    pub fn to_document(&self) -> ClusterConfiguration {
        let defaulted = |text: &str| text.to_owned();
        ClusterConfiguration {
            api_version: super::v1beta4::API_VERSION.into(),
            kind: "ClusterConfiguration".into(),
            api_server: super::v1beta4::ApiServer {
                extra_args: self.api_server.extra_args.clone(),
                extra_volumes: self.api_server.extra_volumes.clone(),
                extra_envs: self.api_server.extra_envs.clone(),
                cert_sans: self.api_server_names.clone(),
            },
            ca_certificate_validity_period: defaulted("87600h0m0s"),
            certificate_validity_period: defaulted("8760h0m0s"),
            certificates_dir: self.certificates_dir.display().to_string(),
            cluster_name: self.cluster_name.clone(),
            control_plane_endpoint: self
                .control_plane_endpoint
                .as_ref()
                .map(|(host, port)| net::host_port(host, *port))
                .unwrap_or_default(),
            controller_manager: self.controller_manager.clone(),
            encryption_algorithm: defaulted("ECDSA-P256"),
            etcd: Etcd { local: Some(self.etcd.clone()), external: None },
            image_repository: self.image_repository.clone(),
            kubernetes_version: self.kubernetes_version.clone(),
            networking: super::v1beta4::Networking {
                dns_domain: self.dns_domain.clone(),
                pod_subnet: self.pod_subnet.to_string(),
                service_subnet: self.service_subnet.to_string(),
            },
            scheduler: self.scheduler.clone(),
            dns: super::v1beta4::Dns { disabled: self.without_dns, ..Default::default() },
            proxy: super::v1beta4::Proxy { disabled: self.without_proxy },
            ..ClusterConfiguration::default()
        }
    }
}

impl NodeSettings {
    /// Fills in the defaults of a registration and checks it.
    pub fn resolve(registration: &NodeRegistration, host: &HostDefaults, control_plane: bool) -> Result<Self, Error> {
        let host_name = host.host_name.trim().to_lowercase();
        let name = or(registration.name.trim().to_lowercase(), &host_name);
        if !net::is_dns_name(&name) {
            let hint = "give a lower case RFC 1123 name by --node-name, or change the host's name";
            return Err(Error::value("node name", name, "is no DNS name", hint));
        }
        let cri_socket = or(registration.cri_socket.clone(), CONTAINERD_SOCKET);
        let cri_socket = if cri_socket.starts_with('/') { format!("unix://{cri_socket}") } else { cri_socket };
        if !cri_socket.starts_with("unix:///") {
            return Err(Error::value(
                "criSocket",
                cri_socket,
                "is no path of a socket",
                format!("for example {CONTAINERD_SOCKET}"),
            ));
        }
        let default_taints = || {
            let taint = Taint { key: CONTROL_PLANE_KEY.into(), effect: "NoSchedule".into(), ..Taint::default() };
            if control_plane { vec![taint] } else { Vec::new() }
        };
        Ok(Self {
            name,
            host_name,
            cri_socket,
            taints: registration.taints.clone().unwrap_or_else(default_taints),
            kubelet_extra_args: registration.kubelet_extra_args.clone(),
        })
    }

    /// The socket's path.
    pub fn cri_path(&self) -> &Path {
        Path::new(self.cri_socket.strip_prefix("unix://").unwrap_or(&self.cri_socket))
    }
}

/// kubeadm's users leave out its DNS by the name that it has there.
fn own_name(phase: String) -> String {
    if phase == "addon/coredns" { "addon/cluster-dns".into() } else { phase }
}

fn over(slot: &mut String, value: Option<String>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn or(value: String, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value }
}

fn absolute(field: &str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Error::value(field, path.display(), "is not an absolute path", "begin it with /"))
}

fn duration(field: &str, text: &str) -> Result<Duration, Error> {
    net::parse_duration(text).map_err(|reason| Error::value(field, text, reason, "for example 24h0m0s, or 0"))
}

fn version(text: &str) -> Result<String, Error> {
    let wanted = match text {
        "" | "stable" | "stable-1" | "stable-1.36" | "latest" => KUBERNETES_VERSION.to_owned(),
        text if text.starts_with('v') => text.to_owned(),
        text => format!("v{text}"),
    };
    if wanted != KUBERNETES_VERSION {
        let hint = format!("this build brings {KUBERNETES_VERSION} only; leave the version out");
        return Err(Error::value("kubernetesVersion", text, "cannot be installed", hint));
    }
    Ok(wanted)
}

/// Fields of kubeadm that would be accepted and then have no effect are refused instead.
fn refuse_what_is_not_there(cluster: &ClusterConfiguration) -> Result<(), Error> {
    let refuse = |field: &str, value: String, hint: &str| Err(Error::value(field, value, "has no effect yet", hint));
    if cluster.etcd.external.is_some() {
        return refuse("etcd.external", "...".into(), "kinit runs etcd itself; remove etcd.external");
    }
    if !matches!(cluster.encryption_algorithm.as_str(), "" | "ECDSA-P256") {
        return refuse("encryptionAlgorithm", cluster.encryption_algorithm.clone(), "keys are ECDSA-P256");
    }
    if let Some((name, _)) = cluster.feature_gates.iter().next() {
        return refuse("featureGates", name.clone(), "kubeadm's own feature gates do not exist here");
    }
    let etcd = cluster.etcd.local.clone().unwrap_or_default();
    for (field, text) in [
        ("etcd.local.imageRepository", &etcd.image_repository),
        ("etcd.local.imageTag", &etcd.image_tag),
        ("dns.imageRepository", &cluster.dns.image_repository),
        ("dns.imageTag", &cluster.dns.image_tag),
    ] {
        if !text.is_empty() {
            return refuse(field, text.clone(), "kinit makes its images itself; imageRepository names them all");
        }
    }
    for (field, text, only) in [
        ("certificateValidityPeriod", &cluster.certificate_validity_period, 8760),
        ("caCertificateValidityPeriod", &cluster.ca_certificate_validity_period, 87600),
    ] {
        if !text.is_empty() && duration(field, text)? != Duration::from_secs(only * 3600) {
            return refuse(field, text.clone(), "leave it out: leaves live one year and CAs ten");
        }
    }
    Ok(())
}

fn override_cluster(cluster: &mut ClusterConfiguration, flags: &InitOverrides) {
    over(&mut cluster.control_plane_endpoint, flags.control_plane_endpoint.clone());
    over(&mut cluster.image_repository, flags.image_repository.clone());
    over(&mut cluster.kubernetes_version, flags.kubernetes_version.clone());
    over(&mut cluster.networking.pod_subnet, flags.pod_subnet.clone());
    over(&mut cluster.networking.service_subnet, flags.service_subnet.clone());
    over(&mut cluster.networking.dns_domain, flags.dns_domain.clone());
    over(&mut cluster.certificates_dir, flags.cert_dir.as_ref().map(|path| path.display().to_string()));
    cluster.api_server.cert_sans.extend(flags.cert_sans.iter().cloned());
}

fn advertise_address(init: &InitConfiguration, flags: &InitOverrides, host: &HostDefaults) -> Result<IpAddr, Error> {
    let field = "localAPIEndpoint.advertiseAddress";
    let given = flags.advertise_address.clone().unwrap_or_else(|| init.local_api_endpoint.advertise_address.clone());
    if given.is_empty() {
        let hint = "give the address of this host by --apiserver-advertise-address";
        return host.address.ok_or_else(|| {
            Error::value(field, "", "is not given and the host has no default route to tell it by", hint)
        });
    }
    let address: IpAddr = given.parse().map_err(|_| {
        Error::value(field, &given, "is no address", "give an address of this host, for example 192.0.2.10")
    })?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(Error::value(
            field,
            given,
            "cannot be reached by other hosts",
            "give an address of a network interface",
        ));
    }
    Ok(address)
}

fn tokens(init: &InitConfiguration, flags: &InitOverrides) -> Result<Vec<TokenSettings>, Error> {
    let mut listed = init.bootstrap_tokens.clone();
    if listed.is_empty() {
        listed.push(BootstrapToken::default());
    }
    if flags.token.is_some() || flags.token_ttl.is_some() {
        over(&mut listed[0].token, flags.token.clone());
        over(&mut listed[0].ttl, flags.token_ttl.clone());
    }
    listed.into_iter().map(|token| TokenSettings::resolve(&token)).collect()
}

impl TokenSettings {
    /// Fills in the defaults of a token and checks it; an empty one is generated.
    pub fn resolve(token: &BootstrapToken) -> Result<Self, Error> {
        let list = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(|one| (*one).to_owned()).collect() } else { given.to_vec() }
        };
        if let Some(expires) = &token.expires {
            return Err(Error::value("bootstrapTokens.expires", expires, "is not there yet", "give a ttl instead"));
        }
        let ttl = match token.ttl.as_str() {
            "" => Some(DEFAULT_TOKEN_TTL),
            text => Some(duration("token ttl", text)?).filter(|ttl| !ttl.is_zero()),
        };
        Ok(Self {
            token: if token.token.is_empty() { Token::generate() } else { token.token.parse()? },
            ttl,
            description: token.description.clone(),
            usages: list(&token.usages, &["signing", "authentication"]),
            groups: list(&token.groups, &["system:bootstrappers:kubeadm:default-node-token"]),
        })
    }
}
