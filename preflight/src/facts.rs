//! What is known of a host.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::more::{Network, Platform, Storage};

/// A TCP port that the host will need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether something listens on it.
    pub taken: bool,
}

/// A kernel setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its value; `None` when the kernel does not have it.
    pub value: Option<String>,
    /// Whether it can be changed from here.
    pub writable: bool,
}

impl Setting {
    /// Whether it is on, or can be switched on.
    pub fn can_be_on(&self) -> bool {
        self.value.as_deref() == Some("1") || (self.value.is_some() && self.writable)
    }
}

/// An interface's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// What is known of a host. Everything is a value; nothing is looked up later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Whether this process is root.
    pub is_root: bool,
    /// Name that the node will have.
    pub node_name: String,
    /// Whether the name resolves.
    pub name_resolves: bool,
    /// Processors.
    pub processors: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Swap areas that are on.
    pub swap: Vec<String>,
    /// Ports that will be needed.
    pub ports: Vec<Port>,
    /// Files that must not be there yet, and are.
    pub files_in_the_way: Vec<PathBuf>,
    /// Folders that must be empty, and are not.
    pub folders_in_the_way: Vec<PathBuf>,
    /// Files of an outside etcd's that must be there, and are not.
    pub missing_files: Vec<PathBuf>,
    /// Programs that were looked for and are not in PATH.
    pub missing_programs: BTreeSet<String>,
    /// Controllers of the cgroup hierarchies that are mounted.
    pub cgroup_controllers: BTreeSet<String>,
    /// net.ipv4.ip_forward
    pub ip_forward: Setting,
    /// net.ipv6.conf.default.forwarding, if the cluster has addresses of that family.
    pub ip6_forward: Option<Setting>,
    /// net.bridge.bridge-nf-call-iptables
    pub bridge_nf: Setting,
    /// The runtime's answer, or why there is none.
    pub runtime: Result<String, String>,
    /// The runtime's socket.
    pub runtime_socket: String,
    /// CNI plugins that are missing, and where they were looked for.
    pub missing_cni_plugins: BTreeSet<String>,
    /// Addresses of the host.
    pub addresses: Vec<InterfaceAddress>,
    /// Address that the API server will have; `None` on a worker.
    pub advertise_address: Option<IpAddr>,
    /// Addresses of the host that lie in the range of pods or services.
    pub addresses_in_cluster_ranges: Vec<(IpAddr, String)>,
    /// The platform.
    pub platform: Platform,
    /// The network.
    pub network: Network,
    /// The disks.
    pub storage: Storage,
    /// Whether the user lets the kubelet run with swap on.
    pub swap_allowed: bool,
    /// Whether an init or join that was interrupted is taken up again.
    pub resumed: bool,
}

impl Default for Facts {
    /// A host with nothing wrong.
    fn default() -> Self {
        let on = Setting { value: Some("1".into()), writable: true };
        Self {
            is_root: true,
            node_name: "node".into(),
            name_resolves: true,
            processors: 2,
            memory: 4 << 30,
            swap: Vec::new(),
            ports: Vec::new(),
            files_in_the_way: Vec::new(),
            folders_in_the_way: Vec::new(),
            missing_files: Vec::new(),
            missing_programs: BTreeSet::new(),
            cgroup_controllers: ["cpu", "cpuset", "devices", "freezer", "memory", "pids"].map(str::to_owned).into(),
            ip_forward: on.clone(),
            ip6_forward: None,
            bridge_nf: on,
            runtime: Ok("containerd".into()),
            runtime_socket: String::new(),
            missing_cni_plugins: BTreeSet::new(),
            addresses: Vec::new(),
            advertise_address: None,
            addresses_in_cluster_ranges: Vec::new(),
            platform: Platform::default(),
            network: Network::default(),
            storage: Storage::default(),
            swap_allowed: false,
            resumed: false,
        }
    }
}
