//! One connection: requests in, and what becomes of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, ready};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::Request;
use kinit_serving::listener::{Limits, Peer, Transport};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::authority::Mended;
use super::call::Call;
use super::keep_alive::KeepAlive;
use super::passed;
use crate::dispatch::{Dispatch, is_grpc};
use crate::rpc::quick;

/// A client has this long for its half of the preface.
const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes that a client may send before it is told to go on, of one call and of all.
const WINDOW: u32 = 1 << 20;
/// Bytes that a request's headers may have.
const MOST_HEADERS: u32 = 16 << 10;

struct Connection {
    http: h2::server::Connection<Mended, Bytes>,
    /// The calls that are answered within this task.
    calls: FuturesUnordered<BoxFuture<'static, ()>>,
    peer: Arc<Peer>,
    dispatch: Dispatch,
    keep_alive: Option<KeepAlive>,
    /// Until it comes.
    shutdown: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Serves a connection to its end.
pub async fn run(
    transport: Transport,
    peer: Peer,
    dispatch: Dispatch,
    limits: Limits,
    shutdown: CancellationToken,
) -> Result<(), h2::Error> {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MOST_HEADERS)
        .max_concurrent_streams(limits.http2_streams)
        .max_pending_accept_reset_streams(limits.given_up_streams());
    let Ok(shaken) = tokio::time::timeout(
        HANDSHAKE_TIMEOUT,
        builder.handshake::<_, Bytes>(Mended::new(transport, dispatch.site.context.figures.clone())),
    )
    .await
    else {
        return Err(h2::Reason::SETTINGS_TIMEOUT.into());
    };
    let mut http = shaken?;
    let keep_alive = limits.keep_alive.zip(http.ping_pong());
    let keep_alive = keep_alive.map(|(every, pings)| KeepAlive::new(pings, every, limits.keep_alive_timeout));
    let (calls, peer) = (FuturesUnordered::new(), Arc::new(peer));
    let shutdown = Some(Box::pin(shutdown.cancelled_owned()));
    let mut connection = Connection { http, calls, peer, dispatch, keep_alive, shutdown };
    std::future::poll_fn(|context| connection.poll(context)).await
}

impl Connection {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.poll_unpin(context).is_ready()
        {
            self.shutdown = None;
            self.http.graceful_shutdown();
        }
        if let Some(keep_alive) = &mut self.keep_alive
            && keep_alive.poll(context).is_ready()
        {
            return Poll::Ready(Err(h2::Reason::NO_ERROR.into()));
        }
        loop {
            // Answers come first, so that taking the next requests sends them all at once.
            while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(context) {}
            match ready!(self.http.poll_accept(context)) {
                Some(Ok((request, respond))) => self.take(request, respond, context),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn take(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>, context: &mut Context<'_>) {
        let method = if is_grpc(request.headers()) { quick::method(request.uri().path()) } else { None };
        let Some(method) = method.filter(|_| self.dispatch.lets_in(&request, &self.peer)) else {
            tokio::spawn(passed::on(self.dispatch.clone(), request, (*self.peer).clone(), respond));
            return;
        };
        let (head, body) = request.into_parts();
        let call = Call { headers: head.headers, peer: self.peer.clone(), body, respond };
        let mut call: BoxFuture<'static, ()> =
            Box::pin(quick::answer(self.dispatch.site.context.clone(), method, call));
        if call.poll_unpin(context).is_pending() {
            self.calls.push(call);
        }
    }
}
