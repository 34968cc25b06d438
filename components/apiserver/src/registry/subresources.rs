//! The rows of subresources; `status` is not among them, because its resource's row says whether it is there.

/// A subresource: whose it is, what it takes and gives, and what can be done with it.
#[derive(Debug)]
pub struct Subresource {
    pub group: &'static str,
    pub resource: &'static str,
    pub name: &'static str,
    /// Group, version and kind of what goes over the wire.
    pub kind: (&'static str, &'static str, &'static str),
    pub verbs: &'static [&'static str],
}

const STREAM: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const CHANGE: &[&str] = &["get", "patch", "update"];
const SCALE: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

const fn core(
    resource: &'static str,
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { group: "", resource, name, kind: ("", "v1", kind), verbs }
}

const fn of(
    group: &'static str,
    resource: &'static str,
    name: &'static str,
    kind: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { group, resource, name, kind, verbs }
}

/// Every subresource beside `status`, sorted by resource and name.
pub static SUBRESOURCES: &[Subresource] = &[
    core("namespaces", "finalize", "Namespace", &["update"]),
    core("nodes", "proxy", "NodeProxyOptions", PROXY),
    core("pods", "attach", "PodAttachOptions", STREAM),
    core("pods", "binding", "Binding", &["create"]),
    core("pods", "ephemeralcontainers", "Pod", CHANGE),
    of("", "pods", "eviction", ("policy", "v1", "Eviction"), &["create"]),
    core("pods", "exec", "PodExecOptions", STREAM),
    core("pods", "log", "Pod", &["get"]),
    core("pods", "portforward", "PodPortForwardOptions", STREAM),
    core("pods", "proxy", "PodProxyOptions", PROXY),
    core("pods", "resize", "Pod", CHANGE),
    of("", "replicationcontrollers", "scale", SCALE, CHANGE),
    of("", "serviceaccounts", "token", ("authentication.k8s.io", "v1", "TokenRequest"), &["create"]),
    core("services", "proxy", "ServiceProxyOptions", PROXY),
    of("apps", "deployments", "scale", SCALE, CHANGE),
    of("apps", "replicasets", "scale", SCALE, CHANGE),
    of("apps", "statefulsets", "scale", SCALE, CHANGE),
    of(
        "certificates.k8s.io",
        "certificatesigningrequests",
        "approval",
        ("certificates.k8s.io", "v1", "CertificateSigningRequest"),
        CHANGE,
    ),
];

/// The subresources of a resource.
pub fn subresources(group: &str, resource: &str) -> impl Iterator<Item = &'static Subresource> {
    SUBRESOURCES.iter().filter(move |row| row.group == group && row.resource == resource)
}

/// A subresource by its name.
pub fn subresource(group: &str, resource: &str, name: &str) -> Option<&'static Subresource> {
    subresources(group, resource).find(|row| row.name == name)
}
