//! The groups apps, batch, autoscaling and policy, and ReplicationControllers.

use serde_json::Value;

use super::Column;
use super::cells::{Row, count, declared, int, made, name, since, since_creation, string, string_or, wide};
use super::human::{age, human_duration, labels, list, number, selector, selector_or_none, text};

const fn template_containers() -> Column {
    wide(made("Containers", |row| containers(row.object, "/spec/template", "name")))
}

const fn template_images() -> Column {
    wide(made("Images", |row| containers(row.object, "/spec/template", "image")))
}

const fn spec_selector() -> Column {
    wide(made("Selector", |row| selector_or_none(row.object.pointer("/spec/selector"))))
}

const DEPLOYMENT: &[Column] = &[
    name(),
    made("Ready", ready_of_desired),
    declared(int("Up-to-date", "/status/updatedReplicas"), "string"),
    declared(int("Available", "/status/availableReplicas"), "string"),
    since_creation(),
    template_containers(),
    template_images(),
    wide(made("Selector", |row| selector(row.object.pointer("/spec/selector")).into())),
];

const REPLICA_SET: &[Column] = &[
    name(),
    int("Desired", "/spec/replicas"),
    int("Current", "/status/replicas"),
    int("Ready", "/status/readyReplicas"),
    since_creation(),
    template_containers(),
    template_images(),
    spec_selector(),
];

const REPLICATION_CONTROLLER: &[Column] = &[
    name(),
    int("Desired", "/spec/replicas"),
    int("Current", "/status/replicas"),
    int("Ready", "/status/readyReplicas"),
    since_creation(),
    template_containers(),
    template_images(),
    wide(made("Selector", |row| labels(row.object.pointer("/spec/selector")).into())),
];

const DAEMON_SET: &[Column] = &[
    name(),
    int("Desired", "/status/desiredNumberScheduled"),
    int("Current", "/status/currentNumberScheduled"),
    int("Ready", "/status/numberReady"),
    int("Up-to-date", "/status/updatedNumberScheduled"),
    int("Available", "/status/numberAvailable"),
    made("Node Selector", |row| labels(row.object.pointer("/spec/template/spec/nodeSelector")).into()),
    since_creation(),
    template_containers(),
    template_images(),
    spec_selector(),
];

const STATEFUL_SET: &[Column] =
    &[name(), made("Ready", ready_of_desired), since_creation(), template_containers(), template_images()];

const CONTROLLER_REVISION: &[Column] =
    &[name(), made("Controller", controller), declared(int("Revision", "/revision"), "string"), since_creation()];

const JOB: &[Column] = &[
    name(),
    made("Status", job_status),
    made("Completions", completions),
    made("Duration", job_duration),
    since_creation(),
    template_containers(),
    template_images(),
    spec_selector(),
];

const CRON_JOB: &[Column] = &[
    name(),
    string("Schedule", "/spec/schedule"),
    string_or("Timezone", "/spec/timeZone", "<none>"),
    declared(made("Suspend", suspended), "boolean"),
    count("Active", "/status/active", ""),
    since("Last Schedule", "/status/lastScheduleTime", "<none>"),
    since_creation(),
    wide(made("Containers", |row| containers(row.object, "/spec/jobTemplate/spec/template", "name"))),
    wide(made("Images", |row| containers(row.object, "/spec/jobTemplate/spec/template", "image"))),
    wide(made("Selector", |row| selector_or_none(row.object.pointer("/spec/jobTemplate/spec/selector")))),
];

const AUTOSCALER: &[Column] = &[
    name(),
    made("Reference", |row| {
        let target = &row.object["spec"]["scaleTargetRef"];
        format!("{}/{}", text(target, "/kind"), text(target, "/name")).into()
    }),
    made("Targets", metrics),
    made("MinPods", |row| or_other(row.object.pointer("/spec/minReplicas"), "<unset>")),
    declared(int("MaxPods", "/spec/maxReplicas"), "string"),
    declared(int("Replicas", "/status/currentReplicas"), "string"),
    since_creation(),
];

const DISRUPTION_BUDGET: &[Column] = &[
    name(),
    made("Min Available", |row| or_other(row.object.pointer("/spec/minAvailable"), "N/A")),
    made("Max Unavailable", |row| or_other(row.object.pointer("/spec/maxUnavailable"), "N/A")),
    int("Allowed Disruptions", "/status/disruptionsAllowed"),
    since_creation(),
];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "Deployment" => DEPLOYMENT,
        "ReplicaSet" => REPLICA_SET,
        "ReplicationController" => REPLICATION_CONTROLLER,
        "DaemonSet" => DAEMON_SET,
        "StatefulSet" => STATEFUL_SET,
        "ControllerRevision" => CONTROLLER_REVISION,
        "Job" => JOB,
        "CronJob" => CRON_JOB,
        "HorizontalPodAutoscaler" => AUTOSCALER,
        "PodDisruptionBudget" => DISRUPTION_BUDGET,
        "Scale" => return super::core::columns(kind),
        _ => return None,
    })
}

