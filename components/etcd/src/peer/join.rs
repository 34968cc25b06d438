//! How a member that joins learns who it is and who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Request;

use super::PeerTls;
use super::link::connect;
use crate::membership::Identity;
use crate::proto::peer::Empty;
use crate::proto::peer::peer_client::PeerClient;
use crate::proto::rpc::Member;

/// Between two rounds of asking everybody.
const PAUSE: Duration = Duration::from_millis(500);
/// Rounds before it is given up.
const ROUNDS: usize = 20;

/// Asks the members that are named until one says who is in the cluster, and finds the one that has been added for this
/// member's own URLs.
pub async fn join(
    named: &BTreeMap<String, Vec<String>>,
    own_urls: &[String],
    tls: &PeerTls,
) -> Result<(Identity, Vec<Member>), String> {
    let others: Vec<&String> = named.values().flatten().filter(|url| !own_urls.contains(url)).collect();
    let mut problem = "--initial-cluster names no other member".to_owned();
    for round in 0..ROUNDS {
        for url in &others {
            match ask(url, tls).await {
                Ok((cluster, members)) => match find(&members, own_urls) {
                    Some(member) => return Ok((Identity { member, cluster }, members)),
                    None => {
                        problem = format!(
                            "no member has been added for {}; add it first with `etcdctl member add`",
                            own_urls.join(",")
                        );
                    }
                },
                Err(error) => problem = format!("{url}: {error}"),
            }
        }
        if others.is_empty() {
            break;
        }
        if round == 0 {
            tracing::info!(problem, "waiting for the members of the cluster");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(problem)
}

fn find(members: &[Member], own_urls: &[String]) -> Option<u64> {
    members.iter().find(|member| member.peer_ur_ls.iter().any(|url| own_urls.contains(url))).map(|member| member.id)
}

async fn ask(url: &str, tls: &PeerTls) -> Result<(u64, Vec<Member>), String> {
    let mut client = PeerClient::new(connect(url, tls).await?);
    let answer = tokio::time::timeout(Duration::from_secs(5), client.roster(Request::new(Empty {}))).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
    Ok((answer.cluster_id, answer.members))
}
