//! What CRI-O's configuration must say for pods to run here: a file of kinit's own beside the others.

use std::path::Path;

use super::containerd::{cgroup_driver, forget_pending, is_pending, note_pending, restart_unit};
use super::{Outcome, Result};
use crate::host::{self, Change, Host};

const FILE: &str = "/etc/crio/crio.conf.d/10-kinit.conf";

/// The text of the file.
fn text(driver: &str, pause_image: &str) -> String {
    // With systemd, CRI-O's monitors have a slice of their own.
    let monitors = if driver == "systemd" { "system.slice" } else { "pod" };
    format!(
        "[crio.runtime]\ncgroup_manager = \"{driver}\"\nconmon_cgroup = \"{monitors}\"\n\n[crio.image]\npause_image = \"{pause_image}\"\n"
    )
}

/// Writes the file, and restarts CRI-O if it was another before.
pub async fn mend(host: &dyn Host, pause_image: &str) -> Result {
    let text = text(cgroup_driver(host), pause_image);
    if host.read(Path::new(FILE))?.as_deref() != Some(text.as_bytes()) {
        note_pending(host)?;
    }
    if host.write(Path::new(FILE), text.as_bytes(), 0o644)? == Change::Unchanged && !is_pending(host)? {
        return Ok(Outcome::Unchanged);
    }
    if !host::has_systemd(host) {
        anyhow::bail!(
            "{FILE} was changed, but systemd does not run here to restart CRI-O\nhint: restart CRI-O and run this again\ncode: RuntimeRestart"
        );
    }
    restart_unit(host, "crio.service").await?;
    forget_pending(host)?;
    Ok(Outcome::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Effect, MemoryHost};

    #[tokio::test]
    async fn the_file_is_written_once_and_the_runtime_restarted_for_it() {
        let host = MemoryHost::empty().unwrap();
        host.write(Path::new("/proc/1/comm"), b"systemd\n", 0o444).unwrap();
        host.write(Path::new("/sys/fs/cgroup/cgroup.controllers"), b"cpu memory\n", 0o444).unwrap();
        assert_eq!(mend(&host, "kinit.local/pause:v1").await.unwrap(), Outcome::Changed);
        assert_eq!(mend(&host, "kinit.local/pause:v1").await.unwrap(), Outcome::Unchanged);
        let text = String::from_utf8(host.read(Path::new(FILE)).unwrap().unwrap()).unwrap();
        for line in [
            "cgroup_manager = \"systemd\"",
            "conmon_cgroup = \"system.slice\"",
            "pause_image = \"kinit.local/pause:v1\"",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let runs = host.effects().into_iter().filter(|effect| matches!(effect, Effect::Run(_))).count();
        assert_eq!(runs, 1);
    }
}
