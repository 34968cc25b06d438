//! Volumes: a pod goes where those that it has can be used, and where those that wait for it can be had.

use super::{Plugin, Verdict};
use crate::node::{NodeFacts, NodeInfo};
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;
use crate::volumes::{Claim, Storage, Volume};

/// What is done for a claim before its pod is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A volume is held for it.
    Hold {
        /// The claim.
        claim: String,
        /// Which of those that had its name it is.
        uid: String,
        /// The volume.
        volume: String,
    },
    /// Its volume is made for the pod's node.
    Provision {
        /// The claim.
        claim: String,
    },
}

struct VolumeBinding<'a> {
    pod: &'a PodInfo,
    storage: &'a Storage,
}

pub(super) fn build<'a>(pod: &'a PodInfo, snapshot: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let silent = pod.claims.is_empty();
    (!silent).then(|| Box::new(VolumeBinding { pod, storage: &snapshot.storage }) as Box<dyn Plugin + 'a>)
}

const CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const NONE_LEFT: &str = "node(s) didn't find available persistent volumes to bind";
const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";

/// What is to be done for a pod's claims if it goes to a node; the error says why it cannot. Pure.
pub fn plan(pod: &PodInfo, storage: &Storage, node: &NodeFacts) -> Result<Vec<Step>, Verdict> {
    let mut steps = Vec::new();
    let mut taken: Vec<&str> = Vec::new();
    for key in &pod.claims {
        let Some(claim) = storage.claims.get(key) else {
            let name = key.split_once('/').map_or(key.as_str(), |(_, name)| name);
            return Err(Verdict::NeverFor(vec![format!("persistentvolumeclaim {name:?} not found").into()]));
        };
        if claim.bound {
            match claim.volume.as_ref().and_then(|name| storage.volumes.get(name)) {
                Some(volume) if volume.reaches(node) => continue,
                Some(_) => return Err(Verdict::Never(CONFLICT)),
                None => {
                    return Err(Verdict::Never(
                        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
                    ));
                }
            }
        }
        let class = storage.classes.get(&claim.class).cloned().unwrap_or_default();
        if !class.waits {
            return Err(Verdict::Never(UNBOUND));
        }
        if claim.selected.as_ref().is_some_and(|selected| *selected != node.name) {
            return Err(Verdict::Never(NONE_LEFT));
        }
        match free(storage, key, claim, node, &taken) {
            Some((name, _)) if claim.selected.is_none() => {
                taken.push(name);
                steps.push(Step::Hold { claim: key.clone(), uid: claim.uid.clone(), volume: name.to_owned() });
            }
            _ if class.provisions => steps.push(Step::Provision { claim: key.clone() }),
            _ => return Err(Verdict::Never(NONE_LEFT)),
        }
    }
    Ok(steps)
}

/// The smallest free volume that suits a claim and can be used from a node; one that is held for it comes first.
fn free<'a>(
    storage: &'a Storage,
    key: &str,
    claim: &Claim,
    node: &NodeFacts,
    taken: &[&str],
) -> Option<(&'a str, &'a Volume)> {
    let all = storage.volumes.iter().map(|(name, volume)| (name.as_str(), volume));
    all.filter(|(name, volume)| !taken.contains(name) && volume.suits(key, claim) && volume.reaches(node))
        .min_by_key(|(_, volume)| (volume.held.is_none(), volume.size()))
}

impl Plugin for VolumeBinding<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        plan(self.pod, self.storage, &node.facts).err().unwrap_or(Verdict::Fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use crate::volumes::{Class, News};
    use serde_json::{Value, json};

    fn storage() -> Storage {
        let mut storage = Storage::default();
        let class = |mode: &str, provisioner: &str| {
            let class = json!({"metadata": {}, "provisioner": provisioner, "volumeBindingMode": mode});
            Class::of(serde_json::from_value(class).unwrap())
        };
        for (name, mode, provisioner) in [
            ("now", "Immediate", "x"),
            ("later", "WaitForFirstConsumer", "x"),
            ("local", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
        ] {
            storage.apply(News::Class(name.into(), Some(class(mode, provisioner))));
        }
        let volume = |class: &str, size: &str, node: &str| {
            let terms =
                json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
            let volume = json!({"metadata": {}, "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": size}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
            Some(Box::new(Volume::of(serde_json::from_value(volume).unwrap())))
        };
        storage.apply(News::Volume("small".into(), volume("local", "1Gi", "w1")));
        storage.apply(News::Volume("large".into(), volume("local", "9Gi", "w1")));
        storage.apply(News::Volume("other".into(), volume("local", "9Gi", "w2")));
        for (name, class, annotations, volume) in [
            ("bound", "local", json!({"pv.kubernetes.io/bind-completed": "yes"}), "large"),
            ("now", "now", json!({}), ""),
            ("later", "later", json!({}), ""),
            ("chosen", "later", json!({"volume.kubernetes.io/selected-node": "w2"}), ""),
            ("one", "local", json!({}), ""),
            ("two", "local", json!({}), ""),
        ] {
            let claim: Value = json!({"metadata": {"annotations": annotations, "uid": name}, "spec": {
                "storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}});
            let claim = Claim::of(serde_json::from_value(claim).unwrap());
            storage.apply(News::Claim(format!("default/{name}"), Some(Box::new(claim))));
        }
        storage
    }

    #[test]
    fn a_pod_goes_where_its_volumes_are_or_can_be() {
        let storage = storage();
        let made = |claims: &str, at: &str| {
            let claims = claims.split(' ').map(|name| format!("default/{name}")).collect();
            let pod = PodInfo { claims, ..pod("p") };
            let steps = plan(&pod, &storage, &node(at, json!({}), &[]));
            match steps {
                Err(Verdict::Never(reason)) => reason.to_owned(),
                Err(_) => "other".into(),
                Ok(steps) => steps
                    .into_iter()
                    .map(|step| match step {
                        Step::Hold { volume, .. } => volume,
                        Step::Provision { claim } => format!("make {claim}"),
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        };
        for (claims, at, wanted) in [
            ("bound", "w1", ""),
            ("bound", "w2", CONFLICT),
            ("now", "w1", UNBOUND),
            ("later", "w1", "make default/later"),
            ("chosen", "w1", NONE_LEFT),
            ("chosen", "w2", "make default/chosen"),
            ("one two", "w1", "small, large"),
            ("one two", "w2", NONE_LEFT),
            ("one bound", "w1", "small"),
            ("none", "w1", "other"),
        ] {
            assert_eq!(made(claims, at), wanted, "{claims} at {at}");
        }
    }
}
