//! What each check is about, at more length than a finding has room for: `kinit explain NAME`.

/// Every name that a finding can have, or begin with, and why it is looked at.
pub const EXPLANATIONS: &[(&str, &str)] = &[
    (
        "AdvertiseAddress",
        "Other nodes and the cluster's own Service reach the API server by this address. One that no interface of this host has answers nobody. Give an address of an interface by --apiserver-advertise-address, or localAPIEndpoint.advertiseAddress in the file.",
    ),
    (
        "AppArmor",
        "Where the kernel has AppArmor, containerd starts containers under a profile that it loads by the program apparmor_parser. Without the program no container starts. Install the package apparmor.",
    ),
    (
        "CgroupDriver",
        "The kubelet and containerd must make cgroups in the same way, or pods end up beside the limits that they were given. kinit sets both by what runs the host: systemd with cgroup v2 has `systemd`, anything else `cgroupfs`.",
    ),
    (
        "ClusterNetwork",
        "Pods and Services get addresses out of ranges of their own. If an address or a route of the host lies in one of them, packets meant for the one go to the other: as soon as kube-proxy starts the host can be cut off. Choose ranges that nothing else uses by --pod-network-cidr and --service-cidr.",
    ),
    (
        "CNIPlugin",
        "containerd gives a pod its network by running small programs, the CNI plugins. Those named are looked for in /usr/lib/cni and /opt/cni/bin. Debian's package is containernetworking-plugins.",
    ),
    (
        "ContainerRuntimeVersion",
        "Older releases of containerd lack calls that the kubelet makes, or have faults that stop pods. kinit is tried with containerd 1.6 and newer.",
    ),
    (
        "CRI",
        "The kubelet runs containers through the runtime's socket. Nobody answers there: the runtime is not installed, does not run, or listens elsewhere. `systemctl status containerd` tells; another socket is named by --cri-socket.",
    ),
    (
        "DirAvailable",
        "The folder must be empty: what lies in it belongs to an earlier cluster, whose data would be mixed with the new one's. `kinit reset` empties it.",
    ),
    (
        "DiskSpace",
        "A full disk stops etcd, and the kubelet evicts pods when it fills. A control plane with a few workers needs about two gigabytes to begin with.",
    ),
    (
        "EtcdDisk",
        "etcd answers a write when it is safe on disk. On a slow disk every change to the cluster is slow, and above a hundred milliseconds members take each other for dead. The median of a few small synced writes is what is measured.",
    ),
    (
        "ExternalEtcdClientCertificates",
        "The file names an etcd that runs elsewhere, and the CA, certificate or key by which it is reached. The API server mounts those files, so they have to be on this host before it starts.",
    ),
    ("ExternalEtcdVersion", "The file names an etcd that runs elsewhere, and nobody answers at one of its addresses."),
    ("FileAvailable", "The file belongs to an earlier cluster. `kinit reset` takes it away."),
    (
        "FileContent",
        "Packets to and from pods are forwarded by the kernel, which has to be switched on, and on bridges has to pass the firewall. kinit does it itself where it may; here the setting cannot be written, as in many containers: set it on the host.",
    ),
    ("FileExisting", "The kubelet, kube-proxy or the runtime run this program. Install the package that has it."),
    (
        "Firewalld",
        "firewalld closes ports by its own rules and throws away rules of others when it is reloaded. Open the ports named, or stop it.",
    ),
    (
        "Hostname",
        "A node is known by its name, which must be lower case letters, digits, dashes and dots. That it resolves is of use to you and to kubectl, and is not needed otherwise.",
    ),
    (
        "HTTPProxy",
        "The environment sends connections through a proxy. Those within the cluster must not go there: name the addresses in no_proxy.",
    ),
    ("HTTPProxyCIDR", "As HTTPProxy, for the ranges of pods and Services."),
    (
        "ImagePull",
        "kinit pulls nothing: it packs each component's binary into an image. Here binaries are missing beside kinit, in /usr/local/lib/kinit and in the folder of --bin-dir.",
    ),
    ("IsPrivilegedUser", "Files below /etc and /var are written, and services started. Run kinit as root."),
    (
        "KubeletVersion",
        "Another kubelet is installed where kinit puts its own. A package manager that updates it would replace kinit's.",
    ),
    (
        "Mem",
        "A control plane needs about 1700 MB of memory, as kubeadm counts it. With less the kernel ends processes when load comes.",
    ),
    (
        "MTU",
        "Packets larger than the network takes are lost. Small answers work and large ones hang, which looks like anything but this.",
    ),
    (
        "NumCPU",
        "A control plane needs two processors, as kubeadm counts it. With one, etcd waits for others and leases run out under load.",
    ),
    ("Port", "Something listens on a port that the cluster needs. `ss -ltnp` shows who."),
    (
        "ResolvConf",
        "Pods that ask the host's name servers get the host's resolv.conf. A server at 127.0.0.1 is, inside a pod, the pod itself: names do not resolve, or DNS asks itself in a loop.",
    ),
    (
        "SELinux",
        "SELinux can keep containers from files of the host, which static pods mount. With the right policy it works; without, pods fail with `permission denied`.",
    ),
    ("Service-containerd", "The runtime does not start at boot, so after a reboot the node stays down."),
    ("Service-kubelet", "The kubelet's unit is masked: systemd refuses to start it."),
    (
        "StaleCNI",
        "Another pod network's configuration lies in /etc/cni/net.d. The runtime takes the first by name, so pods may get a network that nobody runs.",
    ),
    (
        "StaleNetwork",
        "Bridges and tunnels of an earlier cluster are still there, with addresses that the new one will give out again.",
    ),
    (
        "Swap",
        "The kubelet does not start with swap on unless it is told to: memory limits would mean nothing. `swapoff -a` switches it off until the next boot, /etc/fstab for good. With failSwapOn: false in a KubeletConfiguration it is allowed.",
    ),
    (
        "SystemVerification",
        "Containers need control groups for processors, memory and processes, and a kernel of 4.19 or newer.",
    ),
    (
        "TimeSkew",
        "Certificates, tokens and leases are true for a time. A clock that is seconds off makes leases expire early, one that is minutes off has certificates refused as not yet valid.",
    ),
];

/// The explanation of a name that a finding has, such as `Port-6443`.
pub fn explain(name: &str) -> Option<(&'static str, &'static str)> {
    let fits = |known: &str| {
        let head = name.get(..known.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(known))
            && (name.len() == known.len() || name.as_bytes()[known.len()] == b'-')
    };
    EXPLANATIONS.iter().copied().filter(|(known, _)| fits(known)).max_by_key(|(known, _)| known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_what_they_are_about() {
        for (name, wanted) in [
            ("Port-6443", Some("Port")),
            ("port", Some("Port")),
            ("Service-kubelet", Some("Service-kubelet")),
            ("HTTPProxyCIDR", Some("HTTPProxyCIDR")),
            ("FileContent--proc-sys-net-ipv4-ip_forward", Some("FileContent")),
            ("Ports", None),
            ("", None),
        ] {
            assert_eq!(explain(name).map(|(known, _)| known), wanted, "{name}");
        }
    }

    #[test]
    fn every_check_is_explained() {
        for check in crate::CHECKS.iter().filter(|check| check.name != "Stale") {
            assert!(explain(check.name).is_some(), "{}", check.name);
        }
        assert!(EXPLANATIONS.is_sorted_by_key(|(name, _)| name.to_lowercase()));
    }
}
