//! Requests that nobody will come back for are deleted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kinit_pki::Certificate;
use kube::Api;
use kube::api::DeleteParams;

use crate::context::Context;

const PERIOD: Duration = Duration::from_secs(600);
const HOUR: i64 = 3600;
/// Seconds that a request is kept which nobody decided on, or whose certificate does not come.
const UNDECIDED: i64 = 24 * HOUR;
/// Seconds that others are kept.
const DECIDED: i64 = HOUR;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("certificate-controller").await;
    let requests = context.caches.requests.clone();
    requests.synced().await;
    loop {
        let now = Timestamp::now().as_second();
        for request in requests.list().into_iter().filter(|request| is_over(request, now)) {
            let name = request.metadata.name.clone().unwrap_or_default();
            let api: Api<CertificateSigningRequest> = Api::all(actor.client());
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => tracing::info!(csr = name, "deleted a request that is over"),
                Err(error) => tracing::debug!(csr = name, %error, "cannot delete a request that is over"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Whether a request is kept no longer at `now`, in seconds since 1970. Pure.
fn is_over(request: &CertificateSigningRequest, now: i64) -> bool {
    let status = request.status.clone().unwrap_or_default();
    let made = request.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let old = |since: Option<i64>, most: i64| since.is_some_and(|since| now - since > most);
    let conditions = status.conditions.unwrap_or_default();
    if conditions.is_empty() {
        return old(made, UNDECIDED);
    }
    let certificate = status.certificate.filter(|bytes| !bytes.0.is_empty());
    let ended = certificate.as_ref().is_some_and(|bytes| {
        let text = String::from_utf8_lossy(&bytes.0).into_owned();
        Certificate::from_pem(&text, "an issued certificate").is_ok_and(|found| found.not_after.as_second() < now)
    });
    conditions.iter().any(|one| {
        let since = one.last_update_time.as_ref().map(|time| time.0.as_second());
        match one.type_.as_str() {
            "Approved" if certificate.is_some() => ended || old(since, DECIDED),
            "Approved" => old(since, UNDECIDED),
            "Denied" | "Failed" => old(since, DECIDED),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn requests_are_kept_for_a_time() {
        let request = |status: Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({"metadata": {"name": "r", "creationTimestamp": "1970-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "s"}, "status": status}))
            .unwrap()
        };
        let decided = |kind: &str, certificate: &str| {
            request(json!({"certificate": certificate, "conditions":
                [{"type": kind, "status": "True", "lastUpdateTime": "1970-01-01T00:00:00Z"}]}))
        };
        for (request, kept) in [
            (request(json!({})), UNDECIDED),
            (decided("Approved", ""), UNDECIDED),
            (decided("Approved", "YQ=="), DECIDED),
            (decided("Denied", ""), DECIDED),
            (decided("Failed", ""), DECIDED),
        ] {
            assert!(!is_over(&request, kept) && is_over(&request, kept + 1), "{request:?}");
        }
    }
}
