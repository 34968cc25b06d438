//! The status of a pod, from what the runtime and the probes say. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as State, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodIP, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::actions::{ProbeVerdicts, has_ended};
use super::conditions::{self, has_begun};
use super::state::{Instance, PodState};
use super::{facts, resize};

/// Why containers that are not there wait: by name, reason and message.
pub type Waiting = HashMap<String, (String, String)>;

/// What the status is made from.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What the runtime says.
    pub state: &'a PodState,
    /// What probes say.
    pub probes: &'a ProbeVerdicts,
    /// Why containers wait.
    pub waiting: &'a Waiting,
    /// Last words of ended containers, by id.
    pub words: &'a HashMap<String, String>,
    /// What running containers were given since they were made.
    pub given: &'a resize::Given,
    /// How far the pod is with other resources.
    pub resizing: &'a conditions::Resizing,
    /// Why the kubelet itself has failed the pod, if it has.
    pub failure: Option<&'a Failure>,
    /// Address of the node.
    pub host_ip: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Why a pod has failed whatever its containers did: by reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
    /// The seconds that its containers have to end, if it is not the pod's own time.
    pub grace: Option<i64>,
}

impl Failure {
    /// A failure of which the pod has its own time to end.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), grace: None }
    }

    /// Whether the pod does not fail by what it is or does, but because the node needs what it has.
    pub fn is_for_others(&self) -> bool {
        matches!(self.reason, "Evicted" | "Preempting" | "Terminated")
    }
}

/// Whether the status says that the pod has done all it will ever do.
pub fn is_terminal(status: Option<&PodStatus>) -> bool {
    matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn time(nanoseconds: i64) -> Option<Time> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().map(whole)).flatten()
}

/// The API's times are whole seconds.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The pod's status.
pub fn of(inputs: &Inputs<'_>) -> PodStatus {
    let Inputs { pod, state, now, .. } = inputs;
    let spec = pod.spec.clone().unwrap_or_default();
    let before = pod.status.clone().unwrap_or_default();
    let init = spec.init_containers.clone().unwrap_or_default();
    let init_statuses: Vec<ContainerStatus> =
        init.iter().map(|container| container_status(inputs, container, true)).collect();
    let statuses: Vec<ContainerStatus> =
        spec.containers.iter().map(|container| container_status(inputs, container, false)).collect();
    let ephemeral: Vec<ContainerStatus> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .filter_map(|one| super::container::find(pod, &one.name))
        .map(|container| container_status(inputs, &container, false))
        .collect();
    let initialized = init.iter().zip(&init_statuses).all(|(container, status)| {
        if facts::is_sidecar(container) { status.started == Some(true) } else { exit_code(status) == Some(0) }
    });
    let phase = match (before.phase.as_deref(), inputs.failure) {
        // A pod never comes back from its end.
        (Some(last @ ("Succeeded" | "Failed")), _) => last,
        (_, Some(_)) => "Failed",
        _ => phase(inputs, &init_statuses, &statuses, initialized),
    };
    let conditions = conditions::of(&conditions::Inputs {
        pod,
        phase,
        init: &init_statuses,
        statuses: &statuses,
        sandbox: state.sandbox().is_some_and(|sandbox| sandbox.ready),
        disrupted: inputs.failure.filter(|failure| failure.is_for_others()).map(|failure| failure.message.as_str()),
        resizing: inputs.resizing,
        now: *now,
    });
    let same_phase = before.phase.as_deref() == Some(phase);
    let (reason, message) = match inputs.failure {
        Some(failure) => (Some(failure.reason.to_owned()), Some(failure.message.clone())),
        None if same_phase => (before.reason, before.message),
        None => (None, None),
    };
    let ips: Vec<String> = match facts::host_network(pod) {
        true => vec![inputs.host_ip.to_owned()],
        false => state.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default(),
    };
    let ips = if ips.is_empty() { before.pod_ips.iter().flatten().map(|one| one.ip.clone()).collect() } else { ips };
    // A pod that was never taken has no containers to speak of.
    let refused = inputs.failure.is_some() && state.containers.is_empty() && before.container_statuses.is_none();
    let (init_statuses, statuses) = if refused { Default::default() } else { (init_statuses, statuses) };
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        host_ip: Some(inputs.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: inputs.host_ip.to_owned() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: before.start_time.or_else(|| Some(whole(*now))),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        container_statuses: (!statuses.is_empty()).then_some(statuses),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        qos_class: before.qos_class.or_else(|| Some(facts::qos(pod).name().to_owned())),
        observed_generation: pod.metadata.generation,
        reason,
        message,
        ..PodStatus::default()
    }
}

