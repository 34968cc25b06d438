//! Asking the cluster to sign a certificate.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kinit_pki::{CertificateRequest, PrivateKey, Profile};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::error::{Error, Result};

const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A request that nobody answers is asked again after this.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What is asked for.
pub struct Wanted {
    /// Who signs.
    pub signer: &'static str,
    /// What the request's name begins with.
    pub name: &'static str,
    /// What the key may be used for, in the API's words.
    pub usages: &'static [&'static str],
    /// The subject.
    pub profile: Profile,
}

/// A certificate and its key, both in PEM. Waits until the request is approved and signed.
pub async fn certificate(client: kube::Client, wanted: &Wanted) -> Result<(String, String)> {
    let key = PrivateKey::generate()?;
    let text = CertificateRequest::create(&wanted.profile, &key)?;
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(wanted.name.into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(text.into_bytes()),
            signer_name: wanted.signer.into(),
            usages: Some(wanted.usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..Default::default()
        },
        status: None,
    };
    let name = api.create(&PostParams::default(), &request).await?.metadata.name.unwrap_or_default();
    tracing::info!(csr = name, signer = wanted.signer, "asked for a certificate");
    let begin = Instant::now();
    let mut pause = FIRST_LOOK;
    while begin.elapsed() < PATIENCE {
        let status = api.get(&name).await?.status.unwrap_or_default();
        if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
            return Ok((String::from_utf8_lossy(&certificate.0).into_owned(), key.to_pem()));
        }
        let mut conditions = status.conditions.into_iter().flatten();
        if let Some(refused) = conditions.find(|one| one.type_ == "Denied" || one.type_ == "Failed") {
            let why = refused.message.unwrap_or_default();
            return Err(Error::Told(format!("certificate signing request {name} was refused: {why}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
    Err(Error::Told(format!("certificate signing request {name} was not answered")))
}
