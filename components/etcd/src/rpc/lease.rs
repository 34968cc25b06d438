//! The Lease service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Context, mismatched};
use crate::apply::Reply;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::peer::LeaseId;
use crate::proto::rpc::lease_server::Lease;
use crate::proto::rpc::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};

/// How long a renewal waits for a leader, and between two attempts.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(50);

pub struct Service(pub Arc<Context>);

/// Renews a lease where its time is kept, at the leader; waits for one while there is none.
async fn renew(context: &Context, id: i64) -> Result<i64, Error> {
    let deadline = tokio::time::Instant::now() + LEADER_TIMEOUT;
    loop {
        if context.standing.leads() {
            return Ok(context.cluster.renew(id));
        }
        let asked = async {
            let (mut client, to) = context.leader().await?;
            client.renew(to.address(LeaseId { id })).await.map_err(|_| Error::NoLeader)
        };
        match asked.await {
            Ok(time) => return Ok(time.into_inner().ttl),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

async fn time_left(context: &Context, id: i64) -> Result<i64, Error> {
    let (mut client, to) = context.leader().await?;
    let time = client.time_left(to.address(LeaseId { id })).await.map_err(|_| Error::NoLeader)?;
    Ok(time.into_inner().ttl)
}

#[tonic::async_trait]
impl Lease for Service {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let mut request = request.into_inner();
        request.ttl = request.ttl.max(self.0.least_ttl);
        while request.id == 0 {
            // The id is chosen before the entry is logged, because every member must come to the same one.
            request.id = rand::random::<i64>() & i64::MAX;
        }
        let reply = self.0.propose(asker, Op::LeaseGrant(request)).await?;
        let Reply::LeaseGrant(mut response) = reply else { return Err(mismatched().into()) };
        response.header = self.0.complete(response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let reply = self.0.propose(asker, Op::LeaseRevoke(request.into_inner())).await?;
        let Reply::LeaseRevoke(mut response) = reply else { return Err(mismatched().into()) };
        response.header = self.0.complete(response.header);
        Ok(Response::new(response))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let context = self.0.clone();
        let mut requests = request.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    () = context.shutdown.cancelled() => {
                        let _ = sender.send(Err(Error::Stopped.into())).await;
                        return;
                    }
                    () = sender.closed() => return,
                    request = requests.next() => request,
                };
                let Some(Ok(LeaseKeepAliveRequest { id })) = request else { return };
                // A lease that is not there is answered with no time to live rather than with an error.
                context.figures.leases_renewed.inc();
                let response = match renew(&context, id).await {
                    Ok(ttl) => Ok(LeaseKeepAliveResponse { header: context.header(), id, ttl }),
                    Err(error) => Err(error.into()),
                };
                let failed = response.is_err();
                if sender.send(response).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        if keys {
            let machine = &self.0.machine;
            let (auth, lessor) = (machine.auth.read(), machine.lessor.lock());
            lessor.keys(id).try_for_each(|key| auth.may_read(&asker, key, &[]))?;
        }
        let header = self.0.header();
        let info = self.0.machine.lessor.lock().info(id, Instant::now());
        let left = if self.0.standing.leads() { None } else { Some(time_left(&self.0, id).await?) };
        let response = match info {
            Ok(info) => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: left.unwrap_or(info.remaining),
                granted_ttl: info.granted,
                keys: if keys { info.keys } else { Vec::new() },
            },
            Err(_) => LeaseTimeToLiveResponse { header, id, ttl: -1, granted_ttl: 0, keys: Vec::new() },
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Result<Response<LeaseLeasesResponse>, Status> {
        let leases = self.0.machine.lessor.lock().ids().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: self.0.header(), leases }))
    }
}
