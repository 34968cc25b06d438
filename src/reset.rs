//! `kinit reset`: taking away what init and join made, and nothing else.
//!
//! What was made stands in the record; beside it there is what runs and what the kubelet, the network agent and the proxy
//! made while they ran, at paths and under names of their own. [`plan`] is pure: from the record to steps. Steps that
//! fail are reported and do not keep the others from being done.

mod leave;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kinit_cri::containerd::Containerd;
use kinit_cri::sandboxes::Sandboxes;

use crate::config::settings::{CONTAINERD_SOCKET, runtime_socket};
use crate::host::record::{Entry, Record, STATE_DIR};
use crate::host::{self, Command, Host};
use crate::images::crio;
use crate::phase::{containerd, kubelet, wait::until};
use crate::report::{Outcome, Reporter, describe};

/// Folders that belong to a cluster whole: all in them goes, whoever wrote it.
const OWN_FOLDERS: &[&str] = &[
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni/networks",
    "/var/lib/cni/results",
    "/var/log/pods",
    "/var/log/containers",
    "/var/log/kinit",
    "/run/kinit",
    "/run/flannel",
    "/usr/local/lib/kinit",
];
/// Of these, the folders that are emptied even if the record says nothing of them.
const EMPTIED: &[&str] = &[
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni/networks",
    "/var/lib/cni/results",
    "/var/log/pods",
    "/var/log/containers",
    "/var/log/kinit",
    "/run/kinit",
];
const KUBECONFIGS: &[&str] = &[
    "admin.conf",
    "super-admin.conf",
    "kubelet.conf",
    "bootstrap-kubelet.conf",
    "controller-manager.conf",
    "scheduler.conf",
];
/// What the network agent writes.
const CNI_CONFIG: &str = "/etc/cni/net.d/10-kinit.conflist";
/// Links that pod networking makes.
const LINKS: &[&str] = &["cni0"];
/// nftables tables of kube-proxy, of upstream's and ours, and of the network agent.
const TABLE_NAMES: &[&str] = &["kube-proxy", "kinit-network", "kinit"];
/// Routing protocol number that the network agent marks its routes with.
pub const ROUTE_PROTOCOL: &str = "77";

/// The phases that a user can leave out or run alone.
pub const PHASES: &[(&str, &str)] = &[
    ("preflight", "asks whether all of the node's data may go"),
    ("remove-etcd-member", "takes this node's member out of etcd, and the node out of the cluster"),
    ("cleanup-node", "stops the kubelet and takes away what init and join made"),
];

/// One step of taking away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The kubelet is stopped first, or it would start again what is taken away.
    StopKubelet,
    /// A unit beside the kubelet's is stopped, as long as its file is there.
    StopUnit(String),
    /// All pods go.
    RemovePods,
    /// Everything mounted below the kubelet's folder is unmounted.
    Unmount(PathBuf),
    /// Links, routes, firewall tables.
    Network,
    /// The kubelet's cgroups.
    Cgroups,
    /// An image goes.
    Image(String),
    /// A file goes.
    File(PathBuf),
    /// A folder goes with all in it.
    Tree(PathBuf),
    /// What is in a folder goes, the folder stays: others made it.
    Empty(PathBuf),
    /// A folder goes if nothing is left in it.
    FolderIfEmpty(PathBuf),
    /// A file of others gets back what it held.
    Restore(PathBuf, Option<PathBuf>),
    /// A kernel setting gets back its value.
    Sysctl(PathBuf, String),
    /// A unit is forgotten.
    Unit(String),
    /// The container runtime reads its configuration again.
    RestartRuntime,
}

