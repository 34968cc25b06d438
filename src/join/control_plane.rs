//! Joining as a control plane: the phases that a worker does not have. They are those of init, over a context that is
//! made of what the cluster says of itself.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::phases::{JoinContext, cluster};
use super::{JoinSettings, discovery, etcd};
use crate::api::{Api, KubeApi, WouldCall};
use crate::config::{InitSettings, Settings};
use crate::host::Change;
use crate::phase::control_plane::EtcdStart;
use crate::phase::init::InitContext;
use crate::phase::{
    Outcome, Phase, Result, certs, control_plane, kubeconfig, mark_control_plane, run_all, security, upload_certs,
};

/// What joining as a control plane needs beyond what a worker needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneSettings {
    /// Address of this node's API server.
    pub advertise_address: std::net::IpAddr,
    /// Its port.
    pub bind_port: u16,
    /// Key of the uploaded certificates; without one they have been copied here already.
    pub certificate_key: Option<String>,
}

fn node_only(context: &JoinContext) -> bool {
    context.settings.control_plane.is_none()
}

/// Runs a part of init for a control plane; a worker leaves it out.
fn of_control_plane<'a>(
    context: &'a JoinContext,
    run: impl for<'b> FnOnce(&'b InitContext) -> BoxFuture<'b, Result> + Send + 'a,
) -> BoxFuture<'a, Result> {
    async move {
        if node_only(context) {
            return Ok(Outcome::Skipped("for control planes only".into()));
        }
        run(init_context(context).await?).await
    }
    .boxed()
}

/// Phase `control-plane-prepare`.
pub const PREPARE: Phase<JoinContext> = Phase::node(
    "control-plane-prepare",
    "prepares the machine for serving a control plane",
    &[
        Phase::leaf("download-certs", "downloads certificates shared among control planes", |context| {
            async move { download(context).await }.boxed()
        }),
        Phase::leaf("certs", "makes the certificates of this control plane", |context| {
            of_control_plane(context, |init| async move { certificates(init).await }.boxed())
        }),
        Phase::leaf("kubeconfig", "writes the kubeconfig files of the control plane", |context| {
            of_control_plane(context, |init| async move { kubeconfig::of_joined(init) }.boxed())
        }),
        Phase::leaf("control-plane", "writes the static pods of the control plane", |context| {
            of_control_plane(context, |init| async move { static_pods(init) }.boxed())
        }),
    ],
);

/// Phase `check-etcd`.
pub const CHECK_ETCD: Phase<JoinContext> =
    Phase::leaf("check-etcd", "checks that etcd is well before a member is added", |context| {
        of_control_plane(context, |init| async move { only_real(init, etcd::check(init)).await }.boxed())
    });

/// Phase `etcd-join`.
pub const ETCD_JOIN: Phase<JoinContext> = Phase::leaf("etcd-join", "joins etcd as a member", |context| {
    of_control_plane(context, |init| async move { only_real(init, etcd::join(init)).await }.boxed())
});

/// Phase `control-plane-join`.
pub const JOIN: Phase<JoinContext> = Phase::node(
    "control-plane-join",
    "joins the machine as a control plane",
    &[Phase::leaf("mark-control-plane", "labels this node as a control plane and taints it", |context| {
        of_control_plane(context, |init| async move { mark_control_plane::mark(init).await }.boxed())
    })],
);

/// Phase `wait-control-plane`.
pub const WAIT: Phase<JoinContext> =
    Phase::leaf("wait-control-plane", "waits until this node's API server is ready", |context| {
        of_control_plane(context, |init| async move { only_real(init, wait(init)).await }.boxed())
    });

async fn only_real(context: &InitContext, work: impl Future<Output = Result>) -> Result {
    if context.host.is_real() { work.await } else { Ok(Outcome::Skipped("in a dry run".into())) }
}

/// The context that the phases of init run in here.
async fn init_context(context: &JoinContext) -> anyhow::Result<&InitContext> {
    context
        .init
        .get_or_try_init(|| async {
            let joined = cluster(context).await?;
            let settings = init_settings(&context.settings, &joined.settings)
                .ok_or_else(|| anyhow::anyhow!("this host does not join as a control plane"))?;
            let admin = kubeconfig::path("admin.conf");
            // This node's own API server does not serve yet: administrators ask the one that was found.
            let api: Arc<dyn Api> = if context.host.is_real() {
                Arc::new(KubeApi::from_file_at(admin, &joined.found.server).patient(context.settings.timeouts.api_call))
            } else {
                Arc::new(WouldCall)
            };
            Ok(InitContext {
                settings,
                host: context.host.clone(),
                images: context.images.clone(),
                binaries: context.binaries.clone(),
                super_api: api.clone(),
                api,
                reporter: context.reporter.clone(),
                kubeconfig_dir: kubeconfig::KUBERNETES_DIR.into(),
                now: context.now,
            })
        })
        .await
}

/// What init would have been told on this host.
pub fn init_settings(join: &JoinSettings, cluster: &Settings) -> Option<InitSettings> {
    let own = join.control_plane.as_ref()?;
    Some(InitSettings {
        cluster: cluster.clone(),
        node: join.node.clone(),
        advertise_address: own.advertise_address,
        bind_port: own.bind_port,
        tokens: Vec::new(),
        ignore_preflight_errors: join.ignore_preflight_errors.clone(),
        skip_phases: join.skip_phases.clone(),
        dry_run: join.dry_run,
        timeouts: join.timeouts,
        patches: join.patches.clone(),
        certificate_key: own.certificate_key.clone(),
        upload_certs: false,
    })
}

