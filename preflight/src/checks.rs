//! The checks, in one table.

use std::path::Path;

use crate::facts::{Facts, Setting};
use crate::{Finding, Severity, judge};

/// One check.
pub struct Check {
    /// Its name; checks that are about several things add the thing to the name of each finding.
    pub name: &'static str,
    /// Whether workers are spared it.
    pub control_plane_only: bool,
    /// What it makes of the facts.
    pub judge: fn(&Facts) -> Vec<Finding>,
}

/// Every check, in the order that findings are shown in.
#[rustfmt::skip]
pub const CHECKS: &[Check] = &[
    Check { name: "IsPrivilegedUser", control_plane_only: false, judge: is_privileged },
    Check { name: "CRI", control_plane_only: false, judge: runtime },
    Check { name: "ContainerRuntimeVersion", control_plane_only: false, judge: judge::runtime_version },
    Check { name: "Service-containerd", control_plane_only: false, judge: judge::service_runtime },
    Check { name: "ImagePull", control_plane_only: false, judge: judge::images },
    Check { name: "Swap", control_plane_only: false, judge: swap },
    Check { name: "Port", control_plane_only: false, judge: ports },
    Check { name: "FileAvailable", control_plane_only: false, judge: files },
    Check { name: "DirAvailable", control_plane_only: false, judge: folders },
    Check { name: "FileExisting", control_plane_only: false, judge: programs },
    Check { name: "CNIPlugin", control_plane_only: false, judge: cni_plugins },
    Check { name: "FileContent--proc-sys-net-ipv4-ip_forward", control_plane_only: false, judge: ip_forward },
    Check { name: "FileContent--proc-sys-net-ipv6-conf-default-forwarding", control_plane_only: false, judge: ip6_forward },
    Check { name: "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables", control_plane_only: false, judge: bridge_nf },
    Check { name: "SystemVerification", control_plane_only: false, judge: cgroups },
    Check { name: "SystemVerification", control_plane_only: false, judge: judge::kernel },
    Check { name: "KubeletVersion", control_plane_only: false, judge: judge::kubelet_version },
    Check { name: "Service-kubelet", control_plane_only: false, judge: judge::service_kubelet },
    Check { name: "CgroupDriver", control_plane_only: false, judge: judge::cgroup_driver },
    Check { name: "Hostname", control_plane_only: false, judge: host_name },
    Check { name: "NumCPU", control_plane_only: true, judge: processors },
    Check { name: "Mem", control_plane_only: true, judge: memory },
    Check { name: "AdvertiseAddress", control_plane_only: true, judge: advertise_address },
    Check { name: "ClusterNetwork", control_plane_only: false, judge: cluster_network },
    Check { name: "ClusterNetwork", control_plane_only: false, judge: judge::routes },
    Check { name: "Firewalld", control_plane_only: false, judge: judge::firewalld },
    Check { name: "HTTPProxy", control_plane_only: false, judge: judge::http_proxy },
    Check { name: "MTU", control_plane_only: false, judge: judge::mtu },
    Check { name: "Stale", control_plane_only: false, judge: judge::leftovers },
    Check { name: "ResolvConf", control_plane_only: false, judge: judge::resolv_conf },
    Check { name: "TimeSkew", control_plane_only: false, judge: judge::clock },
    Check { name: "SELinux", control_plane_only: false, judge: judge::selinux },
    Check { name: "AppArmor", control_plane_only: false, judge: judge::apparmor },
    Check { name: "ExternalEtcdVersion", control_plane_only: true, judge: judge::external_etcd },
    Check { name: "ExternalEtcdClientCertificates", control_plane_only: true, judge: etcd_files },
    Check { name: "DiskSpace", control_plane_only: false, judge: judge::disk_space },
    Check { name: "EtcdDisk", control_plane_only: true, judge: judge::disk_sync },
];

/// What kubeadm asks of a control plane.
const PROCESSORS: usize = 2;
const MEMORY: u64 = 1700 << 20;
/// Controllers without which containers cannot be run, and those that are only missed by some.
const NEEDED_CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// Programs that are looked for: name, whether it is an error that it is missing, what has it in Debian.
pub const PROGRAMS: &[(&str, Severity, &str)] = &[
    ("losetup", Severity::Error, "mount"),
    ("mount", Severity::Error, "mount"),
    ("cp", Severity::Error, "coreutils"),
    ("ip", Severity::Error, "iproute2"),
    ("nft", Severity::Error, "nftables"),
    ("conntrack", Severity::Warning, "conntrack"),
];

