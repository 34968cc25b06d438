//! What the phases work with: every value filled in and checked once.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinit_pki::{Algorithm, Issuance};
use serde_json::Value;

use super::net::{self, Ranges};
pub use super::node::NodeSettings;
pub use super::timeouts::Timeouts;
pub use super::tokens::TokenSettings;
use super::v1beta4::{
    BootstrapToken, ClusterConfiguration, ControlPlaneComponent, Dns, Etcd, ExternalEtcd, InitConfiguration, LocalEtcd,
};
use super::{Documents, Error};
use crate::patches::Patches;
use crate::phase::own_name;

/// Where the images that kinit makes itself are named from.
pub const IMAGE_REPOSITORY: &str = "kinit.local";
/// Port of the API server unless told otherwise.
pub const API_PORT: u16 = 6443;
/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "unix:///var/run/containerd/containerd.sock";
/// CRI-O's socket.
pub const CRIO_SOCKET: &str = "unix:///var/run/crio/crio.sock";
/// Taint and label key of control plane nodes.
pub const CONTROL_PLANE_KEY: &str = "node-role.kubernetes.io/control-plane";

const DEFAULT_POD_SUBNET: &str = "10.244.0.0/16";
const DEFAULT_SERVICE_SUBNET: &str = "10.96.0.0/12";
const DEFAULT_DNS_DOMAIN: &str = "cluster.local";
const DEFAULT_CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";
const DEFAULT_ETCD_DATA_DIR: &str = "/var/lib/etcd";

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
    /// Whether each node reaches the API servers by a balancer of its own, because they share no address.
    pub balanced: bool,
    /// Pod range; kubeadm's rule that there may be none is kept by the apiserver's flags, not here.
    pub pod_subnet: Ranges,
    /// Service range.
    pub service_subnet: Ranges,
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
    /// etcd elsewhere; then there is none on this host.
    pub external_etcd: Option<ExternalEtcd>,
    /// What keys are and how long certificates live.
    pub issuance: Issuance,
    /// kubeadm's feature gates, all of which say what kinit does anyway.
    pub feature_gates: std::collections::BTreeMap<String, bool>,
    /// The DNS add-on.
    pub dns: Dns,
    /// Whether kube-proxy is left out.
    pub without_proxy: bool,
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
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The user's patches of what is written.
    pub patches: Patches,
    /// Key that uploaded certificates are encrypted with; a random one if there is none.
    pub certificate_key: Option<String>,
    /// Whether the control plane's certificates are kept in the cluster for others to join with.
    pub upload_certs: bool,
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
    /// `--patches`
    pub patches: Option<PathBuf>,
    /// `--certificate-key`
    pub certificate_key: Option<String>,
    /// `--upload-certs`
    pub upload_certs: bool,
    /// `--feature-gates`
    pub feature_gates: Vec<String>,
}

/// What the host itself gives as defaults.
#[derive(Debug, Clone)]
pub struct HostDefaults {
    /// Its name.
    pub host_name: String,
    /// The address of the interface that the default route leaves by.
    pub address: Option<IpAddr>,
    /// The socket of the container runtime that there is, where it is not containerd's.
    pub cri_socket: Option<&'static str>,
}

/// CRI-O's socket on a host that has it and no containerd.
pub fn runtime_socket() -> Option<&'static str> {
    let is_there = |socket: &str| Path::new(socket.trim_start_matches("unix://")).exists();
    (is_there(CRIO_SOCKET) && !is_there(CONTAINERD_SOCKET)).then_some(CRIO_SOCKET)
}

