//! Gathering the facts.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kinit_cri::sandboxes::Sandboxes;

use crate::checks::{CNI_PLUGINS, PROGRAMS};
use crate::facts::{Facts, InterfaceAddress, Port, Setting};
use crate::more::More;
use crate::probe;

const RESOLVE_PATIENCE: Duration = Duration::from_millis(150);
const RESTART_PATIENCE: Duration = Duration::from_secs(20);
/// What containerd says to calls of parts that it has not started yet.
const NOT_YET: &str = "unknown service";
const RESTART_POLL: Duration = Duration::from_millis(200);
const CNI_FOLDERS: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];

/// What facts are asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Name that the node will have.
    pub node_name: String,
    /// Ports that will be needed.
    pub ports: Vec<u16>,
    /// Files that must not be there yet.
    pub absent_files: Vec<PathBuf>,
    /// Files of an outside etcd's that must be there.
    pub present_files: Vec<PathBuf>,
    /// Folders that must be empty.
    pub empty_folders: Vec<PathBuf>,
    /// Path of the runtime's socket.
    pub runtime_socket: PathBuf,
    /// Address that the API server will have.
    pub advertise_address: Option<IpAddr>,
    /// Ranges of the cluster, each with the length of its prefix.
    pub ranges: Vec<(IpAddr, u8)>,
    /// Whether an interrupted run is taken up again.
    pub resumed: bool,
    /// What is asked of the platform, the network and the disks.
    pub more: More,
}

/// Gathers the facts. What cannot be read counts as absent: the check about it then says so.
pub async fn gather(request: Request) -> Facts {
    let mut runtime = self::runtime(&request.runtime_socket).await;
    // Whoever interrupted the run before may have done so while it restarted the runtime, and one that answers without
    // being a runtime yet is about to start.
    let end = Instant::now() + RESTART_PATIENCE;
    let starts =
        |answer: &Result<String, String>| matches!(answer, Err(why) if request.resumed || why.contains(NOT_YET));
    while starts(&runtime) && Instant::now() < end {
        tokio::time::sleep(RESTART_POLL).await;
        runtime = self::runtime(&request.runtime_socket).await;
    }
    let addresses = addresses();
    let six = request.ranges.iter().any(|(base, _)| base.is_ipv6())
        || request.advertise_address.is_some_and(|address| address.is_ipv6());
    let network = probe::network(&request.more, &request.ranges, request.advertise_address, &addresses).await;
    Facts {
        is_root: nix::unistd::geteuid().is_root(),
        name_resolves: resolves(&request.node_name).await,
        node_name: request.node_name,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory: memory(&read("/proc/meminfo")),
        swap: swap(&read("/proc/swaps")),
        ports: request.ports.into_iter().map(|number| Port { number, taken: is_taken(number) }).collect(),
        files_in_the_way: request.absent_files.into_iter().filter(|path| path.exists()).collect(),
        folders_in_the_way: request.empty_folders.into_iter().filter(|path| is_filled(path)).collect(),
        missing_files: request.present_files.into_iter().filter(|path| !path.exists()).collect(),
        missing_programs: PROGRAMS
            .iter()
            .filter(|(name, ..)| which::which(name).is_err())
            .map(|(name, ..)| (*name).to_owned())
            .collect(),
        cgroup_controllers: controllers(&read("/sys/fs/cgroup/cgroup.controllers"), &read("/proc/mounts")),
        ip_forward: setting("/proc/sys/net/ipv4/ip_forward"),
        ip6_forward: six.then(|| setting("/proc/sys/net/ipv6/conf/default/forwarding")),
        bridge_nf: setting("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        runtime,
        runtime_socket: request.runtime_socket.display().to_string(),
        missing_cni_plugins: CNI_PLUGINS
            .iter()
            .filter(|name| !CNI_FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists()))
            .map(|name| (*name).to_owned())
            .collect(),
        addresses_in_cluster_ranges: in_ranges(&addresses, &request.ranges),
        addresses,
        advertise_address: request.advertise_address,
        platform: probe::platform(&request.more),
        network,
        storage: probe::storage(&request.more),
        swap_allowed: request.more.swap_allowed,
        resumed: request.resumed,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn swap(swaps: &str) -> Vec<String> {
    swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Something listens on a port when it cannot be bound. Other reasons not to be able to are not this check's.
fn is_taken(port: u16) -> bool {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    matches!(TcpListener::bind(any), Err(error) if error.kind() == ErrorKind::AddrInUse)
}

fn is_filled(folder: &Path) -> bool {
    // A fresh file system has this folder and nothing else.
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != "lost+found"))
}

fn controllers(unified: &str, mounts: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = unified.split_whitespace().map(str::to_owned).collect();
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, "cgroup", options, ..] = fields.as_slice() {
            all.extend(options.split(',').map(str::to_owned));
        }
    }
    all
}

