//! Changing the resources of containers that run. Pure, but for telling the runtime.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use kinit_cri::Runtime;
use kinit_cri::v1::UpdateContainerResourcesRequest;

use super::state::{Instance, PodState};
use super::{container, facts};
use crate::context::Context;
use crate::events::Kind;

/// Annotation with the resources that a container was made with.
pub const RESOURCES: &str = "io.kubernetes.container.resources";

/// What running containers were given since they were made, by id. It is lost with the kubelet, and then given again.
pub type Given = HashMap<String, ResourceRequirements>;

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

/// Gives running containers their new resources; those that have to start anew are left out.
pub async fn apply(context: &Context, pod: &Pod, changes: &[Change<'_>], given: &mut Given) {
    for change in changes.iter().filter(|change| !change.restart) {
        let linux = Some(container::resources(pod, change.container, context.memory));
        let request = Runtime::request(UpdateContainerResourcesRequest { container_id: change.id.to_owned(), linux });
        let name = change.container.name.as_str();
        match context.runtime.runtime.clone().update_container_resources(request).await {
            Ok(_) => {
                tracing::info!(pod = facts::full_name(pod), container = name, "resized a container");
                given.insert(change.id.to_owned(), change.container.resources.clone().unwrap_or_default());
                context.events.pod(pod, Some(name), Kind::Normal, "ResizeCompleted", "Pod resize completed");
            }
            Err(status) => {
                let text = format!("Pod resize error: {}", status.message());
                context.events.pod(pod, Some(name), Kind::Warning, "ResizeError", text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_cri::v1::{ContainerState, ContainerStatus};
    use serde_json::json;

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