impl InitSettings {
    /// Lays flags over the file over the defaults.
    pub fn resolve(documents: Documents, flags: InitOverrides, host: &HostDefaults) -> Result<Self, Error> {
        let init = documents.init.unwrap_or_default();
        let mut cluster = documents.cluster.unwrap_or_default();
        override_cluster(&mut cluster, &flags);
        let mut registration = init.node_registration.clone();
        over(&mut registration.name, flags.node_name.clone());
        over(&mut registration.cri_socket, flags.cri_socket.clone());
        let tokens = tokens(&init, &flags)?;
        let own = &init.local_api_endpoint.advertise_address;
        let advertise_address = advertise_address(flags.advertise_address.as_ref().unwrap_or(own), host)?;
        let bind_port = match (flags.bind_port, init.local_api_endpoint.bind_port) {
            (Some(port), _) => port,
            (None, 0) => API_PORT,
            (None, port) => port,
        };
        let folder = flags.patches.clone().or_else(|| init.patches.as_ref().map(|part| part.directory.clone().into()));
        let certificate_key = match flags.certificate_key.clone().unwrap_or(init.certificate_key) {
            key if key.is_empty() => None,
            key => Some(certificate_key("certificateKey", key)?),
        };
        let mut cluster = Settings::resolve(cluster, documents.kubelet, documents.proxy)?;
        cluster.balanced = cluster.control_plane_endpoint.is_none();
        Ok(Self {
            node: NodeSettings::resolve(&registration, host, true)?.at(Some(advertise_address), host),
            cluster,
            advertise_address,
            bind_port,
            tokens,
            ignore_preflight_errors: [init.node_registration.ignore_preflight_errors, flags.ignore_preflight_errors]
                .concat(),
            skip_phases: [init.skip_phases, flags.skip_phases].concat().into_iter().map(own_name).collect(),
            dry_run: init.dry_run || flags.dry_run,
            timeouts: Timeouts::resolve(&init.timeouts)?,
            patches: Patches::load(folder.as_deref())?,
            certificate_key: certificate_key.or_else(|| flags.upload_certs.then(crate::certificates::new_key)),
            upload_certs: flags.upload_certs,
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

    /// URL that nodes reach the cluster by: their own balancer's, if they have one.
    pub fn node_url(&self) -> String {
        self.cluster.node_url().unwrap_or_else(|| self.endpoint_url())
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
            api_server_names: self.cluster.certificate_names(),
            etcd_server_names: self.cluster.etcd.server_cert_sans.clone(),
            etcd_peer_names: self.cluster.etcd.peer_cert_sans.clone(),
        }
    }
}

impl Settings {
    /// Fills in the defaults of a `ClusterConfiguration` and checks it.
    pub fn resolve(cluster: ClusterConfiguration, kubelet: Option<Value>, proxy: Option<Value>) -> Result<Self, Error> {
        let range = |field: &str, text: &str, default: &str| -> Result<Ranges, Error> {
            let text = if text.is_empty() { default } else { text };
            text.parse().map_err(|reason: String| Error::value(field, text, reason, format!("for example {default}")))
        };
        let pod_subnet = range("networking.podSubnet", &cluster.networking.pod_subnet, DEFAULT_POD_SUBNET)?;
        let service_subnet =
            range("networking.serviceSubnet", &cluster.networking.service_subnet, DEFAULT_SERVICE_SUBNET)?;
        if pod_subnet.overlaps(&service_subnet) {
            let hint = format!("choose ranges apart from each other; services have {service_subnet}");
            return Err(Error::value("networking.podSubnet", pod_subnet, "overlaps the service range", hint));
        }
        if let Some(small) = service_subnet.iter().find(|range| range.nth(10).is_none()) {
            let hint = "the DNS service takes the eleventh address; a /28 is the smallest that works";
            return Err(Error::value("networking.serviceSubnet", small, "is too small", hint));
        }
        if let Some(small) = pod_subnet.iter().find(|range| range.nth(255).is_none()) {
            let hint = "each node takes a /24 of it";
            return Err(Error::value("networking.podSubnet", small, "is too small", hint));
        }
        if pod_subnet.first().address().is_ipv4() != service_subnet.first().address().is_ipv4() {
            let hint = "begin both with a range of the same address family";
            return Err(Error::value("networking.podSubnet", pod_subnet, "is of another family than services", hint));
        }
        let issuance = issuance(&cluster)?;
        feature_gates(&cluster.feature_gates)?;
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
        let external_etcd = external(&cluster.etcd)?;
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
            balanced: false,
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
            external_etcd,
            issuance,
            feature_gates: cluster.feature_gates,
            without_proxy: cluster.proxy.disabled,
            dns: cluster.dns,
            kubelet,
            proxy,
        })
    }

    /// URL of each node's own balancer, if nodes have one.
    pub fn node_url(&self) -> Option<String> {
        self.balanced.then(|| format!("https://{}", crate::agent::LOCAL_ENDPOINT))
    }

