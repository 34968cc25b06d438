//! How a node is registered.

use std::net::IpAddr;
use std::path::Path;

use super::settings::{CONTAINERD_SOCKET, CONTROL_PLANE_KEY, HostDefaults, or};
use super::v1beta4::{Arg, NodeRegistration, Taint};
use super::{Error, net};

/// How this node is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSettings {
    /// The node's name.
    pub name: String,
    /// The host's own name, lower case.
    pub host_name: String,
    /// `unix:///...` of the container runtime.
    pub cri_socket: String,
    /// Taints that it is registered with.
    pub taints: Vec<Taint>,
    /// The address that it is known by, where that is not the one that its default route leaves from.
    pub address: Option<IpAddr>,
    /// More flags of the kubelet.
    pub kubelet_extra_args: Vec<Arg>,
    /// When the images of static pods are pulled.
    pub image_pull_policy: String,
}

impl NodeSettings {
    /// Fills in the defaults of a registration and checks it.
    pub fn resolve(registration: &NodeRegistration, host: &HostDefaults, control_plane: bool) -> Result<Self, Error> {
        let host_name = host.host_name.trim().to_lowercase();
        let name = or(registration.name.trim().to_lowercase(), &host_name);
        if !net::is_dns_name(&name) {
            let hint = "give a lower case RFC 1123 name by --node-name, or change the host's name";
            return Err(Error::value("node name", name, "is no DNS name", hint));
        }
        let cri_socket = or(registration.cri_socket.clone(), host.cri_socket.unwrap_or(CONTAINERD_SOCKET));
        let cri_socket = if cri_socket.starts_with('/') { format!("unix://{cri_socket}") } else { cri_socket };
        if !cri_socket.starts_with("unix:///") {
            return Err(Error::value(
                "criSocket",
                cri_socket,
                "is no path of a socket",
                format!("for example {CONTAINERD_SOCKET}"),
            ));
        }
        let default_taints = || {
            let taint = Taint { key: CONTROL_PLANE_KEY.into(), effect: "NoSchedule".into(), ..Taint::default() };
            if control_plane { vec![taint] } else { Vec::new() }
        };
        for taint in registration.taints.iter().flatten() {
            if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&taint.effect.as_str()) {
                let hint = "there are NoSchedule, PreferNoSchedule and NoExecute";
                return Err(Error::value("nodeRegistration.taints.effect", &taint.effect, "is no effect", hint));
            }
        }
        if !["", "Always", "IfNotPresent", "Never"].contains(&registration.image_pull_policy.as_str()) {
            let hint = "there are Always, IfNotPresent and Never";
            let policy = &registration.image_pull_policy;
            return Err(Error::value("nodeRegistration.imagePullPolicy", policy, "is no policy", hint));
        }
        Ok(Self {
            name,
            host_name,
            cri_socket,
            taints: registration.taints.clone().unwrap_or_else(default_taints),
            address: None,
            kubelet_extra_args: registration.kubelet_extra_args.clone(),
            image_pull_policy: or(registration.image_pull_policy.clone(), "IfNotPresent"),
        })
    }

    /// Makes the node known by the address at which the cluster reaches it. A kubelet left alone takes the address of
    /// its default route, which all virtual machines behind one translating gateway share.
    pub fn at(self, address: Option<IpAddr>, host: &HostDefaults) -> Self {
        Self { address: address.filter(|address| Some(*address) != host.address), ..self }
    }

    /// The socket's path.
    pub fn cri_path(&self) -> &Path {
        Path::new(self.cri_socket.strip_prefix("unix://").unwrap_or(&self.cri_socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_only_where_the_kubelet_would_take_another() {
        let of = |text: &str| text.parse::<IpAddr>().ok();
        for (own, towards, told) in [
            ("10.0.2.15", "10.88.1.21", of("10.88.1.21")),
            ("10.88.1.21", "10.88.1.21", None),
            ("10.0.2.15", "", None),
            ("", "10.88.1.21", of("10.88.1.21")),
        ] {
            let host = HostDefaults { host_name: "w1".into(), address: of(own), cri_socket: None };
            let node = NodeSettings::resolve(&NodeRegistration::default(), &host, false).unwrap();
            assert_eq!(node.at(of(towards), &host).address, told, "{own} {towards}");
        }
    }
}
