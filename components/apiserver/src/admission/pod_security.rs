//! Pod Security: a namespace's labels say which standard its Pods have to meet (`enforce`), and which of them is told to
//! the client (`warn`) and to the audit log (`audit`).

mod checks;
mod figures;
mod restricted;

pub use figures::Figures;

use std::collections::{BTreeMap, HashSet};

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::Value;

use super::{Attributes, Context, Operation};

const LABEL: &str = "pod-security.kubernetes.io/";
// What the audit log is told.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";
/// The newest version of the standards in which a check changed.
const NEWEST: u64 = 35;
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
    minor: Option<u64>,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl std::fmt::Display for Standard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = self.level.name();
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
                standard.minor = minor.and_then(|minor| minor.parse::<i64>().ok()?.try_into().ok());
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

    fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }

    /// Whether the two ask the same of every Pod.
    fn is_as(&self, other: &Self) -> bool {
        let both = [(self.enforce, other.enforce), (self.audit, other.audit), (self.warn, other.warn)];
        both.iter().all(|(one, other)| one == other || one.level.max(other.level) == Level::Privileged)
    }
}

/// What is wrong with a namespace's labels, as errors of its fields.
fn errors(wrong: Vec<Wrong>) -> Vec<(&'static str, String, String)> {
    let one = |(key, value, must): Wrong| {
        ("FieldValueInvalid", format!("metadata.labels[{key}]"), format!("Invalid value: {value:?}: {must}"))
    };
    wrong.into_iter().map(one).collect()
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
    let configuration = context.configuration;
    let figures = context.standards;
    let exempt = |kind: &str| {
        figures.exempted(attributes);
        request.annotations.add(EXEMPT, kind);
    };
    if configuration.exempt.namespaces.contains(&request.namespace) {
        exempt("namespace");
        return Ok(());
    }
    if configuration.exempt.usernames.contains(&request.user.name) {
        exempt("user");
        return Ok(());
    }
    let Some(namespace) = context.cache.find("", "namespaces", "", &request.namespace) else {
        // A template may wait for its namespace, as its Pods are looked at themselves.
        let why = format!("failed to lookup namespace {:?}", request.namespace);
        figures.failed(attributes, true);
        return if enforced { Err(Status::internal(why)) } else { Ok(()) };
    };
    let (policy, wrong) = Policy::of(&with_defaults(&namespace.labels().to_map(), &configuration.pod_security));
    if enforced && wrong.is_empty() && policy.is_privileged() {
        request.annotations.add(ENFORCED, Standard::default().to_string());
        figures.looked(attributes, "enforce", policy.enforce, true);
        return Ok(());
    }
    if !enforced && wrong.is_empty() && policy.audit.level.max(policy.warn.level) == Level::Privileged {
        return Ok(());
    }
    let tree = object.value();
    let Some(pod) = tree.pointer(path).filter(|pod| !pod.is_null()) else { return Ok(()) };
    if enforced && attributes.old.is_some_and(|old| !significant(pod, old.value())) {
        return Ok(());
    }
    if configuration.exempt.has_class(pod) {
        exempt("runtimeClass");
        return Ok(());
    }
    if !wrong.is_empty() {
        let texts: Vec<String> = errors(wrong).into_iter().map(|(_, path, text)| format!("{path}: {text}")).collect();
        let texts = if let [only] = &*texts { only.clone() } else { format!("[{}]", texts.join(", ")) };
        request.annotations.add(ERROR, format!("Failed to parse policy: {texts}"));
        figures.failed(attributes, false);
    }
    judge(attributes, figures, policy, pod, enforced)
}

fn judge(
    attributes: &Attributes<'_>,
    figures: &Figures,
    policy: Policy,
    pod: &Value,
    enforced: bool,
) -> Result<(), Status> {
    let found = |standard: Standard| against(standard, &pod["metadata"]["annotations"], &pod["spec"]);
    let notes = &attributes.request.annotations;
    let audited = found(policy.audit);
    if !audited.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.audit, detailed(&audited));
        notes.add(VIOLATIONS, text);
        figures.looked(attributes, "audit", policy.audit, false);
    }
    if enforced {
        notes.add(ENFORCED, policy.enforce.to_string());
        let violated = found(policy.enforce);
        figures.looked(attributes, "enforce", policy.enforce, violated.is_empty());
        if !violated.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, detailed(&violated));
            return Err(attributes.forbidden(why));
        }
    }
    let warned = found(policy.warn);
    if !warned.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.warn, detailed(&warned));
        attributes.request.warnings.add(text);
        figures.looked(attributes, "warn", policy.warn, false);
    }
    Ok(())
}

