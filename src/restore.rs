//! Putting a snapshot in the place of etcd's data, and having snapshots saved by a timer.
//!
//! A restore that was interrupted is run again: what it moved aside is where it looks first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::agent::{self, snapshots::Schedule};
use crate::api::{Api, KubeApi, Verb};
use crate::host::{self, Change, Command, Host, record};
use crate::images::Binaries;
use crate::phase::control_plane::MANIFESTS_DIR;
use crate::phase::kubeconfig;
use crate::phase::wait::until;
use crate::report::Reporter;
use crate::templates;

/// The static pods that are down during a restore: the data's server, and the one client that caches all of it.
const STOPPED: &[&str] = &["kube-apiserver", "etcd"];
/// Where their manifests wait meanwhile.
const ASIDE: &str = "/etc/kubernetes/kinit-restore";
const PATIENCE: Duration = Duration::from_secs(240);
const SERVICE: &str = "/etc/systemd/system/kinit-etcd-snapshot.service";
const TIMER: &str = "/etc/systemd/system/kinit-etcd-snapshot.timer";
const TIMER_UNIT: &str = "kinit-etcd-snapshot.timer";

/// What etcd's own tool says of a snapshot.
pub async fn describe(host: &dyn Host, binaries: &Binaries, file: &Path) -> anyhow::Result<Value> {
    let etcd = binaries.find("etcd")?.display().to_string();
    let output = host::run(host, Command::new(&etcd, &["snapshot", "status", &file.display().to_string()])).await?;
    serde_json::from_str(&output.stdout).context("the answer of `etcd snapshot status` is not understood")
}