fn setting(path: &str) -> Setting {
    let value = fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let writable = value.is_some() && fs::OpenOptions::new().write(true).open(path).is_ok();
    Setting { value, writable }
}

async fn runtime(socket: &Path) -> Result<String, String> {
    let runtime = Sandboxes::connect(socket).await.map_err(|error| error.to_string())?;
    let version = runtime.version().await.map_err(|error| error.to_string())?;
    Ok(format!("{} {}", version.runtime_name, version.runtime_version))
}

/// Whether a name resolves. A name server that does not answer within a moment counts as one that does not know it.
async fn resolves(name: &str) -> bool {
    let name = name.to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own: the system's resolver cannot be interrupted, and a runtime would wait for it at its end.
    std::thread::spawn(move || {
        // Nobody may listen any more.
        let _ = tell.send((name.as_str(), 0).to_socket_addrs().is_ok());
    });
    matches!(tokio::time::timeout(RESOLVE_PATIENCE, told).await, Ok(Ok(true)))
}

/// Every address that an interface of this host has, but for loopback's.
pub fn own_addresses() -> Vec<IpAddr> {
    addresses().into_iter().map(|known| known.address).collect()
}

fn addresses() -> Vec<InterfaceAddress> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found = Vec::new();
    for entry in all {
        let Some(address) = entry.address else { continue };
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(four), _) => IpAddr::V4(four.ip()),
            (_, Some(six)) => IpAddr::V6(six.ip()),
            _ => continue,
        };
        if !ip.is_loopback() {
            found.push(InterfaceAddress { interface: entry.interface_name, address: ip });
        }
    }
    found
}

/// Addresses in the cluster's ranges, but for those of the bridge that pods are on.
fn in_ranges(addresses: &[InterfaceAddress], ranges: &[(IpAddr, u8)]) -> Vec<(IpAddr, String)> {
    let mut found = Vec::new();
    for known in addresses.iter().filter(|known| known.interface != "cni0") {
        for (base, prefix) in ranges {
            if probe::within(known.address, *base, *prefix) {
                found.push((known.address, format!("{base}/{prefix}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(memory(""), 0);
        assert_eq!(swap("Filename Type Size\n/dev/sda2 partition 1\n/swap file 2\n"), ["/dev/sda2", "/swap"]);
        let first = controllers("", "cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n");
        assert!(first.contains("memory"));
        assert!(controllers("cpu memory\n", "").contains("cpu"));
    }

    #[test]
    fn a_listening_port_is_taken() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(is_taken(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn only_addresses_in_a_range_are_found_and_not_those_of_the_bridge() {
        let at = |interface: &str, address: [u8; 4]| InterfaceAddress {
            interface: interface.into(),
            address: address.into(),
        };
        let all = [at("eth0", [10, 100, 0, 1]), at("eth1", [192, 168, 0, 1]), at("cni0", [10, 244, 0, 1])];
        let ranges = [([10, 96, 0, 0].into(), 12), ([10, 244, 0, 0].into(), 16)];
        assert_eq!(in_ranges(&all, &ranges), [([10, 100, 0, 1].into(), "10.96.0.0/12".to_owned())]);
    }
}
