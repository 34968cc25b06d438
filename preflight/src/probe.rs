//! Gathering the facts about the platform, the network and the disks. Nothing is changed but for one small file that is
//! written and removed to see how fast a disk is.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::facts::InterfaceAddress;
use crate::more::{More, Network, Platform, Storage};

/// Links that pod networks make and leave behind; ours is taken down by reset.
const LINKS: &[&str] =
    &["cni0", "flannel.1", "cilium_host", "vxlan.calico", "tunl0", "weave", "kube-ipvs0", "nodelocaldns"];
const OWN_NETWORK: &str = "10-kinit.conflist";
const WRITES: u32 = 8;
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The platform.
pub fn platform(more: &More) -> Platform {
    let unit_there = ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"]
        .iter()
        .any(|folder| Path::new(folder).join("containerd.service").exists());
    let enabled = Path::new("/etc/systemd/system/multi-user.target.wants/containerd.service").is_symlink();
    Platform {
        kernel: kernel(&read("/proc/sys/kernel/osrelease")),
        selinux_enforces: read("/sys/fs/selinux/enforce").trim() == "1",
        apparmor_without_parser: read("/sys/module/apparmor/parameters/enabled").trim() == "Y"
            && which::which("apparmor_parser").is_err(),
        kubelet_masked: fs::read_link("/etc/systemd/system/kubelet.service")
            .is_ok_and(|target| target == Path::new("/dev/null")),
        runtime_not_enabled: unit_there && !enabled,
        foreign_kubelet: Path::new("/usr/bin/kubelet").exists(),
        missing_binaries: more.missing_binaries.clone(),
        cgroup_driver: more.cgroup_driver.clone(),
        clock_skew: more.clock_skew,
    }
}

fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The network. `ranges` are the cluster's, `advertise` is the API server's address.
pub async fn network(
    more: &More,
    ranges: &[(IpAddr, u8)],
    advertise: Option<IpAddr>,
    addresses: &[InterfaceAddress],
) -> Network {
    let mut silent_etcd = Vec::new();
    for url in &more.external_etcd {
        if let Some(reason) = silent(url).await {
            silent_etcd.push((url.clone(), reason));
        }
    }
    let routes = read("/proc/net/route");
    let uplink = default_interface(&routes);
    let mut targets: Vec<String> = advertise.map(|address| address.to_string()).into_iter().collect();
    targets.extend(more.api_server.clone());
    targets.extend(ranges.iter().map(|(base, prefix)| format!("{base}/{prefix}")));
    let variable = |name: &str| std::env::var(name).or_else(|_| std::env::var(name.to_uppercase())).unwrap_or_default();
    Network {
        firewalld: runs("firewalld"),
        proxied: proxied(&variable("https_proxy"), &variable("no_proxy"), &targets),
        mtu: uplink
            .iter()
            .filter_map(|name| Some((name.clone(), read(&format!("/sys/class/net/{name}/mtu")).trim().parse().ok()?)))
            .collect(),
        overlapping_routes: overlapping(&routes, ranges),
        other_networks: names("/etc/cni/net.d")
            .into_iter()
            .filter(|name| name != OWN_NETWORK && [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end)))
            .collect(),
        stale_links: LINKS
            .iter()
            .filter(|name| Path::new("/sys/class/net").join(name).exists())
            .map(|name| (*name).to_owned())
            .collect(),
        own_name_servers: if Path::new("/run/systemd/resolve/resolv.conf").exists() {
            Vec::new()
        } else {
            own_name_servers(&read("/etc/resolv.conf"), addresses)
        },
        silent_etcd,
    }
}

/// The disks.
pub fn storage(more: &More) -> Storage {
    let mut folders: Vec<PathBuf> = vec!["/var/lib/kubelet".into()];
    folders.extend(more.etcd_folder.clone());
    let free = folders.into_iter().filter_map(|folder| {
        let there = nix::sys::statvfs::statvfs(existing(&folder)).ok()?;
        Some((folder, there.blocks_available() * there.fragment_size()))
    });
    Storage { free: free.collect(), sync: more.etcd_folder.as_deref().and_then(|folder| sync(existing(folder)).ok()) }
}

/// The innermost part of a path that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"))
}

/// How long a write of a few hundred bytes takes to be safe, in the middle of several.
fn sync(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!(".kinit-preflight-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    let mut measure = || {
        let mut took = Vec::new();
        for _ in 0..WRITES {
            let begin = Instant::now();
            file.write_all(&[0; 512])?;
            file.sync_data()?;
            took.push(begin.elapsed());
        }
        took.sort();
        Ok(took[took.len() / 2])
    };
    let measured = measure();
    fs::remove_file(&path)?;
    measured
}

fn names(folder: &str) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

fn runs(program: &str) -> bool {
    names("/proc").iter().any(|pid| {
        pid.bytes().all(|byte| byte.is_ascii_digit()) && read(&format!("/proc/{pid}/comm")).trim() == program
    })
}