/// What has a program in Debian.
pub fn package_of(program: &str) -> Option<&'static str> {
    PROGRAMS.iter().find(|(name, ..)| *name == program).map(|(_, _, package)| *package)
}

/// CNI plugins that pod networking uses.
pub const CNI_PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

fn is_privileged(facts: &Facts) -> Vec<Finding> {
    if facts.is_root {
        return Vec::new();
    }
    vec![Finding::error("IsPrivilegedUser", "the user is not root", "run this as root, for example with sudo")]
}

fn runtime(facts: &Facts) -> Vec<Finding> {
    match &facts.runtime {
        Ok(_) => Vec::new(),
        Err(reason) if reason.contains("unknown service") => vec![Finding::error(
            "CRI",
            format!("what answers at {} is no container runtime for Kubernetes: {reason}", facts.runtime_socket),
            "take \"cri\" out of disabled_plugins in /etc/containerd/config.toml and restart containerd",
        )],
        Err(reason) => vec![Finding::error(
            "CRI",
            format!("no container runtime answers at {}: {reason}", facts.runtime_socket),
            "install and start containerd (`apt-get install containerd`), or name another socket by --cri-socket",
        )],
    }
}

fn swap(facts: &Facts) -> Vec<Finding> {
    if facts.swap.is_empty() || facts.swap_allowed {
        return Vec::new();
    }
    let areas = facts.swap.join(", ");
    vec![Finding::error("Swap", format!("swap is on: {areas}"), "run `swapoff -a` and take swap out of /etc/fstab")]
}

fn ports(facts: &Facts) -> Vec<Finding> {
    if facts.resumed {
        return Vec::new();
    }
    let taken = facts.ports.iter().filter(|port| port.taken);
    taken
        .map(|port| {
            let number = port.number;
            Finding::error(
                format!("Port-{number}"),
                format!("port {number} is in use"),
                format!(
                    "see who has it with `ss -ltnp 'sport = :{number}'`; if it is an earlier cluster, run `kinit reset`"
                ),
            )
        })
        .collect()
}

fn flat(path: &Path) -> String {
    path.display().to_string().replace('/', "-")
}

fn files(facts: &Facts) -> Vec<Finding> {
    if facts.resumed {
        return Vec::new();
    }
    let present = facts.files_in_the_way.iter();
    present
        .map(|path| {
            let hint = "it is of an earlier cluster: `kinit reset` takes it away";
            Finding::error(format!("FileAvailable-{}", flat(path)), format!("{} already exists", path.display()), hint)
        })
        .collect()
}

fn folders(facts: &Facts) -> Vec<Finding> {
    if facts.resumed {
        return Vec::new();
    }
    let filled = facts.folders_in_the_way.iter();
    filled
        .map(|path| {
            let hint = "it is of an earlier cluster: `kinit reset` empties it";
            Finding::error(format!("DirAvailable-{}", flat(path)), format!("{} is not empty", path.display()), hint)
        })
        .collect()
}

fn programs(facts: &Facts) -> Vec<Finding> {
    PROGRAMS
        .iter()
        .filter(|(name, ..)| facts.missing_programs.contains(*name))
        .map(|(name, severity, package)| Finding {
            name: format!("FileExisting-{name}"),
            severity: *severity,
            message: format!("{name} is not in PATH"),
            hint: format!("install it: `apt-get install {package}`"),
        })
        .collect()
}

fn cni_plugins(facts: &Facts) -> Vec<Finding> {
    let missing: Vec<&str> = facts.missing_cni_plugins.iter().map(String::as_str).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![Finding::error(
        "CNIPlugin",
        format!("CNI plugins are in neither /usr/lib/cni nor /opt/cni/bin: {}", missing.join(", ")),
        "install them: `apt-get install containernetworking-plugins`",
    )]
}

fn ip_forward(facts: &Facts) -> Vec<Finding> {
    if facts.ip_forward.can_be_on() {
        return Vec::new();
    }
    vec![Finding::error(
        "FileContent--proc-sys-net-ipv4-ip_forward",
        "the kernel does not forward packets and kinit cannot change that here",
        "set net.ipv4.ip_forward=1 where the host gets its kernel settings from",
    )]
}

