//! What the runtime says of a pod.

use std::collections::HashMap;

use kinit_cri::v1::{
    Container, ContainerFilter, ContainerId, ContainerState, ContainerStatus, ListContainersRequest,
    ListPodSandboxRequest, PodSandbox, PodSandboxFilter, PodSandboxState, SandboxId,
};
use kinit_cri::{Error as CriError, Runtime};

use crate::error::Result;

/// Label with the pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label with the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label with the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label with the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation with the hash of what the container was made from.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation with how often the container was started anew.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation with the file that a container leaves its last words in.
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";

/// Annotation with the seconds that a container's pod is given to end.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

/// A sandbox of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Whether it is up.
    pub ready: bool,
    /// How many there were before it.
    pub attempt: u32,
    /// Its addresses; empty on the host's network.
    pub ips: Vec<String>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Name in the pod.
    pub name: String,
    /// Its sandbox.
    pub sandbox: String,
    /// What the runtime says.
    pub status: ContainerStatus,
}

impl Instance {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.status.state() == ContainerState::ContainerRunning
    }

    /// Whether it has ended.
    pub fn is_exited(&self) -> bool {
        self.status.state() == ContainerState::ContainerExited
    }

    /// How often the container was started before.
    pub fn restarts(&self) -> u32 {
        let noted = self.status.annotations.get(RESTART_COUNT).and_then(|text| text.parse().ok());
        noted.unwrap_or_else(|| self.status.metadata.as_ref().map_or(0, |metadata| metadata.attempt))
    }
}

/// All of a pod in the runtime. Sandboxes and containers are sorted, the newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodState {
    /// Sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Containers.
    pub containers: Vec<Instance>,
}

impl PodState {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest container of a name.
    pub fn latest(&self, name: &str) -> Option<&Instance> {
        self.containers.iter().find(|instance| instance.name == name)
    }

    /// The container of a name before the newest.
    pub fn previous(&self, name: &str) -> Option<&Instance> {
        self.containers.iter().filter(|instance| instance.name == name).nth(1)
    }

    /// Asks the runtime.
    pub async fn read(runtime: &Runtime, uid: &str) -> Result<Self> {
        let selector = HashMap::from([(POD_UID.to_owned(), uid.to_owned())]);
        let filter = PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
        let request = tonic::Request::new(ListPodSandboxRequest { filter: Some(filter) });
        let fail = |status| CriError::new("listing sandboxes", status);
        let sandboxes = runtime.runtime.clone().list_pod_sandbox(request).await.map_err(fail)?.into_inner().items;
        let mut state = Self::default();
        for sandbox in sandboxes {
            if let Some(found) = read_sandbox(runtime, sandbox).await? {
                state.sandboxes.push(found);
            }
        }
        state.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.attempt));
        let filter = ContainerFilter { label_selector: selector, ..Default::default() };
        let request = tonic::Request::new(ListContainersRequest { filter: Some(filter) });
        let fail = |status| CriError::new("listing containers", status);
        let containers = runtime.runtime.clone().list_containers(request).await.map_err(fail)?.into_inner().containers;
        for container in containers {
            if let Some(found) = read_container(runtime, container).await? {
                state.containers.push(found);
            }
        }
        state.containers.sort_by_key(|instance| std::cmp::Reverse((instance.status.created_at, instance.restarts())));
        Ok(state)
    }
}

async fn read_sandbox(runtime: &Runtime, sandbox: PodSandbox) -> Result<Option<Sandbox>> {
    let ready = sandbox.state() == PodSandboxState::SandboxReady;
    let attempt = sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let mut ips = Vec::new();
    if ready {
        let request = tonic::Request::new(SandboxId { pod_sandbox_id: sandbox.id.clone() });
        let status = match runtime.runtime.clone().pod_sandbox_status(request).await {
            Ok(answer) => answer.into_inner().status.unwrap_or_default(),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
            Err(status) => return Err(CriError::new(format!("asking for sandbox {}", sandbox.id), status).into()),
        };
        if let Some(network) = status.network {
            ips.push(network.ip);
            ips.extend(network.additional_ips.into_iter().map(|more| more.ip));
            ips.retain(|ip| !ip.is_empty());
        }
    }
    Ok(Some(Sandbox { id: sandbox.id, ready, attempt, ips }))
}

async fn read_container(runtime: &Runtime, container: Container) -> Result<Option<Instance>> {
    let Some(name) = container.labels.get(CONTAINER_NAME).cloned() else { return Ok(None) };
    let request = tonic::Request::new(ContainerId { container_id: container.id.clone() });
    match runtime.runtime.clone().container_status(request).await {
        Ok(answer) => {
            let status = answer.into_inner().status.unwrap_or_default();
            Ok(Some(Instance { name, sandbox: container.pod_sandbox_id, status }))
        }
        // It was removed since it was listed.
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(CriError::new(format!("asking for container {}", container.id), status).into()),
    }
}
