//! `kinit join`: making hosts nodes of a cluster that is there.
//!
//! - [`discovery`]: finding a cluster by a token and the hash of its CA, as kubeadm does.
//! - [`phases`]: the steps on the host itself; they share their work with those of init.
//! - [`enroll`]: from the control plane, many hosts at once over SSH: each gets the binaries and runs the phases itself.
//! - [`fetch`]: from the new node, asking a control plane over SSH for what a token would need.

pub mod control_plane;
pub mod discovery;
pub mod enroll;
pub mod etcd;
pub mod fetch;
pub mod phases;

use std::path::PathBuf;

use crate::config::settings::{API_PORT, HostDefaults, Timeouts};
use crate::config::v1beta4::{
    BootstrapTokenDiscovery, Discovery, JoinConfiguration, JoinControlPlane, NodeRegistration,
};
use crate::config::{self, Error, NodeSettings, net};
use crate::patches::Patches;
use crate::token::Token;
pub use control_plane::ControlPlaneSettings;

/// How the cluster is found and trusted.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// By a token.
    Token {
        /// `host:port` of an API server.
        endpoint: String,
        /// The token.
        token: Token,
        /// Hashes of the CAs that are believed; empty only if whoever knows the token is.
        hashes: Vec<String>,
    },
    /// By a kubeconfig file that has the CA; the token is for the kubelet's certificate.
    File {
        /// The file's path, or an https URL.
        at: String,
        /// The token, if the file has no credentials.
        token: Option<Token>,
    },
}

impl Source {
    /// `host:port` of the API server, where it is known before the cluster is found.
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Token { endpoint, .. } => Some(endpoint),
            Self::File { .. } => None,
        }
    }
}

/// What `join` works with.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinSettings {
    /// This node.
    pub node: NodeSettings,
    /// The cluster.
    pub source: Source,
    /// The token for the kubelet's certificate.
    pub bootstrap_token: Option<Token>,
    /// Where the cluster's CA is written.
    pub ca_path: PathBuf,
    /// Preflight checks whose errors become warnings.
    pub ignore_preflight_errors: Vec<String>,
    /// Phases to leave out.
    pub skip_phases: Vec<String>,
    /// Only show what would be done.
    pub dry_run: bool,
    /// Set when it joins as a control plane.
    pub control_plane: Option<ControlPlaneSettings>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The user's patches of what is written.
    pub patches: Patches,
}

/// The flags of `join` that change settings.
#[derive(Debug, Clone, Default)]
pub struct JoinOverrides {
    /// The positional `host:port`.
    pub endpoint: Option<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--discovery-token`
    pub discovery_token: Option<String>,
    /// `--tls-bootstrap-token`
    pub tls_bootstrap_token: Option<String>,
    /// `--discovery-token-ca-cert-hash`
    pub hashes: Vec<String>,
    /// `--discovery-token-unsafe-skip-ca-verification`
    pub unsafe_skip: bool,
    /// `--discovery-file`
    pub file: Option<String>,
    /// `--node-name`
    pub node_name: Option<String>,
    /// `--cri-socket`
    pub cri_socket: Option<String>,
    /// `--ignore-preflight-errors`
    pub ignore_preflight_errors: Vec<String>,
    /// `--skip-phases`
    pub skip_phases: Vec<String>,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--control-plane`
    pub control_plane: bool,
    /// `--certificate-key`
    pub certificate_key: Option<String>,
    /// `--apiserver-advertise-address`
    pub advertise_address: Option<String>,
    /// `--apiserver-bind-port`
    pub bind_port: Option<u16>,
    /// `--patches`
    pub patches: Option<PathBuf>,
}