/// Makes a status the last of a pod that is deleted: its containers have ended, and so has it.
pub fn close(status: &mut PodStatus, now: Timestamp) {
    let mut bad = false;
    let all = [&mut status.container_statuses, &mut status.init_container_statuses];
    for one in all.into_iter().flatten().flatten() {
        let (begun, code) = (has_begun(one), exit_code(one));
        bad |= code.is_some_and(|code| code != 0) || !begun && code.is_none();
        one.ready = one.ready && code == Some(0);
        one.started = Some(false);
    }
    if !is_terminal(Some(status)) {
        status.phase = Some(if bad { "Failed".into() } else { "Succeeded".into() });
    }
    let failed = status.phase.as_deref() == Some("Failed");
    for condition in status.conditions.iter_mut().flatten() {
        if matches!(condition.type_.as_str(), "Ready" | "ContainersReady") {
            if condition.status != "False" {
                condition.last_transition_time = Some(whole(now));
            }
            condition.status = "False".into();
            condition.reason = Some(if failed { "PodFailed".into() } else { "PodCompleted".into() });
            condition.message = None;
        }
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}

fn phase(
    inputs: &Inputs<'_>,
    init: &[ContainerStatus],
    statuses: &[ContainerStatus],
    initialized: bool,
) -> &'static str {
    let ended = has_ended(inputs.pod, inputs.state);
    if ended {
        let bad = init.iter().chain(statuses).any(|status| exit_code(status).is_some_and(|code| code != 0));
        return if bad { "Failed" } else { "Succeeded" };
    }
    if initialized && statuses.iter().all(has_begun) { "Running" } else { "Pending" }
}

fn container_status(inputs: &Inputs<'_>, container: &Container, is_init: bool) -> ContainerStatus {
    let latest = inputs.state.latest(&container.name);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    };
    let waits = inputs.waiting.get(&container.name);
    let Some(instance) = latest else {
        let initializing = inputs
            .pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.init_containers.as_ref().is_some_and(|all| !all.is_empty()));
        let plain = if initializing { "PodInitializing" } else { "ContainerCreating" };
        if let Some(told) = told(inputs.pod, &container.name) {
            // What has ended stays as it was told, even if the runtime has forgotten it.
            if exit_code(told).is_some() && waits.is_none() {
                return told.clone();
            }
            status.restart_count = told.restart_count;
            status.last_state = told.last_state.clone();
            if let Some(running) = told.state.as_ref().and_then(|state| state.running.as_ref()) {
                status.last_state = Some(lost(running.started_at.clone(), inputs.now));
            }
        }
        let (reason, message) = waits.cloned().unwrap_or_else(|| (plain.into(), String::new()));
        status.state = Some(waiting(reason, message));
        status.started = Some(false);
        return status;
    };
    status.container_id = Some(format!("containerd://{}", instance.status.id));
    status.image_id = instance.status.image_ref.clone();
    status.restart_count = instance.restarts() as i32;
    status.state = Some(state_of(inputs, instance));
    if let Some(previous) = inputs.state.previous(&container.name) {
        status.last_state = Some(state_of(inputs, previous));
    }
    if instance.is_exited()
        && let Some((reason, message)) = waits
    {
        status.last_state = status.state.take();
        status.state = Some(waiting(reason.clone(), message.clone()));
    }
    let verdicts = inputs.probes.get(&instance.status.id);
    let running = instance.is_running();
    status.started = Some(running && verdicts.is_none_or(|verdicts| verdicts.started));
    if let Some(image) = instance.status.image.as_ref().filter(|image| !image.image.is_empty()) {
        status.image = image.image.clone();
    }
    let has = resize::present(instance, inputs.given).or_else(|| container.resources.clone());
    status.allocated_resources = container.resources.as_ref().and_then(|resources| resources.requests.clone());
    status.resources = has.filter(|_| running);
    let mounts = container.volume_mounts.iter().flatten();
    let mounts: Vec<_> = mounts
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only.filter(|only| *only),
            recursive_read_only: mount.read_only.filter(|only| *only).map(|_| "Disabled".to_owned()),
            ..Default::default()
        })
        .collect();
    status.volume_mounts = (!mounts.is_empty()).then_some(mounts);
    let plain_init = is_init && !facts::is_sidecar(container);
    status.ready = if plain_init {
        instance.is_exited() && instance.status.exit_code == 0
    } else {
        running && verdicts.is_none_or(|verdicts| verdicts.started && verdicts.ready)
    };
    status
}

