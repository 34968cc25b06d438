//! Making a pod's sandbox and starting its containers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kinit_cri::Error as CriError;
use kinit_cri::v1::{ContainerId, CreateContainerRequest, Image, PodSandboxConfig, RunPodSandboxRequest};

use super::hooks::{self, Target};
use super::images::{self, Failure, Pulls};
use super::state::PodState;
use super::{container, env, facts, sandbox};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::events::Kind;
use crate::volumes::{self, Volumes};

/// How long a container waits for the services to be known.
const SERVICES_WAIT: Duration = Duration::from_secs(10);

/// A sandbox that containers start in.
pub struct Place {
    /// Its id.
    pub id: String,
    /// Its addresses.
    pub ips: Vec<String>,
    /// What it was made from.
    pub config: PodSandboxConfig,
}

/// Makes a sandbox.
pub async fn sandbox(context: &Context, pod: &Pod, config: PodSandboxConfig) -> Result<Place> {
    if pod.spec.as_ref().and_then(|spec| spec.host_users) == Some(false) {
        let text = "user namespaces (hostUsers: false) are not there yet";
        context.events.pod(pod, None, Kind::Warning, "FailedCreatePodSandBox", text);
        return Err(Error::Told(text.into()));
    }
    let logs = sandbox::log_folder(pod);
    std::fs::create_dir_all(&logs).map_err(|error| Error::file(&logs, error))?;
    let folder = context.pod_folder(facts::uid(pod));
    std::fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
    let runtime_handler = handler(context, pod).await?;
    let request = tonic::Request::new(RunPodSandboxRequest { config: Some(config.clone()), runtime_handler });
    let answer = context.runtime.runtime.clone().run_pod_sandbox(request).await;
    let id = match answer {
        Ok(answer) => answer.into_inner().pod_sandbox_id,
        Err(status) => {
            let text = format!("Failed to create pod sandbox: {}", status.message());
            context.events.pod(pod, None, Kind::Warning, "FailedCreatePodSandBox", text);
            return Err(CriError::new("making a sandbox", status).into());
        }
    };
    tracing::info!(pod = facts::full_name(pod), sandbox = id, "made a sandbox");
    let state = PodState::read(&context.runtime, facts::uid(pod)).await?;
    let ips = state.sandboxes.iter().find(|sandbox| sandbox.id == id).map(|sandbox| sandbox.ips.clone());
    Ok(Place { id, ips: ips.unwrap_or_default(), config })
}

/// The runtime's word for the pod's RuntimeClass.
async fn handler(context: &Context, pod: &Pod) -> Result<String> {
    use k8s_openapi::api::node::v1::RuntimeClass;
    let name = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()).unwrap_or_default();
    if name.is_empty() {
        return Ok(String::new());
    }
    let api: kube::Api<RuntimeClass> = kube::Api::all(context.client()?);
    match api.get_opt(name).await? {
        Some(class) => Ok(class.handler),
        None => {
            let text = format!("failed to get sandbox runtime: RuntimeClass.node.k8s.io {name:?} not found");
            context.events.pod(pod, None, Kind::Warning, "FailedCreatePodSandBox", text.clone());
            Err(Error::Told(text))
        }
    }
}

/// What a container of a pod is started with.
pub struct Start<'a> {
    /// What all parts share.
    pub context: &'a Context,
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// Where it starts.
    pub place: &'a Place,
    /// Where its volumes are.
    pub volumes: &'a Volumes,
}

impl Start<'_> {
    /// Starts a container that was started `restarts` times before.
    pub async fn run(&self, wanted: &Container, restarts: u32, pulls: &mut Pulls) -> Result<(), Failure> {
        let image = images::ensure(self.context, self.pod, wanted, pulls).await?;
        let say = |kind, reason, message: String| {
            self.context.events.pod(self.pod, Some(&wanted.name), kind, reason, message);
        };
        let id = match self.create(wanted, &image, restarts).await {
            Ok(id) => id,
            Err((reason, error)) => {
                say(Kind::Warning, "Failed", format!("Error: {error}"));
                return Err((reason, error));
            }
        };
        say(Kind::Normal, "Created", "Container created".into());
        let request = tonic::Request::new(ContainerId { container_id: id.clone() });
        if let Err(status) = self.context.runtime.runtime.clone().start_container(request).await {
            say(Kind::Warning, "Failed", format!("Error: {}", status.message()));
            return Err(("RunContainerError", Error::Told(status.message().to_owned())));
        }
        say(Kind::Normal, "Started", "Container started".into());
        tracing::info!(pod = facts::full_name(self.pod), container = wanted.name, id, "started a container");
        self.after(wanted, &id).await
    }

    async fn create(&self, wanted: &Container, image: &Image, restarts: u32) -> Result<String, Failure> {
        let bad = |error: Error| ("CreateContainerConfigError", error);
        let Self { context, pod, place, volumes } = self;
        if !facts::is_static(pod) {
            // The API server's address comes from its service: a pod that starts before the services are known lacks it.
            let mut services = context.services.subscribe();
            let known = tokio::time::timeout(SERVICES_WAIT, services.wait_for(Option::is_some)).await;
            if !matches!(known, Ok(Ok(_))) {
                return Err(bad(Error::Told(
                    "services have not yet been read at least once, cannot construct envvars".into(),
                )));
            }
        }
        container::check_user(pod, wanted, image).map_err(bad)?;
        let variables = env::variables(context, pod, wanted, &place.ips).await.map_err(bad)?;
        let known: HashMap<String, String> = variables.iter().cloned().collect();
        let mounts = volumes::mounts(context, pod, wanted, volumes, restarts, &place.ips, &known).map_err(bad)?;
        let made =
            container::config(pod, wanted, &image.id, variables, mounts, restarts, context.memory).map_err(bad)?;
        let request = CreateContainerRequest {
            pod_sandbox_id: place.id.clone(),
            config: Some(made),
            sandbox_config: Some(place.config.clone()),
        };
        let answer = context.runtime.runtime.clone().create_container(tonic::Request::new(request)).await;
        let created = answer.map_err(|status| ("CreateContainerError", Error::Told(status.message().to_owned())))?;
        Ok(created.into_inner().container_id)
    }

    /// Runs the hook of a started container. One that fails ends the container.
    async fn after(&self, wanted: &Container, id: &str) -> Result<(), Failure> {
        let Some(hook) = wanted.lifecycle.as_ref().and_then(|all| all.post_start.as_ref()) else { return Ok(()) };
        let ip = if facts::host_network(self.pod) {
            Some(self.context.node_ip)
        } else {
            self.place.ips.first().and_then(|ip| ip.parse().ok())
        };
        let target = Target { container: wanted, id, ip };
        let Err(reason) = hooks::run(self.context, &target, hook, hooks::LONGEST).await else { return Ok(()) };
        tracing::warn!(pod = facts::full_name(self.pod), container = wanted.name, reason, "the postStart hook failed");
        self.context.events.pod(
            self.pod,
            Some(&wanted.name),
            Kind::Warning,
            "FailedPostStartHook",
            format!("PostStartHook failed: {reason}"),
        );
        super::stop::container(self.context, id, facts::grace_period(self.pod))
            .await
            .map_err(|error| ("PostStartHookError", error))?;
        Err(("PostStartHookError", Error::Told(format!("PostStartHook failed: {reason}"))))
    }
}
