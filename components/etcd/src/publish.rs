//! What a member does of itself when it comes and goes: it says where clients reach it, and hands its office over.

use std::time::Duration;

use crate::config::Config;
use crate::proto::log::MemberPublish;
use crate::proto::log::command::Op;
use crate::rpc::Context;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// A member that stops waits this long for another one to lead.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Returns once this member takes part in its cluster: it has applied all that was there before, and the others know its
/// name and where clients reach it.
pub async fn publish(context: &Context, config: &Config) {
    let mut urls = config.advertise_client_urls.clone();
    urls.sort();
    loop {
        let outcome = async {
            context.proposer.catch_up().await?;
            let id = context.identity.member;
            let known = context.machine.roster.read().get(id).cloned().unwrap_or_default();
            if known.name != config.name || known.client_ur_ls != urls {
                let publish = MemberPublish { id, name: config.name.clone(), client_urls: urls.clone() };
                context.proposer.propose(Op::MemberPublish(publish)).await?;
            }
            Ok::<_, crate::error::Error>(())
        };
        match outcome.await {
            Ok(()) => return,
            Err(error) => tracing::info!(%error, "not taking part in the cluster yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gives the office to another voter, so that clients do not have to wait for an election.
pub async fn hand_over(context: &Context) {
    if !context.standing.leads() {
        return;
    }
    let own = context.identity.member;
    let voters = context.machine.roster.read().voting().voters;
    let Some(to) = voters.into_iter().find(|id| *id != own && context.cluster.peers.is_connected(*id)) else { return };
    context.proposer.transfer(to);
    let mut leaders = context.standing.leaders();
    let _ = tokio::time::timeout(HAND_OVER, leaders.wait_for(|leader| *leader != own && *leader != 0)).await;
}
