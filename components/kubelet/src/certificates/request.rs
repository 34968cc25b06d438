//! Asking the cluster to sign a certificate.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use kinit_pki::{CertificateRequest, PrivateKey, Profile};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;

use crate::error::{Error, Result};

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
    let answer = tokio::time::timeout(PATIENCE, answer(api, &name)).await;
    let certificate =
        answer.unwrap_or_else(|_| Err(Error::Told(format!("certificate signing request {name} was not answered"))))?;
    Ok((certificate, key.to_pem()))
}

/// The certificate that a request gets, in PEM, once it is approved and signed. A connection that is lost is made again.
async fn answer(api: Api<CertificateSigningRequest>, name: &str) -> Result<String> {
    let mut changes = pin!(watch_object(api, name).default_backoff());
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(request)) => {
                if let Some(answer) = verdict(name, request.status.unwrap_or_default()) {
                    return answer;
                }
            }
            Ok(None) => return Err(Error::Told(format!("certificate signing request {name} was deleted"))),
            Err(error) => tracing::debug!(csr = name, %error, "cannot watch"),
        }
    }
    Err(Error::Told(format!("certificate signing request {name} can no longer be watched")))
}

/// What a request's status says, if it says it already. Pure.
fn verdict(name: &str, status: CertificateSigningRequestStatus) -> Option<Result<String>> {
    if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
        return Some(Ok(String::from_utf8_lossy(&certificate.0).into_owned()));
    }
    let refused = status.conditions.into_iter().flatten().find(|one| one.type_ == "Denied" || one.type_ == "Failed")?;
    let why = refused.message.unwrap_or_default();
    Some(Err(Error::Told(format!("certificate signing request {name} was refused: {why}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition;

    fn told(kind: &str, certificate: Option<&str>) -> Option<Result<String, String>> {
        let condition = CertificateSigningRequestCondition {
            type_: kind.into(),
            message: Some("why".into()),
            ..Default::default()
        };
        let status = CertificateSigningRequestStatus {
            certificate: certificate.map(|text| ByteString(text.into())),
            conditions: Some(vec![condition]),
        };
        verdict("a", status).map(|answer| answer.map_err(|error| error.to_string()))
    }

    #[test]
    fn a_request_is_answered_by_a_certificate_or_a_refusal() {
        assert_eq!(told("Approved", None), None);
        assert_eq!(told("Approved", Some("")), None);
        assert_eq!(told("Approved", Some("pem")), Some(Ok("pem".into())));
        for kind in ["Denied", "Failed"] {
            assert_eq!(told(kind, None), Some(Err("certificate signing request a was refused: why".into())));
        }
    }
}
