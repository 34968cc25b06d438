//! Volumes that a claim stands for: those whose files are on this host, and those that a driver mounts.

use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;

use super::csi::Wanted;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod::facts;

/// What a claim's volume is.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// A file or folder of this host.
    HostPath(HostPathVolumeSource),
    /// What a driver mounts.
    Csi(Box<Wanted>),
}

/// The name of the claim that a volume of a pod stands for.
pub fn name(pod: &Pod, volume: &Volume) -> Option<String> {
    if volume.ephemeral.is_some() {
        return Some(format!("{}-{}", facts::name(pod), volume.name));
    }
    volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone())
}

/// Looks a claim's volume up; it has to be bound.
pub async fn find(context: &Context, pod: &Pod, volume: &Volume, claim: &str) -> Result<Found> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client()?, facts::namespace(pod));
    let found = claims.get_opt(claim).await?;
    let found =
        found.ok_or_else(|| Error::volume(&volume.name, format!("persistentvolumeclaim {claim:?} not found")))?;
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let name = found.spec.and_then(|spec| spec.volume_name).filter(|name| bound && !name.is_empty());
    let name =
        name.ok_or_else(|| Error::volume(&volume.name, format!("persistentvolumeclaim {claim:?} is not bound")))?;
    let volumes: Api<PersistentVolume> = Api::all(context.client()?);
    let persistent = volumes.get_opt(&name).await?;
    let persistent =
        persistent.ok_or_else(|| Error::volume(&volume.name, format!("persistentvolume {name:?} not found")))?;
    source(&persistent).map_err(|reason| Error::volume(&volume.name, reason))
}

/// Where the files of a persistent volume are. Pure.
fn source(volume: &PersistentVolume) -> Result<Found, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    if let Some(path) = spec.host_path {
        return Ok(Found::HostPath(path));
    }
    if let Some(local) = spec.local {
        return Ok(Found::HostPath(HostPathVolumeSource { path: local.path, type_: Some(String::new()) }));
    }
    if let Some(wanted) = Wanted::persistent(volume)? {
        return Ok(Found::Csi(Box::new(wanted)));
    }
    Err(format!("persistentvolume {name:?} is of a kind that is not there yet; hostPath, local and csi are"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_of_this_host_are_found() {
        let volume = |spec: serde_json::Value| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap()
        };
        let Ok(Found::HostPath(found)) = source(&volume(json!({"local": {"path": "/data"}}))) else {
            panic!("no path")
        };
        assert_eq!(found.path, "/data");
        assert!(source(&volume(json!({"hostPath": {"path": "/x"}}))).is_ok());
        let csi = source(&volume(json!({"csi": {"driver": "d", "volumeHandle": "h"}})));
        assert!(matches!(csi, Ok(Found::Csi(_))));
        assert!(source(&volume(json!({"nfs": {"path": "/x", "server": "s"}}))).is_err());
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let named = |value| name(&pod, &serde_json::from_value::<Volume>(value).unwrap());
        assert_eq!(named(json!({"name": "a", "ephemeral": {}})).as_deref(), Some("p-a"));
        assert_eq!(named(json!({"name": "a", "persistentVolumeClaim": {"claimName": "c"}})).as_deref(), Some("c"));
        assert_eq!(named(json!({"name": "a", "emptyDir": {}})), None);
    }
}