/// A field of all containers in the template at a path.
pub(super) fn containers(object: &Value, template: &str, field: &str) -> Value {
    let containers = list(object, &format!("{template}/spec/containers"));
    let values: Vec<&str> = containers.iter().map(|container| container[field].as_str().unwrap_or_default()).collect();
    values.join(",").into()
}

fn ready_of_desired(row: Row<'_>) -> Value {
    format!("{}/{}", number(row.object, "/status/readyReplicas"), number(row.object, "/spec/replicas")).into()
}

/// An integer or a string as text.
fn or_other(value: Option<&Value>, otherwise: &str) -> Value {
    match value {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Number(number)) => number.to_string().into(),
        _ => otherwise.into(),
    }
}

fn controller(row: Row<'_>) -> Value {
    let owners = list(row.object, "/metadata/ownerReferences");
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else { return "<none>".into() };
    let kind = match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{}.{group}", text(owner, "/kind")),
        None => text(owner, "/kind").to_owned(),
    };
    format!("{}/{}", kind.to_lowercase(), text(owner, "/name")).into()
}

fn job_status(row: Row<'_>) -> Value {
    let holds = |kind: &str| {
        let condition = list(row.object, "/status/conditions").iter().find(|condition| condition["type"] == kind);
        condition.is_some_and(|condition| condition["status"] == "True")
    };
    let deleted = !text(row.object, "/metadata/deletionTimestamp").is_empty();
    let states = [
        ("Complete", holds("Complete")),
        ("Failed", holds("Failed")),
        ("Terminating", deleted),
        ("Suspended", holds("Suspended")),
        ("FailureTarget", holds("FailureTarget")),
        ("SuccessCriteriaMet", holds("SuccessCriteriaMet")),
    ];
    states.iter().find(|(_, holds)| *holds).map_or("Running", |(state, _)| state).into()
}

fn completions(row: Row<'_>) -> Value {
    let succeeded = number(row.object, "/status/succeeded");
    let parallelism = number(row.object, "/spec/parallelism");
    match row.object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(completions) => format!("{succeeded}/{completions}").into(),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        None => format!("{succeeded}/1").into(),
    }
}

fn job_duration(row: Row<'_>) -> Value {
    let time = |path| text(row.object, path).parse::<jiff::Timestamp>().ok();
    match (time("/status/startTime"), time("/status/completionTime")) {
        (None, _) => "".into(),
        (Some(_), None) => age(text(row.object, "/status/startTime"), row.now).into(),
        (Some(start), Some(end)) => human_duration(end.as_second() - start.as_second()).into(),
    }
}

fn suspended(row: Row<'_>) -> Value {
    match row.object.pointer("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => "<unset>".into(),
    }
}

/// Each metric as what is and what is wanted; the third and later ones are only counted.
fn metrics(row: Row<'_>) -> Value {
    let statuses = list(row.object, "/status/currentMetrics");
    let specs = list(row.object, "/spec/metrics");
    let texts: Vec<String> = specs.iter().enumerate().map(|(at, spec)| metric(spec, statuses.get(at))).collect();
    match texts.len() {
        0 => "<none>".into(),
        all if all > 2 => format!("{} + {} more...", texts[..2].join(", "), all - 2).into(),
        _ => texts.join(", ").into(),
    }
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (source, named) = match text(spec, "/type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".into(),
    };
    let target = &spec[source]["target"];
    let current = |field: &str| status.and_then(|status| status[source]["current"].get(field));
    let quantity = |field: &str| match current(field).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => "<unknown>".into(),
    };
    let percent = |value: Option<&Value>, otherwise: &str| match value.and_then(Value::as_i64) {
        Some(value) => format!("{value}%"),
        None => otherwise.into(),
    };
    let average = target.get("averageValue").and_then(Value::as_str);
    let text = match (average, named) {
        (Some(average), true) => format!("{}/{average}", quantity("averageValue")),
        (None, true) => {
            let wanted = percent(target.get("averageUtilization"), "<auto>");
            format!("{}/{wanted}", percent(current("averageUtilization"), "<unknown>"))
        }
        (Some(average), false) if source == "pods" => format!("{}/{average}", quantity("averageValue")),
        (Some(average), false) => format!("{}/{average} (avg)", quantity("averageValue")),
        (None, false) => format!("{}/{}", quantity("value"), self::text(target, "/value")),
    };
    if named { format!("{}: {text}", self::text(&spec[source], "/name")) } else { text }
}
