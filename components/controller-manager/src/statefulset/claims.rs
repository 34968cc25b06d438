//! Who owns the claims of a StatefulSet's pods: by that they are deleted with the set, when it is scaled down, or never.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};

use super::{claim_name, plan};
use crate::context::{Actor, Caches};
use crate::pods;

/// Brings the owners of all claims of the set's pods to what its retention policy asks for.
pub async fn retain(caches: &Caches, actor: &Actor, set: &StatefulSet, own: &[Arc<Pod>]) -> Result<(), kube::Error> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    for pod in own {
        let Some(ordinal) = plan::ordinal(name, pod.metadata.name.as_deref().unwrap_or_default()) else { continue };
        for template in set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten()) {
            let claim = caches.claims.get(&format!("{namespace}/{}", claim_name(template, set, ordinal)));
            let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else { continue };
            let Some(owners) = owners(&claim.metadata, set, pod, ordinal) else { continue };
            let mut changed = PersistentVolumeClaim::clone(&claim);
            changed.metadata.owner_references = Some(owners);
            let api: Api<PersistentVolumeClaim> = Api::namespaced(actor.client(), namespace);
            api.replace(claim.metadata.name.as_deref().unwrap_or_default(), &PostParams::default(), &changed).await?;
        }
    }
    Ok(())
}

/// The owners of a claim that is made before its pod.
pub fn first_owners(set: &StatefulSet) -> Option<Vec<OwnerReference>> {
    let (deleted, _) = policy(set);
    deleted.then(|| vec![pods::owner(set)])
}

/// Whether claims go when the set is deleted, and when it is scaled down.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.clone());
    let deletes = |word: Option<String>| word.as_deref() == Some("Delete");
    policy.map_or((false, false), |policy| (deletes(policy.when_deleted), deletes(policy.when_scaled)))
}

/// Whether a reference means this object or one of its name before it.
fn means<K: Resource<DynamicType = ()>>(one: &OwnerReference, object: &K) -> bool {
    one.kind == K::kind(&()) && one.api_version == K::api_version(&()) && Some(&one.name) == object.meta().name.as_ref()
}

/// The owners that a claim should have; `None` when it has them, or is not to be touched: what another controls, or what
/// is left of an earlier set of the name, is theirs. Pure.
fn owners(claim: &ObjectMeta, set: &StatefulSet, pod: &Pod, ordinal: i32) -> Option<Vec<OwnerReference>> {
    let present = claim.owner_references.clone().unwrap_or_default();
    let (set_uid, pod_uid) = (set.metadata.uid.as_deref(), pod.metadata.uid.as_deref());
    let ours = |one: &OwnerReference| means(one, set) || means(one, pod);
    let stale = |one: &OwnerReference| {
        means(one, set) && Some(one.uid.as_str()) != set_uid || means(one, pod) && Some(one.uid.as_str()) != pod_uid
    };
    if present.iter().any(stale) {
        return None;
    }
    let (deleted, scaled) = policy(set);
    let mut wanted: Vec<OwnerReference> = present.iter().filter(|one| !ours(one)).cloned().collect();
    let controlled = wanted.iter().any(|one| one.controller == Some(true));
    if !((deleted || scaled) && controlled) {
        let first = plan::first(set);
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let surplus = !(first..first.saturating_add(replicas)).contains(&ordinal);
        match (deleted, scaled) {
            (_, true) if surplus => wanted.push(pods::owner(pod)),
            (true, _) => wanted.push(pods::owner(set)),
            _ => {}
        }
    }
    let plain = |all: &[OwnerReference]| {
        let mut all: Vec<_> = all.iter().map(|one| (one.uid.clone(), one.controller == Some(true))).collect();
        all.sort();
        all
    };
    (plain(&present) != plain(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_belong_to_whom_they_go_with() {
        let set = |deleted: &str, scaled: &str| -> StatefulSet {
            serde_json::from_value(
                json!({"metadata": {"name": "s", "uid": "set"}, "spec": {"replicas": 1, "selector": {},
                "serviceName": "s", "template": {},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}),
            )
            .unwrap()
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "s-0", "uid": "pod"}})).unwrap();
        let claim = |text: &str| -> ObjectMeta {
            let one = |name: &str| match name {
                "set" => {
                    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "set", "controller": true})
                }
                "old" => {
                    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "older", "controller": true})
                }
                "pod" => json!({"apiVersion": "v1", "kind": "Pod", "name": "s-0", "uid": "pod", "controller": true}),
                "weak" => json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "set"}),
                _ => json!({"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "x", "controller": true}),
            };
            let all: Vec<_> = text.split_whitespace().map(one).collect();
            serde_json::from_value(json!({"name": "c-s-0", "ownerReferences": all})).unwrap()
        };
        for (deleted, scaled, ordinal, before, after) in [
            ("Retain", "Retain", 0, "", None),
            ("Retain", "Retain", 0, "set", Some("")),
            ("Delete", "Retain", 0, "", Some("set")),
            ("Delete", "Retain", 5, "", Some("set")),
            ("Delete", "Retain", 0, "set", None),
            ("Delete", "Retain", 0, "weak", Some("set")),
            ("Retain", "Delete", 0, "", None),
            ("Retain", "Delete", 1, "", Some("pod")),
            ("Delete", "Delete", 0, "pod", Some("set")),
            ("Delete", "Delete", 1, "set", Some("pod")),
            ("Delete", "Delete", 0, "old", None),
            ("Delete", "Delete", 0, "other", None),
            ("Delete", "Delete", 0, "other set", Some("x")),
        ] {
            let found = owners(&claim(before), &set(deleted, scaled), &pod, ordinal);
            let names = |all: Vec<OwnerReference>| all.iter().map(|one| one.uid.clone()).collect::<Vec<_>>().join(" ");
            assert_eq!(found.map(names).as_deref(), after, "{deleted} {scaled} {ordinal} {before}");
        }
    }
}
