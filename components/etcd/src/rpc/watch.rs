//! The Watch service.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use super::identity::needs_leader;
use crate::error::Error;
use crate::proto::rpc::watch_server::Watch;
use crate::proto::rpc::{WatchRequest, WatchResponse};
use crate::watch::stream::{Settings, serve};

/// Responses made ahead of the client's taking them.
const AHEAD: usize = 16;

pub struct Service(pub Arc<Context>);

/// Ends a stream once there has been no leader for too long: a member that is cut off hears of nothing.
async fn end_without_leader(
    context: Arc<Context>,
    sender: Sender<Result<WatchResponse, Status>>,
    end: CancellationToken,
) {
    let mut leaders = context.standing.leaders();
    let lost = async {
        loop {
            let _ = leaders.wait_for(|leader| *leader == 0).await;
            let found = leaders.wait_for(|leader| *leader != 0);
            if tokio::time::timeout(context.leader_patience, found).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = sender.closed() => {}
        () = end.cancelled() => {}
        () = lost => {
            let _ = sender.send(Err(Error::NoLeader.into())).await;
            end.cancel();
        }
    }
}

#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let context = &self.0;
        // A token may run out, and permissions change, while the stream is open: each watch is checked by itself.
        let (credentials, checker) = (context.credentials(&request), context.clone());
        let permit = move |key: &[u8], range_end: &[u8]| {
            let asker = checker.identify(&credentials)?;
            checker.machine.auth.read().may_read(&asker, key, range_end)
        };
        let settings = Settings {
            header: context.blank_header(),
            progress_interval: context.progress_interval,
            fragment_bytes: context.max_request_bytes,
            permit: Box::new(permit),
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let shutdown = context.shutdown.child_token();
        if needs_leader(&request) {
            if context.standing.leader() == 0 {
                return Err(Error::NoLeader.into());
            }
            tokio::spawn(end_without_leader(context.clone(), sender.clone(), shutdown.clone()));
        }
        tokio::spawn(serve(context.machine.clone(), settings, request.into_inner(), sender, shutdown));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
