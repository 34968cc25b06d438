//! The task that runs one pod: Sync until it is told to end, then Terminating, then Terminated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kinit_cri::v1::{
    ContainerId, CreateContainerRequest, ImageSpec, ImageStatusRequest, PodSandboxConfig, PullImageRequest,
    RunPodSandboxRequest, SandboxId, StopContainerRequest,
};
use kinit_cri::{Error as CriError, Runtime};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::actions::{self, Actions};
use super::state::PodState;
use super::status::{self, Inputs, Waiting};
use super::{container, env, facts, sandbox};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::volumes;

/// How often all is looked at even if nothing happened: volumes follow their sources at this pace.
const RESYNC: Duration = Duration::from_secs(60);
/// How long to wait after something failed.
const RETRY: Duration = Duration::from_secs(2);
const LAST_WORDS_LIMIT: usize = 4096;

/// What a worker is told; only the latest counts.
#[derive(Clone)]
pub enum Command {
    /// Run this.
    Run(Arc<Pod>),
    /// End it; the API's copy, if there is one, is then deleted.
    End(Arc<Pod>),
}

impl Command {
    fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Run(pod) | Self::End(pod) => pod,
        }
    }
}

/// A pod's worker.
pub struct Worker {
    context: Arc<Context>,
    commands: watch::Receiver<Command>,
    wake: Arc<Notify>,
    waiting: Waiting,
    reported: Option<PodStatus>,
}

impl Worker {
    /// A worker for the pod that `commands` tells of.
    pub fn new(context: Arc<Context>, commands: watch::Receiver<Command>, wake: Arc<Notify>) -> Self {
        Self { context, commands, wake, waiting: Waiting::new(), reported: None }
    }

