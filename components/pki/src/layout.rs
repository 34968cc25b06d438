//! Every certificate of a control plane, in one table, named and shaped as kubeadm v1.36 does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::certificate::{Profile, Usage};

/// Where the common name of a leaf comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommonName {
    /// Always this.
    Fixed(&'static str),
    /// The node's name.
    Node,
}

/// Which names and addresses a leaf is valid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// None: a client.
    None,
    /// Those of the API server.
    ApiServer,
    /// Those of an etcd member towards its clients.
    EtcdServer,
    /// Those of an etcd member towards its peers.
    EtcdPeer,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Name of the phase and in listings.
    pub name: &'static str,
    /// Path below the PKI folder, without `.crt` and `.key`.
    pub base_name: &'static str,
    /// Name of the CA that signs it; `None` for a CA.
    pub authority: Option<&'static str>,
    /// Its common name.
    pub common_name: CommonName,
    /// Its organizations.
    pub organizations: &'static [&'static str],
    /// What it is valid for.
    pub names: Names,
    /// What it may be used for.
    pub usages: &'static [Usage],
    /// One line for help texts.
    pub about: &'static str,
}

const fn ca(
    name: &'static str,
    base_name: &'static str,
    common_name: &'static str,
    about: &'static str,
) -> CertificateSpec {
    CertificateSpec {
        name,
        base_name,
        authority: None,
        common_name: CommonName::Fixed(common_name),
        organizations: &[],
        names: Names::None,
        usages: &[],
        about,
    }
}

const fn leaf(
    name: &'static str,
    base_name: &'static str,
    authority: &'static str,
    common_name: CommonName,
    names: Names,
    usages: &'static [Usage],
    about: &'static str,
) -> CertificateSpec {
    CertificateSpec {
        name,
        base_name,
        authority: Some(authority),
        common_name,
        organizations: &[],
        names,
        usages,
        about,
    }
}

const CLIENT: &[Usage] = &[Usage::Client];
const SERVER: &[Usage] = &[Usage::Server];
/// etcd's own requirement: members present their server certificate as clients too.
const BOTH: &[Usage] = &[Usage::Server, Usage::Client];

/// The table. A CA stands before the leaves that it signs.
#[rustfmt::skip]
pub const CERTIFICATES: &[CertificateSpec] = &[
    ca("ca", "ca", "kubernetes", "the self-signed CA of the cluster, for its servers, clients and nodes"),
    leaf("apiserver", "apiserver", "ca", CommonName::Fixed("kube-apiserver"), Names::ApiServer, SERVER, "what the API server serves with"),
    leaf("apiserver-kubelet-client", "apiserver-kubelet-client", "ca", CommonName::Fixed("kube-apiserver-kubelet-client"), Names::None, CLIENT, "what the API server shows to kubelets"),
    ca("front-proxy-ca", "front-proxy-ca", "front-proxy-ca", "the self-signed CA of the aggregation layer"),
    leaf("front-proxy-client", "front-proxy-client", "front-proxy-ca", CommonName::Fixed("front-proxy-client"), Names::None, CLIENT, "what the API server shows to aggregated API servers"),
    ca("etcd-ca", "etcd/ca", "etcd-ca", "the self-signed CA of etcd"),
    leaf("etcd-server", "etcd/server", "etcd-ca", CommonName::Node, Names::EtcdServer, BOTH, "what etcd serves its clients with"),
    leaf("etcd-peer", "etcd/peer", "etcd-ca", CommonName::Node, Names::EtcdPeer, BOTH, "what etcd members show to each other"),
    leaf("etcd-healthcheck-client", "etcd/healthcheck-client", "etcd-ca", CommonName::Fixed("kube-etcd-healthcheck-client"), Names::None, CLIENT, "what probes of etcd show"),
    leaf("apiserver-etcd-client", "apiserver-etcd-client", "etcd-ca", CommonName::Fixed("kube-apiserver-etcd-client"), Names::None, CLIENT, "what the API server shows to etcd"),
];

/// Base name of the key pair that signs service account tokens: `sa.key` and `sa.pub`.
pub const SERVICE_ACCOUNT_KEY: &str = "sa";

/// What the names in the certificates depend on.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Name of the node.
    pub node_name: String,
    /// Address that the API server and etcd of this node are reached at.
    pub advertise_address: IpAddr,
    /// First address of the service range, where the API server is reached from pods.
    pub service_address: IpAddr,
    /// The cluster's DNS domain.
    pub dns_domain: String,
    /// Host of the shared control plane endpoint, if there is one.
    pub endpoint_host: Option<String>,
    /// More names of the API server.
    pub api_server_names: Vec<String>,
    /// More names of etcd towards clients.
    pub etcd_server_names: Vec<String>,
    /// More names of etcd towards peers.
    pub etcd_peer_names: Vec<String>,
}

impl CertificateSpec {
    /// The row named `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        CERTIFICATES.iter().find(|spec| spec.name == name)
    }

    /// Whether the row is a CA.
    pub fn is_authority(&self) -> bool {
        self.authority.is_none()
    }

    /// What the certificate shall say on the host of `subject`.
    pub fn profile(&self, subject: &Subject) -> Profile {
        let mut profile = Profile {
            common_name: match self.common_name {
                CommonName::Fixed(name) => name.to_owned(),
                CommonName::Node => subject.node_name.clone(),
            },
            organizations: self.organizations.iter().map(|name| (*name).to_owned()).collect(),
            usages: self.usages.to_vec(),
            ..Profile::default()
        };
        match self.names {
            Names::None => {}
            Names::ApiServer => {
                profile.dns_names.extend([
                    subject.node_name.clone(),
                    "kubernetes".into(),
                    "kubernetes.default".into(),
                    "kubernetes.default.svc".into(),
                    format!("kubernetes.default.svc.{}", subject.dns_domain),
                ]);
                profile.ips.extend([subject.service_address, subject.advertise_address]);
                add_names(&mut profile, subject.endpoint_host.as_slice());
                add_names(&mut profile, &subject.api_server_names);
            }
            Names::EtcdServer => etcd_names(&mut profile, subject, &subject.etcd_server_names),
            Names::EtcdPeer => etcd_names(&mut profile, subject, &subject.etcd_peer_names),
        }
        profile
    }
}

fn etcd_names(profile: &mut Profile, subject: &Subject, more: &[String]) {
    profile.dns_names.extend([subject.node_name.clone(), "localhost".into()]);
    profile.ips.extend([subject.advertise_address, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    add_names(profile, more);
}

fn add_names(profile: &mut Profile, names: &[String]) {
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(ip) => profile.ips.push(ip),
            Err(_) => profile.dns_names.push(name.clone()),
        }
    }
}