fn ip6_forward(facts: &Facts) -> Vec<Finding> {
    if facts.ip6_forward.as_ref().is_none_or(Setting::can_be_on) {
        return Vec::new();
    }
    vec![Finding::error(
        "FileContent--proc-sys-net-ipv6-conf-default-forwarding",
        "the kernel does not forward IPv6 packets and kinit cannot change that here",
        "set net.ipv6.conf.default.forwarding=1 where the host gets its kernel settings from",
    )]
}

fn etcd_files(facts: &Facts) -> Vec<Finding> {
    let missing = facts.missing_files.iter();
    missing
        .map(|path| {
            let hint = "copy it from where etcd runs, or change etcd.external in the configuration";
            Finding::error("ExternalEtcdClientCertificates", format!("{} is not there", path.display()), hint)
        })
        .collect()
}

fn bridge_nf(facts: &Facts) -> Vec<Finding> {
    if facts.bridge_nf.can_be_on() || facts.bridge_nf.value.is_none() {
        // Without the module the setting is not there; loading it is the next step's, and it may be built in.
        return Vec::new();
    }
    vec![Finding::warning(
        "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
        "packets between pods of this host do not pass the firewall and kinit cannot change that here",
        "set net.bridge.bridge-nf-call-iptables=1 where the host gets its kernel settings from",
    )]
}