/// The steps, in their order.
pub fn plan(entries: &[Entry]) -> Vec<Step> {
    let mut steps = vec![
        Step::StopKubelet,
        Step::RemovePods,
        Step::Unmount("/var/lib/kubelet".into()),
        Step::Network,
        Step::Cgroups,
    ];
    let others = entries.iter().filter_map(|entry| match entry {
        Entry::Unit { name } if name != "kubelet.service" => Some(Step::StopUnit(name.clone())),
        _ => None,
    });
    steps.extend(others);
    let made_folder =
        |path: &Path| entries.iter().any(|entry| matches!(entry, Entry::Folder { path: made } if made == path));
    let own = |path: &Path| OWN_FOLDERS.iter().any(|folder| path.starts_with(folder));
    let mut restart = false;
    let mut late = Vec::new();
    for entry in entries.iter().rev() {
        match entry {
            Entry::Begun { .. } | Entry::Finished { .. } | Entry::Module { .. } => {}
            Entry::File { path } if path.starts_with(STATE_DIR) => {}
            Entry::Folder { path } if path.starts_with(STATE_DIR) => {}
            Entry::File { path } => steps.push(Step::File(path.clone())),
            Entry::Folder { path } if own(path) => late.push(Step::Tree(path.clone())),
            Entry::Folder { path } => late.push(Step::FolderIfEmpty(path.clone())),
            Entry::Image { name } => steps.push(Step::Image(name.clone())),
            Entry::Unit { name } => late.push(Step::Unit(name.clone())),
            Entry::Sysctl { path, before } => steps.push(Step::Sysctl(path.clone(), before.clone())),
            Entry::Change { path, copy } => {
                restart |= path.starts_with("/etc/containerd");
                steps.push(Step::Restore(path.clone(), copy.clone()));
            }
        }
    }
    steps.push(Step::File(CNI_CONFIG.into()));
    steps.extend(KUBECONFIGS.iter().map(|name| Step::File(Path::new("/etc/kubernetes").join(name))));
    steps.extend(
        EMPTIED.iter().map(Path::new).filter(|path| !made_folder(path)).map(|path| Step::Empty(path.to_owned())),
    );
    steps.extend(late);
    if restart {
        steps.push(Step::RestartRuntime);
    }
    steps
}

/// What reset works with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Socket of the container runtime, if it is not the usual one.
    pub cri_socket: Option<String>,
    /// What the cluster is asked with, if it is not what lies on this host.
    pub kubeconfig: Option<PathBuf>,
    /// The PKI folder, if it is not the usual one.
    pub certificates_dir: Option<PathBuf>,
    /// Whether kubeadm's folder of temporary files is emptied.
    pub cleanup_tmp_dir: bool,
    /// Phases to leave out.
    pub skip_phases: Vec<String>,
    /// kubeadm's words for how file systems are unmounted.
    pub unmount_flags: Vec<String>,
}

/// kubeadm's words for how file systems are unmounted, each with umount's own.
const UNMOUNT_FLAGS: &[(&str, Option<&str>)] =
    &[("MNT_FORCE", Some("-f")), ("MNT_DETACH", Some("-l")), ("MNT_EXPIRE", None), ("UMOUNT_NOFOLLOW", None)];

/// What umount is told: to let go of what is in use later, unless the user says otherwise. No path here is a link, and
/// umount has no word for a mount that expires, so those two change nothing.
pub fn unmount_arguments(flags: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if flags.is_empty() {
        return Ok(vec!["-l"]);
    }
    let known = |flag: &String| UNMOUNT_FLAGS.iter().find(|(name, _)| name == flag);
    if let Some(bad) = flags.iter().find(|flag| known(flag).is_none()) {
        let all: Vec<&str> = UNMOUNT_FLAGS.iter().map(|(name, _)| *name).collect();
        anyhow::bail!("unmountFlags: there is no {bad:?}\nhint: there are {}\ncode: Config", all.join(", "));
    }
    Ok(flags.iter().filter_map(|flag| known(flag)?.1).collect())
}

