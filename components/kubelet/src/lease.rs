//! The node's Lease: a sign of life that costs less than the node's status.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{Error, Result};

const PERIOD: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
/// After this many seconds without a sign of life the node counts as gone.
const SECONDS: i32 = 40;
const NAMESPACE: &str = "kube-node-lease";

/// Renews the lease until shutdown.
pub async fn follow(context: Arc<Context>, client: kube::Client, shutdown: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut held = None;
    loop {
        // A request that nobody answers must not keep the next one from being tried.
        let renewed = tokio::time::timeout(PERIOD, renew(&context, &api, held.take())).await;
        let pause = match renewed.unwrap_or(Err(Error::NotConnected)) {
            Ok(lease) => {
                held = Some(lease);
                PERIOD
            }
            // The next try reads the lease anew, in case somebody else has written it.
            Err(error) => {
                tracing::debug!(%error, "the lease was not renewed");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Writes the lease as it was last written, with the time of now: one request as long as nobody else writes it.
async fn renew(context: &Context, api: &Api<Lease>, held: Option<Lease>) -> Result<Lease> {
    let name = context.node_name.as_str();
    let present = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let owner = context.node_uid.read().clone().map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid,
            ..Default::default()
        }]
    });
    let is_new = present.is_none();
    let mut lease = present.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
        spec: None,
    });
    if owner.is_some() {
        lease.metadata.owner_references = owner;
    }
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(name.into());
    spec.lease_duration_seconds = Some(SECONDS);
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    if is_new {
        return Ok(api.create(&PostParams::default(), &lease).await?);
    }
    Ok(api.replace(name, &PostParams::default(), &lease).await?)
}
