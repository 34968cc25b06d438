//! The Lock service.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{Context, mismatched, turns};
use crate::apply::Reply;
use crate::proto::lock::lock_server::Lock;
use crate::proto::lock::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use crate::proto::log::command::Op;
use crate::proto::rpc::DeleteRangeRequest;

pub struct Service(pub Arc<Context>);

#[tonic::async_trait]
impl Lock for Service {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let LockRequest { name, lease } = request.into_inner();
        let turn = turns::enter(&self.0, &asker, &name, lease, Bytes::new()).await?;
        turns::wait(&self.0, &name, &turn).await?;
        // The lease may have run out at the leader meanwhile.
        self.0.catch_up().await?;
        if turns::look(&self.0, &turn.key)?.is_none() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        Ok(Response::new(LockResponse { header: self.0.header(), key: turn.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let delete = DeleteRangeRequest { key: request.into_inner().key, ..DeleteRangeRequest::default() };
        crate::apply::check::delete_range(&delete)?;
        let Reply::DeleteRange(response) = self.0.propose(asker, Op::DeleteRange(delete)).await? else {
            return Err(mismatched().into());
        };
        Ok(Response::new(UnlockResponse { header: self.0.complete(response.header) }))
    }
}