/// Takes everything away; gives how many steps failed. Each failure was reported.
pub async fn run(host: &dyn Host, options: &Options, reporter: &dyn Reporter) -> anyhow::Result<usize> {
    let skips = |phase: &str| options.skip_phases.iter().any(|name| name == phase);
    if !skips("remove-etcd-member") && host.is_real() {
        let folder = options.certificates_dir.clone().unwrap_or_else(|| "/etc/kubernetes/pki".into());
        leave::run(host, &folder, options.kubeconfig.as_deref(), reporter).await;
    }
    if skips("cleanup-node") {
        return Ok(0);
    }
    let entries = Record::new(Path::new(STATE_DIR)).entries()?;
    let found = runtime_socket();
    let socket = options.cri_socket.as_deref().or(found).unwrap_or(CONTAINERD_SOCKET);
    let socket = PathBuf::from(socket.strip_prefix("unix://").unwrap_or(socket));
    let mut steps = plan(&entries);
    if options.cleanup_tmp_dir {
        steps.push(Step::Empty("/etc/kubernetes/tmp".into()));
    }
    if let Some(folder) = options.certificates_dir.clone().filter(|folder| folder.is_absolute()) {
        steps.push(Step::Empty(folder));
    }
    let how = unmount_arguments(&options.unmount_flags)?;
    let mut failures = 0;
    let begin = Instant::now();
    reporter.begin("reset");
    for step in steps {
        reporter.progress("reset", &words(&step));
        if let Err(error) = take(host, &step, &socket, &how, reporter).await {
            failures += 1;
            reporter.warn(&format!("{}: {}", words(&step), describe(&error)));
        }
    }
    // Last, so that an interrupted reset can be run again.
    if failures == 0 {
        host.remove_tree(Path::new(STATE_DIR))?;
        reporter.end("reset", &Outcome::Changed, begin.elapsed());
    } else {
        reporter.failed("reset");
    }
    Ok(failures)
}

fn words(step: &Step) -> String {
    match step {
        Step::StopKubelet => "stops the kubelet".into(),
        Step::StopUnit(name) => format!("stops {name}"),
        Step::RemovePods => "removes all pods".into(),
        Step::Unmount(path) => format!("unmounts what is below {}", path.display()),
        Step::Network => "removes links, routes and firewall tables".into(),
        Step::Cgroups => "removes the cgroups of pods".into(),
        Step::Image(name) => format!("removes image {name}"),
        Step::File(path) | Step::Tree(path) | Step::FolderIfEmpty(path) => format!("removes {}", path.display()),
        Step::Empty(path) => format!("empties {}", path.display()),
        Step::Restore(path, _) => format!("restores {}", path.display()),
        Step::Sysctl(path, _) => format!("restores {}", path.display()),
        Step::Unit(name) => format!("forgets unit {name}"),
        Step::RestartRuntime => "restarts the container runtime".into(),
    }
}

async fn take(
    host: &dyn Host,
    step: &Step,
    socket: &Path,
    how: &[&str],
    reporter: &dyn Reporter,
) -> anyhow::Result<()> {
    match step {
        Step::StopKubelet => kubelet::stop(host).await?,
        Step::StopUnit(name) => {
            if host::has_systemd(host) {
                host.run(Command::new("systemctl", &["disable", "--now", "--quiet", name])).await?;
            }
        }
        Step::RemovePods => remove_pods(host, socket, reporter).await?,
        Step::Unmount(folder) => unmount(host, folder, how).await?,
        Step::Network => network(host).await?,
        Step::Cgroups => {
            if host.is_real() {
                remove_cgroups();
            }
        }
        Step::Image(name) => {
            if host.is_real() && socket.exists() && crio::is_crio(socket) {
                crio::remove(name).await?;
            } else if host.is_real() && socket.exists() {
                Containerd::connect(socket).await?.remove(name).await?;
            }
        }
        Step::File(path) => {
            host.remove(path)?;
        }
        Step::Tree(path) => {
            host.remove_tree(path)?;
        }
        Step::Empty(path) => {
            for name in host.list(path)? {
                let inner = path.join(&name);
                if inner.is_dir() && !inner.is_symlink() {
                    host.remove_tree(&inner)?
                } else {
                    host.remove(&inner)?
                };
            }
        }
        Step::FolderIfEmpty(path) => {
            if host.is_real() && host.list(path)?.is_empty() {
                // Somebody may have put something there just now; then it stays.
                let _ = std::fs::remove_dir(path);
            }
        }
        Step::Restore(path, copy) => match copy {
            None => {
                host.remove(path)?;
            }
            Some(copy) => {
                if let Some(contents) = host.read(copy)? {
                    host.write(path, &contents, 0o644)?;
                }
            }
        },
        Step::Sysctl(path, before) => {
            let name = path.strip_prefix("/proc/sys").unwrap_or(path).display().to_string().replace('/', ".");
            // A setting that went away with its module has nothing to restore.
            host.run(Command::new("sysctl", &["-qw", &format!("{name}={before}")])).await?;
        }
        Step::Unit(name) => {
            if host::has_systemd(host) {
                host::run(host, Command::new("systemctl", &["daemon-reload"])).await?;
                host.run(Command::new("systemctl", &["reset-failed", "--quiet", name])).await?;
            }
        }
        Step::RestartRuntime => {
            if host::has_systemd(host) {
                containerd::restart_unit(host, "containerd.service").await?;
            }
        }
    }
    Ok(())
}

