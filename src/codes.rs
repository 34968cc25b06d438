//! Stable codes of errors: what scripts may look at, and `kinit explain` tells more of. What preflight finds has names of
//! its own.

use crate::{api, config, etcd, host, images, join::discovery, patches, phase, preflight, ssh};

/// Each code, and what it is about at more length than an error has room for.
pub const EXPLANATIONS: &[(&str, &str)] = &[
    (
        "ApiRefused",
        "The API server answered and refused. The number is HTTP's: 401 says that it does not know the credentials, 403 that they may not do this, 404 that the object is not there, 409 that somebody else changed it at the same time, 422 that the object is not valid. Which credentials are used is said by --kubeconfig, on a control plane by /etc/kubernetes/admin.conf.",
    ),
    (
        "ApiUnreachable",
        "No API server answered, or it showed a certificate that the kubeconfig's CA does not vouch for. See whether the control plane is up (`kinit status` there, `crictl ps`, `journalctl -u kubelet`), whether the address in the kubeconfig is the right one, and whether a firewall is in between.",
    ),
    (
        "Config",
        "A configuration file or a flag says something that kinit cannot work with. Unknown fields and values of the wrong type are refused rather than left out, with the path of the field and the line. `kinit config print init-defaults` shows a whole file, `kinit config validate` checks one, `kinit config migrate` writes an older one anew.",
    ),
    ("ConfigRead", "The file that --config names could not be read. The message says what the system said of it."),
    (
        "Credentials",
        "A key, a certificate or a kubeconfig could not be read or does not fit to the others: it is damaged, has ended, or is of another cluster. `kinit certs check-expiration` shows those of a control plane, `kinit certs renew` issues them anew. What is of another cluster goes away by `kinit reset`.",
    ),
    (
        "DiscoveryHash",
        "The CA of the cluster that answered is not the one whose hash was given. Either the hash was copied from another cluster, or somebody answers in the cluster's place. `kinit token create --print-join-command` on the control plane shows the right hash.",
    ),
    (
        "DiscoveryInfo",
        "The API server answers, but does not show the ConfigMap cluster-info in kube-public, or shows one that cannot be understood. It is made by `kinit init phase bootstrap-token`, and anybody may read it by a role that the same phase makes.",
    ),
    (
        "DiscoveryToken",
        "The cluster did not sign what it says of itself with the token that was given: the token is wrong, or its life has ended. Tokens live for a day unless told otherwise; `kinit token list` shows those that there are and `kinit token create --print-join-command` makes a new one.",
    ),
    (
        "DiscoveryUnreachable",
        "No API server answers at the address that was given to join. See whether it is the right address and port, whether the control plane is up, and whether a firewall is in between.",
    ),
    (
        "EtcdRefused",
        "A member of etcd answered and refused. A cluster that has lost its majority can neither change its members nor be written to; `kinit etcd status` asks each member, and `kinit etcd snapshot restore` begins anew from a snapshot.",
    ),
    (
        "EtcdUnreachable",
        "No member of etcd answered. etcd runs as a static pod: `crictl ps -a --name etcd` shows whether it runs, and /var/log/pods holds what it said.",
    ),
    (
        "Failed",
        "The command could not be done, for the reason that the message says. Nothing that the message does not name is known to be wrong.",
    ),
    (
        "HostCommand",
        "A program on the host ended with an error or could not be started; the message shows what was run and what it said. Run it by hand to see more.",
    ),
    (
        "HostFile",
        "A file on the host could not be read or written. The message says which, and what the system said: often the disk is full, read-only, or the user is not root.",
    ),
    (
        "Images",
        "A component's binary is missing or the container runtime did not take its image. The binaries are looked for beside kinit, in /usr/local/lib/kinit, and where --bin-dir or KINIT_BIN_DIR says.",
    ),
    (
        "NodeAddress",
        "A control plane has its address in its certificates, in the manifests of its static pods and in kubeconfigs. If the host gets another one, none of them is right any more, and etcd cannot even listen. `kinit readdress` on that host stops the kubelet, writes the new address where the old one stood, issues the certificates anew and starts the kubelet. Workers need nothing, unless the only control plane that they know has moved: `kinit readdress --server NEW:6443` tells them.",
    ),
    ("NotRoot", "The command changes the host, which only root may. Run it with sudo, or log in as root."),
    (
        "Patches",
        "A file in the folder that --patches names could not be used. Names are TARGET[SUFFIX][+TYPE].EXTENSION: for example kube-apiserver0+strategic.yaml; types are strategic, merge and json.",
    ),
    (
        "PhaseUnknown",
        "No phase has that name. `kinit init phase --help`, `kinit join phase --help` and `kinit reset phase --help` list those that there are; a part of a phase is named with it, as in addon/kube-proxy.",
    ),
    (
        "PreflightErrors",
        "The host is not ready, and nothing was changed. Each finding is shown with its name and what mends it; `kinit explain NAME` tells more of one, `kinit preflight --fix` mends what can be mended, and --ignore-preflight-errors=NAME goes on without.",
    ),
    (
        "Ssh",
        "A host could not be reached over SSH, or its key is not the one that is known, or none of the keys here may log in. `ssh root@HOST true` should work without a question; --accept-new-host-keys takes hosts that were never seen.",
    ),
];

