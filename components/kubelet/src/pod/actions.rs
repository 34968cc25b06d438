//! What has to be done for a pod, from what is wanted and what is there. Pure.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::facts;
use super::state::{CONTAINER_HASH, Instance, PodState};

/// The first pause before a container that ended is started again; it doubles up to [`LONGEST_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A container that ran this long begins anew with its pauses.
const FORGIVEN: Duration = Duration::from_secs(600);

/// What probes say of a container; absent means not asked yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Whether the startup probe has succeeded, or there is none.
    pub started: bool,
    /// Whether the readiness probe succeeds, or there is none.
    pub ready: bool,
    /// Whether the liveness or startup probe has failed for good.
    pub failed: bool,
}

/// Verdicts by container id.
pub type ProbeVerdicts = HashMap<String, Verdicts>;

/// What has to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// All is stopped, as the sandbox is gone or the pod has ended.
    pub stop_all: bool,
    /// A new sandbox is made, with this attempt.
    pub create_sandbox: Option<u32>,
    /// Containers to stop, by id, and why.
    pub stop: Vec<(String, &'static str)>,
    /// Containers to remove, by id: their runtime keeps their names from others while they are there.
    pub discard: Vec<String>,
    /// Containers to start, by name, with their restart count.
    pub start: Vec<(String, u32)>,
    /// Containers that pause before they are started again, by name.
    pub waits: Vec<String>,
    /// When to look again, if something has to wait.
    pub again: Option<Duration>,
}

impl Actions {
    /// Adds containers, by id, that start anew to get other resources.
    pub fn restart_for_resize<'a>(&mut self, state: &PodState, ids: impl Iterator<Item = &'a str>) {
        for id in ids {
            let Some(instance) = state.containers.iter().find(|one| one.status.id == id) else { continue };
            if self.stop_all || self.stop.iter().any(|(other, _)| other == id) {
                continue;
            }
            self.stop.push((id.to_owned(), RESIZED));
            self.start.push((instance.name.clone(), instance.restarts() + 1));
        }
    }
}

/// What is made of a container when it changes; only these fields can change in a pod that is there.
pub fn hash(container: &Container) -> String {
    let text = serde_json::json!({"name": container.name, "image": container.image}).to_string();
    hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(text)[..8])
}

/// Computes what has to be done. `now` is in nanoseconds since 1970, as the runtime gives times.
pub fn compute(pod: &Pod, state: &PodState, probes: &ProbeVerdicts, now: i64) -> Actions {
    let mut actions = Actions::default();
    let Some(spec) = &pod.spec else { return actions };
    let policy = facts::restart_policy(pod);
    let usable =
        state.sandbox().filter(|sandbox| sandbox.ready && (facts::host_network(pod) || !sandbox.ips.is_empty()));
    let Some(sandbox) = usable else {
        if has_ended(pod, state) {
            actions.stop_all = !state.sandboxes.iter().all(|sandbox| !sandbox.ready);
            return actions;
        }
        actions.stop_all = !state.sandboxes.is_empty();
        actions.create_sandbox = Some(state.sandbox().map_or(0, |sandbox| sandbox.attempt + 1));
        let first = spec.init_containers.iter().flatten().next();
        let names: Vec<&Container> = match first {
            Some(first) => vec![first],
            None => spec.containers.iter().collect(),
        };
        for container in names {
            if wants_start(container, state.latest(&container.name), policy) {
                actions.start.push((container.name.clone(), next_count(state, &container.name)));
            }
        }
        return actions;
    };
    if has_ended(pod, state) {
        actions.stop_all = true;
        return actions;
    }
    let here = |name: &str| state.latest(name).filter(|instance| instance.sandbox == sandbox.id);
    if !advance_init(
        &mut actions,
        spec.init_containers.as_deref().unwrap_or_default(),
        &here,
        state,
        policy,
        probes,
        now,
    ) {
        return actions;
    }
    for container in &spec.containers {
        consider(&mut actions, container, here(&container.name), state, policy, probes, now);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        match state.latest(&container.name) {
            None => actions.start.push((container.name.clone(), 0)),
            Some(one) if !one.is_running() && !one.is_exited() => make_anew(&mut actions, one),
            Some(_) => {}
        }
    }
    actions
}

