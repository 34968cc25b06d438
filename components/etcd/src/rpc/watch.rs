//! The Watch service.

use std::sync::Arc;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use crate::proto::rpc::watch_server::Watch;
use crate::proto::rpc::{WatchRequest, WatchResponse};
use crate::watch::stream::{Settings, serve};

/// Responses made ahead of the client's taking them.
const AHEAD: usize = 16;

pub struct Service(pub Arc<Context>);

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
        tokio::spawn(serve(context.machine.clone(), settings, request.into_inner(), sender, shutdown));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
