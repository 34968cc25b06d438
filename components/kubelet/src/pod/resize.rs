//! Changing the resources of containers that run: a pod is first allotted what it wants, if the node has it, and then its
//! containers are given that. Pure, but for telling the runtime.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use kinit_cri::v1::{Empty, UpdateContainerResourcesRequest};

use super::state::{Instance, PodState};
use super::{container, facts};
use crate::context::Context;
use crate::events::Kind;

/// Annotation with the resources that a container was made with.
pub const RESOURCES: &str = "io.kubernetes.container.resources";

/// What running containers were given since they were made, by id. It is lost with the kubelet, and then given again.
pub type Given = HashMap<String, ResourceRequirements>;

/// What containers of a pod may have, by name.
pub type Allotted = BTreeMap<String, ResourceRequirements>;

/// Why a pod is not allotted what it wants, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` when it may be later, `Infeasible` when it never will.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What a pod's containers want.
pub fn wanted(pod: &Pod) -> Allotted {
    let all = pod.spec.iter().flat_map(facts::containers);
    all.map(|one| (one.name.clone(), one.resources.clone().unwrap_or_default())).collect()
}

/// What containers that an earlier kubelet made have; the others get what they want.
pub fn allotted_before(pod: &Pod, state: &PodState) -> Allotted {
    let mut all = wanted(pod);
    for (name, resources) in &mut all {
        let made_with = state.latest(name).and_then(|instance| present(instance, &Given::new()));
        if let Some(made_with) = made_with {
            *resources = made_with;
        }
    }
    all
}

/// Whether two allotments differ in what can be changed.
pub fn differ(one: &Allotted, other: &Allotted) -> bool {
    let amounts_of =
        |all: &Allotted, name: &str| all.get(name).map(|has| ["cpu", "memory"].map(|what| amounts(has, what)));
    one.keys().any(|name| amounts_of(one, name) != amounts_of(other, name))
}

/// The pod with what its containers are allotted in place of what they want.
pub fn with(pod: &Arc<Pod>, allotted: &Allotted) -> Arc<Pod> {
    if !differ(&wanted(pod), allotted) {
        return pod.clone();
    }
    let mut made = Pod::clone(pod);
    if let Some(spec) = &mut made.spec {
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(resources) = allotted.get(&container.name) {
                container.resources = Some(resources.clone());
            }
        }
    }
    Arc::new(made)
}

/// A container whose resources are to be others.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// Its id in the runtime.
    pub id: &'a str,
    /// The container as it is wanted.
    pub container: &'a Container,
    /// Whether it has to be started anew for that.
    pub restart: bool,
}

fn amounts(resources: &ResourceRequirements, name: &str) -> [Option<i64>; 2] {
    [&resources.requests, &resources.limits]
        .map(|all| all.as_ref().and_then(|all| all.get(name)).and_then(|amount| facts::milli(&amount.0)))
}

/// What a container has: what it was given last, or was made with.
pub fn present(instance: &Instance, given: &Given) -> Option<ResourceRequirements> {
    let made_with = || serde_json::from_str(instance.status.annotations.get(RESOURCES)?).ok();
    given.get(&instance.status.id).cloned().or_else(made_with)
}

/// The changes that a pod waits for.
pub fn changes<'a>(pod: &'a Pod, state: &'a PodState, given: &Given) -> Vec<Change<'a>> {
    let containers = pod.spec.iter().flat_map(facts::containers);
    let running = containers.filter_map(|container| {
        let instance = state.latest(&container.name).filter(|instance| instance.is_running())?;
        let (has, wants) = (present(instance, given)?, container.resources.clone().unwrap_or_default());
        let differs = |name: &str| amounts(&has, name) != amounts(&wants, name);
        let policy = |name: &str| {
            let policies = container.resize_policy.iter().flatten();
            policies.into_iter().any(|one| one.resource_name == name && one.restart_policy == "RestartContainer")
        };
        let names = ["cpu", "memory"];
        names.iter().any(|name| differs(name)).then(|| Change {
            id: &instance.status.id,
            container,
            restart: names.iter().any(|name| differs(name) && policy(name)),
        })
    });
    running.collect()
}

/// The limit of memory that a change lowers a container's to, in bytes.
fn lowered(change: &Change<'_>, has: Option<&ResourceRequirements>) -> Option<i64> {
    let limit = |resources: &ResourceRequirements| amounts(resources, "memory")[1].map(|milli| milli / 1000);
    let (old, new) = (has.and_then(limit), change.container.resources.as_ref().and_then(limit)?);
    old.is_none_or(|old| new < old).then_some(new)
}