/// Replaces the data in `data_dir` by the snapshot. Static pods that use it are stopped meanwhile and started again.
pub async fn run(
    host: &dyn Host,
    binaries: &Binaries,
    file: &Path,
    data_dir: &Path,
    reporter: &dyn Reporter,
) -> anyhow::Result<()> {
    let etcd = binaries.find("etcd")?.display().to_string();
    let stopped = set_aside(STOPPED)?;
    if stopped {
        reporter.info("[restore] etcd and kube-apiserver are stopped");
        until(PATIENCE, || async {
            match tokio::net::TcpStream::connect("127.0.0.1:2379").await {
                Ok(_) => Err("something still serves on port 2379".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await
        .map_err(|last| {
            anyhow::anyhow!(
                "etcd does not stop: {last}\nhint: is the kubelet running? {ASIDE} holds the manifests; run this again\ncode: EtcdMember"
            )
        })?;
    }
    host.stage(data_dir)?;
    kinit_pki::files::create_private_dir(data_dir)?;
    // Inside the folder, which may be a disk of its own: renames cannot leave it.
    let fresh = data_dir.join(".restoring");
    host.remove_tree(&fresh)?;
    let (from, to) = (file.display().to_string(), fresh.display().to_string());
    host::run(host, Command::new(&etcd, &["snapshot", "restore", &from, "--data-dir", &to])).await?;
    let before = data_dir.join(format!("before-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    exchange(data_dir, &fresh, &before)?;
    reporter.info(&format!("[restore] {} holds what the snapshot held", data_dir.display()));
    if before.exists() {
        reporter
            .info(&format!("[restore] what was there before is in {}; remove it when all is well", before.display()));
    }
    if stopped {
        put_back(STOPPED)?;
        let api = KubeApi::from_file(kubeconfig::path("admin.conf"));
        until(PATIENCE, || async {
            api.call(Verb::Get, "/readyz", None).await.map(|_| ()).map_err(|error| error.to_string())
        })
        .await
        .map_err(|last| {
            anyhow::anyhow!(
                "the API server is not ready after the restore: {last}\nhint: `crictl ps -a` and /var/log/pods tell why\ncode: ApiNotReady"
            )
        })?;
        reporter.info("[restore] etcd and kube-apiserver are up again");
    }
    Ok(())
}

/// Moves the manifests away; says whether any is away now, of this run or of one before that was interrupted.
pub(crate) fn set_aside(names: &[&str]) -> anyhow::Result<bool> {
    let mut any = false;
    for name in names {
        let file = format!("{name}.yaml");
        let (from, to) = (Path::new(MANIFESTS_DIR).join(&file), Path::new(ASIDE).join(&file));
        if from.exists() {
            kinit_pki::files::create_private_dir(Path::new(ASIDE))?;
            std::fs::rename(&from, &to).with_context(|| from.display().to_string())?;
        }
        any |= to.exists();
    }
    Ok(any)
}

/// Moves them back to where the kubelet takes them from.
pub(crate) fn put_back(names: &[&str]) -> anyhow::Result<()> {
    for name in names.iter().rev() {
        let file = format!("{name}.yaml");
        let (from, to) = (Path::new(ASIDE).join(&file), Path::new(MANIFESTS_DIR).join(&file));
        if from.exists() {
            std::fs::rename(&from, &to).with_context(|| from.display().to_string())?;
        }
    }
    // Empty now; if somebody put something there it stays.
    let _ = std::fs::remove_dir(ASIDE);
    Ok(())
}

/// Moves what is in `folder` to `before` and what is in `fresh`, below it, to its place.
fn exchange(folder: &Path, fresh: &Path, before: &Path) -> anyhow::Result<()> {
    let entries = |path: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let read = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        read.map(|entry| Ok(entry?.path())).collect()
    };
    let kept = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name != ".restoring" && name != "lost+found" && !name.starts_with("before-")
    };
    let old: Vec<PathBuf> = entries(folder)?.into_iter().filter(kept).collect();
    if !old.is_empty() {
        kinit_pki::files::create_private_dir(before)?;
    }
    for (from, into) in old.iter().map(|path| (path, before)) {
        std::fs::rename(from, into.join(from.file_name().unwrap_or_default()))
            .with_context(|| from.display().to_string())?;
    }
    for from in entries(fresh)? {
        std::fs::rename(&from, folder.join(from.file_name().unwrap_or_default()))
            .with_context(|| from.display().to_string())?;
    }
    std::fs::remove_dir(fresh).with_context(|| fresh.display().to_string())
}

/// Has a systemd timer save a snapshot every so often.
pub async fn schedule(host: &dyn Host, every: Duration, keep: u32, folder: &Path) -> anyhow::Result<()> {
    if !host::has_systemd(host) {
        let schedule = Schedule { every_seconds: every.as_secs(), keep, folder: folder.to_owned() };
        return by_agent(host, Some(schedule)).await;
    }
    let kinit = std::env::current_exe()?;
    let every = format!("{}s", every.as_secs());
    let values = json!({"kinit": kinit, "folder": folder, "keep": keep, "every": every});
    let service = templates::render(templates::SNAPSHOT_SERVICE, &values)?;
    let timer = templates::render(templates::SNAPSHOT_TIMER, &values)?;
    host.note(record::Entry::Unit { name: TIMER_UNIT.into() })?;
    host.write(Path::new(SERVICE), service.as_bytes(), 0o644)?;
    host.write(Path::new(TIMER), timer.as_bytes(), 0o644)?;
    host::run(host, Command::new("systemctl", &["daemon-reload"])).await?;
    host::run(host, Command::new("systemctl", &["enable", "--quiet", TIMER_UNIT])).await?;
    host::run(host, Command::new("systemctl", &["restart", TIMER_UNIT])).await?;
    Ok(())
}

/// Has the agent save them, where systemd does not run. It runs inside the kubelet's supervisor, which is told to look.
async fn by_agent(host: &dyn Host, schedule: Option<Schedule>) -> anyhow::Result<()> {
    let path = Path::new(agent::CONFIG);
    let Some(text) = host.read(path)? else {
        anyhow::bail!(
            "{} is not there\nhint: run this on a control plane made by kinit\ncode: NotControlPlane",
            path.display()
        )
    };
    let mut config: agent::Config = serde_json::from_slice(&text)?;
    config.snapshots = schedule;
    if host.write(path, config.to_text()?.as_bytes(), 0o600)? == Change::Changed {
        crate::supervise::start(host).await?;
    }
    Ok(())
}

/// Has no timer save snapshots any more.
pub async fn unschedule(host: &dyn Host) -> anyhow::Result<()> {
    if !host::has_systemd(host) {
        return by_agent(host, None).await;
    }
    // A timer that is not there is off.
    host.run(Command::new("systemctl", &["disable", "--now", "--quiet", TIMER_UNIT])).await?;
    let change = host.remove(Path::new(SERVICE))?.or(host.remove(Path::new(TIMER))?);
    if change == Change::Changed {
        host::run(host, Command::new("systemctl", &["daemon-reload"])).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let (fresh, before) = (data.join(".restoring"), data.join("before-x"));
        std::fs::create_dir_all(data.join("member/wal")).unwrap();
        std::fs::create_dir_all(fresh.join("member")).unwrap();
        std::fs::write(fresh.join("member/new"), "new").unwrap();
        exchange(data, &fresh, &before).unwrap();
        assert!(data.join("member/new").exists() && !fresh.exists());
        assert!(before.join("member/wal").exists() && !data.join("member/wal").exists());
    }

    #[tokio::test]
    async fn the_timer_is_written_and_started() {
        let host = crate::host::MemoryHost::empty().unwrap();
        host.write(Path::new("/proc/1/comm"), b"systemd\n", 0o444).unwrap();
        schedule(&host, Duration::from_secs(3600), 5, Path::new("/var/backups/kinit")).await.unwrap();
        let written = host.written();
        let text = |path: &str| {
            let (_, text) = written.iter().find(|(name, _)| name == Path::new(path)).unwrap();
            String::from_utf8_lossy(text).into_owned()
        };
        assert!(text(SERVICE).contains("etcd snapshot save --dir /var/backups/kinit --keep 5"));
        assert!(text(TIMER).contains("OnUnitActiveSec=3600s"));
        unschedule(&host).await.unwrap();
        assert!(!host.written().iter().any(|(name, _)| name == Path::new(TIMER)));
    }
}