/// Whether an update changes what a Pod runs: an image, how many containers there are, or a container that is added to a
/// running Pod.
fn significant(new: &Value, old: &Value) -> bool {
    fn list<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
        pod["spec"][field].as_array().map_or(&[], Vec::as_slice)
    }
    let lasting = ["containers", "initContainers"].iter().any(|field| {
        let (new, old) = (list(new, field), list(old, field));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new["image"] != old["image"])
    });
    let before = list(old, "ephemeralContainers");
    lasting
        || list(new, "ephemeralContainers").iter().any(|new| {
            let old = before.iter().find(|old| old["name"] == new["name"]);
            old.is_none_or(|old| old["image"] != new["image"])
        })
}

/// A namespace's labels have to be right, and who makes its standard stricter is told what does not meet it.
fn namespace(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let configuration = context.configuration;
    let defaults = &configuration.pod_security;
    let (labels, name) = (object.labels(), object.name());
    let (policy, wrong) = Policy::of(&with_defaults(&labels, defaults));
    let before = attributes.old.map(|old| Policy::of(&with_defaults(&old.labels(), defaults)));
    if !wrong.is_empty() && before.as_ref().is_none_or(|(_, before)| *before != wrong) {
        return Err(Status::invalid("", "Namespace", attributes.name, &errors(wrong)));
    }
    if let Some((before, _)) = &before {
        let laxer = policy.enforce.minor == before.enforce.minor && policy.enforce.level <= before.enforce.level;
        if policy.enforce.level == Level::Privileged || laxer {
            return Ok(());
        }
    }
    if configuration.exempt.namespaces.iter().any(|own| own == name) {
        let default = Policy::of(&with_defaults(&BTreeMap::new(), defaults)).0;
        if !policy.is_privileged() && !policy.is_as(&default) {
            attributes.request.warnings.add(ignored(name, &policy, &labels));
        }
        return Ok(());
    }
    if before.is_none() {
        return Ok(());
    }
    let pods = context.cache.all("", "pods");
    let own = crate::cache::within(&pods, name).filter_map(|(_, entry)| entry.object()).map(Object::into_value);
    let told = existing(name, policy.enforce, own.filter(|pod| !configuration.exempt.has_class(pod)).collect());
    told.into_iter().for_each(|text| attributes.request.warnings.add(text));
    Ok(())
}

/// What is told of standards that an exempt namespace says it has: those that its own labels set.
fn ignored(name: &str, policy: &Policy, labels: &BTreeMap<String, String>) -> String {
    let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
    let set = modes.iter().filter(|(mode, standard)| {
        let (level, version) = (format!("{LABEL}{mode}"), format!("{LABEL}{mode}-version"));
        standard.level != Level::Privileged && (labels.contains_key(&level) || labels.contains_key(&version))
    });
    let set: Vec<String> = set.map(|(mode, standard)| format!("{mode}={standard}")).collect();
    format!("namespace {name:?} is exempt from Pod Security, and the policy ({}) will be ignored", set.join(", "))
}

/// What is told of the Pods that a namespace has when its standard gets stricter. Of what one controller has made, one Pod
/// comes before all others.
fn existing(namespace: &str, standard: Standard, pods: Vec<Value>) -> Vec<String> {
    let mut makers = HashSet::new();
    let (first, others): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let maker = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        maker.is_none_or(|maker| makers.insert(maker["uid"].as_str()))
    });
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in first.into_iter().chain(others).take(MOST_CHECKED) {
        let found = against(standard, &pod["metadata"]["annotations"], &pod["spec"]);
        if !found.is_empty() {
            let reason = found.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>().join(", ");
            reasons.entry(reason).or_default().push(pod["metadata"]["name"].as_str().unwrap_or_default());
        }
    }
    let mut told = Vec::new();
    if pods.len() > MOST_CHECKED {
        let total = pods.len();
        told.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_CHECKED} of {total} existing pods"
        ));
    }
    if !reasons.is_empty() {
        told.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = reasons.iter().map(|(reason, names)| decorated(reason, names)).collect();
    lines.sort();
    told.extend(lines);
    told
}

