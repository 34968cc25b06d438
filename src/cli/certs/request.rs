//! Keys and requests for a CA that is not here.

use kinit_pki::kubeconfig::Credential;
use kinit_pki::{CERTIFICATES, CertificateRequest, Kubeconfig, PkiStore, PrivateKey};

use super::super::init::host_defaults;
use super::super::print;
use super::RequestArgs;
use crate::config::settings::InitOverrides;
use crate::config::{Documents, InitSettings};
use crate::phase::kubeconfig;

pub(super) fn run(args: &RequestArgs) -> anyhow::Result<()> {
    let documents = Documents::load(args.config.as_deref())?;
    documents.only("certs generate-csr", &["InitConfiguration", "ClusterConfiguration"])?;
    let settings = InitSettings::resolve(documents, InitOverrides::default(), &host_defaults()?)?;
    let store = PkiStore::new(&args.cert_dir).with(settings.cluster.issuance);
    let of_etcd = |name: &str| name.starts_with("etcd-") || name == "apiserver-etcd-client";
    for spec in CERTIFICATES.iter().filter(|spec| !spec.is_authority()) {
        if settings.cluster.external_etcd.is_some() && of_etcd(spec.name) {
            continue;
        }
        let path = store.request(spec, &settings.pki_subject())?;
        print(&format!("{}\n", path.display()))?;
    }
    // Kubeconfigs that are to be of use need it; kubeadm leaves it to whoever signs.
    let ca = std::fs::read_to_string(args.cert_dir.join("ca.crt")).unwrap_or_default();
    for user in kubeconfig::USERS {
        let path = args.kubeconfig_dir.join(user.file);
        let csr = args.kubeconfig_dir.join(format!("{}.csr", user.file));
        if let Some(there) = [&path, &csr].into_iter().find(|path| path.exists()) {
            anyhow::bail!(
                "{} is there already\nhint: remove it, or name another folder\ncode: Leftover",
                there.display()
            );
        }
        let key = PrivateKey::generate_for(settings.cluster.issuance.algorithm)?;
        let request = CertificateRequest::create(&user.profile(&settings.node.name), &key)?;
        let name = user.profile(&settings.node.name).common_name;
        let server = user.server(&settings);
        let config = Kubeconfig::new(&settings.cluster.cluster_name, &server, &ca, &name, &Credential::Key(&key));
        kinit_pki::files::create_private_dir(&args.kubeconfig_dir)?;
        kinit_pki::files::write_atomic(&path, config.to_yaml()?.as_bytes(), 0o600)?;
        kinit_pki::files::write_atomic(&csr, request.as_bytes(), 0o600)?;
        print(&format!("{}\n", csr.display()))?;
    }
    Ok(())
}
