//! Phase `container-runtime`: what containerd's configuration must say for pods to run here, and mending it.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::init::InitContext;
use super::wait::until;
use super::{Outcome, Phase, Result};
use crate::config::NodeSettings;
use crate::host::{self, Change, Command, Host};

/// Is there while the runtime has not read yet what its file says.
const PENDING: &str = "/var/lib/kinit/runtime-restart";
const CONFIG: &str = "/etc/containerd/config.toml";
/// CAP_SYS_RESOURCE in the mask of a process' capabilities.
const CAP_SYS_RESOURCE: u32 = 24;
const DEBIAN_CNI_BIN: &str = "/usr/lib/cni";

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("container-runtime", "mends containerd's configuration where pods could not run with it", |context| {
        async move {
            let pause = context.settings.cluster.image("pause");
            mend(context.host.as_ref(), &context.settings.node, &pause).await
        }
        .boxed()
    });

/// What the host wants containerd's configuration to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Image of the container that holds a pod's namespaces.
    pub pause_image: String,
    /// Whether cgroups are made through systemd.
    pub systemd_cgroup: bool,
    /// Whether a process may not be given a lower OOM score than containerd's own.
    pub restrict_oom_score: bool,
    /// Folder of CNI plugins, where it is not containerd's default.
    pub cni_bin_dir: Option<String>,
}

impl Wanted {
    /// Reads it off the host.
    pub fn of(host: &dyn Host, pause_image: &str) -> Self {
        let is_there = |path: &str| matches!(host.read(Path::new(path)), Ok(Some(_)));
        Self {
            pause_image: pause_image.to_owned(),
            systemd_cgroup: cgroup_driver(host) == "systemd",
            restrict_oom_score: !has_capability(host, CAP_SYS_RESOURCE),
            cni_bin_dir: (is_there("/usr/lib/cni/bridge") && !is_there("/opt/cni/bin/bridge"))
                .then(|| DEBIAN_CNI_BIN.to_owned()),
        }
    }
}

/// `systemd` where systemd runs the host and cgroups are of version 2, else `cgroupfs`.
pub fn cgroup_driver(host: &dyn Host) -> &'static str {
    let unified = matches!(host.read(Path::new("/sys/fs/cgroup/cgroup.controllers")), Ok(Some(_)));
    if unified && host::has_systemd(host) { "systemd" } else { "cgroupfs" }
}

fn has_capability(host: &dyn Host, bit: u32) -> bool {
    let Ok(Some(status)) = host.read(Path::new("/proc/self/status")) else { return true };
    let text = String::from_utf8_lossy(&status).into_owned();
    let mask = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask >> bit & 1 == 1)
}

/// Mends the configuration and restarts containerd if it had to be changed.
pub async fn mend(host: &dyn Host, node: &NodeSettings, pause_image: &str) -> Result {
    if crate::images::crio::is_crio(node.cri_path()) {
        return super::crio::mend(host, pause_image).await;
    }
    if !node.cri_socket.contains("containerd") {
        return Ok(Outcome::Skipped(format!("{} is not containerd's socket", node.cri_socket)));
    }
    let path = Path::new(CONFIG);
    let present = host.read(path)?;
    let text = String::from_utf8_lossy(present.as_deref().unwrap_or_default()).into_owned();
    let wanted = Wanted::of(host, pause_image);
    match mended(&text, &wanted).map_err(|reason| anyhow::anyhow!("{CONFIG}: {reason}"))? {
        None if !is_pending(host)? => return Ok(Outcome::Unchanged),
        None => {}
        Some(mended) => {
            note_pending(host)?;
            host.preserve(path)?;
            host.write(path, mended.as_bytes(), 0o644)?;
        }
    }
    restart(host, node).await?;
    forget_pending(host)?;
    Ok(Outcome::Changed)
}

/// Says on disk that the runtime has to be restarted, before it is told anything new: who is stopped in between leaves a
/// file that is right and a runtime that has not read it. Without systemd somebody else restarts it, unseen.
pub fn note_pending(host: &dyn Host) -> std::result::Result<(), host::Error> {
    if host.is_real() && host::has_systemd(host) {
        host.write(Path::new(PENDING), b"", 0o600)?;
    }
    Ok(())
}

