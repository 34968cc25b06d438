//! The kubelet's program, files and service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};

use super::containerd::cgroup_driver;
use super::init::InitContext;
use super::{Outcome, Phase, Result, kubeconfig};
use crate::config::{NodeSettings, Settings};
use crate::host::{self, Change, Command, Host, record};
use crate::images::Binaries;
use crate::{supervise, templates};

/// Where the kubelet's program is installed.
pub const KUBELET: &str = "/usr/bin/kubelet";
/// The kubelet's folder.
pub const KUBELET_DIR: &str = "/var/lib/kubelet";
/// The certificate that the kubelet keeps renewed.
pub const CLIENT_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
/// The unit.
pub const UNIT: &str = "/etc/systemd/system/kubelet.service";
/// What kinit adds to the unit.
pub const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf";

/// Phase `kubelet-files`.
pub const FILES: Phase<InitContext> =
    Phase::leaf("kubelet-files", "installs the kubelet and writes its configuration and its unit", |context| {
        async move {
            let settings = &context.settings;
            let mut config = configuration(context.host.as_ref(), &settings.cluster, &settings.node)?;
            settings.patches.apply("kubeletconfiguration", &mut config)?;
            files(context.host.as_ref(), &context.binaries, Some(&settings.node), &config)
        }
        .boxed()
    });

/// Phase `kubelet-start`.
pub const START: Phase<InitContext> = Phase::<InitContext>::leaf("kubelet-start", "starts the kubelet", |context| {
    async move { start(context.host.as_ref()).await }.boxed()
})
.alone_after("kubelet-files");

/// Phase `kubelet-finalize`.
pub const FINALIZE: Phase<InitContext> =
    Phase::leaf("kubelet-finalize", "points kubelet.conf to the certificate that the kubelet renews", |context| {
        async move { finalize(context) }.boxed()
    });

/// The `KubeletConfiguration` of a node, as an object.
pub fn configuration(host: &dyn Host, cluster: &Settings, node: &NodeSettings) -> anyhow::Result<Value> {
    let values = json!({
        "ca_file": cluster.certificates_dir.join("ca.crt"),
        "cgroup_driver": cgroup_driver(host),
        "dns_address": cluster.dns_address(),
        "dns_domain": cluster.dns_domain,
        "cri_socket": node.cri_socket,
    });
    let mut config = templates::objects(templates::KUBELET_CONFIG, values)?.swap_remove(0);
    // systemd-resolved puts a stub into /etc/resolv.conf that does not work in a pod; its own file does.
    if host.read(Path::new("/run/systemd/resolve/resolv.conf"))?.is_some() {
        config["resolvConf"] = json!("/run/systemd/resolve/resolv.conf");
    }
    if let Some(over) = &cluster.kubelet {
        templates::merge(&mut config, over);
    }
    Ok(config)
}

/// Installs the kubelet and writes what it reads; without `node` its flags stay as they are.
pub fn files(host: &dyn Host, binaries: &Binaries, node: Option<&NodeSettings>, config: &Value) -> Result {
    let mut change = host.install(&binaries.find("kubelet")?, Path::new(KUBELET), 0o755)?;
    let values = json!({"kubelet": KUBELET});
    let folder = Path::new(KUBELET_DIR);
    change = change.or(host.write(&folder.join("config.yaml"), serde_yaml::to_string(config)?.as_bytes(), 0o600)?);
    let mut all: Vec<(PathBuf, String)> = Vec::new();
    if let Some(node) = node {
        all.push((folder.join("kubeadm-flags.env"), environment(node)));
        all.push((folder.join("instance-config.yaml"), instance(node)?));
    }
    if host::has_systemd(host) {
        all.push((UNIT.into(), templates::render(templates::KUBELET_SERVICE, &values)?));
        all.push((DROP_IN.into(), templates::render(templates::KUBELET_DROP_IN, &values)?));
    }
    for (path, text) in all {
        change = change.or(host.write(&path, text.as_bytes(), 0o644)?);
    }
    Ok(change.into())
}

/// The flags that are this node's own.
pub fn arguments(node: &NodeSettings) -> Vec<String> {
    let mut ours = vec![("container-runtime-endpoint", node.cri_socket.clone())];
    if node.name != node.host_name {
        ours.push(("hostname-override", node.name.clone()));
    }
    ours.extend(node.address.map(|address| ("node-ip", address.to_string())));
    if !node.taints.is_empty() {
        let taints: Vec<String> = node
            .taints
            .iter()
            .map(|taint| match taint.value.as_str() {
                "" => format!("{}:{}", taint.key, taint.effect),
                value => format!("{}={value}:{}", taint.key, taint.effect),
            })
            .collect();
        ours.push(("register-with-taints", taints.join(",")));
    }
    super::control_plane::arguments(&ours, &node.kubelet_extra_args)
}

fn environment(node: &NodeSettings) -> String {
    let flags = arguments(node).join(" ").replace('\\', "\\\\").replace('"', "\\\"");
    format!("KUBELET_KUBEADM_ARGS=\"{flags}\"\n")
}

/// What kubeadm looks at to know this node's container runtime.
fn instance(node: &NodeSettings) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(&json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "containerRuntimeEndpoint": node.cri_socket,
        "kind": "KubeletConfiguration",
    }))?)
}

/// Starts the kubelet, or restarts one that runs with what it read before.
pub async fn start(host: &dyn Host) -> Result {
    if !host::has_systemd(host) {
        return supervise::start(host).await;
    }
    host.note(record::Entry::Unit { name: "kubelet.service".into() })?;
    host::run(host, Command::new("systemctl", &["daemon-reload"])).await?;
    host::run(host, Command::new("systemctl", &["enable", "--quiet", "kubelet.service"])).await?;
    host::run(host, Command::new("systemctl", &["restart", "--no-block", "kubelet.service"])).await?;
    Ok(Outcome::Changed)
}

/// Stops the kubelet and waits until it is gone.
pub async fn stop(host: &dyn Host) -> anyhow::Result<()> {
    if !host::has_systemd(host) {
        return supervise::stop(host).await;
    }
    let stopped = host.run(Command::new("systemctl", &["disable", "--now", "--quiet", "kubelet.service"]));
    // A unit that is not there is stopped.
    tokio::time::timeout(Duration::from_secs(60), stopped).await??;
    Ok(())
}

fn finalize(context: &InitContext) -> Result {
    let certificate = Path::new(CLIENT_CERTIFICATE);
    if context.host.read(certificate)?.is_none() {
        return Ok(Outcome::Skipped(format!("{CLIENT_CERTIFICATE} is not there yet")));
    }
    let path = kubeconfig::path("kubelet.conf");
    let mut config = kubeconfig::read(context.host.as_ref(), "kubelet.conf")?;
    let mut change = Change::Unchanged;
    for named in &mut config.users {
        if named.user.client_certificate_data.is_some() {
            named.user = kinit_pki::kubeconfig::User {
                client_certificate: Some(certificate.to_owned()),
                client_key: Some(certificate.to_owned()),
                ..Default::default()
            };
            change = Change::Changed;
        }
    }
    if change == Change::Changed {
        context.host.write(&path, config.to_yaml()?.as_bytes(), 0o600)?;
    }
    Ok(change.into())
}