/// Goes through the init containers; says whether the others may start.
fn advance_init<'a>(
    actions: &mut Actions,
    containers: &[Container],
    here: &impl Fn(&str) -> Option<&'a Instance>,
    state: &PodState,
    policy: &str,
    probes: &ProbeVerdicts,
    now: i64,
) -> bool {
    for container in containers {
        let instance = here(&container.name);
        if facts::is_sidecar(container) {
            consider(actions, container, instance, state, "Always", probes, now);
            let started = instance.is_some_and(|one| {
                one.is_running() && probes.get(&one.status.id).is_none_or(|verdicts| verdicts.started)
            });
            if !started {
                return false;
            }
            continue;
        }
        match instance {
            Some(one) if one.is_exited() && one.status.exit_code == 0 => continue,
            Some(one) if one.is_exited() => {
                if policy != "Never" {
                    restart(actions, container, one, state, now);
                }
            }
            Some(one) if one.is_running() => {}
            Some(one) => make_anew(actions, one),
            None => actions.start.push((container.name.clone(), next_count(state, &container.name))),
        }
        return false;
    }
    true
}

fn consider(
    actions: &mut Actions,
    container: &Container,
    instance: Option<&Instance>,
    state: &PodState,
    policy: &str,
    probes: &ProbeVerdicts,
    now: i64,
) {
    let Some(instance) = instance else {
        if wants_start(container, state.latest(&container.name), policy) {
            actions.start.push((container.name.clone(), next_count(state, &container.name)));
        }
        return;
    };
    if instance.is_running() {
        let made_of = instance.status.annotations.get(CONTAINER_HASH);
        if made_of.is_some_and(|made_of| *made_of != hash(container)) {
            actions.stop.push((instance.status.id.clone(), CHANGED));
            actions.start.push((container.name.clone(), instance.restarts() + 1));
        } else if let Some(verdicts) = probes.get(&instance.status.id).filter(|verdicts| verdicts.failed) {
            actions.stop.push((instance.status.id.clone(), if verdicts.started { UNHEALTHY } else { NOT_STARTED }));
            if policy != "Never" {
                actions.again = Some(Duration::ZERO);
            }
        }
    } else if instance.is_exited() {
        if wants_start(container, Some(instance), policy) {
            restart(actions, container, instance, state, now);
        }
    } else {
        make_anew(actions, instance);
    }
}

/// A container was made and never started, because the kubelet ended in between.
fn make_anew(actions: &mut Actions, instance: &Instance) {
    actions.discard.push(instance.status.id.clone());
    actions.start.push((instance.name.clone(), instance.restarts()));
}

/// Whether a container is to run, after the run that is given.
fn wants_start(container: &Container, before: Option<&Instance>, policy: &str) -> bool {
    match before {
        None => true,
        Some(_) if facts::is_sidecar(container) => true,
        Some(before) if before.is_exited() && is_ruled(container, before.status.exit_code) => true,
        Some(before) if before.is_exited() => match container.restart_policy.as_deref().unwrap_or(policy) {
            "Always" => true,
            "OnFailure" => before.status.exit_code != 0,
            _ => false,
        },
        Some(_) => true,
    }
}

/// Whether one of the container's own rules has it started again after it exited with a code.
fn is_ruled(container: &Container, code: i32) -> bool {
    container.restart_policy_rules.iter().flatten().filter(|rule| rule.action == "Restart").any(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let among = codes.values.iter().flatten().any(|value| *value == code);
            match codes.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                _ => false,
            }
        })
    })
}

fn restart(actions: &mut Actions, container: &Container, ended: &Instance, state: &PodState, now: i64) {
    let due = ended.status.finished_at.saturating_add(pause(ended).as_nanos() as i64);
    if now >= due {
        actions.start.push((container.name.clone(), next_count(state, &container.name)));
    } else {
        let wait = Duration::from_nanos((due - now) as u64);
        actions.waits.push(container.name.clone());
        actions.again = Some(actions.again.map_or(wait, |other| other.min(wait)));
    }
}

