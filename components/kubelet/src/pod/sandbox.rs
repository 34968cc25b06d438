//! What the runtime is told of a pod's sandbox.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, SeccompProfile};
use kinit_cri::v1::security_profile::ProfileType;
use kinit_cri::v1::{
    DnsConfig, Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, SecurityProfile,
};

use super::facts::{self, Qos};
use super::state::{POD_NAME, POD_NAMESPACE, POD_UID};
use crate::context::Context;

/// Where the logs of all pods are.
pub const LOGS: &str = "/var/log/pods";
/// Linux' limit of a host name.
const HOST_NAME_LIMIT: usize = 63;

/// Folder of a pod's logs.
pub fn log_folder(pod: &Pod) -> PathBuf {
    Path::new(LOGS).join(format!("{}_{}_{}", facts::namespace(pod), facts::name(pod), facts::uid(pod)))
}

/// The labels by which a pod's things in the runtime are found again.
pub fn labels(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (POD_NAME.to_owned(), facts::name(pod).to_owned()),
        (POD_NAMESPACE.to_owned(), facts::namespace(pod).to_owned()),
        (POD_UID.to_owned(), facts::uid(pod).to_owned()),
    ])
}

/// Name of the host inside the pod.
pub fn host_name(pod: &Pod, context: &Context) -> String {
    if facts::host_network(pod) {
        return context.host_name.clone();
    }
    let spec = pod.spec.as_ref();
    let name =
        spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty()).unwrap_or(facts::name(pod));
    name.chars().take(HOST_NAME_LIMIT).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// The pod's cgroup, as the driver names it.
pub fn cgroup_parent(pod: &Pod, driver: &str) -> String {
    cgroup(facts::uid(pod), facts::qos(pod), driver)
}

/// Where the pod's cgroup may be: one of whom only the runtime told may be of any class.
pub fn cgroup_parents(pod: &Pod, driver: &str) -> Vec<String> {
    let of = |class| cgroup(facts::uid(pod), class, driver);
    match pod.spec {
        Some(_) => vec![cgroup_parent(pod, driver)],
        None => [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort].map(of).into(),
    }
}

fn cgroup(uid: &str, class: Qos, driver: &str) -> String {
    let class = match class {
        Qos::Guaranteed => None,
        Qos::Burstable => Some("burstable"),
        Qos::BestEffort => Some("besteffort"),
    };
    if driver == "systemd" {
        let uid = uid.replace('-', "_");
        return match class {
            None => format!("kubepods-pod{uid}.slice"),
            Some(class) => format!("kubepods-{class}-pod{uid}.slice"),
        };
    }
    match class {
        None => format!("/kubepods/pod{uid}"),
        Some(class) => format!("/kubepods/{class}/pod{uid}"),
    }
}

/// The configuration of a sandbox.
pub fn config(context: &Context, pod: &Pod, attempt: u32) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let security = spec.security_context.clone().unwrap_or_default();
    let ports = facts::containers(&spec).flat_map(|container| container.ports.iter().flatten());
    let host_network = facts::host_network(pod);
    let port_mappings = ports
        .filter(|port| !host_network && port.host_port.is_some_and(|number| number > 0))
        .map(|port| PortMapping {
            protocol: protocol(port.protocol.as_deref()).into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect();
    let mut all_labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    all_labels.extend(labels(pod));
    let privileged = spec
        .containers
        .iter()
        .any(|container| container.security_context.as_ref().and_then(|security| security.privileged).unwrap_or(false));
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: facts::name(pod).into(),
            uid: facts::uid(pod).into(),
            namespace: facts::namespace(pod).into(),
            attempt,
        }),
        hostname: if host_network { String::new() } else { host_name(pod, context) },
        log_directory: log_folder(pod).display().to_string(),
        dns_config: Some(dns(context, pod)),
        port_mappings,
        labels: all_labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(pod, &context.config.cgroup_driver),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                run_as_user: security.run_as_user.map(|value| Int64Value { value }),
                run_as_group: security.run_as_group.map(|value| Int64Value { value }),
                supplemental_groups: security.supplemental_groups.clone().unwrap_or_default(),
                privileged,
                seccomp: Some(seccomp(security.seccomp_profile.as_ref().or(Some(&runtime_default())))),
                ..Default::default()
            }),
            sysctls: security.sysctls.into_iter().flatten().map(|one| (one.name, one.value)).collect(),
        }),
    }
}

