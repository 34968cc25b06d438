//! Taking over pods that nobody controls, and letting go of those that are no longer selected.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::{Value, json};

use crate::context::Actor;
use crate::pods;

/// Who claims pods.
pub struct Claimant {
    /// As what it owns them.
    pub owner: OwnerReference,
    /// Where.
    pub namespace: String,
    /// One that is being deleted neither takes nor leaves.
    pub deleted: bool,
    /// A finalizer that its pods have.
    pub finalizer: Option<&'static str>,
}

impl Claimant {
    /// An object that claims pods in its own namespace.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            owner: pods::owner(object),
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            deleted: object.meta().deletion_timestamp.is_some(),
            finalizer: None,
        }
    }
}

/// What becomes of a pod. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Keep,
    Release,
    Adopt,
    Leave,
}

fn judge(claimant: &Claimant, pod: &Pod, selected: bool) -> Claim {
    match pods::controller(&pod.metadata) {
        Some(owner) if owner.uid != claimant.owner.uid => Claim::Leave,
        Some(_) if selected => Claim::Keep,
        Some(_) if claimant.deleted => Claim::Leave,
        Some(_) => Claim::Release,
        None if selected && !claimant.deleted && pod.metadata.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Leave,
    }
}

/// The claimant's pods of these, after strays that it selects became its own, and those that it no longer selects strays.
pub async fn claim(
    actor: &Actor,
    claimant: &Claimant,
    all: Vec<Arc<Pod>>,
    selects: impl Fn(&Pod) -> bool,
) -> Result<Vec<Arc<Pod>>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(actor.client(), &claimant.namespace);
    let mut own = Vec::new();
    for pod in all {
        let selected = selects(&pod);
        match judge(claimant, &pod, selected) {
            Claim::Keep => own.push(pod),
            Claim::Leave => {}
            Claim::Release => {
                hand_over(&api, &pod, released(claimant, &pod)).await?;
            }
            Claim::Adopt => own.extend(hand_over(&api, &pod, adopted(claimant, &pod)).await?.map(Arc::new)),
        }
    }
    Ok(own)
}

fn adopted(claimant: &Claimant, pod: &Pod) -> Value {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.push(claimant.owner.clone());
    let mut finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    finalizers.extend(claimant.finalizer.filter(|own| !finalizers.iter().any(|one| one == own)).map(str::to_owned));
    json!({"ownerReferences": owners, "finalizers": finalizers})
}

fn released(claimant: &Claimant, pod: &Pod) -> Value {
    let owners = pod.metadata.owner_references.iter().flatten().filter(|one| one.uid != claimant.owner.uid);
    let finalizers = pod.metadata.finalizers.iter().flatten().filter(|one| Some(one.as_str()) != claimant.finalizer);
    json!({"ownerReferences": owners.collect::<Vec<_>>(), "finalizers": finalizers.collect::<Vec<_>>()})
}

/// Patches a pod, which is the verb that controllers have for pods; `None` if it is gone, or refuses.
async fn hand_over(api: &Api<Pod>, pod: &Pod, mut metadata: Value) -> Result<Option<Pod>, kube::Error> {
    metadata["uid"] = json!(pod.metadata.uid);
    metadata["resourceVersion"] = json!(pod.metadata.resource_version);
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match api.patch(pod.metadata.name.as_deref().unwrap_or_default(), &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 422 => Ok(None),
        other => other.map(Some),
    }
}

/// Takes a finalizer from a pod; one that is gone has none.
pub async fn unfinalize(actor: &Actor, pod: &Pod, finalizer: &str) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(actor.client(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let metadata = json!({"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [finalizer]});
    let patch = Patch::Strategic(json!({"metadata": metadata}));
    match api.patch(pod.metadata.name.as_deref().unwrap_or_default(), &PatchParams::default(), &patch).await {
        // 422: another pod of that name has another uid.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_kept_taken_and_let_go() {
        let claimant = |deleted: bool| Claimant {
            owner: OwnerReference { uid: "me".into(), ..Default::default() },
            namespace: String::new(),
            deleted,
            finalizer: Some("f"),
        };
        let pod = |owner: &str, ending: bool| -> Pod {
            let owners =
                json!([{"apiVersion": "v1", "kind": "K", "name": "n", "uid": owner, "controller": !owner.is_empty()}]);
            let at = ending.then_some("2027-01-01T00:00:00Z");
            serde_json::from_value(
                json!({"metadata": {"ownerReferences": owners, "deletionTimestamp": at, "finalizers": ["g"]}}),
            )
            .unwrap()
        };
        for (deleted, owner, ending, selected, wanted) in [
            (false, "me", false, true, Claim::Keep),
            (false, "me", false, false, Claim::Release),
            (true, "me", false, false, Claim::Leave),
            (false, "other", false, true, Claim::Leave),
            (false, "", false, true, Claim::Adopt),
            (false, "", true, true, Claim::Leave),
            (true, "", false, true, Claim::Leave),
            (false, "", false, false, Claim::Leave),
        ] {
            assert_eq!(judge(&claimant(deleted), &pod(owner, ending), selected), wanted, "{owner} {selected}");
        }
        let taken = adopted(&claimant(false), &pod("", false));
        assert_eq!((taken["ownerReferences"].as_array().unwrap().len(), &taken["finalizers"]), (2, &json!(["g", "f"])));
        assert_eq!(released(&claimant(false), &pod("me", false)), json!({"ownerReferences": [], "finalizers": ["g"]}));
    }
}
