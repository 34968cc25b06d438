//! Facts about the platform, the network and the disks: what is asked for, and what was found.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// What else facts are asked for.
#[derive(Debug, Clone, Default)]
pub struct More {
    /// Folder whose disk etcd's data will be on; `None` on a worker.
    pub etcd_folder: Option<PathBuf>,
    /// URLs of an etcd elsewhere.
    pub external_etcd: Vec<String>,
    /// Names of binaries that images are made of and that are not at hand.
    pub missing_binaries: Vec<String>,
    /// The cgroup driver that the user's configuration asks for, and the host's.
    pub cgroup_driver: Option<(String, String)>,
    /// How far this host's clock is from that of the control plane, which is another host.
    pub clock_skew: Option<Duration>,
    /// Host of the API server that is joined.
    pub api_server: Option<String>,
    /// Whether the user lets the kubelet run with swap on.
    pub swap_allowed: bool,
}

/// The platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The kernel's version, as far as it is numbers.
    pub kernel: Option<(u32, u32)>,
    /// Whether SELinux enforces.
    pub selinux_enforces: bool,
    /// Whether AppArmor is on and the program that loads its profiles is missing.
    pub apparmor_without_parser: bool,
    /// Whether the kubelet's unit is masked, so that it cannot be started.
    pub kubelet_masked: bool,
    /// The runtime's unit is not started at boot.
    pub runtime_not_enabled: bool,
    /// Another's kubelet is where kinit installs its own.
    pub foreign_kubelet: bool,
    /// Names of binaries that images are made of and that are not at hand.
    pub missing_binaries: Vec<String>,
    /// The cgroup driver that the user's configuration asks for, and the host's.
    pub cgroup_driver: Option<(String, String)>,
    /// How far this host's clock is from that of the control plane.
    pub clock_skew: Option<Duration>,
}

/// The network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Whether firewalld runs.
    pub firewalld: bool,
    /// The proxy that the environment names, and which of the cluster's addresses would go through it.
    pub proxied: Vec<(String, String)>,
    /// Interfaces and their MTU, where packets leave by.
    pub mtu: Vec<(String, u32)>,
    /// Routes of the host that overlap the cluster's ranges: route, interface, range.
    pub overlapping_routes: Vec<(String, String, String)>,
    /// Configurations of other pod networks.
    pub other_networks: Vec<String>,
    /// Links that an earlier cluster left.
    pub stale_links: Vec<String>,
    /// Name servers in resolv.conf that are this host itself.
    pub own_name_servers: Vec<IpAddr>,
    /// Members of an etcd elsewhere that nobody answers at, with the reason.
    pub silent_etcd: Vec<(String, String)>,
}

/// The disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Free bytes by folder, where they were asked for.
    pub free: Vec<(PathBuf, u64)>,
    /// How long etcd's disk takes for a small write to be safe.
    pub sync: Option<Duration>,
}