/// Which namespaces a pod shares with the host, or its containers with each other.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec.clone().unwrap_or_default();
    let of = |host: Option<bool>| if host.unwrap_or(false) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: of(spec.host_network).into(),
        pid: pid.into(),
        ipc: of(spec.host_ipc).into(),
        target_id: String::new(),
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }
}

/// A seccomp profile in the runtime's form; none is unconfined.
pub fn seccomp(profile: Option<&SeccompProfile>) -> SecurityProfile {
    let file = profile.and_then(|profile| profile.localhost_profile.as_deref()).unwrap_or_default();
    self::profile(profile.map(|profile| profile.type_.as_str()), format!("/var/lib/kubelet/seccomp/{file}"))
}

/// A security profile of a type in the runtime's form; `reference` names one of this host.
pub fn profile(kind: Option<&str>, reference: String) -> SecurityProfile {
    let kind = match kind {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = if kind == ProfileType::Localhost { reference } else { String::new() };
    SecurityProfile { profile_type: kind.into(), localhost_ref }
}

fn protocol(name: Option<&str>) -> Protocol {
    match name {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// How names are resolved in the pod.
pub fn dns(context: &Context, pod: &Pod) -> DnsConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host = || parse_resolv_conf(&std::fs::read_to_string(&context.config.resolv_conf).unwrap_or_default());
    let cluster = policy == "ClusterFirstWithHostNet" || policy == "ClusterFirst" && !facts::host_network(pod);
    let mut dns = match policy {
        "None" => DnsConfig::default(),
        _ if cluster && !context.config.cluster_dns.is_empty() => {
            let domain = &context.config.cluster_domain;
            let namespace = facts::namespace(pod);
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host().searches);
            DnsConfig { servers: context.config.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
        }
        _ => host(),
    };
    if let Some(more) = spec.dns_config {
        dns.servers.extend(more.nameservers.unwrap_or_default());
        dns.searches.extend(more.searches.unwrap_or_default());
        for option in more.options.unwrap_or_default() {
            let name = option.name.unwrap_or_default();
            dns.options.retain(|other| other.split(':').next() != Some(name.as_str()));
            dns.options.push(option.value.map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    dedup(&mut dns.servers);
    dedup(&mut dns.searches);
    dns
}

fn dedup(all: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    all.retain(|one| seen.insert(one.clone()));
}

fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (key, rest) = (words.next().unwrap_or_default(), words.map(str::to_owned));
        match key {
            "nameserver" => dns.servers.extend(rest.take(1)),
            "search" | "domain" => dns.searches = rest.filter(|domain| domain != ".").collect(),
            "options" => dns.options = rest.collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cgroups_are_named_by_class_and_driver() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"uid": "a-b"}, "spec": {"containers": [{"name": "x"}]}}))
                .unwrap();
        assert_eq!(cgroup_parent(&pod, "cgroupfs"), "/kubepods/besteffort/poda-b");
        assert_eq!(cgroup_parent(&pod, "systemd"), "kubepods-besteffort-poda_b.slice");
        assert_eq!(cgroup_parents(&pod, "cgroupfs").len(), 1);
        assert_eq!(cgroup_parents(&Pod { spec: None, ..pod }, "cgroupfs")[0], "/kubepods/poda-b");
    }

    #[test]
    fn the_hosts_resolver_is_read() {
        let dns = parse_resolv_conf("# c\nnameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch a.b c.d\noptions ndots:2\n");
        assert_eq!(
            (dns.servers.len(), dns.searches, dns.options),
            (2, vec!["a.b".to_owned(), "c.d".to_owned()], vec!["ndots:2".to_owned()])
        );
    }
}
