//! The Watch service.

use std::sync::Arc;

use http::HeaderMap;
use kinit_serving::listener::Peer;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Codec;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Context;
use super::identity::{needs_leader, peer};
use crate::direct::call::Call;
use crate::error::Error;
use crate::proto::rpc::watch_server::Watch;
use crate::proto::rpc::{WatchRequest, WatchResponse};
use crate::watch::responses::Responses;
use crate::watch::stream::{Settings, serve};

/// Responses made ahead of the client's taking them.
const AHEAD: usize = 16;

pub struct Service(pub Arc<Context>);

#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let context = &self.0;
        let settings = settings(context, request.metadata().as_ref(), peer(&request));
        let end = end(context.clone(), request.metadata().as_ref())?;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let responses = Responses::Messages(sender);
        tokio::spawn(serve(context.machine.clone(), settings, request.into_inner(), responses, end));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Serves a stream within its connection.
pub async fn direct(context: Arc<Context>, call: Call) -> Code {
    let end = match end(context.clone(), &call.headers) {
        Ok(end) => end,
        Err(error) => {
            let status = Status::from(error);
            let code = status.code();
            call.answer(Err(status));
            return code;
        }
    };
    let settings = settings(&context, &call.headers, Some(&call.peer));
    let Ok((body, reply)) = call.begin() else { return Code::Cancelled };
    let decoder = ProstCodec::<WatchResponse, WatchRequest>::default().decoder();
    let requests = Streaming::new_request(decoder, body, None, Some(context.most_message_bytes()));
    serve(context.machine.clone(), settings, requests, Responses::Frames(reply), end).await;
    Code::Ok
}

fn settings(context: &Arc<Context>, headers: &HeaderMap, peer: Option<&Peer>) -> Settings {
    // A token may run out, and permissions change, while the stream is open: each watch is checked by itself.
    let (credentials, checker) = (context.credentials(headers, peer), context.clone());
    let permit = move |key: &[u8], range_end: &[u8]| {
        let asker = checker.identify(&credentials)?;
        checker.machine.auth.read().may_read(&asker, key, range_end)
    };
    Settings {
        header: context.blank_header(),
        progress_interval: context.progress_interval,
        fragment_bytes: context.max_request_bytes,
        permit: Box::new(permit),
    }
}

/// What ends a stream from this side: that the server stops, or, for those who want to know, that there has been no
/// leader for too long, because a member that is cut off hears of nothing.
fn end(context: Arc<Context>, headers: &HeaderMap) -> Result<impl Future<Output = Error> + use<>, Error> {
    let wants_leader = needs_leader(headers);
    if wants_leader && context.standing.leader() == 0 {
        return Err(Error::NoLeader);
    }
    Ok(async move {
        let lost = async {
            let mut leaders = context.standing.leaders();
            if !wants_leader {
                std::future::pending::<()>().await;
            }
            loop {
                let _ = leaders.wait_for(|leader| *leader == 0).await;
                let found = leaders.wait_for(|leader| *leader != 0);
                if tokio::time::timeout(context.leader_patience, found).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = context.shutdown.cancelled() => Error::Stopped,
            () = lost => Error::NoLeader,
        }
    })
}