/// The code of an error: that of the outermost cause that has one, because it knows best what was wanted.
pub fn of(error: &anyhow::Error) -> &'static str {
    let known = error.chain().find_map(one);
    known.unwrap_or_else(|| if error.to_string().starts_with("the user is not root") { "NotRoot" } else { "Failed" })
}

fn one(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<discovery::Error>() {
        return Some(match error {
            discovery::Error::Unreachable { .. } => "DiscoveryUnreachable",
            discovery::Error::NoInfo { .. } | discovery::Error::Invalid { .. } => "DiscoveryInfo",
            discovery::Error::Token { .. } => "DiscoveryToken",
            discovery::Error::Hash { .. } => "DiscoveryHash",
            discovery::Error::Credentials(_) => "Credentials",
            discovery::Error::Api(error) => of_api(error),
        });
    }
    if let Some(error) = error.downcast_ref::<api::Error>() {
        return Some(of_api(error));
    }
    if let Some(error) = error.downcast_ref::<config::Error>() {
        return Some(match error {
            config::Error::Read { .. } => "ConfigRead",
            config::Error::Patches(_) => "Patches",
            config::Error::Invalid { .. } | config::Error::Value { .. } => "Config",
        });
    }
    if let Some(error) = error.downcast_ref::<etcd::Error>() {
        return Some(match error {
            etcd::Error::Unreachable { .. } => "EtcdUnreachable",
            etcd::Error::Refused { .. } => "EtcdRefused",
            etcd::Error::File { .. } | etcd::Error::Torn { .. } => "HostFile",
        });
    }
    if let Some(error) = error.downcast_ref::<host::Error>() {
        return Some(match error {
            host::Error::File { .. } => "HostFile",
            host::Error::Start { .. } | host::Error::Failed { .. } => "HostCommand",
        });
    }
    match error.downcast_ref::<phase::Error>() {
        Some(phase::Error::Unknown { .. }) => return Some("PhaseUnknown"),
        Some(phase::Error::Failed { .. }) | None => {}
    }
    let others: [(bool, &'static str); 5] = [
        (error.is::<preflight::Failed>(), "PreflightErrors"),
        (error.is::<images::Error>(), "Images"),
        (error.is::<kinit_pki::Error>(), "Credentials"),
        (error.is::<patches::Error>(), "Patches"),
        (error.is::<ssh::Error>(), "Ssh"),
    ];
    others.into_iter().find(|(is, _)| *is).map(|(_, code)| code)
}

fn of_api(error: &api::Error) -> &'static str {
    match error {
        api::Error::Unreachable { .. } => "ApiUnreachable",
        api::Error::Refused { .. } => "ApiRefused",
        api::Error::Credentials(_) => "Credentials",
        api::Error::Kind { .. } => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn every_code_is_explained_once_and_in_order() {
        let names: Vec<&str> = EXPLANATIONS.iter().map(|(name, _)| *name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        for name in names {
            assert!(
                kinit_preflight::explain::explain(name).is_none_or(|(other, _)| other != name),
                "{name} is a check's"
            );
        }
    }

    #[test]
    fn errors_have_the_code_of_what_is_wrong() {
        let refused = || api::Error::Refused {
            method: "GET",
            path: "/".into(),
            code: 403,
            reason: String::new(),
            message: String::new(),
        };
        let torn = etcd::Error::Torn { path: "x".into(), reason: "y".into() };
        let value = config::Error::value("a", "b", "c", "d");
        for (error, wanted) in [
            (anyhow::anyhow!("no"), "Failed"),
            (anyhow::anyhow!("the user is not root\nhint: x"), "NotRoot"),
            (refused().into(), "ApiRefused"),
            (anyhow::Error::from(refused()).context("more"), "ApiRefused"),
            (Err::<(), _>(torn).context("more").unwrap_err(), "HostFile"),
            (value.into(), "Config"),
            (phase::failed("etcd", anyhow::Error::from(refused())).into(), "ApiRefused"),
        ] {
            let code = of(&error);
            assert_eq!(code, wanted);
            assert!(EXPLANATIONS.iter().any(|(name, _)| *name == code));
        }
    }
}