fn decorated(reason: &str, names: &[&str]) -> String {
    let first = names.iter().min().copied().unwrap_or_default();
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

    #[test]
    fn versions_are_told_by_their_minor_number() {
        for (text, wanted) in [
            ("latest", Some(None)),
            ("v1.0", Some(Some(0))),
            ("v1.36", Some(Some(36))),
            ("v1.5000000000", Some(Some(5_000_000_000))),
            ("v1.99999999999999999999", None),
            ("v1.01", None),
            ("v1.-1", None),
            ("v1.+1", None),
            ("v2.0", None),
            ("1.2", None),
            ("", None),
        ] {
            let (policy, wrong) = policy(&[("enforce", "baseline"), ("enforce-version", text)]);
            let read = wrong.is_empty().then_some(policy.enforce.minor);
            assert_eq!(read, wanted, "{text}");
        }
    }

    #[test]
    fn profiles_of_annotations_stay_as_they_are_between_quotes() {
        let annotations = json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"});
        let found = against(Standard { level: Level::Baseline, minor: None }, &annotations, &json!({}));
        assert_eq!(
            detailed(&found),
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")"
        );
    }

    #[test]
    fn only_what_a_pod_runs_is_looked_at_again() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "x"}],
            "ephemeralContainers": [{"name": "e", "image": "x"}, {"name": "f", "image": "x"}]}});
        for (path, value, wanted) in [
            ("/spec/tolerations", json!([{"operator": "Exists"}]), false),
            ("/spec/containers/0/image", json!("y"), true),
            ("/spec/containers/0/name", json!("y"), false),
            ("/spec/initContainers", json!([{"name": "i", "image": "x"}]), true),
            ("/spec/ephemeralContainers", json!([{"name": "f", "image": "x"}]), false),
            ("/spec/ephemeralContainers/0/image", json!("y"), true),
            ("/spec/ephemeralContainers/0/name", json!("g"), true),
        ] {
            let mut new = old.clone();
            let (holder, field) = path.rsplit_once('/').unwrap();
            match new.pointer_mut(path) {
                Some(place) => *place = value,
                None => new.pointer_mut(holder).unwrap()[field] = value,
            }
            assert_eq!(significant(&new, &old), wanted, "{path}");
        }
    }

    #[test]
    fn stricter_standards_tell_of_what_is_there() {
        let pod = |name: &str, maker: Option<&str>, spec: Value| {
            let owners: Vec<Value> = maker.iter().map(|uid| json!({"uid": uid, "controller": true})).collect();
            json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": spec})
        };
        let host = || json!({"hostPID": true});
        let baseline = Standard { level: Level::Baseline, minor: Some(20) };
        let pods = vec![pod("c", None, host()), pod("b", Some("m"), host()), pod("a", Some("m"), host())];
        let mut more = pods.clone();
        more.push(pod("p", None, json!({"volumes": [{"name": "v", "hostPath": {}}]})));
        let head = "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:v1.20\"";
        assert_eq!(
            existing("n", baseline, more),
            [head, "a (and 2 other pods): host namespaces", "p: hostPath volumes"]
        );
        // What a controller has made besides its first comes last, and is what is left out.
        let made = (0..MOST_CHECKED).map(|at| pod(&format!("m{at}"), Some("m"), json!({})));
        let mut many: Vec<Value> = made.chain(pods).collect();
        many.rotate_left(1);
        assert_eq!(
            existing("n", baseline, many),
            [
                "new PodSecurity enforce level only checked against the first 3000 of 3003 existing pods",
                head,
                "c: host namespaces"
            ]
        );
        assert!(existing("n", baseline, vec![pod("p", None, json!({}))]).is_empty());
    }

    #[test]
    fn exempt_namespaces_are_told_of_labels_that_mean_nothing() {
        let text = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| (format!("{LABEL}{key}"), (*value).to_owned())).collect();
            ignored("n", &Policy::of(&labels).0, &labels)
        };
        let told =
            |set: &str| format!("namespace \"n\" is exempt from Pod Security, and the policy ({set}) will be ignored");
        assert_eq!(text(&[("enforce", "restricted")]), told("enforce=restricted:latest"));
        assert_eq!(
            text(&[("enforce", "baseline"), ("audit", "baseline"), ("audit-version", "v1.2"), ("warn", "privileged")]),
            told("enforce=baseline:latest, audit=baseline:v1.2")
        );
        let (one, other) = (policy(&[("enforce-version", "v1.3")]).0, Policy::default());
        assert!(one.is_privileged() && one.is_as(&other) && !policy(&[("warn", "baseline")]).0.is_as(&other));
    }
}