    /// Runs until the pod is gone.
    pub async fn run(mut self) {
        loop {
            let command = self.commands.borrow_and_update().clone();
            let result = match &command {
                Command::Run(pod) => self.sync(pod).await,
                Command::End(pod) => match self.terminate(pod).await {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
            };
            let pause = match result {
                Ok(pause) => pause.unwrap_or(RESYNC),
                Err(error) => {
                    tracing::warn!(pod = facts::full_name(command.pod()), %error, "cannot bring the pod to where it should be");
                    RETRY
                }
            };
            let until = Instant::now() + pause;
            tokio::select! {
                changed = self.commands.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Looks and acts until nothing is left to do now; says when to look again.
    async fn sync(&mut self, pod: &Arc<Pod>) -> Result<Option<Duration>> {
        loop {
            let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
            self.context.probes.follow(&self.context, pod, &state, &self.wake);
            let probes = self.context.probes.verdicts(&state);
            let now = Timestamp::now();
            let todo = actions::compute(pod, &state, &probes, now.as_nanosecond() as i64);
            self.note_pauses(pod, &state, &todo);
            self.report(pod, &state).await;
            if todo.stop_all || todo.create_sandbox.is_some() || !todo.stop.is_empty() || !todo.start.is_empty() {
                let result = self.act(pod, &state, &todo).await;
                if let Err(error) = result {
                    let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
                    self.report(pod, &state).await;
                    return Err(error);
                }
                if self.commands.has_changed().unwrap_or(true) {
                    return Ok(Some(Duration::ZERO));
                }
                continue;
            }
            self.collect(&state).await;
            if !state.containers.is_empty() {
                let ips = state.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                if let Err(error) = volumes::make(&self.context, pod, &ips).await {
                    tracing::debug!(pod = facts::full_name(pod), %error, "volumes stay as they are");
                }
            }
            return Ok(todo.again);
        }
    }

    /// A container that pauses before its next start says so.
    fn note_pauses(&mut self, pod: &Pod, state: &PodState, todo: &Actions) {
        let names: Vec<String> = pod.spec.iter().flat_map(facts::containers).map(|one| one.name.clone()).collect();
        for name in names {
            let Some(ended) = state.latest(&name).filter(|instance| instance.is_exited()) else { continue };
            let pause = actions::pause(ended);
            if todo.again.is_some() && !pause.is_zero() && facts::restart_policy(pod) != "Never" {
                let message = format!(
                    "back-off {}s restarting failed container {name} in pod {}",
                    pause.as_secs(),
                    facts::full_name(pod)
                );
                self.waiting.insert(name, ("CrashLoopBackOff".into(), message));
            }
        }
    }

    async fn act(&mut self, pod: &Arc<Pod>, state: &PodState, todo: &Actions) -> Result<()> {
        if todo.stop_all {
            self.stop_all(pod, state, facts::grace_period(pod)).await?;
        }
        for (id, reason) in &todo.stop {
            tracing::info!(pod = facts::full_name(pod), container = id, reason, "stops a container");
            self.stop_container(id, facts::grace_period(pod)).await?;
        }
        if todo.start.is_empty() && todo.create_sandbox.is_none() {
            return Ok(());
        }
        let attempt = todo.create_sandbox.or_else(|| state.sandbox().map(|sandbox| sandbox.attempt)).unwrap_or(0);
        let config = sandbox::config(&self.context, pod, attempt);
        let (id, ips) = match (todo.create_sandbox, state.sandbox()) {
            (None, Some(sandbox)) => (sandbox.id.clone(), sandbox.ips.clone()),
            _ => self.create_sandbox(pod, &config).await?,
        };
        let volumes = match volumes::make(&self.context, pod, &ips).await {
            Ok(volumes) => volumes,
            Err(error) => {
                for (name, _) in &todo.start {
                    self.waiting.insert(name.clone(), ("ContainerCreating".into(), error.to_string()));
                }
                return Err(error);
            }
        };
        for (name, restarts) in &todo.start {
            let Some(wanted) = container::find(pod, name) else { continue };
            match self.start_container(pod, &wanted, &id, &config, &volumes, *restarts, &ips).await {
                Ok(()) => {
                    self.waiting.remove(name);
                }
                Err((reason, error)) => {
                    self.waiting.insert(name.clone(), (reason.to_owned(), error.to_string()));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn create_sandbox(&mut self, pod: &Pod, config: &PodSandboxConfig) -> Result<(String, Vec<String>)> {
        std::fs::create_dir_all(sandbox::log_folder(pod))
            .map_err(|error| Error::file(sandbox::log_folder(pod), error))?;
        let folder = self.context.pod_folder(facts::uid(pod));
        std::fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, error))?;
        let request =
            Runtime::request(RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() });
        let fail = |status| CriError::new("making a sandbox", status);
        let id = self
            .context
            .runtime
            .runtime
            .clone()
            .run_pod_sandbox(request)
            .await
            .map_err(fail)?
            .into_inner()
            .pod_sandbox_id;
        tracing::info!(pod = facts::full_name(pod), sandbox = id, "made a sandbox");
        let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
        let ips = state.sandboxes.iter().find(|sandbox| sandbox.id == id).map(|sandbox| sandbox.ips.clone());
        Ok((id, ips.unwrap_or_default()))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of one request to the runtime")]
    async fn start_container(
        &self,
        pod: &Arc<Pod>,
        wanted: &Container,
        sandbox: &str,
        config: &PodSandboxConfig,
        volumes: &volumes::Volumes,
        restarts: u32,
        ips: &[String],
    ) -> Result<(), (&'static str, Error)> {
        let context = &self.context;
        let image = self.ensure_image(wanted).await?;
        let bad = |error: Error| ("CreateContainerConfigError", error);
        if !facts::is_static(pod) {
            // The API server's address comes from its service: a pod that starts before the services are known lacks it.
            let mut services = context.services.subscribe();
            let known = tokio::time::timeout(Duration::from_secs(10), services.wait_for(Option::is_some)).await;
            if !matches!(known, Ok(Ok(_))) {
                return Err(bad(Error::NotConnected));
            }
        }
        let variables = env::variables(context, pod, wanted, ips).await.map_err(bad)?;
        let known: HashMap<String, String> = variables.iter().cloned().collect();
        let mounts = volumes::mounts(context, pod, wanted, volumes, restarts, ips, &known).map_err(bad)?;
        let made = container::config(pod, wanted, &image, variables, mounts, restarts, context.memory).map_err(bad)?;
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(made),
            sandbox_config: Some(config.clone()),
        };
        let name = &wanted.name;
        let runtime = &context.runtime.runtime;
        let failed = |what: &str, status| Error::from(CriError::new(format!("{what} container {name}"), status));
        let answer = runtime.clone().create_container(Runtime::request(request)).await;
        let id =
            answer.map_err(|status| ("CreateContainerError", failed("creating", status)))?.into_inner().container_id;
        let request = Runtime::request(ContainerId { container_id: id.clone() });
        runtime
            .clone()
            .start_container(request)
            .await
            .map_err(|status| ("RunContainerError", failed("starting", status)))?;
        tracing::info!(pod = facts::full_name(pod), container = name, id, "started a container");
        if let Some(exec) = wanted.lifecycle.as_ref().and_then(|all| all.post_start.as_ref()?.exec.as_ref()) {
            self.exec(&id, exec.command.clone().unwrap_or_default(), 60).await;
        }
        Ok(())
    }

    async fn exec(&self, id: &str, cmd: Vec<String>, timeout: i64) {
        let request = kinit_cri::v1::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
        if let Err(status) = self.context.runtime.runtime.clone().exec_sync(Runtime::request(request)).await {
            tracing::warn!(container = id, reason = status.message(), "a hook failed");
        }
    }

    /// Makes the image be there by the container's policy; gives its id.
    async fn ensure_image(&self, wanted: &Container) -> Result<String, (&'static str, Error)> {
        let name = wanted.image.clone().unwrap_or_default();
        let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
        let latest = !tagged || name.ends_with(":latest");
        let policy = wanted.image_pull_policy.as_deref().unwrap_or(if latest { "Always" } else { "IfNotPresent" });
        let spec = ImageSpec { image: name.clone(), ..Default::default() };
        let fail = |what: &str, status| Error::from(CriError::new(format!("{what} image {name}"), status));
        let mut images = self.context.runtime.images.clone();
        if policy != "Always" {
            let request = Runtime::request(ImageStatusRequest { image: Some(spec.clone()) });
            let found = images
                .image_status(request)
                .await
                .map_err(|status| ("ImageInspectError", fail("looking for", status)))?;
            if let Some(image) = found.into_inner().image {
                return Ok(image.id);
            }
            if policy == "Never" {
                return Err((
                    "ErrImageNeverPull",
                    Error::container(&wanted.name, format!("image {name} is not there and is never pulled")),
                ));
            }
        }
        let request = Runtime::request(PullImageRequest { image: Some(spec) });
        let pulled = images.pull_image(request).await.map_err(|status| ("ErrImagePull", fail("pulling", status)))?;
        Ok(pulled.into_inner().image_ref)
    }

    async fn stop_container(&self, id: &str, grace: i64) -> Result<()> {
        let mut request = tonic::Request::new(StopContainerRequest { container_id: id.to_owned(), timeout: grace });
        request.set_timeout(Duration::from_secs(grace.max(0) as u64 + 120));
        match self.context.runtime.runtime.clone().stop_container(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            Err(status) => Err(CriError::new(format!("stopping container {id}"), status).into()),
        }
    }

    /// Stops all containers at once, each after its hook, and then the sandboxes.
    async fn stop_all(&self, pod: &Pod, state: &PodState, grace: i64) -> Result<()> {
        let running = state.containers.iter().filter(|instance| instance.is_running());
        let stops = running.map(|instance| async move {
            let hook = container::find(pod, &instance.name).and_then(|one| one.lifecycle?.pre_stop?.exec);
            if let Some(exec) = hook.filter(|_| grace > 0) {
                self.exec(&instance.status.id, exec.command.unwrap_or_default(), grace).await;
            }
            self.stop_container(&instance.status.id, grace).await
        });
        for result in futures::future::join_all(stops).await {
            result?;
        }
        for sandbox in state.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            let request = Runtime::request(SandboxId { pod_sandbox_id: sandbox.id.clone() });
            match self.context.runtime.runtime.clone().stop_pod_sandbox(request).await {
                Err(status) if status.code() != tonic::Code::NotFound => {
                    return Err(CriError::new(format!("stopping sandbox {}", sandbox.id), status).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes sandboxes and containers that nobody will ask about: the newest two of each container stay.
    async fn collect(&self, state: &PodState) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for instance in &state.containers {
            let count = seen.entry(instance.name.as_str()).or_default();
            *count += 1;
            if *count > 2 && instance.is_exited() {
                let request = Runtime::request(ContainerId { container_id: instance.status.id.clone() });
                // It is tried again at the next look.
                let _ = self.context.runtime.runtime.clone().remove_container(request).await;
            }
        }
        for sandbox in state.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
            if !state.containers.iter().any(|instance| instance.sandbox == sandbox.id) {
                let request = Runtime::request(SandboxId { pod_sandbox_id: sandbox.id.clone() });
                let _ = self.context.runtime.runtime.clone().remove_pod_sandbox(request).await;
            }
        }
    }

    async fn terminate(&mut self, pod: &Arc<Pod>) -> Result<()> {
        self.context.probes.forget(facts::uid(pod));
        let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
        self.stop_all(pod, &state, facts::grace_period(pod)).await?;
        let state = PodState::read(&self.context.runtime, facts::uid(pod)).await?;
        self.report(pod, &state).await;
        for sandbox in &state.sandboxes {
            let request = Runtime::request(SandboxId { pod_sandbox_id: sandbox.id.clone() });
            let fail = |status| CriError::new(format!("removing sandbox {}", sandbox.id), status);
            self.context.runtime.runtime.clone().remove_pod_sandbox(request).await.map_err(fail)?;
        }
        volumes::remove(&self.context, facts::uid(pod))?;
        crate::cgroups::remove(&sandbox::cgroup_parent(pod, &self.context.config.cgroup_driver));
        // Logs of a pod that is gone can be asked for no more.
        let _ = std::fs::remove_dir_all(sandbox::log_folder(pod));
        if pod.metadata.deletion_timestamp.is_some() && !facts::is_static(pod) {
            let api: Api<Pod> = Api::namespaced(self.context.client()?, facts::namespace(pod));
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(preconditions),
                ..Default::default()
            };
            match api.delete(facts::name(pod), &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                other => {
                    other?;
                }
            }
        }
        tracing::info!(pod = facts::full_name(pod), "the pod is gone");
        Ok(())
    }

    /// Tells the API of the pod's status if it changed. What fails is tried at the next look.
    async fn report(&mut self, pod: &Arc<Pod>, state: &PodState) {
        let Ok(client) = self.context.client() else { return };
        let words = self.last_words(pod, state);
        let probes = self.context.probes.verdicts(state);
        let host_ip = self.context.node_ip.to_string();
        // Conditions and start time go on from what was said before, which the source's copy may lag behind.
        let mut latest = Pod::clone(pod);
        if let Some(reported) = &self.reported {
            latest.status = Some(reported.clone());
        }
        let inputs = Inputs {
            pod: &latest,
            state,
            probes: &probes,
            waiting: &self.waiting,
            words: &words,
            host_ip: &host_ip,
            now: Timestamp::now(),
        };
        let status = status::of(&inputs);
        if self.reported.as_ref() == Some(&status) {
            return;
        }
        match send(&self.context, client, pod, &status).await {
            Ok(()) => self.reported = Some(status),
            Err(error) => tracing::debug!(pod = facts::full_name(pod), %error, "the status was not taken"),
        }
    }

    fn last_words(&self, pod: &Pod, state: &PodState) -> HashMap<String, String> {
        let mut all = HashMap::new();
        for instance in state.containers.iter().filter(|instance| instance.is_exited()) {
            let path = volumes::last_words(&self.context, facts::uid(pod), &instance.name, instance.restarts());
            if let Ok(text) = std::fs::read(path)
                && !text.is_empty()
            {
                let text = &text[text.len().saturating_sub(LAST_WORDS_LIMIT)..];
                all.insert(instance.status.id.clone(), String::from_utf8_lossy(text).into_owned());
            }
        }
        all
    }
}

/// Sends a status; a static pod's goes to its image in the API, which is made if it is not there.
async fn send(context: &Context, client: kube::Client, pod: &Pod, status: &PodStatus) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client, facts::namespace(pod));
    let mut uid = pod.metadata.uid.clone();
    if facts::is_static(pod) {
        uid = mirror(context, &api, pod).await?.metadata.uid;
    }
    let patch = json!({"metadata": {"uid": uid}, "status": status});
    match api.patch_status(facts::name(pod), &PatchParams::default(), &Patch::Strategic(patch)).await {
        // It was deleted; the watch will tell.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        other => {
            other?;
            Ok(())
        }
    }
}

/// The API's image of a static pod, made anew when it is of an earlier manifest.
async fn mirror(context: &Context, api: &Api<Pod>, pod: &Pod) -> Result<Pod> {
    let hash = facts::annotation(pod, facts::HASH).unwrap_or_default();
    if let Some(found) = api.get_opt(facts::name(pod)).await? {
        if facts::annotation(&found, facts::MIRROR) == Some(hash) && found.metadata.deletion_timestamp.is_none() {
            return Ok(found);
        }
        let params = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
        api.delete(facts::name(pod), &params).await?;
    }
    let Some(node_uid) = context.node_uid.read().clone() else { return Err(Error::NotConnected) };
    let mut made = pod.clone();
    made.metadata.uid = None;
    made.status = None;
    made.metadata.annotations.get_or_insert_default().insert(facts::MIRROR.into(), hash.into());
    made.metadata.owner_references = Some(vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: context.node_name.clone(),
        uid: node_uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    Ok(api.create(&PostParams::default(), &made).await?)
}
