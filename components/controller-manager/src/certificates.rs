//! Certificate signing requests: approving those of nodes, signing what is approved, and deleting what is over.

pub mod clean;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kinit_pki::{Authority, CertificateRequest, Usage};
use kinit_runtime::{Change, Queue, key_of, work};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::context::Context;
use crate::write;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// The shortest life that may be asked for.
const SHORTEST: Duration = Duration::from_secs(600);

/// Whether a request has a condition.
fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == kind)
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

/// Approves the kubelet's client certificates of those who may have them.
pub async fn approve(context: Arc<Context>) {
    let actor = context.actor("certificate-controller").await;
    let requests = context.caches.requests.clone();
    requests.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    requests.handle(move |change, request| {
        if change != Change::Deleted && !has(request, "Approved") && !has(request, "Denied") {
            keys.add(key_of(request.as_ref()));
        }
    });
    work("csrapproving", queue, 2, context.shutdown.clone(), move |key: String| {
        let (requests, actor) = (requests.clone(), actor.clone());
        async move {
            let Some(request) = requests.get(&key) else { return Ok(None) };
            if request.spec.signer_name != KUBELET_CLIENT || has(&request, "Approved") || has(&request, "Denied") {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&request.spec.request.0).into_owned();
            let parsed = CertificateRequest::from_pem(&text, &key)?;
            if check_kubelet_client(&parsed, &usages(&request)).is_err() {
                return Ok(None);
            }
            let own = request.spec.username.as_deref() == Some(&parsed.common_name);
            let kind = if own { "selfnodeclient" } else { "nodeclient" };
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: request.spec.username.clone(),
                    groups: request.spec.groups.clone(),
                    extra: request.spec.extra.clone(),
                    uid: request.spec.uid.clone(),
                    resource_attributes: Some(ResourceAttributes {
                        group: Some("certificates.k8s.io".into()),
                        resource: Some("certificatesigningrequests".into()),
                        verb: Some("create".into()),
                        subresource: Some(kind.into()),
                        version: Some("*".into()),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
                ..Default::default()
            };
            let answer = Api::<SubjectAccessReview>::all(actor.client()).create(&PostParams::default(), &review).await?;
            if !answer.status.is_some_and(|status| status.allowed) {
                anyhow::bail!("who asks may not have a certificate of a node");
            }
            let api: Api<CertificateSigningRequest> = Api::all(actor.client());
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let condition = json!({"type": "Approved", "status": "True", "reason": "AutoApproved",
                "message": "Auto approving kubelet client certificate after SubjectAccessReview.", "lastUpdateTime": now});
            let patch = json!({"status": {"conditions": [condition]}});
            write::subresource(&api, "approval", request.as_ref(), &patch).await?;
            tracing::info!(csr = key, node = parsed.common_name, "approved");
            anyhow::Ok(None)
        }
    })
    .await;
}

/// Signs what is approved.
pub async fn sign(context: Arc<Context>) {
    let (Some(certificate), Some(key)) =
        (&context.options.cluster_signing_cert_file, &context.options.cluster_signing_key_file)
    else {
        return;
    };
    let authority = match Authority::load(certificate, key) {
        Ok(authority) => Arc::new(authority),
        Err(error) => {
            tracing::error!(%error, "requests cannot be signed");
            return;
        }
    };
    let longest = context.options.cluster_signing_duration;
    let actor = context.actor("certificate-controller").await;
    let requests = context.caches.requests.clone();
    requests.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    requests.handle(move |change, request| {
        if change != Change::Deleted && has(request, "Approved") {
            keys.add(key_of(request.as_ref()));
        }
    });
    work("csrsigning", queue, 2, context.shutdown.clone(), move |key: String| {
        let (requests, actor, authority) = (requests.clone(), actor.clone(), authority.clone());
        async move {
            let Some(request) = requests.get(&key) else { return Ok(None) };
            let signed = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
            if signed || !has(&request, "Approved") || has(&request, "Failed") {
                return Ok(None);
            }
            let api: Api<CertificateSigningRequest> = Api::all(actor.client());
            let text = String::from_utf8_lossy(&request.spec.request.0).into_owned();
            let checked = CertificateRequest::from_pem(&text, &key)
                .map_err(|error| error.to_string())
                .and_then(|parsed| Ok((check(&request.spec.signer_name, &parsed, &usages(&request))?, parsed)));
            let (granted, parsed) = match checked {
                Ok((Some(granted), parsed)) => (granted, parsed),
                // Another signer's.
                Ok((None, _)) => return Ok(None),
                Err(reason) => {
                    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                    let mut conditions = serde_json::to_value(request.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default())?;
                    if let Some(list) = conditions.as_array_mut() {
                        list.push(json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": reason, "lastUpdateTime": now}));
                    }
                    let patch = json!({"status": {"conditions": conditions}});
                    write::status(&api, request.as_ref(), &patch).await?;
                    return Ok(None);
                }
            };
            let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let life = asked.map_or(longest, |seconds| Duration::from_secs(seconds).max(SHORTEST).min(longest));
            let made = authority.sign(&parsed, &granted, Timestamp::now(), life)?;
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, made.to_pem());
            let patch = json!({"status": {"certificate": encoded}});
            write::status(&api, request.as_ref(), &patch).await?;
            tracing::info!(csr = key, name = made.common_name, "signed");
            anyhow::Ok(None)
        }
    })
    .await;
}

/// What may be signed for a signer: the usages, `None` for a signer of others, or why not.
fn check(signer: &str, request: &CertificateRequest, asked: &[&str]) -> Result<Option<Vec<Usage>>, String> {
    match signer {
        KUBELET_CLIENT => check_kubelet_client(request, asked).map(|()| Some(vec![Usage::Client])),
        KUBELET_SERVING => check_kubelet_serving(request, asked).map(|()| Some(vec![Usage::Server])),
        CLIENT => {
            if request.organizations.iter().any(|name| name == "system:masters") {
                return Err("the organization system:masters is not given to anybody".into());
            }
            only(asked, "client auth").map(|()| Some(vec![Usage::Client]))
        }
        _ => Ok(None),
    }
}

fn only(asked: &[&str], needed: &str) -> Result<(), String> {
    if !asked.contains(&needed) {
        return Err(format!("the usage {needed:?} is missing"));
    }
    let fine = |usage: &&str| [needed, "digital signature", "key encipherment"].contains(usage);
    match asked.iter().find(|usage| !fine(usage)) {
        Some(usage) => Err(format!("the usage {usage:?} is not given")),
        None => Ok(()),
    }
}

fn check_node(request: &CertificateRequest) -> Result<(), String> {
    if request.organizations != ["system:nodes"] {
        return Err("the organization is not system:nodes".into());
    }
    if !request.common_name.starts_with("system:node:") {
        return Err("the common name is not that of a node".into());
    }
    Ok(())
}

fn check_kubelet_client(request: &CertificateRequest, asked: &[&str]) -> Result<(), String> {
    check_node(request)?;
    if !request.dns_names.is_empty() || !request.ips.is_empty() || request.other_names > 0 {
        return Err("a client has no alternative names".into());
    }
    only(asked, "client auth")
}

fn check_kubelet_serving(request: &CertificateRequest, asked: &[&str]) -> Result<(), String> {
    check_node(request)?;
    if request.dns_names.is_empty() && request.ips.is_empty() {
        return Err("a server needs a name or an address".into());
    }
    if request.other_names > 0 {
        return Err("mail addresses and URIs are not given".into());
    }
    only(asked, "server auth")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_pki::{PrivateKey, Profile};

    fn request(profile: Profile) -> CertificateRequest {
        let text = CertificateRequest::create(&profile, &PrivateKey::generate().unwrap()).unwrap();
        CertificateRequest::from_pem(&text, "test").unwrap()
    }

    #[test]
    fn only_what_a_signer_stands_for_is_signed() {
        let node = || Profile::client("system:node:w1", &["system:nodes"]);
        let good = ["digital signature", "client auth"];
        let serving = Profile { dns_names: vec!["w1".into()], ..node() };
        for (signer, profile, asked, fine) in [
            (KUBELET_CLIENT, node(), &good[..], true),
            (KUBELET_CLIENT, node(), &["server auth"], false),
            (KUBELET_CLIENT, node(), &["client auth", "server auth"], false),
            (KUBELET_CLIENT, Profile::client("admin", &["system:nodes"]), &good, false),
            (KUBELET_CLIENT, Profile::client("system:node:w1", &["system:masters"]), &good, false),
            (KUBELET_CLIENT, serving.clone(), &good, false),
            (KUBELET_SERVING, serving, &["server auth"], true),
            (KUBELET_SERVING, node(), &["server auth"], false),
            (CLIENT, Profile::client("alice", &["developers"]), &good, true),
            (CLIENT, Profile::client("alice", &["system:masters"]), &good, false),
        ] {
            let name = format!("{signer} {profile:?} {asked:?}");
            assert_eq!(check(signer, &request(profile), asked).is_ok(), fine, "{name}");
        }
        assert_eq!(check("example.com/x", &request(node()), &good), Ok(None));
    }
}
