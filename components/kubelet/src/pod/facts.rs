//! Small facts of a pod that many places ask for.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// Annotation of pods that came from a file: `file`.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// Annotation with the hash of a static pod's manifest.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Annotation of the API's image of a static pod, with its hash.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Quality of service: which pods suffer first when memory runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Limits on everything, equal to requests.
    Guaranteed,
    /// Some requests or limits.
    Burstable,
    /// None.
    BestEffort,
}

impl Qos {
    /// The API's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The pod's uid.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The pod's namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `namespace/name`, for logs.
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", namespace(pod), name(pod))
}

/// `name_namespace(uid)`, as upstream names pods in messages.
pub fn runtime_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// An annotation.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the pod came from a file on this host.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some("file")
}

/// Whether the pod is the API's image of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// Whether the pod is one of those that the cluster itself needs: it is never evicted, and others make room for it.
pub fn is_critical(pod: &Pod) -> bool {
    const LEAST: i32 = 2_000_000_000;
    is_static(pod) || is_mirror(pod) || pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|own| own >= LEAST)
}

/// Whether the pod is on the host's network.
pub fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// The restart policy.
pub fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Seconds that containers are given to end.
pub fn grace_period(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds)
        .unwrap_or(30)
}

/// All containers but ephemeral ones.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The pod's quality of service.
pub fn qos(pod: &Pod) -> Qos {
    let Some(spec) = &pod.spec else { return Qos::BestEffort };
    let mut any = false;
    let mut all = true;
    // What is said of the pod as a whole stands above what is said of its containers.
    let whole = spec.resources.iter().filter(|own| own.requests.is_some() || own.limits.is_some());
    let each = containers(spec).filter(|_| whole.clone().next().is_none());
    for resources in whole.clone().cloned().chain(each.map(|one| one.resources.clone().unwrap_or_default())) {
        let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        for name in ["cpu", "memory"] {
            any |= requests.contains_key(name) || limits.contains_key(name);
            let equal = limits.get(name).is_some_and(|limit| requests.get(name).is_none_or(|request| request == limit));
            all &= equal;
        }
    }
    match (any, all) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// A quantity in thousandths, rounded up; `None` for text that is none.
pub fn milli(quantity: &str) -> Option<i64> {
    let split =
        quantity.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        exponent if exponent.starts_with(['e', 'E']) => 10f64.powi(exponent[1..].parse().ok()?),
        _ => return None,
    };
    Some((number * factor * 1000.0).ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "a", "resources": resources}]}})).unwrap()
    }

    #[test]
    fn quality_of_service_follows_resources() {
        for (resources, wanted) in [
            (json!({}), Qos::BestEffort),
            (json!({"requests": {"cpu": "1"}}), Qos::Burstable),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), Qos::Guaranteed),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), Qos::Burstable),
        ] {
            assert_eq!(qos(&pod(resources.clone())), wanted, "{resources}");
            let whole = json!({"spec": {"resources": resources, "containers": [{"name": "a"}]}});
            assert_eq!(qos(&serde_json::from_value(whole).unwrap()), wanted, "{resources}");
        }
    }

    #[test]
    fn quantities_are_read() {
        for (text, wanted) in
            [("1", 1000), ("250m", 250), ("1Ki", 1_024_000), ("1.5", 1500), ("2e3", 2_000_000), ("1n", 1)]
        {
            assert_eq!(milli(text), Some(wanted), "{text}");
        }
        assert_eq!(milli("x"), None);
    }
}
