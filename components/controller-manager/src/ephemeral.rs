//! Claims for the volumes that live as long as their pod: each is made from the template in the pod, and owned by it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use kinit_runtime::events::Kind;
use kinit_runtime::{Change, Queue, key_of, work};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;
use crate::pods;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("ephemeral-volume-controller").await;
    let (all, claims) = (context.caches.pods.clone(), context.caches.claims.clone());
    all.synced().await;
    claims.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    all.handle(move |change, pod| {
        if change != Change::Deleted && volumes(pod).next().is_some() {
            keys.add(key_of(pod.as_ref()));
        }
    });
    let keys = queue.clone();
    claims.handle(move |change, claim| {
        // One that somebody deletes while its pod still wants it is made again.
        if let Some(owner) =
            pods::controller(&claim.metadata).filter(|one| change == Change::Deleted && one.kind == "Pod")
        {
            keys.add(format!("{}/{}", claim.metadata.namespace.as_deref().unwrap_or_default(), owner.name));
        }
    });
    work("ephemeral-volume", queue, 2, context.shutdown.clone(), move |key: String| {
        let (all, claims, actor) = (all.clone(), claims.clone(), actor.clone());
        async move {
            let Some(pod) = all.get(&key).filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
                return Ok(None);
            };
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let api: Api<PersistentVolumeClaim> = Api::namespaced(actor.client(), &namespace);
            for volume in volumes(&pod) {
                let Some(wanted) = claim_of(&pod, volume) else { continue };
                let name = wanted.metadata.name.clone().unwrap_or_default();
                let refusal = match claims.get(&format!("{namespace}/{name}")) {
                    Some(present) if pods::is_controlled_by(&present.metadata, pod.metadata.uid.as_deref()) => continue,
                    Some(_) => format!("PVC {namespace}/{name} was not created for pod {key} (pod is not owner)"),
                    None => match api.create(&PostParams::default(), &wanted).await {
                        Ok(_) => continue,
                        Err(kube::Error::Api(status)) if status.code == 409 => continue,
                        Err(error) => format!("create PVC {name}: {error}"),
                    },
                };
                let text = format!("ephemeral volume {}: {refusal}", volume.name);
                pods::tell(&actor, &pod, Kind::Warning, "FailedBinding", text.clone());
                anyhow::bail!(text);
            }
            Ok(None)
        }
    })
    .await;
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    all.filter(|volume| volume.ephemeral.is_some())
}

/// The claim for a volume of a pod. Pure.
fn claim_of(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
    let metadata = template.metadata.unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: Some(vec![pods::owner(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_named_and_owned_by_its_pod() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
            "containers": [], "volumes": [{"name": "plain", "emptyDir": {}}, {"name": "data", "ephemeral":
                {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"storageClassName": "fast"}}}}]}}))
        .unwrap();
        let all: Vec<_> = volumes(&pod).filter_map(|volume| claim_of(&pod, volume)).collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].metadata.name.as_deref(), Some("p-data"));
        assert!(pods::is_controlled_by(&all[0].metadata, Some("u")));
        assert_eq!(all[0].spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()), Some("fast"));
    }
}