/// Why nobody answers at a URL; `None` if somebody does.
async fn silent(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned();
    let target = if rest.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        rest
    } else {
        format!("{rest}:2379")
    };
    match tokio::time::timeout(CONNECT_PATIENCE, tokio::net::TcpStream::connect(target)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {}s", CONNECT_PATIENCE.as_secs())),
    }
}

/// What would go through the proxy: addresses and ranges that no_proxy does not name.
fn proxied(proxy: &str, no_proxy: &str, targets: &[String]) -> Vec<(String, String)> {
    if proxy.is_empty() {
        return Vec::new();
    }
    let spared = |target: &str| {
        no_proxy.split(',').map(str::trim).any(|entry| {
            let covers = || {
                let (base, prefix) = entry.split_once('/')?;
                let address: IpAddr = target.split('/').next()?.parse().ok()?;
                Some(within(address, base.parse().ok()?, prefix.parse().ok()?))
            };
            entry == "*" || (!entry.is_empty() && (entry == target || covers().unwrap_or(false)))
        })
    };
    targets.iter().filter(|target| !spared(target)).map(|target| (proxy.to_owned(), target.clone())).collect()
}

/// A line of /proc/net/route: interface, destination, prefix.
fn route(line: &str) -> Option<(&str, Ipv4Addr, u8)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let prefix = u8::try_from(number(fields.get(7)?)?.count_ones()).ok()?;
    Some((fields[0], Ipv4Addr::from_bits(number(fields[1])?), prefix))
}

fn default_interface(table: &str) -> Option<String> {
    let all = table.lines().filter_map(route);
    let mut defaults = all.filter(|(_, address, prefix)| *prefix == 0 && address.is_unspecified());
    defaults.next().map(|(interface, ..)| interface.to_owned())
}

fn overlapping(table: &str, ranges: &[(IpAddr, u8)]) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (interface, address, prefix) in table.lines().filter_map(route).filter(|(_, _, prefix)| *prefix > 0) {
        for (base, length) in ranges {
            if within(IpAddr::V4(address), *base, *length) || within(*base, IpAddr::V4(address), prefix) {
                found.push((format!("{address}/{prefix}"), interface.to_owned(), format!("{base}/{length}")));
            }
        }
    }
    found
}

pub(crate) fn within(address: IpAddr, base: IpAddr, prefix: u8) -> bool {
    let same = |left: u128, right: u128, width: u32| {
        let shift = width - u32::from(prefix).min(width);
        left.checked_shr(shift).unwrap_or(0) == right.checked_shr(shift).unwrap_or(0)
    };
    match (address, base) {
        (IpAddr::V4(left), IpAddr::V4(right)) => same(left.to_bits().into(), right.to_bits().into(), 32),
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
        _ => false,
    }
}

fn own_name_servers(text: &str, addresses: &[InterfaceAddress]) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    servers.filter(|server| server.is_loopback() || addresses.iter().any(|own| own.address == *server)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        flannel.1\t0001F40A\t0001F40A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn routes_of_the_host_are_read() {
        assert_eq!(default_interface(ROUTES).as_deref(), Some("eth0"));
        let pods = [(IpAddr::from([10, 244, 0, 0]), 16)];
        let found = overlapping(ROUTES, &pods);
        assert_eq!(found, [("10.244.1.0/24".into(), "flannel.1".into(), "10.244.0.0/16".into())]);
        assert_eq!(overlapping(ROUTES, &[(IpAddr::from([10, 0, 7, 0]), 24)]).len(), 1);
        assert_eq!(overlapping(ROUTES, &[(IpAddr::from([192, 168, 0, 0]), 16)]), []);
    }

    #[test]
    fn what_no_proxy_does_not_name_goes_through_the_proxy() {
        let targets = ["10.0.0.1".to_owned(), "10.96.0.0/12".to_owned()];
        let count = |no_proxy: &str| proxied("http://p:3128", no_proxy, &targets).len();
        for (no_proxy, wanted) in
            [("", 2), ("10.0.0.1", 1), ("10.0.0.0/8", 0), ("10.0.0.1, 10.96.0.0/12", 0), ("*", 0), ("example.com", 2)]
        {
            assert_eq!(count(no_proxy), wanted, "{no_proxy:?}");
        }
        assert_eq!(proxied("", "", &targets), []);
    }

    #[test]
    fn small_files_of_the_kernel_and_of_users_are_read() {
        assert_eq!(kernel("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(kernel("nonsense"), None);
        let own = [InterfaceAddress { interface: "eth0".into(), address: [10, 0, 0, 1].into() }];
        let text = "search x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver 9.9.9.9\n";
        assert_eq!(own_name_servers(text, &own).len(), 2);
        assert_eq!(existing(Path::new("/proc/self/nowhere/at/all")), Path::new("/proc/self"));
    }

    #[test]
    fn a_disk_is_measured_and_left_as_it_was() {
        let folder = std::env::temp_dir();
        sync(&folder).unwrap();
        let left = names(&folder.display().to_string());
        assert!(!left.contains(&format!(".kinit-preflight-{}", std::process::id())));
    }
}