/// Whether a run before was stopped before it restarted the runtime.
pub fn is_pending(host: &dyn Host) -> std::result::Result<bool, host::Error> {
    Ok(host.read(Path::new(PENDING))?.is_some())
}

/// The runtime was restarted.
pub fn forget_pending(host: &dyn Host) -> std::result::Result<(), host::Error> {
    if host.is_real() {
        host.remove(Path::new(PENDING))?;
    }
    Ok(())
}

/// Restarts a runtime, though it was restarted again and again just now, which systemd refuses otherwise.
pub async fn restart_unit(host: &dyn Host, unit: &str) -> anyhow::Result<()> {
    if host.is_real() {
        host.run(Command::new("systemctl", &["reset-failed", "--quiet", unit])).await?;
    }
    host::run(host, Command::new("systemctl", &["restart", unit])).await?;
    Ok(())
}

/// Restarts containerd and waits until it answers.
pub async fn restart(host: &dyn Host, node: &NodeSettings) -> anyhow::Result<()> {
    if host.is_real() && !host::has_systemd(host) {
        anyhow::bail!(
            "{CONFIG} was changed, but systemd does not run here to restart containerd\nhint: restart containerd and run this again\ncode: RuntimeRestart"
        );
    }
    restart_unit(host, "containerd.service").await?;
    if !host.is_real() {
        return Ok(());
    }
    let socket = node.cri_path();
    until(Duration::from_secs(30), || async {
        kinit_cri::containerd::Containerd::connect(socket).await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
    .map_err(|last| anyhow::anyhow!("containerd did not come back after its restart: {last}\ncode: RuntimeRestart"))
}

/// The configuration with what is wanted in it; `None` when it has all already. What else it says stays as it is.
pub fn mended(text: &str, wanted: &Wanted) -> std::result::Result<Option<String>, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    if document.get("version").is_none() {
        if !document.is_empty() && document.get("plugins").is_some() {
            return Err("it is of version 1, which is not supported; see `containerd config migrate`".into());
        }
        document.insert("version", toml_edit::value(2));
    }
    let version = document.get("version").and_then(Item::as_integer).unwrap_or(0);
    // Since version 3 the images and the runtime half are plugins of their own.
    let (runtime, images) = match version {
        2 => ("io.containerd.grpc.v1.cri", None),
        3 => ("io.containerd.cri.v1.runtime", Some("io.containerd.cri.v1.images")),
        other => return Err(format!("its version is {other}; 2 and 3 are supported")),
    };
    let root = document.as_table_mut();
    if let Some(disabled) = root.get_mut("disabled_plugins").and_then(Item::as_array_mut) {
        retain(disabled, |name| {
            name != "cri" && Some(name) != images && name != runtime && name != "io.containerd.grpc.v1.cri"
        });
    }
    match images {
        None => set(root, &["plugins", runtime], "sandbox_image", wanted.pause_image.as_str().into())?,
        Some(images) => {
            set(root, &["plugins", images, "pinned_images"], "sandbox", wanted.pause_image.as_str().into())?
        }
    }
    let restrict = bool_at(root, &["plugins", runtime, "restrict_oom_score_adj"]).unwrap_or(false);
    if wanted.restrict_oom_score && !restrict {
        set(root, &["plugins", runtime], "restrict_oom_score_adj", true.into())?;
    }
    let runc = ["plugins", runtime, "containerd", "runtimes", "runc"];
    let options = [&runc[..], &["options"]].concat();
    let systemd = bool_at(root, &[&options[..], &["SystemdCgroup"]].concat()).unwrap_or(false);
    if wanted.systemd_cgroup != systemd {
        if at(root, &[&runc[..], &["runtime_type"]].concat()).is_none() {
            set(root, &runc, "runtime_type", "io.containerd.runc.v2".into())?;
        }
        set(root, &options, "SystemdCgroup", wanted.systemd_cgroup.into())?;
    }
    let cni = ["plugins", runtime, "cni"];
    if let Some(folder) = &wanted.cni_bin_dir
        && at(root, &["plugins", runtime, "cni", "bin_dirs"]).is_none()
    {
        set(root, &cni, "bin_dir", folder.as_str().into())?;
    }
    let result = document.to_string();
    Ok((result != text).then_some(result))
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Item> {
    let (first, rest) = path.split_first()?;
    let item = table.get(first)?;
    if rest.is_empty() { Some(item) } else { at(item.as_table()?, rest) }
}

fn bool_at(table: &Table, path: &[&str]) -> Option<bool> {
    at(table, path).and_then(Item::as_bool)
}

/// Sets `key` in the table at `path`, making tables on the way; leaves an equal value alone.
fn set(table: &mut Table, path: &[&str], key: &str, value: Value) -> std::result::Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        let same = table
            .get(key)
            .and_then(Item::as_value)
            .is_some_and(|present| present.as_str() == value.as_str() && present.as_bool() == value.as_bool());
        if !same {
            table.insert(key, Item::Value(value));
        }
        return Ok(());
    };
    let next = table.entry(first).or_insert_with(|| {
        let mut made = Table::new();
        made.set_implicit(!rest.is_empty());
        Item::Table(made)
    });
    let next = next.as_table_mut().ok_or_else(|| format!("{first} is not a table of its own lines"))?;
    set(next, rest, key, value)
}

