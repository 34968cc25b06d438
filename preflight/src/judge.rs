//! The checks about the platform, the network and the disks.

use std::time::Duration;

use crate::Finding;
use crate::facts::Facts;

/// Kernels before this lack what containers on cgroup v2 need.
const OLDEST_KERNEL: (u32, u32) = (4, 19);
/// Tokens and certificates are refused beyond a few minutes; leases go wrong long before.
const SKEW_ERROR: Duration = Duration::from_secs(120);
const SKEW_WARNING: Duration = Duration::from_secs(5);
/// IPv6 needs 1280, and tunnels take fifty or more of it.
const SMALLEST_MTU: u32 = 1400;
const FREE_ERROR: u64 = 256 << 20;
const FREE_WARNING: u64 = 2 << 30;
/// etcd's own advice is ten milliseconds; heartbeats begin to be missed at ten times that.
const SLOW_SYNC: Duration = Duration::from_millis(25);

pub fn kernel(facts: &Facts) -> Vec<Finding> {
    match facts.platform.kernel {
        Some(version) if version < OLDEST_KERNEL => {
            let (major, minor) = version;
            let message = format!(
                "the kernel is {major}.{minor}, {}.{} is the oldest that works",
                OLDEST_KERNEL.0, OLDEST_KERNEL.1
            );
            vec![Finding::error("SystemVerification", message, "install a newer kernel")]
        }
        _ => Vec::new(),
    }
}

pub fn kubelet_version(facts: &Facts) -> Vec<Finding> {
    if facts.resumed || !facts.platform.foreign_kubelet {
        return Vec::new();
    }
    let hint = "kinit installs its own there; take the other out with the package manager so that nothing replaces it";
    vec![Finding::warning("KubeletVersion", "/usr/bin/kubelet is there and is not kinit's", hint)]
}

pub fn service_kubelet(facts: &Facts) -> Vec<Finding> {
    if !facts.platform.kubelet_masked {
        return Vec::new();
    }
    vec![Finding::warning(
        "Service-kubelet",
        "kubelet.service is masked and cannot start",
        "run `systemctl unmask kubelet`",
    )]
}

pub fn service_runtime(facts: &Facts) -> Vec<Finding> {
    if !facts.platform.runtime_not_enabled {
        return Vec::new();
    }
    let hint = "run `systemctl enable containerd`";
    vec![Finding::warning("Service-containerd", "containerd.service does not start at boot", hint)]
}

pub fn runtime_version(facts: &Facts) -> Vec<Finding> {
    let Ok(runtime) = &facts.runtime else { return Vec::new() };
    let version = runtime.strip_prefix("containerd ").map(|version| version.trim_start_matches('v'));
    let numbers = version.and_then(|version| {
        let mut parts = version.split(['.', '~', '-']);
        Some((parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?))
    });
    match numbers {
        Some(version) if version < (1, 6) => vec![Finding::warning(
            "ContainerRuntimeVersion",
            format!("{runtime} is older than the releases that this was tried with"),
            "install containerd 1.6 or newer",
        )],
        _ => Vec::new(),
    }
}

pub fn images(facts: &Facts) -> Vec<Finding> {
    let missing = &facts.platform.missing_binaries;
    if missing.is_empty() {
        return Vec::new();
    }
    let message = format!("binaries that images are made of are not at hand: {}", missing.join(", "));
    vec![Finding::error("ImagePull", message, "put them beside kinit, or name their folder by --bin-dir")]
}

pub fn cgroup_driver(facts: &Facts) -> Vec<Finding> {
    match &facts.platform.cgroup_driver {
        Some((wanted, host)) if wanted != host => vec![Finding::error(
            "CgroupDriver",
            format!("the KubeletConfiguration asks for cgroupDriver {wanted}, but this host's is {host}"),
            "leave cgroupDriver out of the file: kinit sets it, and containerd's to match",
        )],
        _ => Vec::new(),
    }
}

pub fn clock(facts: &Facts) -> Vec<Finding> {
    let Some(skew) = facts.platform.clock_skew.filter(|skew| *skew > SKEW_WARNING) else { return Vec::new() };
    let message = format!("this host's clock is {}s away from the control plane's", skew.as_secs());
    let hint = "have the clock kept by NTP, for example with systemd-timesyncd or chrony";
    vec![if skew > SKEW_ERROR {
        Finding::error("TimeSkew", message, hint)
    } else {
        Finding::warning("TimeSkew", message, hint)
    }]
}

pub fn selinux(facts: &Facts) -> Vec<Finding> {
    if !facts.platform.selinux_enforces {
        return Vec::new();
    }
    let hint = "install container-selinux, or have SELinux only report: `setenforce 0`";
    vec![Finding::warning("SELinux", "SELinux enforces: static pods may be kept from host paths", hint)]
}