/// Why a container is stopped whose definition changed.
const CHANGED: &str = "definition changed, will be restarted";
/// Why a container is stopped that takes other resources only at its start.
const RESIZED: &str = "resize requires restart";
/// Why a container is stopped that does not live.
const UNHEALTHY: &str = "failed liveness probe, will be restarted";
/// Why a container is stopped that did not start.
const NOT_STARTED: &str = "failed startup probe, will be restarted";
/// Seconds that a container is given to end that is stopped for `reason`: a probe may have its own.
pub fn grace(pod: &Pod, name: &str, reason: &str) -> i64 {
    let container = pod.spec.as_ref().and_then(|spec| facts::containers(spec).find(|one| one.name == name));
    let probe = container.and_then(|one| match reason {
        UNHEALTHY => one.liveness_probe.as_ref(),
        NOT_STARTED => one.startup_probe.as_ref(),
        _ => None,
    });
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or_else(|| facts::grace_period(pod))
}

/// How long a container that ended waits: nothing the first time, then ten seconds doubling to five minutes.
pub fn pause(ended: &Instance) -> Duration {
    let ran = ended.status.finished_at.saturating_sub(ended.status.started_at).max(0) as u64;
    let count = ended.restarts();
    if count == 0 || Duration::from_nanos(ran) > FORGIVEN {
        return if Duration::from_nanos(ran) > FORGIVEN { Duration::ZERO } else { first_pause(count) };
    }
    first_pause(count)
}

fn first_pause(count: u32) -> Duration {
    if count == 0 {
        Duration::ZERO
    } else {
        (FIRST_PAUSE * 2u32.saturating_pow((count - 1).min(10))).min(LONGEST_PAUSE)
    }
}

fn next_count(state: &PodState, name: &str) -> u32 {
    state.latest(name).map_or(0, |instance| instance.restarts() + 1)
}

