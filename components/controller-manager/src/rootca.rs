//! The cluster's CA in every namespace, as ConfigMap kube-root-ca.crt, by which pods believe the API server.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let Some(path) = &context.options.root_ca_file else { return };
    let ca = match std::fs::read_to_string(path) {
        Ok(ca) => ca,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the CA cannot be published");
            return;
        }
    };
    let actor = context.actor("root-ca-cert-publisher").await;
    let (namespaces, maps) = (context.caches.namespaces.clone(), context.caches.config_maps.clone());
    namespaces.synced().await;
    maps.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    namespaces.handle(move |_, namespace| keys.add(key_of(namespace.as_ref())));
    let keys = queue.clone();
    maps.handle(move |_, map| {
        if map.metadata.name.as_deref() == Some(NAME) {
            keys.add(map.metadata.namespace.clone().unwrap_or_default());
        }
    });
    work("root-ca-cert-publisher", queue, 4, context.shutdown.clone(), move |key: String| {
        let (namespaces, maps, actor, ca) = (namespaces.clone(), maps.clone(), actor.clone(), ca.clone());
        async move {
            if namespaces.get(&key).is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
                return Ok(None);
            }
            let api: Api<ConfigMap> = Api::namespaced(actor.client(), &key);
            let data = Some([(KEY.to_owned(), ca.clone())].into());
            match maps.get(&format!("{key}/{NAME}")) {
                None => {
                    let made = ConfigMap {
                        metadata: ObjectMeta { name: Some(NAME.into()), ..Default::default() },
                        data,
                        ..Default::default()
                    };
                    api.create(&PostParams::default(), &made).await?;
                }
                Some(present) if present.data != data => {
                    let changed = ConfigMap { data, ..present.as_ref().clone() };
                    api.replace(NAME, &PostParams::default(), &changed).await?;
                }
                Some(_) => {}
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}
