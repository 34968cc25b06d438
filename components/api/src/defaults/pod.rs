//! Pods and the templates of Pods.

use serde_json::{Map, Value};

use super::pod_resources;
use super::resources::{canonical_lists, fill};
use super::rules::{Rule, apply, bool, int, int_or_zero, object, text, visit};
use super::volumes;

/// The three lists of containers.
const CONTAINERS: [&str; 3] = ["initContainers[]", "containers[]", "ephemeralContainers[]"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

const SPEC: &[Rule] = &[
    text("", "dnsPolicy", "ClusterFirst"),
    text("", "restartPolicy", "Always"),
    object("", "securityContext"),
    int("", "terminationGracePeriodSeconds", 30),
    text("", "schedulerName", "default-scheduler"),
];

const CONTAINER: &[Rule] = &[
    text("", "terminationMessagePath", "/dev/termination-log"),
    text("", "terminationMessagePolicy", "File"),
    text("ports[]", "protocol", "TCP"),
    text("env[].valueFrom.fieldRef", "apiVersion", "v1"),
    bool("env[].valueFrom.fileKeyRef", "optional", false),
    text("lifecycle.postStart.httpGet", "path", "/"),
    text("lifecycle.postStart.httpGet", "scheme", "HTTP"),
    text("lifecycle.preStop.httpGet", "path", "/"),
    text("lifecycle.preStop.httpGet", "scheme", "HTTP"),
];

const PROBE: &[Rule] = &[
    int_or_zero("", "timeoutSeconds", 1),
    int_or_zero("", "periodSeconds", 10),
    int_or_zero("", "successThreshold", 1),
    int_or_zero("", "failureThreshold", 3),
    text("httpGet", "path", "/"),
    text("httpGet", "scheme", "HTTP"),
    text("grpc", "service", ""),
];

/// A Pod. A kubelet calls this, through [`apply`](super::apply), for the Pods that it reads from files too.
pub(super) fn pod(pod: &mut Map<String, Value>) {
    visit(pod, "spec", &mut |spec| {
        for list in ["containers[].resources", "initContainers[].resources"] {
            // Only a Pod: in a template this would freeze what a limit range may still say.
            visit(spec, list, &mut |resources| fill(resources, "limits", "requests"));
        }
        pod_resources::apply(spec);
        apply(spec, &[bool("", "enableServiceLinks", true)]);
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            for list in ["containers[].ports[]", "initContainers[].ports[]"] {
                visit(spec, list, &mut host_port);
            }
        }
        self::spec(spec);
        // Only a Pod, too: upstream makes the best of it where a Pod is read, and leaves templates as they are.
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
            spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
        }
    });
    // The address of old is the first of those of now; where they disagree, it is the only one.
    visit(pod, "status", &mut |status| {
        let first = super::list(status, "podIPs").first().map(|address| address["ip"].clone());
        let own = super::text(status, "podIP").to_owned();
        if own.is_empty() {
            if let Some(first) = first {
                status.insert("podIP".into(), first);
            }
        } else if first.is_none_or(|first| first != *own) {
            status.insert("podIPs".into(), serde_json::json!([{"ip": own}]));
        }
    });
    for list in ["initContainerStatuses[]", "containerStatuses[]", "ephemeralContainerStatuses[]"] {
        let path = format!("status.{list}");
        canonical_lists(pod, &path, &["allocatedResources"]);
        canonical_lists(pod, &format!("{path}.resources"), &["limits", "requests"]);
    }
}

/// On the host's network a container's port is the host's.
fn host_port(port: &mut Map<String, Value>) {
    let unset = port.get("hostPort").is_none_or(|port| port.as_i64() == Some(0));
    if let Some(number) = port.get("containerPort").filter(|_| unset).cloned() {
        port.insert("hostPort".into(), number);
    }
}

/// The template at `path`.
pub(super) fn template(map: &mut Map<String, Value>, path: &str) {
    visit(map, path, &mut |template| visit(template, "spec", &mut spec));
}

/// What Pods and templates have in common.
fn spec(spec: &mut Map<String, Value>) {
    apply(spec, SPEC);
    account(spec);
    volumes::apply(spec);
    for list in CONTAINERS {
        visit(spec, list, &mut container);
    }
    canonical_lists(spec, "", &["overhead"]);
    canonical_lists(spec, "resources", &["limits", "requests"]);
}

/// The two names of the account's field: the newer wins, and both are written.
fn account(spec: &mut Map<String, Value>) {
    let newer = super::text(spec, "serviceAccountName");
    let name = if newer.is_empty() { super::text(spec, "serviceAccount") } else { newer }.to_owned();
    if !name.is_empty() {
        for field in ["serviceAccountName", "serviceAccount"] {
            spec.insert(field.into(), name.clone().into());
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(super::text(container, "image"));
    apply(container, &[text("", "imagePullPolicy", policy)]);
    apply(container, CONTAINER);
    for probe in PROBES {
        visit(container, probe, &mut |probe| apply(probe, PROBE));
    }
    canonical_lists(container, "resources", &["limits", "requests"]);
}

/// An image named without tag and digest, or with the tag `latest`, is pulled each time; a name that is none is not.
pub(super) fn pull_policy(image: &str) -> &'static str {
    match super::image::tag(image) {
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}
