//! Pods that this node does not take. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::status::Failure;
use crate::config::Configuration;

/// Kernel settings that a pod may make without harm to others.
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why a pod is not taken; `None` for one that is.
pub fn refusal(pod: &Pod, config: &Configuration) -> Option<Failure> {
    let spec = pod.spec.as_ref()?;
    if let Some(os) = spec.os.as_ref().map(|os| os.name.as_str()).filter(|os| *os != "linux") {
        let message = format!("Failed to admit pod as the OS field doesn't match node OS: {os:?}");
        return Some(Failure::new("PodOSNotSupported", message));
    }
    let sysctls = spec.security_context.iter().flat_map(|security| security.sysctls.iter().flatten());
    let forbidden = sysctls.map(|one| one.name.replace('/', ".")).find(|name| !is_allowed(name, config));
    forbidden.map(|name| Failure::new("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted")))
}

fn is_allowed(name: &str, config: &Configuration) -> bool {
    let matches = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    };
    SAFE.contains(&name) || config.allowed_unsafe_sysctls.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unsafe_settings_are_refused_unless_allowed() {
        let pod = |name: &str| -> Pod {
            serde_json::from_value(
                json!({"spec": {"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}}}),
            )
            .unwrap()
        };
        let strict = Configuration::default();
        let loose = Configuration { allowed_unsafe_sysctls: vec!["kernel.msg*".into()], ..Configuration::default() };
        assert_eq!(refusal(&pod("net.ipv4.tcp_syncookies"), &strict), None);
        assert_eq!(refusal(&pod("net/ipv4/tcp_syncookies"), &strict), None);
        assert_eq!(refusal(&pod("kernel.msgmax"), &strict).map(|one| one.reason), Some("SysctlForbidden"));
        assert_eq!(refusal(&pod("kernel.msgmax"), &loose), None);
        let windows: Pod =
            serde_json::from_value(json!({"spec": {"containers": [], "os": {"name": "windows"}}})).unwrap();
        assert_eq!(refusal(&windows, &strict).map(|one| one.reason), Some("PodOSNotSupported"));
    }
}