/// Removes pods until none are left: those that were being made when the kubelet stopped show up late.
async fn remove_pods(host: &dyn Host, socket: &Path, reporter: &dyn Reporter) -> anyhow::Result<()> {
    if !host.is_real() {
        return Ok(());
    }
    let runtime = match Sandboxes::connect(socket).await {
        Ok(runtime) => runtime,
        Err(error) => {
            reporter.warn(&format!("pods are left as they are: {error}"));
            return Ok(());
        }
    };
    until(Duration::from_secs(60), || async {
        match runtime.remove_all().await {
            Ok(0) => Ok(()),
            Ok(count) => Err(format!("{count} pods were there")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("{last}"))
}

async fn unmount(host: &dyn Host, folder: &Path, how: &[&str]) -> anyhow::Result<()> {
    let table = host.read(Path::new("/proc/self/mountinfo"))?.unwrap_or_default();
    for path in mounts_below(&String::from_utf8_lossy(&table), folder) {
        host::run(host, Command::new("umount", &[how, &[path.as_str()]].concat())).await?;
    }
    Ok(())
}

/// Mount points below `folder`, the innermost first; the folder itself may be a disk of its own and stays.
fn mounts_below(mountinfo: &str, folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| path.replace("\\040", " "))
        .filter(|path| Path::new(path).starts_with(folder) && Path::new(path) != folder)
        .collect();
    all.sort_by_key(|path| std::cmp::Reverse(path.len()));
    all
}

async fn network(host: &dyn Host) -> anyhow::Result<()> {
    for link in LINKS {
        // One that is not there is gone.
        host.run(Command::new("ip", &["link", "delete", link])).await?;
    }
    for family in ["-4", "-6"] {
        host.run(Command::new("ip", &[family, "route", "flush", "proto", ROUTE_PROTOCOL])).await?;
    }
    let Ok(tables) = host.run(Command::new("nft", &["list", "tables"])).await else { return Ok(()) };
    for (family, name) in our_tables(&tables.stdout) {
        host::run(host, Command::new("nft", &["delete", "table", &family, &name])).await?;
    }
    Ok(())
}

/// Removes `kubepods` from every hierarchy. What still has processes, which no step left any, cannot be removed.
fn remove_cgroups() {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        for name in ["kubepods", "kubepods.slice"] {
            remove_cgroup(&hierarchy.join(name));
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // Its files go with it; one that is in use or was never there stays as it is.
    let _ = std::fs::remove_dir(path);
}

fn our_tables(listing: &str) -> Vec<(String, String)> {
    let tables = listing.lines().filter_map(|line| line.trim().strip_prefix("table ")?.split_once(' '));
    tables
        .filter(|(_, name)| TABLE_NAMES.contains(name))
        .map(|(family, name)| (family.to_owned(), name.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_unmounted_as_the_user_says() {
        let how =
            |flags: &[&str]| unmount_arguments(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>()).ok();
        assert_eq!(how(&[]), Some(vec!["-l"]));
        assert_eq!(how(&["MNT_FORCE", "MNT_DETACH"]), Some(vec!["-f", "-l"]));
        assert_eq!(how(&["UMOUNT_NOFOLLOW"]), Some(vec![]));
        assert_eq!(how(&["MNT_NONSENSE"]), None);
    }

    #[test]
    fn the_plan_takes_what_was_made_and_gives_back_what_was_changed() {
        let entries = [
            Entry::Begun { command: "init".into() },
            Entry::Folder { path: "/etc/sysctl.d".into() },
            Entry::File { path: "/etc/sysctl.d/99-kinit.conf".into() },
            Entry::Folder { path: "/var/lib/kinit/preserved".into() },
            Entry::Change {
                path: "/etc/containerd/config.toml".into(),
                copy: Some("/var/lib/kinit/preserved/x".into()),
            },
            Entry::Folder { path: "/etc/kubernetes".into() },
            Entry::Folder { path: "/etc/kubernetes/pki".into() },
            Entry::Image { name: "kinit.local/etcd:v1".into() },
            Entry::Unit { name: "kubelet.service".into() },
            Entry::Sysctl { path: "/proc/sys/net/ipv4/ip_forward".into(), before: "0".into() },
        ];
        let steps = plan(&entries);
        let at =
            |step: &Step| steps.iter().position(|other| other == step).unwrap_or_else(|| panic!("{step:?} is missing"));
        assert_eq!(at(&Step::StopKubelet), 0);
        assert!(at(&Step::RemovePods) < at(&Step::Image("kinit.local/etcd:v1".into())));
        assert!(
            at(&Step::File("/etc/sysctl.d/99-kinit.conf".into())) < at(&Step::FolderIfEmpty("/etc/sysctl.d".into()))
        );
        assert!(at(&Step::Tree("/etc/kubernetes/pki".into())) < at(&Step::Tree("/etc/kubernetes".into())));
        assert_eq!(steps.last(), Some(&Step::RestartRuntime));
        // A folder that others made is emptied, one of ours goes whole.
        at(&Step::Empty("/var/lib/etcd".into()));
        assert!(!steps.contains(&Step::Empty("/etc/kubernetes/pki".into())));
    }

    #[test]
    fn without_a_record_nothing_of_others_is_touched() {
        for step in plan(&[]) {
            match step {
                Step::Tree(path) | Step::FolderIfEmpty(path) => panic!("{} would go", path.display()),
                Step::Restore(..) | Step::Sysctl(..) | Step::Image(_) | Step::RestartRuntime => panic!("{step:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn inner_mounts_come_first_and_the_folder_stays() {
        let table = "1 2 0:1 / /var/lib/kubelet rw - ext4 x rw\n2 2 0:2 / /var/lib/kubelet/pods/a rw - tmpfs t rw\n\
                     3 2 0:3 / /var/lib/kubelet/pods/a/b\\040c rw - tmpfs t rw\n4 2 0:3 / /var/lib/kubelet2 rw - tmpfs t rw\n";
        assert_eq!(
            mounts_below(table, Path::new("/var/lib/kubelet")),
            ["/var/lib/kubelet/pods/a/b c", "/var/lib/kubelet/pods/a"]
        );
    }

    #[test]
    fn only_our_tables_are_found() {
        let listing = "table ip kube-proxy\ntable ip6 kube-proxy\ntable inet filter\ntable ip kinit-network\n";
        let names: Vec<String> =
            our_tables(listing).into_iter().map(|(family, name)| format!("{family} {name}")).collect();
        assert_eq!(names, ["ip kube-proxy", "ip6 kube-proxy", "ip kinit-network"]);
    }
}
