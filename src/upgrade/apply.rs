//! Replacing the static pods of a control plane, one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::{self, Api};
use crate::host::Host;
use crate::phase::control_plane::{BUILD, MANIFESTS_DIR, STATIC_PODS};
use crate::phase::init::InitContext;
use crate::phase::wait::until;
use crate::phase::{Outcome, control_plane};
use crate::report::{Reporter, describe};

/// Where manifests are kept before they are replaced.
const BACKUPS: &str = "/etc/kubernetes/tmp";

/// A static pod that differs from what this build would write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Its name.
    pub name: &'static str,
    /// Its manifest now.
    pub before: String,
    /// Its manifest then.
    pub after: String,
}

impl Replacement {
    /// Where the manifest is.
    pub fn path(&self) -> PathBuf {
        Path::new(MANIFESTS_DIR).join(format!("{}.yaml", self.name))
    }
}

/// The static pods of this host that are to be replaced, in the order that is safe: those served before those that ask.
pub fn replacements(context: &InitContext, with_etcd: bool) -> anyhow::Result<Vec<Replacement>> {
    let mut all = Vec::new();
    for name in STATIC_PODS {
        if *name == "etcd" && (!with_etcd || context.settings.cluster.external_etcd.is_some()) {
            continue;
        }
        let path = Path::new(MANIFESTS_DIR).join(format!("{name}.yaml"));
        let Some(before) = context.host.read(&path)? else {
            anyhow::bail!("{} is not there\nhint: run this on a control plane\ncode: NotControlPlane", path.display());
        };
        let before = String::from_utf8_lossy(&before).into_owned();
        let start = if *name == "etcd" { control_plane::start_of(&before)? } else { control_plane::EtcdStart::New };
        let after = control_plane::render(context, name, &start)?;
        if before != after {
            all.push(Replacement { name, before, after });
        }
    }
    Ok(all)
}

/// Writes the new manifests one by one, each when the one before is ready; if one does not become ready all are taken back.
pub async fn replace(
    host: &dyn Host,
    api: &dyn Api,
    node: &str,
    all: &[Replacement],
    patience: Duration,
    reporter: &dyn Reporter,
) -> anyhow::Result<Outcome> {
    if all.is_empty() {
        return Ok(Outcome::Unchanged);
    }
    let folder =
        Path::new(BACKUPS).join(format!("kinit-backup-manifests-{}", Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S")));
    for one in all {
        host.write(&folder.join(format!("{}.yaml", one.name)), one.before.as_bytes(), 0o600)?;
    }
    reporter.info(&format!("[upgrade] the manifests before are kept in {}", folder.display()));
    for (index, one) in all.iter().enumerate() {
        reporter.progress("upgrade", &format!("replaces {}", one.name));
        host.write(&one.path(), one.after.as_bytes(), 0o600)?;
        if !host.is_real() {
            continue;
        }
        let Err(error) = wait(api, node, one.name, &build_of(&one.after), patience).await else {
            reporter.info(&format!("[upgrade] {} is replaced and ready", one.name));
            continue;
        };
        reporter.warn(&format!("{} did not become ready: {}", one.name, describe(&error)));
        // As in kubeadm, etcd goes back only if it failed itself: what the new one wrote may be more than the old one reads.
        let replaced: Vec<&Replacement> =
            all[..=index].iter().filter(|each| each.name != "etcd" || one.name == "etcd").collect();
        let back = take_back(host, api, node, &replaced, patience, reporter).await;
        let state = if back.is_ok() { "all runs again as before" } else { "not all runs as before either" };
        anyhow::bail!(
            "the new {} did not become ready within {}s; {state}\nhint: its logs are under /var/log/pods; the manifests before are in {}\ncode: UpgradeUnhealthy",
            one.name,
            patience.as_secs(),
            folder.display()
        );
    }
    Ok(Outcome::Changed)
}

/// Writes the manifests of before, those replaced last first, each when the one before it is ready.
async fn take_back(
    host: &dyn Host,
    api: &dyn Api,
    node: &str,
    replaced: &[&Replacement],
    patience: Duration,
    reporter: &dyn Reporter,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    for one in replaced.iter().rev() {
        reporter.info(&format!("[upgrade] {} is taken back", one.name));
        host.write(&one.path(), one.before.as_bytes(), 0o600)?;
        // One that does not come up keeps no other from going back.
        result = wait(api, node, one.name, &build_of(&one.before), patience).await.and(result);
    }
    result
}

/// The build that a manifest says it is of.
pub fn build_of(manifest: &str) -> Option<String> {
    let object: Value = serde_yaml::from_str(manifest).ok()?;
    Some(object.pointer("/metadata/annotations")?.get(BUILD)?.as_str()?.to_owned())
}

/// Waits until the mirror of a static pod is of this build and ready.
async fn wait(api: &dyn Api, node: &str, name: &str, build: &Option<String>, patience: Duration) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/kube-system/pods/{name}-{node}");
    until(patience, || async {
        match api::get(api, &path).await {
            Ok(Some(pod)) => settled(&pod, build.as_deref()),
            Ok(None) => Err("its pod is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("{last}"))
}

/// Whether a pod is of this build and ready, or what is missing.
fn settled(pod: &Value, build: Option<&str>) -> Result<(), String> {
    let found = pod.pointer("/metadata/annotations").and_then(|all| all.get(BUILD)).and_then(Value::as_str);
    if found != build {
        return Err("the kubelet has not taken the new manifest yet".into());
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
    if ready { Ok(()) } else { Err("its pod is not ready".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_settled_when_it_is_of_the_build_and_ready() {
        let pod = |build: &str, ready: &str| {
            json!({
                "metadata": {"annotations": {BUILD: build}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        assert!(settled(&pod("b", "True"), Some("b")).is_ok());
        assert!(settled(&pod("a", "True"), Some("b")).is_err());
        assert!(settled(&pod("b", "False"), Some("b")).is_err());
        let text = format!("metadata:\n  annotations:\n    {BUILD}: xyz\n");
        assert_eq!(build_of(&text).as_deref(), Some("xyz"));
        assert_eq!(build_of("metadata: {}\n"), None);
    }
}
