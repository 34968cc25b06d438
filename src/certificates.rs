//! Looking after certificates that are there: kubeconfigs issued anew, and keys for those that are uploaded.

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, Certificate, CertificateSpec, Kubeconfig, PkiStore, Profile};

use crate::phase::kubeconfig;

/// A new key to encrypt uploaded certificates with, in hexadecimal.
pub fn new_key() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Issues the client certificate in a kubeconfig anew, keeping all else that it says; gives its end.
pub fn renew_kubeconfig(store: &PkiStore, file: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let path = kubeconfig::path(file);
    let config = Kubeconfig::load(&path)?;
    let (cluster, user) = config.current()?;
    let pem = user.map(|user| user.certificate_pem()).transpose()?.flatten();
    let (pem, _) = pem.ok_or_else(|| anyhow::anyhow!("{} has no client certificate to renew", path.display()))?;
    let present = Certificate::from_pem(&pem, file)?;
    let groups: Vec<&str> = present.organizations.iter().map(String::as_str).collect();
    let profile = Profile::client(present.common_name.clone(), &groups);
    let name = config.clusters.first().map_or("kubernetes", |named| named.name.as_str());
    let text = kubeconfig::issue(store, name, &cluster.server, &profile, now)?;
    // Static pods have their kubeconfig mounted by itself.
    kinit_pki::files::overwrite(&path, &text)?;
    let renewed = Kubeconfig::parse(&text, file)?;
    let end = renewed.current()?.1.map(|user| user.certificate_pem()).transpose()?.flatten();
    let end = end.map(|(pem, _)| Certificate::from_pem(&pem, file)).transpose()?;
    Ok(end.map_or(now, |certificate| certificate.not_after))
}

/// Issues every leaf and every kubeconfig that is there anew, but for those whose CA is not here; gives how many.
pub fn renew_all(store: &PkiStore, now: Timestamp) -> anyhow::Result<usize> {
    let mut count = 0;
    CERTIFICATES.iter().try_for_each(|spec| store.finish(spec))?;
    for spec in CERTIFICATES {
        let Some(authority) = spec.authority.and_then(CertificateSpec::find) else { continue };
        if store.certificate(spec)?.is_some() && store.key_path(authority).exists() {
            store.renew(spec, now)?;
            count += 1;
        }
    }
    let has_ca = CertificateSpec::find("ca").is_some_and(|spec| store.key_path(spec).exists());
    for user in kubeconfig::USERS.iter().filter(|user| user.file != "kubelet.conf" && has_ca) {
        if kubeconfig::path(user.file).exists() {
            renew_kubeconfig(store, user.file, now)?;
            count += 1;
        }
    }
    Ok(count)
}