impl JoinSettings {
    /// Lays flags over the file over the defaults.
    pub fn resolve(
        document: Option<JoinConfiguration>,
        flags: JoinOverrides,
        host: &HostDefaults,
    ) -> Result<Self, Error> {
        let document = document.unwrap_or_default();
        let control_plane = control_plane(document.control_plane, &flags, host)?;
        let folder = flags.patches.clone().or_else(|| document.patches.map(|part| part.directory.into()));
        let mut registration: NodeRegistration = document.node_registration;
        if let Some(name) = flags.node_name.clone() {
            registration.name = name;
        }
        if let Some(socket) = flags.cri_socket.clone() {
            registration.cri_socket = socket;
        }
        let ignore = [registration.ignore_preflight_errors.clone(), flags.ignore_preflight_errors.clone()].concat();
        let discovery = override_discovery(document.discovery, &flags);
        let source = source(&discovery)?;
        let address = control_plane.as_ref().map(|own| own.advertise_address);
        let node = NodeSettings::resolve(&registration, host, control_plane.is_some())?.at(address, host);
        let bootstrap_token = match discovery.tls_bootstrap_token.as_str() {
            "" => match &source {
                Source::Token { token, .. } => Some(token.clone()),
                Source::File { token, .. } => token.clone(),
            },
            text => Some(text.parse()?),
        };
        let ca_path = match document.ca_cert_path.as_str() {
            "" => PathBuf::from("/etc/kubernetes/pki/ca.crt"),
            text => PathBuf::from(text),
        };
        Ok(Self {
            node,
            source,
            bootstrap_token,
            ca_path,
            ignore_preflight_errors: ignore,
            skip_phases: [document.skip_phases, flags.skip_phases.clone()].concat(),
            dry_run: document.dry_run || flags.dry_run,
            control_plane,
            timeouts: Timeouts::resolve(&document.timeouts)?,
            patches: Patches::load(folder.as_deref())?,
        })
    }
}

/// How the host joins as a control plane, if it does.
fn control_plane(
    document: Option<JoinControlPlane>,
    flags: &JoinOverrides,
    host: &HostDefaults,
) -> Result<Option<ControlPlaneSettings>, Error> {
    let of_control_planes = [
        ("--certificate-key", flags.certificate_key.is_some()),
        ("--apiserver-advertise-address", flags.advertise_address.is_some()),
        ("--apiserver-bind-port", flags.bind_port.is_some()),
    ];
    if document.is_none() && !flags.control_plane {
        return match of_control_planes.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::value(*flag, "...", "is for control planes", "add --control-plane")),
            None => Ok(None),
        };
    }
    let document = document.unwrap_or_default();
    let endpoint = document.local_api_endpoint;
    let key = flags.certificate_key.clone().unwrap_or(document.certificate_key);
    let given = flags.advertise_address.clone().unwrap_or(endpoint.advertise_address);
    Ok(Some(ControlPlaneSettings {
        advertise_address: config::settings::advertise_address(&given, host)?,
        bind_port: flags.bind_port.or(Some(endpoint.bind_port).filter(|port| *port != 0)).unwrap_or(API_PORT),
        certificate_key: match key.as_str() {
            "" => None,
            _ => Some(config::settings::certificate_key("certificateKey", key)?),
        },
    }))
}

fn override_discovery(mut discovery: Discovery, flags: &JoinOverrides) -> Discovery {
    if let Some(path) = &flags.file {
        discovery.file = Some(config::v1beta4::FileDiscovery { kube_config_path: path.clone() });
    }
    let token = flags.discovery_token.clone().or_else(|| flags.token.clone());
    let by_token = flags.endpoint.is_some() || !flags.hashes.is_empty() || flags.unsafe_skip || token.is_some();
    if by_token && discovery.file.is_none() {
        let part = discovery.bootstrap_token.get_or_insert_with(BootstrapTokenDiscovery::default);
        if let Some(endpoint) = &flags.endpoint {
            part.api_server_endpoint = endpoint.clone();
        }
        if let Some(token) = token {
            part.token = token;
        }
        part.ca_cert_hashes.extend(flags.hashes.iter().cloned());
        part.unsafe_skip_ca_verification |= flags.unsafe_skip;
    }
    if let Some(token) = flags.tls_bootstrap_token.clone().or_else(|| flags.token.clone()) {
        discovery.tls_bootstrap_token = token;
    }
    discovery
}