/// What was last told of a container.
fn told<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find(|one| one.name == name)
}

/// The end of a container that ran and that the runtime no longer knows.
fn lost(started_at: Option<Time>, now: Timestamp) -> State {
    State {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            started_at,
            finished_at: Some(whole(now)),
            ..ContainerStateTerminated::default()
        }),
        ..State::default()
    }
}

fn waiting(reason: String, message: String) -> State {
    let message = (!message.is_empty()).then_some(message);
    State { waiting: Some(ContainerStateWaiting { reason: Some(reason), message }), ..State::default() }
}

fn state_of(inputs: &Inputs<'_>, instance: &Instance) -> State {
    let status = &instance.status;
    if instance.is_running() {
        return State {
            running: Some(ContainerStateRunning { started_at: time(status.started_at) }),
            ..State::default()
        };
    }
    if !instance.is_exited() {
        return waiting("ContainerCreating".into(), String::new());
    }
    let reason = match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (other, _) => other,
    };
    let words = inputs.words.get(&status.id).cloned().unwrap_or_else(|| status.message.clone());
    State {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("containerd://{}", status.id)),
            exit_code: status.exit_code,
            reason: Some(reason.to_owned()),
            message: (!words.is_empty()).then_some(words),
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            signal: None,
        }),
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::Sandbox;
    use kinit_cri::v1::{ContainerState, ContainerStatus as Said};
    use serde_json::json;

    fn status(policy: &str, state: Option<(ContainerState, i32)>) -> PodStatus {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"},
            "spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]}}))
        .unwrap();
        let sandbox = Sandbox { id: "s".into(), ready: true, attempt: 0, ips: vec!["10.0.0.1".into()] };
        let containers = state.into_iter().map(|(state, exit_code)| Instance {
            name: "a".into(),
            sandbox: "s".into(),
            status: Said {
                id: "c".into(),
                state: state.into(),
                exit_code,
                started_at: 1,
                finished_at: 2,
                ..Default::default()
            },
        });
        let state = PodState { sandboxes: vec![sandbox], containers: containers.collect() };
        let (probes, waiting, words, given, resizing) = Default::default();
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        of(&Inputs {
            pod: &pod,
            state: &state,
            probes: &probes,
            waiting: &waiting,
            words: &words,
            given: &given,
            resizing: &resizing,
            failure: None,
            host_ip: "10.0.0.9",
            now,
        })
    }

    #[test]
    fn what_has_ended_stays_told() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]},
            "status": {"phase": "Succeeded", "containerStatuses": [
                {"name": "a", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                    "state": {"terminated": {"exitCode": 0}}},
                {"name": "b", "image": "i", "imageID": "", "ready": true, "restartCount": 1, "state": {"running": {}}}]}}))
        .unwrap();
        let (state, probes, waiting, words, given, resizing) = Default::default();
        let inputs = Inputs {
            pod: &pod,
            state: &state,
            probes: &probes,
            waiting: &waiting,
            words: &words,
            given: &given,
            resizing: &resizing,
            failure: None,
            host_ip: "10.0.0.9",
            now: Timestamp::UNIX_EPOCH,
        };
        let status = of(&inputs);
        assert_eq!(status.phase.as_deref(), Some("Succeeded"));
        let all = status.container_statuses.unwrap();
        assert_eq!((exit_code(&all[0]), all[0].restart_count), (Some(0), 3));
        let last = all[1].last_state.as_ref().and_then(|state| state.terminated.as_ref());
        assert_eq!(last.and_then(|ended| ended.reason.as_deref()), Some("ContainerStatusUnknown"));
    }

    #[test]
    fn phases_follow_containers() {
        for (policy, state, wanted, ready) in [
            ("Always", None, "Pending", "False"),
            ("Always", Some((ContainerState::ContainerRunning, 0)), "Running", "True"),
            ("Always", Some((ContainerState::ContainerExited, 1)), "Running", "False"),
            ("Never", Some((ContainerState::ContainerExited, 0)), "Succeeded", "False"),
            ("Never", Some((ContainerState::ContainerExited, 1)), "Failed", "False"),
            ("OnFailure", Some((ContainerState::ContainerExited, 1)), "Running", "False"),
        ] {
            let status = status(policy, state);
            assert_eq!(status.phase.as_deref(), Some(wanted), "{policy} {state:?}");
            let condition = status.conditions.unwrap().into_iter().find(|one| one.type_ == "Ready").unwrap();
            assert_eq!(condition.status, ready, "{policy} {state:?}");
            assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.1"));
        }
    }
}
