//! Phase `bootstrap-token`: tokens, what they allow, and what everybody may know about the cluster.

use futures::FutureExt;
use kinit_pki::Kubeconfig;
use kinit_pki::kubeconfig::Credential;
use serde_json::json;

use super::init::InitContext;
use super::upload_config::ensure_all;
use super::{Phase, Result, certs};
use crate::host::Change;
use crate::templates;
use crate::token::Token;

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("bootstrap-token", "makes the token that nodes join with, and what they may do with it", |context| {
        async move { run(context).await }.boxed()
    });

async fn run(context: &InitContext) -> Result {
    let mut objects: Vec<_> =
        context.settings.tokens.iter().map(|token| Token::secret_object(token, context.now)).collect();
    objects.extend(templates::objects(templates::BOOTSTRAP, json!({}))?);
    objects.push(cluster_info(context)?);
    let change: Change = ensure_all(context.api.as_ref(), &objects).await?;
    Ok(change.into())
}

/// The ConfigMap that tells anybody where the cluster is and who its CA is.
fn cluster_info(context: &InitContext) -> anyhow::Result<serde_json::Value> {
    let ca = std::fs::read_to_string(certs::store(context)?.folder().join("ca.crt"))?;
    let config = Kubeconfig::new("", &context.settings.endpoint_url(), &ca, "", &Credential::Anonymous);
    let config = Kubeconfig { contexts: Vec::new(), users: Vec::new(), current_context: String::new(), ..config };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": config.to_yaml()?},
    }))
}