async fn download(context: &JoinContext) -> Result {
    let Some(own) = &context.settings.control_plane else {
        return Ok(Outcome::Skipped("for control planes only".into()));
    };
    let Some(key) = &own.certificate_key else {
        return Ok(Outcome::Skipped("without --certificate-key".into()));
    };
    let joined = cluster(context).await?;
    let api = KubeApi::from_kubeconfig(&super::phases::bootstrap_kubeconfig(context, &joined.found).await?)?;
    let files = upload_certs::download(&api, key).await?;
    let folder = context.host.stage(&joined.settings.certificates_dir)?;
    store(&joined.settings, &folder, &joined.found, files)
}

/// Writes what was downloaded; a file that is there and says something else is of another cluster.
fn store(settings: &Settings, folder: &Path, found: &discovery::Found, files: Vec<(String, Vec<u8>)>) -> Result {
    let mut change = Change::Unchanged;
    for (name, path) in upload_certs::shared(settings, folder) {
        let Some((_, contents)) = files.iter().find(|(other, _)| other == name) else { continue };
        if name == "ca.crt" && String::from_utf8_lossy(contents).trim() != found.ca.trim() {
            anyhow::bail!(
                "the certificates that the cluster keeps are of another CA than its own\nhint: run `kinit init phase upload-certs --upload-certs` on a control plane\ncode: SharedCertificates"
            );
        }
        match std::fs::read(&path) {
            Ok(present) if present == *contents => continue,
            Ok(_) => anyhow::bail!(
                "{} is there already and is another\nhint: run `kinit reset` first\ncode: Leftover",
                path.display()
            ),
            Err(_) => {}
        }
        if let Some(parent) = path.parent() {
            kinit_pki::files::create_private_dir(parent)?;
        }
        let mode = if name.ends_with(".key") || name == security::ENCRYPTION { 0o600 } else { 0o644 };
        kinit_pki::files::write_atomic(&path, contents, mode)?;
        change = Change::Changed;
    }
    Ok(change.into())
}

/// Makes this host's own leaves. The shared files must be there: made anew they would be those of another cluster.
async fn certificates(context: &InitContext) -> Result {
    let folder = certs::store(context)?.folder().to_owned();
    let missing = missing(&context.settings.cluster, &folder);
    if !missing.is_empty() {
        anyhow::bail!(
            "what control planes share is not here: {}\nhint: give --certificate-key, as `kinit init phase upload-certs \
             --upload-certs` on a control plane shows it, or copy the files from there\ncode: SharedCertificates",
            missing.join(", ")
        );
    }
    run_all(&certs::PHASE, context).await
}

/// The shared files that are not in `folder`. Keys of CAs may be missing: then every leaf has to be there.
fn missing(settings: &Settings, folder: &Path) -> Vec<String> {
    let all = upload_certs::shared(settings, folder).into_iter();
    // A cluster that was made without encryption has no key for it either.
    all.filter(|(name, path)| !name.ends_with("ca.key") && *name != security::ENCRYPTION && !path.exists())
        .map(|(_, path)| path.display().to_string())
        .collect()
}

fn static_pods(context: &InitContext) -> Result {
    let mut all = security::ensure(context, false)?;
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        if control_plane::write(context, name, &EtcdStart::New)? == Outcome::Changed {
            all = Outcome::Changed;
        }
    }
    Ok(all)
}

async fn wait(context: &InitContext) -> Result {
    let own = KubeApi::from_file_at(kubeconfig::path("admin.conf"), &context.settings.local_url());
    crate::phase::wait::api_ready(&own, context.settings.timeouts.control_plane).await?;
    Ok(Outcome::Changed)
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::config::settings::{HostDefaults, InitOverrides};
    use crate::host::MemoryHost;
    use crate::images::{Binaries, WouldImport};
    use crate::report::Silent;

    /// A control plane that joins, on a host that only remembers.
    pub fn context(address: &str) -> (InitContext, Arc<MemoryHost>) {
        let host = Arc::new(MemoryHost::empty().unwrap());
        let defaults = HostDefaults { host_name: "cp2".into(), address: address.parse().ok(), cri_socket: None };
        let context = InitContext {
            settings: InitSettings::resolve(Default::default(), InitOverrides::default(), &defaults).unwrap(),
            host: host.clone(),
            images: Arc::new(WouldImport),
            binaries: Binaries::new(Some(Path::new("/nowhere"))),
            api: Arc::new(WouldCall),
            super_api: Arc::new(WouldCall),
            reporter: Arc::new(Silent),
            kubeconfig_dir: kubeconfig::KUBERNETES_DIR.into(),
            now: jiff::Timestamp::now(),
        };
        (context, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_downloaded_is_written_once_and_another_cluster_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::resolve(Default::default(), None, None).unwrap();
        let found = discovery::Found { server: "https://x:6443".into(), ca: "the ca\n".into() };
        let files =
            |ca: &str| vec![("ca.crt".to_owned(), ca.as_bytes().to_vec()), ("etcd-ca.key".into(), b"k".to_vec())];
        let write = |ca: &str| store(&settings, folder.path(), &found, files(ca));
        assert!(write("another").is_err());
        assert_eq!(missing(&settings, folder.path()).len(), 5);
        assert_eq!(write("the ca\n").unwrap(), Outcome::Changed);
        assert_eq!(missing(&settings, folder.path()).len(), 4);
        assert_eq!(write("the ca\n").unwrap(), Outcome::Unchanged);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.path().join("etcd/ca.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("ca.crt"), "older").unwrap();
        assert!(write("the ca\n").unwrap_err().to_string().contains("kinit reset"));
    }
}
