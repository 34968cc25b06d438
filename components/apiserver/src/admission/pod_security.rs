//! Pod Security: a namespace's labels say which standard its Pods have to meet (`enforce`), and which of them is told to
//! the client (`warn`) and to the audit log (`audit`).

mod checks;
mod restricted;

use std::collections::BTreeMap;

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::Value;

use super::{Attributes, Context, Operation};

const LABEL: &str = "pod-security.kubernetes.io/";
/// The newest version of the standards in which a check changed.
const NEWEST: u32 = 35;
/// Pods that are looked at when a namespace's standard gets stricter.
const MOST_CHECKED: usize = 3000;

/// How strict a standard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// A level, and the minor version of Kubernetes whose rules are meant; none for the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standard {
    level: Level,
    minor: Option<u32>,
}

impl std::fmt::Display for Standard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            Some(minor) => write!(out, "{level}:v1.{minor}"),
            None => write!(out, "{level}:latest"),
        }
    }
}

/// What a namespace's labels say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Policy {
    enforce: Standard,
    audit: Standard,
    warn: Standard,
}

/// A label that cannot be read: its key, its value, and what it must be.
type Wrong = (String, String, &'static str);

impl Policy {
    fn of(labels: &BTreeMap<String, String>) -> (Self, Vec<Wrong>) {
        let (mut policy, mut wrong) = (Self::default(), Vec::new());
        let mut read = |mode: &str, standard: &mut Standard, otherwise: Level| {
            let (key, version_key) = (format!("{LABEL}{mode}"), format!("{LABEL}{mode}-version"));
            let (level, version) = (labels.get(&key), labels.get(&version_key));
            let mut good = false;
            if let Some(text) = level {
                good = true;
                standard.level = match text.as_str() {
                    "privileged" => Level::Privileged,
                    "baseline" => Level::Baseline,
                    "restricted" => Level::Restricted,
                    _ => {
                        good = false;
                        wrong.push((key, text.clone(), "must be one of privileged, baseline, restricted"));
                        otherwise
                    }
                };
            }
            if let Some(text) = version {
                let minor = text.strip_prefix("v1.").filter(|minor| *minor == "0" || !minor.starts_with(['0', '+']));
                standard.minor = minor.and_then(|minor| minor.parse().ok());
                if standard.minor.is_none() && text != "latest" {
                    wrong.push((version_key, text.clone(), "must be \"latest\" or \"v1.x\""));
                }
            }
            (level.is_some(), good, version.is_some())
        };
        // What cannot be read is enforced strictly, and told of nothing.
        let (_, enforced, _) = read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut policy.audit, Level::Privileged);
        let (warned, _, warned_version) = read("warn", &mut policy.warn, Level::Privileged);
        if !warned && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warned_version {
                policy.warn.minor = policy.enforce.minor;
            }
        }
        (policy, wrong)
    }
}

/// A namespace's labels together with the configured ones for what it says nothing of.
fn with_defaults<'l>(
    labels: &'l BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
) -> std::borrow::Cow<'l, BTreeMap<String, String>> {
    if defaults.is_empty() {
        return std::borrow::Cow::Borrowed(labels);
    }
    let mut all = labels.clone();
    for (field, value) in defaults {
        all.entry(format!("{LABEL}{field}")).or_insert_with(|| value.clone());
    }
    std::borrow::Cow::Owned(all)
}

/// What of a Pod is against a standard, as reasons with details.
fn against(standard: Standard, annotations: &Value, spec: &Value) -> Vec<(String, String)> {
    let minor = standard.minor.unwrap_or(NEWEST).min(NEWEST);
    checks::run(standard.level, &checks::Pod { annotations, spec, minor })
}