    /// The API server's names beyond those that every cluster has; the balancers' address is one.
    fn certificate_names(&self) -> Vec<String> {
        let local = self.balanced.then(|| std::net::Ipv4Addr::LOCALHOST.to_string());
        let given = self.api_server_names.iter().filter(|name| Some(*name) != local.as_ref()).cloned();
        given.chain(local.clone()).collect()
    }

    /// The `index`th address of the service range.
    pub fn service_address(&self, index: u128) -> IpAddr {
        self.service_subnet.first().nth(index).expect("the range was checked to hold eleven addresses")
    }

    /// Address of the DNS service.
    pub fn dns_address(&self) -> IpAddr {
        self.service_address(10)
    }

    /// Name of the image of `component`.
    pub fn image(&self, component: &str) -> String {
        let (repository, tag) = match component {
            "etcd" => (&self.etcd.image_repository, &self.etcd.image_tag),
            "cluster-dns" => (&self.dns.image_repository, &self.dns.image_tag),
            _ => (&self.image_repository, &self.kubernetes_version),
        };
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        format!("{}/{component}:{}", or(repository, &self.image_repository), or(tag, &self.kubernetes_version))
    }

    /// The document that is kept in the cluster.
    pub fn to_document(&self) -> ClusterConfiguration {
        ClusterConfiguration {
            api_version: super::v1beta4::API_VERSION.into(),
            kind: "ClusterConfiguration".into(),
            api_server: super::v1beta4::ApiServer {
                extra_args: self.api_server.extra_args.clone(),
                extra_volumes: self.api_server.extra_volumes.clone(),
                extra_envs: self.api_server.extra_envs.clone(),
                cert_sans: self.api_server_names.clone(),
            },
            ca_certificate_validity_period: kinit_duration::format(self.issuance.ca_validity),
            certificate_validity_period: kinit_duration::format(self.issuance.leaf_validity),
            certificates_dir: self.certificates_dir.display().to_string(),
            cluster_name: self.cluster_name.clone(),
            control_plane_endpoint: self
                .control_plane_endpoint
                .as_ref()
                .map(|(host, port)| net::host_port(host, *port))
                .unwrap_or_default(),
            controller_manager: self.controller_manager.clone(),
            encryption_algorithm: self.issuance.algorithm.to_string(),
            etcd: match &self.external_etcd {
                Some(external) => Etcd { local: None, external: Some(external.clone()) },
                None => Etcd { local: Some(self.etcd.clone()), external: None },
            },
            feature_gates: self.feature_gates.clone(),
            image_repository: self.image_repository.clone(),
            kubernetes_version: self.kubernetes_version.clone(),
            networking: super::v1beta4::Networking {
                dns_domain: self.dns_domain.clone(),
                pod_subnet: self.pod_subnet.to_string(),
                service_subnet: self.service_subnet.to_string(),
            },
            scheduler: self.scheduler.clone(),
            dns: self.dns.clone(),
            proxy: super::v1beta4::Proxy { disabled: self.without_proxy },
        }
    }
}

fn over(slot: &mut String, value: Option<String>) {
    if let Some(value) = value {
        *slot = value;
    }
}

pub(super) fn or(value: String, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value }
}

fn absolute(field: &str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Error::value(field, path.display(), "is not an absolute path", "begin it with /"))
}

pub(super) fn duration(field: &str, text: &str) -> Result<Duration, Error> {
    kinit_duration::parse(text).map_err(|_| Error::value(field, text, "is no duration", "for example 24h0m0s, or 0"))
}

fn version(text: &str) -> Result<String, Error> {
    let wanted = match text {
        "" | "stable" | "stable-1" | "stable-1.36" | "latest" => kinit_version::kubernetes().to_owned(),
        text if text.starts_with('v') => text.to_owned(),
        text => format!("v{text}"),
    };
    let own = kinit_version::kubernetes();
    if wanted != own {
        let hint = format!("this build brings {own} only; leave the version out");
        return Err(Error::value("kubernetesVersion", text, "cannot be installed", hint));
    }
    Ok(wanted)
}