/// Whether the pod has done all it will ever do.
pub fn has_ended(pod: &Pod, state: &PodState) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let policy = facts::restart_policy(pod);
    if policy == "Always" {
        return false;
    }
    let failed_init =
        spec.init_containers.iter().flatten().filter(|container| !facts::is_sidecar(container)).any(|container| {
            policy == "Never"
                && state.latest(&container.name).is_some_and(|one| one.is_exited() && one.status.exit_code != 0)
        });
    failed_init
        || spec.containers.iter().all(|container| {
            state
                .latest(&container.name)
                .is_some_and(|one| one.is_exited() && !wants_start(container, Some(one), policy))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::{RESTART_COUNT, Sandbox};
    use kinit_cri::v1::{ContainerState, ContainerStatus};
    use serde_json::json;

    const NOW: i64 = 1_000_000_000_000;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn one(policy: &str) -> Pod {
        pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]}))
    }

    fn sandbox() -> Sandbox {
        Sandbox { id: "s".into(), ready: true, attempt: 0, ips: vec!["10.0.0.1".into()] }
    }

    fn instance(name: &str, state: ContainerState, exit_code: i32, restarts: u32) -> Instance {
        let status = ContainerStatus {
            id: format!("{name}-{restarts}"),
            state: state.into(),
            exit_code,
            started_at: NOW - 2_000_000_000,
            finished_at: NOW - 1_000_000_000,
            annotations: [(RESTART_COUNT.to_owned(), restarts.to_string())].into(),
            ..Default::default()
        };
        Instance { name: name.into(), sandbox: "s".into(), status }
    }

    fn with(containers: Vec<Instance>) -> PodState {
        PodState { sandboxes: vec![sandbox()], containers }
    }

    fn actions(pod: &Pod, state: &PodState) -> Actions {
        compute(pod, state, &ProbeVerdicts::new(), NOW)
    }

    #[test]
    fn a_new_pod_gets_a_sandbox_and_its_containers() {
        let wanted = Actions { create_sandbox: Some(0), start: vec![("a".into(), 0)], ..Actions::default() };
        assert_eq!(actions(&one("Always"), &PodState::default()), wanted);
    }

    #[test]
    fn a_lost_sandbox_is_replaced() {
        let mut state = with(vec![instance("a", ContainerState::ContainerExited, 1, 0)]);
        state.sandboxes[0].ready = false;
        let found = actions(&one("Always"), &state);
        assert_eq!((found.stop_all, found.create_sandbox, found.start), (true, Some(1), vec![("a".into(), 1)]));
    }

    #[test]
    fn what_runs_is_left_alone() {
        let state = with(vec![instance("a", ContainerState::ContainerRunning, 0, 0)]);
        assert_eq!(actions(&one("Always"), &state), Actions::default());
    }

    #[test]
    fn an_ended_container_follows_its_policy() {
        for (policy, code, starts) in [
            ("Always", 0, true),
            ("Always", 1, true),
            ("OnFailure", 0, false),
            ("OnFailure", 1, true),
            ("Never", 1, false),
        ] {
            let state = with(vec![instance("a", ContainerState::ContainerExited, code, 0)]);
            let found = actions(&one(policy), &state);
            assert_eq!(!found.start.is_empty(), starts, "{policy} {code}");
            assert_eq!(found.stop_all, !starts, "{policy} {code}");
        }
    }

    #[test]
    fn a_containers_own_rules_come_first() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        let pod = pod(json!({"restartPolicy": "Never", "containers":
            [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]}));
        for (code, starts) in [(42, true), (1, false), (0, false)] {
            let found = actions(&pod, &with(vec![instance("a", ContainerState::ContainerExited, code, 0)]));
            assert_eq!(!found.start.is_empty(), starts, "{code}");
        }
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        for (restarts, seconds) in [(0, 0), (1, 10), (2, 20), (3, 40), (6, 300), (40, 300)] {
            assert_eq!(pause(&instance("a", ContainerState::ContainerExited, 1, restarts)).as_secs(), seconds);
        }
        let state = with(vec![instance("a", ContainerState::ContainerExited, 1, 1)]);
        let found = actions(&one("Always"), &state);
        assert_eq!((found.start.len(), found.again), (0, Some(Duration::from_secs(9))));
        assert_eq!(found.waits, ["a"]);
    }

    #[test]
    fn init_containers_go_one_by_one() {
        let pod = pod(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
        assert_eq!(actions(&pod, &PodState::default()).start, [("i".to_owned(), 0)]);
        let running = with(vec![instance("i", ContainerState::ContainerRunning, 0, 0)]);
        assert_eq!(actions(&pod, &running), Actions::default());
        let done = |name| instance(name, ContainerState::ContainerExited, 0, 0);
        assert_eq!(actions(&pod, &with(vec![done("i")])).start, [("j".to_owned(), 0)]);
        assert_eq!(actions(&pod, &with(vec![done("j"), done("i")])).start, [("a".to_owned(), 0)]);
        let failed = with(vec![instance("i", ContainerState::ContainerExited, 1, 0)]);
        assert_eq!(actions(&pod, &failed).start, [("i".to_owned(), 1)]);
    }

    #[test]
    fn what_was_never_started_makes_room_for_another() {
        let with_init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "image": "i"}]});
        let with_debug = json!({"containers": [], "ephemeralContainers": [{"name": "e"}]});
        for (pod, name) in [(one("Never"), "a"), (pod(with_init), "i"), (pod(with_debug), "e")] {
            let state = with(vec![instance(name, ContainerState::ContainerCreated, 0, 2)]);
            let found = actions(&pod, &state);
            assert_eq!((found.discard, found.start), (vec![format!("{name}-2")], vec![(name.to_owned(), 2)]));
        }
    }

    #[test]
    fn a_sidecar_starts_and_the_rest_goes_on() {
        let pod =
            pod(json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}));
        assert_eq!(actions(&pod, &with(vec![])).start, [("s".to_owned(), 0)]);
        let running = with(vec![instance("s", ContainerState::ContainerRunning, 0, 0)]);
        assert_eq!(actions(&pod, &running).start, [("a".to_owned(), 0)]);
    }

    #[test]
    fn a_failed_probe_stops_and_a_new_image_replaces() {
        let mut running = instance("a", ContainerState::ContainerRunning, 0, 0);
        let verdicts = [("a-0".to_owned(), Verdicts { failed: true, ..Verdicts::default() })].into();
        let found = compute(&one("Always"), &with(vec![running.clone()]), &verdicts, NOW);
        assert_eq!(found.stop.len(), 1);
        running.status.annotations.insert(CONTAINER_HASH.into(), "other".into());
        let found = actions(&one("Always"), &with(vec![running]));
        assert_eq!((found.stop.len(), found.start), (1, vec![("a".to_owned(), 1)]));
    }
}
