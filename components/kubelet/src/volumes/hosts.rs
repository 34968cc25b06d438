//! The `/etc/hosts` of containers.

use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::pod::{facts, sandbox};

/// What a pod that has its own network knows besides its own name.
const OWN: &str = "# Kubernetes-managed hosts file.\n\
                   127.0.0.1\tlocalhost\n\
                   ::1\tlocalhost ip6-localhost ip6-loopback\n\
                   fe00::0\tip6-localnet\n\
                   fe00::0\tip6-mcastprefix\n\
                   fe00::1\tip6-allnodes\n\
                   fe00::2\tip6-allrouters\n";
const HOST: &str = "# Kubernetes-managed hosts file (host network).\n";
const ALIASES: &str = "\n# Entries added by HostAliases.\n";

/// The file of a pod, with the host's own in it for pods on the host's network.
pub fn file(context: &Context, pod: &Pod, ips: &[String]) -> String {
    let mut text = if facts::host_network(pod) {
        format!("{HOST}{}", std::fs::read_to_string("/etc/hosts").unwrap_or_default())
    } else {
        own(&sandbox::host_name(pod, context), &domain(context, pod), ips)
    };
    text.push_str(&aliases(pod));
    text
}

fn domain(context: &Context, pod: &Pod) -> String {
    let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref()).unwrap_or_default();
    if subdomain.is_empty() {
        return String::new();
    }
    format!("{subdomain}.{}.svc.{}", facts::namespace(pod), context.config.cluster_domain)
}

fn own(name: &str, domain: &str, ips: &[String]) -> String {
    let mut text = String::from(OWN);
    for ip in ips {
        match domain {
            "" => text.push_str(&format!("{ip}\t{name}\n")),
            domain => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
        }
    }
    text
}

fn aliases(pod: &Pod) -> String {
    let all = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let lines: String = all
        .map(|alias| format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")))
        .collect();
    if lines.is_empty() { lines } else { format!("{ALIASES}{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_listed() {
        let text = own("a", "s.x.svc.cluster.local", &["10.0.0.1".into()]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.0.0.1\ta.s.x.svc.cluster.local\ta\n"), "{text}");
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [],
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["x", "y"]}]}}))
        .unwrap();
        assert_eq!(aliases(&pod), "\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n");
    }
}