fn detailed(found: &[(String, String)]) -> String {
    let one = |(reason, detail): &(String, String)| {
        if detail.is_empty() { reason.clone() } else { format!("{reason} ({detail})") }
    };
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The path of the Pod's template in a resource that has one.
fn template(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers") | ("apps", "replicasets" | "deployments" | "daemonsets" | "statefulsets") => {
            Some("/spec/template")
        }
        ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// PodSecurity.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let request = attributes.request;
    let subresource = request.subresource.as_str();
    let (group, resource) = (request.spec.group(), request.spec.resource());
    if attributes.is("namespaces") {
        return namespace(context, attributes, object);
    }
    let (path, enforced) = match (group, resource) {
        ("", "pods") if matches!(subresource, "" | "ephemeralcontainers" | "resize") => ("", true),
        _ => match template(group, resource).filter(|_| subresource.is_empty()) {
            Some(path) => (path, false),
            None => return Ok(()),
        },
    };
    let Some(namespace) = context.cache.find("", "namespaces", "", &request.namespace) else {
        // A template may wait for its namespace, as its Pods are looked at themselves.
        let why = format!("failed to lookup namespace {:?}", request.namespace);
        return if enforced { Err(Status::internal(why)) } else { Ok(()) };
    };
    let configuration = context.configuration;
    let exempt = |kind: &str| request.annotations.add("pod-security.kubernetes.io/exempt", kind);
    if configuration.exempt.namespaces.contains(&request.namespace) {
        exempt("namespace");
        return Ok(());
    }
    if configuration.exempt.usernames.contains(&request.user.name) {
        exempt("user");
        return Ok(());
    }
    let (policy, wrong) = Policy::of(&with_defaults(&namespace.labels().to_map(), &configuration.pod_security));
    if wrong.is_empty() && policy == Policy::default() {
        if enforced {
            request.annotations.add("pod-security.kubernetes.io/enforce-policy", policy.enforce.to_string());
        }
        return Ok(());
    }
    let tree = object.value();
    let pod = tree.pointer(path).unwrap_or(&Value::Null);
    let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    if configuration.exempt.runtime_classes.iter().any(|own| own == class) {
        exempt("runtimeClass");
        return Ok(());
    }
    if enforced && attributes.old.is_some_and(|old| !significant(pod, old.value())) {
        return Ok(());
    }
    judge(attributes, policy, pod, enforced)
}

fn judge(attributes: &Attributes<'_>, policy: Policy, pod: &Value, enforced: bool) -> Result<(), Status> {
    let found = |standard: Standard| against(standard, &pod["metadata"]["annotations"], &pod["spec"]);
    let notes = &attributes.request.annotations;
    let audited = found(policy.audit);
    if !audited.is_empty() {
        let text = format!("would violate PodSecurity {:?}: {}", policy.audit.to_string(), detailed(&audited));
        notes.add("pod-security.kubernetes.io/audit-violations", text);
    }
    if enforced {
        notes.add("pod-security.kubernetes.io/enforce-policy", policy.enforce.to_string());
        let violated = found(policy.enforce);
        if !violated.is_empty() {
            let standard = policy.enforce.to_string();
            return Err(attributes.forbidden(format!("violates PodSecurity {standard:?}: {}", detailed(&violated))));
        }
    }
    let warned = found(policy.warn);
    if !warned.is_empty() {
        let standard = policy.warn.to_string();
        attributes.request.warnings.add(format!("would violate PodSecurity {standard:?}: {}", detailed(&warned)));
    }
    Ok(())
}

/// Whether an update changes what a Pod runs.
fn significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, field: &str| -> Vec<(Value, Value)> {
        let all = pod["spec"][field].as_array().into_iter().flatten();
        all.map(|one| (one["name"].clone(), one["image"].clone())).collect()
    };
    ["containers", "initContainers", "ephemeralContainers"].iter().any(|field| images(new, field) != images(old, field))
}

