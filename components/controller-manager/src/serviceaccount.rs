//! Service account `default` in every namespace, which pods run under that name none.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;

const NAME: &str = "default";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("service-account-controller").await;
    let (namespaces, accounts) = (context.caches.namespaces.clone(), context.caches.accounts.clone());
    namespaces.synced().await;
    accounts.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    namespaces.handle(move |_, namespace| keys.add(key_of(namespace.as_ref())));
    let keys = queue.clone();
    accounts.handle(move |_, account| {
        if account.metadata.name.as_deref() == Some(NAME) {
            keys.add(account.metadata.namespace.clone().unwrap_or_default());
        }
    });
    work("serviceaccount", queue, 2, context.shutdown.clone(), move |key: String| {
        let (namespaces, accounts, actor) = (namespaces.clone(), accounts.clone(), actor.clone());
        async move {
            let active = namespaces.get(&key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
            if !active || accounts.get(&format!("{key}/{NAME}")).is_some() {
                return Ok(None);
            }
            let api: Api<ServiceAccount> = Api::namespaced(actor.client(), &key);
            let metadata = ObjectMeta { name: Some(NAME.into()), ..Default::default() };
            match api.create(&PostParams::default(), &ServiceAccount { metadata, ..Default::default() }).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                other => other.map(|_| None),
            }
        }
    })
    .await;
}
