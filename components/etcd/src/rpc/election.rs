//! The Election service.

use std::sync::Arc;

use bytes::Bytes;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, turns};
use crate::auth::Asker;
use crate::proto::election::election_server::Election;
use crate::proto::election::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};
use crate::proto::rpc::request_op::Request as Op;
use crate::proto::rpc::{DeleteRangeRequest, PutRequest, ResponseHeader};

pub struct Service(pub Arc<Context>);

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn missing_leader() -> Status {
    Status::invalid_argument(r#""leader" field must be provided"#)
}

impl Service {
    /// Writes a leader's value, if it is the leader that it says.
    async fn write(&self, asker: &Asker, leader: &LeaderKey, value: Bytes) -> Result<Option<ResponseHeader>, Status> {
        let put = PutRequest { key: leader.key.clone(), value, lease: leader.lease, ..PutRequest::default() };
        let response = turns::if_created_at(&self.0, asker, &leader.key, leader.rev, Op::RequestPut(put), None).await?;
        if response.succeeded { Ok(response.header) } else { Err(not_leader()) }
    }
}

#[tonic::async_trait]
impl Election for Service {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let turn = turns::enter(&self.0, &asker, &name, lease, value.clone()).await?;
        let leader = LeaderKey { name: name.clone(), key: turn.key.clone(), rev: turn.created, lease: turn.lease };
        if !turn.fresh {
            self.write(&asker, &leader, value).await?;
        }
        turns::wait(&self.0, &name, &turn).await?;
        Ok(Response::new(CampaignResponse { header: self.0.header(), leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let header = self.write(&asker, &leader.ok_or_else(missing_leader)?, value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let name = request.into_inner().name;
        turns::may_look(&self.0, &asker, &name)?;
        self.0.catch_up().await?;
        let response = turns::first(&self.0, &name)?;
        let kv = response.kvs.into_iter().next().ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(LeaderResponse { header: self.0.complete(response.header), kv: Some(kv) }))
    }

    type ObserveStream = ReceiverStream<Result<LeaderResponse, Status>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let asker = self.0.asker_of(&request)?;
        let (context, name) = (self.0.clone(), request.into_inner().name);
        turns::may_look(&context, &asker, &name)?;
        context.catch_up().await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut changes = turns::changes(&context, &name);
            let mut told = None;
            loop {
                let found = match turns::first(&context, &name) {
                    Ok(found) => found,
                    Err(error) => return drop(sender.send(Err(error.into())).await),
                };
                let kv = found.kvs.into_iter().next().filter(|kv| told != Some(kv.mod_revision));
                if let Some(kv) = kv {
                    told = Some(kv.mod_revision);
                    let response = LeaderResponse { header: context.complete(found.header), kv: Some(kv) };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = context.shutdown.cancelled() => return,
                    () = sender.closed() => return,
                    () = changes.next() => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let leader = request.into_inner().leader.ok_or_else(missing_leader)?;
        let delete = DeleteRangeRequest { key: leader.key.clone(), ..DeleteRangeRequest::default() };
        // Whoever is not the leader any more has nothing to give up.
        let response =
            turns::if_created_at(&self.0, &asker, &leader.key, leader.rev, Op::RequestDeleteRange(delete), None)
                .await?;
        Ok(Response::new(ResignResponse { header: response.header }))
    }
}