/// Why a change cannot be made now: a container that uses more memory than it is to have would be killed.
async fn too_small(context: &Context, changes: &[Change<'_>], state: &PodState, given: &Given) -> Option<String> {
    let lowered: Vec<(&Change<'_>, i64)> = changes
        .iter()
        .filter(|change| !change.restart)
        .filter_map(|change| {
            let instance = state.containers.iter().find(|one| one.status.id == change.id)?;
            Some((change, lowered(change, present(instance, given).as_ref())?))
        })
        .collect();
    if lowered.is_empty() {
        return None;
    }
    let answer = context.runtime.runtime.clone().list_container_stats(tonic::Request::new(Empty {})).await.ok()?;
    let usage: HashMap<String, i64> = answer
        .into_inner()
        .stats
        .into_iter()
        .filter_map(|one| Some((one.attributes?.id, i64::try_from(one.memory?.working_set_bytes?.value).ok()?)))
        .collect();
    lowered.into_iter().find_map(|(change, limit)| {
        let used = usage.get(change.id).copied().filter(|used| *used > limit)?;
        let name = &change.container.name;
        Some(format!(
            "cannot decrease memory limits: attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
        ))
    })
}

/// Gives running containers their new resources; those that have to start anew are left out. The error says what went
/// wrong.
pub async fn apply(
    context: &Context,
    pod: &Pod,
    state: &PodState,
    changes: &[Change<'_>],
    given: &mut Given,
) -> Result<(), String> {
    if changes.is_empty() {
        return Ok(());
    }
    if let Some(reason) = too_small(context, changes, state, given).await {
        return Err(reason);
    }
    let mut result = Ok(());
    for change in changes.iter().filter(|change| !change.restart) {
        let linux = Some(container::resources(pod, change.container, context.memory));
        let request =
            tonic::Request::new(UpdateContainerResourcesRequest { container_id: change.id.to_owned(), linux });
        let name = change.container.name.as_str();
        match context.runtime.runtime.clone().update_container_resources(request).await {
            Ok(_) => {
                tracing::info!(pod = facts::full_name(pod), container = name, "resized a container");
                given.insert(change.id.to_owned(), change.container.resources.clone().unwrap_or_default());
                context.events.pod(pod, Some(name), Kind::Normal, "ResizeCompleted", "Pod resize completed");
            }
            Err(status) => {
                let text = format!("Pod resize error: {}", status.message());
                context.events.pod(pod, Some(name), Kind::Warning, "ResizeError", text.clone());
                result = Err(text);
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_cri::v1::{ContainerState, ContainerStatus};
    use serde_json::json;

    #[test]
    fn a_pod_runs_with_what_it_is_allotted() {
        let pod = |cpu: &str| -> Arc<Pod> {
            let container = json!({"name": "a", "resources": {"requests": {"cpu": cpu}}});
            Arc::new(serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap())
        };
        let (small, large) = (pod("100m"), pod("2"));
        let allotted = wanted(&small);
        assert!(!differ(&wanted(&pod("0.1")), &allotted) && differ(&wanted(&large), &allotted));
        assert!(Arc::ptr_eq(&with(&small, &allotted), &small));
        assert_eq!(wanted(&with(&large, &allotted)), allotted);
    }

    #[test]
    fn only_a_lower_limit_of_memory_can_be_too_small() {
        let container = |limit: &str| -> Container {
            serde_json::from_value(json!({"name": "a", "resources": {"limits": {"memory": limit}}})).unwrap()
        };
        let has = container("1Gi").resources;
        for (limit, wanted) in [("2Gi", None), ("1Gi", None), ("1Mi", Some(1 << 20))] {
            let container = container(limit);
            let change = Change { id: "c", container: &container, restart: false };
            assert_eq!(lowered(&change, has.as_ref()), wanted, "{limit}");
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let pod = |cpu: &str, memory: &str| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "a",
                "resources": {"requests": {"cpu": cpu, "memory": memory}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}]}}))
            .unwrap()
        };
        let made = json!({"requests": {"cpu": "100m", "memory": "1Gi"}}).to_string();
        let status = ContainerStatus {
            id: "c".into(),
            state: ContainerState::ContainerRunning.into(),
            annotations: [(RESOURCES.to_owned(), made)].into(),
            ..ContainerStatus::default()
        };
        let instance = Instance { name: "a".into(), sandbox: "s".into(), status };
        let state = PodState { sandboxes: Vec::new(), containers: vec![instance] };
        let restarts = |pod: &Pod, given: &Given| changes(pod, &state, given).first().map(|change| change.restart);
        let none = Given::new();
        assert_eq!(restarts(&pod("0.1", "1024Mi"), &none), None);
        assert_eq!(restarts(&pod("200m", "1Gi"), &none), Some(false));
        assert_eq!(restarts(&pod("200m", "2Gi"), &none), Some(true));
        let given =
            [("c".to_owned(), serde_json::from_value(json!({"requests": {"cpu": "200m", "memory": "1Gi"}})).unwrap())];
        assert_eq!(restarts(&pod("200m", "1Gi"), &given.into()), None);
    }
}
