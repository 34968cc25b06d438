//! Clients' HTTP/2 connections: each is one task, in which the calls that come by the thousand are answered.
//!
//! Most of what a small request costs is the layers around it, and most of what those cost is waking one another. Here the
//! protocol's library is driven directly: a connection takes all that came, answers what it can where it stands, and sends
//! all answers in one write. Every other call goes on to the services as any server would have it.
//!
//! - [`connection`]: the task. [`call`]: one call's message and answer, as gRPC frames them.
//! - [`passed`]: the calls that go on. [`keep_alive`]: whether the client is there still. [`authority`]: what old clients say
//!   of the host.

mod authority;
pub mod call;
mod connection;
mod keep_alive;
mod passed;

use std::time::Duration;

use kinit_serving::listener::{Http, Limits, Peer, Protocol, Transport};
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatch;

/// A client has this long to begin speaking.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// What clients' connections speak: HTTP/2 as here, or HTTP/1.1 as everywhere. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    dispatch: Dispatch,
    http: Http<Dispatch>,
    limits: Limits,
}

impl Clients {
    pub fn new(dispatch: Dispatch, limits: Limits) -> Self {
        Self { http: Http::new(dispatch.clone(), limits), dispatch, limits }
    }
}

impl Protocol for Clients {
    async fn run(self, transport: Transport, peer: Peer, shutdown: CancellationToken) {
        let address = peer.address;
        match tokio::time::timeout(FIRST_WORD, transport.speaks_http2()).await {
            Ok(Ok(true)) => {
                if let Err(error) = connection::run(transport, peer, self.dispatch, self.limits, shutdown).await {
                    tracing::debug!(peer = %address, %error, "connection ended");
                }
            }
            Ok(Ok(false)) => self.http.run(transport, peer, shutdown).await,
            Ok(Err(_)) | Err(_) => tracing::debug!(peer = %address, "the client says nothing"),
        }
    }
}