fn retain(array: &mut Array, keep: impl Fn(&str) -> bool) {
    array.retain(|value| value.as_str().is_none_or(&keep));
}

/// Whether mending changed anything, for what runs it outside a phase.
pub fn changed(outcome: &Outcome) -> Change {
    if *outcome == Outcome::Changed { Change::Changed } else { Change::Unchanged }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n      conf_dir = \"/etc/cni/net.d\"\n  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/var/lib/containerd\"\n";

    fn wanted(systemd_cgroup: bool) -> Wanted {
        Wanted {
            pause_image: "kinit.local/pause:v1".into(),
            systemd_cgroup,
            restrict_oom_score: true,
            cni_bin_dir: Some("/usr/lib/cni".into()),
        }
    }

    #[test]
    fn mending_keeps_the_rest_and_is_done_once() {
        for text in ["", DEBIAN, "version = 3\n", "disabled_plugins = [\"cri\", \"aufs\"]\n"] {
            for systemd in [false, true] {
                let result = mended(text, &wanted(systemd)).unwrap().unwrap();
                assert_eq!(mended(&result, &wanted(systemd)).unwrap(), None, "{result}");
                let parsed: DocumentMut = result.parse().unwrap();
                let cri = if text.contains('3') { "io.containerd.cri.v1.runtime" } else { "io.containerd.grpc.v1.cri" };
                let plugin = &parsed["plugins"][cri];
                assert_eq!(plugin["restrict_oom_score_adj"].as_bool(), Some(true));
                assert_eq!(plugin["cni"]["bin_dir"].as_str(), Some("/usr/lib/cni"));
                if systemd {
                    let runc = &plugin["containerd"]["runtimes"]["runc"];
                    assert_eq!(runc["options"]["SystemdCgroup"].as_bool(), Some(true));
                    assert_eq!(runc["runtime_type"].as_str(), Some("io.containerd.runc.v2"));
                }
                if text == DEBIAN {
                    assert!(result.contains("path = \"/var/lib/containerd\""));
                }
                if text.contains("aufs") {
                    assert_eq!(parsed["disabled_plugins"].as_array().unwrap().len(), 1);
                }
            }
        }
    }

    #[test]
    fn a_driver_is_changed_back() {
        let systemd = mended(DEBIAN, &wanted(true)).unwrap().unwrap();
        let back = mended(&systemd, &wanted(false)).unwrap().unwrap();
        assert!(back.contains("SystemdCgroup = false"));
    }

    #[test]
    fn what_cannot_be_mended_is_refused() {
        for bad in ["[", "version = 9\n", "[plugins.cri]\nx = 1\n", "version = 2\nplugins = 3\n"] {
            assert!(mended(bad, &wanted(false)).is_err(), "{bad}");
        }
    }
}
