//! The conditions of a pod, in upstream's words. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::facts;
use super::resize::Pending;

/// What conditions follow from.
pub struct Inputs<'a> {
    /// The pod, with the status that was last told.
    pub pod: &'a Pod,
    /// `Succeeded` and `Failed` are the last.
    pub phase: &'a str,
    /// Of init containers.
    pub init: &'a [ContainerStatus],
    /// Of the others.
    pub statuses: &'a [ContainerStatus],
    /// Whether the sandbox is up.
    pub sandbox: bool,
    /// Why the kubelet ends the pod for the sake of others, if it does.
    pub disrupted: Option<&'a str>,
    /// How far the pod is with other resources.
    pub resizing: &'a Resizing,
    /// Now.
    pub now: Timestamp,
}

/// How far a pod is with other resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resizing {
    /// Why it is not allotted them.
    pub pending: Option<Pending>,
    /// Whether its containers do not have them yet, and what went wrong, if anything did.
    pub progress: Option<Option<String>>,
}

/// The conditions that are there only while a pod is resized.
pub const RESIZING: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

type Verdict = (bool, &'static str, String);

const FINE: Verdict = (true, "", String::new());

/// All conditions: those of others as they are, and the kubelet's own.
pub fn of(inputs: &Inputs<'_>) -> Vec<PodCondition> {
    let mut all = inputs.pod.status.clone().and_then(|status| status.conditions).unwrap_or_default();
    let containers_ready = containers_ready(inputs);
    let ready = ready(inputs, &all, containers_ready.clone());
    let own = [
        ("PodReadyToStartContainers", (inputs.sandbox, "", String::new())),
        ("Initialized", initialized(inputs)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", FINE),
    ];
    for (kind, verdict) in own {
        set(&mut all, kind, verdict, inputs);
    }
    if let Some(message) = inputs.disrupted {
        set(&mut all, "DisruptionTarget", (true, "TerminationByKubelet", message.to_owned()), inputs);
    }
    let Resizing { pending, progress } = inputs.resizing;
    let verdicts = [
        pending.as_ref().map(|pending| (pending.reason, pending.message.clone())),
        progress.as_ref().map(|error| match error {
            Some(error) => ("Error", error.clone()),
            None => ("", String::new()),
        }),
    ];
    for (kind, verdict) in RESIZING.into_iter().zip(verdicts) {
        match verdict {
            Some((reason, message)) => set(&mut all, kind, (true, reason, message), inputs),
            None => all.retain(|one| one.type_ != kind),
        }
    }
    all
}

fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn containers_ready(inputs: &Inputs<'_>) -> Verdict {
    match inputs.phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = init_with_status(inputs).filter(|(container, _)| facts::is_sidecar(container));
    let relevant = sidecars.map(|(_, status)| status).chain(inputs.statuses);
    let unready: Vec<&str> = relevant.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return FINE;
    }
    (false, "ContainersNotReady", format!("containers with unready status: {}", list(&unready)))
}

fn init_with_status<'a>(
    inputs: &Inputs<'a>,
) -> impl Iterator<Item = (&'a k8s_openapi::api::core::v1::Container, &'a ContainerStatus)> {
    let containers = inputs.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.zip(inputs.init)
}

fn ready(inputs: &Inputs<'_>, all: &[PodCondition], containers: Verdict) -> Verdict {
    if !containers.0 {
        return containers;
    }
    let gates = inputs.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let missing: Vec<String> = gates
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match all.iter().find(|condition| condition.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if missing.is_empty() { FINE } else { (false, "ReadinessGatesNotReady", missing.join(", ")) }
}

fn initialized(inputs: &Inputs<'_>) -> Verdict {
    if inputs.phase == "Succeeded" {
        return (true, "PodCompleted", String::new());
    }
    // Once a container has begun all was initialized, even if sidecars start again.
    if inputs.statuses.iter().any(has_begun) {
        return FINE;
    }
    let done = |container, status: &ContainerStatus| {
        if facts::is_sidecar(container) { status.started == Some(true) } else { status.ready }
    };
    let incomplete: Vec<&str> = init_with_status(inputs)
        .filter(|(container, status)| !done(container, status))
        .map(|(_, status)| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return FINE;
    }
    (false, "ContainersNotInitialized", format!("containers with incomplete status: {}", list(&incomplete)))
}

/// Whether a container runs or has run.
pub fn has_begun(status: &ContainerStatus) -> bool {
    let now = status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    now || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
}

fn set(all: &mut Vec<PodCondition>, kind: &str, (is, reason, message): Verdict, inputs: &Inputs<'_>) {
    let status = if is { "True" } else { "False" };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let now = Time(Timestamp::from_second(inputs.now.as_second()).unwrap_or(inputs.now));
    let made = PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason: some(reason),
        message: some(&message),
        observed_generation: inputs.pod.metadata.generation,
        last_transition_time: Some(now),
        last_probe_time: None,
    };
    match all.iter_mut().find(|condition| condition.type_ == kind) {
        Some(old) => {
            let since = if old.status == status { old.last_transition_time.clone() } else { None };
            let last_transition_time = since.or(made.last_transition_time);
            *old = PodCondition { last_transition_time, ..made };
        }
        None => all.push(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(spec: serde_json::Value, phase: &str, ready: bool) -> Vec<(String, String, Option<String>)> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"generation": 3}, "spec": spec,
            "status": {"conditions": [{"type": "gate", "status": "False"}, {"type": "Ready", "status": "True",
                "lastTransitionTime": "2020-01-01T00:00:00Z"}]}}))
        .unwrap();
        let status = |name: &str, ready| ContainerStatus { name: name.into(), ready, ..ContainerStatus::default() };
        let (init, statuses) = ([status("i", false)], [status("a", ready)]);
        let resizing = Resizing::default();
        let inputs = Inputs {
            pod: &pod,
            phase,
            init: &init,
            statuses: &statuses,
            sandbox: true,
            disrupted: None,
            resizing: &resizing,
            now: Timestamp::now(),
        };
        let all = of(&inputs);
        assert!(all.iter().filter(|one| one.type_ != "gate").all(|one| one.observed_generation == Some(3)));
        all.into_iter().map(|one| (one.type_, one.status, one.reason)).collect()
    }

    #[test]
    fn each_condition_says_what_it_waits_for() {
        let plain = json!({"containers": [{"name": "a"}]});
        let gated = json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "gate"}]});
        let init = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        for (spec, phase, ready, kind, status, reason) in [
            (&plain, "Running", true, "Ready", "True", None),
            (&plain, "Running", false, "Ready", "False", Some("ContainersNotReady")),
            (&plain, "Failed", true, "ContainersReady", "False", Some("PodFailed")),
            (&plain, "Succeeded", false, "Ready", "False", Some("PodCompleted")),
            (&plain, "Succeeded", false, "Initialized", "True", Some("PodCompleted")),
            (&gated, "Running", true, "Ready", "False", Some("ReadinessGatesNotReady")),
            (&gated, "Running", true, "ContainersReady", "True", None),
            (&init, "Pending", false, "Initialized", "False", Some("ContainersNotInitialized")),
            (&plain, "Running", true, "gate", "False", None),
        ] {
            let wanted = (kind.to_owned(), status.to_owned(), reason.map(str::to_owned));
            assert!(made(spec.clone(), phase, ready).contains(&wanted), "{spec} {phase} {wanted:?}");
        }
    }
}
