//! The way from a bootstrap token to a kubeconfig with a certificate.

use std::path::Path;
use std::time::Duration;

use kinit_pki::kubeconfig::Credential;
use kinit_pki::{Kubeconfig, files};

use super::request;
use super::store::Store;
use crate::error::{Error, Result};

const RETRY: Duration = Duration::from_secs(1);

/// A client with the credentials of a kubeconfig; a certificate of `store` takes the place of the one that it has.
pub async fn client(path: &Path, store: Option<&Store>) -> Result<kube::Client> {
    let invalid = |reason: String| Error::Invalid { path: path.to_owned(), reason };
    let config = kube::config::Kubeconfig::read_from(path).map_err(|error| invalid(error.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &options).await.map_err(|error| invalid(error.to_string()))?;
    if let Some(store) = store.filter(|store| store.signed().is_some()) {
        let file = store.current().display().to_string();
        let own = &mut config.auth_info;
        own.client_certificate = Some(file.clone());
        own.client_key = Some(file);
        (own.client_certificate_data, own.client_key_data) = (None, None);
    }
    // Watches are silent for minutes; everything else is bounded by its caller.
    config.read_timeout = None;
    Ok(kube::Client::try_from(config)?)
}

/// Makes the kubeconfig be there: kept if it is, else made with a certificate that the cluster signs. Tries until it
/// works.
pub async fn ensure(kubeconfig: &Path, bootstrap: Option<&Path>, store: &Store, node: &str) -> Result<()> {
    loop {
        if kubeconfig.exists() {
            return keep(kubeconfig, store);
        }
        match bootstrap.filter(|path| path.exists()) {
            Some(bootstrap) => match make(kubeconfig, bootstrap, store, node).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "no certificate yet"),
            },
            None => tracing::debug!(path = %kubeconfig.display(), "waits for a kubeconfig"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Puts a certificate that is embedded in the kubeconfig into the file as well, from where it is renewed.
fn keep(kubeconfig: &Path, store: &Store) -> Result<()> {
    let config = Kubeconfig::load(kubeconfig)?;
    let (_, user) = config.current()?;
    let embedded = user.filter(|user| user.client_certificate_data.is_some());
    if let Some((certificate, key)) = embedded.map(|user| user.certificate_pem()).transpose()?.flatten()
        && !store.current().exists()
    {
        store.put(&certificate, &key)?;
    }
    Ok(())
}

async fn make(kubeconfig: &Path, bootstrap: &Path, store: &Store, node: &str) -> Result<()> {
    let config = Kubeconfig::load(bootstrap)?;
    let (certificate, key) = request::certificate(client(bootstrap, None).await?, &super::client_request(node)).await?;
    store.put(&certificate, &key)?;
    let (cluster, _) = config.current()?;
    let ca = cluster.ca_pem()?.unwrap_or_default();
    let path = store.current();
    let made =
        Kubeconfig::new("default-cluster", &cluster.server, &ca, "default-auth", &Credential::CertificateFile(&path));
    files::write_atomic(kubeconfig, made.to_yaml()?.as_bytes(), files::SECRET_MODE)?;
    Ok(())
}
