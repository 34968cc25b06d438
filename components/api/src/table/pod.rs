//! Pods: the status column is the most told part of what went wrong.

use serde_json::{Value, json};

use super::Column;
use super::cells::{Row, made, name, since_creation, string_or, wide};
use super::human::{age, list, number, text};

pub(super) const COLUMNS: &[Column] = &[
    name(),
    made("Ready", ready),
    made("Status", |row| summary(row.object).reason.into()),
    made("Restarts", restarts),
    since_creation(),
    wide(string_or("IP", "/status/podIPs/0/ip", "<none>")),
    wide(string_or("Node", "/spec/nodeName", "<none>")),
    wide(string_or("Nominated Node", "/status/nominatedNodeName", "<none>")),
    wide(made("Readiness Gates", gates)),
];

/// What a Pod's containers add up to.
#[derive(Debug, PartialEq)]
struct Summary<'a> {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    /// When a container last ended and was started again, in RFC 3339; empty if none was.
    last_restart: &'a str,
}

/// A row condition that says that a Pod has come to its end.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn ready(row: Row<'_>) -> Value {
    let summary = summary(row.object);
    format!("{}/{}", summary.ready, summary.containers).into()
}

fn restarts(row: Row<'_>) -> Value {
    let summary = summary(row.object);
    match (summary.restarts, summary.last_restart) {
        (0, _) | (_, "") => summary.restarts.to_string().into(),
        (restarts, time) => format!("{restarts} ({} ago)", age(time, row.now)).into(),
    }
}

fn gates(row: Row<'_>) -> Value {
    let gates = list(row.object, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let holds = |gate: &&Value| condition(row.object, text(gate, "/conditionType")) == Some("True");
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len()).into()
}

/// A condition's status.
fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a str> {
    let condition = list(pod, "/status/conditions").iter().find(|condition| condition["type"] == kind);
    condition.map(|condition| text(condition, "/status"))
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn summary(pod: &Value) -> Summary<'_> {
    let init = list(pod, "/spec/initContainers");
    let phase = text(pod, "/status/phase");
    let mut summary = Summary {
        reason: super::human::or(text(pod, "/status/reason"), phase).to_owned(),
        ready: 0,
        containers: list(pod, "/spec/containers").len() + init.iter().filter(|one| is_sidecar(one)).count(),
        restarts: 0,
        last_restart: "",
    };
    let gated = |condition: &Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
    if list(pod, "/status/conditions").iter().any(gated) {
        summary.reason = "SchedulingGated".into();
    }
    let (initializing, sidecars) = initialize(pod, &mut summary);
    if !initializing || condition(pod, "Initialized") == Some("True") {
        (summary.restarts, summary.last_restart) = sidecars;
        run(pod, &mut summary);
    }
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

/// The end of the state before the present one, in RFC 3339. These compare as texts, since all are in UTC.
fn ended(status: &Value) -> &str {
    text(status, "/lastState/terminated/finishedAt")
}

/// Reads the init containers' statuses: whether they still have something to do, and the sidecars' restarts among them.
fn initialize<'a>(pod: &'a Value, summary: &mut Summary<'a>) -> (bool, (i64, &'a str)) {
    let init = list(pod, "/spec/initContainers");
    let mut sidecars = (0, "");
    for (at, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let restarts = number(status, "/restartCount");
        let sidecar = init.iter().any(|one| one["name"] == status["name"] && is_sidecar(one));
        summary.restarts += restarts;
        summary.last_restart = summary.last_restart.max(ended(status));
        if sidecar {
            sidecars = (sidecars.0 + restarts, sidecars.1.max(ended(status)));
        }
        let terminated = status.pointer("/state/terminated").filter(|state| !state.is_null());
        let waiting = text(status, "/state/waiting/reason");
        summary.reason = match terminated {
            Some(end) if number(end, "/exitCode") == 0 => continue,
            _ if sidecar && status["started"] == true => {
                summary.ready += usize::from(status["ready"] == true);
                continue;
            }
            Some(end) => format!("Init:{}", end_reason(end)),
            None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            None => format!("Init:{at}/{}", init.len()),
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn end_reason(end: &Value) -> String {
    match (text(end, "/reason"), number(end, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(end, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Reads the containers' statuses; the first container's word counts most, so it is read last.
fn run<'a>(pod: &'a Value, summary: &mut Summary<'a>) {
    let (mut running, mut failure) = (false, None);
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts += number(status, "/restartCount");
        summary.last_restart = summary.last_restart.max(ended(status));
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(end) = status.pointer("/state/terminated").filter(|state| !state.is_null()) {
            summary.reason = end_reason(end);
            if number(end, "/exitCode") != 0 {
                failure = Some(summary.reason.clone());
            }
        } else if status["ready"] == true && status.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" {
        if running && condition(pod, "Ready") == Some("True") {
            summary.reason = "Running".into();
        } else if let Some(failure) = failure {
            summary.reason = failure;
        } else if running {
            summary.reason = "NotReady".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(spec: Value, status: Value) -> String {
        let summary_of = json!({"spec": spec, "status": status});
        let summary = summary(&summary_of);
        format!("{} {}/{} {}", summary.reason, summary.ready, summary.containers, summary.restarts)
    }

    #[test]
    fn the_status_tells_what_holds_the_pod_up() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
        let sidecar =
            json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
        let cases = [
            (&two, json!({"phase": "Pending"}), "Pending 0/2 0"),
            (
                &two,
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                "SchedulingGated 0/2 0",
            ),
            (&two, json!({"phase": "Failed", "reason": "Evicted"}), "Evicted 0/2 0"),
            (
                &two,
                json!({"phase": "Running", "containerStatuses": [
                    {"ready": true, "state": {"running": {}}, "restartCount": 2},
                    {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3},
                ]}),
                "CrashLoopBackOff 1/2 5",
            ),
            (
                &two,
                json!({"phase": "Running", "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
                    {"ready": true, "state": {"running": {}}},
                ]}),
                "NotReady 1/2 0",
            ),
            (
                &two,
                json!({"phase": "Failed", "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
                    {"state": {"terminated": {"exitCode": 137, "signal": 9}}},
                ]}),
                "Signal:9 0/2 0",
            ),
            (
                &init,
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}},
                ]}),
                "Init:1/2 0/1 0",
            ),
            (
                &init,
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}},
                ]}),
                "Init:Error 0/1 4",
            ),
            (
                &sidecar,
                json!({"phase": "Running",
                    "initContainerStatuses": [
                        {"name": "i", "restartCount": 1, "started": true, "ready": true, "state": {"running": {}}},
                    ],
                    "containerStatuses": [{"ready": true, "state": {"running": {}}}],
                }),
                "Running 2/2 1",
            ),
        ];
        for (spec, status, expected) in cases {
            assert_eq!(reason(spec.clone(), status), expected);
        }
        let leaving = json!({"metadata": {"deletionTimestamp": "t"}, "spec": {}, "status": {"phase": "Running"}});
        assert_eq!(summary(&leaving).reason, "Terminating");
    }
}