/// etcd elsewhere, if the document says so, checked.
fn external(etcd: &Etcd) -> Result<Option<ExternalEtcd>, Error> {
    let Some(external) = &etcd.external else { return Ok(None) };
    let fail = |field: &str, value: &str, reason: &str, hint: &str| {
        Err(Error::value(format!("etcd.external{field}"), value, reason, hint))
    };
    if etcd.local.is_some() {
        return fail("", "", "and etcd.local are both given", "give one of them");
    }
    if external.endpoints.is_empty() {
        return fail(".endpoints", "", "is empty", "give the URLs of its members, for example https://192.0.2.20:2379");
    }
    for url in external.endpoints.iter().chain(&external.http_endpoints) {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| net::split_host_port(rest.trim_end_matches('/'), 2379).is_err()) {
            return fail(".endpoints", url, "is no URL", "for example https://192.0.2.20:2379");
        }
    }
    let secure = external.endpoints.iter().any(|url| url.starts_with("https://"));
    for (field, file) in
        [(".caFile", &external.ca_file), (".certFile", &external.cert_file), (".keyFile", &external.key_file)]
    {
        if secure && file.is_empty() {
            return fail(field, "", "is missing", "endpoints over https need all three files");
        }
        if !file.is_empty() {
            absolute(&format!("etcd.external{field}"), Path::new(file))?;
        }
    }
    Ok(Some(external.clone()))
}

fn issuance(cluster: &ClusterConfiguration) -> Result<Issuance, Error> {
    let mut issuance = Issuance::default();
    if !cluster.encryption_algorithm.is_empty() {
        let text = &cluster.encryption_algorithm;
        let wrong = |hint| Error::value("encryptionAlgorithm", text, "is no algorithm", hint);
        issuance.algorithm = text.parse::<Algorithm>().map_err(wrong)?;
    }
    for (field, text, slot) in [
        ("certificateValidityPeriod", &cluster.certificate_validity_period, &mut issuance.leaf_validity),
        ("caCertificateValidityPeriod", &cluster.ca_certificate_validity_period, &mut issuance.ca_validity),
    ] {
        if !text.is_empty() {
            *slot = duration(field, text)?;
            if slot.is_zero() {
                return Err(Error::value(field, text, "is no life", "for example 8760h0m0s"));
            }
        }
    }
    Ok(issuance)
}

/// kubeadm's gates, each with the value that says what kinit does; another value would have no effect and is refused.
const FEATURE_GATES: &[(&str, Option<bool>)] =
    &[("NodeLocalCRISocket", Some(true)), ("PublicKeysECDSA", None), ("RootlessControlPlane", Some(false))];

fn feature_gates(given: &std::collections::BTreeMap<String, bool>) -> Result<(), Error> {
    for (name, value) in given {
        match FEATURE_GATES.iter().find(|(known, _)| known == name) {
            None => {
                let known: Vec<&str> = FEATURE_GATES.iter().map(|(name, _)| *name).collect();
                let hint = format!("there are {}", known.join(", "));
                return Err(Error::value("featureGates", name, "is no feature gate", hint));
            }
            Some((_, Some(only))) if only != value => {
                let hint = format!("leave it out: it is {only} here");
                return Err(Error::value(format!("featureGates.{name}"), value, "is not possible", hint));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A key for uploaded certificates: 32 bytes in hexadecimal.
pub fn certificate_key(field: &str, text: String) -> Result<String, Error> {
    let bytes = hex::decode(&text).map(|bytes| bytes.len()).unwrap_or(0);
    if bytes != 32 {
        let hint = "it is 64 hex digits; `kinit certs certificate-key` makes one";
        return Err(Error::value(field, "...", "is no certificate key", hint));
    }
    Ok(text)
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
    for gate in &flags.feature_gates {
        let (name, value) = gate.split_once('=').unwrap_or((gate, "true"));
        cluster.feature_gates.insert(name.to_owned(), value == "true");
    }
}

/// The address that this host's API server is reached at: what is given, else the host's own.
pub fn advertise_address(given: &str, host: &HostDefaults) -> Result<IpAddr, Error> {
    let field = "localAPIEndpoint.advertiseAddress";
    if given.is_empty() {
        let hint = "give the address of this host by --apiserver-advertise-address";
        return host.address.ok_or_else(|| {
            Error::value(field, "", "is not given and the host has no default route to tell it by", hint)
        });
    }
    let address: IpAddr = given.parse().map_err(|_| {
        Error::value(field, given, "is no address", "give an address of this host, for example 192.0.2.10")
    })?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        let hint = "give an address of a network interface";
        return Err(Error::value(field, given, "cannot be reached by other hosts", hint));
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
