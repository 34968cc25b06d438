//! Stable codes of errors: what scripts may look at, and `kinit explain` tells more of. What preflight finds has names of
//! its own.

use crate::{api, config, etcd, host, images, join::discovery, patches, phase, preflight, ssh};

/// Each code, and what it is about at more length than an error has room for.
pub const EXPLANATIONS: &[(&str, &str)] = &[
    (
        "ApiNotReady",
        "The API server was started and does not become ready, or does so too late. The kubelet starts it as a static pod: `journalctl -u kubelet` tells whether it could, `crictl ps -a` whether it runs, and the logs under /var/log/pods what it says. Often etcd is what it waits for. The timeouts of the configuration (timeouts.controlPlaneComponentHealthCheck) can be made longer for slow hosts; running the command again goes on where it stopped.",
    ),
    (
        "ApiRefused",
        "The API server answered and refused. The number is HTTP's: 401 says that it does not know the credentials, 403 that they may not do this, 404 that the object is not there, 409 that somebody else changed it at the same time, 422 that the object is not valid. Which credentials are used is said by --kubeconfig, on a control plane by /etc/kubernetes/admin.conf.",
    ),
    (
        "ApiUnreachable",
        "No API server answered, or it showed a certificate that the kubeconfig's CA does not vouch for. See whether the control plane is up (`kinit status` there, `crictl ps`, `journalctl -u kubelet`), whether the address in the kubeconfig is the right one, and whether a firewall is in between.",
    ),
    (
        "CertificateEnded",
        "A certificate that is there has ended, so nobody believes it. `kinit certs renew all` issues those of a control plane anew; a kubeconfig that is removed is made again by `kinit init phase kubeconfig`.",
    ),
    (
        "CertificateKey",
        "The key that was given by --certificate-key is not the one that the control plane's files were encrypted with, or not 32 bytes in hexadecimal. `kinit init phase upload-certs --upload-certs` on a control plane uploads them again under a new key and shows it; what is uploaded is removed after two hours.",
    ),
    (
        "ClusterConfig",
        "What the cluster says of itself is not there: the ConfigMaps kubeadm-config and kubelet-config in kube-system, in kubeadm's format. Both are written by the phase upload-config of `kinit init`, which may be run again on a control plane.",
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
        "EtcdMember",
        "A member of etcd does not do what was asked: it does not serve, is not promoted, or does not stop. `kinit etcd members` shows who is a member, `kinit etcd status` how each is; its logs are under /var/log/pods. A member whose host is lost is taken out by `kinit reset` there, or by `etcdctl member remove`.",
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
        "KubeletCertificate",
        "The kubelet asked the cluster for a certificate and got none. The controller manager approves and signs requests of new nodes: `kubectl get csr` shows whether one waits, `kubectl -n kube-system logs -l component=kube-controller-manager` why. In a cluster without its CA's key somebody else has to sign them.",
    ),
    (
        "Leftover",
        "Something on this host is of another cluster, or of an earlier attempt with other settings, and kinit does not write over it. `kinit reset` removes what kinit made; files that were put there by hand have to be moved away by hand.",
    ),
    (
        "NodeAddress",
        "A control plane has its address in its certificates, in the manifests of its static pods and in kubeconfigs. If the host gets another one, none of them is right any more, and etcd cannot even listen. `kinit readdress` on that host stops the kubelet, writes the new address where the old one stood, issues the certificates anew and starts the kubelet. Workers need nothing, unless the only control plane that they know has moved: `kinit readdress --server NEW:6443` tells them.",
    ),
    (
        "NodeExists",
        "A node of this name is in the cluster and is ready. Two hosts under one name would take each other's pods, so the second does not join: give it another name by --node-name or set its host name, or remove the first one from the cluster.",
    ),
    (
        "NodeNotReady",
        "The node is registered but not ready. `kubectl describe node` shows its conditions: most often the network is missing (a CNI configuration in /etc/cni/net.d) or the container runtime does not answer.",
    ),
    (
        "NotConfirmed",
        "The command changes something that cannot be undone, and asks first. Nobody said yes, so nothing was changed. --yes answers beforehand, which scripts need.",
    ),
    (
        "NotControlPlane",
        "The command needs files that only a control plane has, in /etc/kubernetes. Run it there as root; many commands also take --kubeconfig or --cert-dir.",
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
        "ResetIncomplete",
        "Some steps of reset failed and the others were done. Each failed step is named by a warning; what it was to remove is still in kinit's record, so running `kinit reset` again tries just those.",
    ),
    (
        "RuntimeRestart",
        "The configuration of the container runtime was changed and the runtime has to be started again to read it, which kinit could not do or which did not succeed. Restart it by hand (`systemctl restart containerd`), look at `journalctl -u containerd`, and run the command again.",
    ),
    (
        "SharedCertificates",
        "A joining control plane needs the CAs and keys that all control planes share. They come from the cluster, encrypted, by --certificate-key, and are kept there for two hours; or they are copied by hand into /etc/kubernetes/pki: ca, front-proxy-ca, etcd/ca and sa, with encryption.yaml if there is one.",
    ),
    (
        "Ssh",
        "A host could not be reached over SSH, or its key is not the one that is known, or none of the keys here may log in. `ssh root@HOST true` should work without a question; --accept-new-host-keys takes hosts that were never seen.",
    ),
    (
        "TokenExists",
        "A bootstrap token of this id is there already, and creating it again would change what others hold. Delete it first with `kinit token delete`, or leave the token out to get a random one.",
    ),
    (
        "TokenRefused",
        "The cluster could be found with the token, but does not let its holder ask for a kubelet's certificate: the token has ended meanwhile, or may not be used for authentication. `kinit token create --print-join-command` on a control plane makes a new one.",
    ),
    (
        "TokenUnknown",
        "There is no such bootstrap token; they are removed when their life ends, after a day unless told otherwise. `kinit token list` shows those that there are by the six characters before the full stop.",
    ),
    (
        "UpgradeUnhealthy",
        "A component of the new version did not become ready in time, and what was replaced was put back, all but etcd. The manifests of before are kept in /etc/kubernetes/tmp; the logs of the component that failed are under /var/log/pods.",
    ),
    (
        "UpgradeVersion",
        "The upgrade breaks a rule of version skew, or asks for a version that this kinit does not bring. A minor version must not be left out, and the control plane goes before the nodes. `kinit upgrade plan` shows what is possible; a kinit of the version wanted does the upgrade.",
    ),
    (
        "Usage",
        "The command line is not understood: an unknown command or flag, a value of the wrong form, or flags that exclude each other. Nothing was changed. --help after a command shows its flags with examples.",
    ),
];

