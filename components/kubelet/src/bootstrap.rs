//! The kubelet's own certificate: asked for with a bootstrap token when there is none, and kept in one file that others
//! can point to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kinit_pki::kubeconfig::Credential;
use kinit_pki::{CertificateRequest, Kubeconfig, PrivateKey, Profile, files};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::error::{Error, Result};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);

/// The file that the certificate and its key are in.
pub fn current(cert_dir: &Path) -> PathBuf {
    cert_dir.join("kubelet-client-current.pem")
}

/// A client with the credentials of a kubeconfig.
pub async fn client(path: &Path) -> Result<kube::Client> {
    let invalid = |reason: String| Error::Invalid { path: path.to_owned(), reason };
    let config = kube::config::Kubeconfig::read_from(path).map_err(|error| invalid(error.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &options).await.map_err(|error| invalid(error.to_string()))?;
    // Watches are silent for minutes; everything else is bounded by its caller.
    config.read_timeout = None;
    Ok(kube::Client::try_from(config)?)
}

/// Makes the kubeconfig be there: kept if it is, else made with a certificate that the cluster signs. Tries until it
/// works.
pub async fn ensure(kubeconfig: &Path, bootstrap: Option<&Path>, cert_dir: &Path, node: &str) -> Result<()> {
    loop {
        if kubeconfig.exists() {
            return keep(kubeconfig, cert_dir);
        }
        match bootstrap.filter(|path| path.exists()) {
            Some(bootstrap) => match request(kubeconfig, bootstrap, cert_dir, node).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "no certificate yet"),
            },
            None => tracing::debug!(path = %kubeconfig.display(), "waits for a kubeconfig"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Puts a certificate that is embedded in the kubeconfig into the file as well, from where it is renewed.
fn keep(kubeconfig: &Path, cert_dir: &Path) -> Result<()> {
    let config = Kubeconfig::load(kubeconfig)?;
    let (_, user) = config.current()?;
    let embedded = user.filter(|user| user.client_certificate_data.is_some());
    if let Some((certificate, key)) = embedded.map(|user| user.certificate_pem()).transpose()?.flatten()
        && !current(cert_dir).exists()
    {
        store(cert_dir, &certificate, &key)?;
    }
    Ok(())
}

fn store(cert_dir: &Path, certificate: &str, key: &str) -> Result<()> {
    files::create_private_dir(cert_dir)?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
    let name = format!("kubelet-client-{now}.pem");
    files::write_atomic(&cert_dir.join(&name), format!("{certificate}{key}").as_bytes(), files::SECRET_MODE)?;
    let link = cert_dir.join(".kubelet-client-current.new");
    // One may be left of a kubelet that ended here.
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&name, &link).map_err(|error| Error::file(&link, error))?;
    std::fs::rename(&link, current(cert_dir)).map_err(|error| Error::file(&link, error))
}

async fn request(kubeconfig: &Path, bootstrap: &Path, cert_dir: &Path, node: &str) -> Result<()> {
    let config = Kubeconfig::load(bootstrap)?;
    let key = PrivateKey::generate()?;
    let profile = Profile::client(format!("system:node:{node}"), &["system:nodes"]);
    let text = CertificateRequest::create(&profile, &key)?;
    let api: Api<CertificateSigningRequest> = Api::all(client(bootstrap).await?);
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("node-csr-".into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(text.into_bytes()),
            signer_name: SIGNER.into(),
            usages: Some(vec!["digital signature".into(), "client auth".into()]),
            ..Default::default()
        },
        status: None,
    };
    let made = api.create(&PostParams::default(), &wanted).await?;
    let name = made.metadata.name.unwrap_or_default();
    tracing::info!(csr = name, "asked for a certificate");
    let certificate = loop {
        let status = api.get(&name).await?.status.unwrap_or_default();
        if let Some(certificate) = status.certificate {
            break String::from_utf8_lossy(&certificate.0).into_owned();
        }
        let refused =
            status.conditions.into_iter().flatten().find(|one| one.type_ == "Denied" || one.type_ == "Failed");
        if let Some(refused) = refused {
            let reason = format!("request {name} was refused: {}", refused.message.unwrap_or_default());
            return Err(Error::Invalid { path: bootstrap.to_owned(), reason });
        }
        tokio::time::sleep(POLL).await;
    };
    store(cert_dir, &certificate, &key.to_pem())?;
    let (cluster, _) = config.current()?;
    let ca = cluster.ca_pem()?.unwrap_or_default();
    let path = current(cert_dir);
    let made =
        Kubeconfig::new("default-cluster", &cluster.server, &ca, "default-auth", &Credential::CertificateFile(&path));
    files::write_atomic(kubeconfig, made.to_yaml()?.as_bytes(), files::SECRET_MODE)?;
    Ok(())
}