pub fn apparmor(facts: &Facts) -> Vec<Finding> {
    if !facts.platform.apparmor_without_parser {
        return Vec::new();
    }
    let message = "AppArmor is on, but apparmor_parser, which containerd loads its profile with, is missing";
    vec![Finding::warning("AppArmor", message, "install it: `apt-get install apparmor`")]
}

pub fn firewalld(facts: &Facts) -> Vec<Finding> {
    if !facts.network.firewalld {
        return Vec::new();
    }
    let ports: Vec<String> = facts.ports.iter().map(|port| port.number.to_string()).collect();
    let message = format!("firewalld is active: ports {} have to be open", ports.join(", "));
    vec![Finding::warning("Firewalld", message, "open them, or stop firewalld: `systemctl disable --now firewalld`")]
}

pub fn http_proxy(facts: &Facts) -> Vec<Finding> {
    let found = facts.network.proxied.iter();
    found
        .map(|(proxy, address)| {
            let name = if address.contains('/') { "HTTPProxyCIDR" } else { "HTTPProxy" };
            let message = format!("connections to {address} would go through the proxy {proxy}");
            Finding::warning(name, message, format!("add {address} to no_proxy"))
        })
        .collect()
}

pub fn mtu(facts: &Facts) -> Vec<Finding> {
    let small = facts.network.mtu.iter().filter(|(_, mtu)| *mtu < SMALLEST_MTU);
    small
        .map(|(interface, mtu)| {
            let message = format!("{interface} takes packets of {mtu} bytes only, {SMALLEST_MTU} or more are usual");
            Finding::warning("MTU", message, "make sure that all nodes have the same, or large answers get lost")
        })
        .collect()
}

pub fn routes(facts: &Facts) -> Vec<Finding> {
    if facts.resumed {
        return Vec::new();
    }
    let found = facts.network.overlapping_routes.iter();
    found
        .map(|(route, interface, range)| {
            let message = format!("this host has a route to {route} by {interface}, in the cluster's range {range}");
            let hint = "choose other ranges by --pod-network-cidr and --service-cidr; if it is of an earlier cluster, run `kinit reset`";
            Finding::error("ClusterNetwork", message, hint)
        })
        .collect()
}

pub fn leftovers(facts: &Facts) -> Vec<Finding> {
    if facts.resumed {
        return Vec::new();
    }
    let mut all = Vec::new();
    if !facts.network.other_networks.is_empty() {
        let message = format!("/etc/cni/net.d holds other networks: {}", facts.network.other_networks.join(", "));
        let hint = "the first by name is used: remove them unless they are what you want";
        all.push(Finding::warning("StaleCNI", message, hint));
    }
    if !facts.network.stale_links.is_empty() {
        let message = format!("links of an earlier cluster are there: {}", facts.network.stale_links.join(", "));
        all.push(Finding::warning("StaleNetwork", message, "run `kinit reset`, or remove them with `ip link delete`"));
    }
    all
}

pub fn resolv_conf(facts: &Facts) -> Vec<Finding> {
    let own: Vec<String> = facts.network.own_name_servers.iter().map(ToString::to_string).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let message = format!("/etc/resolv.conf asks this host itself, {}: in a pod that is the pod", own.join(", "));
    let hint =
        "name a server that pods reach in a file of its own, and that file by resolvConf in the KubeletConfiguration";
    vec![Finding::warning("ResolvConf", message, hint)]
}

pub fn external_etcd(facts: &Facts) -> Vec<Finding> {
    let found = facts.network.silent_etcd.iter();
    found
        .map(|(url, reason)| {
            let hint = "is etcd up there, and is it the right address?";
            Finding::error("ExternalEtcdVersion", format!("nobody answers at {url}: {reason}"), hint)
        })
        .collect()
}

pub fn disk_space(facts: &Facts) -> Vec<Finding> {
    let little = facts.storage.free.iter().filter(|(_, free)| *free < FREE_WARNING);
    little
        .map(|(folder, free)| {
            let message = format!("there are {} MB free for {}", free >> 20, folder.display());
            let hint = "make room: a full disk stops etcd and has pods evicted";
            if *free < FREE_ERROR {
                Finding::error("DiskSpace", message, hint)
            } else {
                Finding::warning("DiskSpace", message, hint)
            }
        })
        .collect()
}

pub fn disk_sync(facts: &Facts) -> Vec<Finding> {
    let Some(sync) = facts.storage.sync.filter(|sync| *sync > SLOW_SYNC) else { return Vec::new() };
    let message = format!("the disk of etcd takes {}ms for a small write to be safe", sync.as_millis());
    vec![Finding::warning("EtcdDisk", message, "put /var/lib/etcd on a faster disk, an SSD or better")]
}
