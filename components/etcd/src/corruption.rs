//! Whether all members have the same data: their hashes up to a revision are compared.
//!
//! A member compares before it serves, if it is told to, and the leader compares from time to time. Hashes are of use
//! only where both sides have compacted alike; else nothing is said.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::mvcc::hash::Hash;
use crate::mvcc::store::Store;
use crate::proto::log::command::Op;
use crate::proto::peer::HashQuestion;
use crate::proto::rpc::alarm_request::AlarmAction;
use crate::proto::rpc::{AlarmRequest, AlarmType};
use crate::rpc::Context;

/// A member that takes longer is not compared with this time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The hash of the history up to a revision (0: all of it).
pub async fn hash(store: Arc<Store>, revision: i64) -> Result<Hash, Error> {
    // A compaction that is under way has removed part of what it will; the hash is of the state after it.
    let asked = store.meta().compacted;
    let mut done = store.compaction_done();
    done.wait_for(|done| *done >= asked).await.map_err(|_| Error::Stopped)?;
    let hashing = tokio::task::spawn_blocking(move || store.hash(revision));
    hashing.await.map_err(|error| Error::Storage(error.to_string()))?
}

/// Whether two members have parted. `None` where that cannot be told.
fn differ(own: &Hash, (hash, compacted): (u32, i64)) -> Option<bool> {
    (own.compacted == compacted).then_some(own.hash != hash)
}

/// The members whose data differ from this one's up to a revision.
async fn parted(context: &Context, revision: i64) -> Result<Vec<u64>, Error> {
    let own = hash(context.machine.store.clone(), revision).await?;
    let others: Vec<u64> = context.machine.roster.read().list().iter().map(|member| member.id).collect();
    let others = others.into_iter().filter(|id| *id != context.identity.member);
    let asked = others.map(|id| async move {
        let answer = tokio::time::timeout(TIMEOUT, ask(context, id, own.revision)).await;
        match answer.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(other) => match differ(&own, other) {
                Some(differs) => return differs.then_some(id),
                None => tracing::info!(member = format!("{id:x}"), "compacted otherwise, not compared"),
            },
            Err(error) => tracing::info!(member = format!("{id:x}"), error, "not compared"),
        }
        None
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

async fn ask(context: &Context, id: u64, revision: i64) -> Result<(u32, i64), String> {
    let to = context.cluster.peers.target(id).ok_or("the member is not known")?;
    let mut client = to.connect().await?;
    let answer = client.hash(to.address(HashQuestion { revision })).await;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    Ok((answer.hash, answer.compacted))
}

/// Compares before anything is served; the error says which members have other data.
pub async fn check_at_start(context: &Context) -> Result<(), String> {
    let parted = parted(context, 0).await.map_err(|error| error.to_string())?;
    if parted.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = parted.iter().map(|id| format!("{id:x}")).collect();
    Err(format!("this member's data differ from those of {}; replace the member that is wrong", names.join(", ")))
}

/// Compares from time to time while this member leads, and raises the alarm for whoever has other data.
pub async fn run(context: Arc<Context>, config: Config, shutdown: CancellationToken) {
    let compact = config.features.compact_hash_check.then_some(config.compact_hash_check);
    let whole = every(context.clone(), config.corrupt_check, false);
    let compacted = every(context, compact, true);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = async { tokio::join!(whole, compacted); } => {}
    }
}

async fn every(context: Arc<Context>, period: Option<Duration>, compacted: bool) {
    let Some(period) = period else { return };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !context.standing.leads() || context.catch_up().await.is_err() {
            continue;
        }
        let meta = context.machine.store.meta();
        let revision = if compacted { meta.compacted } else { meta.revision };
        if revision <= 0 {
            continue;
        }
        match parted(&context, revision).await {
            Ok(parted) => drop(join_all(parted.into_iter().map(|id| raise(&context, id))).await),
            Err(error) => tracing::warn!(%error, "cannot compare the members' data"),
        }
    }
}

async fn raise(context: &Context, member_id: u64) {
    tracing::error!(member = format!("{member_id:x}"), "its data differ from the leader's");
    let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Corrupt as i32);
    if let Err(error) = context.proposer.propose(Op::Alarm(AlarmRequest { action, member_id, alarm })).await {
        tracing::warn!(%error, "cannot raise the alarm of a corrupt member");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_compaction_is_compared() {
        let own = Hash { hash: 7, revision: 9, compacted: 3, current: 9 };
        assert_eq!(differ(&own, (7, 3)), Some(false));
        assert_eq!(differ(&own, (8, 3)), Some(true));
        assert_eq!(differ(&own, (8, 4)), None);
    }
}
