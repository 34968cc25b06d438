//! Static pods that an earlier run of the kubelet left in the runtime. The runtime knows which pods came from files, so
//! one whose manifest changed or went while no kubelet ran is ended before its successor begins, without any API.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinit_cri::v1::{Container, ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandbox};
use kinit_cri::{Error as CriError, Runtime};

use super::facts;
use super::state::{GRACE_PERIOD, POD_UID};
use crate::error::Result;

/// Asks the runtime for the static pods that it has, by what is needed to end them.
pub async fn read(runtime: &Runtime) -> Result<Vec<Pod>> {
    let fail = |what: &'static str| move |status| CriError::new(what, status);
    let mut service = runtime.runtime.clone();
    let sandboxes = service.list_pod_sandbox(ListPodSandboxRequest::default()).await;
    let sandboxes = sandboxes.map_err(fail("listing sandboxes"))?.into_inner().items;
    let containers = service.list_containers(ListContainersRequest::default()).await;
    let containers = containers.map_err(fail("listing containers"))?.into_inner().containers;
    Ok(pods(sandboxes, &containers))
}

/// The static pods of sandboxes, each once. Pure.
fn pods(sandboxes: Vec<PodSandbox>, containers: &[Container]) -> Vec<Pod> {
    let mut all: BTreeMap<String, Pod> = BTreeMap::new();
    for sandbox in sandboxes {
        let Some(of) = sandbox.metadata else { continue };
        if sandbox.annotations.get(facts::SOURCE).is_none_or(|source| source != "file") {
            continue;
        }
        let metadata = ObjectMeta {
            name: Some(of.name),
            namespace: Some(of.namespace),
            uid: Some(of.uid.clone()),
            deletion_grace_period_seconds: grace(&of.uid, containers),
            labels: Some(sorted(sandbox.labels)),
            annotations: Some(sorted(sandbox.annotations)),
            ..ObjectMeta::default()
        };
        all.insert(of.uid, Pod { metadata, ..Pod::default() });
    }
    all.into_values().collect()
}

/// The time that a pod's containers were to have for their end.
fn grace(uid: &str, containers: &[Container]) -> Option<i64> {
    let own = containers.iter().filter(|one| one.labels.get(POD_UID).is_some_and(|of| of == uid));
    let running = own.filter(|one| one.state() == ContainerState::ContainerRunning);
    running.filter_map(|one| one.annotations.get(GRACE_PERIOD)?.parse().ok()).max()
}

fn sorted(all: HashMap<String, String>) -> BTreeMap<String, String> {
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_cri::v1::PodSandboxMetadata;

    #[test]
    fn only_pods_of_files_are_found_each_once() {
        let sandbox = |uid: &str, source: &str| PodSandbox {
            metadata: Some(PodSandboxMetadata { name: uid.into(), uid: uid.into(), ..Default::default() }),
            annotations: [(facts::SOURCE.to_owned(), source.to_owned())].into(),
            ..Default::default()
        };
        let container = |uid: &str, grace: &str| Container {
            labels: [(POD_UID.to_owned(), uid.to_owned())].into(),
            annotations: [(GRACE_PERIOD.to_owned(), grace.to_owned())].into(),
            state: ContainerState::ContainerRunning.into(),
            ..Default::default()
        };
        let found = pods(
            vec![sandbox("a", "file"), sandbox("b", "api"), sandbox("a", "file"), sandbox("c", "file")],
            &[container("a", "5"), container("a", "60"), container("b", "9")],
        );
        let told: Vec<_> = found.iter().map(|pod| (facts::uid(pod), facts::grace_period(pod))).collect();
        assert_eq!(told, [("a", 60), ("c", 30)]);
        assert!(found.iter().all(facts::is_static));
    }
}