fn cgroups(facts: &Facts) -> Vec<Finding> {
    let missing: Vec<&str> =
        NEEDED_CONTROLLERS.iter().copied().filter(|name| !facts.cgroup_controllers.contains(*name)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![Finding::error(
        "SystemVerification",
        format!("cgroup controllers are missing: {}", missing.join(", ")),
        "mount the cgroup hierarchies, or enable the controllers on the kernel's command line",
    )]
}

fn host_name(facts: &Facts) -> Vec<Finding> {
    let label = |part: &str| {
        let inner = part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-');
        !part.is_empty() && part.len() <= 63 && inner && !part.starts_with('-') && !part.ends_with('-')
    };
    let name = &facts.node_name;
    if name.len() > 253 || !name.split('.').all(label) {
        let hint = "change the host's name (`hostnamectl set-hostname`), or give one by --node-name";
        return vec![Finding::error("Hostname", format!("the node's name {name:?} is no RFC 1123 name"), hint)];
    }
    if !facts.name_resolves {
        let hint = "add it to DNS or to /etc/hosts";
        return vec![Finding::warning("Hostname", format!("the name {name:?} does not resolve"), hint)];
    }
    Vec::new()
}

fn processors(facts: &Facts) -> Vec<Finding> {
    if facts.processors >= PROCESSORS {
        return Vec::new();
    }
    let message = format!("there is {} processor, {PROCESSORS} are needed", facts.processors);
    vec![Finding::error("NumCPU", message, "give the machine more, or --ignore-preflight-errors=NumCPU")]
}

fn memory(facts: &Facts) -> Vec<Finding> {
    if facts.memory >= MEMORY {
        return Vec::new();
    }
    let message = format!("there are {} MB of memory, {} are needed", facts.memory >> 20, MEMORY >> 20);
    vec![Finding::error("Mem", message, "give the machine more, or --ignore-preflight-errors=Mem")]
}

fn advertise_address(facts: &Facts) -> Vec<Finding> {
    let Some(wanted) = facts.advertise_address else { return Vec::new() };
    if facts.addresses.is_empty() || facts.addresses.iter().any(|known| known.address == wanted) {
        return Vec::new();
    }
    let known: Vec<String> = facts.addresses.iter().map(|known| known.address.to_string()).collect();
    vec![Finding::error(
        "AdvertiseAddress",
        format!("{wanted} is no address of this host"),
        format!("give one of {} by --apiserver-advertise-address", known.join(", ")),
    )]
}

fn cluster_network(facts: &Facts) -> Vec<Finding> {
    facts
        .addresses_in_cluster_ranges
        .iter()
        .map(|(address, range)| {
            Finding::error(
                "ClusterNetwork",
                format!("this host's address {address} lies in the cluster's range {range}"),
                "choose other ranges by --pod-network-cidr and --service-cidr: the host would be cut off",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{InterfaceAddress, Port};
    use crate::more::{Network, Platform, Storage};
    use crate::{Role, has_errors, run};
    use std::time::Duration;

    fn names(facts: &Facts, role: Role) -> Vec<String> {
        run(facts, role, &[]).into_iter().map(|finding| finding.name).collect()
    }

    #[test]
    fn a_sound_host_has_no_findings() {
        assert_eq!(run(&Facts::default(), Role::ControlPlane, &[]), []);
    }

    fn on_platform(platform: Platform) -> Facts {
        Facts { platform, ..Facts::default() }
    }

    fn on_network(network: Network) -> Facts {
        Facts { network, ..Facts::default() }
    }

    #[test]
    fn a_little_is_a_warning_and_much_an_error() {
        let skew =
            |seconds| on_platform(Platform { clock_skew: Some(Duration::from_secs(seconds)), ..Platform::default() });
        let free =
            |free| Facts { storage: Storage { free: vec![("/x".into(), free)], sync: None }, ..Facts::default() };
        for (facts, count, errors) in [
            (skew(2), 0, false),
            (skew(60), 1, false),
            (skew(600), 1, true),
            (free(1 << 30), 1, false),
            (free(9 << 30), 0, false),
        ] {
            let found = run(&facts, Role::Worker, &[]);
            assert_eq!((found.len(), has_errors(&found)), (count, errors));
        }
    }

    /// One thing wrong, the name it is found by, whether a worker is found wanting too.
    fn table() -> Vec<(&'static str, bool, Facts)> {
        let good = Facts::default;
        let off = |writable| Setting { value: Some("0".into()), writable };
        vec![
            ("IsPrivilegedUser", true, Facts { is_root: false, ..good() }),
            ("CRI", true, Facts { runtime: Err("no such file".into()), ..good() }),
            ("Swap", true, Facts { swap: vec!["/dev/sda2".into()], ..good() }),
            (
                "Port-6443",
                true,
                Facts { ports: vec![Port { number: 6443, taken: true }, Port { number: 1, taken: false }], ..good() },
            ),
            (
                "FileAvailable--etc-kubernetes-manifests-etcd.yaml",
                true,
                Facts { files_in_the_way: vec!["/etc/kubernetes/manifests/etcd.yaml".into()], ..good() },
            ),
            ("DirAvailable--var-lib-etcd", true, Facts { folders_in_the_way: vec!["/var/lib/etcd".into()], ..good() }),
            ("FileExisting-nft", true, Facts { missing_programs: ["nft".to_owned()].into(), ..good() }),
            ("CNIPlugin", true, Facts { missing_cni_plugins: ["bridge".to_owned()].into(), ..good() }),
            ("FileContent--proc-sys-net-ipv4-ip_forward", true, Facts { ip_forward: off(false), ..good() }),
            (
                "FileContent--proc-sys-net-ipv6-conf-default-forwarding",
                true,
                Facts { ip6_forward: Some(off(false)), ..good() },
            ),
            (
                "ExternalEtcdClientCertificates",
                false,
                Facts { missing_files: vec!["/etc/etcd/client.crt".into()], ..good() },
            ),
            (
                "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
                true,
                Facts { bridge_nf: off(false), ..good() },
            ),
            ("SystemVerification", true, Facts { cgroup_controllers: ["cpu".to_owned()].into(), ..good() }),
            ("Hostname", true, Facts { node_name: "Bad_Name".into(), ..good() }),
            ("Hostname", true, Facts { name_resolves: false, ..good() }),
            ("NumCPU", false, Facts { processors: 1, ..good() }),
            ("Mem", false, Facts { memory: 1 << 30, ..good() }),
            (
                "AdvertiseAddress",
                false,
                Facts {
                    advertise_address: "10.0.0.9".parse().ok(),
                    addresses: vec![InterfaceAddress { interface: "eth0".into(), address: [10, 0, 0, 1].into() }],
                    ..good()
                },
            ),
            ("SystemVerification", true, on_platform(Platform { kernel: Some((3, 10)), ..Platform::default() })),
            ("KubeletVersion", true, on_platform(Platform { foreign_kubelet: true, ..Platform::default() })),
            ("Service-kubelet", true, on_platform(Platform { kubelet_masked: true, ..Platform::default() })),
            ("Service-containerd", true, on_platform(Platform { runtime_not_enabled: true, ..Platform::default() })),
            ("ContainerRuntimeVersion", true, Facts { runtime: Ok("containerd v1.4.13~ds1".into()), ..good() }),
            ("ImagePull", true, on_platform(Platform { missing_binaries: vec!["etcd".into()], ..Platform::default() })),
            (
                "CgroupDriver",
                true,
                on_platform(Platform {
                    cgroup_driver: Some(("cgroupfs".into(), "systemd".into())),
                    ..Platform::default()
                }),
            ),
            (
                "TimeSkew",
                true,
                on_platform(Platform { clock_skew: Some(Duration::from_secs(600)), ..Platform::default() }),
            ),
            ("SELinux", true, on_platform(Platform { selinux_enforces: true, ..Platform::default() })),
            ("AppArmor", true, on_platform(Platform { apparmor_without_parser: true, ..Platform::default() })),
            ("Firewalld", true, on_network(Network { firewalld: true, ..Network::default() })),
            (
                "HTTPProxy",
                true,
                on_network(Network { proxied: vec![("p".into(), "10.0.0.1".into())], ..Network::default() }),
            ),
            (
                "HTTPProxyCIDR",
                true,
                on_network(Network { proxied: vec![("p".into(), "10.96.0.0/12".into())], ..Network::default() }),
            ),
            ("MTU", true, on_network(Network { mtu: vec![("eth0".into(), 1300)], ..Network::default() })),
            (
                "ClusterNetwork",
                true,
                on_network(Network {
                    overlapping_routes: vec![("10.244.1.0/24".into(), "x".into(), "10.244.0.0/16".into())],
                    ..Network::default()
                }),
            ),
            ("StaleCNI", true, on_network(Network { other_networks: vec!["10-x.conf".into()], ..Network::default() })),
            ("StaleNetwork", true, on_network(Network { stale_links: vec!["cni0".into()], ..Network::default() })),
            (
                "ResolvConf",
                true,
                on_network(Network { own_name_servers: vec![[127, 0, 0, 1].into()], ..Network::default() }),
            ),
            (
                "ExternalEtcdVersion",
                false,
                on_network(Network { silent_etcd: vec![("https://x".into(), "no".into())], ..Network::default() }),
            ),
            (
                "DiskSpace",
                true,
                Facts { storage: Storage { free: vec![("/x".into(), 1 << 20)], sync: None }, ..good() },
            ),
            (
                "EtcdDisk",
                false,
                Facts { storage: Storage { free: vec![], sync: Some(Duration::from_millis(80)) }, ..good() },
            ),
            (
                "ClusterNetwork",
                true,
                Facts { addresses_in_cluster_ranges: vec![([10, 96, 0, 1].into(), "10.96.0.0/12".into())], ..good() },
            ),
        ]
    }

    #[test]
    fn every_wrong_thing_is_found_by_its_name_and_nothing_else() {
        for (name, on_workers, facts) in table() {
            assert_eq!(names(&facts, Role::ControlPlane), [name]);
            assert_eq!(names(&facts, Role::Worker).len(), usize::from(on_workers), "{name}");
            assert!(run(&facts, Role::ControlPlane, &[]).iter().all(|finding| !finding.hint.is_empty()));
        }
        let checked = table().into_iter().map(|(name, ..)| name);
        for check in CHECKS {
            assert!(checked.clone().any(|name| name.starts_with(check.name)), "{} is in no test", check.name);
        }
    }

    #[test]
    fn what_can_be_switched_on_is_no_finding() {
        let off = Setting { value: Some("0".into()), writable: true };
        assert_eq!(
            names(&Facts { ip_forward: off.clone(), bridge_nf: off, ..Facts::default() }, Role::Worker),
            [""; 0]
        );
    }

    #[test]
    fn ignored_errors_stay_as_warnings() {
        let facts = Facts { processors: 1, swap: vec!["x".into()], ..Facts::default() };
        assert!(has_errors(&run(&facts, Role::ControlPlane, &[])));
        assert!(has_errors(&run(&facts, Role::ControlPlane, &["swap".into()])));
        for ignore in [&["swap".to_owned(), "NumCPU".to_owned()][..], &["all".to_owned()][..]] {
            let findings = run(&facts, Role::ControlPlane, ignore);
            assert_eq!((findings.len(), has_errors(&findings)), (2, false));
        }
    }

    #[test]
    fn an_interrupted_run_finds_its_own_things_no_obstacle() {
        let facts = Facts {
            resumed: true,
            ports: vec![Port { number: 10250, taken: true }],
            files_in_the_way: vec!["/x".into()],
            folders_in_the_way: vec!["/y".into()],
            ..Facts::default()
        };
        assert_eq!(names(&facts, Role::ControlPlane), [""; 0]);
    }
}
