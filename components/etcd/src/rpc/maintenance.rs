//! The Maintenance service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, mismatched};
use crate::apply::Reply;
use crate::config::{CLUSTER_VERSION, VERSION};
use crate::direct::call::unframed;
use crate::downgrade;
use crate::error::Error;
use crate::proto::log::Downgrade;
use crate::proto::log::command::Op;
use crate::proto::rpc::alarm_request::AlarmAction;
use crate::proto::rpc::downgrade_request::DowngradeAction;
use crate::proto::rpc::maintenance_server::Maintenance;
use crate::proto::rpc::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeInfo, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};

/// A leader whose office is not taken by then keeps it.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Service(pub Arc<Context>);

impl Service {
    async fn hash_of(&self, revision: i64) -> Result<crate::mvcc::hash::Hash, Error> {
        crate::corruption::hash(self.0.machine.store.clone(), revision).await
    }

    async fn set_downgrade(&self, target: String) -> Result<(), Error> {
        self.0.check_voter()?;
        self.0.proposer.propose(Op::Downgrade(Downgrade { target })).await.map(drop)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Storage(error.to_string()))?
}

#[tonic::async_trait]
impl Maintenance for Service {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let request = request.into_inner();
        if request.action() == AlarmAction::Get {
            let alarms = self.0.machine.alarms.lock().list(request.alarm());
            return Ok(Response::new(AlarmResponse { header: self.0.header(), alarms }));
        }
        let reply = self.0.propose(asker, Op::Alarm(request)).await?;
        let Reply::Alarm(mut response) = reply else { return Err(mismatched().into()) };
        response.header = self.0.complete(response.header);
        Ok(Response::new(response))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.0.managed_by(&request)?;
        let context = &self.0;
        let (file, used) = context.machine.store.size();
        let meta = context.machine.store.meta();
        let alarms = context.machine.alarms.lock().list(crate::proto::rpc::AlarmType::None);
        let mut errors: Vec<String> = alarms
            .iter()
            .map(|alarm| format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name()))
            .collect();
        if context.standing.leader() == 0 {
            errors.push(Error::NoLeader.to_string());
        }
        let downgrade = context.machine.roster.read().downgrade().to_owned();
        Ok(Response::new(StatusResponse {
            header: context.header(),
            version: VERSION.to_owned(),
            db_size: file.cast_signed(),
            db_size_in_use: used.cast_signed(),
            leader: context.standing.leader(),
            raft_index: context.standing.committed().max(meta.applied),
            raft_term: context.standing.term(),
            raft_applied_index: meta.applied,
            errors,
            is_learner: context.is_learner(),
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: context.quota.map_or(-1, u64::cast_signed),
            downgrade_info: Some(DowngradeInfo { enabled: !downgrade.is_empty(), target_version: downgrade }),
        }))
    }

    async fn defragment(&self, request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        self.0.managed_by(&request)?;
        let store = self.0.machine.store.clone();
        let started = Instant::now();
        blocking(move || store.defragment()).await?;
        self.0.figures.defragment_seconds.observe(started.elapsed().as_secs_f64());
        Ok(Response::new(DefragmentResponse { header: self.0.header() }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.0.managed_by(&request)?;
        let hash = self.hash_of(0).await?;
        let mut header = self.0.blank_header();
        header.revision = hash.current;
        Ok(Response::new(HashResponse { header: Some(header), hash: hash.hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        self.0.managed_by(&request)?;
        let hash = self.hash_of(request.into_inner().revision).await?;
        let mut header = self.0.blank_header();
        header.revision = hash.current;
        Ok(Response::new(HashKvResponse {
            header: Some(header),
            hash: hash.hash,
            compact_revision: hash.compacted,
            hash_revision: hash.revision,
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.0.managed_by(&request)?;
        let frames = ReceiverStream::new(super::snapshot::frames(self.0.clone()));
        let message = |frame: Result<bytes::Bytes, Error>| {
            let message = SnapshotResponse::decode(unframed(frame?));
            message.map_err(|error| Status::internal(error.to_string()))
        };
        Ok(Response::new(frames.map(message).boxed()))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        self.0.managed_by(&request)?;
        let context = &self.0;
        let to = request.into_inner().target_id;
        if !context.standing.leads() {
            return Err(Error::NotLeader.into());
        }
        if !context.machine.roster.read().voting().voters.contains(&to) {
            return Err(Error::BadLeaderTransferee.into());
        }
        context.proposer.transfer(to);
        let mut leaders = context.standing.leaders();
        let moved = tokio::time::timeout(TRANSFER_TIMEOUT, leaders.wait_for(|leader| *leader == to)).await;
        match moved {
            Ok(Ok(_)) => Ok(Response::new(MoveLeaderResponse { header: context.header() })),
            Ok(Err(_)) => Err(Error::Stopped.into()),
            Err(_) => Err(Error::TransferTimedOut.into()),
        }
    }

    async fn downgrade(&self, request: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        self.0.managed_by(&request)?;
        let request = request.into_inner();
        let Ok(action) = DowngradeAction::try_from(request.action) else {
            return Err(Status::unknown("etcdserver: unknown method"));
        };
        if action == DowngradeAction::Cancel {
            self.0.catch_up().await?;
            // To call off what is not under way is no failure, as in etcd.
            if !self.0.machine.roster.read().downgrade().is_empty() {
                self.set_downgrade(String::new()).await?;
            }
        } else {
            let (major, minor) = downgrade::target(&request.version)?;
            self.0.catch_up().await?;
            if !self.0.machine.roster.read().downgrade().is_empty() {
                return Err(Error::DowngradeRunning.into());
            }
            if action == DowngradeAction::Enable {
                self.set_downgrade(format!("{major}.{minor}.0")).await?;
            }
        }
        Ok(Response::new(DowngradeResponse { header: self.0.header(), version: downgrade::cluster_version() }))
    }
}