fn source(discovery: &Discovery) -> Result<Source, Error> {
    match (&discovery.bootstrap_token, &discovery.file) {
        (Some(_), Some(_)) => {
            Err(Error::value("discovery", "bootstrapToken and file", "are both given", "give one of them"))
        }
        (None, Some(file)) => {
            if file.kube_config_path.contains("://") && !file.kube_config_path.starts_with("https://") {
                let hint = "give the path of a file, or an https URL";
                return Err(Error::value("discovery.file", &file.kube_config_path, "is no https URL", hint));
            }
            let token = match discovery.tls_bootstrap_token.as_str() {
                "" => None,
                text => Some(text.parse()?),
            };
            Ok(Source::File { at: file.kube_config_path.clone(), token })
        }
        (Some(part), None) => by_token(part),
        (None, None) => Err(Error::value(
            "join",
            "",
            "is not told which cluster",
            "run `kinit join --ssh root@HOST` on the control plane, `kinit join ssh://root@CONTROL-PLANE` here, or \
             `kinit join HOST:6443 --token ... --discovery-token-ca-cert-hash ...` here, as `kinit token create \
             --print-join-command` shows it",
        )),
    }
}

fn by_token(part: &BootstrapTokenDiscovery) -> Result<Source, Error> {
    if part.api_server_endpoint.is_empty() {
        return Err(Error::value("join", "", "is not told where the API server is", "give HOST:6443"));
    }
    let (host, port) = net::split_host_port(&part.api_server_endpoint, config::settings::API_PORT)
        .map_err(|reason| Error::value("API server", &part.api_server_endpoint, reason, "give HOST:PORT"))?;
    if part.token.is_empty() {
        return Err(Error::value(
            "--token",
            "",
            "is missing",
            "`kinit token create --print-join-command` on the control plane makes one",
        ));
    }
    for hash in &part.ca_cert_hashes {
        let hex = hash.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::value(
                "--discovery-token-ca-cert-hash",
                hash,
                "is no hash of a CA",
                "it is sha256: and 64 hex digits",
            ));
        }
    }
    if part.ca_cert_hashes.is_empty() && !part.unsafe_skip_ca_verification {
        return Err(Error::value(
            "--discovery-token-ca-cert-hash",
            "",
            "is missing",
            "`kinit token create --print-join-command` shows it; --discovery-token-unsafe-skip-ca-verification does without",
        ));
    }
    Ok(Source::Token {
        endpoint: net::host_port(&host, port),
        token: part.token.parse()?,
        hashes: part.ca_cert_hashes.iter().map(|hash| hash.to_lowercase()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: JoinOverrides) -> Result<JoinSettings, Error> {
        JoinSettings::resolve(None, flags, &HostDefaults { host_name: "w1".into(), address: None, cri_socket: None })
    }

    fn good() -> JoinOverrides {
        JoinOverrides {
            endpoint: Some("10.0.0.1:6443".into()),
            token: Some("abcdef.0123456789abcdef".into()),
            hashes: vec![format!("sha256:{}", "A".repeat(64))],
            ..JoinOverrides::default()
        }
    }

    #[test]
    fn kubeadms_form_is_understood() {
        let settings = resolve(good()).unwrap();
        let Source::Token { endpoint, hashes, .. } = settings.source else { panic!("not by token") };
        assert_eq!((endpoint.as_str(), hashes[0].len()), ("10.0.0.1:6443", 71));
        assert!(settings.bootstrap_token.is_some());
        assert_eq!(settings.node.taints, []);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let wrong = [
            (JoinOverrides::default(), "not told which cluster"),
            (JoinOverrides { token: None, ..good() }, "--token"),
            (JoinOverrides { token: Some("x".into()), ..good() }, "bootstrap token"),
            (JoinOverrides { hashes: vec![], ..good() }, "--discovery-token-ca-cert-hash"),
            (JoinOverrides { hashes: vec!["sha256:12".into()], ..good() }, "64 hex digits"),
            (JoinOverrides { endpoint: Some("a b".into()), ..good() }, "API server"),
            (JoinOverrides { node_name: Some("No Name".into()), ..good() }, "node name"),
        ];
        for (flags, part) in wrong {
            let error = resolve(flags).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("hint:"), "{error}");
        }
    }
}
