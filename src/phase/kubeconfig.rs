//! Phase `kubeconfig`: how administrators and components reach the API server.

use std::path::{Path, PathBuf};

use futures::FutureExt;
use kinit_pki::kubeconfig::Credential;
use kinit_pki::{Authority, Certificate, CertificateSpec, Kubeconfig, PkiStore, Profile};

use super::init::InitContext;
use super::{Outcome, Phase, Result, certs};
use crate::config::InitSettings;
use crate::host::Host;

/// kubeadm's folder.
pub const KUBERNETES_DIR: &str = "/etc/kubernetes";

/// Where a kubeconfig leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// The shared endpoint.
    Shared,
    /// This node's own API server.
    Own,
    /// As nodes reach the cluster.
    Node,
}

/// Who a kubeconfig is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Name of the file.
    pub file: &'static str,
    /// User name; the node's name is added to one that ends with a colon.
    name: &'static str,
    /// Its group, if it is in one.
    group: Option<&'static str>,
    /// Which API server it goes to.
    to: To,
}

const ADMIN: User =
    User { file: "admin.conf", name: "kubernetes-admin", group: Some("kubeadm:cluster-admins"), to: To::Shared };
const SUPER_ADMIN: User =
    User { file: "super-admin.conf", name: "kubernetes-super-admin", group: Some("system:masters"), to: To::Shared };
const KUBELET: User = User { file: "kubelet.conf", name: "system:node:", group: Some("system:nodes"), to: To::Node };
const CONTROLLER_MANAGER: User =
    User { file: "controller-manager.conf", name: "system:kube-controller-manager", group: None, to: To::Own };
const SCHEDULER: User = User { file: "scheduler.conf", name: "system:kube-scheduler", group: None, to: To::Own };

/// All of them, in the order that they are written in.
pub const USERS: &[User] = &[ADMIN, SUPER_ADMIN, KUBELET, CONTROLLER_MANAGER, SCHEDULER];

impl User {
    /// What its certificate says on the node `node`.
    pub fn profile(&self, node: &str) -> Profile {
        let node = if self.name.ends_with(':') { node } else { "" };
        Profile::client(format!("{}{node}", self.name), self.group.as_slice())
    }

    /// URL of the API server that it goes to.
    pub fn server(&self, settings: &InitSettings) -> String {
        match self.to {
            To::Shared => settings.endpoint_url(),
            To::Own => settings.local_url(),
            To::Node => settings.node_url(),
        }
    }
}

/// The phase.
pub const PHASE: Phase<InitContext> = Phase::node(
    "kubeconfig",
    "writes the kubeconfig files of administrators and components",
    &[
        Phase::leaf("admin", "writes admin.conf", |context| async move { ensure(context, ADMIN) }.boxed()),
        Phase::leaf("super-admin", "writes super-admin.conf", |context| {
            async move { ensure(context, SUPER_ADMIN) }.boxed()
        }),
        Phase::leaf("kubelet", "writes kubelet.conf", |context| async move { ensure(context, KUBELET) }.boxed()),
        Phase::leaf("controller-manager", "writes controller-manager.conf", |context| {
            async move { ensure(context, CONTROLLER_MANAGER) }.boxed()
        }),
        Phase::leaf("scheduler", "writes scheduler.conf", |context| async move { ensure(context, SCHEDULER) }.boxed()),
    ],
);

/// Those that a joining control plane needs: its kubelet asks for a certificate of its own, and there is one super
/// administrator only.
pub fn of_joined(context: &InitContext) -> Result {
    let mut all = Outcome::Unchanged;
    for user in [ADMIN, CONTROLLER_MANAGER, SCHEDULER] {
        if ensure(context, user)? == Outcome::Changed {
            all = Outcome::Changed;
        }
    }
    Ok(all)
}

/// Path of a file in kubeadm's folder.
pub fn path(file: &str) -> PathBuf {
    Path::new(KUBERNETES_DIR).join(file)
}

fn ensure(context: &InitContext, user: User) -> Result {
    let path = context.kubeconfig_dir.join(user.file);
    let settings = &context.settings;
    let store = certs::store(context)?;
    let ca = ca_certificate(&store)?;
    if let Some(present) = context.host.read(&path)? {
        check(&present, &path, &ca, context)?;
        return Ok(Outcome::Unchanged);
    }
    let (profile, server) = (user.profile(&settings.node.name), user.server(settings));
    let text = issue(&store, &settings.cluster.cluster_name, &server, &profile, context.now)?;
    Ok(context.host.write(&path, text.as_bytes(), 0o600)?.into())
}

/// A kubeconfig with a new client certificate for `profile`.
pub fn issue(
    store: &PkiStore,
    cluster: &str,
    server: &str,
    profile: &Profile,
    now: jiff::Timestamp,
) -> anyhow::Result<String> {
    let spec = CertificateSpec::find("ca").ok_or_else(|| anyhow::anyhow!("the table has no CA"))?;
    let authority: Authority = store.authority(spec)?;
    let (certificate, key) = store.issue(&authority, profile, now)?;
    let credential = Credential::Certificate(&certificate, &key);
    let ca = authority.certificate().to_pem();
    Ok(Kubeconfig::new(cluster, server, &ca, &profile.common_name, &credential).to_yaml()?)
}

fn ca_certificate(store: &PkiStore) -> anyhow::Result<Certificate> {
    Ok(Certificate::load(&store.folder().join("ca.crt"))?)
}

/// A kubeconfig that is there is kept if it trusts this cluster's CA and its certificate has not ended.
fn check(present: &[u8], path: &Path, ca: &Certificate, context: &InitContext) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let config = Kubeconfig::parse(&String::from_utf8_lossy(present), &name)?;
    let (cluster, user) = config.current()?;
    let trusted = cluster.ca_pem()?.map(|pem| Certificate::from_pem(&pem, &name)).transpose()?;
    if trusted.as_ref() != Some(ca) {
        anyhow::bail!(
            "{name}: it is of a cluster with another CA\nhint: remove it, or run kinit reset\ncode: Leftover"
        );
    }
    if let Some((certificate, _)) = user.map(|user| user.certificate_pem()).transpose()?.flatten() {
        let certificate = Certificate::from_pem(&certificate, &name)?;
        if certificate.not_after <= context.now {
            anyhow::bail!(
                "{name}: its certificate ended on {}\nhint: remove it to have it made again\ncode: CertificateEnded",
                certificate.not_after
            );
        }
    }
    Ok(())
}

/// The text of an existing kubeconfig.
pub fn read(host: &dyn Host, file: &str) -> anyhow::Result<Kubeconfig> {
    let path = path(file);
    let contents = host.read(&path)?.ok_or_else(|| {
        anyhow::anyhow!(
            "{} is not there\nhint: run this on a control plane made by kinit init\ncode: NotControlPlane",
            path.display()
        )
    })?;
    Ok(Kubeconfig::parse(&String::from_utf8_lossy(&contents), &path.display().to_string())?)
}

/// Text of the kubeconfig that a new node boots with.
pub fn bootstrap(settings: &InitSettings, ca: &str, token: &str) -> anyhow::Result<String> {
    let user = Credential::Token(token);
    Ok(Kubeconfig::new(&settings.cluster.cluster_name, &settings.endpoint_url(), ca, "tls-bootstrap-token-user", &user)
        .to_yaml()?)
}