/// A namespace's labels have to be right, and who makes its standard stricter is told what does not meet it.
fn namespace(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let defaults = &context.configuration.pod_security;
    let (policy, wrong) = Policy::of(&with_defaults(&object.labels(), defaults));
    let before = attributes.old.map(|old| Policy::of(&with_defaults(&old.labels(), defaults)));
    if !wrong.is_empty() && before.as_ref().is_none_or(|(_, before)| *before != wrong) {
        let errors: Vec<(&str, String, String)> = wrong
            .into_iter()
            .map(|(key, value, must)| {
                ("FieldValueInvalid", format!("metadata.labels[{key}]"), format!("Invalid value: {value:?}: {must}"))
            })
            .collect();
        return Err(Status::invalid("", "Namespace", attributes.name, &errors));
    }
    let Some((before, _)) = before else { return Ok(()) };
    if context.configuration.exempt.namespaces.iter().any(|own| own == object.name()) {
        return Ok(());
    }
    let laxer = policy.enforce.minor == before.enforce.minor && policy.enforce.level <= before.enforce.level;
    if policy.enforce.level == Level::Privileged || laxer {
        return Ok(());
    }
    let pods = context.cache.all("", "pods");
    let name = object.name();
    let own = || crate::cache::within(&pods, name).map(|(_, entry)| entry);
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in own().take(MOST_CHECKED).filter_map(|entry| entry.object()) {
        let (pod_name, tree) = (pod.name().to_owned(), pod.into_value());
        let found = against(policy.enforce, &tree["metadata"]["annotations"], &tree["spec"]);
        if !found.is_empty() {
            let reason = found.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>().join(", ");
            reasons.entry(reason).or_default().push(pod_name);
        }
    }
    let warnings = &attributes.request.warnings;
    let total = own().count();
    if total > MOST_CHECKED {
        warnings.add(format!(
            "new PodSecurity enforce level only checked against the first {MOST_CHECKED} of {total} existing pods"
        ));
    }
    if !reasons.is_empty() {
        let standard = policy.enforce.to_string();
        warnings
            .add(format!("existing pods in namespace {name:?} violate the new PodSecurity enforce level {standard:?}"));
    }
    let mut lines: Vec<String> = reasons.iter().map(|(reason, names)| decorated(reason, names)).collect();
    lines.sort();
    lines.into_iter().for_each(|line| warnings.add(line));
    Ok(())
}

fn decorated(reason: &str, names: &[String]) -> String {
    let first = names.iter().min().map(String::as_str).unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        more => format!("{first} (and {} other pods): {reason}", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(labels: &[(&str, &str)]) -> (Policy, Vec<Wrong>) {
        let labels = labels.iter().map(|(key, value)| (format!("{LABEL}{key}"), (*value).to_owned())).collect();
        Policy::of(&labels)
    }

    #[test]
    fn labels_say_the_standards() {
        let (one, wrong) = policy(&[("enforce", "baseline"), ("enforce-version", "v1.25"), ("audit", "restricted")]);
        assert!(wrong.is_empty());
        assert_eq!(
            (one.enforce.to_string(), one.audit.to_string()),
            ("baseline:v1.25".into(), "restricted:latest".into())
        );
        assert_eq!(one.warn, one.enforce);
        let (bad, wrong) = policy(&[("enforce", "strict"), ("warn-version", "1.2")]);
        assert_eq!((bad.enforce.level, wrong.len()), (Level::Restricted, 2));
        assert_eq!(bad.warn.level, Level::Privileged);
    }

    #[test]
    fn pods_are_held_to_the_standards() {
        let container = |context: Value| json!({"containers": [{"name": "a", "securityContext": context}]});
        let strict = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}});
        let latest = |level| Standard { level, minor: None };
        let found = |level, spec: Value| detailed(&against(latest(level), &Value::Null, &spec));
        assert_eq!(found(Level::Restricted, container(strict.clone())), "");
        assert_eq!(
            found(Level::Restricted, container(json!({}))),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        for (spec, wanted) in [
            (json!({"hostNetwork": true, "hostPID": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
            (json!({"volumes": [{"name": "v", "hostPath": {}}]}), "hostPath volumes (volume \"v\")"),
            (
                container(json!({"privileged": true})),
                "privileged (container \"a\" must not set securityContext.privileged=true)",
            ),
            (
                json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]}),
                "hostPort (container \"a\" uses hostPort 80)",
            ),
            (
                container(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})),
                "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            ),
            (json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}), "forbidden sysctls (kernel.msgmax)"),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
                "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
            (
                json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
                "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
            ),
            (json!({}), ""),
        ] {
            assert_eq!(found(Level::Baseline, spec.clone()), wanted, "{spec}");
            assert_eq!(found(Level::Privileged, spec), "");
        }
        let old = Standard { level: Level::Baseline, minor: Some(26) };
        let spec = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports"}]}});
        assert_eq!(against(old, &Value::Null, &spec).len(), 1);
        assert!(against(latest(Level::Baseline), &Value::Null, &spec).is_empty());
    }
}