/// How a line of an error's text begins that gives its code, for errors that have no type of their own.
pub const LINE: &str = "code: ";

/// The code of an error: that of the outermost cause that has one, because it knows best what was wanted.
pub fn of(error: &anyhow::Error) -> &'static str {
    error.chain().find_map(|cause| said(cause).or_else(|| one(cause))).unwrap_or("Failed")
}

/// The code that the text of an error gives.
fn said(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let text = error.to_string();
    let name = text.lines().find_map(|line| line.strip_prefix(LINE))?;
    EXPLANATIONS.iter().map(|(known, _)| *known).find(|known| *known == name)
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
            (anyhow::anyhow!("the user is not root\nhint: x\ncode: NotRoot"), "NotRoot"),
            (anyhow::anyhow!("no\ncode: NobodyKnowsThis"), "Failed"),
            (anyhow::Error::from(refused()).context("more\ncode: TokenRefused"), "TokenRefused"),
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

    /// Every code that a message gives is one of the table.
    #[test]
    fn messages_give_codes_that_there_are() {
        fn look(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    look(&path, found);
                } else if path != std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/codes.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let names = text.split("\\ncode: ").skip(1);
                    found.extend(names.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()));
                }
            }
        }
        let mut found = Vec::new();
        look(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() > 40, "{found:?}");
        found.retain(|name: &String| !name.is_empty() && !EXPLANATIONS.iter().any(|(known, _)| known == name));
        assert_eq!(found, Vec::<String>::new());
    }
}
