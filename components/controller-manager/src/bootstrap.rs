//! Bootstrap tokens: signing what everybody may know of the cluster, and removing tokens that ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kinit_runtime::{Queue, work};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use ring::hmac;

use crate::context::Context;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
const SIGNATURE: &str = "jws-kubeconfig-";
const PACE: Duration = Duration::from_secs(10);

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && secret.metadata.namespace.as_deref() == Some("kube-system")
}

fn has_ended(secret: &Secret, now: Timestamp) -> bool {
    text(secret, "expiration").and_then(|end| end.parse::<Timestamp>().ok()).is_some_and(|end| end <= now)
}

/// Keeps cluster-info signed by every token that may sign.
pub async fn sign(context: Arc<Context>) {
    let actor = context.actor("bootstrap-signer").await;
    let (secrets, maps) = (context.caches.secrets.clone(), context.caches.config_maps.clone());
    secrets.synced().await;
    maps.synced().await;
    let queue: Arc<Queue<()>> = Queue::new();
    let keys = queue.clone();
    secrets.handle(move |_, secret| {
        if is_token(secret) {
            keys.add(());
        }
    });
    let keys = queue.clone();
    maps.handle(move |_, map| {
        if map.metadata.name.as_deref() == Some(NAME) && map.metadata.namespace.as_deref() == Some(NAMESPACE) {
            keys.add(());
        }
    });
    work("bootstrapsigner", queue, 1, context.shutdown.clone(), move |()| {
        let (secrets, maps, actor) = (secrets.clone(), maps.clone(), actor.clone());
        async move {
            let Some(map) = maps.get(&format!("{NAMESPACE}/{NAME}")) else { return Ok(None) };
            let data = map.data.clone().unwrap_or_default();
            let tokens: Vec<_> = secrets.list().into_iter().filter(|secret| is_token(secret)).collect();
            let wanted = signed(&data, &tokens, Timestamp::now());
            if wanted != data {
                let changed = ConfigMap { data: Some(wanted), ..map.as_ref().clone() };
                let api: Api<ConfigMap> = Api::namespaced(actor.client(), NAMESPACE);
                api.replace(NAME, &PostParams::default(), &changed).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// The data with exactly the signatures that it should have.
fn signed(data: &BTreeMap<String, String>, tokens: &[Arc<Secret>], now: Timestamp) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, String> = data
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let Some(payload) = data.get("kubeconfig") else { return wanted };
    for token in tokens {
        let may = text(token, "usage-bootstrap-signing").as_deref() == Some("true") && !has_ended(token, now);
        if let (true, Some(id), Some(secret)) = (may, text(token, "token-id"), text(token, "token-secret")) {
            wanted.insert(format!("{SIGNATURE}{id}"), signature(payload, &id, &secret));
        }
    }
    wanted
}

/// A JWS by HMAC-SHA256 without its payload.
fn signature(payload: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload)).as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac))
}

/// Deletes tokens that ended.
pub async fn clean(context: Arc<Context>) {
    let actor = context.actor("token-cleaner").await;
    let secrets = context.caches.secrets.clone();
    secrets.synced().await;
    loop {
        let now = Timestamp::now();
        for secret in secrets.list().into_iter().filter(|secret| is_token(secret) && has_ended(secret, now)) {
            let name = secret.metadata.name.clone().unwrap_or_default();
            let api: Api<Secret> = Api::namespaced(actor.client(), "kube-system");
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => tracing::info!(name, "deleted a token that ended"),
                Err(error) => tracing::debug!(name, %error, "cannot delete a token that ended"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(id: &str, end: &str, signing: &str) -> Arc<Secret> {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        Arc::new(
            serde_json::from_value(json!({"type": TYPE, "metadata": {"namespace": "kube-system"}, "data": {
            "token-id": encode(id), "token-secret": encode("0123456789abcdef"), "expiration": encode(end),
            "usage-bootstrap-signing": encode(signing)}}))
            .unwrap(),
        )
    }

    #[test]
    fn living_tokens_sign_and_others_do_not() {
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let data = BTreeMap::from([
            ("kubeconfig".to_owned(), "facts".to_owned()),
            ("jws-kubeconfig-gone00".to_owned(), "old".to_owned()),
        ]);
        let tokens = [
            token("abcdef", "2028-01-01T00:00:00Z", "true"),
            token("ended0", "2026-01-01T00:00:00Z", "true"),
            token("silent", "2028-01-01T00:00:00Z", "false"),
        ];
        let wanted = signed(&data, &tokens, now);
        let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
        assert_eq!(keys, ["jws-kubeconfig-abcdef", "kubeconfig"]);
        assert_eq!(signed(&wanted, &tokens, now), wanted);
    }
}
