//! Revokes leases that have run out: whether one has is this member's finding, what follows from it goes through the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::log::{LeaseCheckpoint, LeaseCheckpoints};
use crate::proto::rpc::LeaseRevokeRequest;
use crate::rpc::Context;

/// How often leases are looked at, as in etcd.
const INTERVAL: Duration = Duration::from_millis(500);
/// Leases revoked at once, so that many that run out together do not keep others from writing.
const AT_ONCE: usize = 500;

/// How often it is looked at how much time long leases have left.
const CHECKPOINTS: Duration = Duration::from_secs(30);

/// Writes down what long leases have left, so that a new leader does not give them all of their time again.
async fn checkpoint(context: &Context) {
    let due = context.machine.lessor.lock().due_checkpoints(Instant::now(), AT_ONCE);
    if due.is_empty() {
        return;
    }
    let checkpoint = |(id, remaining_ttl)| LeaseCheckpoint { id, remaining_ttl };
    let checkpoints = due.into_iter().map(checkpoint).collect();
    if let Err(error) = context.proposer.propose(Op::LeaseCheckpoints(LeaseCheckpoints { checkpoints })).await {
        tracing::warn!(%error, "what leases have left is not written down; it is tried again");
    }
}

/// Revokes until `shutdown`.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut since_checkpoint = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Time is kept by the leader alone.
        if !context.standing.leads() {
            continue;
        }
        if context.lease_checkpoints && since_checkpoint.elapsed() >= CHECKPOINTS {
            since_checkpoint = Instant::now();
            checkpoint(&context).await;
        }
        let expired = context.machine.lessor.lock().expired(Instant::now(), AT_ONCE);
        let context = &context;
        let revocations = expired.into_iter().map(|id| async move {
            let result = context.proposer.propose(Op::LeaseRevoke(LeaseRevokeRequest { id })).await;
            // A client may have been faster.
            if let Err(error) = result
                && error != Error::LeaseNotFound
            {
                tracing::warn!(id, %error, "a lease that ran out is not revoked yet; it is tried again");
            }
        });
        futures::future::join_all(revocations).await;
    }
}
